"""Strokes over voxels that are right already: they are known from then on."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import confidence, painted, point, shown
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.core.corrections import Stroke


@pytest.fixture
def inside(mrml, drawn):
    """(K, J, I) of a voxel in the middle of the ball, on a slice that is not drawn."""
    before = shown(mrml, drawn[2], drawn[0])
    return (8, *(int(n) for n in np.argwhere(before[8] == 1).mean(axis=0)))


def brush(volume, kji, structure="ball", is_in=True, radius=1.5):
    return scene.BrushPlace(tuple(point(volume, kji)), radius, structure, is_in)


def touched(mrml, node, volume):
    """What the Segment Editor does with a stroke that changes nothing: the segment is written again."""
    painted(mrml, node, volume, np.zeros(shown(mrml, node, volume).shape, bool), "ball")
    node.GetBinaryLabelmapInternalRepresentation("ball").Modified()


def test_a_stroke_that_changes_nothing_confirms_what_is_under_the_brush(mrml, logic, drawn, inside):
    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, logic, node)
    logic.panel.begin_correcting(volume, node)
    touched(mrml, node, volume)
    report = logic.panel.take_strokes(volume, node, 2.0, brush(volume, inside))
    assert (report.corrections, report.changed) == (1, 0)
    assert report.voxels == report.confirmed > 4
    (stroke,) = logic.corrections(volume).strokes
    geometry = scene.geometry_of(volume)
    assert stroke == Stroke.ball(geometry, point(volume, inside), 1, True, 1.5)
    assert stroke.seconds == 2.0
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    assert (confidence(mrml, logic, node).reshape(-1)[stroke.voxels] == 100).all()
    logic.undoCorrection(volume)
    assert logic.corrections(volume) is None
    np.testing.assert_array_equal(confidence(mrml, logic, node), sure)


def test_an_erasing_brush_confirms_that_a_structure_is_not_there(mrml, logic, drawn):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    touched(mrml, node, volume)
    report = logic.panel.take_strokes(volume, node, 1.0, brush(volume, (8, 22, 25), "ball", is_in=False))
    assert report.confirmed == report.voxels > 4
    (stroke,) = logic.corrections(volume).strokes
    assert (stroke.value, stroke.is_in) == (1, False)


def test_what_is_right_under_the_brush_belongs_to_the_stroke_that_changes_the_rest(mrml, logic, drawn, inside):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    column = np.flatnonzero(before[8, inside[1]] == 1).max()
    edge = (8, inside[1], int(column))
    ball = Stroke.ball(scene.geometry_of(volume), point(volume, edge), 1, True, 2.5)
    mask = np.zeros(before.shape, bool)
    mask.reshape(-1)[ball.voxels] = True
    wrong = int(np.count_nonzero(mask & (before != 1)))
    assert 0 < wrong < len(ball.voxels)
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, mask, "ball")
    report = logic.panel.take_strokes(volume, node, 1.0, brush(volume, edge, radius=2.5))
    assert logic.corrections(volume).strokes == (ball,)
    assert (report.voxels, report.confirmed) == (len(ball.voxels), len(ball.voxels) - wrong)


def test_a_confirmed_voxel_stays_when_something_else_is_corrected_beside_it(mrml, logic, drawn, inside):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    touched(mrml, node, volume)
    logic.panel.take_strokes(volume, node, 1.0, brush(volume, inside, radius=1.0))
    (stroke,) = logic.corrections(volume).strokes
    mask = np.zeros(drawn[1].shape, bool)
    mask[8, inside[1] - 3, inside[2] - 2 : inside[2] + 2] = True
    painted(mrml, node, volume, mask, "ball", erase=True)
    assert logic.panel.take_strokes(volume, node, 1.0).changed > 0
    assert (shown(mrml, node, volume).reshape(-1)[stroke.voxels] == 1).all()


@pytest.mark.parametrize("place", ["outside", "drawn", "other", "unknown"])
def test_a_brush_elsewhere_confirms_nothing(mrml, logic, drawn, inside, place):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    logic.panel.begin_correcting(volume, node)
    touched(mrml, node, volume)
    where = {
        "outside": scene.BrushPlace((1e4, 0.0, 0.0), 1.5, "ball", True),
        "drawn": brush(volume, (12, *inside[1:]), radius=0.5),
        "other": brush(volume, (8, 4, 4)),
        "unknown": brush(volume, inside, "spleen"),
    }[place]
    report = logic.panel.take_strokes(volume, node, 1.0, where)
    if place == "drawn":
        assert "lies on drawn slices" in " ".join(report.notes)
        assert report.voxels == 0
    else:
        assert report is None
    assert logic.corrections(volume) is None
    np.testing.assert_array_equal(shown(mrml, node, volume), before)


def test_a_moved_volume_is_confirmed_where_the_brush_is(mrml, logic, drawn, inside):
    volume, _, node = drawn
    transform = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = mrml.util.vtkMatrixFromArray(np.array([[1.0, 0, 0, 30], [0, 1, 0, -5], [0, 0, 1, 7], [0, 0, 0, 1]]))
    transform.SetMatrixTransformToParent(matrix)
    for moved in (volume, node, logic.drawnIn(volume)):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    logic.panel.begin_correcting(volume, node)
    touched(mrml, node, volume)
    at = np.add(point(volume, inside), (30, -5, 7))
    assert logic.panel.take_strokes(volume, node, 1.0, scene.BrushPlace(tuple(at), 1.5, "ball", True)).confirmed > 4
    (stroke,) = logic.corrections(volume).strokes
    assert stroke == Stroke.ball(scene.geometry_of(volume), point(volume, inside), 1, True, 1.5)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("key", [False, True])
def test_a_flat_brush_confirms_voxels_of_the_slice_that_it_is_in(mrml, logic, drawn, inside, plane, key, slice_views):
    volume, _, node = drawn
    plane = Plane.named(plane)
    geometry = scene.geometry_of(volume)
    axis = plane.array_axis(geometry)
    view = scene.slice_view_for(plane)
    scene.jump_to_slice(view, volume, plane, inside[axis])
    editor = scene.segment_editor_node()
    scene.brush_for_correcting(editor)
    editor.SetAndObserveSegmentationNode(node)
    editor.SetActiveEffectName("Paint")
    editor.SetSelectedSegmentID("ball")
    editor.SetAttribute("BrushAbsoluteDiameter", "9")
    known = mrml.util.getNodesByClass("vtkMRMLCrosshairNode")
    cursor = known[0] if known else mrml.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    # As the mouse, a little off the middle of the voxel, and of the slice.
    xyz = np.linalg.inv(mrml.util.arrayFromVTKMatrix(view.GetXYToRAS())) @ [*point(volume, inside), 1.0]
    cursor.SetCursorPositionXYZ([*(float(x) for x in xyz[:2]), 0.0], view)
    logic.panel.begin_correcting(volume, node)

    def confirmed():
        brush = logic.panel.brush_over(node)
        if key:
            logic.panel.confirm_under_brush(volume, node, brush, 1.0)
        else:
            touched(mrml, node, volume)
            logic.panel.take_strokes(volume, node, 1.0, brush)
        voxels = logic.corrections(volume).strokes[-1].voxels
        logic.undoCorrection(volume)
        return np.stack(np.unravel_index(voxels, geometry.shape))

    ball = confirmed()
    assert len(np.unique(ball[axis])) > 1
    editor.SetAttribute("BrushSphere", "0")
    flat = confirmed()
    assert np.unique(flat[axis]).tolist() == [inside[axis]]
    np.testing.assert_array_equal(flat, ball[:, ball[axis] == inside[axis]])
    # Without a view it is not known in which slice it is.
    cursor.SetCursorPositionRAS(point(volume, inside))
    assert logic.panel.brush_over(node) is None
    editor.SetAttribute("BrushSphere", "1")
    assert logic.panel.brush_over(node) is not None
