from __future__ import annotations

import json
import os
import unicodedata

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


def test_a_missing_image_is_named_with_its_case_and_what_to_do(ball_cohort):
    (ball_cohort.folder / "images" / "ball_1.nrrd").unlink()
    words = r"1 file is missing .*ball_1.nrrd' \(case 'ball_1'\). Put it back, or remove its case from 'cohort.json'"
    for names in (None, ["ball_1"], ["ball_0", "ball_1"]):
        with pytest.raises(CohortError, match=words):
            Cohort.open(ball_cohort.folder).select(names)


def test_cases_that_are_not_asked_for_may_be_missing(ball_cohort):
    (ball_cohort.folder / "images" / "ball_1.nrrd").unlink()
    (ball_cohort.folder / ball_cohort.case("ball_0").reference).unlink()
    cohort = Cohort.open(ball_cohort.folder)
    assert [case.name for case in cohort.select(["ball_0"])] == ["ball_0"]
    with pytest.raises(CohortError, match=r"1 file is missing .*reference_0.nrrd' \(case 'ball_0'\)"):
        cohort.select(["ball_0"], with_references=True)


def test_an_image_that_cannot_be_used_is_named_by_its_case(ball_cohort):
    ball_cohort.image_path("ball_1").write_bytes(b"no image")
    for read in (ball_cohort.image, ball_cohort.geometry, ball_cohort.annotation):
        with pytest.raises(BadInputError, match=r"^The image of case 'ball_1' cannot be used\. .*ball_1.nrrd"):
            read("ball_1")


def test_a_folder_that_is_no_cohort_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(CohortError, match=r"neither 'cohort.json' nor 'dataset.json'"):
        Cohort.open(tmp_path)


def test_a_cohort_file_that_is_cut_off_is_refused(ball_cohort):
    path = ball_cohort.folder / "cohort.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(BadInputError, match=r"cohort.json': it is not valid JSON"):
        Cohort.open(ball_cohort.folder)


def test_labels_that_went_missing_are_not_taken_for_background(ball_cohort):
    (ball_cohort.folder / "annotations" / "ball_0.nrrd").unlink()
    with pytest.raises(CohortError, match="lists drawn slices, but the file with their labels"):
        ball_cohort.annotation("ball_0")


@pytest.mark.parametrize("name", ["../up", "a/b", "", " x", "..", "a\\b", "con", "a\nb", "end."])
def test_a_name_that_could_leave_the_folder_is_refused(ball_cohort, name):
    with pytest.raises(BadInputError, match="A case cannot be called"):
        ball_cohort.add_case(name, noisy_image(ball()), GEOMETRY)
    with pytest.raises(BadInputError, match="A run cannot be called"):
        ball_cohort.run_folder(name)
    with pytest.raises(BadInputError, match="A run cannot be called"):
        ball_cohort.prediction_path(name, "ball_0")


def test_images_may_lie_elsewhere_in_the_project_or_inside_and_the_project_may_move(tmp_path):
    project = tmp_path / "project"
    write_image(project / "scans" / "elsewhere.nrrd", noisy_image(ball()), GEOMETRY)
    cohort = Cohort.create(project / "cohort", "c")
    cohort.add_case("a", project / "scans" / "elsewhere.nrrd")
    write_image(project / "cohort" / "inside" / "b.nrrd", noisy_image(ball()), GEOMETRY)
    cohort.add_case("b", project / "cohort" / "inside" / "b.nrrd")
    stored = ["../scans/elsewhere.nrrd", "inside/b.nrrd"]
    assert [case.image for case in Cohort.open(project / "cohort").cases] == stored
    with pytest.raises(CohortError, match="already is a cohort"):
        Cohort.create(project / "cohort", "c")
    project.rename(tmp_path / "moved")
    assert len(Cohort.open(tmp_path / "moved" / "cohort").select(None)) == 2


def test_an_image_far_away_is_stored_with_its_whole_path(tmp_path):
    write_image(tmp_path / "scan.nrrd", noisy_image(ball()), GEOMETRY)
    cohort = Cohort.create(tmp_path / "a" / "b" / "c", "c")
    assert cohort.add_case("x", tmp_path / "scan.nrrd").image == (tmp_path / "scan.nrrd").as_posix()


def test_paths_written_on_windows_are_understood(ball_cohort):
    path = ball_cohort.folder / "cohort.json"
    content = json.loads(path.read_text())
    content["cases"][0]["image"] = "images\\ball_0.nrrd"
    content["cases"][1]["image"] = "D:\\scans\\ball_1.nrrd"
    path.write_text(json.dumps(content))
    cohort = Cohort.open(ball_cohort.folder)
    assert cohort.geometry("ball_0").shape == (24, 28, 32)
    with pytest.raises(CohortError, match=r"'D:/scans/ball_1.nrrd' \(case 'ball_1'\)"):
        cohort.select(None)


def test_cases_that_differ_in_upper_and_lower_case_only_are_not_made_and_not_used(ball_cohort):
    with pytest.raises(CohortError, match="has a case 'ball_0', which differs from 'Ball_0' in upper and lower case"):
        ball_cohort.add_case("Ball_0", noisy_image(ball()), GEOMETRY)
    path = ball_cohort.folder / "cohort.json"
    content = json.loads(path.read_text())
    content["cases"].append({**content["cases"][0], "name": "BALL_0"})
    path.write_text(json.dumps(content))
    cohort = Cohort.open(ball_cohort.folder)
    assert cohort.case("ball_1").name == "ball_1"
    for name in ("ball_0", "BALL_0"):
        with pytest.raises(CohortError, match="on Windows and macOS their files would have the same name"):
            cohort.select([name])


def test_accents_as_macos_spells_them_are_the_same_name(ball_cohort):
    plain, apart = unicodedata.normalize("NFC", "Müller"), unicodedata.normalize("NFD", "Müller")
    ball_cohort.add_case(apart, noisy_image(ball()), GEOMETRY)
    assert Cohort.open(ball_cohort.folder).cases[-1].name == plain
    drawn = SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, [12])
    ball_cohort.save_annotation(apart, drawn)
    assert Cohort.open(ball_cohort.folder).annotation(plain).fingerprint() == drawn.fingerprint()


def test_a_case_with_a_name_longer_than_a_file_s_can_be_worked_on(ball_cohort):
    long, other = "x" * 300, "x" * 301
    for name, index in ((long, 11), (other, 12)):
        ball_cohort.add_case(name, noisy_image(ball()), GEOMETRY)
        ball_cohort.save_annotation(name, SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, [index]))
    again = Cohort.open(ball_cohort.folder)
    assert again.ledger(long).indices(Plane.AXIAL) == [11]
    assert again.ledger(other).indices(Plane.AXIAL) == [12]


def test_what_was_drawn_under_a_long_name_before_it_was_shortened_is_still_found(ball_cohort):
    name = "y" * 150
    ball_cohort.add_case(name, noisy_image(ball()), GEOMETRY)
    ball_cohort.save_annotation(name, SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, [12]))
    for folder, ending in (("annotations", "nrrd"), ("ledgers", "json")):
        (file,) = (ball_cohort.folder / folder).glob(f"yyy*.{ending}")
        file.rename(file.with_name(f"{name}.{ending}"))
    assert Cohort.open(ball_cohort.folder).annotation(name).ledger.indices(Plane.AXIAL) == [12]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({0: "air"}, "0 is the background"),
        ({-1: "x"}, "from 1 to 65535"),
        ({65536: "x"}, "from 1 to 65535"),
        ({1: " "}, "needs a name"),
        ({1: "liver", 2: "liver"}, "Two labels are named 'liver'"),
    ],
)
def test_labels_that_cannot_be_are_refused_and_nothing_is_made(tmp_path, labels, words):
    with pytest.raises(BadInputError, match=words):
        Cohort.create(tmp_path / "c", "c", labels)
    assert not (tmp_path / "c").exists()


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


def test_images_of_one_name_in_folders_of_patients_are_named_by_the_folders(decathlon):
    for patient in ("s1", "s2"):
        write_image(decathlon / patient / "T1.nii.gz", noisy_image(ball()), GEOMETRY)
    content = json.loads((decathlon / "dataset.json").read_text())
    content["training"] += [{"image": f"./{patient}/T1.nii.gz"} for patient in ("s1", "s2")]
    (decathlon / "dataset.json").write_text(json.dumps(content))
    assert [case.name for case in Cohort.open(decathlon).cases] == ["a", "b", "s1", "s2", "c"]
    content["training"].append({"image": "./s2/T1.nii.gz"})
    (decathlon / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(CohortError, match="cannot be told apart"):
        Cohort.open(decathlon)


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


def test_a_case_does_not_keep_a_reference_on_another_grid_than_its_new_image(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "ball"})
    small, other = (VolumeGeometry.from_spacing(shape) for shape in ((6, 7, 8), (6, 9, 8)))
    for name, grid in (("a", small), ("b", other), ("r", small), ("s", other)):
        write_image(tmp_path / f"{name}.nrrd", np.ones(grid.shape, np.uint8), grid)
    cohort.add_case("p", tmp_path / "a.nrrd", reference=tmp_path / "r.nrrd")
    array = np.full(other.shape, 3, np.uint8)
    for given in ((tmp_path / "b.nrrd",), (array, other)):
        with pytest.raises(BadInputError, match="case 'p' has a reference .* that does not lie on the grid of its new"):
            cohort.add_case("p", *given)
        assert cohort.image("p")[0].shape == small.shape
    assert not (cohort.folder / "images").exists()
    cohort.add_case("p", tmp_path / "b.nrrd", reference=tmp_path / "s.nrrd")
    assert cohort.reference("p").shape == other.shape
    cohort.add_case("p", array, other)  # on the same grid, it stays
    assert cohort.reference_path("p").samefile(tmp_path / "s.nrrd")


def test_a_cohort_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    from SparseAnnotateLib.core import cohort_file

    cohort = Cohort.create(tmp_path / "c", "c", {1: "a"})
    path = tmp_path / "c" / "cohort.json"
    read, parsed, reads, parses = cohort_file.read_json_text, cohort_file.file_content, [], []
    monkeypatch.setattr(cohort_file, "read_json_text", lambda *given: reads.append(given) or read(*given))
    monkeypatch.setattr(cohort_file, "file_content", lambda *given: parses.append(given) or parsed(*given))
    # One that was changed a moment ago may change again without being noticed: its text is compared.
    Cohort.open(cohort.folder)
    Cohort.open(cohort.folder)
    assert (len(reads), len(parses)) == (2, 1)
    looks, text = path.stat(), path.read_text()
    path.write_text(text.replace('"a"', '"z"'))
    os.utime(path, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    assert Cohort.open(cohort.folder).labels == {1: "z"}
    path.write_text(text)
    assert Cohort.open(cohort.folder).labels == {1: "a"}
    assert (len(reads), len(parses)) == (4, 3)
    os.utime(path, (1e9, 1e9))
    Cohort.open(cohort.folder).labels[7] = "of this object only"
    assert Cohort.open(cohort.folder).labels == {1: "a"}
    assert (len(reads), len(parses)) == (5, 3)
    path.write_text(text.replace('"a"', '"b"'))
    os.utime(path, (1e9, 1e9))
    assert Cohort.open(cohort.folder).labels == {1: "b"}
    assert (len(reads), len(parses)) == (6, 4)
