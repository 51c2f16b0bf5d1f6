"""Losses with a Dice."""

from __future__ import annotations

from ...core.messages import _
from ..loss import LOSSES, LossEntry

LOSSES.add(
    LossEntry(
        name="dice_ce",
        label=_("Dice + cross-entropy"),
        description=_("Dice + cross-entropy."),
        make="SparseAnnotateLib.learning.training.losses:dice_and_cross_entropy",
        order=1,
    )
)
LOSSES.add(
    LossEntry(
        name="dice_focal",
        label=_("Dice + focal"),
        description=_("Dice + focal loss, for rare structures."),
        make="SparseAnnotateLib.learning.training.losses:dice_and_focal",
        order=4,
    )
)
LOSSES.add(
    LossEntry(
        name="generalised_dice",
        label=_("Generalized Dice"),
        description=_("Dice with classes weighted by their size."),
        make="SparseAnnotateLib.learning.training.losses:generalised_dice",
        order=6,
    )
)
