"""What changes in the folder between reading a case and saving what was drawn on it is neither lost nor missed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    BusyError,
    Cohort,
    LedgerEntry,
    Plane,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.folder_lock import FolderLock
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.exchange import nnunet
from SparseAnnotateLib.learning.exchange.nnunet_predictions import import_nnunet_predictions
from SparseAnnotateLib.worker import correct_request, import_drawn_request, requests
from SparseAnnotateLib.worker.correct_request import CorrectRequest, correct
from SparseAnnotateLib.worker.import_drawn_request import ImportDrawnRequest, import_drawn

LABELS = ball() + ball(radius=4.0)
GEOMETRY = VolumeGeometry.from_spacing(LABELS.shape, (2.0, 1.0, 1.0))
IS_REPLACED = "image of case 'a' is being replaced. Try again"


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """A case with a reference, slices 8 and 12 to do, and nothing drawn; a mask of it, and a raw dataset."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 2: "kernel"})
    write_image(tmp_path / "reference.nrrd", LABELS, GEOMETRY)
    cohort.add_case("a", noisy_image(LABELS), GEOMETRY, tmp_path / "reference.nrrd")
    cohort.save_recommended({"a": [LedgerEntry(Plane.AXIAL, index) for index in (8, 12)]})
    sparse = np.zeros_like(LABELS)
    sparse[[8, 12]] = LABELS[[8, 12]]
    write_image(tmp_path / "masks" / "a.nrrd", sparse, GEOMETRY)
    dataset = {"channel_names": {"0": "image"}, "labels": {"background": 0, "shell": 1, "kernel": 2, "ignore": 3}}
    known = np.full_like(LABELS, 3)
    known[[8, 12]] = LABELS[[8, 12]]
    write_image(tmp_path / "raw" / "imagesTr" / "a_0000.nii.gz", noisy_image(LABELS), GEOMETRY)
    write_image(tmp_path / "raw" / "labelsTr" / "a.nii.gz", known, GEOMETRY)
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps({**dataset, "numTraining": 1, "file_ending": ".nii.gz"}))
    write_image(tmp_path / "predicted" / "a.nii.gz", LABELS, GEOMETRY)
    return cohort


def draw(cohort: Cohort) -> None:
    requests.draw(requests.DrawRequest(str(cohort.folder)), Watch())


def take_masks(cohort: Cohort) -> None:
    import_drawn(ImportDrawnRequest(str(cohort.folder), (str(cohort.folder.parent / "masks"),)), Watch())


def take(cohort: Cohort, monkeypatch, meanwhile) -> None:
    before(monkeypatch, import_drawn_request, "in_cohort_values", meanwhile)
    take_masks(cohort)


def correct_it(cohort: Cohort, monkeypatch, meanwhile) -> None:
    before(monkeypatch, correct_request, "with_correction", meanwhile)
    correct(CorrectRequest(str(cohort.folder), "a", "shell", (16.0, 14.0, 18.0)), Watch())


def import_predictions(cohort: Cohort, monkeypatch, meanwhile) -> None:
    before(monkeypatch, SparseAnnotation, "restore_drawn", meanwhile)
    folder = cohort.folder.parent
    import_nnunet_predictions(cohort, folder / "predicted", folder / "raw", "theirs", Watch())


def before(monkeypatch, place, name: str, meanwhile) -> None:
    """Let something happen once, just before a function is called."""
    function, left = getattr(place, name), [meanwhile]

    def called(*given, **named):
        while left:
            left.pop()()
        return function(*given, **named)

    monkeypatch.setattr(place, name, called)


def draw_elsewhere(cohort: Cohort) -> None:
    """Someone else draws slice 15."""
    other = Cohort.open(cohort.folder)
    other.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [15]))


def replace_image(path) -> None:
    write_image(path, noisy_image(LABELS, 9), GEOMETRY)


@pytest.mark.parametrize("do", [take, correct_it, import_predictions])
def test_an_image_that_is_replaced_meanwhile_is_noticed_and_nothing_is_written(cohort, monkeypatch, do):
    def written():
        return {path for path in cohort.folder.rglob("*.nrrd") if "images" not in path.parts}

    had = written()
    with pytest.raises((BadInputError, PartlyDoneError), match=IS_REPLACED):
        do(cohort, monkeypatch, lambda: replace_image(cohort.image_path("a")))
    assert written() == had
    assert not cohort.ledger("a").decided
    assert not cohort.corrections_path("a").is_file()


def test_an_image_that_is_replaced_while_the_reference_is_read_is_noticed(cohort, monkeypatch):
    before(monkeypatch, requests, "unnamed_labels_sentence", lambda: replace_image(cohort.image_path("a")))
    with pytest.raises(BadInputError, match=IS_REPLACED):
        draw(cohort)
    assert not cohort.ledger("a").decided


def test_an_image_that_is_replaced_while_a_raw_dataset_is_imported_is_noticed(cohort, monkeypatch):
    raw, read = cohort.folder.parent / "raw", nnunet._case
    calls = []

    def case(*given):
        found = read(*given)
        calls.append(given)
        if len(calls) == 2:  # once for checking, once for writing
            replace_image(raw / "imagesTr" / "a_0000.nii.gz")
        return found

    monkeypatch.setattr(nnunet, "_case", case)
    with pytest.raises(BadInputError, match=IS_REPLACED):
        nnunet.import_nnunet_dataset(raw, cohort.folder.parent / "ours", Watch())
    assert not (cohort.folder.parent / "ours").exists()


def test_slices_that_someone_else_draws_while_the_reference_is_read_stay(cohort, monkeypatch):
    before(monkeypatch, requests, "unnamed_labels_sentence", lambda: draw_elsewhere(cohort))
    cohort.save_recommended({"a": [LedgerEntry(Plane.AXIAL, 4)]})
    draw(cohort)
    assert 15 in cohort.ledger("a").indices(Plane.AXIAL)
    assert np.array_equal(cohort.annotation("a").labels[15], LABELS[15])


def test_slices_that_someone_else_draws_while_a_mask_is_read_stay(cohort, monkeypatch):
    take(cohort, monkeypatch, lambda: draw_elsewhere(cohort))
    assert cohort.ledger("a").indices(Plane.AXIAL) == [8, 12, 15]
    assert np.array_equal(cohort.annotation("a").labels[15], LABELS[15])


def test_a_slice_that_someone_else_draws_otherwise_while_a_mask_is_read_is_not_overwritten(cohort, monkeypatch):
    other = np.where(LABELS == 2, 1, LABELS)

    def draw_otherwise():
        cohort.save_annotation("a", SparseAnnotation.from_slices(other, GEOMETRY, Plane.AXIAL, [12]))

    with pytest.raises((BadInputError, PartlyDoneError), match="differs from what is drawn already"):
        take(cohort, monkeypatch, draw_otherwise)
    assert np.array_equal(cohort.annotation("a").labels[12], other[12])


@pytest.mark.parametrize(
    ("do", "place", "name"),
    [(draw, requests, "drawn_from_reference"), (take_masks, import_drawn_request, "with_drawn_elsewhere")],
)
def test_others_are_kept_out_from_reading_the_annotation_to_saving_it(cohort, monkeypatch, do, place, name):
    waits = []

    def change_elsewhere():
        with pytest.raises(BusyError), FolderLock(cohort.state_folder, "drawing elsewhere", 0.0):
            pass
        waits.append(True)

    before(monkeypatch, place, name, change_elsewhere)
    do(cohort)
    assert waits
    assert cohort.ledger("a").indices(Plane.AXIAL) == [8, 12]
