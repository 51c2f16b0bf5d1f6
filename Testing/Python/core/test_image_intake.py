from __future__ import annotations

import errno
import os

import pytest
import SimpleITK as sitk

from small_volumes import ball, noisy_image, write_two_files
from SparseAnnotateLib.core import FileWriteError, VolumeGeometry
from SparseAnnotateLib.core.image_fingerprint import image_fingerprint
from SparseAnnotateLib.core.image_intake import import_image, remove_imported
from SparseAnnotateLib.core.images import read_image, write_image
from system_needs import needs_symbolic_links

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


@pytest.fixture
def scan(tmp_path):
    write_image(tmp_path / "scans" / "p.nii.gz", noisy_image(ball()), GEOMETRY)
    return tmp_path / "scans" / "p.nii.gz"


@pytest.fixture
def no_links(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


def test_a_link_takes_no_disk_and_can_be_undone(tmp_path, scan):
    made = []
    stored = import_image(scan, tmp_path / "c", "images", "p", "link", made)
    assert stored == "images/p.nii.gz"
    assert (tmp_path / "c" / stored).samefile(scan)
    # Once more, after a try that failed: the same file.
    assert import_image(scan, tmp_path / "c", "images", "p", "link", []) == stored
    remove_imported(made, tmp_path / "c")
    assert not (tmp_path / "c" / "images").exists()
    assert scan.is_file()


@needs_symbolic_links
def test_a_link_of_a_link_is_one_of_the_file(tmp_path, scan):
    link = tmp_path / "link.nii.gz"
    link.symlink_to(scan)
    stored = import_image(link, tmp_path / "c", "images", "link", "link", [])
    assert not (tmp_path / "c" / stored).is_symlink()
    assert (tmp_path / "c" / stored).samefile(scan)


def test_without_links_a_file_is_left_or_copied_as_asked(tmp_path, scan, no_links):
    assert import_image(scan, tmp_path / "c", "images", "p", "link", []) == "../scans/p.nii.gz"
    assert import_image(scan, tmp_path / "c", "images", "p", "leave", []) == "../scans/p.nii.gz"
    made = []
    assert import_image(scan, tmp_path / "c", "images", "p", "copy", made) == "images/p.nii.gz"
    assert made[0].read_bytes() == scan.read_bytes()
    assert not made[0].samefile(scan)


def test_a_file_of_another_case_is_never_written_over(tmp_path, scan):
    write_image(tmp_path / "c" / "images" / "p.nii.gz", noisy_image(ball(), 3), GEOMETRY)
    before = (tmp_path / "c" / "images" / "p.nii.gz").read_bytes()
    stored = import_image(scan, tmp_path / "c", "images", "p", "link", [])
    assert stored == "images/2 p.nii.gz"
    assert (tmp_path / "c" / "images" / "p.nii.gz").read_bytes() == before


def test_what_lies_in_the_cohort_folder_stays_there(tmp_path):
    write_image(tmp_path / "c" / "mine" / "p.nrrd", noisy_image(ball()), GEOMETRY)
    assert import_image(tmp_path / "c" / "mine" / "p.nrrd", tmp_path / "c", "images", "p", "copy", []) == "mine/p.nrrd"


def test_a_header_comes_with_its_voxels(tmp_path):
    write_two_files(tmp_path / "s" / "p.mhd", noisy_image(ball()), GEOMETRY)
    stored = import_image(tmp_path / "s" / "p.mhd", tmp_path / "c", "images", "case", "link", [])
    assert stored == "images/case/p.mhd"
    (tmp_path / "s").rename(tmp_path / "gone")
    assert (read_image(tmp_path / "c" / stored)[0] == noisy_image(ball())).all()


@pytest.mark.parametrize(("written", "ending"), [("p.nhdr", ".nrrd"), ("p.mhd", ".mha")])
def test_voxels_in_another_file_belong_to_the_image_whatever_its_ending(tmp_path, written, ending):
    (tmp_path / "s").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(noisy_image(ball())), str(tmp_path / "s" / written))
    header = (tmp_path / "s" / written).rename(tmp_path / "s" / f"p{ending}")
    before = image_fingerprint(header)
    stored = import_image(header, tmp_path / "c", "images", "case", "copy", [])
    assert (read_image(tmp_path / "c" / stored)[0] == noisy_image(ball())).all()
    (voxels,) = (path for path in (tmp_path / "s").iterdir() if path != header)
    voxels.write_bytes(voxels.read_bytes()[::-1])
    assert image_fingerprint(header) != before


def test_an_image_of_two_files_is_taken_in_whole_or_not_at_all(tmp_path, monkeypatch):
    write_two_files(tmp_path / "s" / "p.mhd", noisy_image(ball()), GEOMETRY)
    link, links = os.link, []

    def once(file, place):
        if links:
            raise OSError(errno.EMLINK, "Too many links")
        links.append(place)
        link(file, place)

    monkeypatch.setattr(os, "link", once)
    made = ["of another case"]
    assert import_image(tmp_path / "s" / "p.mhd", tmp_path / "c", "images", "p", "link", made) == "../s/p.mhd"
    assert links
    assert made == ["of another case"]
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, scan):
    (tmp_path / "c").write_text("a file")
    with pytest.raises(FileWriteError, match="cannot be written"):
        import_image(scan, tmp_path / "c", "images", "p", "link", [])


def test_voxels_in_a_folder_below_their_header_are_found_again(tmp_path):
    header = tmp_path / "s" / "p.mhd"
    header.parent.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(noisy_image(ball())), str(header))
    (tmp_path / "s" / "raw").mkdir()
    (tmp_path / "s" / "p.raw").rename(tmp_path / "s" / "raw" / "vol.raw")
    header.write_text(header.read_text().replace("p.raw", "raw/vol.raw"))
    made = []
    stored = import_image(header, tmp_path / "c", "images", "case", "link", made)
    assert (read_image(tmp_path / "c" / stored)[0] == noisy_image(ball())).all()
    remove_imported(made, tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())


def test_a_header_whose_voxels_lie_elsewhere_stays_where_it_is(tmp_path):
    header = tmp_path / "s" / "p.mhd"
    header.parent.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(noisy_image(ball())), str(header))
    (tmp_path / "s" / "p.raw").rename(tmp_path / "vol.raw")
    header.write_text(header.read_text().replace("p.raw", "../vol.raw"))
    assert import_image(header, tmp_path / "c", "images", "case", "copy", []) == "../s/p.mhd"
