"""Scans as files, folders and patterns, and `add`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, CohortError, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.scan_files import image_files
from SparseAnnotateLib.worker.create_request import CreateRequest, add, create
from SparseAnnotateLib.worker.reference_order import order_problem

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def scan(path: Path, seed: int = 0) -> str:
    write_image(path, noisy_image(ball(), seed), GEOMETRY)
    return str(path)


def touched(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def found(*given: str, **options) -> list[str]:
    return [Path(path).relative_to(Path(path).parents[1]).as_posix() for path in image_files(given, **options)]


def test_a_folder_stands_for_the_images_directly_in_it_in_order_and_the_rest_is_counted(tmp_path, caplog):
    names = ("b.nrrd", "a.nii.gz", "SOURCE.txt", "notes.pdf", ".DS_Store", "._a.nii.gz", "older/c.nrrd", "c.MHA")
    folder = touched(tmp_path / "s", *names)
    with caplog.at_level(logging.WARNING):
        assert found(folder) == ["s/a.nii.gz", "s/b.nrrd", "s/c.MHA"]
    assert "Skipped 2 files that do not end like an image, for example" in caplog.text
    assert "SOURCE.txt" in caplog.text


def test_a_pattern_stands_for_the_images_it_matches(tmp_path, caplog, monkeypatch):
    folder = touched(tmp_path / "s", "p10.nrrd", "p2.nrrd", "p2.json", "q.nrrd", "p_folder/x.nrrd", "x[1].nrrd")
    with caplog.at_level(logging.WARNING):
        assert found(f"{folder}/p*") == ["s/p10.nrrd", "s/p2.nrrd"]
    assert "Skipped 1 file that does not end like an image: '" in caplog.text
    assert found(f"{folder}/**/x.nrrd") == ["p_folder/x.nrrd"]
    assert found(f"{folder}/p_*") == ["p_folder/x.nrrd"]
    assert found(f"{folder}/x[1].nrrd") == ["s/x[1].nrrd"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert found("~/s/q*") == ["s/q.nrrd"]


def test_a_folder_of_patient_folders_stands_for_the_image_in_each(tmp_path):
    folder = touched(tmp_path / "s", "anna/T1.nii.gz", "ben/scan.nrrd", "empty/notes.txt")
    assert found(folder, one_per_folder=True) == ["anna/T1.nii.gz", "ben/scan.nrrd"]
    assert found(f"{folder}/anna", one_per_folder=True) == ["anna/T1.nii.gz"]


@pytest.mark.parametrize(
    ("names", "given", "one_per_folder", "words"),
    [
        ((), "", False, r"has no images directly in it\. Images end in \.nrrd, \.nii\.gz"),
        (("1.dcm", "2.dcm"), "", False, r"DICOM series become a cohort with 'sparse-annotate create'\."),
        (("scans.zip",), "", False, r"directly in it\..* 1 file is an archive: unpack it, and give the folder"),
        (("scans.tar.gz",), "scans.tar.gz", False, r"^The archive given cannot be read: unpack it"),
        (("anna/T1.nrrd",), "", False, r"Its subfolders have images: give one of them, such as '.*anna'\.$"),
        (
            ("anna/T1.nrrd", "ben/T1.nrrd"),
            "",
            False,
            r"Or give a pattern for one .* such as '.*\*.T1\.nrrd'",
        ),
        (
            ("readme.txt",),
            "",
            True,
            r"directly in it\. Its 1 file, 'readme\.txt', is neither an image nor DICOM\.",
        ),
        (
            ("a.txt", "b.ini"),
            "",
            False,
            r"directly in it\. Its 2 files, such as 'a\.txt', are neither images nor",
        ),
        (("anna/T1.nrrd", "anna/T2.nrrd"), "", True, r"anna' has 2 images, so .* pattern such as '.*s.\*.T1\.nrrd'"),
        (("T1.nrrd", "T2.nrrd"), "", True, r"s' has 2 images, so .* pattern such as '.*s.T1\.nrrd'"),
        (("top.nrrd", "anna/T1.nrrd"), "", True, "images directly in it and in its subfolders"),
        (("a.nrrd",), "b*.nrrd", False, r"No file matches the pattern '.*b\*\.nrrd'\. Check the folder"),
        (("a.txt",), "*.txt", False, r"matches 1 file, which does not end like an image: '.*a\.txt'\."),
        (("a.txt", "b.txt"), "*", False, r"matches 2 files, none of which ends like an image, for example '.*a\.txt'"),
    ],
)
def test_what_stands_for_no_image_is_refused_in_a_sentence(tmp_path, names, given, one_per_folder, words):
    folder = tmp_path / "s"
    folder.mkdir()
    touched(folder, *names)
    with pytest.raises(BadInputError, match=words):
        image_files([str(folder / given)], one_per_folder)


def test_ten_thousand_files_are_found_and_their_order_is_checked(tmp_path):
    folder = touched(tmp_path / "s", *(f"case_{n:05d}.nrrd" for n in range(10_000)))
    assert len(image_files([folder, f"{folder}/*.nrrd"])) == 20_000
    names = [f"{n}.nrrd" for n in range(10_000)]
    assert order_problem(names, [f"{n}_seg.nrrd" for n in range(10_000)]) == (None, [])


def test_scans_are_added_to_a_cohort_with_references(tmp_path, capsys):
    for n in range(3):
        scan(tmp_path / "scans" / f"p{n}.nrrd", n)
        write_image(tmp_path / "labels" / f"p{n}_seg.nrrd", ball(), GEOMETRY)
    cohort = str(tmp_path / "co")
    assert main(["create", cohort, str(tmp_path / "scans" / "p0*"), "--labels", "1=liver"]) == 0
    capsys.readouterr()
    given = [str(tmp_path / "scans" / "p[12].nrrd"), "--references", str(tmp_path / "labels" / "p[12]*")]
    assert main(["add", cohort, *given, "--copy-images", "--json"]) == 0
    captured = capsys.readouterr()
    assert [row["name"] for row in json.loads(captured.out)] == ["p1", "p2"]
    assert "Added 2 cases to the cohort 'co', which now has 3." in captured.err
    opened = Cohort.open(cohort)
    assert [case.name for case in opened.cases] == ["p0", "p1", "p2"]
    assert opened.reference("p2").max() == 1
    assert main(["add", cohort, str(tmp_path / "scans" / "p0.nrrd"), "--names", "again", "--leave-images"]) == 0
    assert Cohort.open(cohort).case("again").image == "../scans/p0.nrrd"


def test_cases_of_patient_folders_have_their_names(tmp_path):
    for name in ("anna", "ben"):
        scan(tmp_path / "patients" / name / "T1.nii.gz")
    request = CreateRequest(str(tmp_path / "co"), (str(tmp_path / "patients"),), name_from="parent")
    assert [case.name for case in create(request, Watch())] == ["anna", "ben"]


def test_scans_are_added_to_cohorts_only(tmp_path):
    image = scan(tmp_path / "a.nrrd")
    with pytest.raises(CohortError, match=r"is not a cohort yet: .* Make one with 'sparse-annotate create'"):
        add(CreateRequest(str(tmp_path / "co"), (image,)), Watch())
    assert not (tmp_path / "co").exists()
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(CohortError, match="is a dataset of another format"):
        add(CreateRequest(str(tmp_path), (image,)), Watch())


def test_a_case_with_another_image_is_not_replaced_by_adding_a_folder(tmp_path):
    create(CreateRequest(str(tmp_path / "co"), (scan(tmp_path / "one" / "a.nrrd"),)), Watch())
    before = (tmp_path / "co" / "cohort.json").read_bytes()
    scan(tmp_path / "two" / "b.nrrd")
    scan(tmp_path / "two" / "a.nrrd", seed=5)
    with pytest.raises(CohortError, match="already has a case 'a' with another image"):
        add(CreateRequest(str(tmp_path / "co"), (str(tmp_path / "two"),)), Watch())
    assert (tmp_path / "co" / "cohort.json").read_bytes() == before
