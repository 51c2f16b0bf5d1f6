from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    CohortError,
    LedgerEntry,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.images import write_image

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def test_annotation_and_ledger_come_back_from_the_folder(ball_cohort):
    again = Cohort.open(ball_cohort.folder)
    annotation = again.annotation("ball_1")
    assert annotation.ledger.indices(Plane.AXIAL) == list(range(3, 24, 4))
    assert annotation.fingerprint() == ball_cohort.annotation("ball_1").fingerprint()
    assert again.labels == {1: "shell", 2: "kernel"}
    assert again.annotated_cases() == ["ball_0", "ball_1"]
    assert again.reference("ball_0").max() == 2


def test_only_drawn_slices_are_written(ball_cohort):
    labels = np.full(GEOMETRY.shape, 1, np.uint8)
    ball_cohort.save_annotation("ball_0", SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, [5]))
    stored = ball_cohort.annotation("ball_0").labels
    assert stored[5].all()
    assert stored.sum() == stored[5].sum()


def test_a_ledger_that_cannot_be_written_leaves_every_slice_it_names_with_its_labels(ball_cohort, monkeypatch):
    from SparseAnnotateLib.core import FileWriteError, cohort

    before = ball_cohort.annotation("ball_0")
    shown = before.drawn_labels()
    fewer = SparseAnnotation.from_slices(before.labels, before.geometry, Plane.AXIAL, [10])

    def full_disk(path, value):
        raise FileWriteError("the disk is full")

    monkeypatch.setattr(cohort, "write_json", full_disk)
    with pytest.raises(FileWriteError):
        ball_cohort.save_annotation("ball_0", fewer)
    after = ball_cohort.annotation("ball_0")
    assert after.ledger == before.ledger
    np.testing.assert_array_equal(after.drawn_labels(), shown)


def test_two_writers_that_name_labels_do_not_give_one_value_to_two_names(ball_cohort):
    other = Cohort.open(ball_cohort.folder)
    assert ball_cohort.add_labels(["liver"])["liver"] == 3
    assert other.add_labels(["spleen"])["spleen"] == 4
    assert Cohort.open(ball_cohort.folder).labels == {1: "shell", 2: "kernel", 3: "liver", 4: "spleen"}


def test_recommended_slices_go_to_the_ledgers_and_decided_ones_stay(ball_cohort):
    ball_cohort.save_recommended({"ball_0": [LedgerEntry(Plane.AXIAL, i, order=i) for i in (2, 3)]})
    ledger = ball_cohort.ledger("ball_0")
    assert [e.index for e in ledger.todo] == [3]
    assert ledger.entry(Plane.AXIAL, 2).state is SliceState.EMPTY


def test_a_missing_image_is_named_with_what_to_do(ball_cohort):
    (ball_cohort.folder / "images" / "ball_1.nrrd").unlink()
    with pytest.raises(CohortError, match=r"1 file is missing .*ball_1.nrrd'. Put them back, or take their cases out"):
        Cohort.open(ball_cohort.folder)


def test_a_folder_that_is_no_cohort_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(CohortError, match=r"neither 'cohort.json' nor 'dataset.json'"):
        Cohort.open(tmp_path)


def test_a_cohort_file_that_is_cut_off_is_refused(ball_cohort):
    path = ball_cohort.folder / "cohort.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(BadInputError, match=r"cohort.json' is not valid JSON"):
        Cohort.open(ball_cohort.folder)


def test_labels_that_went_missing_are_not_taken_for_background(ball_cohort):
    (ball_cohort.folder / "annotations" / "ball_0.nrrd").unlink()
    with pytest.raises(CohortError, match="names drawn slices, but their labels"):
        ball_cohort.annotation("ball_0")


@pytest.mark.parametrize("name", ["../up", "a/b", "", " x", "..", "a\\b"])
def test_a_name_that_could_leave_the_folder_is_refused(ball_cohort, name):
    with pytest.raises(BadInputError, match="begin with a letter or digit"):
        ball_cohort.add_case(name, noisy_image(ball()), GEOMETRY)
    with pytest.raises(BadInputError, match="begin with a letter or digit"):
        ball_cohort.run_folder(name)


def test_images_may_lie_elsewhere_or_inside(tmp_path):
    write_image(tmp_path / "elsewhere.nrrd", noisy_image(ball()), GEOMETRY)
    cohort = Cohort.create(tmp_path / "cohort", "c")
    cohort.add_case("a", tmp_path / "elsewhere.nrrd")
    write_image(tmp_path / "cohort" / "inside" / "b.nrrd", noisy_image(ball()), GEOMETRY)
    cohort.add_case("b", tmp_path / "cohort" / "inside" / "b.nrrd")
    assert [case.image for case in Cohort.open(tmp_path / "cohort").cases] == [
        (tmp_path / "elsewhere.nrrd").as_posix(),
        "inside/b.nrrd",
    ]
    with pytest.raises(CohortError, match="already is a cohort"):
        Cohort.create(tmp_path / "cohort", "c")


@pytest.fixture
def decathlon(tmp_path):
    folder = tmp_path / "Task99"
    for name in ("a", "b"):
        write_image(folder / "imagesTr" / f"{name}.nii.gz", noisy_image(ball()), GEOMETRY)
        write_image(folder / "labelsTr" / f"{name}.nii.gz", ball().astype(np.float32), GEOMETRY)
    write_image(folder / "imagesTs" / "c.nii.gz", noisy_image(ball()), GEOMETRY)
    content = {
        "name": "Balls",
        "reference": "fields of others are let be",
        "labels": {"0": "background", "1": "ball"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "ab"],
        "test": ["./imagesTs/c.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_the_decathlon_layout_is_read_as_it_comes_and_labels_are_references(decathlon, tmp_path):
    cohort = Cohort.open(decathlon)
    assert [case.name for case in cohort.cases] == ["a", "b", "c"]
    assert cohort.labels == {1: "ball"}
    assert cohort.annotated_cases() == []
    assert cohort.reference("a").dtype == np.uint8
    with pytest.raises(CohortError, match="no reference"):
        cohort.reference("c")
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, [12]))
    assert (decathlon / "SparseAnnotate" / "ledgers" / "a.json").is_file()
    assert not (decathlon / "ledgers").exists()
    elsewhere = Cohort.open(decathlon, tmp_path / "state")
    assert elsewhere.annotated_cases() == []
    with pytest.raises(CohortError, match="only reads"):
        cohort.set_labels({1: "x"})


def test_a_decathlon_file_without_its_lists_is_refused(decathlon):
    (decathlon / "dataset.json").write_text('{"labels": {"1": "x"}}')
    with pytest.raises(CohortError, match="needs 'labels' .* and 'training'"):
        Cohort.open(decathlon)


def test_the_real_hippocampus_cohort_is_read(hippocampi):
    if hippocampi is None:
        # Elsewhere than where the data lies the layout's own test above stands for it.
        return
    cohort = Cohort.open(hippocampi, hippocampi.parent / "nowhere")
    assert len(cohort.cases) == 200
    image, geometry = cohort.image("hippocampus_001")
    assert cohort.reference("hippocampus_001").shape == image.shape == geometry.shape
