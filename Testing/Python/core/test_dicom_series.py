"""DICOM series as volumes: their geometry, and what is refused."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicom_made import (
    ENHANCED_MR,
    PATIENT,
    SECONDARY_CAPTURE,
    ULTRASOUND,
    oblique,
    save,
    write_multiframe,
    write_series,
)
from SparseAnnotateLib.core import BadInputError, Watch
from SparseAnnotateLib.core.dicom_files import dicom_files, is_dicom_file
from SparseAnnotateLib.core.dicom_headers import read_header, read_headers
from SparseAnnotateLib.core.dicom_series import DicomSeries, chosen_series, series_of
from SparseAnnotateLib.core.dicom_voxels import read_series
from system_needs import needs_posix_limits

SHAPE = (9, 12, 10)
GEOMETRY = oblique(SHAPE)
VOXELS = np.random.default_rng(5).integers(-1000, 3000, SHAPE)
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
HTJ2K = "1.2.840.10008.1.2.4.201"
MPEG4 = "1.2.840.10008.1.2.4.102"
_NOBODY = 65534  # a user without rights


def found(folder: Path) -> list[DicomSeries]:
    return series_of(read_headers(dicom_files(folder)[0], Watch()))


def only(folder: Path) -> DicomSeries:
    (series,) = found(folder)
    return series


def test_an_oblique_series_in_any_order_of_files_is_read_with_its_values_and_place(tmp_path):
    write_series(tmp_path, VOXELS, GEOMETRY)
    voxels, geometry = read_series(only(tmp_path), Watch())
    assert np.array_equal(voxels, VOXELS)
    assert voxels.dtype == np.int16
    # Decimal strings in DICOM have 16 characters.
    assert np.allclose(geometry.matrix, GEOMETRY.matrix, rtol=0, atol=1e-9)


def test_frames_of_one_file_are_sorted_by_their_place_and_rescaled_each_by_its_own_factors(tmp_path):
    order = np.random.default_rng(2).permutation(SHAPE[0])
    write_multiframe(tmp_path / "image", VOXELS + 1000, GEOMETRY, order)
    series = only(tmp_path)
    voxels, geometry = read_series(series, Watch())
    assert np.array_equal(voxels, 2 * (VOXELS + 1000) + np.arange(SHAPE[0])[:, None, None])
    assert np.allclose(geometry.matrix, GEOMETRY.matrix, rtol=0, atol=1e-9)
    assert [one.frame for one in series.slices] == (np.argsort(order) + 1).tolist()


def test_slices_whose_values_have_fractions_are_not_rounded(tmp_path):
    def scale(headers):
        for k, dataset in enumerate(headers):
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + k / 8, 0
            dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.128", "PT"

    write_series(tmp_path, VOXELS, GEOMETRY, scale)
    voxels, _ = read_series(only(tmp_path), Watch())
    expected = (VOXELS + 1024) * (0.5 + np.arange(SHAPE[0]) / 8)[:, None, None]
    assert voxels.dtype == np.float32
    assert np.array_equal(voxels, expected.astype(np.float32))


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_compressed_and_big_endian_slices_are_decoded_like_plain_ones(tmp_path, name):
    """The files of pydicom are one slice each: here with a second one beside it."""
    expected = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    for number in range(2):
        dataset = pydicom.dcmread(get_testdata_file(name))
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{number + 1}"
        x, y, z = dataset.ImagePositionPatient
        normal = np.cross(dataset.ImageOrientationPatient[:3], dataset.ImageOrientationPatient[3:])
        dataset.ImagePositionPatient = [f"{c + 4 * number * n:.8g}" for c, n in zip((x, y, z), normal, strict=True)]
        save(tmp_path / str(number), dataset)
    voxels, geometry = read_series(only(tmp_path), Watch())
    assert geometry.spacing[0] == pytest.approx(4)
    assert np.array_equal(voxels, np.stack([expected, expected]))


def high_bits(headers):
    """Something else is stored in the bits above the values."""
    for dataset in headers:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0x3000
        dataset.PixelData = stored.astype("<u2").tobytes()


def test_values_are_those_of_the_header_however_they_are_stored_and_shown(tmp_path):
    write_series(tmp_path / "inverted", VOXELS, GEOMETRY, set_all(PhotometricInterpretation="MONOCHROME1"))
    write_series(tmp_path / "bits", VOXELS, GEOMETRY, high_bits)
    for folder in tmp_path.iterdir():
        assert np.array_equal(read_series(only(folder), Watch())[0], VOXELS), folder.name


def keep(*slices):
    return lambda headers: [headers[k] for k in slices]


def moved(direction, of=lambda k: k):
    """Shift the slices in mm along (row, column, normal)."""

    def change(headers):
        axes = np.array([float(x) for x in headers[0].ImageOrientationPatient]).reshape(2, 3)
        axes = np.stack([*axes, np.cross(*axes)])
        for k, dataset in enumerate(headers):
            shift = of(k) * np.array(direction) @ axes
            position = np.array([float(x) for x in dataset.ImagePositionPatient]) + shift
            dataset.ImagePositionPatient = [f"{x:.9f}"[:16] for x in position]

    return change


def twice(headers):
    """Two time points."""
    later = [_copy(one) for one in headers]
    for number, dataset in enumerate(headers + later):
        dataset.TemporalPositionIdentifier = 1 + number // len(headers)
    return headers + later


def beside_itself(headers):
    """Two stacks at the same height, one after the other in time."""
    others = twice(headers)
    moved((0, 40, 0), lambda k: k >= len(headers))(others)
    return others


def _copy(dataset):
    other = deepcopy(dataset)
    other.SOPInstanceUID = pydicom.uid.generate_uid()
    return other


def set_all(**elements):
    def change(headers):
        for dataset in headers:
            for keyword, value in elements.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)

    return change


def in_color(headers):
    for dataset in headers:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = b"\x00" * (dataset.Rows * dataset.Columns * 3)


def two_sizes(headers):
    headers[4].Rows -= 2
    headers[4].PixelData = headers[4].PixelData[: headers[4].Rows * headers[4].Columns * 2]


def three_planes(headers):
    for dataset in headers[3:6]:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def without_a_place(headers):
    del headers[3].ImagePositionPatient


def one_slice_turned(headers):
    """In a series with more slices than a localizer has in one direction."""
    many = [_copy(headers[0]) for _ in range(30)]
    for k, dataset in enumerate(many):
        dataset.ImagePositionPatient = [0, 0, k]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0] if k != 7 else [0, 1, 0, -1, 0, 0]
    return many


def another_frame_of_reference(headers):
    headers[-1].FrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            keep(0, 1, 2, 4, 5, 8),
            r"3 slices are missing: slices 3 and 4 \(of 6\) are 5 mm apart, others 2\.5 mm",
        ),
        (keep(0, 1, 2, 3, 4, 5, 7, 8), "1 slice is missing: .*Copy the series again, with all its files"),
        (
            moved((0, 0, 450), lambda k: k > 4),
            r"2 separate stacks \(5 \+ 4 slices\) with gaps of up to 452\.5 mm",
        ),
        (moved((60, 0, 0), lambda k: k > 4), r"2 separate stacks that lie side by side, up to 60 mm apart \(5 \+ 4 im"),
        (beside_itself, r"2 separate stacks that lie side by side, up to 40 mm apart \(9 \+ 9 images\)"),
        (twice, "18 images, but only 9 positions: .*at the same place differ in: temporal position"),
        (moved((0, 0, 0.4), lambda k: k * k), "not evenly spaced: 2.9 to 8.5 mm apart"),
        (moved((0, 0, 0.4), lambda k: k == 4), "not evenly spaced: 2.1 to 2.9 mm apart"),
        (moved((3, 0, 0), lambda k: k == 4), "not evenly spaced: .*or shifted sideways"),
        (moved((0, 0.9, 0)), r"tilted by 19\.8 degrees \(gantry tilt\).*Acquisition geometry regularization"),
        (without_a_place, "1 of its 9 images have no position"),
        (one_slice_turned, "lie in 2 different orientations"),
        (two_sizes, r"different sizes \(10 x 10, 10 x 12 pixels\)"),
        (another_frame_of_reference, "different frames of reference"),
        (set_all(PixelSpacing=[0, 0.7]), "not a usable number"),
    ],
)
def test_a_series_that_is_no_even_stack_is_refused_with_what_is_wrong(tmp_path, change, words):
    write_series(tmp_path, VOXELS, GEOMETRY, change)
    series = only(tmp_path)
    with pytest.raises(BadInputError, match=words):
        read_series(series, Watch())
    assert not series.left_out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_all(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "it is a localizer"),
        (three_planes, "2 different orientations, as those of a localizer"),
        (in_color, r"in color \(ultrasound, photographs, screenshots\)"),
        (
            set_all(ImagePositionPatient=None),
            r"no position, orientation or pixel spacing .* \(modality CT\)",
        ),
        (set_all(PixelSpacing=None, SOPClassUID=SECONDARY_CAPTURE), "it is a secondary capture"),
        (keep(3), "it is a single image"),
        (set_all(Rows=None, PixelData=None, Modality="SR", SOPClassUID=REPORT), r"holds no images \(modality SR\)"),
    ],
)
def test_what_is_no_volume_is_left_out_with_the_reason(tmp_path, change, words):
    write_series(tmp_path, VOXELS, GEOMETRY, change)
    series = only(tmp_path)
    assert series.geometry is None
    with pytest.raises(BadInputError, match=words):
        series.required_geometry()
    assert re.search(words, series.left_out)


@pytest.mark.parametrize("name", ["SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle_2frame.dcm"])
def test_color_images_of_other_makers_are_left_out(tmp_path, name):
    shutil.copy(get_testdata_file(name), tmp_path)
    assert "in color" in only(tmp_path).left_out


def test_an_ultrasound_clip_without_a_place_is_left_out(tmp_path):
    def clip(headers):
        headers[0].SOPClassUID, headers[0].Modality, headers[0].NumberOfFrames = ULTRASOUND, "US", 2
        headers[0].PixelData *= 2
        return headers[:1]

    write_series(tmp_path, VOXELS, GEOMETRY, clip)
    assert "(modality US), so they make up no volume" in only(tmp_path).left_out


def test_localizer_images_and_copies_of_files_within_a_series_are_left_out_and_said(tmp_path):
    def with_scout(headers):
        scout = _copy(headers[0])
        scout.ImageType, scout.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]
        return [*headers, scout]

    write_series(tmp_path, VOXELS, GEOMETRY, with_scout)
    shutil.copy(next(tmp_path.glob("IM*")), tmp_path / "again")
    series = only(tmp_path)
    assert sorted(series.notes) == [
        "1 file is a copy of another one of the series and was left out.",
        "1 localizer image was left out.",
    ]
    assert np.array_equal(read_series(series, Watch())[0], VOXELS)


def test_a_file_that_is_cut_off_is_named_before_anything_is_read(tmp_path):
    write_series(tmp_path, VOXELS, GEOMETRY)
    path = sorted(tmp_path.glob("IM*"))[4]
    path.write_bytes(path.read_bytes()[:-50])
    assert only(tmp_path).problem == (
        f"the DICOM file '{path}' is cut off: it is shorter than its voxels. Copy it again."
    )


@pytest.mark.parametrize(
    ("after", "called"),
    [
        (PATIENT.encode("latin-1"), "number 5 of 9 (sorted by name) in '{folder}'"),
        (b"abdomen", "number 5 of 9 (sorted by name) in '{folder}'"),
        (b"MONOCHROME2", "'{path}'"),
    ],
)
def test_a_file_whose_header_is_cut_off_is_named(tmp_path, after, called):
    """By its path, once the header has said who the patient is."""
    write_series(tmp_path, VOXELS, GEOMETRY)
    path = sorted(tmp_path.glob("IM*"))[4]
    content = path.read_bytes()
    path.write_bytes(content[: content.index(after) + 3])
    words = f"The DICOM file {called.format(folder=tmp_path, path=path)} is damaged: its header is incomplete. Copy"
    with pytest.raises(BadInputError, match=re.escape(words)):
        found(tmp_path)


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (HTJ2K, r"compressed \(High-Throughput JPEG 2000.*pip install pylibjpeg pylibjpeg-openjpeg'"),
        (MPEG4, r"compressed in a way that is not for volumes \(MPEG-4.*Export the series without compression"),
    ],
)
def test_compression_without_a_decoder_names_the_package_to_install(tmp_path, syntax, words):
    def compressed(headers):
        for dataset in headers:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(64)])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True

    write_series(tmp_path, VOXELS, GEOMETRY, compressed)
    with pytest.raises(BadInputError, match=words):
        read_series(only(tmp_path), Watch())


def test_files_of_a_dicomdir_are_found_beside_it(tmp_path):
    shutil.copy(Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR", tmp_path)
    write_series(tmp_path / "IMAGES", VOXELS, GEOMETRY)
    assert is_dicom_file(tmp_path / "DICOMDIR")
    assert np.array_equal(read_series(only(tmp_path), Watch())[0], VOXELS)


def test_two_thousand_files_that_are_not_dicom_are_counted_and_none_is_parsed(tmp_path, monkeypatch):
    for number in range(2000):
        (tmp_path / f"{number}.dcm").write_bytes(b"no image" * 100)
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("parsed"))
    assert dicom_files(tmp_path) == ([], 2000, 2000)


@contextmanager
def as_a_person():
    """Without the superuser's rights, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@needs_posix_limits
def test_a_folder_that_may_not_be_read_is_named():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder / "in", VOXELS, GEOMETRY)
        folder.chmod(0o755)
        assert len(dicom_files(folder)[0]) == len(VOXELS)
        (folder / "in").chmod(0)
        try:
            with (
                as_a_person(),
                pytest.raises(
                    BadInputError,
                    match=r"folder number 1 of 1 in the folder given \(.* read \(Permission denied\)",
                ),
            ):
                dicom_files(folder)
        finally:
            (folder / "in").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadInputError, match=r"^The folder given cannot be read \(Permission denied\)"):
        dicom_files(tmp_path)


def test_several_series_in_one_folder_are_told_apart_and_chosen_by_uid_or_description(tmp_path):
    uids = []
    for number, description in ((12, "late"), (2, "abdomen venous"), (1, "Abdomen NATIVE")):
        options = {"SeriesNumber": number, "SeriesDescription": description}
        uids.append(write_series(tmp_path / "in", VOXELS, GEOMETRY, **options)[0].SeriesInstanceUID)
        for path in (tmp_path / "in").glob("IM*"):
            path.rename(path.with_name(f"{number} {path.name[2:]}"))
    series = found(tmp_path)
    assert [one.uid for one in series] == uids[::-1]
    assert [one.uid for one in chosen_series(series, ["abdomen native ", uids[0]])] == [uids[2], uids[0]]
    with pytest.raises(BadInputError, match=r"No DICOM series has the UID or the description 'liver'\. There are: ser"):
        chosen_series(series, ["liver"])


def test_words_that_name_the_patient_are_recognized_and_kept_out_of_titles(tmp_path):
    write_series(tmp_path, VOXELS, GEOMETRY, SeriesDescription="Knie Fr. Müller")
    header = read_header(str(next(tmp_path.iterdir())))
    assert header.names_patient("/data/MÜLLER_annegret/CT")
    assert header.names_patient("/data/4711-x/CT")
    assert header.names_patient("/data/Mueller/CT")
    assert header.names_patient("/data/MULLER/CT")
    assert not header.names_patient("/data/study 4711/CT")
    assert "ller" not in only(tmp_path).title


def test_private_elements_are_not_read(tmp_path):
    def private(headers):
        for dataset in headers:
            dataset.add_new(0x00090010, "LO", "ACME 1.0")
            dataset.add_new(0x00091001, "UN", b"\xff\x00Annegret")

    write_series(tmp_path, VOXELS, GEOMETRY, private)
    assert np.array_equal(read_series(only(tmp_path), Watch())[0], VOXELS)


def test_names_of_classes_are_those_of_the_standard():
    assert pydicom.uid.UID(ENHANCED_MR).name == "Enhanced MR Image Storage"
    assert pydicom.uid.UID(SECONDARY_CAPTURE).name == "Secondary Capture Image Storage"


def test_nothing_is_logged_about_a_good_series(tmp_path, caplog):
    write_series(tmp_path, VOXELS, GEOMETRY)
    with caplog.at_level(logging.DEBUG):
        read_series(only(tmp_path), Watch())
    assert "ller" not in caplog.text
