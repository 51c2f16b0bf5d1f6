"""An autoencoder on VGG-19."""

from __future__ import annotations

from ...core.messages import _
from ...core.registry import Need
from ..slice_features import FEATURES, FeatureEntry

FEATURES.add(
    FeatureEntry(
        name="autoencoder",
        label=_("Autoencoder"),
        description=_(
            "The bottleneck of an autoencoder with frozen VGG-19 layers, trained on the slices (Zheng 2020)."
        ),
        make="SparseAnnotateLib.learning.features.slice_encoders:slice_autoencoder",
        needs=frozenset({Need.TORCH}),
        has_weights=True,
        order=2,
    )
)
