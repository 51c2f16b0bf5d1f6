"""Cross-entropy, with and without weights."""

from __future__ import annotations

from ...core.messages import _
from ...core.registry import Need
from ..loss import LOSSES, LossEntry

LOSSES.add(
    LossEntry(
        name="ce",
        label=_("Cross-entropy"),
        description=_("Cross-entropy (Zheng 2020, eq. 1 and 2)."),
        make="SparseAnnotateLib.learning.training.losses:cross_entropy",
        order=2,
    )
)
LOSSES.add(
    LossEntry(
        name="weighted_ce",
        label=_("Weighted cross-entropy"),
        description=_("Cross-entropy with a weight for each class."),
        make="SparseAnnotateLib.learning.training.losses:weighted_cross_entropy",
        needs=frozenset({Need.CLASS_WEIGHTS}),
        order=3,
    )
)
