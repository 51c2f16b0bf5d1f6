"""Scans named by files, folders and patterns, and the names of their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.core.scan_files import scans_to_label
from SparseAnnotateLib.core.scan_names import scan_names


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working folder of the test; whether the files are images does not matter here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*given: str, one_per_folder: bool = False) -> list[str]:
    return [path.as_posix() for path in scans_to_label(given, one_per_folder)]


def test_a_folder_stands_for_the_images_directly_in_it(place):
    with_files(
        place, "s/b.nii.gz", "s/a.nrrd", "s/C.MHA", "s/notes.txt", "s/._a.nrrd", "s/.a.writing.nrrd", "s/x/d.nii"
    )
    assert found("s") == ["s/C.MHA", "s/a.nrrd", "s/b.nii.gz"]


def test_with_a_folder_for_each_patient_the_images_in_these_count(place):
    with_files(place, "s/anna/T1.nii.gz", "s/ben/T1.nii.gz", "s/ben/deep/T1.nii.gz")
    paths = scans_to_label(["s"], one_per_folder=True)
    assert [path.as_posix() for path in paths] == ["s/anna/T1.nii.gz", "s/ben/T1.nii.gz"]
    assert scan_names(paths, from_folders=True) == ["anna", "ben"]
    assert scan_names(scans_to_label(["s/anna"], one_per_folder=True), from_folders=True) == ["anna"]


def test_patterns_match_images_and_not_the_files_beside_them(place):
    with_files(place, "s/anna/T1.nii.gz", "s/ben/T1.nii.gz", "s/ben/T2.nii.gz", "s/ben/notes.txt", "s/ben/._T1.nii.gz")
    assert found("s/*/T1.nii.gz") == ["s/anna/T1.nii.gz", "s/ben/T1.nii.gz"]
    assert found("s/**") == ["s/anna/T1.nii.gz", "s/ben/T1.nii.gz", "s/ben/T2.nii.gz"]
    assert found("s/ben/*") == ["s/ben/T1.nii.gz", "s/ben/T2.nii.gz"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(place):
    with_files(place, "scan[1].nrrd", "scan1.nrrd")
    assert found("scan[1].nrrd") == ["scan[1].nrrd"]


def test_a_file_named_twice_is_one_scan_and_the_order_is_kept(place):
    with_files(place, "s/b.nrrd", "s/a.nrrd")
    assert found("s/b.nrrd", "s", f"{place}/s/a.nrrd") == ["s/b.nrrd", "s/a.nrrd"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "at least one scan"),
        (["nothing"], "'nothing' does not exist"),
        (["no*"], "No file matches the pattern 'no*'"),
        (["empty"], "'empty' has no images directly in it"),
        (["patients"], "Its subfolders have images"),
    ],
)
def test_what_is_not_there_is_a_sentence(place, given, words):
    with_files(place, "empty/notes.txt", "patients/anna/T1.nii.gz")
    with pytest.raises(BadInputError) as error:
        scans_to_label(given)
    assert words in error.value.message


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        (["Annegret.dcm"], ["Annegret.dcm"], "The DICOM file given is not labeled by itself"),
        (["Annegret.dcm"], ["a.nrrd", "Annegret.dcm"], "DICOM file that is number 2 of the 2 files and folders given"),
        (["Annegret.zip"], ["Annegret.zip"], "The archive given cannot be read: unpack it"),
        (["s/Annegret.zip"], ["s"], "1 file is an archive: unpack it"),
        (["s/Annegret.zip", "s/Annegret.7z"], ["s"], "2 files are archives: unpack them"),
        (["s/Annegret.zip"], ["s/*"], "matches 1 file, which does not end like an image. Images"),
        (["Annegret.zip/1.dcm"], ["Annegret.zip"], "The folder given has no images directly in it"),
    ],
)
def test_names_of_dicom_files_and_archives_are_not_shown(place, files, given, words):
    with_files(place, "a.nrrd", *files)
    with pytest.raises(BadInputError) as error:
        scans_to_label(given)
    assert words in error.value.message
    assert "Annegret" not in error.value.message


def test_a_dicom_file_without_ending_is_known_by_its_content(place):
    (place / "Annegret").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 64)
    with pytest.raises(BadInputError, match="The DICOM file given is not labeled by itself"):
        scans_to_label(["Annegret"])
    with pytest.raises(
        BadInputError, match="A DICOM series, also one in a single file, becomes a cohort with 'sparse-a"
    ):
        found("Annegret")
    with pytest.raises(BadInputError, match="The folder given has .* DICOM series become a cohort with 'sparse-ann"):
        found(".")


def test_two_results_of_the_same_name_are_refused(place):
    paths = [Path("a/T1.nii.gz"), Path("b/t1.nrrd")]
    with pytest.raises(BadInputError) as error:
        scan_names(paths)
    for words in ("'a/T1.nii.gz'", "'b/t1.nrrd'", "'--name-from parent'"):
        assert words in error.value.message.replace("\\", "/")
    assert scan_names(paths, from_folders=True) == ["a", "b"]
    with pytest.raises(BadInputError, match="of each folder"):
        scan_names([Path("a/T1.nrrd"), Path("a/T2.nrrd")], from_folders=True)


def test_names_can_be_those_of_files_on_every_system(place):
    assert scan_names([Path("con.nrrd"), Path("a b .nii.gz"), Path("x.y.mha")]) == ["case con", "a b", "x.y"]


def test_ten_thousand_scans_are_found_and_named(place):
    with_files(place, *(f"s/{number}.nrrd" for number in range(10_000)))
    paths = scans_to_label(["s"])
    assert len(set(scan_names(paths))) == 10_000
