"""When more rounds no longer change what models say: a hint to stop drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDS = 2
_LITTLE = 0.01
_HIGH = 0.8


@dataclass(frozen=True)
class StoppingHint:
    """Whether agreement between rounds has levelled off, and a sentence that says why or why not."""

    stop: bool
    sentence: str


def stopping_hint(agreements: Sequence[float]) -> StoppingHint:
    """A hint from the agreement (mean Dice, 0-1) of each round's predictions with those of the round before.

    Levelled off: the last two agreements are at least 0.8, and differ by less than 0.01.
    The thought is that of stabilising predictions (Bloodgood and Vijay-Shanker 2009); the numbers are ours.
    """
    if len(agreements) < _ROUNDS:
        missing = _ROUNDS - len(agreements)
        return StoppingHint(False, f"Too early to tell: {missing} more round{'s' if missing > 1 else ''} needed.")
    before, last = agreements[-2:]
    shown = f"the last two rounds agree with the ones before them by Dice {before:.3f} and {last:.3f}"
    if min(before, last) < _HIGH:
        return StoppingHint(False, f"Go on: {shown}, so drawing still changes the result much.")
    if before - last >= _LITTLE:
        return StoppingHint(False, f"Go on: {shown}, and agreement has fallen.")
    if last - before >= _LITTLE:
        return StoppingHint(False, f"Go on: {shown}, and agreement is still rising.")
    return StoppingHint(True, f"You may stop: {shown}; drawing more slices hardly changes the result any more.")
