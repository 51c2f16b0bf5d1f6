"""Leave-one-out scores, how 'auto' chooses methods by them, and the messages shown to the user."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from sparse_fills import annotation_of, axial, bent_tube, discs, filled
from SparseAnnotateLib.core import BadInputError, CancelledError, Plane, SparseAnnotateError, Watch
from SparseAnnotateLib.core.messages import Message
from SparseAnnotateLib.core.registry import PARTS_VARIABLE
from SparseAnnotateLib.interpolation import (
    INTERPOLATORS,
    AutoInterpolator,
    Fill,
    HiddenScore,
    auto_methods,
    finished_fill,
    interpolator_named,
    pooled,
)
from SparseAnnotateLib.interpolation.leave_one_out import best_methods, hidden_scores
from SparseAnnotateLib.worker.fill_request import FillRequest


def no_image():
    raise BadInputError("There is no image.")


class Painter:
    """A method that assigns one label to every undrawn voxel, and records the drawn slices that it was given."""

    needs_image = uses_image = False

    def __init__(self, value):
        self.value, self.shown = value, []

    def fill(self, annotation, image, watch=None):
        self.shown.append(annotation.ledger.indices(Plane.AXIAL))
        labels = np.full_like(annotation.labels, self.value)
        annotation.restore_drawn(labels)
        return Fill(labels, np.full(labels.shape, 50, np.uint8))


def test_every_inner_slice_is_hidden_once_while_its_neighbours_are_shown():
    labels = discs(*((index, 20, 20) for index in range(11)))
    painter = Painter(1)
    (score,) = hidden_scores({"painter": painter}, axial(labels, [0, 2, 4, 6, 8, 10], (3, 1, 1)), None)
    assert painter.shown == [[0, 4, 8, 10], [0, 2, 6, 10], [0, 8, 10]]
    disc, layer = int(labels[0].sum()), labels[0].size
    assert (score.slices, score.both, score.either) == (4, 4 * disc, 4 * (disc + layer))
    assert score.dice == pytest.approx(2 * disc / (disc + layer))
    # Four gaps; the hidden slice 4 lies between slices 0 and 8.
    assert (score.far_both, score.far_either) == (disc, disc + layer)
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
    # Label 2 was on one hidden slice, where b was slightly better; b is also better overall; 4 was on no hidden slice.
    assert best_methods(scores, [1, 2, 3, 4], ["a", "b"]) == {1: "a", 2: "b", 3: "b", 4: "b"}
    scores[-1] = score("b", 3, 100, 10)
    assert best_methods(scores, [2, 4], ["a", "b"]) == {2: "a", 4: "a"}
    assert best_methods([], [1], ["a", "b"]) == {1: "b"}


def test_a_method_is_chosen_for_the_gaps_as_they_are_not_for_twice_as_wide_ones():
    # Across two gaps the image is slightly better, but shapes improved far more from four gaps to two.
    shape, image = (HiddenScore(m, 1, both, 200, 4, 8.0, far, 200) for m, both, far in (("s", 84, 40), ("i", 85, 75)))
    assert best_methods([shape, image], [1], ["s", "i"]) == {1: "s"}
    near_only = [HiddenScore(s.method, 1, s.both, 200, 4, 8.0) for s in (shape, image)]
    assert best_methods(near_only, [1], ["s", "i"]) == {1: "i"}


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
    with pytest.raises(BadInputError, match="need the image, and there is none"):
        filled(axial(labels, [5, 9]), AutoInterpolator(("random_walk",)))
    with pytest.raises(BadInputError, match="name at least one"):
        AutoInterpolator(())


def test_auto_finds_that_the_image_helps():
    labels = bent_tube((41, 50, 50))
    fill = filled(axial(labels, range(0, 41, 10)), "auto", noisy_image(labels))
    assert fill.methods == {1: "random_walk"}
    dice = {s.method: s.dice for s in fill.scores}
    assert dice["random_walk"] > dice["shape"] + 0.1


OWN_METHOD = """
from SparseAnnotateLib.core.registry import Need
from SparseAnnotateLib.interpolation import INTERPOLATORS, InterpolatorEntry, interpolator_named

INTERPOLATORS.add(
    InterpolatorEntry(
        name="own",
        label="Own",
        description="The same as shape.",
        make=lambda: interpolator_named("shape"),
        tried_by_auto=True,
        needs=frozenset(NEEDS),
    )
)
"""


@pytest.fixture
def parts_folder(tmp_path, monkeypatch):
    """A folder for files with user-defined methods, which are unregistered after the test."""
    monkeypatch.setattr(INTERPOLATORS, "_entries", {name: INTERPOLATORS[name] for name in INTERPOLATORS})
    monkeypatch.setenv(PARTS_VARIABLE, str(tmp_path))
    return tmp_path


def test_auto_tries_a_method_whose_one_file_says_so(parts_folder):
    (parts_folder / "own.py").write_text(OWN_METHOD.replace("NEEDS", ""))
    fill = filled(axial(ball(radius=9.0), range(3, 22, 3)), "auto")
    assert {score.method for score in fill.scores} == {"shape", "own"}
    assert fill.methods == {1: "own"}  # the last one of equal methods
    assert auto_methods() == FillRequest("cohort").methods == ("shape", "random_walk", "own")
    assert not INTERPOLATORS["auto"].runs_in_worker


def test_auto_runs_in_the_worker_when_it_tries_a_method_that_does(parts_folder):
    (parts_folder / "own.py").write_text(OWN_METHOD.replace("NEEDS", "{Need.TORCH}"))
    assert INTERPOLATORS["auto"].runs_in_worker
    assert not INTERPOLATORS["shape"].runs_in_worker


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
        interpolator_named("auto").fill(annotation, None, watch)


def test_the_report_says_how_good_the_fill_is_and_what_is_too_thin_for_it():
    labels = discs(*((index, 20, 15) for index in range(11)))
    labels[5, 28:31, 40:43] = 2
    annotation = axial(labels, [0, 5, 10], (4.0, 1.0, 1.0))
    names = {1: "vessel", 2: "lens"}
    done = finished_fill(interpolator_named("auto"), annotation, no_image, names)
    assert done.summary == (
        "Leave-one-out Dice, with hidden slices filled from neighbors 40 mm apart (twice the usual spacing): "
        "'vessel' 1.00 (Shape), 'lens' 0.00 (Shape)."
    )
    assert all(isinstance(sentence, Message) for sentence in (done.summary, *done.warnings))
    thin, low = done.warnings[1:]
    assert thin.startswith(
        "'lens' appears on a single drawn slice but not on its neighbors, so it is thinner than the spacing"
    )
    assert "(20 mm at most)" in thin
    assert "'lens' 0.00" in low
    assert "'vessel'" not in low


def test_a_thin_structure_that_is_there_twice_is_named_too():
    labels = discs((0, 20, 15), (10, 20, 15))
    done = finished_fill(interpolator_named("shape"), axial(labels, [0, 5, 10]), no_image, {1: "lens"})
    assert "'lens' appears on a single drawn slice but not on its neighbors" in done.warnings[0]
    several = annotation_of(labels, {Plane.AXIAL: [0, 5, 10], Plane.CORONAL: [2, 30]})
    assert "'lens'" in finished_fill(interpolator_named("shape"), several, no_image, {1: "lens"}).warnings[0]
    seen = annotation_of(labels, {Plane.AXIAL: [0, 5, 10], Plane.CORONAL: [19, 20, 21]})
    assert finished_fill(interpolator_named("shape"), seen, no_image, {1: "lens"}).warnings == ()


def test_one_drawn_slice_and_only_empty_ones_are_reported():
    labels = discs((5, 20, 20))
    shape = interpolator_named("shape")
    once = finished_fill(shape, axial(labels, [5]), no_image, {})
    assert "Only one slice is drawn" in once.warnings[0]
    assert once.summary == ""
    assert "All drawn slices are empty" in finished_fill(shape, axial(labels, [2, 8]), no_image, {}).warnings[0]


def test_one_slice_in_each_of_two_planes_is_no_guess():
    labels = ball()
    annotation = annotation_of(labels, {Plane.AXIAL: [11, 12], Plane.CORONAL: [14]})
    assert finished_fill(interpolator_named("auto"), annotation, no_image, {}).warnings[1:] == ()


class Failing(Painter):
    def fill(self, annotation, image, watch=None):
        raise SparseAnnotateError("It was given up.")


def test_a_method_that_fails_is_not_chosen():
    fill = filled(
        axial(ball(), [5, 9, 13, 17]), AutoInterpolator({"shape": interpolator_named("shape"), "bad": Failing(1)})
    )
    assert fill.methods == {1: "shape"}


def test_labels_of_two_methods_leave_no_gap_where_both_assign_a_label():
    class Halves(Painter):
        def fill(self, annotation, image, watch=None):
            labels = np.full_like(annotation.labels, 2)
            labels[:, :, : self.value] = 1
            annotation.restore_drawn(labels)
            return Fill(labels, np.full(labels.shape, 50, np.uint8))

    labels = np.ones((9, 8, 20), np.uint8)
    labels[:, :, 10:] = 2
    scores = [HiddenScore(m, v, b, 100, 4, 2.0) for m, v, b in (("a", 1, 45), ("a", 2, 5), ("b", 1, 5), ("b", 2, 40))]
    method = AutoInterpolator({"a": Halves(8), "b": Halves(12)}, scores)
    fill = filled(axial(labels, [0, 4, 8]), method)
    assert fill.methods == {1: "a", 2: "b"}
    assert (fill.labels > 0).all()


def test_an_image_that_cannot_be_used_is_reported_and_left_out_if_possible():
    labels = bent_tube()
    annotation = axial(labels, [0, 5, 10, 15, 20])

    def broken():
        raise BadInputError("The volume 'scan' holds NaN.")

    done = finished_fill(interpolator_named("auto"), annotation, broken, {})
    assert done.warnings[0] == "Filled without using the image. The volume 'scan' holds NaN."
    assert done.fill.methods == {1: "shape"}
    with pytest.raises(BadInputError, match="NaN"):
        finished_fill(interpolator_named("random_walk"), annotation, broken, {})


def test_a_fill_continues_from_the_one_before():
    labels = bent_tube()
    image = noisy_image(labels)
    for name in ("shape", "random_walk"):
        method = interpolator_named(name)
        before = finished_fill(method, axial(labels, [0, 5, 10, 15, 20]), lambda: image, {})
        calls = []
        refill = method.refill
        method.refill = lambda *given, calls=calls, refill=refill: calls.append(given[3]) or refill(*given)
        changed = labels.copy()
        changed[10] = np.roll(labels[10], 4, 0)
        after = axial(changed, [0, 5, 10, 15])
        done = finished_fill(method, after, lambda: image, {}, previous=before)
        assert calls == [[(Plane.AXIAL, 20), (Plane.AXIAL, 10)]]
        whole = filled(after, name, image)
        assert (done.fill.labels == whole.labels).mean() > (0.999 if name == "random_walk" else 0.9999999)
        np.testing.assert_array_equal(done.fill.labels[10], changed[10])


@pytest.mark.parametrize("method", ["shape", "random_walk", "morphological", "auto"])
def test_every_method_refuses_when_nothing_is_drawn(method):
    labels = ball()
    with pytest.raises(BadInputError, match="No slice"):
        filled(axial(labels, []), method, noisy_image(labels))
