"""Small pictures of the slices: the features that need nothing."""

from __future__ import annotations

from ..slice_features import FEATURES, FeatureEntry, intensity_features

FEATURES.add(
    FeatureEntry(
        name="intensity",
        label="Intensity",
        description="Small pictures of the slices and their principal components; nothing to train or download.",
        make=intensity_features,
        order=1,
    )
)
