"""To and from other programs: MONAI bundles and nnU-Net."""
