"""Slices that represent all others: cosine similarity and greedy maximum coverage (Zheng et al. 2020, eq. 5-8)."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import SliceRef, Watch
from .budget import Budget
from .coverage import greedy_cover, unit_rows
from .pool import Pool, ranked_by_pool
from .quota import Quota
from .strategy import RankedSlice, Stack, register_strategy


@register_strategy("representative", "Slices that look like as many others as possible (Zheng 2020).")
class Representative:
    """Greedy maximum coverage over a plane, a volume, or the whole cohort; slices drawn already cover, too."""

    needs = ("features",)

    def __init__(self, seed: int = 0):
        del seed

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """See `Strategy.rank`; the score is the growth of F, in slices."""
        return ranked_by_pool(candidates, budget, drawn, _chosen, watch)


def _chosen(pool: Pool, quota: Quota, watch: Watch) -> list[tuple[int, float, str]]:
    units = unit_rows(pool.gathered("features"))
    covering = greedy_cover(
        units,
        pool.candidate,
        pool.inside,
        pool.drawn,
        lambda n: quota.allows(pool.volume[n]),
        lambda n: quota.take(pool.volume[n]),
        watch,
    )
    chosen = zip(covering.order, covering.gains, strict=True)
    return [(n, gain, _reason(covering.covered_by(n))) for n, gain in chosen]


def _reason(covered: int) -> str:
    others = covered - 1
    if others > 0:
        return f"covers {others} similar slice{'s' if others > 1 else ''}"
    return "like no other slice" if covered else "adds nothing that is not covered already"
