"""The overlay that shows in the slice views where the confidence of a result is low."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SparseAnnotateLib.scene.confidence_overlay import doubtful, filling_overlay, overlay_node

SHAPE = (9, 12, 14)


@given(st.integers(0, 2**31), st.tuples(*[st.integers(1, 3)] * 3))
def test_only_low_confidence_near_a_boundary_is_kept(seed, reach):
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:6, 4:8, 5:9] = rng.integers(0, 3, (3, 4, 4))
    percent = rng.integers(0, 101, SHAPE).astype(np.uint8)
    found = doubtful(labels, percent, reach)
    crossed = np.zeros(SHAPE, bool)
    for axis in range(3):
        for index in zip(*np.nonzero(np.diff(labels, axis=axis)), strict=True):
            other = list(index)
            other[axis] += 1
            crossed[index] = crossed[tuple(other)] = True
    for place in np.ndindex(SHAPE):
        around = tuple(slice(max(0, p - r + 1), p + r) for p, r in zip(place, reach, strict=True))
        is_shown = crossed[around].any() and percent[place] < 80
        assert found[place] == (percent[place] if is_shown else 100)


@pytest.fixture(params=["plain", "oblique under a transform"])
def result(mrml, request):
    """A volume, a result with a box in it, and its confidence, which is low everywhere."""
    from SparseAnnotateLib import scene

    matrix = np.diag([-1.0, 1.0, 2.0, 1.0])
    if request.param != "plain":
        matrix = np.array([[0.0, -0.8, 1.2, 7.5], [0.9, 0.0, 0.0, -3.25], [0.0, 0.6, 1.6, 100.125], [0, 0, 0, 1.0]])
    volume = mrml.util.addVolumeFromArray(np.zeros((20, 22, 24), np.int16), matrix, "volume")
    if request.param != "plain":
        transform = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        move = np.array([[0, -1.0, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
        transform.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(move))
        volume.SetAndObserveTransformNodeID(transform.GetID())
    labels = np.zeros((20, 22, 24), np.uint8)
    labels[8:14, 7:15, 9:17] = 1
    node = scene.new_segmentation("result", labels, {1: "box"}, volume)
    percent = np.full(labels.shape, 40, np.uint8)
    return volume, node, scene.new_confidence(node, volume, percent), labels


def show(confidence) -> None:
    """Show the complete overlay in the slice views."""
    from SparseAnnotateLib import scene

    for _ in scene.showing_confidence(confidence):
        pass


def overlay_of(confidence, node):
    """The volume node of the overlay, filled for the result."""
    overlay = overlay_node(confidence)
    for _ in filling_overlay(overlay, confidence, node):
        pass
    return overlay


def overlay_on_the_volume(mrml, overlay, volume) -> np.ndarray:
    """The overlay's voxels at their position in the volume; 100 elsewhere."""
    from SparseAnnotateLib import scene

    inside = np.full(tuple(reversed(volume.GetImageData().GetDimensions())), 100, np.uint8)
    array = mrml.util.arrayFromVolume(overlay)
    to_volume = np.linalg.solve(scene.geometry_of(volume).matrix, scene.geometry_of(overlay).matrix)
    np.testing.assert_allclose(to_volume[:3, :3], np.eye(3), atol=1e-9)
    start = [round(float(s)) for s in to_volume[2::-1, 3]]
    inside[tuple(slice(s, s + n) for s, n in zip(start, array.shape, strict=True))] = array
    return inside


def test_the_overlay_leaves_most_of_the_image_and_the_inside_of_structures_visible(mrml, result):

    volume, node, confidence, labels = result
    overlay = overlay_of(confidence, node)
    assert overlay.GetTransformNodeID() == volume.GetTransformNodeID()
    shown = overlay_on_the_volume(mrml, overlay, volume) < 100
    assert shown[10, 7, 12]
    assert shown[10, 6, 12]
    assert not shown[11, 11, 13]
    assert not shown[labels == 0][:1].any()
    assert shown.mean() < 0.2
    display = overlay.GetDisplayNode()
    assert display.GetColorNode().GetName() == "Rainbow"
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() <= 40 <= display.GetUpperThreshold() < 100


def test_the_confidence_keeps_its_values_and_the_overlay_is_neither_listed_nor_saved(mrml, result):
    from SparseAnnotateLib import scene

    _, node, confidence, _ = result
    overlay = overlay_of(confidence, node)
    assert (mrml.util.arrayFromVolume(confidence) == 40).all()
    assert not overlay.GetSaveWithScene()
    assert overlay not in scene.volumes_of_scene()


def test_an_overlay_is_updated_with_its_result_and_removed_when_hidden(mrml, result):
    from SparseAnnotateLib import scene

    volume, node, confidence, labels = result
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    show(confidence)
    overlay = scene.overlay_in_views(confidence)
    assert overlay_of(confidence, node) is overlay
    labels[...] = 0
    labels[1:3, 1:3, 1:3] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(labels, node, "box", volume)
    show(confidence)
    assert scene.overlay_in_views(confidence) is overlay
    shown = overlay_on_the_volume(mrml, overlay, volume) < 100
    assert shown[2, 2, 2]
    assert not shown[10, 7, 12]
    scene.hide_confidence(confidence)
    assert overlay.GetScene() is None
    assert composite.GetForegroundVolumeID() is None


def test_an_overlay_is_removed_with_its_result(mrml, result):
    from SparseAnnotateLib import scene

    _, node, confidence, _ = result
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    show(confidence)
    scene.hide_orphaned_overlays()
    overlay = scene.overlay_in_views(confidence)
    assert overlay is not None
    mrml.mrmlScene.RemoveNode(node)
    scene.hide_orphaned_overlays()
    assert composite.GetForegroundVolumeID() is None
    assert overlay.GetScene() is None


def test_a_result_without_any_voxel_has_an_empty_overlay(mrml, result):
    from SparseAnnotateLib import scene

    volume, _, _, labels = result
    node = scene.new_segmentation("nothing", np.zeros_like(labels), {1: "box"}, volume)
    confidence = scene.new_confidence(node, volume, np.full(labels.shape, 1, np.uint8))
    overlay = overlay_of(confidence, node)
    assert (mrml.util.arrayFromVolume(overlay) == 100).all()
