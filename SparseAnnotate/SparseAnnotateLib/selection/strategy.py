"""The strategy protocol and its registry: how slices are chosen, by name, everywhere the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..core import BadInputError, SliceRef, Watch
from .budget import Budget
from .stack import Stack


@dataclass(frozen=True)
class RankedSlice:
    """A recommended slice, how much the strategy wants it (higher is more), and why, in a few words."""

    slice: SliceRef
    score: float
    reason: str


class Strategy(Protocol):
    """Chooses slices to draw.

    Attributes:
        needs: names of what each `Stack` must carry: 'features', 'uncertainty'.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...

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
Factory = TypeVar("Factory", bound=Callable[[int], Strategy])
_REGISTRY: dict[str, tuple[Callable[[int], Strategy], str]] = {}


def register_strategy(name: str, description: str) -> Callable[[Factory], Factory]:
    """Class decorator: make a strategy known under `name`; its constructor takes the seed."""

    def add(factory: Factory) -> Factory:
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
