"""Results that are kept until something that they were made from changes.

VTK gives every change a time of its own, which no other object ever has in this process. So equal times mean that
nothing has changed, also after a scene was closed and another one has nodes with the same IDs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_MOST = 4096

Result = TypeVar("Result")


class KeptResults(Generic[Result]):
    """The last result for each of many things, with the stamp of what it was made from."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[tuple, Result]] = {}

    def of(self, what: Hashable, stamp: tuple | None, make: Callable[[], Result]) -> Result:
        """The kept result of something if its stamp is the same, otherwise a new one. None as a stamp: never kept."""
        if stamp is None:
            return make()
        known = self._found.get(what)
        if known is not None and known[0] == stamp:
            return known[1]
        result = make()
        if what not in self._found and len(self._found) >= _MOST:
            del self._found[next(iter(self._found))]
        self._found[what] = stamp, result
        return result
