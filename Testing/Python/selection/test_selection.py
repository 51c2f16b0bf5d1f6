from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Ledger, Plane, SliceRef, SliceState, VolumeGeometry
from SparseAnnotateLib.selection import (
    STRATEGIES,
    Budget,
    Scope,
    Stack,
    Volume,
    body_extents,
    recommend_slices,
    strategy_named,
)

GEOMETRY = VolumeGeometry.from_spacing((50, 40, 30))


def indices(name, count, slices=50, first=0, last=None, drawn=(), position=0, seed=0):
    rng = np.random.default_rng(slices)
    known = {"features": rng.normal(size=(slices, 8)), "uncertainty": rng.random(slices)}
    stack = Stack("v", Plane.AXIAL, slices, first, slices - 1 if last is None else last, position, **known)
    refs = frozenset(SliceRef("v", Plane.AXIAL, i) for i in drawn)
    return [r.slice.index for r in strategy_named(name, seed).rank([stack], Budget(per_volume=count), refs)]


def test_fixed_interval_puts_one_slice_into_the_middle_of_each_equal_part():
    assert indices("fixed_interval", 5) == [5, 15, 25, 35, 45]
    assert indices("fixed_interval", 3, slices=7) == [1, 3, 5]


def test_staggered_is_fixed_interval_for_the_first_volume_and_shifts_for_the_others():
    assert indices("staggered", 5) == indices("fixed_interval", 5)
    phases = [indices("staggered", 1, slices=1000, position=p)[0] / 1000 for p in range(32)]
    # However many volumes there are, their phases leave no large hole.
    for count in (4, 8, 16, 32):
        edges = np.sort(np.array([0.0, *phases[:count], 1.0]))
        assert np.diff(edges).max() < 2.2 / count


@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.integers(1, 60),
    st.integers(1, 80),
    st.integers(0, 9),
    st.data(),
)
def test_every_strategy_gives_distinct_slices_within_extent_and_budget(name, slices, count, position, data):
    first = data.draw(st.integers(0, slices - 1))
    last = data.draw(st.integers(first, slices - 1))
    drawn = data.draw(st.sets(st.integers(0, slices - 1), max_size=5))
    found = indices(name, count, slices, first, last, drawn, position)
    assert len(set(found)) == len(found)
    assert all(first <= i <= last for i in found)
    assert not set(found) & drawn
    assert len(found) <= count
    if not drawn:
        assert len(found) == min(count, last - first + 1)
    assert found == indices(name, count, slices, first, last, drawn, position)


def test_a_second_call_recommends_what_is_missing():
    assert indices("fixed_interval", 5, drawn=[16, 44]) == [5, 25, 35]
    assert indices("fixed_interval", 5, drawn=[5, 15, 25, 35, 45]) == []
    assert len(indices("random", 10, drawn=range(7))) == 3


def test_random_depends_on_the_seed_and_on_nothing_else():
    assert indices("random", 10, seed=1) == indices("random", 10, seed=1)
    assert indices("random", 10, seed=1) != indices("random", 10, seed=2)
    counts = np.bincount([i for seed in range(400) for i in indices("random", 5, seed=seed)], minlength=50)
    assert counts.min() > 15
    assert counts.max() < 75


def test_budgets_count_slices_of_the_whole_volume_and_spread_a_total_evenly():
    stacks = [Stack(f"v{n}", Plane.AXIAL, 50, 10, 39, n) for n in range(4)]
    assert Budget(density=0.1).slices_for(stacks) == [5, 5, 5, 5]
    assert Budget(density=1.0).slices_for(stacks) == [30, 30, 30, 30]
    assert Budget(density=0.001).slices_for(stacks) == [1, 1, 1, 1]
    assert Budget(total=10).slices_for(stacks) == [3, 2, 3, 2]
    assert sum(Budget(total=1000).slices_for(stacks)) == 120
    assert Budget(every=12).slices_for(stacks) == [4, 4, 4, 4]
    assert Budget(every=100).slices_for(stacks) == [1, 1, 1, 1]


def test_minutes_become_slices_by_what_a_slice_takes_and_are_counted_from_now_on():
    stacks = [Stack(f"v{n}", Plane.AXIAL, 50, 0, 49, n) for n in range(4)]
    assert sum(Budget(minutes=10, seconds_per_slice=60).slices_for(stacks)) == 10
    drawn = frozenset(SliceRef("v1", Plane.AXIAL, i) for i in range(7))
    assert Budget(minutes=10, seconds_per_slice=60).slices_for(stacks, drawn) == [3, 7, 3, 4]
    timed = Ledger().with_state(Plane.AXIAL, 3, SliceState.DRAWN, 120).with_state(Plane.AXIAL, 9, SliceState.EMPTY, 60)
    found = recommend_slices([volume("a", timed)], [Plane.AXIAL], Budget(minutes=15), "random")
    assert len(found["a"]) == 10
    with pytest.raises(BadInputError, match="how long a slice takes"):
        recommend_slices([volume("a")], [Plane.AXIAL], Budget(minutes=15))


@given(st.integers(1, 40), st.sets(st.integers(0, 49)), st.sampled_from(sorted(STRATEGIES)))
def test_more_slices_come_in_addition_to_those_drawn_and_no_more_than_are_left(more, drawn, name):
    stack = Stack("v", Plane.AXIAL, 50, 0, 49, features=np.eye(50), uncertainty=np.linspace(0, 1, 50))
    refs = frozenset(SliceRef("v", Plane.AXIAL, index) for index in drawn)
    found = strategy_named(name, 0).rank([stack], Budget(more=more), refs)
    assert len(found) == min(more, 50 - len(drawn))
    assert not {r.slice for r in found} & refs


def test_a_minimum_and_maximum_per_volume_are_kept_when_slices_are_spread_evenly():
    stacks = [Stack("large", Plane.AXIAL, 100, 0, 99), *(Stack(f"v{n}", Plane.AXIAL, 10, 0, 9, n) for n in range(3))]
    assert Budget(density=0.2, scope=Scope.COHORT).slices_for(stacks) == [20, 2, 2, 2]
    assert Budget(density=0.2, scope=Scope.COHORT, minimum=4).slices_for(stacks) == [14, 4, 4, 4]
    assert Budget(density=0.2, scope=Scope.COHORT, maximum=8).slices_for(stacks) == [8, 6, 6, 6]


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(total=101), "larger than the number of slices available: 100. Give at most 100"),
        (Budget(per_volume=51), "larger than the number of slices in the largest volume: 50. Give at most 50"),
        (Budget(total=5, scope=Scope.COHORT, minimum=3), "At least 3 slices in each of 2 volumes, .* 6 slices, more"),
        (Budget(density=0.02, scope=Scope.COHORT, minimum=3), "At least 3 slices .* more than the budget of 2"),
        (Budget(minutes=2, seconds_per_slice=60, scope=Scope.COHORT, minimum=3), "more than the budget of 2"),
        (
            Budget(total=50, scope=Scope.COHORT, maximum=20),
            "At most 20 slices in each of 2 volumes are 40 slices, fewer",
        ),
    ],
)
def test_a_budget_that_cannot_be_spent_is_refused_with_what_can(budget, words):
    with pytest.raises(BadInputError, match=words):
        recommend_slices([volume("a"), volume("b")], [Plane.AXIAL], budget)


def test_a_budget_larger_than_the_body_says_how_many_slices_the_air_has():
    image = noisy_image(ball(GEOMETRY.shape, 12))
    with pytest.raises(BadInputError, match="within the body: .* .with background slices: 50"):
        recommend_slices([Volume.of_image("a", image, GEOMETRY, Ledger())], [Plane.AXIAL], Budget(total=45))


@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from(list(Scope)),
    st.integers(1, 30),
    st.sets(st.integers(0, 19), max_size=15),
    st.sets(st.integers(0, 19), max_size=15),
    st.booleans(),
)
def test_what_is_recommended_and_drawn_never_exceeds_the_budget(name, scope, total, first, second, in_minutes):
    rng = np.random.default_rng(0)
    stacks = [
        Stack(v, Plane.AXIAL, 20, 4, 15, n, features=rng.normal(size=(20, 4)), uncertainty=rng.random(20))
        for n, v in enumerate("abc")
    ]
    drawn = frozenset(SliceRef(v, Plane.AXIAL, i) for v, own in (("a", first), ("b", second)) for i in own)
    budget = (
        Budget(minutes=total, seconds_per_slice=60, scope=scope) if in_minutes else Budget(total=total, scope=scope)
    )
    found = [r.slice for r in strategy_named(name).rank(stacks, budget, drawn)]
    assert len(set(found)) == len(found)
    assert not set(found) & drawn
    free = 36 - sum(4 <= s.index <= 15 for s in drawn)
    assert len(found) == min(total if in_minutes else max(0, total - len(drawn)), free)


def test_a_smaller_volume_of_a_cohort_gives_all_its_slices():
    small = Volume("b", VolumeGeometry.from_spacing((3, 40, 30)), Ledger(), ((0, 2), (0, 39), (0, 29)))
    worklist = recommend_slices([volume("a"), small], [Plane.AXIAL], Budget(per_volume=6))
    assert [len(worklist[name]) for name in "ab"] == [6, 3]


def test_a_volume_with_one_slice_has_that_one_recommended_by_every_strategy():
    for name in STRATEGIES:
        assert indices(name, 1, slices=1) == [0]


def test_planes_share_a_volumes_budget_when_chosen_over_the_volume():
    for name in ("fixed_interval", "random"):
        worklist = recommend_slices([volume("a")], list(Plane), Budget(per_volume=6, scope=Scope.VOLUME), name)
        assert len(worklist["a"]) == 6
    assert len(recommend_slices([volume("a")], list(Plane), Budget(per_volume=6))["a"]) == 18


def test_a_scope_of_another_name_is_refused():
    assert Scope.named(" Cohort ") is Scope.COHORT
    with pytest.raises(BadInputError, match="plane, volume, cohort"):
        Scope.named("world")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, "one of: density"),
        ({"density": 0.1, "total": 5}, "one of: density"),
        ({"density": 0.0}, "more than 0"),
        ({"density": 1.5}, "at most 1"),
        ({"total": 0}, "at least one slice"),
        ({"total": -3}, "at least one slice"),
        ({"per_volume": 0}, "at least one slice"),
        ({"every": 0}, "slice interval must be 1 or more, not 0"),
        ({"minutes": 0.0}, "more than 0 minutes"),
        ({"minutes": 5.0, "seconds_per_slice": -1.0}, "more than 0 seconds"),
        ({"density": 0.1, "minimum": 1}, "over the whole cohort"),
        ({"density": 0.1, "scope": Scope.COHORT, "minimum": 3, "maximum": 2}, "more than the maximum"),
        ({"density": 0.1, "scope": Scope.COHORT, "minimum": -1}, "must not be negative"),
        ({"density": 0.1, "scope": Scope.COHORT, "maximum": 0}, "must be at least 1"),
    ],
)
def test_an_impossible_budget_is_refused(budget, words):
    with pytest.raises(BadInputError, match=words):
        Budget(**budget)


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match="fixed_interval, staggered, random"):
        strategy_named("best")
    for seed in (-1, 1 << 31):
        with pytest.raises(BadInputError, match="seed must be between 0"):
            strategy_named("random", seed)


def test_the_body_extent_leaves_air_out():
    image = np.zeros((60, 50, 40), np.float32) + np.random.default_rng(0).normal(0, 3, (60, 50, 40))
    image[12:45, 5:44, 8:30] += 100
    image[0, 0, 0] = 1e6
    for (first, last), (low, high) in zip(body_extents(image), [(12, 44), (5, 43), (8, 29)], strict=True):
        assert abs(first - low) <= 1
        assert abs(last - high) <= 1


@pytest.mark.parametrize("image", [np.zeros((9, 8, 7), np.int16), np.full((9, 8, 7), 3.5)])
def test_a_constant_image_has_the_whole_extent(image):
    assert body_extents(image) == ((0, 8), (0, 7), (0, 6))


def test_the_extent_of_a_large_image_is_right_to_its_sampling():
    image = np.zeros((300, 20, 20), np.uint8)
    image[100:200] = 200
    first, last = body_extents(image)[0]
    assert 97 <= first <= 103
    assert 196 <= last <= 202


def volume(name, ledger=None, position=0):
    image = noisy_image(ball(GEOMETRY.shape, 12))
    return Volume.of_image(name, image, GEOMETRY, ledger or Ledger(), whole=True, position=position)


def test_volumes_are_staggered_by_default_also_when_they_come_one_at_a_time():
    first, second = volume("a"), volume("b", position=1)
    together = recommend_slices([first, second], [Plane.AXIAL], Budget(density=0.1))
    assert [e.index for e in together["a"]] == [5, 15, 25, 35, 45]
    assert [e.index for e in together["b"]] != [e.index for e in together["a"]]
    alone = recommend_slices([second], [Plane.AXIAL], Budget(density=0.1))
    assert [e.index for e in alone["b"]] == [e.index for e in together["b"]]


def test_the_worklist_is_numbered_through_and_says_why():
    worklist = recommend_slices([volume("a"), volume("b")], [Plane.AXIAL, Plane.SAGITTAL], Budget(per_volume=2))
    entries = [e for name in "ab" for e in worklist[name]]
    assert [e.order for e in entries] == list(range(1, 9))
    assert {e.plane for e in entries} == {Plane.AXIAL, Plane.SAGITTAL}
    assert all(e.reason and e.state is SliceState.TODO for e in entries)


def test_drawn_slices_count_and_skipped_ones_do_not():
    ledger = Ledger().with_state(Plane.AXIAL, 25, SliceState.EMPTY).with_state(Plane.AXIAL, 5, SliceState.SKIPPED)
    worklist = recommend_slices([volume("a", ledger)], [Plane.AXIAL], Budget(density=0.1))
    assert [e.index for e in worklist["a"]] == [5, 15, 35, 45]


def test_no_volume_and_no_plane_are_reported():
    with pytest.raises(BadInputError, match="no volume"):
        recommend_slices([], [Plane.AXIAL], Budget(total=1))
    with pytest.raises(BadInputError, match="no plane"):
        recommend_slices([volume("a")], [], Budget(total=1))
    with pytest.raises(BadInputError, match="does not lie within"):
        Stack("v", Plane.AXIAL, 10, 5, 10)
