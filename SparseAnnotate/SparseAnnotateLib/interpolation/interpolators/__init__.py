"""The fill methods, found by the registry in `interpolation.interpolator`: each file here adds one or more."""
