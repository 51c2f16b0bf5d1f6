"""Images leave this computer without anything in their headers but how the voxels lie in space."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from small_volumes import write_two_files
from SparseAnnotateLib.core import Cohort, VolumeGeometry
from SparseAnnotateLib.core.cohort_file import COHORT_FILE, Case, CohortFile
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.strict_json import write_json
from SparseAnnotateLib.remote.plain_images import is_plain, write_plain

ARRAY = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
GEOMETRY = VolumeGeometry.from_spacing(ARRAY.shape, (2.0, 1.0, 0.5))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
def test_images_that_were_written_here_are_copied_as_they_are(tmp_path, ending):
    write_image(tmp_path / f"a{ending}", ARRAY, GEOMETRY)
    assert is_plain(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_tags_of_dicom_in_a_header_are_found(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write_image(path, ARRAY, GEOMETRY)
    image = sitk.ReadImage(str(path))
    image.SetMetaData("0010|0010", "Doe^Jane")
    sitk.WriteImage(image, str(path))
    assert b"Doe^Jane" in path.read_bytes()
    assert not is_plain(path)


def test_a_comment_in_a_header_is_found(tmp_path):
    write_image(tmp_path / "a.nrrd", ARRAY, GEOMETRY)
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(content.replace(b"\ntype:", b"\n# of Jane Doe\ntype:", 1))
    assert not is_plain(tmp_path / "a.nrrd")


@pytest.mark.parametrize("place", [148, 228, 348])
def test_texts_and_extensions_of_nifti_are_found(tmp_path, place):
    path = tmp_path / "a.nii"
    write_image(path, ARRAY, GEOMETRY)
    content = bytearray(path.read_bytes())
    content[place] = ord("J")
    path.write_bytes(content)
    assert not is_plain(path)


def test_the_name_of_a_file_that_gzip_packed_is_found(tmp_path):
    write_image(tmp_path / "Doe.nii", ARRAY, GEOMETRY)
    with open(tmp_path / "a.nii.gz", "wb") as file, gzip.GzipFile("Doe_Jane.nii", "wb", fileobj=file) as packed:
        packed.write((tmp_path / "Doe.nii").read_bytes())
    assert b"Doe_Jane" in (tmp_path / "a.nii.gz").read_bytes()
    assert not is_plain(tmp_path / "a.nii.gz")


def test_a_header_that_names_other_files_is_never_copied(tmp_path):
    write_two_files(tmp_path / "a.mhd", ARRAY, GEOMETRY)
    assert not is_plain(tmp_path / "a.mhd")


def test_what_is_written_instead_has_the_same_voxels_and_geometry(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "c")
    write_two_files(tmp_path / "a.mhd", ARRAY, GEOMETRY)
    cohort.add_case("a", tmp_path / "a.mhd")
    write_plain(cohort, "a", "", tmp_path / "plain.nrrd")
    array, geometry = read_image(tmp_path / "plain.nrrd")
    np.testing.assert_array_equal(array, ARRAY)
    assert array.dtype == ARRAY.dtype
    assert geometry == cohort.geometry("a")
    assert is_plain(tmp_path / "plain.nrrd")


def test_a_file_of_several_channels_keeps_them(tmp_path):
    volumes = [sitk.GetImageFromArray(ARRAY + number) for number in range(2)]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(tmp_path / "four.nii"))
    content = bytearray((tmp_path / "four.nii").read_bytes())
    content[148:152] = struct.pack("4s", b"Jane")
    (tmp_path / "four.nii").write_bytes(content)
    folder = tmp_path / "cohort"
    write_json(
        folder / COHORT_FILE, CohortFile("c", cases=(Case("a", "../four.nii", is_4d=True),), channels=("x", "y"))
    )
    cohort = Cohort.open(folder)
    write_plain(cohort, "a", "x", folder / "plain.nrrd")
    write_json(folder / COHORT_FILE, CohortFile("c", cases=(Case("a", "plain.nrrd", is_4d=True),), channels=("x", "y")))
    again = Cohort.open(folder)
    for channel in "xy":
        np.testing.assert_array_equal(
            again.channel_image("a", channel, again.geometry("a")),
            cohort.channel_image("a", channel, cohort.geometry("a")),
        )
    assert is_plain(folder / "plain.nrrd")
