"""Leave-one-out, what 'auto' makes of it, and what the user is told."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from sparse_fills import annotation_of, axial, bent_tube, discs, filled
from SparseAnnotateLib.core import BadInputError, CancelledError, Plane, Watch
from SparseAnnotateLib.interpolation import (
    AutoInterpolator,
    Fill,
    HiddenScore,
    fill_summary,
    fill_warnings,
    interpolator_named,
    pooled,
)
from SparseAnnotateLib.interpolation.leave_one_out import best_methods, hidden_scores


class Painter:
    """A method that paints one label everywhere it has not been drawn, and remembers what it was shown."""

    needs_image = looks_at_image = False

    def __init__(self, value):
        self.value, self.shown = value, []

    def fill(self, annotation, image, geometry, watch=None):
        self.shown.append(annotation.ledger.indices(Plane.AXIAL))
        labels = np.full_like(annotation.labels, self.value)
        annotation.restore_drawn(labels)
        return Fill(labels, np.full(labels.shape, 50, np.uint8))


def test_every_inner_slice_is_hidden_once_while_its_neighbours_are_shown():
    labels = discs(*((index, 20, 20) for index in range(11)))
    painter = Painter(1)
    (score,) = hidden_scores({"painter": painter}, axial(labels, [0, 2, 4, 6, 8, 10], (3, 1, 1)), None)
    assert painter.shown == [[0, 4, 8, 10], [0, 2, 6, 10]]
    disc, layer = int(labels[0].sum()), labels[0].size
    assert (score.slices, score.both, score.either) == (4, 4 * disc, 4 * (disc + layer))
    assert score.dice == pytest.approx(2 * disc / (disc + layer))
    assert score.spacing_mm == 12


def test_with_fewer_than_three_slices_there_is_nothing_to_hide():
    assert hidden_scores({"painter": Painter(1)}, axial(discs((2, 9, 9), (6, 9, 9)), [2, 6]), None) == []
    assert AutoInterpolator(("shape",)).measure(axial(discs((2, 9, 9)), [2]), None) == []


def test_each_structure_gets_the_method_that_fills_it_best():
    labels = np.ones((25, 20, 20), np.uint8)
    labels[:, :, 10:] = 2
    methods = {"ones": Painter(1), "twos": Painter(2)}
    annotation = axial(labels, range(0, 25, 2))
    fill = filled(annotation, AutoInterpolator(methods))
    assert fill.methods == {1: "ones", 2: "twos"}
    assert {(s.method, s.label): round(s.dice, 3) for s in fill.scores} == {
        ("ones", 1): 0.667,
        ("ones", 2): 0.0,
        ("twos", 1): 0.0,
        ("twos", 2): 0.667,
    }
    # Both claim everything: the drawn slices stay, and confidence is halved where the methods disagree.
    assert (fill.labels[::2] == labels[::2]).all()
    assert (fill.confidence[1] == 25).all()


def test_a_label_that_was_hardly_seen_follows_all_the_others():
    def score(method, label, both, slices):
        return HiddenScore(method, label, both, 200 * slices, slices, 10.0)

    scores = [score("a", 1, 900, 10), score("b", 1, 700, 10), score("a", 2, 50, 1), score("b", 2, 60, 1)]
    scores += [score("a", 3, 100, 10), score("b", 3, 900, 10)]
    # Label 2 was on one hidden slice, where b was a little better; over all, b is better, too; 4 was never seen.
    assert best_methods(scores, [1, 2, 3, 4], ["a", "b"]) == {1: "a", 2: "b", 3: "b", 4: "b"}
    scores[-1] = score("b", 3, 100, 10)
    assert best_methods(scores, [2, 4], ["a", "b"]) == {2: "a", 4: "a"}
    assert best_methods([], [1], ["a", "b"]) == {1: "b"}


def test_scores_of_several_volumes_are_summed():
    one, two = HiddenScore("a", 1, 10, 40, 1, 6.0), HiddenScore("a", 1, 30, 60, 3, 10.0)
    assert pooled([one, two, HiddenScore("b", 1, 1, 2, 1, 6.0)]) == [
        HiddenScore("a", 1, 40, 100, 4, 9.0),
        HiddenScore("b", 1, 1, 2, 1, 6.0),
    ]


def test_without_an_image_auto_chooses_among_the_methods_that_need_none():
    labels = ball(radius=9.0)
    fill = filled(axial(labels, range(3, 22, 3)), "auto")
    assert fill.methods == {1: "shape"}
    np.testing.assert_array_equal(fill.labels, filled(axial(labels, range(3, 22, 3))).labels)
    with pytest.raises(BadInputError, match="looks at the image, and there is none"):
        filled(axial(labels, [5, 9]), AutoInterpolator(("random_walk",)))
    with pytest.raises(BadInputError, match="name at least one"):
        AutoInterpolator(())


def test_auto_finds_that_the_image_helps():
    labels = bent_tube((41, 50, 50))
    fill = filled(axial(labels, range(0, 41, 10)), "auto", noisy_image(labels))
    assert fill.methods == {1: "random_walk"}
    dice = {s.method: s.dice for s in fill.scores}
    assert dice["random_walk"] > dice["shape"] + 0.1


def test_measured_scores_are_not_measured_again():
    painter = Painter(1)
    method = AutoInterpolator({"painter": painter}).with_scores([HiddenScore("painter", 1, 5, 10, 1, 4.0)])
    fill = filled(axial(ball(), [5, 9, 13]), method)
    assert painter.shown == [[5, 9, 13]]
    assert fill.methods == {1: "painter"}


def test_auto_can_be_cancelled_while_it_tries():
    annotation = axial(ball(), [5, 9, 13])
    watch = Watch(lambda progress: watch.cancel() if "trying" in progress.message else None)
    with pytest.raises(CancelledError):
        interpolator_named("auto").fill(annotation, None, annotation.geometry, watch)


def test_the_user_is_told_how_good_the_fill_is_and_what_is_too_thin_for_it():
    labels = discs(*((index, 20, 15) for index in range(11)))
    labels[5, 28:31, 40:43] = 2
    annotation = axial(labels, [0, 5, 10], (4.0, 1.0, 1.0))
    fill = filled(annotation, "auto")
    names = {1: "vessel", 2: "lens"}
    assert fill_summary(fill, names) == (
        "Slices 40 mm apart, twice as far as now, would fill to Dice: 'vessel' 1.00 (shape), 'lens' 0.00 (shape)."
    )
    thin, low = fill_warnings(annotation, fill, names)
    assert thin.startswith("'lens' is on one drawn slice only, so thinner than the distance of drawn slices (20 mm")
    assert "'lens' 0.00" in low
    assert "'vessel'" not in low


def test_one_drawn_slice_and_only_empty_ones_are_said():
    labels = discs((5, 20, 20))
    annotation = axial(labels, [5])
    assert "Only one slice is drawn" in fill_warnings(annotation, filled(annotation, "auto"), {})[0]
    empty = axial(np.zeros_like(labels), [2, 5])
    assert "All drawn slices are empty" in fill_warnings(empty, filled(empty, "auto"), {})[0]
    assert fill_summary(filled(annotation, "auto"), {}) == ""


def test_one_slice_in_each_of_two_planes_is_no_guess():
    labels = ball()
    annotation = annotation_of(labels, {Plane.AXIAL: [12], Plane.CORONAL: [14]})
    assert fill_warnings(annotation, filled(annotation, "auto"), {}) == []


@pytest.mark.parametrize("method", ["shape", "random_walk", "morphological", "auto"])
def test_every_method_refuses_when_nothing_is_drawn(method):
    labels = ball()
    with pytest.raises(BadInputError, match="No slice"):
        filled(axial(labels, []), method, noisy_image(labels))
