"""The Dice of a run in words: where it was measured, and what it may be beyond. Importable without torch."""

from __future__ import annotations

from ..core.messages import _, joined

_SAME = 0.005


def dice_range(dice: float | None, corrected: float | None) -> str:
    """A short text: the Dice on held-out slices, or the range from the corrected one to it; '' when not measured.

    Args:
        dice, corrected: `validation_dice` and `corrected_dice` of a `RunCard`.
    """
    if dice is None:
        return ""
    if not _differ(dice, corrected):
        return f"{dice:.3f}"
    return _("{corrected:.3f} to {dice:.3f}").format(corrected=corrected, dice=dice)


def dice_sentences(dice: float | None, corrected: float | None, is_live: bool = False) -> str:
    """What the figures of `dice_range` mean; `is_live`: of a run that was trained while slices were being drawn."""
    if is_live and dice is None:
        return _("Dice was not measured: no slice has been drawn since it began to learn.")
    if is_live and dice is not None:
        return _("Dice {dice:.3f} on the last drawn slices, before it learned from them.").format(dice=dice)
    if dice is None:
        return _(
            "Dice was not measured: no drawn slices were held out, or the run is an average of models that an earlier "
            "version trained."
        )
    inside = _("Dice {dice:.3f} on held-out drawn slices. It holds inside the drawn range.").format(dice=dice)
    if not _differ(dice, corrected):
        return inside
    beyond = _(
        "Dice {corrected:.3f} if all labels are wrong that lie beyond that range and far from anything drawn."
    ).format(corrected=corrected)
    return joined(" ", [inside, beyond])


def _differ(dice: float, corrected: float | None) -> bool:
    return corrected is not None and dice - corrected > _SAME
