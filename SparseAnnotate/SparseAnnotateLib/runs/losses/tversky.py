"""The Tversky loss."""

from __future__ import annotations

from ..loss import LOSSES, LossEntry

LOSSES.add(
    LossEntry(
        name="tversky",
        label="Tversky",
        description="Tversky loss, which counts missed voxels more than wrong ones.",
        make="SparseAnnotateLib.learning.training.losses:tversky",
        order=5,
    )
)
