"""An autoencoder on VGG-19."""

from __future__ import annotations

from ...core.registry import Need
from ..slice_features import FEATURES, FeatureEntry

FEATURES.add(
    FeatureEntry(
        name="autoencoder",
        label="Autoencoder",
        description="The bottleneck of an autoencoder on frozen VGG-19 layers, trained on the slices (Zheng 2020).",
        make="SparseAnnotateLib.learning.features.slice_encoders:slice_autoencoder",
        needs=frozenset({Need.TORCH}),
        has_weights=True,
        order=2,
    )
)
