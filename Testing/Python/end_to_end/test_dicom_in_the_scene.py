"""Segmentations of volumes that Slicer loaded from DICOM, written as DICOM SEG from the console."""

from __future__ import annotations

from types import SimpleNamespace

import highdicom
import numpy as np
import pytest

from dicom_made import oblique, write_series
from small_volumes import ball
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, SparseAnnotateError
from SparseAnnotateLib.core.dicom_codes import Code, StructureCodes
from SparseAnnotateLib.core.dicom_headers import read_header
from SparseAnnotateLib.core.dicom_reading import read_segmentation, read_segmentation_header
from SparseAnnotateLib.core.dicom_source import known_codes

SHAPE = (12, 20, 18)
GEOMETRY = oblique(SHAPE)
LABELS = ball(SHAPE, 6.0) + ball(SHAPE, 3.0)
LIVER = StructureCodes(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "10200004", "Liver"))


@pytest.fixture
def loaded(mrml, tmp_path, monkeypatch):
    """A volume as Slicer's DICOM module leaves it, with its slices in another order than the series, and a database."""
    headers = write_series(tmp_path / "in", 100 * LABELS.astype(int), GEOMETRY)
    files = {}
    for path in (tmp_path / "in").iterdir():
        files[read_header(str(path)).sop_uid] = str(path)
    database = SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(mrml, "dicomDatabase", database, raising=False)
    matrix = GEOMETRY.matrix
    matrix[:3, 3] += matrix[:3, 2] * (SHAPE[0] - 1)
    matrix[:3, 2] *= -1
    volume = mrml.util.addVolumeFromArray(100 * LABELS[::-1].astype(np.int16), matrix, "scan")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(str(one.SOPInstanceUID) for one in headers))
    return volume, files


def segmented(mrml, logic, volume, **masks):
    segmentation = logic.segmentationNode(volume)
    for name, mask in masks.items():
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask[::-1].astype(np.uint8), segmentation, name, volume)
    return segmentation


def test_a_drawing_becomes_a_segmentation_of_its_series(mrml, logic, loaded, tmp_path):
    volume, _files = loaded
    segmentation = segmented(mrml, logic, volume, liver=LABELS == 1, tumor=LABELS == 2)
    segment = segmentation.GetSegmentation().GetSegment("liver")
    segment.SetTag(segment.GetTerminologyEntryTagName(), LIVER.for_slicer())
    segment.SetColor(1.0, 0.0, 0.0)
    for index in (2, 5, 8):
        logic.markDrawn(volume, "axial", index)
    path = logic.exportDicomSegmentation(segmentation, volume, tmp_path / "out")
    assert path.parent == tmp_path / "out"
    file = read_segmentation_header(path)
    assert file.names == {1: "liver", 2: "tumor"}
    assert file.codes == {1: LIVER, 2: StructureCodes()}
    assert np.array_equal(read_segmentation(file, GEOMETRY), LABELS)
    seg = highdicom.seg.segread(path)
    assert seg.get_segment_description(1).algorithm_type.value == "MANUAL"
    red = highdicom.color.CIELabColor.from_rgb(255, 0, 0)
    assert list(seg.SegmentSequence[0].RecommendedDisplayCIELabValue) == list(red.value)


def test_overlapping_segments_stay_as_they_are(mrml, logic, loaded, tmp_path):
    volume, _files = loaded
    segmentation = segmented(mrml, logic, volume, liver=LABELS > 0, tumor=LABELS > 1)
    seg = highdicom.seg.segread(logic.exportDicomSegmentation(segmentation, volume, tmp_path))
    assert seg.SegmentsOverlap == "YES"
    assert [int(seg.get_volume().array[..., n].sum()) for n in (0, 1)] == [(LABELS > 0).sum(), (LABELS > 1).sum()]


def test_a_fill_is_semiautomatic_and_a_run_on_an_undrawn_volume_automatic(mrml, logic, loaded, tmp_path):
    volume, _files = loaded
    segmented(mrml, logic, volume, liver=np.where(np.arange(12)[:, None, None] % 3 == 0, LABELS > 0, 0))
    result = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    result.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    result.GetSegmentation().AddEmptySegment("liver", "liver")
    mrml.util.updateSegmentBinaryLabelmapFromArray((LABELS > 0)[::-1].astype(np.uint8), result, "liver", volume)
    found = []
    for made in (None, "net"):
        if made:
            scene.set_made_by(result, made)
        seg = highdicom.seg.segread(logic.exportDicomSegmentation(result, volume, tmp_path))
        found.append((seg.SegmentSequence[0].SegmentAlgorithmType, seg.SegmentSequence[0].SegmentAlgorithmName))
    for index in (2, 5, 8, 11):
        logic.markDrawn(volume, "axial", index)
    fill = logic.fillBetweenSlices(volume, "shape")
    seg = highdicom.seg.segread(logic.exportDicomSegmentation(fill, volume, tmp_path))
    found.append((seg.SegmentSequence[0].SegmentAlgorithmType, seg.SegmentSequence[0].SegmentAlgorithmName))
    assert found == [
        ("SEMIAUTOMATIC", "not made by SparseAnnotate"),
        ("AUTOMATIC", "SparseAnnotate: predicted (net)"),
        ("SEMIAUTOMATIC", "SparseAnnotate: filled (shape)"),
    ]


def test_a_result_is_manual_only_where_it_shows_what_was_drawn_and_refused_when_out_of_date(
    mrml, logic, loaded, tmp_path
):
    volume, _files = loaded
    segmentation = segmented(mrml, logic, volume, liver=LABELS > 0, tumor=np.zeros(SHAPE))
    for index in (2, 5, 8):
        logic.markDrawn(volume, "axial", index)
    result = logic.fillBetweenSlices(volume, "shape")
    # As a model would that disagrees with the person: the liver as drawn, and a tumor where background was drawn.
    only_drawn, wrong = np.zeros(SHAPE), np.zeros(SHAPE)
    only_drawn[[3, 6, 9]] = LABELS[[3, 6, 9]] > 0  # slices are stored in another order than the series
    wrong[3, :2, :2] = 1
    result.GetSegmentation().AddEmptySegment("tumor", "tumor")
    for name, mask in (("liver", only_drawn), ("tumor", wrong)):
        segment_id = result.GetSegmentation().GetSegmentIdBySegmentName(name)
        array = mask[::-1].astype(np.uint8)
        mrml.util.updateSegmentBinaryLabelmapFromArray(array, result, segment_id, volume)
    seg = highdicom.seg.segread(logic.exportDicomSegmentation(result, volume, tmp_path))
    made = {segment.SegmentLabel: segment.SegmentAlgorithmType for segment in seg.SegmentSequence}
    assert made == {"liver": "MANUAL", "tumor": "SEMIAUTOMATIC"}
    logic.markDrawn(volume, "axial", 10)
    with pytest.raises(BadInputError, match=r"is out of date: slices were drawn or changed since .*: axial 10"):
        logic.exportDicomSegmentation(result, volume, tmp_path)
    assert segmentation is logic.segmentationNode(volume)


def test_what_was_applied_is_written_with_where_it_comes_from(mrml, logic, loaded, tmp_path):
    volume, _files = loaded
    segmentation = segmented(mrml, logic, volume, liver=np.where(np.arange(12)[:, None, None] % 3 == 0, LABELS > 0, 0))
    for index in (2, 5, 8, 11):
        logic.markDrawn(volume, "axial", index)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    applied = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume)[::-1] > 0
    path = logic.exportDicomSegmentation(segmentation, volume, tmp_path)
    assert np.array_equal(read_segmentation(read_segmentation_header(path), GEOMETRY) > 0, applied)
    assert applied[4].any()
    (segment,) = highdicom.seg.segread(path).SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentAlgorithmName == "SparseAnnotate: filled (shape)"


def test_what_cannot_refer_to_a_series_is_refused(mrml, logic, loaded, tmp_path):
    volume, files = loaded
    segmentation = segmented(mrml, logic, volume)
    with pytest.raises(BadInputError, match="has no labeled voxels in 'scan'"):
        logic.exportDicomSegmentation(segmentation, volume, tmp_path)
    segmentation = segmented(mrml, logic, volume, liver=LABELS > 0)
    matrix = scene.geometry_of(volume).matrix
    matrix[:3, 3] += 1.5
    moved = mrml.util.addVolumeFromArray(100 * LABELS.astype(np.int16), matrix, "moved")
    moved.SetAttribute("DICOM.instanceUIDs", volume.GetAttribute("DICOM.instanceUIDs"))
    other = segmented(mrml, logic, moved, liver=LABELS > 0)
    with pytest.raises(SparseAnnotateError, match="'moved' is no longer on the grid of its DICOM series"):
        logic.exportDicomSegmentation(other, moved, tmp_path)
    files.pop(next(iter(files)))
    with pytest.raises(BadInputError, match="1 of the 12 DICOM files of 'scan' are not in Slicer's DICOM database"):
        logic.exportDicomSegmentation(segmentation, volume, tmp_path)
    volume.RemoveAttribute("DICOM.instanceUIDs")
    with pytest.raises(BadInputError, match="'scan' was not loaded from DICOM"):
        logic.exportDicomSegmentation(segmentation, volume, tmp_path)
    assert not list(tmp_path.glob("*.dcm"))


def test_the_terminology_of_segments_goes_into_the_cohort_folder(mrml, logic, loaded, tmp_path):
    volume, _files = loaded
    segmentation = segmented(mrml, logic, volume, liver=LABELS == 1, tumor=LABELS == 2)
    segment = segmentation.GetSegmentation().GetSegment("liver")
    segment.SetTag(segment.GetTerminologyEntryTagName(), LIVER.for_slicer())
    for index in (2, 5, 8):
        logic.markDrawn(volume, "axial", index)
    logic.cohortFolder = tmp_path / "co"
    for _step in logic._exportingLabels([volume]):
        pass
    assert known_codes(logic.cohort()) == {"liver": LIVER}
