"""Choosing by uncertainty, cost and agreement."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SparseAnnotateLib.core import BadInputError, Plane, SliceRef, VolumeGeometry
from SparseAnnotateLib.selection import (
    Budget,
    CostModel,
    DrawingEffort,
    Scope,
    Stack,
    drawing_effort,
    stopping_hint,
    strategy_named,
)
from SparseAnnotateLib.selection.knapsack import knapsack
from SparseAnnotateLib.selection.strategies.uncertainty import borda_points


def stack(uncertainty, name="v", **known):
    return Stack(
        name, Plane.AXIAL, len(uncertainty), 0, len(uncertainty) - 1, uncertainty=np.array(uncertainty), **known
    )


def chosen(stacks, budget, drawn=()):
    refs = frozenset(SliceRef("v", Plane.AXIAL, i) for i in drawn)
    return strategy_named("uncertainty").rank(stacks, budget, refs)


def test_without_features_the_most_uncertain_slices_come_first():
    found = chosen([stack([0.1, 5.0, 0.0, 3.0])], Budget(per_volume=3))
    assert [r.slice.index for r in found] == [1, 3, 0]
    assert [r.score for r in found] == pytest.approx([1, 2 / 3, 1 / 3])
    assert found[0].reason == "models disagree here (weighted area 5 mm²)"
    assert chosen([stack([0.0, 0.0])], Budget(per_volume=1))[0].reason == "models agree here"
    assert [r.slice.index for r in chosen([stack([0.1, 5.0, 0.0, 3.0])], Budget(per_volume=3), drawn=[1])] == [3, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_instead_of_ranked(bad):
    with pytest.raises(BadInputError, match="uncertainties of some axial slices of 'v' are not finite numbers"):
        chosen([stack([1.0, bad, 3.0])], Budget(per_volume=2))
    features = np.array([[1.0, 0.0], [bad, 1.0], [0.0, 1.0]], np.float32)
    for name in ("representative", "core_set"):
        with pytest.raises(BadInputError, match="features of some axial slices"):
            strategy_named(name).rank([Stack("v", Plane.AXIAL, 3, 0, 2, features=features)], Budget(per_volume=1))


def test_a_borda_count_adds_the_points_of_both_orders():
    assert borda_points([np.array([5.0, 1.0, 9.0]), np.array([0.3, 0.1, 0.2])]).tolist() == [3, 0, 3]
    assert borda_points([np.array([5.0, 5.0, 9.0])]).tolist() == [0.5, 0.5, 2]


def test_uncertain_slices_that_look_alike_are_not_all_drawn():
    features = np.repeat(np.eye(3), [4, 4, 4], axis=0)
    uncertainty = [9, 8.9, 8.8, 8.7, 5, 4.9, 4.8, 4.7, 0.3, 0.2, 0.1, 0.0]
    alone = [r.slice.index for r in chosen([stack(uncertainty)], Budget(per_volume=2))]
    joined = [r.slice.index for r in chosen([stack(uncertainty, features=features)], Budget(per_volume=2))]
    assert alone == [0, 1]
    assert joined == [0, 4]
    # What is drawn already covers its like.
    again = chosen([stack(uncertainty, features=features)], Budget(per_volume=5), drawn=[0, 4])
    assert [r.slice.index for r in again] == [1, 2, 8]


def test_minutes_are_spent_on_what_is_worth_most_for_its_time():
    uncertainty = [5.0, 4.0, 3.0, 0.0, 0.0, 0.0]
    seconds = np.array([100.0, 30.0, 30.0, 30.0, 30.0, 30.0])
    found = chosen([stack(uncertainty, seconds=seconds)], Budget(minutes=1, seconds_per_slice=1))
    assert {r.slice.index for r in found} == {1, 2}
    # Without known seconds each slice takes the usual ones.
    assert len(chosen([stack(uncertainty)], Budget(minutes=2, seconds_per_slice=40))) == 3


def test_minutes_are_one_budget_for_all_volumes_and_planes():
    stacks = [stack([9, 8, 7, 6], "v"), stack([0.1, 0.2, 0.3], "w")]
    for scope in Scope:
        found = chosen(stacks, Budget(minutes=4, seconds_per_slice=60, scope=scope))
        assert [r.slice.volume for r in found] == ["v"] * 4
    assert len(chosen([stack([1.0, 2.0], n) for n in "abc"], Budget(minutes=1.9, seconds_per_slice=40))) == 2


def test_a_slice_is_worth_its_place_so_that_cheap_ones_do_not_displace_the_best():
    uncertainty = [9.0, 8.0, *np.linspace(1, 0, 18)]
    seconds = np.array([60.0, 60.0, *[20.0] * 18])
    found = chosen([stack(uncertainty, seconds=seconds)], Budget(minutes=2, seconds_per_slice=1))
    taken = [r.slice.index for r in found]
    assert seconds[taken].sum() <= 120
    # The shortlist ends with the slices that take three times as long as there is: only those can be taken.
    assert max(taken) < 2 + (3 * 120 - 120) / 20


def test_minutes_keep_a_minimum_and_maximum_per_volume():
    stacks = [stack([9, 8, 7, 6], "v"), stack([0.1, 0.2, 0.3], "w")]
    budget = Budget(minutes=4, seconds_per_slice=60, scope=Scope.COHORT, minimum=1, maximum=2)
    volumes = [r.slice.volume for r in chosen(stacks, budget)]
    assert sorted(volumes) == ["v", "v", "w", "w"]
    budget = Budget(minutes=4, seconds_per_slice=60, scope=Scope.COHORT, minimum=1)
    assert [r.slice.volume for r in chosen(stacks, budget)].count("w") == 1
    budget = Budget(minutes=1, seconds_per_slice=60, scope=Scope.COHORT, minimum=1)
    with pytest.raises(BadInputError, match="does not fit into the minutes"):
        chosen(stacks, budget)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=8), st.integers(1, 25))
def test_the_knapsack_finds_the_optimum(items, capacity):
    values, costs = np.array(items, dtype=float).T
    taken = knapsack(values, costs, capacity)
    assert costs[taken].sum() <= capacity
    subsets = np.array(list(product([0, 1], repeat=len(items))))
    best = (subsets @ values)[subsets @ costs <= capacity].max()
    assert values[taken].sum() == pytest.approx(best)


def test_a_contour_and_its_parts_are_measured_in_the_plane():
    labels = np.zeros((3, 40, 60), np.uint8)
    labels[1, 10:20, 10:30] = 1
    labels[1, 30:35, 50:60] = 2  # reaches the volume's edge
    geometry = VolumeGeometry.from_spacing(labels.shape, (3.0, 0.5, 2.0))
    effort = drawing_effort(labels, geometry, 0)
    assert effort.parts.tolist() == [0, 2, 0]
    edges = 2 * (10 * 0.5 + 20 * 2.0) + 2 * (5 * 0.5 + 10 * 2.0)
    np.testing.assert_allclose(effort.contour_mm, [0, np.pi / 4 * edges, 0])
    rows, columns = np.indices((101, 101)) - 50
    disc = (np.hypot(rows, columns) <= 40).astype(np.uint8)[None]
    measured = drawing_effort(disc, VolumeGeometry.from_spacing(disc.shape), 0).contour_mm[0]
    assert measured == pytest.approx(2 * np.pi * 40, rel=0.03)


def test_the_cost_of_a_slice_is_learned_from_the_seconds_spent():
    rng = np.random.default_rng(0)
    effort = DrawingEffort(rng.uniform(0, 300, 40), rng.integers(0, 6, 40).astype(float))
    seconds = 8.0 + 0.2 * effort.contour_mm + 4.0 * effort.parts
    model = CostModel.learned(effort, seconds)
    assert (model.fixed, model.per_mm, model.per_part) == pytest.approx((8.0, 0.2, 4.0))
    np.testing.assert_allclose(model.seconds(effort), seconds)


def test_without_any_timed_slice_the_cost_is_assumed_from_contour_and_parts():
    effort = DrawingEffort(np.array([0.0, 100.0, 200.0]), np.array([0.0, 1.0, 5.0]))
    seconds = CostModel.assumed(effort, 60.0).seconds(effort)
    assert seconds.mean() == pytest.approx(60.0)
    np.testing.assert_allclose(seconds, [20, 20 + 20 + 10, 20 + 40 + 50])
    empty = DrawingEffort(np.zeros(3), np.zeros(3))
    assert CostModel.assumed(empty, 60.0).seconds(empty).tolist() == [60.0] * 3


def test_few_timed_slices_give_their_mean_and_none_gives_nothing():
    effort = DrawingEffort(np.array([10.0, 500.0]), np.array([1.0, 9.0]))
    model = CostModel.learned(effort, np.array([20.0, 40.0]))
    assert model.seconds(effort).tolist() == [30.0, 30.0]
    assert CostModel.learned(DrawingEffort(np.zeros(0), np.zeros(0)), np.zeros(0)) is None
    free = CostModel.learned(DrawingEffort(np.zeros(6), np.zeros(6)), np.full(6, 1e-3))
    assert free.seconds(effort).min() == 1.0


def test_a_hint_to_stop_comes_when_agreement_is_high_and_has_levelled_off():
    assert "1 more round needed" in stopping_hint([0.9]).sentence
    assert "2 more rounds needed" in stopping_hint([]).sentence
    assert not stopping_hint([0.5, 0.505]).stop
    assert "still rising" in stopping_hint([0.85, 0.9]).sentence
    assert "has fallen" in stopping_hint([0.95, 0.81]).sentence
    assert not stopping_hint([0.95, 0.81]).stop
    hint = stopping_hint([0.6, 0.9, 0.905])
    assert hint.stop
    assert "0.905" in hint.sentence
