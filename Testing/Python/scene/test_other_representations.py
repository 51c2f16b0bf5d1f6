"""Segmentations kept as surfaces, fractions or contours, and complete copies on a volume's grid."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from small_volumes import ball
from SparseAnnotateLib.core import BadInputError, Plane, SliceState

SHAPE = (20, 24, 28)
MATRIX = np.array([[1.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1.5, -30], [0, 0, 0, 1]])
TERM = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


@pytest.fixture
def volume(mrml):
    return mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), MATRIX, "CT")


def painted(mrml, volume, masks, name="drawn"):
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(segment, segment)
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, volume)
    return node


def as_surface(node):
    """The node with surfaces only, like a segmentation loaded from STL files."""
    segmentation = node.GetSegmentation()
    segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    return node


def as_contours(mrml, node):
    """The node with contours like those of an RTSTRUCT, which Slicer cannot convert without an extension."""
    segmentation = node.GetSegmentation()
    lines = vtk.vtkPolyData()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    lines.DeepCopy(sphere.GetOutput())
    contours = mrml.vtkSegment()
    contours.SetName("contours")
    contours.AddRepresentation("Planar contour", lines)
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName("Planar contour")
    segmentation.AddSegment(contours, "contours")
    return node


def array_of(mrml, node, volume, name):
    return mrml.util.arrayFromSegmentBinaryLabelmap(node, name, volume)


def overlap(one, other) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_a_surface_is_measured_as_the_voxels_it_encloses(mrml, volume):
    from SparseAnnotateLib import scene

    truth = ball(SHAPE, 7.0).astype(bool)
    reference = as_surface(painted(mrml, volume, {"a": truth}))
    found = scene.labels_of(reference, volume, {"a": 1}) > 0
    assert overlap(found, truth) > 0.95
    segmentation = reference.GetSegmentation()
    assert not segmentation.ContainsRepresentation("Binary labelmap")
    assert segmentation.GetSourceRepresentationName() == "Closed surface"


def test_a_surface_cannot_be_drawn_in_and_is_not_treated_as_empty(mrml, volume):
    from SparseAnnotateLib import scene

    surface = as_surface(painted(mrml, volume, {"a": ball(SHAPE, 7.0)}))
    with pytest.raises(BadInputError, match="'drawn' is stored as 'Closed surface', not as a binary labelmap"):
        scene.use_segmentation(volume, surface)
    # A segmentation that was converted to surfaces after slices were drawn in it.
    drawn = painted(mrml, volume, {"a": ball(SHAPE, 7.0)}, "mine")
    scene.use_segmentation(volume, drawn)
    scene.mark_decided(volume, Plane.AXIAL, 10)
    as_surface(drawn)
    for attempt in (
        lambda: scene.mark_empty(volume, Plane.AXIAL, 10),
        lambda: scene.mark_decided(volume, Plane.AXIAL, 10),
        lambda: scene.annotation_of(volume, drawn),
        lambda: scene.slice_masks(drawn, volume, Plane.AXIAL, 10),
    ):
        with pytest.raises(BadInputError, match="stored as 'Closed surface'"):
            attempt()


def test_a_copy_of_a_surface_on_the_volume_s_grid_holds_the_structure(mrml, volume):
    from SparseAnnotateLib import scene

    truth = ball(SHAPE, 7.0).astype(bool)
    copy = scene.copy_on_volume_grid(as_surface(painted(mrml, volume, {"a": truth})), volume)
    assert overlap(array_of(mrml, copy, volume, "a").astype(bool), truth) > 0.95
    scene.use_segmentation(volume, copy)
    assert scene.mark_decided(volume, Plane.AXIAL, 10) is SliceState.DRAWN


def test_contours_that_slicer_cannot_convert_are_reported(mrml, volume):
    from SparseAnnotateLib import scene

    node = as_contours(mrml, painted(mrml, volume, {"a": ball(SHAPE, 7.0)}))
    with pytest.raises(BadInputError, match="stored as 'Planar contour', and Slicer cannot convert 'contours'"):
        scene.labels_of(node, volume, {"contours": 1})
    with pytest.raises(BadInputError, match="stored as 'Planar contour'"):
        scene.copy_on_volume_grid(node, volume)
    with pytest.raises(BadInputError, match="stored as 'Planar contour'"):
        scene.use_segmentation(volume, node)


def test_empty_segments_stay_empty_and_are_not_treated_as_surfaces(mrml, volume):
    from SparseAnnotateLib import scene

    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    node.GetSegmentation().AddEmptySegment("a", "a")
    assert scene.geometry_problem(node, volume) is None
    assert not scene.labels_of(node, volume, {"a": 1}).any()


@pytest.fixture
def described(mrml, volume):
    """A drawing with tags, colours and display properties, of which two axial slices are marked."""
    from SparseAnnotateLib import scene

    masks = {"liver": ball(SHAPE, 7.0) > 0, "over": ball(SHAPE, 4.0) > 0, "none": np.zeros(SHAPE, bool)}
    node = painted(mrml, volume, masks)
    segment = node.GetSegmentation().GetSegment("liver")
    segment.SetTag("TerminologyEntry", TERM)
    segment.SetTag("Segmentation.Status", "inprogress")
    segment.SetTag("Mine", "my own tag")
    segment.SetColor(0.2, 0.4, 0.6)
    node.GetDisplayNode().SetSegmentVisibility("over", False)
    node.GetDisplayNode().SetSegmentOpacity2DFill("liver", 0.25)
    node.GetSegmentation().SetSegmentIndex("none", 0)
    scene.use_segmentation(volume, node)
    ledger = scene.stored_ledger(node, volume)
    for index in (6, 9):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, 12.0, ["liver"])
    scene.store_ledger(node, volume, ledger)
    return node, masks, ledger


def tag_of(node, segment, tag):
    text = vtk.reference("")
    return str(text) if node.GetSegmentation().GetSegment(segment).GetTag(tag, text) else None


def test_a_copy_keeps_all_properties_and_its_position(mrml, volume, described):
    from SparseAnnotateLib import scene

    node, masks, ledger = described
    copy = scene.copy_on_volume_grid(node, volume)
    assert scene.segment_names(copy) == scene.segment_names(node) == ["none", "liver", "over"]
    for name, mask in masks.items():
        np.testing.assert_array_equal(array_of(mrml, copy, volume, name), mask, err_msg=name)
    for tag, text in (("TerminologyEntry", TERM), ("Segmentation.Status", "inprogress"), ("Mine", "my own tag")):
        assert tag_of(copy, "liver", tag) == text
    assert copy.GetSegmentation().GetSegment("liver").GetColor() == pytest.approx((0.2, 0.4, 0.6))
    assert not copy.GetDisplayNode().GetSegmentVisibility("over")
    assert copy.GetDisplayNode().GetSegmentOpacity2DFill("liver") == 0.25
    assert scene.stored_ledger(copy, volume) == ledger


def transform(mrml, matrix, name="moved"):
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(matrix))
    return node


def test_when_only_the_volume_was_moved_the_copy_follows_it_with_its_ledger(mrml, volume, described):
    from SparseAnnotateLib import scene

    node, masks, ledger = described
    shift = np.eye(4)
    shift[2, 3] = 5.3
    volume.SetAndObserveTransformNodeID(transform(mrml, shift).GetID())
    assert "is under no transform, but the volume 'CT' is under the transform 'moved'" in scene.geometry_problem(
        node, volume
    )
    copy = scene.copy_on_volume_grid(node, volume)
    scene.use_segmentation(volume, copy)
    np.testing.assert_array_equal(scene.labels_of(copy, volume, {"liver": 1}) > 0, masks["liver"])
    assert scene.stored_ledger(copy, volume) == ledger


def world(node) -> np.ndarray:
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def nearest(mask, mask_to_world, volume_to_world) -> np.ndarray:
    """A mask resampled to a volume of SHAPE: each voxel has the value of the mask voxel that contains its centre."""
    k, j, i = np.indices(SHAPE).reshape(3, -1)
    places = np.linalg.solve(mask_to_world, volume_to_world) @ np.stack([i, j, k, np.ones_like(i)])
    found = np.floor(places[2::-1] + 0.5 + 1e-6).astype(int)
    inside = (found >= 0).all(axis=0) & (found < np.array(mask.shape)[:, None]).all(axis=0)
    shown = np.zeros(len(i), dtype=bool)
    shown[inside] = mask[tuple(found[:, inside])]
    return shown.reshape(SHAPE)


@pytest.mark.parametrize("moves", ["segmentation", "volume", "both, apart"])
def test_a_copy_of_a_segmentation_on_another_grid_keeps_its_position_in_the_world(mrml, volume, moves):
    from SparseAnnotateLib import scene

    finer = MATRIX.copy()
    finer[:3, :3] /= 2
    other = mrml.util.addVolumeFromArray(np.zeros([2 * n for n in SHAPE], np.uint8), finer, "finer")
    node = painted(mrml, other, {"a": ball([2 * n for n in SHAPE], 12.0, (22, 20, 30))})
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turn[:3, 3] = 3, -2, 4
    shift = np.eye(4)
    shift[:3, 3] = 1.3, 0.4, -0.7
    if moves != "volume":
        node.SetAndObserveTransformNodeID(transform(mrml, turn).GetID())
    if moves != "segmentation":
        volume.SetAndObserveTransformNodeID(
            transform(mrml, np.linalg.inv(turn) if moves == "volume" else turn @ shift).GetID()
        )
    mask = ball([2 * n for n in SHAPE], 12.0, (22, 20, 30)) > 0
    expected = nearest(mask, world(node) @ finer, world(volume) @ MATRIX)
    assert expected.any()
    copy = scene.copy_on_volume_grid(node, volume)
    assert scene.geometry_problem(copy, volume) is None
    np.testing.assert_array_equal(scene.labels_of(copy, volume, {"a": 1}) > 0, expected)


def test_a_copy_for_a_cropped_volume_keeps_the_marked_slices_that_are_in_it(mrml, volume, described):
    from SparseAnnotateLib import scene

    node, masks, _ = described
    start = np.array([2, 3, 8])  # i, j, k
    matrix = MATRIX.copy()
    matrix[:3, 3] = (MATRIX @ [*start, 1])[:3]
    crop = mrml.util.addVolumeFromArray(np.zeros((6, 18, 20), np.int16), matrix, "crop")
    copy = scene.copy_on_volume_grid(node, crop)
    np.testing.assert_array_equal(scene.labels_of(copy, crop, {"liver": 1}) > 0, masks["liver"][8:14, 3:21, 2:22])
    assert [(e.index, e.seconds) for e in scene.stored_ledger(copy, crop).entries] == [(1, 12.0)]


def test_results_carry_the_terminology_but_not_the_status_of_what_was_drawn(mrml, volume, described):
    from SparseAnnotateLib import scene

    labels = ball(SHAPE, 5.0)
    result = scene.new_segmentation("result", labels, {1: "liver", 2: "new"}, volume, like=described[0])
    names = scene.segment_names(result)
    assert names == ["liver", "new"]
    liver = result.GetSegmentation().GetSegmentIdBySegmentName("liver")
    assert tag_of(result, liver, "TerminologyEntry") == TERM
    assert tag_of(result, liver, "Segmentation.Status") is None
    assert result.GetSegmentation().GetSegment(liver).GetColor() == pytest.approx((0.2, 0.4, 0.6))


def test_an_image_whose_extent_does_not_begin_at_zero_is_read_marked_and_filled_in_place(mrml):
    from SparseAnnotateLib import scene

    labels = ball(SHAPE, 7.0)
    volume = mrml.util.addVolumeFromArray(labels.astype(np.float32), MATRIX, "cropped")
    image = volume.GetImageData()
    image.SetExtent(5, 4 + SHAPE[2], 6, 5 + SHAPE[1], 7, 6 + SHAPE[0])
    segmentation = scene.annotated_segmentation(volume, create=True)
    segmentation.GetSegmentation().AddEmptySegment("a", "a")
    layer = mrml.vtkOrientedImageData()
    layer.SetExtent(image.GetExtent())
    layer.SetImageToWorldMatrix(mrml.util.vtkMatrixFromArray(MATRIX))
    scalars = vtk.util.numpy_support.numpy_to_vtk(labels.ravel(), deep=True)
    layer.GetPointData().SetScalars(scalars)
    logic = mrml.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(layer, segmentation, "a", logic.MODE_REPLACE)
    np.testing.assert_array_equal(scene.labels_of(segmentation, volume, {"a": 1}), labels)
    assert scene.mark_decided(volume, Plane.AXIAL, 10) is SliceState.DRAWN
    assert scene.mark_decided(volume, Plane.AXIAL, 0) is SliceState.EMPTY
    result = scene.new_segmentation("result", labels, {1: "a"}, volume)
    np.testing.assert_array_equal(scene.labels_of(result, volume, {"a": 1}), labels)
    confidence = scene.new_confidence(result, volume, labels)
    np.testing.assert_allclose(scene.geometry_of(volume).matrix[:3, 3], (MATRIX @ [5, 6, 7, 1])[:3])
    assert scene.geometry_of(confidence).resembles(scene.geometry_of(volume))
