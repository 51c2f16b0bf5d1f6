from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from small_volumes import ball, noisy_image, write_two_files
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core import image_fingerprint as image_fingerprint_module
from SparseAnnotateLib.core.image_fingerprint import content_fingerprint, image_files, image_fingerprint
from SparseAnnotateLib.core.images import read_facts, write_image
from SparseAnnotateLib.core.origin import Origin, run_fingerprint, scale_of, stale_sentence

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def drawn(indices, labels=None, plane=Plane.AXIAL) -> SparseAnnotation:
    return SparseAnnotation.from_slices(ball() if labels is None else labels, GEOMETRY, plane, indices)


def test_an_origin_comes_back_from_the_file_of_a_result(tmp_path):
    origin = Origin.of(drawn([3, 7, 11]), "image", "auto", "erster Lauf β", "run")
    write_image(tmp_path / "fill.nrrd", ball(), GEOMETRY, facts=origin.facts())
    found = Origin.from_facts(read_facts(tmp_path / "fill.nrrd"))
    assert found == origin
    assert found.is_known
    assert found.ledger().indices(Plane.AXIAL) == [3, 7, 11]
    write_image(tmp_path / "foreign.nrrd", ball(), GEOMETRY)
    assert not Origin.from_facts(read_facts(tmp_path / "foreign.nrrd")).is_known


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ([3, 7], ""),
        ([3, 7, 9, 11], "2 more slices have been drawn since"),
        ([3, 7, 9], "1 more slice has been drawn since"),
        ([3], "1 slice is no longer drawn"),
        ([3, 9], "1 more slice has been drawn since and 1 slice is no longer drawn"),
    ],
)
def test_what_has_been_drawn_since_is_counted(now, words):
    made = Origin.of(drawn([3, 7]), "image")
    assert made.changes(Origin.of(drawn(now), "image")) == words


def test_other_labels_on_the_same_slices_are_a_change():
    other = ball()
    other[7, 0, 0] = 1
    assert "the drawing on its slices, or a correction, has changed" in Origin.of(drawn([3, 7]), "i").changes(
        Origin.of(drawn([3, 7], other), "i")
    )
    elsewhere = ball()
    elsewhere[8, 0, 0] = 1
    assert Origin.of(drawn([3, 7]), "i").changes(Origin.of(drawn([3, 7], elsewhere), "i")) == ""


def test_slices_of_all_planes_are_distinguished():
    made = Origin.of(drawn([3, 7]), "image")
    words = made.changes(Origin.of(drawn([3, 7], plane=Plane.CORONAL), "image"))
    assert words == "2 more slices have been drawn since and 2 slices are no longer drawn"


def test_another_image_and_another_training_are_changes_and_what_is_not_known_is_none():
    made = Origin(annotation="a", drawn="axial 3", image="x", run="r", run_content="1")
    assert made.changes(made) == ""
    assert made.changes(Origin()) == Origin().changes(made) == ""
    words = made.changes(Origin(annotation="a", image="y", run="r", run_content="2"))
    replaced = "the image file has changed since, or there are other channels"
    assert words == f"{replaced} and the run 'r' has been trained again"
    assert made.without_annotation().changes(Origin(annotation="b", image="x")) == ""


def test_the_sentence_names_cases_and_what_to_do():
    words = stale_sentence("fill", {"a": "so", "b": "thus"}, "Fill again.")
    assert words == "The fill is out of date for 2 cases ('a': so; 'b': thus). Fill again."
    many = stale_sentence("fill", {f"{n}": "so" for n in range(9)}, "Fill again.")
    assert "and 6 more" in many


def test_the_fingerprint_of_an_image_stays_when_it_is_copied_and_changes_with_its_content(tmp_path):
    write_image(tmp_path / "a.nrrd", noisy_image(ball()), GEOMETRY)
    (tmp_path / "far").mkdir()
    shutil.copy(tmp_path / "a.nrrd", tmp_path / "far" / "b.nrrd")
    os.utime(tmp_path / "far" / "b.nrrd", (1, 1))
    assert image_fingerprint(tmp_path / "a.nrrd") == image_fingerprint(tmp_path / "far" / "b.nrrd")
    write_image(tmp_path / "a.nrrd", noisy_image(ball(), 1), GEOMETRY)
    assert image_fingerprint(tmp_path / "a.nrrd") != image_fingerprint(tmp_path / "far" / "b.nrrd")


def test_the_voxels_beside_a_header_are_part_of_an_image_s_fingerprint(tmp_path):
    write_two_files(tmp_path / "a.mhd", noisy_image(ball()), GEOMETRY)
    before = image_fingerprint(tmp_path / "a.mhd")
    (voxels,) = (path for path in tmp_path.iterdir() if path.suffix == ".raw")
    content = bytearray(voxels.read_bytes())
    content[1000] ^= 1
    voxels.write_bytes(content)
    assert image_fingerprint(tmp_path / "a.mhd") != before


@given(st.integers(0, (1 << 18) - 1))
def test_any_byte_of_a_small_file_counts(tmp_path_factory, place):
    path = tmp_path_factory.getbasetemp() / "file"
    content = bytearray(1 << 18)
    path.write_bytes(content)
    before = content_fingerprint([path])
    content[place] = 1
    path.write_bytes(content)
    assert content_fingerprint([path]) != before


def test_a_large_file_that_differs_in_a_few_slices_has_another_fingerprint(tmp_path):
    path, slice_bytes = tmp_path / "large", 1 << 17
    path.write_bytes(bytes(200 * slice_bytes))
    before = content_fingerprint([path])
    with open(path, "r+b") as file:
        file.seek(97 * slice_bytes)
        file.write(np.ones(2 * slice_bytes, np.uint8).tobytes())
    assert content_fingerprint([path]) != before


def test_a_run_s_fingerprint_is_that_of_its_card_and_weights(tmp_path):
    assert run_fingerprint(tmp_path / "gone") == ""
    (tmp_path / "3d").mkdir()
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "3d" / "weights.safetensors").write_bytes(b"1")
    before = run_fingerprint(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("more")
    assert run_fingerprint(tmp_path) == before
    (tmp_path / "3d" / "weights.safetensors").write_bytes(b"2")
    assert run_fingerprint(tmp_path) != before


def test_a_copied_cohort_has_the_same_origins(ball_cohort, tmp_path):
    shutil.copytree(ball_cohort.folder, tmp_path / "copy")
    assert Cohort.open(tmp_path / "copy").origin("ball_0") == ball_cohort.origin("ball_0")


@pytest.mark.parametrize("words", ["LOCAL", "raw/vol.raw", "s%03d.raw 0 2 1", "LIST"])
def test_all_files_that_a_header_names_and_no_others_are_the_image_s(tmp_path, words):
    # Names as in LUNA16: the same up to the first full stop.
    for number in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(noisy_image(ball())[:3]), str(tmp_path / f"1.3.{number}.mhd"))
    header = tmp_path / "1.3.0.mhd"
    content = (tmp_path / "1.3.0.raw").read_bytes()
    third = len(content) // 3
    files = [tmp_path / "1.3.0.raw"]
    if words in ("s%03d.raw 0 2 1", "LIST"):
        files = [tmp_path / f"s{number:03d}.raw" for number in range(3)]
        for number, file in enumerate(files):
            file.write_bytes(content[number * third : (number + 1) * third])
    elif words == "raw/vol.raw":
        (tmp_path / "raw").mkdir()
        files = [tmp_path / "1.3.0.raw"]
        files[0].rename(tmp_path / words)
        files = [tmp_path / words]
    if words == "LOCAL":
        words = "1.3.0.raw"
    listed = "\n".join([words, *(file.name for file in files)]) if words == "LIST" else words
    header.write_text(header.read_text().replace("1.3.0.raw", listed))
    assert image_files(header) == [header, *files]
    before = image_fingerprint(header)
    (tmp_path / "1.3.1.raw").write_bytes(b"another scan")
    assert image_fingerprint(header) == before
    for file in files:
        file.write_bytes(file.read_bytes()[::-1])
        assert image_fingerprint(header) != before
        before = image_fingerprint(header)


def test_a_single_slice_of_a_large_image_counts(tmp_path):
    path, memo = tmp_path / "large.nrrd", tmp_path / "memo.json"
    path.write_bytes(bytes(1 << 25))
    before = image_fingerprint(path, memo)
    assert not memo.exists()  # changed a moment ago
    os.utime(path, (1, 1))
    with open(path, "r+b") as file:
        file.seek(12345678)
        file.write(b"1")
    assert image_fingerprint(path, memo) != before


def test_a_fingerprint_is_kept_while_the_file_looks_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(image_fingerprint_module, "is_settled", lambda looks: True)
    path, memo = tmp_path / "a.nrrd", tmp_path / "memo.json"
    path.write_bytes(b"12345")
    before = image_fingerprint(path, memo)
    with monkeypatch.context() as patched:
        patched.setattr(image_fingerprint_module.hashlib, "sha256", lambda: 1 / 0)
        assert image_fingerprint(path, memo) == before
    path.write_bytes(b"12346")
    os.utime(path, (1, 1))
    assert image_fingerprint(path, memo) != before
    memo.write_text("{}")
    assert image_fingerprint(path, memo) != before


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ((), ("",), "the images count as CT now"),
        (("",), (), "the images do not count as CT any more"),
        ((), ("a", "b"), "the images count as CT now and the images of 'b' count as CT now"),
        (("a", "b"), ("a",), "the images of 'b' do not count as CT any more"),
    ],
)
def test_a_change_of_what_the_images_are_says_which_way(before, now, words):
    first = "a" if "a" in before + now else ""
    made, later = (Origin(scale=scale_of(ct, first)) for ct in (before, now))
    assert made.changes(later).startswith(words)
    assert made.changes(later).endswith("(see 'modalities' in 'cohort.json')")
    assert made.changes(made) == ""


def test_results_of_before_know_their_scale():
    assert scale_of([], "") == "each image"
    assert scale_of(["a", "b"], "a") == "Hounsfield units, b: Hounsfield units"
    assert scale_of(["b"], "a") == "each image, b: Hounsfield units"
