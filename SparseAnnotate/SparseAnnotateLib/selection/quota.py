"""How many slices of each volume may still be chosen, and how many must be."""

from __future__ import annotations

from collections.abc import Sequence


class Quota:
    """Counts choices against a total, with a minimum and a maximum for each volume.

    A volume that was refused once stays refused, so a greedy choice can drop its slices.

    Args:
        capacities: how many slices of each volume can be chosen at all.
        already: how many slices of each volume are drawn; they count towards minimum and maximum.
        total: how many slices to choose.
        minimum, maximum: slices of each volume, drawn ones included; None for no limit.
    """

    def __init__(
        self,
        capacities: Sequence[int],
        already: Sequence[int],
        total: int,
        minimum: int | None = None,
        maximum: int | None = None,
    ):
        self._room = [
            min(capacity, max(0, maximum - drawn)) if maximum is not None else capacity
            for capacity, drawn in zip(capacities, already, strict=True)
        ]
        self._missing = [
            min(room, max(0, (minimum or 0) - drawn)) for room, drawn in zip(self._room, already, strict=True)
        ]
        self.left = min(total, sum(self._room))
        self._owed = sum(self._missing)

    def allows(self, volume: int) -> bool:
        """Whether a slice of that volume may be chosen now."""
        if not self.left or not self._room[volume]:
            return False
        return self._missing[volume] > 0 or self.left > self._owed

    def take(self, volume: int) -> None:
        """Count one chosen slice of that volume."""
        self.left -= 1
        self._room[volume] -= 1
        if self._missing[volume]:
            self._missing[volume] -= 1
            self._owed -= 1
