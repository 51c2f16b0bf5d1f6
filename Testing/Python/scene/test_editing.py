"""Changing single slices, markers, curves and tables in the scene."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, CaseFigures, LabelFigures, Ledger, Plane, SliceState

SHAPE = (9, 11, 13)
PLAIN = np.diag([-1.0, 1.0, 2.0, 1.0])
OBLIQUE = np.array([[0.0, -0.8, 1.2, 7.5], [0.9, 0.0, 0.0, -3.25], [0.0, 0.6, 1.6, 100.125], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(params=["plain", "oblique", "moved"])
def drawn(mrml, request):
    """A volume, plain, oblique or under a transform, with two overlapping segments."""
    from SparseAnnotateLib import scene

    matrix = PLAIN if request.param == "plain" else OBLIQUE
    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), matrix, "volume")
    if request.param == "moved":
        transform = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        move = np.array([[0, -1.0, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
        transform.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(move))
        volume.SetAndObserveTransformNodeID(transform.GetID())
    node = scene.annotated_segmentation(volume, create=True)
    rng = np.random.default_rng(0)
    masks = {"a": rng.random(SHAPE) < 0.4, "b": rng.random(SHAPE) < 0.4}
    for name, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(name, name)
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, name, volume)
    return volume, node, masks


def arrays(mrml, node, volume) -> dict[str, np.ndarray]:
    return {name: mrml.util.arrayFromSegmentBinaryLabelmap(node, name, volume).astype(bool) for name in "ab"}


@pytest.mark.parametrize("plane", list(Plane))
def test_one_slice_of_one_segment_is_replaced_and_nothing_else(drawn, mrml, plane):
    from SparseAnnotateLib import scene

    volume, node, masks = drawn
    axis = plane.array_axis(scene.geometry_of(volume))
    new = np.random.default_rng(1).random([n for a, n in enumerate(SHAPE) if a != axis]) < 0.5
    editor = scene.editor_for(node, volume)
    editor.SaveStateForUndo()
    scene.put_slice(node, volume, plane, 4, {"a": new}, editor)
    layer = tuple(4 if a == axis else slice(None) for a in range(3))
    expected = {name: mask.copy() for name, mask in masks.items()}
    expected["a"][layer] = new
    for name, mask in arrays(mrml, node, volume).items():
        np.testing.assert_array_equal(mask, expected[name], err_msg=name)
    found = scene.slice_masks(node, volume, plane, 4)
    np.testing.assert_array_equal(found["a"], new)
    np.testing.assert_array_equal(found["b"], masks["b"][layer])
    editor.Undo()
    for name, mask in arrays(mrml, node, volume).items():
        np.testing.assert_array_equal(mask, masks[name], err_msg=name)


def test_the_slice_that_a_view_shows_is_found(drawn, mrml):
    from SlicerStandIn import view_nodes
    from SparseAnnotateLib import scene

    view_nodes.add_slice_views()
    volume, _, _ = drawn
    for plane in Plane:
        view = scene.slice_view_for(plane)
        scene.jump_to_slice(view, volume, plane, 3)
        assert scene.slice_shown(volume, plane) == 3
        view.SetSliceOffset(view.GetSliceOffset() + 1000.0)
        assert scene.slice_shown(volume, plane) is None


def test_changes_of_voxels_and_segments_are_reported_until_watching_stops(drawn, mrml):
    from SparseAnnotateLib import scene

    volume, node, _ = drawn
    seen = []
    segments = []
    stop = scene.watch_segmentation(node, lambda: seen.append(1), lambda: segments.append(1))
    mrml.util.updateSegmentBinaryLabelmapFromArray(np.zeros(SHAPE, np.uint8), node, "a", volume)
    assert seen
    stop()
    count = len(seen)
    mrml.util.updateSegmentBinaryLabelmapFromArray(np.ones(SHAPE, np.uint8), node, "a", volume)
    assert len(seen) == count
    stop = scene.watch_segmentation(node, lambda: seen.append(1), lambda: segments.append(1))
    segments.clear()
    node.GetSegmentation().AddEmptySegment("c", "c")
    assert segments
    stop()
    segments.clear()
    node.GetSegmentation().RemoveSegment("c")
    assert segments == []


def test_markers_lie_in_the_middle_of_their_slices(drawn, mrml):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core.planes import slice_centre_ras

    volume, _, _ = drawn
    ledger = Ledger().with_state(Plane.CORONAL, 4, SliceState.EMPTY).with_state(Plane.AXIAL, 2, SliceState.TODO)
    scene.show_markers(volume, ledger)
    geometry = scene.geometry_of(volume)
    for name, plane, index in (("Slices drawn", Plane.CORONAL, 4), ("Slices to do", Plane.AXIAL, 2)):
        node = mrml.util.getNode(name)
        corners = np.array([node.GetPolyData().GetPoint(n) for n in range(node.GetPolyData().GetNumberOfPoints())])
        assert len(corners) == 4
        centre = slice_centre_ras(geometry, plane.array_axis(geometry), index)
        np.testing.assert_allclose(corners.mean(axis=0), centre, atol=1e-4)
        assert node.GetTransformNodeID() == volume.GetTransformNodeID()
        assert not node.GetSaveWithScene()
    scene.hide_markers()
    assert not [n for n in mrml.util.getNodesByClass("vtkMRMLModelNode") if n.GetName().startswith("Slices ")]


def test_curves_continue_in_the_same_chart_and_those_of_another_run_replace_them(mrml):
    from SparseAnnotateLib import scene

    lines = [{"model": "2d", "iteration": n, "loss": 1.0 / n} for n in range(1, 5)]
    lines[-1]["validation_dice"] = 0.75
    chart = scene.show_curves("run 1", lines)
    names = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert names == ["2d loss", "2d Dice"]
    more = [*lines, {"model": "3d", "iteration": 1, "loss": 0.5}]
    assert scene.show_curves("run 1", more) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    assert scene.show_curves("run 2", more[-1:]) is chart
    assert chart.GetTitle() == "run 2"
    assert [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())] == ["3d loss"]
    assert len(mrml.util.getNodesByClass("vtkMRMLTableNode")) == 1
    many = [{"model": "3d", "iteration": n, "loss": 0.5} for n in range(20_000)]
    scene.show_curves("run 2", many)
    (table,) = mrml.util.getNodesByClass("vtkMRMLTableNode")
    assert 500 <= table.GetNumberOfRows() < 1000


def test_a_table_of_figures_keeps_infinite_distances(mrml):
    from SparseAnnotateLib import scene

    rows = tuple(LabelFigures(n, 0.5, 0.4, np.inf, np.inf, np.inf, 1.5, 2.5) for n in (1, 2))
    node = scene.new_figures_table("measured", CaseFigures("x", rows), {1: "liver", 2: "spleen"})
    assert node.GetNumberOfRows() == 2
    assert node.GetCellText(1, 0) == "spleen"
    assert node.GetTable().GetValueByName(0, "HD95 (mm)").ToDouble() == np.inf


def test_a_slice_cannot_be_initialized_from_what_does_not_exist_yet(drawn, mrml):
    from SparseAnnotateLib import scene

    volume, _, _ = drawn
    for start, words in (
        ("nearest drawn slice", "No axial slice"),
        ("fill", "no fill"),
        ("prediction", "no prediction"),
    ):
        with pytest.raises(BadInputError, match=words):
            scene.start_masks(volume, Plane.AXIAL, 3, scene.Start(start))
    assert scene.start_masks(volume, Plane.AXIAL, 3, scene.Start.NOTHING) == ({}, "")


def test_a_drawing_without_a_reference_volume_is_hidden_with_its_volume(mrml):
    from SparseAnnotateLib import scene

    volumes = [mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), PLAIN, name) for name in ("one", "two")]
    loaded = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded from a file")
    loaded.CreateDefaultDisplayNodes()
    scene.use_segmentation(volumes[0], loaded)
    own = scene.annotated_segmentation(volumes[1], create=True)
    scene.show_only_volume(volumes[1], volumes)
    assert not loaded.GetDisplayNode().GetVisibility()
    assert own.GetDisplayNode().GetVisibility()
    scene.show_only_volume(volumes[0], volumes)
    assert loaded.GetDisplayNode().GetVisibility()
    assert not own.GetDisplayNode().GetVisibility()


def test_a_drawing_made_on_another_volume_of_the_same_grid_is_hidden_with_its_own(mrml):
    from SparseAnnotateLib import scene

    volumes = [mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), PLAIN, name) for name in ("one", "two")]
    shared = scene.new_segmentation("made on one", np.ones(SHAPE, np.uint8), {1: "a"}, volumes[0])
    scene.use_segmentation(volumes[1], shared)
    for number, shown in ((1, True), (0, False), (1, True)):
        scene.show_only_volume(volumes[number], volumes)
        assert bool(shared.GetDisplayNode().GetVisibility()) is shown


@pytest.mark.parametrize("flipped", [False, True])
def test_segments_in_one_layer_are_read_as_segments_in_their_own(mrml, flipped):
    from SparseAnnotateLib import scene

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, (7, 8, 9)).astype(np.uint8)
    matrix = np.diag([-1.0, 1.0, 2.0, 1.0])
    volume = mrml.util.addVolumeFromArray(np.zeros(labels.shape, np.int16), matrix, "scan")
    names = {value: f"segment {value}" for value in range(1, 6)}
    shared = scene.new_segmentation("shared", labels, names, volume)
    apart = scene.new_segmentation("apart", labels, names, volume)
    for segment_id in scene.segment_ids(apart):
        apart.GetSegmentation().SeparateSegmentLabelmap(segment_id)
    if flipped:
        matrix[:3, 3] += matrix[:3, 0] * (labels.shape[2] - 1)
        matrix[:3, 0] *= -1
        volume.SetIJKToRASMatrix(scene.volume_nodes.vtk_matrix(matrix))
    values = {"segment 5": 1, "segment 2": 300, "segment 3": 7}
    region = (slice(1, 5), slice(2, 8), slice(0, 4))
    for part in (None, region):
        one, other = (scene.labels_of(node, volume, values, region=part) for node in (shared, apart))
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype == np.uint16
    assert set(np.unique(one)) == {0, 1, 7, 300}
