"""The values of DICOM images, and what would make them wrong."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_made import oblique, save, write_multiframe, write_series
from SparseAnnotateLib.core import BadInputError, VolumeGeometry, Watch
from SparseAnnotateLib.core.dicom_files import dicom_files
from SparseAnnotateLib.core.dicom_grid import images_by_direction
from SparseAnnotateLib.core.dicom_headers import DicomSlice, read_headers
from SparseAnnotateLib.core.dicom_reading import read_segmentation, read_segmentation_header
from SparseAnnotateLib.core.dicom_rescaling import rescaled
from SparseAnnotateLib.core.dicom_series import DicomSeries, series_of
from SparseAnnotateLib.core.dicom_voxels import read_series
from SparseAnnotateLib.core.dicom_writing import DicomSegment, write_segmentation

SHAPE = (4, 5, 7)
GEOMETRY = oblique(SHAPE)
VOXELS = np.random.default_rng(3).integers(-1000, 3000, SHAPE)


def only(folder: Path) -> DicomSeries:
    (series,) = series_of(read_headers(dicom_files(folder)[0], Watch()))
    return series


@pytest.mark.parametrize("shape", [(4, 5, 7), (3, 217, 181), (5, 3, 3)])
def test_segments_whose_frames_begin_within_a_byte_are_read(tmp_path, shape):
    geometry = oblique(shape)
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    write_series(tmp_path / "in", np.zeros(shape, int), geometry)
    series = only(tmp_path / "in")
    segments = [DicomSegment("liver"), DicomSegment("tumor")]
    write_segmentation(tmp_path / "a.dcm", series, segments, labels, "1", Watch())
    file = read_segmentation_header(tmp_path / "a.dcm")
    assert np.array_equal(read_segmentation(file, series.required_geometry()), labels)


def segmentation(tmp_path: Path, change) -> tuple[Path, VolumeGeometry]:
    """A SEG file with its dataset changed."""
    write_series(tmp_path / "in", VOXELS, GEOMETRY)
    series = only(tmp_path / "in")
    labels = np.ones(SHAPE, np.uint8)
    write_segmentation(tmp_path / "a.dcm", series, [DicomSegment("liver")], labels, "1", Watch())
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    change(dataset)
    dataset.save_as(tmp_path / "a.dcm")
    return tmp_path / "a.dcm", series.required_geometry()


def test_a_segmentation_that_does_not_describe_each_frame_is_refused(tmp_path):
    path, geometry = segmentation(tmp_path, lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop())
    with pytest.raises(BadInputError, match="it does not describe each of its frames"):
        read_segmentation(read_segmentation_header(path), geometry)


def test_frames_of_one_segment_at_one_place_are_refused(tmp_path):
    def repeat(dataset):
        first, second = dataset.PerFrameFunctionalGroupsSequence[:2]
        second.PlanePositionSequence = first.PlanePositionSequence

    path, geometry = segmentation(tmp_path, repeat)
    with pytest.raises(BadInputError, match="has two frames of segment 1 at the same place"):
        read_segmentation(read_segmentation_header(path), geometry)


def test_the_background_that_a_label_map_describes_is_no_segment(tmp_path):
    def describe_background(dataset):
        background = deepcopy(dataset.SegmentSequence[0])
        background.SegmentNumber, background.SegmentLabel = 0, "Background"
        dataset.SegmentSequence.insert(0, background)

    path, _geometry = segmentation(tmp_path, describe_background)
    file = read_segmentation_header(path)
    assert file.names == {1: "liver"}
    assert list(file.codes) == [1]


def test_codes_longer_than_16_characters_are_read(tmp_path):
    def lengthen(dataset):
        item = dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
        del item.CodeValue
        item.LongCodeValue = "12345678901234567890"

    path, _geometry = segmentation(tmp_path, lengthen)
    assert read_segmentation_header(path).codes[1].type.value == "12345678901234567890"


def test_frames_that_the_header_does_not_describe_are_refused(tmp_path):
    dataset = write_multiframe(tmp_path / "image", VOXELS + 1000, GEOMETRY)
    dataset.PerFrameFunctionalGroupsSequence.pop()
    save(tmp_path / "image", dataset)
    with pytest.raises(BadInputError, match="does not describe as many frames as there are"):
        read_series(only(tmp_path), Watch())


def test_frames_of_floating_point_are_rescaled_without_rounding(tmp_path):
    dataset = write_multiframe(tmp_path / "image", VOXELS + 1000, GEOMETRY)
    values = (VOXELS + 0.25).astype(np.float32)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()
    save(tmp_path / "image", dataset)
    expected = 2 * values + np.arange(SHAPE[0], dtype=np.float32)[:, None, None]
    assert np.array_equal(read_series(only(tmp_path), Watch())[0], expected)


@pytest.mark.parametrize(
    ("values", "slope", "intercept", "kind"),
    [
        (np.array([0, 7], np.uint16), 1.0, 4e9, np.int64),
        (np.array([0, 2**32 - 1], np.uint32), 1.0, -(2.0**31), np.int32),
        (np.array([-5, 7], np.int16), 2.0, -3.0, np.int32),
        (np.array([-5, 7], np.int16), 0.5, 0.0, np.float32),
        (np.array([-5, 7], np.int16), 1e30, 0.0, np.float32),
    ],
)
def test_rescaled_values_never_overflow(values, slope, intercept, kind):
    found = rescaled(values, slope, intercept)
    assert found.dtype == kind
    assert np.allclose(found.astype(float), values.astype(float) * slope + intercept, rtol=1e-6, atol=0)


def with_table(headers):
    for dataset in headers:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "HU"
        table.add_new(0x00283006, "OW", np.arange(4, dtype="<u2").tobytes())
        dataset.ModalityLUTSequence = [table]


def every(**elements):
    def change(headers):
        for dataset in headers:
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)

    return change


def without_rescaling(*slices):
    def change(headers):
        for k in slices:
            del headers[k].RescaleSlope, headers[k].RescaleIntercept

    return change


def with_palette(headers):
    for dataset in headers:
        dataset.PhotometricInterpretation = "PALETTE COLOR"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_table, r"converted by a table \(modality LUT\)"),
        (every(RescaleSlope=0), "a rescale slope of 0"),
        (every(RescaleSlope=0, PhotometricInterpretation="MONOCHROME1"), "a rescale slope of 0"),
        (without_rescaling(2), "1 of its 4 images have no rescale slope and intercept, although the others do"),
        (every(BitsStored=12, HighBit=15), r"do not begin at the lowest bit \(12 bits, the highest one is number 15\)"),
        (with_palette, "its images are in color"),
        (every(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]), "an orientation that is not a usable number"),
        (every(ImageOrientationPatient=[0] * 6), "an orientation that is not a usable number"),
        (every(ImageOrientationPatient=["nan", 0, 0, 0, 1, 0]), "an orientation that is not a usable number"),
        (every(PixelSpacing=["nan", "1"]), "a pixel spacing, a position or an orientation that is not a usable number"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_what_would_make_values_or_places_wrong_is_refused(tmp_path, change, words):
    write_series(tmp_path, VOXELS, GEOMETRY, change)
    with pytest.raises(BadInputError, match=words):
        only(tmp_path).required_geometry()


def ct_without_sign(change=lambda values: None) -> np.ndarray:
    """Stored values of a CT whose sign got lost: half of it is air and fat."""
    values = VOXELS % 200 - 100 - 900 * (np.arange(VOXELS.size).reshape(VOXELS.shape) % 2)
    change(values)
    return values - 1024  # which writing adds


def set_to(value: int, *, where=lambda flat: flat[:3]):
    def change(values):
        where(values.reshape(-1))[:] = value

    return change


UNSIGNED = every(PixelRepresentation=0, RescaleIntercept=0)


@pytest.mark.parametrize("change", [set_to(0), set_to(24_000, where=lambda flat: flat[:1]), set_to(-32_768)])
def test_ct_values_whose_sign_the_header_denies_are_refused(tmp_path, change):
    """Also with padding, and with a voxel of metal."""
    write_series(tmp_path, ct_without_sign(change), GEOMETRY, UNSIGNED)
    with pytest.raises(BadInputError, match="calls values unsigned that have a sign"):
        read_series(only(tmp_path), Watch())
    # What is no CT may have such values.
    assert read_series(only(tmp_path), Watch(), "OT")[0].max() > 60_000


@pytest.mark.parametrize(
    "change", [set_to(65_535, where=lambda flat: flat[:1]), set_to(63_536, where=lambda f: f[::4])]
)
def test_ct_with_a_few_very_high_values_or_padding_is_taken(tmp_path, change):
    values = (VOXELS % 4000).astype(np.int64)
    change(values)
    write_series(tmp_path, values - 1024, GEOMETRY, UNSIGNED)
    assert np.array_equal(read_series(only(tmp_path), Watch())[0], values)


def test_rounded_directions_do_not_change_the_spacing(tmp_path):
    geometry = VolumeGeometry.from_itk(SHAPE[::-1], (0.5, 0.75, 2.0), (0, 0, 0), np.eye(3))
    write_series(tmp_path, VOXELS, geometry, every(ImageOrientationPatient=[0.71, 0.71, 0, -0.71, 0.71, 0]))
    assert only(tmp_path).required_geometry().spacing == pytest.approx((2.0, 0.75, 0.5))


def test_images_are_counted_by_direction_apart_from_rounding():
    def turned(first: float) -> DicomSlice:
        return DicomSlice("a", 0, "1", (0, 0, 0), (first, 0, 0, 0, 1, 0), (1, 1), (4, 4))

    # 0.00004 apart, on both sides of a rounded number; and far away.
    assert images_by_direction([turned(0.99993), turned(0.99997), turned(0.5), turned(0.99993)]) == [3, 1]
    assert images_by_direction([DicomSlice("a", 0, "1", (), (), (), (4, 4)), turned(1)]) == [1, 1]


def test_different_images_with_one_instance_uid_are_not_taken_for_copies(tmp_path):
    def in_pairs(headers):
        for k, dataset in enumerate(headers):
            dataset.SOPInstanceUID = f"1.2.3.{k // 2}"

    write_series(tmp_path / "places", VOXELS, GEOMETRY, in_pairs)
    write_series(tmp_path / "voxels", VOXELS, GEOMETRY)
    dataset = pydicom.dcmread(next((tmp_path / "voxels").iterdir()))
    dataset.PixelData = bytes(len(dataset.PixelData))
    save(tmp_path / "voxels" / "other", dataset)
    for folder in ("places", "voxels"):
        with pytest.raises(BadInputError, match="have the same SOP instance UID, but are different images"):
            only(tmp_path / folder).required_geometry()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"StudyInstanceUID": ("1.2.1", "1.2.2")}, "of several patients or studies"),
        ({"PatientID": ("one", "two")}, "of several patients or studies"),
        ({"PatientName": ("Meier^A", "Schulz^B")}, "of several patients or studies"),
        ({"EchoTime": (10, 80)}, "several images that take turns: they differ in echo time"),
        ({"DiffusionBValue": (0.0, 800.0)}, "they differ in b-value"),
        ({"TemporalPositionIdentifier": (1, 2)}, "they differ in temporal position"),
    ],
)
def test_images_that_take_turns_are_no_volume(tmp_path, values, words):
    def alternate(headers):
        for k, dataset in enumerate(headers):
            for keyword, pair in values.items():
                setattr(dataset, keyword, pair[k % 2])

    write_series(tmp_path, VOXELS, GEOMETRY, alternate)
    with pytest.raises(BadInputError, match=words):
        only(tmp_path).required_geometry()


def test_echo_times_that_are_rounded_and_other_image_types_are_taken_the_latter_with_a_note(tmp_path):
    def differ(headers):
        for k, dataset in enumerate(headers):
            dataset.EchoTime = f"{4.6 + 1e-4 * k:.4f}"
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if k else "OTHER"]

    write_series(tmp_path, VOXELS, GEOMETRY, differ)
    series = only(tmp_path)
    assert np.array_equal(read_series(series, Watch())[0], VOXELS)
    assert series.notes == ("its slices have different image types. Check that they belong to one image.",)


@pytest.mark.parametrize(
    ("group", "element", "values", "words"),
    [
        ("MREchoSequence", "EffectiveEchoTime", (10.0, 80.0), "take turns: they differ in echo time"),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 800.0), "they differ in b-value"),
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2), "they differ in temporal position"),
        ("MRImageFrameTypeSequence", "FrameType", (["A", "WATER"], ["A", "FAT"]), None),
    ],
)
def test_frames_that_take_turns_are_noticed(tmp_path, group, element, values, words):
    dataset = write_multiframe(tmp_path / "image", VOXELS + 1000, GEOMETRY)
    for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        setattr(item, element, values[k % 2])
        setattr(frame, group, [item])
    save(tmp_path / "image", dataset)
    series = only(tmp_path)
    if words is None:
        assert series.notes == ("its slices have different image types. Check that they belong to one image.",)
    else:
        with pytest.raises(BadInputError, match=words):
            series.required_geometry()


def test_frames_in_several_files_are_read_and_noted_as_not_for_export(tmp_path):
    whole = write_multiframe(tmp_path / "image", VOXELS + 1000, GEOMETRY)
    (tmp_path / "image").unlink()
    groups, size = list(whole.PerFrameFunctionalGroupsSequence), len(whole.PixelData) // len(VOXELS)
    content = whole.PixelData
    for number, group in enumerate(groups):
        whole.SOPInstanceUID, whole.NumberOfFrames = f"1.2.3.{number}", 1
        whole.PerFrameFunctionalGroupsSequence = [group]
        whole.PixelData = content[number * size : (number + 1) * size]
        save(tmp_path / f"{number}", whole)
    series = only(tmp_path)
    assert series.notes == ("its images are in several multi-frame files, so 'export-dicom' cannot refer to them.",)
    expected = 2 * (VOXELS + 1000) + np.arange(len(VOXELS))[:, None, None]
    assert np.array_equal(read_series(series, Watch())[0], expected)


def test_messages_about_files_whose_path_names_the_patient_name_the_series_and_a_number(tmp_path):
    def undecodable(headers):
        for dataset in headers:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
            dataset.PixelData = pydicom.encaps.encapsulate([b"no image" * 4])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True

    write_series(tmp_path / "Müller_Annegret", VOXELS, GEOMETRY, undecodable)
    with pytest.raises(
        BadInputError, match=r"The voxels of .* file number 1 of .* of series 3 \(CT, .* are compressed"
    ) as caught:
        read_series(only(tmp_path), Watch())
    assert "Annegret" not in str(caught.value)


def test_slices_of_fewer_than_eight_voxels_are_not_written(tmp_path):
    shape = (5, 1, 3)
    write_series(tmp_path / "in", np.zeros(shape, int), oblique(shape))
    labels = np.ones(shape, np.uint8)
    with pytest.raises(BadInputError, match="Slices of fewer than 8 voxels cannot be written"):
        write_segmentation(tmp_path / "a.dcm", only(tmp_path / "in"), [DicomSegment("a")], labels, "1", Watch())


def test_a_rescaling_that_changes_nothing_may_be_left_out_of_some_images(tmp_path):
    def change(headers):
        every(RescaleSlope=1, RescaleIntercept=0)(headers)
        without_rescaling(1)(headers)

    write_series(tmp_path, VOXELS, GEOMETRY, change, modality="MR")
    only(tmp_path).required_geometry()
