"""The networks, found by the registry in `runs.network`: one more file here is one more network. No torch here."""
