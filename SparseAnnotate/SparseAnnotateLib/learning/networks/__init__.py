"""Networks by name, in 2D and 3D: MONAI's, and DenseVoxNet."""
