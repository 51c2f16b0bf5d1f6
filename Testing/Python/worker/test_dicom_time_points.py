"""DICOM series with several images at each place: one time point is chosen, and each can be a case."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from dicom_made import oblique, write_series
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, Watch
from SparseAnnotateLib.core.dicom_reading import SegmentationFile, read_segmentation_header
from SparseAnnotateLib.core.dicom_source import read_source
from SparseAnnotateLib.worker.dicom_masks import DicomMasks

SHAPE = (4, 14, 12)
GRID = oblique(SHAPE)
POINTS = [np.random.default_rng(number).integers(-500, 500, SHAPE) for number in range(3)]


def several(set_element, count: int = 3):
    """Further images at the place of each slice, mixed; `set_element` is called with a header, its number and slice."""

    def change(headers):
        found = []
        for k, header in enumerate(headers):
            for number in range(count):
                one = deepcopy(header)
                one.SOPInstanceUID = generate_uid()
                one.PixelData = (POINTS[number][k].astype(np.int64) + 1024).astype("<i2").tobytes()
                set_element(one, number, k)
                found.append(one)
        return found[::-1]

    return change


def position(header, number, _k):
    header.TemporalPositionIdentifier = number + 1


def echo(header, number, _k):
    header.EchoTime = 12.5 * (number + 1)


def trigger(header, number, k):
    header.TriggerTime = 7.0 * k + 100 * number


@pytest.mark.parametrize(
    ("element", "name"), [(position, "temporal position"), (echo, "echo time"), (trigger, "trigger time")]
)
def test_each_time_point_can_be_a_case(tmp_path, capsys, element, name):
    write_series(tmp_path / "dicom", POINTS[0], GRID, several(element))
    given = [str(tmp_path / "cohort"), str(tmp_path / "dicom")]
    assert main(["create", *given]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "it has 12 images, but only 4 positions" in message
    assert f"Choose one with '--time-point', from 1 to 3 by {name}; each of them can be a case." in message
    assert main(["create", *given, "--time-point", "2"]) == 0
    assert f"time point 2 of 3 was taken ({name}" in " ".join(capsys.readouterr().err.split())
    assert main(["add", *given, "--time-point", "3"]) == 0
    assert main(["add", *given, "--time-point", "2"]) == 0  # is there already
    cohort = Cohort.open(tmp_path / "cohort")
    assert [case.name for case in cohort.cases] == ["case_001", "case_002"]
    for case, number in (("case_001", 1), ("case_002", 2)):
        np.testing.assert_array_equal(cohort.image(case)[0], POINTS[number])
        assert read_source(cohort, case).time_point == number + 1


def segmentation_of(tmp_path, number):
    """A DICOM SEG of a time point of the series in the folder 'dicom', and the cohort with this time point."""
    folder = tmp_path / f"cohort {number}"
    assert main(["create", str(folder), str(tmp_path / "dicom"), "--time-point", str(number), "--quiet"]) == 0
    cohort = Cohort.open(folder)
    cohort.set_labels({1: "ball"})
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 4:9, 3:8] = 1
    geometry = cohort.geometry("case_001")
    cohort.save_annotation("case_001", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(4)))
    out = tmp_path / f"out {number}"
    given = [str(folder), "--out", str(out), "--dicom", str(tmp_path / "dicom"), "--drawn", "--quiet"]
    assert main(["export-dicom", *given]) == 0
    (path,) = out.iterdir()
    return path, cohort


def test_a_segmentation_refers_to_the_images_of_its_time_point(tmp_path):
    headers = write_series(tmp_path / "dicom", POINTS[0], GRID, several(position))
    path, _cohort = segmentation_of(tmp_path, 3)
    assert read_segmentation_header(path).names == {1: "ball"}
    file = pydicom.dcmread(path)
    referred = {one.ReferencedSOPInstanceUID for one in file.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred <= {one.SOPInstanceUID for one in headers if one.TemporalPositionIdentifier == 3}


def test_a_segmentation_of_another_time_point_is_refused(tmp_path, capsys):
    write_series(tmp_path / "dicom", POINTS[0], GRID, several(position))
    path, of_third = segmentation_of(tmp_path, 3)
    given = [str(tmp_path / "c"), str(tmp_path / "dicom"), "--references", str(path), "--quiet"]
    capsys.readouterr()
    assert main(["create", *given, "--time-point", "1"]) == 1
    assert "it may be the segmentation of another time point" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "c").exists()
    assert main(["create", *given, "--time-point", "3"]) == 0
    assert Cohort.open(tmp_path / "c").has_reference("case_001")
    other, of_first = segmentation_of(tmp_path, 1)
    found = DicomMasks(of_first, [str(path)], Watch())
    assert found.of_case == {}
    assert "not only to the images of the one that was taken" in found.problems[str(path)].message
    assert DicomMasks(of_third, [str(path)], Watch()).of_case == {"case_001": str(path)}
    # Of two time points in one cohort, each finds its own.
    assert main(["add", str(of_first.folder), str(tmp_path / "dicom"), "--time-point", "3", "--quiet"]) == 0
    both = DicomMasks(Cohort.open(of_first.folder), [str(path), str(other)], Watch())
    assert (both.of_case, both.problems) == ({"case_001": str(other), "case_002": str(path)}, {})


def test_a_segmentation_that_names_no_images_may_be_of_any_time_point(tmp_path, capsys):
    write_series(tmp_path / "dicom", POINTS[0], GRID, several(position))
    path, cohort = segmentation_of(tmp_path, 3)
    file = pydicom.dcmread(path)
    del file.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    for frame in file.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    file.save_as(path)
    assert "it is not clear whether it belongs" in DicomMasks(cohort, [str(path)], Watch()).problems[str(path)].message


def test_a_segmentation_refers_to_images_of_a_file_by_their_numbers():
    file = SegmentationFile("a.dcm", ("1",), "", {1: "ball"}, {}, frozenset({("1.2", 1), ("1.2", 3)}))
    assert file.is_of([("1.2", 1), ("1.2", 3), ("1.2", 5)])
    assert not file.is_of([("1.2", 2), ("1.2", 3)])
    assert file.is_of([("1.2", 0)])
    whole = SegmentationFile("a.dcm", ("1",), "", {1: "ball"}, {}, frozenset({("1.2", 0)}))
    assert not whole.is_of([("1.2", 1), ("1.2", 3)])


@pytest.mark.parametrize(
    ("number", "words"),
    [("4", "it has 3 time points, so there is no time point 4"), ("-1", "numbered from 1; there is no time point -1.")],
)
def test_a_time_point_that_is_not_there_is_refused(tmp_path, capsys, number, words):
    write_series(tmp_path / "dicom", POINTS[0], GRID, several(position))
    assert main(["create", str(tmp_path / "cohort"), str(tmp_path / "dicom"), "--time-point", number]) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "cohort").exists()


def test_plain_series_and_files_have_no_time_points(tmp_path, capsys):
    write_series(tmp_path / "dicom", POINTS[0], GRID)
    given = ["create", str(tmp_path / "cohort"), str(tmp_path / "dicom")]
    assert main([*given, "--time-point", "2"]) == 1
    assert "None of the series has several time points" in capsys.readouterr().err
    assert main([*given, "--time-point", "1", "--quiet"]) == 0
    image = str(tmp_path / "cohort/images/case_001.nrrd")
    assert main(["create", str(tmp_path / "other"), image, "--time-point", "1"]) == 1
    assert "Only DICOM series have time points" in capsys.readouterr().err


def unequal(headers):
    return several(position)(headers)[1:]


def without_order(header, number, _k):
    header.ImageComments = str(number)


def other_echoes(header, number, k):
    header.EchoTime = 10.0 + number + k


@pytest.mark.parametrize("change", [unequal, several(without_order), several(other_echoes)])
def test_images_that_are_no_time_points_stay_refused(tmp_path, capsys, change):
    write_series(tmp_path / "dicom", POINTS[0], GRID, change)
    assert main(["create", str(tmp_path / "cohort"), str(tmp_path / "dicom"), "--time-point", "1"]) == 1
    assert "Put the files of one of them into a folder of its own" in " ".join(capsys.readouterr().err.split())
