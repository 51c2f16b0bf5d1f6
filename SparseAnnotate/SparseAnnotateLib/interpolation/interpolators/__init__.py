"""The ways to fill, found by the registry in `interpolation.interpolator`: one more file here is one more way."""
