"""Images, JSON, atomic writes and locks: files that are damaged, locked, unwritable or from others."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
import SimpleITK as sitk

from SparseAnnotateLib.core import BadInputError, BusyError, FileWriteError, VolumeGeometry
from SparseAnnotateLib.core.atomic_files import append_line, write_bytes, write_text, written_atomically
from SparseAnnotateLib.core.folder_lock import FolderLock
from SparseAnnotateLib.core.images import (
    labels_from_values,
    read_facts,
    read_geometry,
    read_image,
    read_labels,
    write_image,
)
from SparseAnnotateLib.core.strict_json import parse_json, read_json, to_text, write_json
from system_needs import needs_posix_limits

OBLIQUE = VolumeGeometry.from_matrix(
    (4, 5, 6), [[0.8, 0.6 * 1.5, 0, 1.23456789], [-0.6, 0.8 * 1.5, 0, -7.5], [0, 0, 2.5, 100.125], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("ending", ["nrrd", "nii.gz"])
def test_an_image_comes_back_bit_for_bit_with_its_geometry(tmp_path, dtype, ending):
    array = (np.random.default_rng(0).normal(size=OBLIQUE.shape) * 100).astype(dtype)
    write_image(tmp_path / f"image.{ending}", array, OBLIQUE)
    back, geometry = read_image(tmp_path / f"image.{ending}")
    np.testing.assert_array_equal(back, array)
    assert back.dtype == dtype
    assert geometry.resembles(OBLIQUE)
    assert geometry == read_geometry(tmp_path / f"image.{ending}")
    if ending == "nrrd":
        np.testing.assert_allclose(geometry.matrix, OBLIQUE.matrix, atol=1e-12)


def test_facts_about_a_result_come_back_from_its_file_and_a_foreign_file_has_none(tmp_path):
    labels = np.ones(OBLIQUE.shape, np.uint8)
    write_image(tmp_path / "fill.nrrd", labels, OBLIQUE, facts={"annotation": "0f3a", "method": "Füllung: auto"})
    assert read_facts(tmp_path / "fill.nrrd") == {"annotation": "0f3a", "method": "Füllung: auto"}
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "foreign.nrrd"))
    assert read_facts(tmp_path / "foreign.nrrd") == {}


def save(path, array, is_vector=False):
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


def test_a_4d_image_is_refused_with_its_size(tmp_path):
    path = save(tmp_path / "film.nii.gz", np.zeros((3, 4, 5, 6), np.float32))
    with pytest.raises(BadInputError, match=r"film.nii.gz' is a 4D image \(6 x 5 x 4 x 3\)"):
        read_image(path)


def test_a_4d_image_of_one_time_point_is_a_volume(tmp_path):
    path = save(tmp_path / "one.nii.gz", np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5))
    array, geometry = read_image(path)
    assert array.shape == geometry.shape == (3, 4, 5)
    assert array[2, 3, 4] == 59


def test_a_colour_image_is_refused(tmp_path):
    path = save(tmp_path / "colour.nrrd", np.zeros((3, 4, 5, 3), np.uint8), is_vector=True)
    with pytest.raises(BadInputError, match="3 values per voxel"):
        read_image(path)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5)])
def test_a_2d_image_is_refused(tmp_path, shape):
    with pytest.raises(BadInputError, match="2D image"):
        read_image(save(tmp_path / "flat.nrrd", np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_numbers_are_counted_and_located(tmp_path, bad):
    array = np.zeros((4, 5, 6), np.float32)
    array[2, 1, :3] = bad
    with pytest.raises(BadInputError, match=r"NaN or Inf\): 3 in slice 2"):
        read_image(save(tmp_path / "bad.nrrd", array))


@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "nii"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_label_file_that_is_cut_off_is_refused_by_name(tmp_path, ending, share):
    path = tmp_path / f"labels.{ending}"
    labels = np.random.default_rng(0).integers(0, 5, (20, 30, 40)).astype(np.uint8)
    geometry = VolumeGeometry.from_spacing(labels.shape)
    write_image(path, labels, geometry)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadInputError, match=rf"labels.{ending}' cannot be read as an image; it may be damaged or cut"):
        read_labels(path, geometry)


def test_labels_on_another_grid_are_refused_with_the_difference(tmp_path):
    write_image(tmp_path / "l.nrrd", np.zeros((4, 5, 6), np.uint8), OBLIQUE)
    with pytest.raises(BadInputError, match="voxel spacing is"):
        read_labels(tmp_path / "l.nrrd", VolumeGeometry.from_spacing((4, 5, 6)))


def test_labels_stored_as_whole_floats_are_labels_and_others_are_not():
    assert labels_from_values(np.array([0.0, 2.0]), "x").dtype == np.uint8
    assert labels_from_values(np.array([0, 300], np.int64), "x").dtype == np.uint16
    with pytest.raises(BadInputError, match="not whole numbers"):
        labels_from_values(np.array([0.0, 0.5]), "x")
    with pytest.raises(BadInputError, match="from -1 to 3"):
        labels_from_values(np.array([-1, 3]), "x")


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with written_atomically(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_folder_is_reported_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below.txt", b"x")
    with pytest.raises(FileWriteError, match="cannot be written"):
        append_line(tmp_path / "file" / "below.txt", "x")
    with pytest.raises(FileWriteError, match="cannot be written"):
        write_image(tmp_path / "file" / "image.nrrd", np.zeros(OBLIQUE.shape, np.uint8), OBLIQUE)


@needs_posix_limits
def test_a_folder_without_permission_is_reported_in_words(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    is_root = os.geteuid() == 0
    if is_root:  # who may write anywhere
        os.seteuid(65534)
    try:
        with pytest.raises(FileWriteError, match="no permission to write there"):
            write_text(folder / "a.txt", "x")
        with pytest.raises(FileWriteError, match="no permission to write there"), FolderLock(folder, "x"):
            pass
    finally:
        if is_root:
            os.seteuid(0)


@needs_posix_limits
def test_a_full_disk_is_reported_in_words_and_the_old_file_stays(tmp_path):
    write_text(tmp_path / "a.bin", "old")
    # A file-size limit is the disk that is full after so many bytes.
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(sys.path[0])!r}); sys.path[:0] = {sys.path!r}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from SparseAnnotateLib.core.atomic_files import write_bytes
from SparseAnnotateLib.core import FileWriteError
try:
    write_bytes({str(tmp_path / "a.bin")!r}, bytes(5000))
except FileWriteError as error:
    print(error)
"""
    # Without -B, Python could keep compiled modules that were cut off by the limit.
    said = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "the disk is full" in said
    assert (tmp_path / "a.bin").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_second_process_learns_who_holds_the_folder(tmp_path):
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
from SparseAnnotateLib.core.folder_lock import FolderLock
with FolderLock({str(tmp_path)!r}, "training the run 'a'"):
    print("held", flush=True); sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(BusyError, match=rf"process {other.pid} on .* is training the run 'a'"),
        FolderLock(tmp_path, "x"),
    ):
        pass
    other.kill()
    other.wait()
    with FolderLock(tmp_path, "x", wait_seconds=5):
        pass


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    name: str
    share: float = 0.5
    inner: Inner | None = None
    by_value: dict[int, str] = field(default_factory=dict)


def test_json_comes_back_as_it_was(tmp_path):
    value = Outer("x", 1.0, Inner((1, 2)), {3: "three"})
    write_json(tmp_path / "o.json", value)
    assert read_json(tmp_path / "o.json", Outer) == value
    assert to_text(float("nan")) == "null"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": "x", "colour": 1}', "unknown field 'colour'; known are name, share, inner, by_value"),
        ("{}", "lacks the field 'name'"),
        ('{"name": 3}', "the field 'name' must be a string, not 3"),
        ('{"name": "x", "share": "much"}', "the field 'share' must be a number"),
        ('{"name": "x", "share": true}', "the field 'share' must be a number"),
        ('{"name": "x", "inner": {"size": [1]}}', "the field 'inner.size' must be a list of 2 values"),
        ('{"name": "x", "inner": {"size": [1, 2.5]}}', r"the field 'inner.size\[1\]' must be a whole number"),
        ('{"name": "x", "by_value": {"a": "b"}}', "the names in the field 'by_value' must be whole numbers, not 'a'"),
        ("[]", "its content must be an object"),
        ('{"name": "x"', "not valid JSON"),
    ],
)
def test_json_that_does_not_fit_is_refused_with_file_and_field(text, words):
    with pytest.raises(BadInputError, match=words) as caught:
        parse_json(text, Outer, "the file 'o.json'")
    assert "o.json" in str(caught.value)


@dataclass(frozen=True)
class Versioned:
    name: str
    version: Literal[1, 2] = 2


def test_a_file_of_a_newer_version_is_refused_before_its_fields_are_looked_at():
    with pytest.raises(BadInputError, match=r"newer version .* \(format 3; this version reads up to 2\)"):
        parse_json('{"name": "x", "version": 3, "added": []}', Versioned, "the file 'o.json'")


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(BadInputError, match=r"nowhere.json' does not exist"):
        read_json(tmp_path / "nowhere.json", Outer)
