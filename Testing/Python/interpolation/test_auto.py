"""Leave-one-out, how 'auto' mixes methods by it, and the messages shown to the user."""

from __future__ import annotations

from dataclasses import replace

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
    Evidence,
    Fill,
    auto_methods,
    finished_fill,
    interpolator_named,
    pooled,
)
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator
from SparseAnnotateLib.interpolation.leave_one_out import rounds
from SparseAnnotateLib.interpolation.mixing import mixtures
from SparseAnnotateLib.interpolation.source_failures import SourceFailedError
from SparseAnnotateLib.interpolation.structure_groups import _left_out_of_all
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


def tally(*counts, sources=("shape", "random_walk"), label=1, slices=8) -> Evidence:
    """Evidence on one label, with these Dice values (in percent) of the mixtures."""
    table = np.array([[dice, 200.0] for dice in counts])
    return Evidence(sources, {label: table}, {label: slices}, {label: 10.0 * slices})


def test_every_inner_slice_is_hidden_once_while_its_neighbours_are_shown():
    labels = discs(*((index, 20, 20) for index in range(11)))
    found = list(rounds(axial(labels, [0, 2, 4, 6, 8, 10], (3, 1, 1))))
    assert [one.hidden for one in found] == [[2, 6], [4, 8]]
    assert [one.rest.ledger.indices(Plane.AXIAL) for one in found] == [[0, 4, 8, 10], [0, 2, 6, 10]]
    annotation = axial(labels, [0, 2, 4, 6, 8, 10], (3, 1, 1))
    (evidence,) = AutoInterpolator({"painter": Painter(1)}).measure(annotation, None)
    ((both, either),) = evidence.counts[1]
    disc = int(labels[0].sum())
    assert both == 4 * disc
    assert either > 8 * disc, "the painter labels everything near"
    assert evidence.slices == {1: 4}
    assert evidence.spacing_mm == {1: 4 * 12.0}


def test_of_many_slices_some_are_hidden_spread_evenly():
    labels = np.repeat(discs((0, 20, 20)), 101, axis=0)[:101]
    found = list(rounds(axial(labels, range(101))))
    hidden = sorted(index for one in found for index in one.hidden)
    assert len(hidden) == 10
    assert np.diff(hidden).max() - np.diff(hidden).min() <= 1
    for one in found:
        shown = one.rest.ledger.indices(Plane.AXIAL)
        assert all(index - 1 in shown and index + 1 in shown for index in one.hidden)


def test_with_fewer_than_three_slices_there_is_nothing_to_hide():
    assert AutoInterpolator(("shape",)).measure(axial(discs((2, 9, 9), (6, 9, 9)), [2, 6]), None) == []
    assert AutoInterpolator(("shape",)).measure(axial(discs((2, 9, 9)), [2]), None) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_mixtures_are_spread_over_all_shares(count):
    tried = mixtures(count)
    assert len(tried) <= 70
    np.testing.assert_allclose(tried.sum(1), 1.0, rtol=1e-6)
    assert len(np.unique(tried, axis=0)) == len(tried)
    assert {tuple(row) for row in np.eye(count)} <= {tuple(row) for row in tried}


def test_without_evidence_the_image_decides_and_with_it_what_predicts_hidden_slices():
    usual = Evidence(("shape", "random_walk")).shares([1])[1]
    assert usual == {"shape": 0.0, "random_walk": 1.0}
    assert Evidence(("own", "other")).shares([1])[1] == {"own": 0.5, "other": 0.5}
    # Mixtures are in order of the share of shapes.
    shapes = tally(*range(70, 81)).shares([1])[1]
    assert shapes["shape"] > 0.9
    walk = tally(*range(80, 69, -1)).shares([1])[1]
    assert walk["random_walk"] > 0.9
    alike = tally(*[80.0] * 11).shares([1])[1]
    assert alike["random_walk"] > alike["shape"]
    assert sum(alike.values()) == pytest.approx(1.0)
    # Where nothing predicts the hidden slices, differences mean nothing.
    hopeless = tally(*np.linspace(0, 1.5, 11)).shares([1])[1]
    assert hopeless["random_walk"] > 0.9


def test_a_label_that_was_hardly_seen_follows_all_the_others():
    table = {
        1: tally(*range(60, 82, 2)).counts[1],
        2: tally(*range(64, 58, -1), 58, 57, 56, 55, 54).counts[1],
        3: tally(*range(80, 58, -2)).counts[1],
    }
    evidence = Evidence(("shape", "random_walk"), table, {1: 30, 2: 1, 3: 30}, {1: 1.0, 2: 1.0, 3: 1.0})
    shares = evidence.shares([1, 2, 3, 4])
    assert shares[1]["shape"] > 0.7
    assert shares[3]["random_walk"] > 0.7
    assert shares[4]["random_walk"] > shares[1]["random_walk"]
    other = Evidence(evidence.sources, dict(reversed(table.items())), evidence.slices, evidence.spacing_mm)
    assert other.shares([1, 2, 3, 4]) == shares, "whatever the order of the labels"


def test_a_label_on_one_hidden_slice_follows_nine_labels_on_many():
    many = {n: tally(*range(60, 82, 2)[::-1]).counts[1] for n in range(1, 10)}
    slices = dict.fromkeys(many, 16) | {10: 1}
    counts = many | {10: tally(*range(60, 82, 2)).counts[1]}
    evidence = Evidence(("shape", "random_walk"), counts, slices, dict.fromkeys(counts, 1.0))
    assert evidence.shares([10])[10]["random_walk"] > 0.8


def test_in_gaps_half_as_wide_shapes_count_more_than_across_hidden_slices_if_there_were_many():
    best = [50, 55, 60, 65, 70, 80, 70, 65, 60, 55, 50]  # equal shares
    few, many = (tally(*best, slices=slices).shares([1])[1] for slices in (1, 3000))
    assert few["shape"] == pytest.approx(0.5, abs=0.03)
    assert many["shape"] == pytest.approx(0.5 / (0.5 + 0.5 * 0.3), abs=0.03)
    assert sum(many.values()) == pytest.approx(1.0)
    unguided = tally(*best, sources=("own", "other"), slices=3000).shares([1])[1]
    assert unguided["own"] == pytest.approx(0.5, abs=0.03)


def test_hidden_slices_are_compared_in_their_own_plane():
    rows = np.indices((40, 44, 48))
    labels = (np.hypot(rows[1] - 20, rows[2] - 24) < 9).astype(np.uint8)
    planes = {Plane.AXIAL: list(range(6, 32, 5)), Plane.CORONAL: list(range(8, 33, 6))}
    annotation = annotation_of(labels, planes)
    (evidence,) = AutoInterpolator(("shape",)).measure(annotation, None)
    assert evidence.slices[1] == 4
    assert evidence.scores({})[0].dice > 0.9


def test_evidence_of_several_volumes_is_summed():
    one, two = tally(*range(11), label=1), tally(*range(11), label=2)
    together = pooled([one, two, one, tally(*range(1), sources=("shape",))])
    assert [e.sources for e in together] == [("shape", "random_walk"), ("shape",)]
    np.testing.assert_array_equal(together[0].counts[1], 2 * one.counts[1])
    assert together[0].slices == {1: 16, 2: 8}
    scores = together[0].scores({1: {"shape": 0.3, "random_walk": 0.7}})
    assert {(s.method, s.label) for s in scores} == {
        ("shape", 1),
        ("random_walk", 1),
        ("auto", 1),
        ("shape", 2),
        ("random_walk", 2),
    }
    assert all(s.spacing_mm == 10.0 for s in scores)


def test_the_score_of_a_mixture_with_a_run_is_that_of_the_methods_in_the_same_proportions():
    evidence = tally(*range(11))
    alone = {s.method: s.dice for s in evidence.scores({1: {"shape": 0.4, "random_walk": 0.6}})}
    shares = {"shape": 0.16, "random_walk": 0.24, "run 'first'": 0.6}
    assert {s.method: s.dice for s in evidence.scores({1: shares})} == alone
    # Where all comes from the run, there is no such mixture.
    of_run = {"shape": 0.0, "random_walk": 0.0, "run 'first'": 1.0}
    assert {s.method for s in evidence.scores({1: of_run})} == {"shape", "random_walk"}


def test_each_structure_gets_the_method_that_fills_it_best():
    labels = np.ones((25, 20, 20), np.uint8)
    labels[:, :, 10:] = 2
    annotation = axial(labels, range(0, 25, 2))
    fill = filled(annotation, AutoInterpolator({"ones": Painter(1), "twos": Painter(2)}))
    assert fill.shares[1]["ones"] > 0.6 > 0.4 > fill.shares[2]["ones"]
    assert fill.methods == {1: "auto", 2: "auto"}
    dice = {(s.method, s.label): s.dice for s in fill.scores}
    assert dice["ones", 1] > 0.6
    assert dice["ones", 2] == dice["twos", 1] == 0.0
    # Both claim everything: the drawn slices stay, and confidence is low where the methods disagree.
    assert (fill.labels[::2] == labels[::2]).all()
    assert fill.confidence[1].max() < 90


def test_without_an_image_auto_chooses_among_the_methods_that_need_none():
    labels = ball(radius=9.0)
    fill = filled(axial(labels, range(3, 22, 3)), "auto")
    assert fill.shares == {1: {"shape": 1.0}}
    np.testing.assert_array_equal(fill.labels, filled(axial(labels, range(3, 22, 3))).labels)
    with pytest.raises(BadInputError, match="need the image, and there is none"):
        filled(axial(labels, [5, 9]), AutoInterpolator(("random_walk",)))
    with pytest.raises(BadInputError, match="name at least one"):
        AutoInterpolator(())


def test_auto_finds_that_the_image_helps():
    labels = bent_tube((41, 50, 50))
    fill = filled(axial(labels, range(0, 41, 10)), "auto", noisy_image(labels))
    assert fill.shares[1]["random_walk"] > 0.6
    dice = {s.method: s.dice for s in fill.scores}
    assert dice["random_walk"] > dice["shape"] + 0.1
    assert dice["auto"] >= dice["random_walk"] - 0.01


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
    assert {score.method for score in fill.scores} == {"shape", "own", "auto"}
    assert set(fill.shares[1]) == {"shape", "own"}
    assert auto_methods() == FillRequest("cohort").methods == ("shape", "random_walk", "own")
    assert not INTERPOLATORS["auto"].runs_in_worker


def test_auto_runs_in_the_worker_when_it_tries_a_method_that_does(parts_folder):
    (parts_folder / "own.py").write_text(OWN_METHOD.replace("NEEDS", "{Need.TORCH}"))
    assert INTERPOLATORS["auto"].runs_in_worker
    assert not INTERPOLATORS["shape"].runs_in_worker


def test_what_was_measured_is_not_measured_again():
    painter = Painter(1)
    method = AutoInterpolator({"painter": painter}).with_evidence([tally(40, sources=("painter",))])
    fill = filled(axial(ball(), [5, 9, 13]), method)
    assert painter.shown == [[5, 9, 13]]
    assert fill.shares == {1: {"painter": 1.0}}
    assert {s.dice for s in fill.scores} == {0.4}


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


def test_a_method_that_fails_takes_no_part_and_this_is_said():
    annotation = axial(ball(), [5, 9, 13, 17])
    done = finished_fill(
        AutoInterpolator({"shape": interpolator_named("shape"), "bad": Failing(1)}), annotation, no_image, {}
    )
    assert done.fill.shares == {1: {"shape": 1.0}}
    np.testing.assert_array_equal(done.fill.labels, filled(annotation).labels)
    assert "Filled without 'bad', which failed. It was given up." in done.warnings
    with pytest.raises(SparseAnnotateError, match="It was given up"):
        filled(annotation, AutoInterpolator({"bad": Failing(1)}))


class Breaking(ShapeInterpolator):
    """Works for some gaps, and then no more."""

    def __init__(self, asked: int, error: Exception):
        self.left, self.error = asked, error

    def chance(self, *given):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().chance(*given)


@pytest.mark.parametrize("asked", [0, 1, 3])  # on hidden slices, and in the fill itself
def test_a_method_that_fails_in_the_middle_takes_no_part_and_this_is_said(asked):
    annotation, image = axial(ball(), [5, 9, 13, 17]), noisy_image(ball())
    breaking = Breaking(asked, SparseAnnotateError("It was given up."))
    methods = {"shape": interpolator_named("shape"), "bad": breaking}
    done = finished_fill(AutoInterpolator(methods), annotation, lambda: image, {})
    assert done.fill.shares == {1: {"shape": 1.0}}
    np.testing.assert_array_equal(done.fill.labels, filled(annotation).labels)
    assert [w for w in done.warnings if "bad" in w] == ["Filled without 'bad', which failed. It was given up."]
    with pytest.raises(SparseAnnotateError, match="It was given up"):
        filled(annotation, AutoInterpolator({"bad": breaking}))


class FailingInWideGaps(ShapeInterpolator):
    """Where slices are hidden, gaps are twice as wide; in others it fills nothing."""

    def chance(self, place, *given):
        if place.gap.count > 3:
            raise MemoryError
        return np.zeros_like(super().chance(place, *given))


@pytest.mark.parametrize("is_known", [False, True])  # the evidence, measured before on many volumes
def test_a_method_that_fails_only_on_hidden_slices_does_not_decide_the_fill(is_known):
    annotation, image = axial(ball(), [5, 9, 13, 17]), noisy_image(ball())
    auto = AutoInterpolator({"shape": interpolator_named("shape"), "bad": FailingInWideGaps()})
    if is_known:
        auto = auto.with_evidence(auto.measure(annotation, image))
    done = finished_fill(auto, annotation, lambda: image, {})
    assert done.fill.shares == {1: {"shape": 1.0}}
    np.testing.assert_array_equal(done.fill.labels, filled(annotation).labels)
    assert any(warning.startswith("Filled without 'bad', which failed.") for warning in done.warnings)
    assert "Leave-one-out Dice" in done.summary


def test_a_method_that_was_not_tried_because_images_were_missing_has_not_failed():
    annotation, image = axial(ball(), [5, 9, 13, 17]), noisy_image(ball())
    auto = AutoInterpolator()
    done = finished_fill(auto.with_evidence(auto.measure(annotation, None)), annotation, lambda: image, {})
    assert done.fill.shares[1]["random_walk"] > 0
    assert not any("failed" in warning for warning in done.warnings)


class WithoutMemory(Painter):
    def fill(self, annotation, image, watch=None):
        raise MemoryError


def test_a_method_of_labels_that_has_too_little_memory_takes_no_part():
    annotation = axial(ball(), [5, 9, 13, 17])
    methods = {"shape": interpolator_named("shape"), "bad": WithoutMemory(1)}
    done = finished_fill(AutoInterpolator(methods), annotation, no_image, {})
    assert "Filled without 'bad', which failed. There was not enough memory for it." in done.warnings


def test_a_failure_that_no_method_can_be_blamed_for_ends_the_fill(monkeypatch):
    """It is not filled again and again."""
    count = []

    def fails(self, *_given):
        count.append(1)
        raise SourceFailedError("something else", "There was not enough memory for it.")

    monkeypatch.setattr(AutoInterpolator, "_mixed", fails)
    with pytest.raises(SourceFailedError):
        filled(axial(ball(), [5, 9, 13, 17]), interpolator_named("auto"), noisy_image(ball()))
    assert len(count) == 1


@pytest.mark.parametrize("error", [SparseAnnotateError("It was given up."), MemoryError()])
def test_a_method_that_fails_when_two_gaps_are_filled_again_takes_no_part(error):
    breaking = Breaking(1000, error)
    method = AutoInterpolator({"shape": interpolator_named("shape"), "bad": breaking})
    before = finished_fill(method, axial(ball(), [5, 9, 13, 17]), no_image, {})
    assert set(before.fill.shares[1]) == {"shape", "bad"}
    breaking.left = 0
    changed = ball()
    changed[9] = np.roll(changed[9], 2, 0)
    after = finished_fill(method, axial(changed, [5, 9, 13, 17]), no_image, {}, previous=before)
    np.testing.assert_array_equal(after.fill.labels, filled(axial(changed, [5, 9, 13, 17])).labels)
    assert any("Filled without 'bad', which failed." in warning for warning in after.warnings)


def test_what_failed_stays_left_out_while_gaps_are_filled_again_and_nothing_is_measured_again(monkeypatch):
    methods = {"shape": interpolator_named("shape"), "bad": Breaking(1, SparseAnnotateError("It was given up."))}
    auto = AutoInterpolator(methods)
    done = finished_fill(auto, axial(ball(), [5, 9, 13, 17]), no_image, {})
    assert list(done.fill.left_out) == ["bad"]
    monkeypatch.setattr(AutoInterpolator, "measure", lambda *_given: pytest.fail("It was measured again."))
    changed = ball()
    for _again in range(2):
        changed[9] = np.roll(changed[9], 2, 0)
        now = axial(changed.copy(), [5, 9, 13, 17])
        done = finished_fill(auto, now, no_image, {}, previous=done)
        assert done.fill.is_updated
        np.testing.assert_array_equal(done.fill.labels, filled(now).labels)
        assert [w for w in done.warnings if "bad" in w] == ["Filled without 'bad', which failed. It was given up."]


def test_a_source_is_left_out_of_all_only_where_it_takes_part_in_no_group():
    """Where it takes part in one, its notes are shown."""
    annotation = axial(ball(), [5, 9, 13, 17])
    fills = [replace(filled(annotation), left_out=left) for left in ({"a": "A.", "b": "B."}, {"b": "B."})]
    assert _left_out_of_all(fills) == {"b": "B."}


def test_a_cancellation_is_no_failure_of_a_method():
    methods = {"shape": interpolator_named("shape"), "bad": Breaking(1, CancelledError("Cancelled."))}
    with pytest.raises(CancelledError):
        filled(axial(ball(), [5, 9, 13, 17]), AutoInterpolator(methods))


def test_labels_of_two_methods_leave_no_gap_where_both_assign_a_label():
    class Halves(Painter):
        def fill(self, annotation, image, watch=None):
            labels = np.full_like(annotation.labels, 2)
            labels[:, :, : self.value] = 1
            annotation.restore_drawn(labels)
            return Fill(labels, np.full(labels.shape, 50, np.uint8))

    labels = np.ones((9, 8, 20), np.uint8)
    labels[:, :, 10:] = 2
    evidence = tally(*range(70, 92, 2), sources=("a", "b"), label=1)
    evidence = evidence + tally(*range(90, 68, -2), sources=("a", "b"), label=2)
    fill = filled(axial(labels, [0, 4, 8]), AutoInterpolator({"a": Halves(8), "b": Halves(12)}, [evidence]))
    assert fill.shares[1]["a"] > 0.7
    assert fill.shares[2]["b"] > 0.7
    assert (fill.labels > 0).all()


def test_an_image_that_cannot_be_used_is_reported_and_left_out_if_possible():
    labels = bent_tube()
    annotation = axial(labels, [0, 5, 10, 15, 20])

    def broken():
        raise BadInputError("The volume 'scan' holds NaN.")

    done = finished_fill(interpolator_named("auto"), annotation, broken, {})
    assert done.warnings[0] == "Filled without using the image. The volume 'scan' holds NaN."
    assert done.fill.shares == {1: {"shape": 1.0}}
    with pytest.raises(BadInputError, match="NaN"):
        finished_fill(interpolator_named("random_walk"), annotation, broken, {})


def test_shares_are_measured_again_when_many_slices_have_been_drawn_since():
    labels = bent_tube((41, 50, 50))
    image = noisy_image(labels)

    def made(drawn, previous=None):
        return finished_fill(
            interpolator_named("auto"), axial(labels, drawn), lambda: image, {1: "tube"}, None, previous
        )

    first = made([0, 40])
    assert first.summary == ""
    second = made([0, 20, 40], first)
    assert second.fill.scores, "nothing had been measured"
    assert second.fill.measured_on == 3
    before = made(range(0, 41, 4))
    one_more = made(sorted([*range(0, 41, 4), 6]), before)
    assert one_more.fill.shares == before.fill.shares
    assert one_more.summary.endswith("Measured before the last change.")
    assert "Measured before" not in before.summary
    many = made(range(0, 41, 2), before)
    assert "Measured before" not in many.summary
    assert many.fill.measured_on == 21


def test_a_fill_continues_from_the_one_before():
    labels = bent_tube()
    image = noisy_image(labels)
    for name in ("shape", "random_walk", "auto"):
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
        assert (done.fill.labels == whole.labels).mean() > (0.9999999 if name == "shape" else 0.995)
        np.testing.assert_array_equal(done.fill.labels[10], changed[10])


@pytest.mark.parametrize("method", ["shape", "random_walk", "morphological", "auto"])
def test_every_method_refuses_when_nothing_is_drawn(method):
    labels = ball()
    with pytest.raises(BadInputError, match="No slice"):
        filled(axial(labels, []), method, noisy_image(labels))
