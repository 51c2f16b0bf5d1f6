from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from SparseAnnotateLib.core import LabelFigures, VolumeGeometry, compare_labels, mean_of_known
from SparseAnnotateLib.core.strict_json import to_plain

GEOMETRY = VolumeGeometry.from_spacing((2, 4, 6), (2.0, 1.0, 1.0))
LABELS = arrays(np.uint8, GEOMETRY.shape, elements=st.integers(0, 3))


def volume(**where) -> np.ndarray:
    """Labels by slices of the last axis: `volume(a=(1, 0, 2))` puts label 1 on columns 0 and 1."""
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    for label, start, stop in where.values():
        labels[..., start:stop] = label
    return labels


def test_a_structure_that_is_only_predicted_counts_as_zero():
    reference, result = volume(a=(1, 0, 2)), volume(a=(1, 0, 2), b=(2, 3, 4))
    figures = compare_labels("c", result, reference, GEOMETRY)
    assert [(f.label, f.dice, f.hd95_mm) for f in figures.labels] == [(1, 1.0, 0.0), (2, 0.0, math.inf)]
    assert figures.dice == 0.5
    assert figures.hd95_mm == math.inf
    assert compare_labels("c", reference, result, GEOMETRY).dice == 0.5


def test_what_neither_has_is_in_no_mean_and_is_named():
    labels = volume(a=(1, 0, 2))
    figures = compare_labels("c", labels, labels, GEOMETRY, [1, 4, 0, 9])
    assert [f.label for f in figures.labels] == [1]
    assert figures.absent == (4, 9)
    assert figures.dice == 1.0


def test_a_volume_without_any_structure_has_no_figures():
    nothing = volume()
    figures = compare_labels("c", nothing, nothing, GEOMETRY, [1, 2])
    assert (figures.dice, figures.hd95_mm, figures.undrawn_dice) == (None, None, None)
    assert figures.absent == (1, 2)
    assert mean_of_known([None, 0.5, None, 1.0]) == 0.75


def test_labels_that_are_not_asked_for_count_for_nothing():
    figures = compare_labels("c", volume(b=(2, 0, 3)), volume(a=(1, 0, 2)), GEOMETRY, [1])
    assert [(f.label, f.dice) for f in figures.labels] == [(1, 0.0)]


def test_undrawn_voxels_are_also_measured_alone():
    reference, result = volume(a=(1, 0, 4)), volume(a=(1, 0, 3))
    drawn = np.zeros(GEOMETRY.shape, bool)
    drawn[..., :2] = True
    (figures,) = compare_labels("c", result, reference, GEOMETRY, drawn=drawn).labels
    assert figures.dice == pytest.approx(2 * 3 / (3 + 4))
    assert figures.undrawn_dice == pytest.approx(2 * 1 / (1 + 2))
    drawn[..., :4] = True
    assert compare_labels("c", result, reference, GEOMETRY, drawn=drawn).undrawn_dice is None
    assert compare_labels("c", result, reference, GEOMETRY).undrawn_dice is None


def test_infinite_distances_come_back_from_json_and_a_dice_that_is_not_there_does_not_become_one():
    (figures,) = compare_labels("c", volume(), volume(a=(1, 0, 2)), GEOMETRY).labels
    row = to_plain(figures)
    assert row["hd95_mm"] is None
    assert LabelFigures.from_plain(row) == figures


@given(LABELS, LABELS)
def test_comparing_is_fair_to_both_sides_and_never_not_a_number(one, other):
    here, there = compare_labels("c", one, other, GEOMETRY), compare_labels("c", other, one, GEOMETRY)
    assert [f.label for f in here.labels] == sorted({*np.unique(one).tolist(), *np.unique(other).tolist()} - {0})
    assert here.dice == there.dice
    if here.dice is not None:
        assert 0.0 <= here.dice <= 1.0
        assert (here.dice == 1.0) == np.array_equal(one, other)
        assert not math.isnan(here.hd95_mm)
