"""The selection strategies, found by the registry in `selection.strategy`: each file here adds one or more."""
