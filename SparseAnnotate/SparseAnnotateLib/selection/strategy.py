"""The protocol of the selection strategies, and their registry."""

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
    """A recommended slice with its score (higher is better) and a short reason."""

    slice: SliceRef
    score: float
    reason: str


class Strategy(Protocol):
    """Chooses slices to draw. Its `StrategyEntry` lists what each `Stack` must carry for it."""

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """The slices to draw, in the order to draw them; `drawn` ones count towards the budget and are left out.

        Where many slices are compared, progress is reported to `watch`, which can cancel the work.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StrategyEntry(Entry):
    """A strategy as users choose it; `make` takes the seed and returns a `Strategy`."""

    @property
    def compares_slices(self) -> bool:
        """True when it compares slices by their features; with 'uncertainty' they are optional."""
        return bool(self.needs & {Need.FEATURES, Need.UNCERTAINTY})

    @property
    def asks_models(self) -> bool:
        """True when it needs the uncertainty of trained models."""
        return Need.UNCERTAINTY in self.needs


STRATEGIES: Registry[StrategyEntry] = Registry(
    _("There is no selection strategy '{name}'; choose one of {names}."), f"{__package__}.strategies"
)
# For the first volume of a cohort, and so for a single volume, it is the same as fixed_interval.
DEFAULT_STRATEGY = "staggered"
NEXT_ROUND_STRATEGY = "uncertainty"
"""What recommends the next slices once a model has been trained."""
_SEEDS = 1 << 31


def strategy_named(name: str, seed: int = 0) -> Strategy:
    """The strategy of that name. Raises BadInputError for an unknown name or an invalid seed."""
    entry = STRATEGIES.named(name)
    check_seed(seed)
    strategy: Strategy = entry.loaded()(seed)
    return strategy


def check_seed(seed: int) -> None:
    """Raise BadInputError when the seed is negative or needs more than 31 bits."""
    if not 0 <= seed < _SEEDS:
        raise BadInputError(
            _("The seed must be between 0 and {largest}, but is {seed}.").format(largest=_SEEDS - 1, seed=seed)
        )
