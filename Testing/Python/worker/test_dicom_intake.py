"""What cohorts keep of DICOM folders, damaged files among them, and how results are described."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.io import savemat

from dicom_made import oblique, write_series
from small_volumes import ball, cancelled_at
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    SparseAnnotation,
    Watch,
    dicom_source,
)
from SparseAnnotateLib.core.dicom_files import dicom_files, uids_within
from SparseAnnotateLib.core.dicom_headers import read_headers
from SparseAnnotateLib.core.dicom_series import DicomSeries, series_of
from SparseAnnotateLib.core.dicom_writing import DicomSegment, write_segmentation
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.worker import dicom_masks, dicom_names
from SparseAnnotateLib.worker.dicom_cases import holds_dicom
from SparseAnnotateLib.worker.requests import METHODS

SHAPE = (6, 20, 18)
GEOMETRY = oblique(SHAPE)
LABELS = np.minimum(ball(SHAPE, 6.0), 1)
VOXELS = 100 * LABELS.astype(int)


def run(*arguments) -> int:
    return main(list(map(str, arguments)))


def cohort_of(tmp_path: Path, *folders: str, options=("--keep-source-paths",)) -> Cohort:
    for folder in folders:
        write_series(tmp_path / folder, VOXELS, GEOMETRY)
    names = ["--labels", "1=liver", "2=tumor", *options]
    assert run("create", tmp_path / "co", *(tmp_path / folder for folder in folders), *names) == 0
    return Cohort.open(tmp_path / "co")


def series_in(folder: Path) -> DicomSeries:
    (series,) = series_of(read_headers(dicom_files(folder)[0], Watch()))
    return series


def segmentation(path: Path, series: DicomSeries) -> Path:
    write_segmentation(path, series, [DicomSegment("liver")], LABELS, "1", Watch())
    return path


def made(cohort: Cohort, out: Path, capsys, *options) -> dict[str, str]:
    """How each structure of the case was made, as the exported file has it."""
    capsys.readouterr()
    assert run("export-dicom", cohort.folder, "--out", out, "--json", *options) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return {segment["name"]: segment["made"] for segment in row["segments"]}


def test_what_a_result_shows_where_a_person_decided_something_else_is_not_manual(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    result = LABELS.copy()
    result[2, :3, :3] = 2
    # The structure 'tumor' is shown on a drawn slice: once drawn as background, once not decided.
    for is_decided in (True, False):
        annotation = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(0, 6, 2))
        if not is_decided:
            entries = tuple(replace(entry, structures=("liver",)) for entry in annotation.ledger.entries)
            ledger = replace(annotation.ledger, entries=entries)
            annotation = SparseAnnotation(LABELS, ledger, GEOMETRY, names={1: "liver", 2: "tumor"})
        cohort.save_annotation("case_001", annotation)
        facts = cohort.origin("case_001", method="auto").facts()
        write_image(cohort.fill_path("case_001"), result, cohort.geometry("case_001"), facts=facts)
        assert made(cohort, tmp_path / "out", capsys) == {"liver": "semiautomatic", "tumor": "semiautomatic"}


def test_no_path_is_kept_unless_asked_for(tmp_path, capsys):
    (tmp_path / "Anna").mkdir()
    cohort = cohort_of(tmp_path, "Anna/in", options=())
    assert not any("Anna" in path.read_text("latin-1") for path in cohort.folder.rglob("*") if path.is_file())
    assert "'export-dicom' will need '--dicom FOLDER'" in capsys.readouterr().err


def test_files_in_several_folders_make_one_case_and_are_found_again(tmp_path, capsys):
    write_series(tmp_path / "a" / "one", VOXELS, GEOMETRY)
    (tmp_path / "b" / "two").mkdir(parents=True)
    for path in sorted((tmp_path / "a" / "one").iterdir())[3:]:
        shutil.move(path, tmp_path / "b" / "two" / path.name)
    options = ["--labels", "1=liver", "--keep-source-paths"]
    assert run("create", tmp_path / "co", tmp_path / "a", tmp_path / "b", *options) == 0
    cohort = Cohort.open(tmp_path / "co")
    source = dicom_source.read_source(cohort, "case_001")
    assert source is not None
    assert source.folders == ("../a/one", "../b/two")
    cohort.save_annotation("case_001", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2]))
    assert made(cohort, tmp_path / "out", capsys, "--drawn") == {"liver": "manual"}


def test_a_folder_with_several_cases_is_searched_once(tmp_path, monkeypatch):
    for name in ("one", "two"):
        write_series(tmp_path / "in", VOXELS, GEOMETRY)
        for path in (tmp_path / "in").glob("IM*"):
            path.rename(path.with_name(f"{name} {path.name[2:]}"))
    assert run("create", tmp_path / "co", tmp_path / "in", "--labels", "1=liver", "--keep-source-paths") == 0
    cohort = Cohort.open(tmp_path / "co")
    for name in ("case_001", "case_002"):
        cohort.save_annotation(name, SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2]))
    searched = []
    monkeypatch.setattr(dicom_source, "dicom_files", lambda *args: searched.append(args[0]) or dicom_files(*args))
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out", "--drawn") == 0
    assert len(searched) == 1
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("kept_bytes", [600, 140])
def test_the_series_of_a_damaged_file_is_skipped_when_asked_for(tmp_path, kept_bytes, capsys):
    """Cut off after the series UID, or before it."""
    for name in ("one", "two"):
        write_series(tmp_path / "in" / name, VOXELS, GEOMETRY)
    path = sorted((tmp_path / "in" / "two").iterdir())[0]
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert run("create", tmp_path / "co", tmp_path / "in") == 1
    assert "header is incomplete. Copy it again. To take the other series, use '--skip-unusable'." in (
        capsys.readouterr().err
    )
    assert run("create", tmp_path / "co", tmp_path / "in", "--skip-unusable") == 0
    said = capsys.readouterr().err
    assert "one of its files is damaged." in said
    assert len(Cohort.open(tmp_path / "co").cases) == 1


@pytest.mark.parametrize("whole", [0, 1])
@pytest.mark.parametrize("cut_in", [b"MONOCHROME2", "Müller^Annegret".encode("latin-1"), b"1.2.840.10008.5.1.4.1.1.2"])
def test_the_path_of_a_damaged_file_that_may_name_the_patient_is_not_shown(tmp_path, whole, cut_in, capsys):
    """Whether the file says who the patient is, or others beside it, or none."""
    folder = tmp_path / "in" / "Annegret 2024"
    write_series(folder, VOXELS, GEOMETRY)
    write_series(tmp_path / "in" / "other", VOXELS, GEOMETRY)
    files = sorted(folder.iterdir())
    for path in files[: len(files) if not whole else 1]:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(cut_in) + 3])
    assert run("create", tmp_path / "co", tmp_path / "in") == 1
    said = capsys.readouterr().err
    place = f"folder 1 of 2 in '{tmp_path / 'in'}' (sorted by name; its path is not shown"
    assert f"The DICOM file number 1 of {len(files)} in {place}" in said
    assert "is damaged: its header is incomplete. Copy it again." in said
    assert run("create", tmp_path / "co", tmp_path / "in", "--skip-unusable") == 0
    said += capsys.readouterr().err
    assert "Skipped: The DICOM file number 1 of" in said
    assert "Annegret" not in said


def test_what_an_interrupted_attempt_left_is_replaced_but_no_other_file(tmp_path, capsys):
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    shutil.copytree(cohort_of(tmp_path, "in").folder, tmp_path / "killed")
    (tmp_path / "killed" / "cohort.json").unlink()
    assert run("create", tmp_path / "killed", tmp_path / "in") == 0
    assert len(Cohort.open(tmp_path / "killed").cases) == 1
    write_image(tmp_path / "other" / "images" / "case_001.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "other", tmp_path / "in") == 1
    assert "The cohort has a file 'images/case_001.nrrd' already." in capsys.readouterr().err


def test_the_image_of_another_case_is_never_taken_for_a_leftover(tmp_path, capsys):
    write_image(tmp_path / "co" / "images" / "case_001.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "co", tmp_path / "co" / "images" / "case_001.nrrd", "--names", "x") == 0
    (tmp_path / "co" / "dicom" / "sources").mkdir(parents=True)
    (tmp_path / "co" / "dicom" / "sources" / "case_001.json").write_text("{}")
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    assert run("add", tmp_path / "co", tmp_path / "in") == 1
    assert "The cohort has a file 'images/case_001.nrrd' already." in capsys.readouterr().err
    assert np.array_equal(Cohort.open(tmp_path / "co").image("x")[0], LABELS)


def test_a_case_with_a_segmentation_and_another_mask_gets_neither(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    segmentation(tmp_path / "masks" / "a.dcm", series_in(tmp_path / "in"))
    write_image(tmp_path / "case_001.nrrd", LABELS, GEOMETRY)
    assert run("import-drawn", cohort.folder, tmp_path / "masks", tmp_path / "case_001.nrrd") == 1
    assert "The case 'case_001' has two masks" in capsys.readouterr().err
    assert cohort.annotated_cases() == []


def test_a_segmentation_that_refers_to_two_cases_is_refused_as_such(tmp_path, capsys):
    import pydicom

    cohort = cohort_of(tmp_path, "in", "more")
    path = segmentation(tmp_path / "a.dcm", series_in(tmp_path / "in"))
    dataset = pydicom.dcmread(path)
    other = pydicom.Dataset()
    other.SeriesInstanceUID = series_in(tmp_path / "more").uid
    dataset.ReferencedSeriesSequence.append(other)
    dataset.save_as(path)
    assert run("import-drawn", cohort.folder, path) == 1
    assert "refers to the series of several cases ('case_001', 'case_002')" in capsys.readouterr().err


def test_codes_of_unknown_structures_are_refused(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    cohort.save_annotation("case_001", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2]))
    options = ["--drawn", "--out", tmp_path / "out", "--codes", "livr=SCT:10200004:Liver"]
    assert run("export-dicom", cohort.folder, *options) == 1
    assert "There is no structure 'livr', for which a code is given. There are: 'liver', 'tumor'." in (
        capsys.readouterr().err
    )


def test_a_case_is_not_named_by_its_folder_when_its_files_have_none_in_common(tmp_path, monkeypatch, capsys):
    write_series(tmp_path / "in", VOXELS, GEOMETRY)

    def on_two_drives(_paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(dicom_names.os.path, "commonpath", on_two_drives)
    assert run("create", tmp_path / "co", tmp_path / "in", "--name-from", "parent") == 1
    assert "lie in no folder of their own. Name the cases with '--names'." in capsys.readouterr().err


def test_looking_for_segmentations_among_many_files_shows_progress_and_can_be_cancelled(tmp_path, monkeypatch):
    cohort = cohort_of(tmp_path, "in")
    path = segmentation(tmp_path / "masks" / "a.dcm", series_in(tmp_path / "in"))
    for number in range(250):
        shutil.copy(path, path.with_name(f"b{number}.dcm"))
    request = METHODS["import_drawn"][0](str(cohort.folder), (str(tmp_path / "masks"),))
    seen = []
    with pytest.raises(BadInputError, match="several DICOM SEG files"):
        METHODS["import_drawn"][1](request, Watch(lambda progress: seen.append(progress)))
    assert [one.message for one in seen].count("looking for DICOM files (files so far: 200)") == 1
    fractions = [one.fraction for one in seen]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 400  # whether each is a segmentation, and what it refers to
    read = []
    monkeypatch.setattr(dicom_masks, "is_segmentation_file", lambda *args: read.append(args))
    with pytest.raises(CancelledError):
        METHODS["import_drawn"][1](request, cancelled_at(2))
    assert read == []


@pytest.mark.parametrize("named", ["a.dcm", "a"])
def test_looking_whether_a_folder_has_dicom_files_can_be_cancelled(tmp_path, named):
    for number in range(120):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        (tmp_path / "in" / str(number) / named).write_bytes(b"no DICOM")
    with pytest.raises(CancelledError):
        holds_dicom([str(tmp_path / "in")], False, False, cancelled_at(0))


NOISE = np.random.default_rng(0).bytes(10_000)


def overwrite(path: Path, start: int, content: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes((old[:start] + content + old[start + len(content) :])[: len(old)])


@pytest.mark.parametrize("name", ["Annegret.dcm", "Annegret"])
@pytest.mark.parametrize(
    ("start", "content"),
    [
        (0, NOISE[:132]),
        (0, bytes(132)),
        (0, NOISE[:1500]),
        (132, NOISE[:200]),
        (132, NOISE[:1000]),
        (132, b"\xff" * 500),
        (140, bytes(400)),
    ],
)
def test_a_segmentation_whose_first_bytes_are_overwritten_is_refused_as_damaged(tmp_path, start, content, name, capsys):
    cohort = cohort_of(tmp_path, "one", "two")
    segmentation(tmp_path / "masks" / "whole.dcm", series_in(tmp_path / "two"))
    path = segmentation(tmp_path / "masks" / name, series_in(tmp_path / "one"))
    overwrite(path, start, content)
    capsys.readouterr()
    damaged = "its header is incomplete. Copy it again."
    for given in (tmp_path / "masks", path):
        assert run("import-drawn", cohort.folder, given, "--replace") == 1
        said = capsys.readouterr().err
        assert (
            "The DICOM file " + ("given is" if given is path else "number 1 of 2 in the folder given (sorted") in said
        )
        assert damaged in said
        assert "Annegret" not in said
    assert cohort.annotated_cases() == ["case_002"]  # the other mask was taken
    assert run("create", tmp_path / "more", tmp_path / "one", "--references", tmp_path / "masks") == 1
    assert damaged in capsys.readouterr().err


def test_an_image_whose_first_bytes_are_overwritten_is_damaged_and_not_a_file_of_another_kind(tmp_path, capsys):
    for name in ("one", "two"):
        write_series(tmp_path / "in" / name, VOXELS, GEOMETRY)
    path = max((tmp_path / "in" / "two").iterdir())
    overwrite(path, 0, NOISE[:300])
    assert run("create", tmp_path / "co", tmp_path / "in") == 1
    assert "is damaged: its header is incomplete. Copy it again." in capsys.readouterr().err
    assert run("create", tmp_path / "co", tmp_path / "in", "--skip-unusable") == 0
    assert len(Cohort.open(tmp_path / "co").cases) == 1
    for path in (tmp_path / "in" / "two").iterdir():
        overwrite(path, 0, NOISE[:300])
    assert run("create", tmp_path / "other", tmp_path / "in" / "two") == 1
    assert "header is incomplete. Copy it again." in capsys.readouterr().err


def test_an_archive_of_dicom_files_is_no_damaged_file(tmp_path, capsys):
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    with tarfile.open(tmp_path / "in" / "backup", "w") as archive:
        archive.add(min((tmp_path / "in").glob("IM*")), "IM")
    with zipfile.ZipFile(tmp_path / "in" / "more", "w") as archive:
        archive.write(min((tmp_path / "in").glob("IM*")), "IM")
    assert run("create", tmp_path / "co", tmp_path / "in") == 0
    assert "Skipped 2 files that are not DICOM." in capsys.readouterr().err


def test_files_that_are_only_named_like_dicom_are_counted_as_such(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    path = segmentation(tmp_path / "masks" / "a.dcm", series_in(tmp_path / "in"))
    for name in ("Annegret.dcm", "._Annegret.dcm", "readme.txt"):
        (tmp_path / "masks" / name).write_bytes(bytes(5000))
        shutil.copy(tmp_path / "masks" / name, tmp_path / "in")
    skipped = "Skipped 3 files that are not DICOM. 1 of them is named like a DICOM file, so it may be damaged."
    assert run("import-drawn", cohort.folder, tmp_path / "masks") == 0
    assert skipped in capsys.readouterr().err
    assert run("create", tmp_path / "other", tmp_path / "in") == 0
    assert skipped in capsys.readouterr().err
    assert run("import-drawn", cohort.folder, tmp_path / "masks" / "Annegret.dcm") == 1
    said = capsys.readouterr().err
    assert "The file given is named like a DICOM file, but has other content. It may be damaged: copy it again." in said
    path.unlink()
    (tmp_path / "masks" / "._Annegret.dcm").unlink()
    assert run("import-drawn", cohort.folder, tmp_path / "masks") == 1
    said += capsys.readouterr().err
    assert "Its 2 files are neither images nor DICOM, although 1 of them is named like a DICOM file. It may" in said
    assert "Annegret" not in said


def test_dicom_files_that_are_no_segmentations_are_refused_as_masks(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    assert run("import-drawn", cohort.folder, tmp_path / "in") == 1
    assert (
        "The folder given has 6 DICOM files, none of which is a segmentation (DICOM SEG). Other objects, such as"
        in (capsys.readouterr().err)
    )
    assert run("import-drawn", cohort.folder, min((tmp_path / "in").iterdir())) == 1
    assert "The DICOM file given is not a segmentation (DICOM SEG)." in capsys.readouterr().err


def test_a_series_that_lacks_images_names_damaged_files_as_a_possible_reason(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    cohort.save_annotation("case_001", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2]))
    files = sorted((tmp_path / "in").iterdir())
    ends = [path for path in files if pydicom.dcmread(path).InstanceNumber == 6]
    for damaged, sentence in ((ends, "has other images"), (files, "is not in its folder")):
        for path in damaged:
            overwrite(path, 0, NOISE[:600])
        assert run("export-dicom", cohort.folder, "--out", tmp_path / "out", "--drawn") == 1
        said = capsys.readouterr().err
        assert sentence in said
        note = "1 DICOM file there is damaged" if damaged is ends else "6 DICOM files there are damaged"
        assert note in said


def test_what_is_given_is_called_by_its_number_because_the_shell_may_have_written_it(tmp_path, capsys):
    """Patterns of the shell, and those that the command itself expands."""
    patients = [tmp_path / "in" / f"{letter} Annegret" for letter in "ABC"]
    for folder in patients:
        (folder / "ct").mkdir(parents=True)
        (folder / "ct" / "readme.txt").write_text("x")
    pattern = tmp_path / "in" / "*"
    write_series(patients[0] / "ct", VOXELS, GEOMETRY)
    said = ""
    for given in (patients, [pattern]):
        assert run("create", tmp_path / "co", *given) == 1
        said += capsys.readouterr().err
    for known in ("", " (those of a pattern by name)"):
        assert f"Of the 3 files and folders given{known}, number 1 is DICOM, and number 2 is not." in said
    shutil.rmtree(patients[0] / "ct")
    assert run("create", tmp_path / "co", *patients, "--series", "liver") == 1
    said += capsys.readouterr().err
    assert "There are no DICOM files in the 3 files and folders given, so no series can be chosen." in said
    (patients[1] / "a.dcm").write_text("x" * 200)
    assert run("create", tmp_path / "co", *patients) == 1
    said += capsys.readouterr().err
    assert "None of the files in number 2 of the 3 files and folders given is DICOM, although 1 has the" in said
    assert "Annegret" not in said
    assert run("create", tmp_path / "co", tmp_path / "tpyo", "--series", "liver") == 1
    assert f"The file or folder '{tmp_path / 'tpyo'}' does not exist." in capsys.readouterr().err


def test_masks_that_are_given_are_called_by_their_numbers(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    paths = [segmentation(tmp_path / f"Annegret {n}" / "a.dcm", series_in(tmp_path / "in")) for n in range(3)]
    overwrite(paths[1], 132, NOISE[:1000])
    overwrite(paths[2], 0, bytes(100_000))
    capsys.readouterr()
    assert run("import-drawn", cohort.folder, *paths) == 1
    said = capsys.readouterr().err
    assert "The DICOM file that is number 2 of the 3 files and folders given is damaged: its header" in said
    assert "The file that is number 3 of the 3 files and folders given is named like a DICOM file, but" in said
    write_image(tmp_path / "Annegret.nrrd", LABELS, GEOMETRY)
    given = [paths[0], tmp_path / "Annegret.nrrd"]
    assert run("create", tmp_path / "more", tmp_path / "in", "--references", *given) == 1
    said += capsys.readouterr().err
    assert "Some references are DICOM SEG files, and number 2 of the 2 given is not." in said
    assert "Annegret" not in said


def test_names_of_dicom_files_are_no_examples_of_files_that_are_no_images(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "other")
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    for number, path in enumerate(sorted((tmp_path / "in").iterdir())):
        path.rename(path.with_name(f"Annegret {number}"))
    assert run("import-drawn", cohort.folder, tmp_path / "in" / "*") == 1
    said = capsys.readouterr().err
    assert "matches 6 files, none of which ends like an image. Images end in" in said
    assert "Annegret" not in said


NO_RESCALING = "do not say how their values become Hounsfield units"


def without_rescaling(headers):
    for dataset in headers:
        del dataset.RescaleSlope, dataset.RescaleIntercept


@pytest.mark.parametrize(
    ("header", "options", "is_noted"),
    [
        ("CT", [], True),
        ("MR", [], False),
        ("CT", ["--modality", "OT"], False),
        ("MR", ["--modality", "CT"], True),
        ("", ["--modality", "CT"], True),
    ],
)
def test_a_missing_rescaling_is_noted_of_what_the_cohort_takes_as_ct(tmp_path, capsys, header, options, is_noted):
    write_series(tmp_path / "in", VOXELS, GEOMETRY, without_rescaling, modality=header)
    assert run("create", tmp_path / "co", tmp_path / "in", *options) == 0
    said = capsys.readouterr().err
    assert (NO_RESCALING in said) == is_noted
    assert ("give another modality, such as '--modality OT'." in said) == is_noted
    write_series(tmp_path / "in2", VOXELS, GEOMETRY, without_rescaling, modality=header)
    assert run("add", tmp_path / "co", tmp_path / "in2", *options) == 0
    assert (NO_RESCALING in capsys.readouterr().err) == is_noted


def test_a_missing_rescaling_is_not_noted_where_the_cohort_does_not_know_that_it_is_ct(tmp_path, capsys):
    write_image(tmp_path / "a.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "co", tmp_path / "a.nrrd") == 0
    write_series(tmp_path / "in", VOXELS, GEOMETRY, without_rescaling)
    assert run("add", tmp_path / "co", tmp_path / "in") == 0
    said = capsys.readouterr().err
    assert "does not say what its images are" in said
    assert NO_RESCALING not in said


def test_a_missing_rescaling_of_a_channel_follows_what_is_said_of_the_channel(tmp_path, capsys):
    """With `create`, and with a channel that is added."""
    kept = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "modality": "MR"}
    for name in ("flair", "other"):
        write_series(tmp_path / name, VOXELS, GEOMETRY, without_rescaling, SeriesDescription=name, **kept)
    series = ["--channels", "FLAIR=flair", "other=other"]
    modality = ["--modality", "other=CT"]
    assert run("create", tmp_path / "co", tmp_path / "flair", tmp_path / "other", *series, *modality) == 0
    said = capsys.readouterr().err
    assert said.count(NO_RESCALING) == 1
    assert "give another modality, such as '--modality other=OT'." in said
    assert run("create", tmp_path / "second", tmp_path / "flair", "--channels", "FLAIR=flair") == 0
    capsys.readouterr()
    options = ["--channel", "other=other", *modality]
    assert run("add", tmp_path / "second", tmp_path / "other", *options) == 0
    assert capsys.readouterr().err.count(NO_RESCALING) == 1


def test_a_file_of_another_kind_is_no_damaged_dicom_file_because_of_uids_in_it(tmp_path, capsys):
    """UIDs as values of other formats, a whole DICOM file after other content, and an element without series."""
    folder = tmp_path / "in"
    headers = write_series(folder, VOXELS, GEOMETRY)
    uid = headers[0].SOPInstanceUID
    savemat(folder / "info.mat", {"SOPInstanceUID": "1.2.840.113619.2.55.3.604688.1", "x": np.arange(3)})
    (folder / "info.pkl").write_bytes(pickle.dumps({"uid": "1.2.840.113619.2.55.3.604688.1"}, protocol=2))
    (folder / "copy.bin").write_bytes(b"x" * 300 + min(folder.glob("IM*")).read_bytes()[132:])
    element = b"\x08\0\x18\0UI" + len(uid).to_bytes(2, "little") + uid.encode("ascii")
    (folder / "element.bin").write_bytes(b"x" * 300 + element)
    assert run("create", tmp_path / "co", folder) == 0
    assert "Skipped 4 files that are not DICOM." in capsys.readouterr().err


def test_a_damaged_file_of_another_series_does_not_make_the_series_beside_it_unusable(tmp_path, capsys):
    write_series(tmp_path / "other", VOXELS, GEOMETRY)
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    content = min((tmp_path / "other").iterdir()).read_bytes()
    (tmp_path / "in" / "a").write_bytes(b"x" * 300 + content[300:])
    assert run("create", tmp_path / "co", tmp_path / "in") == 1
    assert "is damaged: its header is incomplete. Copy it again." in capsys.readouterr().err
    assert run("create", tmp_path / "co", tmp_path / "in", "--skip-unusable") == 0
    assert len(Cohort.open(tmp_path / "co").cases) == 1


@pytest.mark.parametrize("is_explicit", [True, False])
@pytest.mark.parametrize("tag", [b"\x08\0\x16\0", b"\x08\0\x18\0", b"\x20\0\x0d\0", b"\x20\0\x0e\0"])
def test_elements_with_uids_are_found_wherever_they_are(tmp_path, tag, is_explicit):
    uid = b"2.25.329800735698586629295641978511506172918"
    length = b"UI" + len(uid).to_bytes(2, "little") if is_explicit else len(uid).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(b"\xff" * 1000 + tag + length + uid)
    assert list(uids_within(tmp_path / "a").values()) == [uid.decode("ascii")]
    (tmp_path / "a").write_bytes(b"\xff" * 1000 + tag[:2] + b"\1\1" + length + uid)
    assert uids_within(tmp_path / "a") == {}


def test_a_segmentation_without_a_case_of_its_name_is_called_by_its_number(tmp_path, capsys):
    """In a cohort that was not made from DICOM, where masks belong to cases by their names."""
    write_image(tmp_path / "s1.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "co", tmp_path / "s1.nrrd", "--labels", "1=liver", "--copy-images") == 0
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    series = series_in(tmp_path / "in")
    folder = tmp_path / "Annegret"
    one, two = (segmentation(folder / name, series) for name in ("a.dcm", "b.dcm"))
    capsys.readouterr()
    assert run("import-drawn", tmp_path / "co", one) == 1
    said = capsys.readouterr().err
    assert "No case has the name of the DICOM SEG given. Name the file, or its folder, like its case." in said
    assert run("import-drawn", tmp_path / "co", one, two) == 1
    said += capsys.readouterr().err
    assert (
        "'number 2': No case has the name of the DICOM SEG that is number 2 of the 2 files and folders given." in said
    )
    assert run("import-drawn", tmp_path / "co", folder) == 1
    said += capsys.readouterr().err
    assert "'number 1': No case has the name of the DICOM SEG number 1 of 2 in folder 1 of" in said
    for path in (one, two):
        path.rename(path.with_name(f"s1_{path.name}"))
    assert run("import-drawn", tmp_path / "co", *folder.iterdir()) == 1
    said += capsys.readouterr().err
    assert "has several masks by their names: the DICOM SEG that is number 1 of the 2 files and folders given, " in said
    assert "Annegret" not in said


def test_files_that_are_no_segmentations_are_called_by_the_same_number_twice(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    good = segmentation(tmp_path / "a.dcm", series_in(tmp_path / "in"))
    shutil.copytree(tmp_path / "in", tmp_path / "Annegret")
    capsys.readouterr()
    missing = tmp_path / "Annegret" / "c.dcm"
    assert run("import-drawn", cohort.folder, good, min((tmp_path / "Annegret").iterdir()), missing) == 1
    said = capsys.readouterr().err
    assert "'number 2': The DICOM file that is number 2 of the 3 files and folders given is not a segmentation" in said
    assert "'number 3': Number 3 of the 3 files and folders given does not exist." in said
    assert "Annegret" not in said


def test_a_folder_with_damaged_files_only_is_not_shown(tmp_path, capsys):
    cohort = cohort_of(tmp_path, "in")
    folders = [tmp_path / name for name in ("Annegret 1", "Annegret 2")]
    for folder in folders:
        (folder / "ct").mkdir(parents=True)
        (folder / "ct" / "a.dcm").write_bytes(b"")
    capsys.readouterr()
    assert run("import-drawn", cohort.folder, folders[0] / "ct") == 1
    said = capsys.readouterr().err
    assert "The folder given has no images directly in it. Its 1 file is neither an image nor DICOM, although" in said
    assert run("import-drawn", cohort.folder, *folders) == 1
    said += capsys.readouterr().err
    assert "Number 1 of the 2 files and folders given has no images directly in it." in said
    assert "Annegret" not in said


@pytest.mark.parametrize("command", ["create", "add"])
def test_a_file_that_is_only_named_like_dicom_is_refused_as_damaged(tmp_path, command, capsys):
    cohort = cohort_of(tmp_path, "other")
    target = cohort.folder if command == "add" else tmp_path / "new"
    (tmp_path / "Annegret").mkdir()
    path = tmp_path / "Annegret" / "Annegret.dcm"
    path.write_bytes(b"")
    capsys.readouterr()
    assert run(command, target, path) == 1
    said = capsys.readouterr().err
    assert "The file given is named like a DICOM file, but has other content. It may be damaged: copy it again." in said
    assert "--skip-unusable" not in said
    assert "Annegret" not in said


def test_a_file_that_is_only_named_like_dicom_among_others_is_named_and_skipped_when_asked_for(tmp_path, capsys):
    write_series(tmp_path / "Annegret", VOXELS, GEOMETRY)
    (tmp_path / "Annegret" / "a.dcm").write_bytes(b"")
    given = sorted((tmp_path / "Annegret").iterdir())
    assert run("create", tmp_path / "co", *given) == 1
    said = capsys.readouterr().err
    assert (
        "The file that is number 7 of the 7 files and folders given is named like a DICOM file, but has other" in said
    )
    assert "To take the other series, use '--skip-unusable'." in said
    assert run("create", tmp_path / "co", *given, "--skip-unusable") == 0
    said += capsys.readouterr().err
    assert "Skipped 1 file that is not DICOM. It is named like a DICOM file, so it may be damaged." in said
    assert "Annegret" not in said
    assert len(Cohort.open(tmp_path / "co").cases) == 1


def test_what_does_not_exist_among_several_is_called_by_its_number(tmp_path, capsys):
    """The shell also finds links to nothing. A pattern was typed."""
    write_series(tmp_path / "A Annegret", VOXELS, GEOMETRY)
    missing = tmp_path / "B Annegret"
    assert run("create", tmp_path / "co", tmp_path / "A Annegret", missing) == 1
    said = capsys.readouterr().err
    assert "Number 2 of the 2 files and folders given does not exist." in said
    assert "Annegret" not in said
    assert run("create", tmp_path / "co", tmp_path / "A Annegret", tmp_path / "C*") == 1
    assert f"The file or folder '{tmp_path / 'C*'}' does not exist." in capsys.readouterr().err


def test_a_series_of_nobody_is_called_by_the_number_of_its_folder(tmp_path, capsys):
    def without_patient(headers):
        for dataset in headers:
            del dataset.PatientName, dataset.PatientID

    for name in ("sub-01", "sub-02"):
        write_series(tmp_path / "in" / name / "ct", VOXELS, GEOMETRY, without_patient)
    assert run("create", tmp_path / "co", tmp_path / "in") == 0
    said = capsys.readouterr().err
    for number in (1, 2):
        line = next(line for line in said.splitlines() if line.startswith(f"'case_00{number}': "))
        assert line.endswith(f" in folder 1 of 1 in folder {number} of 2 in the folder given")
    assert run("create", tmp_path / "more", *sorted((tmp_path / "in").iterdir())) == 0
    said += capsys.readouterr().err
    assert ") in folder 1 of 1 in number 2 of the 2 files and folders given" in said
    assert "sub-0" not in said
