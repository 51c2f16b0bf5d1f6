"""The strategy protocol and its registry: how slices are chosen, by name, everywhere the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core import BadInputError, SliceRef, Watch
from ..core.messages import _
from ..core.registry import Entry, Need, Registry
from .budget import Budget
from .stack import Stack


@dataclass(frozen=True)
class RankedSlice:
    """A recommended slice, how much the strategy wants it (higher is more), and why, in a few words."""

    slice: SliceRef
    score: float
    reason: str


class Strategy(Protocol):
    """Chooses slices to draw. What each `Stack` must carry for it is said by its `StrategyEntry`."""

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


@dataclass(frozen=True, kw_only=True)
class StrategyEntry(Entry):
    """A strategy as users choose it; `make` takes the seed and gives a `Strategy`."""

    @property
    def compares_slices(self) -> bool:
        """True when it looks at features of the slices: because it must, or because it can beside the uncertainty."""
        return bool(self.needs & {Need.FEATURES, Need.UNCERTAINTY})

    @property
    def asks_models(self) -> bool:
        """True when it asks trained models."""
        return Need.UNCERTAINTY in self.needs


STRATEGIES: Registry[StrategyEntry] = Registry(
    _("There is no selection strategy '{name}'; choose one of {names}."), f"{__package__}.strategies"
)
# For a cohort's first volume, and so for a single one, it is the same as fixed_interval.
DEFAULT_STRATEGY = "staggered"
NEXT_ROUND_STRATEGY = "uncertainty"
"""What recommends the next slices once a model has been trained."""
_SEEDS = 1 << 31


def strategy_named(name: str, seed: int = 0) -> Strategy:
    """The strategy of that name. Raises BadInputError when there is none, or the seed is none."""
    entry = STRATEGIES.named(name)
    check_seed(seed)
    strategy: Strategy = entry.loaded()(seed)
    return strategy


def check_seed(seed: int) -> None:
    """Raise BadInputError when it is no seed: negative, or beyond 31 bits."""
    if not 0 <= seed < _SEEDS:
        raise BadInputError(f"The seed must lie between 0 and {_SEEDS - 1}, but is {seed}.")
