"""The strategy protocol and its registry: how slices are chosen, by name, everywhere the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..core import BadInputError, Plane, SliceRef, Watch

if TYPE_CHECKING:
    from .budget import Budget


@dataclass(frozen=True)
class Stack:
    """The slices of one volume in one plane that may be recommended, and what is known of each.

    Attributes:
        volume: name of the volume.
        plane: the plane the slices lie in.
        slice_count: all slices of the volume in that plane.
        first, last: the extent that is worth drawing, both included (for example the body, without air).
        position: place of the volume in its cohort, from 0.
        features: (slice_count, D) float32, what each slice looks like; see `slice_features`.
        uncertainty: (slice_count,) float, how unsure models are of each slice, from 0.
        seconds: (slice_count,) float, how long drawing each slice will take.
    """

    volume: str
    plane: Plane
    slice_count: int
    first: int
    last: int
    position: int = 0
    features: np.ndarray | None = field(default=None, compare=False, repr=False)
    uncertainty: np.ndarray | None = field(default=None, compare=False, repr=False)
    seconds: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        if not 0 <= self.first <= self.last < self.slice_count:
            raise BadInputError(
                f"The extent {self.first} to {self.last} does not lie within the {self.plane.value} slices "
                f"0 to {self.slice_count - 1} of '{self.volume}'."
            )
        for name in ("features", "uncertainty", "seconds"):
            values = getattr(self, name)
            if values is not None and len(values) != self.slice_count:
                raise BadInputError(
                    f"The {name} of '{self.volume}' are of {len(values)} slices, but it has {self.slice_count} "
                    f"{self.plane.value} ones."
                )

    @property
    def extent(self) -> int:
        """Number of slices within the extent."""
        return self.last - self.first + 1


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
    """Chooses slices to draw.

    Attributes:
        needs: names of what each `Stack` must carry: 'features', 'uncertainty'.
    """

    needs: tuple[str, ...]

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """The slices to draw, in the order to draw them; `drawn` ones count towards the budget and are left out.

        Where many slices are compared, `watch` is told, and its wish to cancel is heard.
        """
        ...


_SEEDS = 1 << 31
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
    check_seed(seed)
    return _REGISTRY[name][0](seed)


def check_seed(seed: int) -> None:
    """Raise BadInputError when it is no seed: negative, or beyond 31 bits."""
    if not 0 <= seed < _SEEDS:
        raise BadInputError(f"The seed must lie between 0 and {_SEEDS - 1}, but is {seed}.")


def strategy_descriptions() -> dict[str, str]:
    """Every strategy's name and what it does in one sentence."""
    return {name: description for name, (_, description) in _REGISTRY.items()}
