"""The request `correct`: a correction is stored, and the stored result follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_facts, read_labels, write_image
from SparseAnnotateLib.core.origin import Origin, belongs_to
from SparseAnnotateLib.worker import answers, correct_request, requests

SHAPE = (32, 40, 40)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))
CASE = "scan"


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    k, j, i = np.indices(SHAPE)
    truth = (((k - 16) * 2) ** 2 + (j - 20) ** 2 + (i - 18) ** 2 < 120).astype(np.uint8)
    image = 100 * truth + np.random.default_rng(0).normal(0, 5, SHAPE)
    write_image(tmp_path / "scan.nrrd", image.astype(np.int16), GEOMETRY)
    made = Cohort.create(tmp_path / "cohort", "one", {1: "liver"})
    made.add_case(CASE, tmp_path / "scan.nrrd")
    made.save_annotation(CASE, SparseAnnotation.from_slices(truth, GEOMETRY, Plane.AXIAL, [10, 16]))
    return made


def correct(cohort: Cohort, **options):
    given = {"structure": "liver", "at": (18.0, 20.0, 44.0), **options}
    return requests.correct(requests.CorrectRequest(str(cohort.folder), CASE, **given), Watch())


def fill(cohort: Cohort) -> np.ndarray:
    requests.fill(requests.FillRequest(str(cohort.folder)), Watch())
    return stored_fill(cohort)


def stored_fill(cohort: Cohort) -> np.ndarray:
    return read_labels(cohort.fill_path(CASE), GEOMETRY)


def test_the_fill_follows_a_correction_and_a_new_fill_is_the_same(cohort):
    before = fill(cohort)
    done = correct(cohort, seconds=3.5)
    followed = stored_fill(cohort)
    assert done.changed == np.count_nonzero(followed != before) > 0
    assert followed[22, 20, 18] == 1
    assert done.path == str(cohort.fill_path(CASE))
    assert cohort.annotation(CASE).corrections.strokes[0].seconds == 3.5
    origin = Origin.from_facts(read_facts(cohort.fill_path(CASE)))
    assert not origin.changes(cohort.origin(CASE)), "it is up to date"
    assert read_labels(cohort.fill_confidence_path(CASE), GEOMETRY)[22, 20, 18] == 100
    np.testing.assert_array_equal(fill(cohort), followed)


def test_without_a_fill_or_with_one_out_of_date_the_correction_is_stored_all_the_same(cohort):
    done = correct(cohort)
    assert (done.path, done.corrections) == ("", 1)
    assert "no fill yet" in done.notes[0]
    made = fill(cohort)
    assert made[22, 20, 18] == 1
    cohort.save_annotation(CASE, SparseAnnotation.from_slices(made, GEOMETRY, Plane.AXIAL, [10, 12, 16]))
    done = correct(cohort, at=(18.0, 20.0, 48.0))
    assert (done.path, done.corrections) == ("", 2)
    assert "out of date (1 more slice has been drawn since)" in done.notes[0]
    np.testing.assert_array_equal(stored_fill(cohort), made)
    assert fill(cohort)[24, 20, 18] == 1


def test_the_same_correction_again_changes_nothing_and_the_fill_stays_up_to_date(cohort):
    fill(cohort)
    first = correct(cohort)
    followed = stored_fill(cohort)
    for _time in range(2):
        again = correct(cohort)
        assert (again.corrections, again.voxels, again.changed, again.path) == (1, first.voxels, 0, first.path)
        origin = Origin.from_facts(read_facts(cohort.fill_path(CASE)))
        assert not origin.changes(cohort.origin(CASE))
    np.testing.assert_array_equal(stored_fill(cohort), followed)


def test_a_correction_that_was_only_stored_is_followed_when_it_is_repeated(cohort):
    fill(cohort)
    assert correct(cohort, only="store").changed == 0
    done = correct(cohort)
    assert (done.corrections, done.path) == (1, str(cohort.fill_path(CASE)))
    assert done.changed > 0
    assert not Origin.from_facts(read_facts(cohort.fill_path(CASE))).changes(cohort.origin(CASE))


def test_contradictions_and_drawn_slices_are_named(cohort):
    fill(cohort)
    correct(cohort)
    done = correct(cohort, outside=True)
    assert any("contradict an earlier correction, near 18.0, 20.0, 44.0" in note for note in done.notes)
    assert stored_fill(cohort)[22, 20, 18] == 0
    done = correct(cohort, at=(18.0, 20.0, 34.0))
    assert any("on a drawn slice" in n or "on drawn slices" in n for n in done.notes)
    with pytest.raises(BadInputError, match="lies on drawn slices"):
        correct(cohort, at=(18.0, 20.0, 32.0), radius=0.5)
    assert len(cohort.annotation(CASE).corrections.strokes) == 3


def test_clearing_removes_them_and_the_fill_is_out_of_date(cohort):
    before = fill(cohort)
    correct(cohort)
    requests.correct(requests.CorrectRequest(str(cohort.folder), CASE, clear=True), Watch())
    assert cohort.annotation(CASE).corrections is None
    assert "a correction" in Origin.from_facts(read_facts(cohort.fill_path(CASE))).changes(cohort.origin(CASE))
    np.testing.assert_array_equal(fill(cohort), before)
    with pytest.raises(BadInputError, match="has no corrections"):
        requests.correct(requests.CorrectRequest(str(cohort.folder), CASE, clear=True), Watch())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": ""}, "Name the structure"),
        ({"structure": "spleen"}, "has no structure 'spleen'. It has: 'liver'"),
        ({"at": ()}, "three numbers"),
        ({"at": (1.0, float("nan"), 2.0)}, "three numbers"),
        ({"at": (400.0, 0.0, 0.0)}, "outside the volume"),
        ({"radius": -1.0}, "radius must be 0 mm or more"),
    ],
)
def test_bad_corrections_change_nothing(cohort, options, message):
    with pytest.raises(BadInputError, match=message):
        correct(cohort, **options)
    assert cohort.annotation(CASE).corrections is None


def test_the_correction_stays_when_the_result_cannot_be_changed(cohort):
    fill(cohort)
    cohort.fill_path(CASE).write_bytes(cohort.fill_path(CASE).read_bytes()[:-200])
    done = correct(cohort)
    assert done.path == ""
    assert "stored, but the result was not changed" in done.notes[-1]
    assert len(cohort.annotation(CASE).corrections.strokes) == 1
    assert fill(cohort)[22, 20, 18] == 1


def test_a_ball_of_a_radius_in_mm_on_an_anisotropic_grid(cohort):
    correct(cohort, at=(18.0, 20.0, 46.0), radius=4.0)
    voxels = np.stack(np.unravel_index(cohort.annotation(CASE).corrections.strokes[0].voxels, SHAPE))
    assert np.ptp(voxels, axis=1).tolist() == [4, 8, 8]
    correct(cohort, at=(18.4, 20.4, 52.9), radius=0.01)
    assert len(cohort.annotation(CASE).corrections.strokes[1].voxels) == 1


def test_without_a_usable_image_the_correction_spreads_evenly_as_the_fill_would_be(cohort, tmp_path):
    image = np.full(SHAPE, np.nan, np.float32)
    write_image(tmp_path / "scan.nrrd", image, GEOMETRY)
    cohort.accept_image(CASE)
    fill(cohort)
    done = correct(cohort)
    assert "Corrected without using the image" in done.notes[-1]
    assert done.changed > 0
    followed = stored_fill(cohort)
    np.testing.assert_array_equal(fill(cohort), followed)


def test_a_worker_that_is_killed_between_the_correction_and_the_answer_leaves_the_correction(cohort):
    before = fill(cohort)
    code = f"""
import os
from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.worker import correct_request
correct_request.spread = lambda *given: os._exit(9)
given = dict(structure="liver", at=(18.0, 20.0, 44.0))
correct_request.correct(correct_request.CorrectRequest({str(cohort.folder)!r}, {CASE!r}, **given), Watch())
"""
    library = Path(requests.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=library, check=False).returncode == 9
    assert len(cohort.annotation(CASE).corrections.strokes) == 1
    np.testing.assert_array_equal(stored_fill(cohort), before)
    origin = Origin.from_facts(read_facts(cohort.fill_path(CASE)))
    assert origin.changes(cohort.origin(CASE)), "the fill has not taken it in"
    assert fill(cohort)[22, 20, 18] == 1


def test_a_confidence_that_was_written_before_the_labels_were_is_not_used_with_other_labels(cohort, monkeypatch):
    fill(cohort)
    write, written = correct_request.write_image, []

    def write_one(path, *given, **options):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *given, **options)

    monkeypatch.setattr(correct_request, "write_image", write_one)
    with pytest.raises(KeyboardInterrupt):
        correct(cohort)
    monkeypatch.setattr(correct_request, "write_image", write)
    assert written == [cohort.fill_confidence_path(CASE)]
    # Without the correction, the labels are up to date again.
    correct(cohort, clear=True)
    assert not Origin.from_facts(read_facts(cohort.fill_path(CASE))).changes(cohort.origin(CASE))
    assert not belongs_to(cohort.fill_confidence_path(CASE), cohort.fill_path(CASE))
    done = correct(cohort)
    assert (done.path, done.voxels > 0) == ("", True)
    assert "its confidence belongs to another one" in done.notes[0]
    fill(cohort)
    assert belongs_to(cohort.fill_confidence_path(CASE), cohort.fill_path(CASE))
    assert correct(cohort, at=(18.0, 20.0, 46.0)).path


def test_the_confidence_of_another_fill_of_the_same_slices_is_not_taken_for_its_own(cohort, monkeypatch):
    def fill_beyond(slices: int) -> None:
        requests.fill(requests.FillRequest(str(cohort.folder), method="shape", beyond=slices), Watch())

    def belong() -> bool:
        return belongs_to(cohort.fill_confidence_path(CASE), cohort.fill_path(CASE))

    def broken_off(path, *given, **named):
        if path == cohort.fill_path(CASE):
            raise KeyboardInterrupt
        write_image(path, *given, **named)

    fill_beyond(0)
    files = [path.read_bytes() for path in (cohort.fill_path(CASE), cohort.fill_confidence_path(CASE))]
    assert belong()
    fill_beyond(0)
    assert [path.read_bytes() for path in (cohort.fill_path(CASE), cohort.fill_confidence_path(CASE))] == files
    with monkeypatch.context() as patch:
        patch.setattr(answers, "write_image", broken_off)
        with pytest.raises(KeyboardInterrupt):
            fill_beyond(4)
    assert not belong()
    fill_beyond(4)
    assert belong()
    assert correct(cohort).path
    assert belong()
    # Files of earlier versions say only what they were made from.
    for path in (cohort.fill_path(CASE), cohort.fill_confidence_path(CASE)):
        facts = {name: text for name, text in read_facts(path).items() if name != "labels and confidence"}
        write_image(path, read_labels(path, GEOMETRY), GEOMETRY, facts=facts)
    assert belong()


def test_a_prediction_with_the_confidence_of_another_one_is_not_said_to_be_by_the_run_alone(cohort):
    made = fill(cohort)
    facts = cohort.origin(CASE, run="first").facts()
    write_image(cohort.prediction_path("first", CASE), made, GEOMETRY, facts=facts)
    (alone,) = correct(cohort, run="first").notes
    assert "by the run alone" in alone
    cohort.save_corrections(CASE, None)
    write_image(cohort.prediction_path("first", CASE), made, GEOMETRY, facts=facts)
    confidence = cohort.uncertainty_path("first", CASE, "confidence")
    write_image(confidence, made, GEOMETRY, facts=cohort.origin(CASE, run="second").facts())
    (other,) = correct(cohort, run="first").notes
    assert "the confidence of the prediction belongs to another one" in other
