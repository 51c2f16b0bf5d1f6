"""A masked autoencoder."""

from __future__ import annotations

from ...core.messages import _
from ...core.registry import Need
from ..slice_features import FEATURES, FeatureEntry

FEATURES.add(
    FeatureEntry(
        name="mae",
        label=_("Masked autoencoder"),
        description=_("A masked autoencoder (vision transformer) trained on the slices (Zhang 2025)."),
        make="SparseAnnotateLib.learning.features.slice_encoders:slice_masked_autoencoder",
        needs=frozenset({Need.TORCH}),
        order=3,
    )
)
