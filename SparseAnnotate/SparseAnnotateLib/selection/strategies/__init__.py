"""The selection strategies, found by the registry in `selection.strategy`: one more file here is one more strategy."""
