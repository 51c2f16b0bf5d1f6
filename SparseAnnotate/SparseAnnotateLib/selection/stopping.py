"""A hint to stop drawing when further rounds hardly change the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.messages import _, counted

_ROUNDS = 2
_LITTLE = 0.01
_HIGH = 0.8


@dataclass(frozen=True)
class StoppingHint:
    """Whether agreement between rounds has levelled off, and a sentence with the reason."""

    stop: bool
    sentence: str


def stopping_hint(agreements: Sequence[float]) -> StoppingHint:
    """A hint from the agreement (mean Dice, 0-1) of each round's predictions with those of the round before.

    Levelled off: the last two agreements are at least 0.8, and differ by less than 0.01.
    The idea is that of stabilising predictions (Bloodgood and Vijay-Shanker 2009); the thresholds are our own.
    """
    if len(agreements) < _ROUNDS:
        missing = _ROUNDS - len(agreements)
        one, many = (
            _("Too early to tell: {count} more round needed."),
            _("Too early to tell: {count} more rounds needed."),
        )
        return StoppingHint(False, counted(missing, one, many))
    before, last = agreements[-2:]
    has_levelled_off = False
    if min(before, last) < _HIGH:
        sentence = _(
            "Keep drawing: new slices still change the result considerably. Dice between consecutive rounds: "
            "{before:.3f}, then {last:.3f}."
        )
    elif before - last >= _LITTLE:
        sentence = _(
            "Keep drawing: agreement has fallen. Dice between consecutive rounds: {before:.3f}, then {last:.3f}."
        )
    elif last - before >= _LITTLE:
        sentence = _(
            "Keep drawing: agreement is still rising. Dice between consecutive rounds: {before:.3f}, then {last:.3f}."
        )
    else:
        has_levelled_off = True
        sentence = _(
            "You can stop drawing: new slices hardly change the result any more. Dice between consecutive rounds: "
            "{before:.3f}, then {last:.3f}."
        )
    return StoppingHint(has_levelled_off, sentence.format(before=before, last=last))
