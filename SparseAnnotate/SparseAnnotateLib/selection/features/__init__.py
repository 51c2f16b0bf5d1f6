"""The features by which slices are compared, found by the registry in `selection.slice_features`: one file each."""
