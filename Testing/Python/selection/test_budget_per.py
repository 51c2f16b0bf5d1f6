"""A budget for each volume, and one for all volumes together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, Plane, SliceRef
from SparseAnnotateLib.selection import Budget, Scope, Stack, strategy_named


def stacks(*sizes, planes=(Plane.AXIAL,)):
    """A volume of each size, with the same number of slices in every plane."""
    rng = np.random.default_rng(0)
    return [
        Stack(f"v{n}", plane, size, 0, size - 1, n, rng.normal(size=(size, 4)), rng.random(size))
        for n, size in enumerate(sizes)
        for plane in planes
    ]


def drawn(*slices):
    return frozenset(SliceRef(volume, Plane.AXIAL, index) for volume, index in slices)


@pytest.mark.parametrize(
    ("budget", "counts"),
    [
        (Budget(density=0.1), [10, 3]),
        (Budget(density=0.1, per="volume"), [10, 3]),
        (Budget(density=0.1, per="cohort"), [7, 6]),
        (Budget(every=10), [10, 3]),
        (Budget(every=10, per="cohort"), [7, 6]),
        (Budget(per_volume=4), [4, 4]),
        (Budget(total=4), [2, 2]),
        (Budget(minutes=4, seconds_per_slice=60), [2, 2]),
        (Budget(minutes=4, seconds_per_slice=60, per="volume"), [4, 4]),
        (Budget(more=4), [2, 2]),
        (Budget(more=4, per="volume"), [4, 4]),
        (Budget(density=0.9, per="cohort"), [87, 30]),
    ],
)
def test_each_kind_is_for_each_volume_or_for_all(budget, counts):
    assert budget.slices_for(stacks(100, 30)) == counts


def test_for_each_volume_what_is_drawn_in_it_counts_and_what_comes_on_top_does_not():
    already = drawn(("v0", 3), ("v0", 50), ("v1", 7))
    assert Budget(density=0.1, per="cohort").slices_for(stacks(100, 30), already) == [7, 6]
    assert Budget(more=4, per="volume").slices_for(stacks(100, 30), already) == [6, 5]
    assert Budget(minutes=4, seconds_per_slice=60, per="volume").slices_for(stacks(100, 30), already) == [6, 5]
    assert Budget(more=4, per="volume").slices_for(stacks(100, 3), drawn(("v0", 3), ("v1", 1))) == [5, 3]


@pytest.mark.parametrize("scope", list(Scope))
def test_the_minutes_of_a_volume_are_those_of_all_its_planes(scope):
    planes = (Plane.AXIAL, Plane.CORONAL)
    budget = Budget(minutes=6, seconds_per_slice=60, per="volume", scope=scope)
    already = drawn(("v0", 3), ("v0", 50), ("v0", 60), ("v0", 70))
    counts = budget.slices_for(stacks(100, 30, planes=planes), already)
    assert counts[0] + counts[1] == 4 + 6
    assert counts[2] + counts[3] == 6


@pytest.mark.parametrize(
    ("budget", "counts"),
    [
        (Budget(minutes=3, seconds_per_slice=60, per="volume"), {"v0": 3, "v1": 3}),
        (Budget(minutes=3, seconds_per_slice=60, per="volume", scope=Scope.VOLUME), {"v0": 3, "v1": 3}),
        (Budget(more=3, per="volume"), {"v0": 3, "v1": 3}),
    ],
)
def test_uncertain_slices_are_chosen_in_each_volume(budget, counts):
    found = strategy_named("uncertainty").rank(stacks(100, 30), budget)
    assert Counter(item.slice.volume for item in found) == counts


def test_uncertain_slices_of_all_volumes_share_the_minutes_of_all_in_the_scope_cohort():
    budget = Budget(minutes=3, seconds_per_slice=60, per="volume", scope=Scope.COHORT, maximum=4)
    found = strategy_named("uncertainty").rank(stacks(100, 30), budget)
    assert len(found) == 6
    assert max(Counter(item.slice.volume for item in found).values()) <= 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"total": 3, "per": "volume"}, "both per volume and for the whole cohort"),
        ({"per_volume": 3, "per": "cohort"}, "both per volume and for the whole cohort"),
        ({"density": 0.1, "per": "plane"}, "per 'volume' or per 'cohort', not per 'plane'"),
        ({"minutes": 3, "total": 3}, "exactly one of"),
    ],
)
def test_contradictions_are_refused(given, words):
    with pytest.raises(BadInputError, match=words):
        Budget(**given)
