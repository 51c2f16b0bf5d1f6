"""Greedy coverage and core sets, against brute force and the plain greedy choice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from SparseAnnotateLib.core import BadInputError, Plane, SliceRef
from SparseAnnotateLib.selection import Budget, Scope, Stack, coverage, strategy_named, unit_rows

FEATURES = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.floats(-2, 2, width=16))


def stack(features, name="v", plane=Plane.AXIAL, first=0, last=None, position=0):
    count = len(features)
    return Stack(name, plane, count, first, count - 1 if last is None else last, position, features=features)


def ranked(name, stacks, budget, drawn=()):
    refs = frozenset(SliceRef(*item) for item in drawn)
    return strategy_named(name).rank(stacks, budget, refs)


def indices(name, features, count, drawn=(), **limits):
    drawn = [("v", Plane.AXIAL, i) for i in drawn]
    return [r.slice.index for r in ranked(name, [stack(features, **limits)], Budget(per_volume=count), drawn)]


def total_coverage(features, chosen):
    return float(coverage(unit_rows(features), np.array(chosen, dtype=int)).sum())


def plain_greedy(features, count, drawn=()):
    """Every gain computed anew for every choice (eq. 8), the first of equal ones taken."""
    similarity = np.clip(unit_rows(features) @ unit_rows(features).T, 0.0, 1.0)
    cover = similarity[list(drawn)].max(axis=0) if drawn else np.zeros(len(features))
    chosen = []
    while len(chosen) < count:
        gains = np.round(np.maximum(similarity - cover, 0.0).sum(axis=1), 9)
        gains[[*chosen, *drawn]] = -1.0
        chosen.append(int(np.argmax(gains)))
        cover = np.maximum(cover, similarity[chosen[-1]])
    return chosen


@given(FEATURES, st.integers(1, 4))
def test_the_greedy_choice_reaches_its_guaranteed_share_of_the_optimum(features, count):
    count = min(count, len(features))
    best = max(total_coverage(features, subset) for subset in combinations(range(len(features)), count))
    found = indices("representative", features, count)
    assert len(found) == count
    assert total_coverage(features, found) >= (1 - 1 / np.e) * best - 1e-4


@pytest.mark.parametrize("size", [1, 2, 7, 60, 300])
@pytest.mark.parametrize("drawn", [(), (0,)])
def test_lazy_and_plain_greedy_give_the_same_order(size, drawn):
    for seed in range(5):
        features = np.random.default_rng([size, seed]).normal(size=(size, 6)).cumsum(axis=0).astype(np.float32)
        expected = plain_greedy(features, size - len(drawn), drawn)
        assert indices("representative", features, size, drawn) == expected


def test_equal_slices_are_taken_in_their_order():
    features = np.repeat(np.eye(3, dtype=np.float32), [5, 9, 2], axis=0)
    assert indices("representative", features, 3) == [5, 0, 14]
    assert indices("representative", features, 16)[3:] == [i for i in range(16) if i not in (5, 0, 14)]


def test_the_order_is_the_priority_and_says_what_each_slice_covers():
    features = np.repeat(np.eye(3, dtype=np.float32), [5, 9, 1], axis=0)
    found = ranked("representative", [stack(features)], Budget(per_volume=3))
    assert [r.reason for r in found] == ["covers 8 similar slices", "covers 4 similar slices", "like no other slice"]
    assert [r.score for r in found] == [9.0, 5.0, 1.0]


def test_drawn_slices_count_as_covered_so_a_second_call_recommends_what_is_missing():
    features = np.repeat(np.eye(3, dtype=np.float32), [5, 9, 2], axis=0)
    assert indices("representative", features, 2, drawn=[7]) == [0]
    assert indices("representative", features, 3, drawn=[7, 1]) == [14]
    assert indices("representative", features, 3, drawn=[7, 1, 15]) == []
    # Also when what is drawn lies outside the extent.
    assert indices("representative", features, 3, drawn=[0, 15], first=2, last=14) == [5]


def test_constant_slices_are_never_preferred():
    features = np.zeros((6, 4), dtype=np.float32)
    features[4] = [1, 0, 0, 0]
    assert indices("representative", features, 2) == [4, 0]
    assert ranked("representative", [stack(features)], Budget(per_volume=2))[1].reason.startswith("adds nothing")
    assert indices("representative", np.zeros((4, 2), np.float32), 3) == [0, 1, 2]
    assert len(indices("core_set", np.zeros((4, 2), np.float32), 3)) == 3


def test_over_the_cohort_a_volume_that_shows_what_others_show_gets_fewer_slices():
    rng = np.random.default_rng(0)
    varied, same = rng.normal(size=(30, 8)), np.repeat(rng.normal(size=(1, 8)), 30, axis=0)
    stacks = [stack(varied, "varied"), stack(same, "same", position=1)]
    for name in ("representative", "core_set"):
        found = [r.slice.volume for r in ranked(name, stacks, Budget(total=10, scope=Scope.COHORT))]
        assert found.count("same") == 1, name
        # Volume by volume, both get the same number.
        assert [r.slice.volume for r in ranked(name, stacks, Budget(total=10))].count("same") == 5


@given(
    st.integers(0, 3), st.integers(3, 6), st.integers(0, 2), st.sampled_from(["representative", "core_set", "random"])
)
def test_a_minimum_and_maximum_per_volume_are_kept(minimum, maximum, drawn_in_first, name):
    rng = np.random.default_rng(minimum + 10 * maximum)
    stacks = [stack(rng.normal(size=(n, 4)) * n, f"v{n}", position=n) for n in (5, 8, 12, 20)]
    drawn = [("v5", Plane.AXIAL, i) for i in range(drawn_in_first)]
    budget = Budget(total=14, scope=Scope.COHORT, minimum=minimum, maximum=maximum)
    found = ranked(name, stacks, budget, drawn)
    per_volume = {s.volume: sum(r.slice.volume == s.volume for r in found) for s in stacks}
    per_volume["v5"] += drawn_in_first
    assert (
        len({r.slice for r in found}) == len(found) == 14 - drawn_in_first - max(0, 14 - min(5, maximum) - 3 * maximum)
    )
    assert min(per_volume.values()) >= min(minimum, 5)
    assert max(per_volume.values()) <= maximum


def test_the_planes_of_a_volume_are_chosen_from_together():
    rng = np.random.default_rng(1)
    flat, varied = np.ones((10, 6)), rng.normal(size=(10, 6))
    stacks = [stack(flat), stack(varied, plane=Plane.CORONAL), stack(flat, plane=Plane.SAGITTAL)]
    found = [r.slice.plane for r in ranked("representative", stacks, Budget(per_volume=6, scope=Scope.VOLUME))]
    assert found.count(Plane.CORONAL) == 5
    each = [r.slice.plane for r in ranked("representative", stacks, Budget(per_volume=2))]
    assert all(each.count(plane) == 2 for plane in Plane)


@given(FEATURES, st.integers(1, 4))
def test_a_core_set_leaves_at_most_twice_the_smallest_possible_distance(features, count):
    count = min(count, len(features))
    distance = np.linalg.norm(features[:, None].astype(float) - features[None], axis=2)
    best = min(distance[list(subset)].min(axis=0).max() for subset in combinations(range(len(features)), count))
    found = indices("core_set", features, count)
    assert distance[found].min(axis=0).max() <= 2 * best + 1e-3


def test_a_core_set_begins_with_the_most_ordinary_slice_or_with_what_is_drawn():
    features = np.array([[0.0], [1.0], [2.0], [10.0]])
    assert indices("core_set", features, 2) == [2, 3]
    assert indices("core_set", features, 2, drawn=[3]) == [0]
    around_zero = np.array([[0.0], [0.0], [-3.0], [2.9]])
    assert indices("core_set", around_zero, 1) == [3]


def test_without_features_the_volume_that_lacks_them_is_named():
    with pytest.raises(BadInputError, match="needs the features of the slices of 'v'"):
        strategy_named("representative").rank([Stack("v", Plane.AXIAL, 5, 0, 4)], Budget(total=2))
    with pytest.raises(BadInputError, match="given for 4 slices, but it has 5"):
        Stack("v", Plane.AXIAL, 5, 0, 4, features=np.zeros((4, 2)))
