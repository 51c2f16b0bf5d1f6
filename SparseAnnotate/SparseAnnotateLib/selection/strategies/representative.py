"""Slices that represent all others: cosine similarity and greedy maximum coverage (Zheng et al. 2020, eq. 5-8)."""

from __future__ import annotations

from ...core import Watch
from ...core.messages import _, counted
from ...core.registry import Need
from ..budget import Budget
from ..coverage import greedy_cover, unit_rows
from ..pool import Pool, PoolStrategy
from ..quota import Quota
from ..strategy import STRATEGIES, StrategyEntry


class Representative(PoolStrategy):
    """Greedy maximum coverage over a plane, a volume, or the whole cohort; slices already drawn cover others, too.

    The score is the increase of F, in slices.
    """

    def _chosen(self, pool: Pool, quota: Quota, budget: Budget, watch: Watch) -> list[tuple[int, float, str]]:
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
        return counted(others, _("covers {count} similar slice"), _("covers {count} similar slices"))
    return _("like no other slice") if covered else _("adds nothing new to the slices before it")


STRATEGIES.add(
    StrategyEntry(
        name="representative",
        label=_("Representative"),
        description=_("Slices that are similar to as many others as possible (Zheng 2020)."),
        make=Representative,
        needs=frozenset({Need.FEATURES}),
        order=4,
    )
)
