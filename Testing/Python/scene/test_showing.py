"""Markers of a volume, curves of a run, tables of figures, and the same segments in several volumes."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from SparseAnnotateLib.core import BadInputError, CaseFigures, LabelFigures, Ledger, Plane, SliceState


@pytest.fixture
def views(mrml):
    """The three slice views; the first volume is shown in them."""
    from SlicerStandIn import view_nodes

    view_nodes.add_slice_views()
    volumes = [mrml.util.addVolumeFromArray(np.zeros((5, 6, 7), np.int16), name=name) for name in "ab"]
    view_nodes.show_volume(volumes[0])
    for node in mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        # The views outlive the scene: another test may have left something in their foreground.
        node.SetForegroundVolumeID(None)
        node.SetForegroundOpacity(0.0)
    return volumes


def composite(mrml, name: str):
    nodes = mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return next(node for node in nodes if node.GetLayoutName() == name)


def seen_in(mrml) -> set[str]:
    """Names of the slice views that show the markers."""
    (node,) = [n for n in mrml.util.getNodesByClass("vtkMRMLModelNode") if n.GetName() == "Slices to do"]
    display = node.GetDisplayNode()
    slices = mrml.util.getNodesByClass("vtkMRMLSliceNode")
    return {n.GetLayoutName() for n in slices if display.GetVisibility() and display.IsDisplayableInView(n.GetID())}


def test_markers_are_visible_only_in_the_views_that_show_their_volume(mrml, views):
    from SparseAnnotateLib import scene

    first, second = views
    ledger = Ledger().with_state(Plane.AXIAL, 2, SliceState.TODO)
    scene.show_markers(first, ledger)
    assert seen_in(mrml) == {"Red", "Green", "Yellow"}
    composite(mrml, "Red").SetBackgroundVolumeID(second.GetID())
    scene.place_markers(first)
    assert seen_in(mrml) == {"Green", "Yellow"}
    # It is visible in the foreground, too, unless it is fully transparent.
    composite(mrml, "Red").SetForegroundVolumeID(first.GetID())
    composite(mrml, "Red").SetForegroundOpacity(0.5)
    scene.place_markers(first)
    assert seen_in(mrml) == {"Red", "Green", "Yellow"}
    scene.show_markers(second, ledger)
    assert seen_in(mrml) == {"Red"}
    for name in ("Red", "Green", "Yellow"):
        composite(mrml, name).SetBackgroundVolumeID(None)
    scene.show_markers(second, ledger)
    assert seen_in(mrml) == set()
    scene.hide_markers()


def test_a_volume_that_is_shown_is_in_all_slice_views(mrml, views):
    from SparseAnnotateLib import scene

    assert scene.volumes_shown() == views[:1]
    heard = []
    stop = scene.watch_layers(lambda: heard.append(1))
    scene.show_volume(views[1])
    assert scene.volumes_shown() == views[1:]
    assert heard
    stop()
    heard.clear()
    scene.show_volume(views[0])
    assert heard == []


def test_another_channel_is_shown_in_its_place_and_stays_so_from_slice_to_slice(mrml, views):
    from SparseAnnotateLib import scene

    first, second = views
    other = mrml.util.addVolumeFromArray(np.ones((5, 6, 7), np.int16), name="patient")
    scene.set_channels(first, {"FLAIR": first, "T1": second})
    scene.show_markers(first, Ledger().with_state(Plane.AXIAL, 2, SliceState.TODO))
    assert scene.shown_channel(first) == ("FLAIR", "")
    slice_node = scene.slice_view_for(Plane.AXIAL)
    field = slice_node.GetFieldOfView()
    scene.show_channel(first, "T1")
    red = composite(mrml, "Red")
    assert red.GetBackgroundVolumeID() == second.GetID()
    assert slice_node.GetFieldOfView() == field, "the same place is seen"
    assert scene.volumes_shown() == [first]
    scene.place_markers(first)
    assert seen_in(mrml) == {"Red", "Green", "Yellow"}
    scene.jump_to_slice(slice_node, first, Plane.AXIAL, 3)
    assert red.GetBackgroundVolumeID() == second.GetID()
    assert scene.slice_shown(first, Plane.AXIAL) == 3
    scene.show_channel(first, "FLAIR", faded="T1")
    assert (red.GetBackgroundVolumeID(), red.GetForegroundVolumeID()) == (first.GetID(), second.GetID())
    assert red.GetForegroundOpacity() == 0.5
    # Nothing of this patient stays in front of another one.
    scene.show_volume(other)
    assert (red.GetBackgroundVolumeID(), red.GetForegroundVolumeID()) == (other.GetID(), None)
    scene.show_volume(first)
    assert red.GetForegroundVolumeID() == second.GetID()
    scene.show_channel(first, "FLAIR")
    assert (red.GetForegroundVolumeID(), red.GetForegroundOpacity()) == (None, 0.0)
    scene.show_channel(first, "T1")
    mrml.mrmlScene.RemoveNode(second)
    assert scene.shown_channel(first) == ("FLAIR", "")
    with pytest.raises(BadInputError, match="'a' has no image of the channel 'T1'"):
        scene.show_channel(first, "T1")
    scene.hide_markers()


def test_the_loss_is_a_solid_line_even_in_a_chart_loaded_with_a_scene(mrml):
    from SparseAnnotateLib import scene

    lines = [{"model": "2d", "iteration": n, "loss": 1.0 / n, "validation_dice": 0.5} for n in (1, 2)]
    chart = scene.show_curves("run 1", lines)
    loss, dice = (chart.GetNthPlotSeriesNode(n) for n in range(2))
    loss.SetLineStyle(loss.LineStyleDot)
    scene.show_curves("run 1", lines)
    assert loss.GetLineStyle() == loss.LineStyleSolid
    assert loss.GetLineWidth() >= 2
    assert dice.GetMarkerStyle() == dice.MarkerStyleCircle
    assert loss.GetMarkerStyle() == loss.MarkerStyleNone


def measured(mrml, volume, both=2, either=5):
    from SparseAnnotateLib import scene

    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1:4, 2:4, 2:5] = 1
    result, reference = (scene.new_segmentation(name, labels, {1: "liver"}, volume) for name in ("one", "two"))
    rows = (LabelFigures(1, 0.5, 0.4, np.inf, 2.0, 1.0, 1.5, 2.5, None, both, either),)
    table = scene.new_figures_table("measured", CaseFigures("a", rows, (), 0.75), {1: "liver"}, result, reference)
    return result, reference, table


def test_figures_are_found_only_for_the_pair_that_was_measured(mrml, views):
    from SparseAnnotateLib import scene

    result, reference, table = measured(mrml, views[0])
    found = scene.figures_of(result, reference)
    assert found.table_node is table
    assert found.structures == ("liver",)
    assert found.columns["Dice"] == (0.5,)
    assert found.columns["IoU"] == (0.4,)
    assert found.columns["HVSMR overall score"] == pytest.approx((0.5 / 2 - 1.0 / 4 - 2.0 / 30,))
    assert found.columns["Adapted Rand F-score"] == (0.75,)
    assert found.mean_dice == 0.5
    assert scene.figures_of(reference, result) is None


def test_figures_of_a_segmentation_that_was_changed_since_are_not_found(mrml, views):
    from SparseAnnotateLib import scene

    result, reference, _ = measured(mrml, views[0])
    mrml.util.updateSegmentBinaryLabelmapFromArray(np.ones((5, 6, 7), np.uint8), reference, "liver", views[0])
    assert scene.figures_of(result, reference) is None
    # Nor later, in this session or when the scene is opened again.
    assert scene.figures_of(result, reference) is None


def test_batched_iou_is_over_the_volumes_whose_results_were_made_alike(mrml, views):
    from SparseAnnotateLib import scene

    (first, reference, _), (second, *_), (third, *_) = (
        measured(mrml, views[0], both, either) for both, either in ((10, 20), (90, 100), (1, 1000))
    )
    assert scene.batched_iou(first) == (0, {})
    for result, kind in ((first, "run 1"), (second, "run 1"), (third, "fill")):
        scene.set_made_by(result, kind)
    assert scene.batched_iou(first) == (2, {"liver": 100 / 120})
    assert scene.batched_iou(third) == (1, {"liver": 1 / 1000})
    # A volume counts once, with what was measured last, and not at all after a change.
    rows = (LabelFigures(1, 0.5, 0.4, 1.0, 2.0, 1.0, 1.5, 2.5, None, 15, 20),)
    scene.new_figures_table("again", CaseFigures("a", rows, (), 0.75), {1: "liver"}, first, reference)
    assert scene.batched_iou(second) == (2, {"liver": 105 / 120})
    mrml.util.updateSegmentBinaryLabelmapFromArray(np.ones((5, 6, 7), np.uint8), second, "liver", views[0])
    assert scene.batched_iou(first) == (1, {"liver": 15 / 20})


def test_figures_are_found_in_a_reopened_scene_even_infinite_ones(mrml, views, embedded, tmp_path):
    from SparseAnnotateLib import scene

    measured(mrml, views[0])
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    result, reference = (mrml.util.getNode(name) for name in ("one", "two"))
    found = scene.figures_of(result, reference)
    assert found.columns["HD95 (mm)"] == (np.inf,)
    assert found.columns["Hausdorff (mm)"] == (2.0,)
    volume = mrml.util.getNode("a")
    mrml.util.updateSegmentBinaryLabelmapFromArray(np.ones((5, 6, 7), np.uint8), result, "liver", volume)
    assert scene.figures_of(result, reference) is None
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    assert scene.figures_of(*(mrml.util.getNode(name) for name in ("one", "two"))) is None


def test_a_second_volume_gets_the_segments_of_the_first_without_their_voxels(mrml, views):
    from SparseAnnotateLib import scene

    first, second = (scene.annotated_segmentation(volume, create=True) for volume in views)
    for name, colour in (("liver", (0.5, 0.25, 0.0)), ("spleen", (0.25, 0.5, 1.0))):
        segment_id = first.GetSegmentation().AddEmptySegment(name, name, colour)
        mrml.util.updateSegmentBinaryLabelmapFromArray(np.ones((5, 6, 7), np.uint8), first, segment_id, views[0])
    terminology = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    first.GetSegmentation().GetSegment("liver").SetTag("TerminologyEntry", terminology)
    second.GetSegmentation().AddEmptySegment("own", "spleen", (1.0, 0.0, 0.0))
    assert scene.add_segments_like(second, first) == ["liver"]
    assert scene.segment_names(second) == ["spleen", "liver"]
    liver = second.GetSegmentation().GetSegment("liver")
    assert liver.GetColor() == (0.5, 0.25, 0.0)
    tag = vtk.reference("")
    assert liver.GetTag("TerminologyEntry", tag)
    assert str(tag) == terminology
    assert not mrml.util.arrayFromSegmentBinaryLabelmap(second, "liver", views[1]).any()
    assert mrml.util.arrayFromSegmentBinaryLabelmap(first, "liver", views[0]).all()
    nothing = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with pytest.raises(BadInputError, match="has no segment"):
        scene.add_segments_like(second, nothing)


def test_only_renaming_a_node_is_reported_not_its_other_changes(mrml, views):
    from SparseAnnotateLib import scene

    heard = []
    stop = scene.watch_names(views, lambda: heard.append(1))
    views[0].Modified()
    views[1].SetAttribute("a", "b")
    assert heard == []
    views[1].SetName("renamed")
    assert len(heard) == 1
    stop()
    views[1].SetName("renamed again")
    assert len(heard) == 1
