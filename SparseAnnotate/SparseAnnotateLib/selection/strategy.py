"""The strategy protocol and its registry: how slices are chosen, by name, everywhere the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core import BadInputError, Plane, SliceRef


@dataclass(frozen=True)
class Stack:
    """The slices of one volume in one plane that may be recommended.

    Attributes:
        volume: name of the volume.
        plane: the plane the slices lie in.
        slice_count: all slices of the volume in that plane.
        first, last: the extent that is worth drawing, both included (for example the body, without air).
        position: place of the volume in its cohort, from 0.
    """

    volume: str
    plane: Plane
    slice_count: int
    first: int
    last: int
    position: int = 0

    def __post_init__(self):
        if not 0 <= self.first <= self.last < self.slice_count:
            raise BadInputError(
                f"The extent {self.first} to {self.last} does not lie within the {self.plane.value} slices "
                f"0 to {self.slice_count - 1} of '{self.volume}'."
            )

    @property
    def extent(self) -> int:
        """Number of slices within the extent."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Budget:
    """How many slices may be drawn; give just one of the three. Slices drawn already count towards it.

    Attributes:
        density: drawn slices / all slices of a volume in a plane, for every volume.
        per_volume: slices in each volume and plane.
        total: slices in the whole cohort, spread evenly.
    """

    density: float | None = None
    per_volume: int | None = None
    total: int | None = None

    def __post_init__(self):
        given = [x for x in (self.density, self.per_volume, self.total) if x is not None]
        if len(given) != 1:
            raise BadInputError("Give the budget as one of: density, slices per volume, slices in total.")
        if self.density is not None and not 0.0 < self.density <= 1.0:
            raise BadInputError(f"A density must be more than 0 and at most 1 (100 %), not {self.density:g}.")
        if self.density is None and given[0] < 1:
            raise BadInputError(f"The budget must be at least one slice, not {given[0]}.")

    def slices_for(self, stacks: Sequence[Stack]) -> list[int]:
        """Slices for each stack, at least one where the budget allows it and never more than its extent."""
        if self.total is None:
            wanted = [self.per_volume or max(1, math.floor(self.density * s.slice_count + 0.5)) for s in stacks]
            return [min(n, s.extent) for n, s in zip(wanted, stacks, strict=True)]
        counts = [0] * len(stacks)
        left = min(self.total, sum(s.extent for s in stacks))
        while left:
            open_stacks = [n for n, s in enumerate(stacks) if counts[n] < s.extent]
            # A remainder goes to stacks spread over the cohort, not to its first ones.
            chosen = [
                open_stacks[i * len(open_stacks) // min(left, len(open_stacks))]
                for i in range(min(left, len(open_stacks)))
            ]
            for n in chosen:
                counts[n] += 1
            left -= len(chosen)
        return counts


@dataclass(frozen=True)
class RankedSlice:
    """A recommended slice, how much the strategy wants it (higher is more), and why, in a few words."""

    slice: SliceRef
    score: float
    reason: str


def indices_by_stack(slices: Iterable[SliceRef]) -> dict[tuple[str, Plane], list[int]]:
    """Sorted indices of the slices for each (volume, plane); sorted, because a set's order changes from run to run."""
    found: dict[tuple[str, Plane], list[int]] = {}
    for item in sorted(slices):
        found.setdefault((item.volume, item.plane), []).append(item.index)
    return found


class Strategy(Protocol):
    """Chooses slices to draw."""

    def rank(
        self, candidates: Sequence[Stack], budget: Budget, drawn: frozenset[SliceRef] = frozenset()
    ) -> list[RankedSlice]:
        """The slices to draw, in the order to draw them; `drawn` ones count towards the budget and are left out."""
        ...


_REGISTRY: dict[str, tuple[Callable[[int], Strategy], str]] = {}


def register_strategy(name: str, description: str):
    """Class decorator: make a strategy known under `name`; its constructor takes the seed."""

    def add(factory: Callable[[int], Strategy]):
        _REGISTRY[name] = (factory, description)
        return factory

    return add


def strategy_named(name: str, seed: int = 0) -> Strategy:
    """The strategy of that name. Raises BadInputError when there is none."""
    if name not in _REGISTRY:
        raise BadInputError(f"There is no selection strategy '{name}'; choose one of {', '.join(_REGISTRY)}.")
    if seed < 0:
        raise BadInputError(f"The seed must not be negative, but is {seed}.")
    return _REGISTRY[name][0](seed)


def strategy_descriptions() -> dict[str, str]:
    """Every strategy's name and what it does in one sentence."""
    return {name: description for name, (_, description) in _REGISTRY.items()}
