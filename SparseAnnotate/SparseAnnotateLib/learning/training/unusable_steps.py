"""Training steps that are left out because their loss or gradient is not finite, and the cases that cause them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_USELESS_STEPS = 10  # of a case without a usable one


class UnusableSteps:
    """Counts them: those in a row, and those of each case.

    Args:
        cases: names of the cases whose patches are in the present step.
    """

    def __init__(self, cases: Callable[[], Iterable[str]]):
        self._cases = cases
        self._counts: dict[str, list[int]] = {}  # usable and unusable ones, from the first unusable one on
        self.in_a_row = 0

    def add(self, is_usable: bool) -> None:
        """Count a step."""
        self.in_a_row = 0 if is_usable else self.in_a_row + 1
        if is_usable and not self._counts:
            return
        for name in set(self._cases()):
            self._counts.setdefault(name, [0, 0])[0 if is_usable else 1] += 1

    def useless_cases(self) -> list[str]:
        """Cases with which no step has been usable, though many were tried."""
        return [name for name, (good, bad) in self._counts.items() if not good and bad >= _USELESS_STEPS]

    def forget(self) -> None:
        """Start again, as when the precision changes."""
        self.in_a_row = 0
        self._counts.clear()
