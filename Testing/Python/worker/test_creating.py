from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from pathlib import Path

import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, CohortError, FileWriteError, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.worker import create_request as creating
from SparseAnnotateLib.worker.create_request import CreateRequest, create, parsed_labels
from SparseAnnotateLib.worker.reference_order import order_problem

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def scan(path: Path, seed: int = 0) -> str:
    write_image(path, noisy_image(ball(), seed), GEOMETRY)
    return str(path)


def reference(path: Path, geometry: VolumeGeometry = GEOMETRY) -> str:
    write_image(path, ball() if geometry is GEOMETRY else ball()[:20], geometry)
    return str(path)


def made(cohort: Path, *images: str, **options) -> list[str]:
    return [case.name for case in create(CreateRequest(str(cohort), images, **options), Watch())]


def test_a_cohort_is_copied_elsewhere_with_its_images(tmp_path):
    images = [scan(tmp_path / "scans" / f"p{n}.nii.gz", n) for n in range(2)]
    references = tuple(reference(tmp_path / "labels" / f"p{n}.nii.gz") for n in range(2))
    assert made(tmp_path / "co", *images, references=references) == ["p0", "p1"]
    shutil.copytree(tmp_path / "co", tmp_path / "copy")
    shutil.rmtree(tmp_path / "scans")
    shutil.rmtree(tmp_path / "labels")
    cohort = Cohort.open(tmp_path / "copy")
    assert len(cohort.select(None, with_references=True)) == 2
    assert cohort.image("p1")[0].shape == (24, 28, 32)
    assert cohort.reference("p0").max() == 1


def test_images_may_be_left_where_they_are(tmp_path, caplog):
    image = scan(tmp_path / "scans" / "p.nii.gz")
    with caplog.at_level(logging.WARNING):
        made(tmp_path / "co", image, import_mode="leave")
    assert Cohort.open(tmp_path / "co").case("p").image == "../scans/p.nii.gz"
    assert not (tmp_path / "co" / "images").exists()
    assert "The image of 1 case is outside the cohort folder and is not moved or copied with it" in caplog.text


@pytest.mark.parametrize(
    ("files", "options", "names"),
    [
        (["s1/T1.nii.gz", "s2/T1.nii.gz"], {}, ["s1", "s2"]),
        (["s1/a.nii.gz", "s2/b.nii.gz"], {"name_from": "parent"}, ["s1", "s2"]),
        (["s1/a.nii.gz", "s2/b.nii.gz"], {"names": ("one, first", "two")}, ["one, first", "two"]),
        (["patient's.nii.gz", "scan#1,v2[a]&b.nii.gz"], {}, ["patient's", "scan#1,v2[a]&b"]),
        (["x" * 240 + ".nii.gz"], {}, ["x" * 240]),
        ([unicodedata.normalize("NFD", "Müller.nrrd")], {}, [unicodedata.normalize("NFC", "Müller")]),
        (["a:b.nrrd"], {}, ["a_b"]),
    ],
)
def test_cases_are_named_by_files_folders_or_as_asked(tmp_path, files, options, names):
    images = [scan(tmp_path / file) for file in files]
    assert made(tmp_path / "co", *images, **options) == names
    cohort = Cohort.open(tmp_path / "co")
    assert [case.name for case in cohort.select(None)] == names
    assert all(cohort.geometry(name) == GEOMETRY for name in names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ("a",)}, "Number of images: 2, number of names: 1"),
        ({"names": ("a", "A")}, "cannot be named 'a' and 'A'"),
        ({"names": ("a", "b/c")}, "cannot be called 'b/c'"),
        ({"labels": {0: "air"}}, "0 is the background"),
        ({"references": ("one.nrrd",)}, "Number of images: 2, number of references: 1"),
        ({"references": ("none.nrrd", "none.nrrd")}, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, options, words):
    images = [scan(tmp_path / f"p{n}.nrrd") for n in range(2)]
    with pytest.raises(BadInputError, match=words):
        made(tmp_path / "co", *images, **options)
    assert not (tmp_path / "co").exists()
    assert made(tmp_path / "co", *images) == ["p0", "p1"]


def test_what_goes_wrong_on_the_way_is_undone_and_the_second_try_works(tmp_path, monkeypatch):
    images = [scan(tmp_path / f"p{n}.nrrd") for n in range(2)]
    real = creating.import_image

    def full_disk(path, folder, kind, stem, import_mode, done):
        if stem == "p1":
            raise FileWriteError("the disk is full")
        return real(path, folder, kind, stem, import_mode, done)

    with monkeypatch.context() as patched:
        patched.setattr(creating, "import_image", full_disk)
        with pytest.raises(FileWriteError):
            made(tmp_path / "co", *images)
    assert not [path for path in (tmp_path / "co").rglob("*") if path.is_file()]
    assert made(tmp_path / "co", *images) == ["p0", "p1"]


def test_images_are_added_to_a_cohort_that_is_there_and_this_is_reported(tmp_path, caplog):
    made(tmp_path / "co", scan(tmp_path / "a.nrrd"), labels={1: "liver"})
    with caplog.at_level(logging.WARNING):
        again = made(tmp_path / "co", str(tmp_path / "a.nrrd"), scan(tmp_path / "b.nrrd"), labels={2: "spleen"})
    assert again == ["a", "b"]
    assert "Added 1 case to the cohort 'co', which now has 2." in caplog.text
    assert "Already in the cohort: a." in caplog.text
    cohort = Cohort.open(tmp_path / "co")
    assert [case.name for case in cohort.cases] == ["a", "b"]
    assert cohort.labels == {1: "liver", 2: "spleen"}


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("other/a.nrrd", {}, "already has a case 'a' with another image"),
        ("other/A.nrrd", {}, "has a case 'a', whose name differs from 'A' in upper and lower case"),
        ("b.nrrd", {"labels": {1: "spleen"}}, "label 1 is 'liver', so it cannot be 'spleen'"),
        ("b.nrrd", {"labels": {2: "liver"}}, "Two labels are named 'liver'"),
    ],
)
def test_nothing_of_a_cohort_is_replaced_by_adding(tmp_path, file, options, words):
    made(tmp_path / "co", scan(tmp_path / "a.nrrd"), labels={1: "liver"})
    before = (tmp_path / "co" / "cohort.json").read_bytes()
    with pytest.raises((CohortError, BadInputError), match=words):
        made(tmp_path / "co", scan(tmp_path / file, 1), **options)
    assert (tmp_path / "co" / "cohort.json").read_bytes() == before
    assert len(list((tmp_path / "co" / "images").iterdir())) == 1


def test_another_reference_of_a_case_that_is_there_is_not_passed_over(tmp_path):
    image, theirs = scan(tmp_path / "a.nrrd"), reference(tmp_path / "labels" / "a.nrrd")
    made(tmp_path / "co", image, references=(theirs,))
    assert made(tmp_path / "co", image, references=(theirs,)) == ["a"]
    other = tmp_path / "other" / "a.nrrd"
    write_image(other, ball()[::-1], GEOMETRY)
    with pytest.raises(CohortError, match="with another reference .*, which is not replaced"):
        made(tmp_path / "co", image, references=(str(other),))


def test_an_image_that_was_copied_into_the_cohort_is_known_again(tmp_path):
    image = scan(tmp_path / "a.nrrd")
    made(tmp_path / "co", image, import_mode="copy")
    assert made(tmp_path / "co", image, import_mode="copy") == ["a"]


def test_what_is_written_into_a_copy_leaves_the_original_as_it_is(tmp_path):
    image = scan(tmp_path / "a.nrrd")
    before = Path(image).read_bytes()
    made(tmp_path / "co", image, import_mode="copy")
    with Cohort.open(tmp_path / "co").image_path("a").open("rb+") as file:
        file.write(b"changed")
    assert Path(image).read_bytes() == before


def test_a_link_that_an_earlier_attempt_left_is_replaced_when_copies_are_wanted(tmp_path):
    image, labels = scan(tmp_path / "a.nrrd"), reference(tmp_path / "labels" / "a.nrrd")
    made(tmp_path / "co", image, references=(labels,))
    (tmp_path / "co" / "cohort.json").unlink()
    made(tmp_path / "co", image, references=(labels,), import_mode="copy")
    cohort = Cohort.open(tmp_path / "co")
    for copy, original in ((cohort.image_path("a"), image), (cohort.reference_path("a"), labels)):
        assert not copy.samefile(original)
        assert copy.read_bytes() == Path(original).read_bytes()
    assert [path.name for path in (tmp_path / "co" / "images").iterdir()] == ["a.nrrd"]


def test_a_link_is_kept_when_links_are_wanted(tmp_path):
    image = scan(tmp_path / "a.nrrd")
    made(tmp_path / "co", image)
    (tmp_path / "co" / "cohort.json").unlink()
    made(tmp_path / "co", image)
    assert Cohort.open(tmp_path / "co").image_path("a").samefile(image)


def test_a_data_set_of_others_is_not_hidden_by_a_cohort(tmp_path):
    (tmp_path / "co").mkdir()
    (tmp_path / "co" / "dataset.json").write_text("{}")
    with pytest.raises(CohortError, match="already contains a dataset .*, which a new cohort there would hide"):
        made(tmp_path / "co", scan(tmp_path / "a.nrrd"))


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["²=liver"], "VALUE=NAME"),
        (["liver"], "VALUE=NAME"),
        (["=liver"], "VALUE=NAME"),
        (["x=liver"], "VALUE=NAME"),
        (["1.5=liver"], "VALUE=NAME"),
        (["1="], "needs a name"),
        (["1= "], "needs a name"),
        (["0=air"], "0 is the background"),
        (["-1=x"], "from 1 to 65535"),
        (["70000=x"], "from 1 to 65535"),
        (["1=liver", "1=spleen"], "The label 1 is named twice"),
        (["1=liver", "2=liver"], "Two labels are named 'liver'"),
    ],
)
def test_labels_that_cannot_be_are_refused_in_a_sentence(items, words):
    with pytest.raises(BadInputError, match=words):
        parsed_labels(items)


def test_labels_are_value_and_name():
    assert parsed_labels(["1=liver", "02=left = kidney"]) == {1: "liver", 2: "left = kidney"}


@pytest.mark.parametrize(
    ("images", "references"),
    [
        (["s1.nii", "s2.nii"], ["s2.nii", "s1.nii"]),
        (["s1.nii", "s2.nii"], ["s2_seg.nii", "s1_seg.nii"]),
        (["s1_0000.nii", "s2_0000.nii"], ["s2.nii", "s1.nii"]),
        (["s1/T1.nii", "s2/T1.nii"], ["s2/seg.nii", "s1/seg.nii"]),
        (["i/s1/T1.nii", "i/s2/T1.nii"], ["l/s2/T1.nii", "l/s1/T1.nii"]),
        (["i/pat01_ct.nii", "i/pat02_ct.nii"], ["l/2.nii", "l/1.nii"]),
        (["s1.nii", "s2.nii", "s3.nii"], ["s2.nii", "s3.nii", "s4.nii"]),
        (["s1.nii", "s10.nii"], ["s10_seg.nii", "s1_seg.nii"]),
        (["A.nii", "B.nii"], ["b.nii", "a.nii"]),
    ],
)
def test_references_in_another_order_than_their_images_are_refused_with_what_belongs_together(images, references):
    problem, _ = order_problem(images, references)
    assert problem is not None
    assert f"'{'/'.join(references[0].split('/')[-2:])}' to '" in problem
    assert order_problem(images, list(reversed(references)) if len(images) == 2 else images) == (None, [])


@pytest.mark.parametrize(
    ("images", "references", "unlike"),
    [
        (["a.nii", "b.nii"], ["x.nii", "y.nii"], 2),
        (["a.nii", "a weights.nii"], ["a.nii", "b.nii"], 1),
        (["scan_2020-01-02.nii", "scan_2020-05-01.nii"], ["1.nii", "2.nii"], 2),
        (["a.nii"], ["anything.nii"], 1),
        (["s1_x.nii", "s1_y.nii"], ["s1.nii", "s1.nii"], 2),
    ],
)
def test_references_whose_names_say_nothing_are_taken_in_the_order_given_and_named(images, references, unlike):
    problem, pairs = order_problem(images, references)
    assert problem is None
    assert len(pairs) == unlike


def test_references_whose_names_say_nothing_are_named_in_a_warning(tmp_path, caplog):
    images = [scan(tmp_path / f"{name}.nrrd") for name in "ab"]
    labels = tuple(reference(tmp_path / f"{name}.nrrd") for name in "xy")
    with caplog.at_level(logging.WARNING):
        made(tmp_path / "co", *images, references=labels)
    assert "'x.nrrd' for 'a.nrrd'; 'y.nrrd' for 'b.nrrd'" in caplog.text


def test_references_on_each_other_s_grids_are_reported_as_such(tmp_path):
    smaller = VolumeGeometry.from_spacing((20, 28, 32), (2.0, 1.0, 1.0))
    write_image(tmp_path / "a.nrrd", noisy_image(ball()), GEOMETRY)
    write_image(tmp_path / "b.nrrd", noisy_image(ball()[:20]), smaller)
    labels = (reference(tmp_path / "x.nrrd", smaller), reference(tmp_path / "y.nrrd"))
    with pytest.raises(
        BadInputError, match=r"the same grid as '.*b.nrrd'\. Check that the references are in the order"
    ):
        made(tmp_path / "co", str(tmp_path / "a.nrrd"), str(tmp_path / "b.nrrd"), references=labels)
    assert not (tmp_path / "co").exists()


def test_the_command_makes_the_same_request(tmp_path, capsys):
    images = [scan(tmp_path / f"s{n}" / "T1.nii.gz", n) for n in (1, 2)]
    assert main(["create", str(tmp_path / "co"), *images, "--labels", "1=liver", "--leave-images", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["s1", "s2"]
    assert rows[0]["image"] == "../s1/T1.nii.gz"
    assert main(["create", str(tmp_path / "co2"), *images, "--names", "a", "b", "--copy-images"]) == 0
    assert Cohort.open(tmp_path / "co2").case("b").image == "images/b.nii.gz"
