"""Principal components of downsampled slices: features without training or downloads."""

from __future__ import annotations

from ...core.messages import _
from ..slice_features import FEATURES, FeatureEntry, intensity_features

FEATURES.add(
    FeatureEntry(
        name="intensity",
        label=_("Intensity"),
        description=_("Principal components of the downsampled slices; nothing to train or download."),
        make=intensity_features,
        order=1,
    )
)
