"""Where DenseVoxNet was in version 0.1.0: MONAI bundles that were exported then name it here."""

from .networks.dense_vox_net import DenseVoxNet, YShapedDenseVoxNet

__all__ = ["DenseVoxNet", "YShapedDenseVoxNet"]
