"""The boundary loss."""

from __future__ import annotations

from ...core.messages import _
from ...core.registry import Need
from ..loss import LOSSES, LossEntry

LOSSES.add(
    LossEntry(
        name="boundary",
        label=_("Boundary"),
        description=_("Dice + cross-entropy + boundary loss (Kervadec 2019), by distances within each drawn slice."),
        make="SparseAnnotateLib.learning.training.losses:dice_cross_entropy_and_boundary",
        needs=frozenset({Need.DISTANCES}),
        order=7,
    )
)
