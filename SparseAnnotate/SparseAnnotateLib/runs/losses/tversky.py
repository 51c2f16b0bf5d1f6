"""The Tversky loss."""

from __future__ import annotations

from ...core.messages import _
from ..loss import LOSSES, LossEntry

LOSSES.add(
    LossEntry(
        name="tversky",
        label=_("Tversky"),
        description=_("Tversky loss, which penalizes false negatives more than false positives."),
        make="SparseAnnotateLib.learning.training.losses:tversky",
        order=5,
    )
)
