"""Drawing slice after slice: what to start from, what was painted, keys, markers, time."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import Plane


@pytest.fixture
def drawing(panel):
    """A worklist of five slices, the first of which is drawn."""
    panel.volume = panel.add_ball()
    panel.recommend(20.0)
    panel.add_segment(panel.volume)
    panel.paint(panel.items[0].index)
    panel.ui.drawnButton.click()
    return panel


def array(panel, name="ball"):
    segmentation = panel.logic.segmentationNode(panel.volume)
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    return panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, panel.volume)


def keys_of(window) -> list[str]:
    from PySide6.QtGui import QShortcut
    from PySide6.QtWidgets import QWidget

    found = [s for s in QWidget.findChildren(window, QShortcut) if QShortcut.isEnabled(s)]
    return [QShortcut.key(shortcut).toString() for shortcut in found]


def test_the_nearest_drawn_slice_is_put_onto_this_one_as_one_step_of_undo(drawing):
    ui, first = drawing.ui, drawing.items[0].index
    here = drawing.panel.draw.table.chosen().index
    before = array(drawing)
    ui.startSelector.setCurrentText("nearest drawn slice")
    ui.startButton.click()
    assert drawing.message.startswith(f"Initialized from axial slice {first}")
    after = array(drawing)
    np.testing.assert_array_equal(after[here], before[first])
    np.testing.assert_array_equal(np.delete(after, here, 0), np.delete(before, here, 0))
    assert drawing.items[1].startedFrom == f"axial slice {first}"
    assert f"initialized from axial slice {first}" in ui.worklistTable.item(1, 4).text()
    assert drawing.logic.ledger(drawing.volume).entry(Plane.AXIAL, here).started_from == f"axial slice {first}"
    # What was put there is not painted: nobody has looked at it yet.
    assert ui.offerFrame.isHidden()
    ui.segmentEditorWidget.undo()
    np.testing.assert_array_equal(array(drawing), before)


def test_other_segments_on_the_slice_are_replaced_too_and_overlaps_are_kept(drawing):
    drawing.add_segment(drawing.volume, "shell")
    first, here = drawing.items[0].index, drawing.panel.draw.table.chosen().index
    segmentation = drawing.logic.segmentationNode(drawing.volume)
    shell = np.zeros(drawing.labels.shape, np.uint8)
    shell[first, 5:9, 5:9] = 1
    shell[here] = 1
    drawing.mrml.util.updateSegmentBinaryLabelmapFromArray(shell, segmentation, "shell", drawing.volume)
    drawing.ui.startButton.click()
    np.testing.assert_array_equal(array(drawing, "shell")[here], shell[first])
    np.testing.assert_array_equal(array(drawing)[here], array(drawing)[first])


def test_the_fill_and_the_prediction_can_be_started_from_when_they_are_there(drawing):
    ui = drawing.ui
    here = drawing.panel.draw.table.chosen().index
    for start, what in (("fill", "There is no fill"), ("prediction", "There is no prediction")):
        ui.startSelector.setCurrentText(start)
        ui.startButton.click()
        assert what in drawing.message
    ui.drawnButton.click()  # empty
    for _ in range(2):
        item = drawing.panel.draw.table.chosen()
        drawing.paint(item.index)
        ui.drawnButton.click()
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.fillButton.click()
    drawing.idle()
    item = drawing.panel.draw.table.chosen()
    assert item.state == "to do"
    ui.startSelector.setCurrentText("fill")
    ui.startButton.click()
    assert drawing.message.startswith("Initialized from fill")
    fill = drawing.mrml.util.arrayFromSegmentBinaryLabelmap(
        drawing.mrml.util.getNode("ball fill"), "ball", drawing.volume
    )
    np.testing.assert_array_equal(array(drawing)[item.index], fill[item.index])
    assert not array(drawing)[here].any()


def test_starting_never_overwrites_a_decided_slice(drawing):
    ui = drawing.ui
    before = array(drawing)
    ui.worklistTable.setCurrentCell(0, 0)
    assert not ui.startButton.enabled
    assert "already marked as drawn or empty" in ui.startButton.toolTip
    from SparseAnnotateLib.core import BadInputError

    item = drawing.items[0]
    with pytest.raises(BadInputError, match="is not overwritten"):
        drawing.logic.startSlice(drawing.volume, "axial", item.index, "nearest drawn slice")
    np.testing.assert_array_equal(array(drawing), before)
    ui.toDoButton.click()
    assert "reset to 'to do'" in drawing.message
    assert drawing.items[0].state == "to do"
    np.testing.assert_array_equal(array(drawing), before)
    ui.startSelector.setCurrentText("nothing")
    ui.startButton.click()
    assert not array(drawing)[item.index].any()
    assert "empty now" in drawing.message


def test_a_painted_slice_is_offered_as_drawn_also_after_it_was_left(drawing):
    ui = drawing.ui
    left = drawing.panel.draw.table.chosen()
    drawing.paint(left.index)
    assert f"Axial slice {left.index} of 'ball' has been painted." == ui.offerLabel.text
    ui.nextButton.click()
    assert not ui.offerFrame.isHidden()
    ui.offerButton.click()
    assert ui.offerFrame.isHidden()
    assert next(item.state for item in drawing.items if item.index == left.index) == "drawn"
    # Where one is, nothing has changed.
    assert drawing.panel.draw.table.chosen().index != left.index


def test_a_slice_that_was_only_looked_at_is_not_offered(drawing):
    for _ in range(3):
        drawing.ui.nextButton.click()
    assert drawing.ui.offerFrame.isHidden()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_painted_slice_outside_the_worklist_is_offered_too(panel, plane):
    volume = panel.add_ball()
    ui = panel.ui
    for name in ("axial", "coronal", "sagittal"):
        getattr(ui, f"{name}CheckBox").checked = name == plane
    panel.recommend(10.0)
    panel.add_segment(volume)
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[plane]
    index = next(n for n in (12, 13, 14) if n not in [item.index for item in panel.items])
    panel.logic.jumpToSlice(volume, plane, index)
    panel.until(lambda: not panel.panel.draw.painting.is_waiting)
    panel.paint(index, plane_axis=axis)
    assert f"{plane.capitalize()} slice {index} of 'ball' has been painted." == ui.offerLabel.text
    ui.offerButton.click()
    (added,) = [item for item in panel.items if item.index == index]
    assert (added.state, added.plane, added.order) == ("drawn", plane, 0)


def test_keys_do_what_the_buttons_do_and_are_gone_when_the_panel_is_left(drawing):
    from PySide6 import QtTest
    from PySide6.QtCore import Qt

    ui, window = drawing.ui, drawing.widget.parent
    window.show()
    window.activateWindow()
    window.setFocus()
    drawing.idle()
    row = ui.worklistTable.currentRow()
    QtTest.QTest.keyClick(window, Qt.Key_N)
    assert ui.worklistTable.currentRow() == row + 1
    QtTest.QTest.keyClick(window, Qt.Key_P)
    assert ui.worklistTable.currentRow() == row
    index = drawing.panel.draw.table.chosen().index
    QtTest.QTest.keyClick(window, Qt.Key_E)
    assert drawing.logic.panel.slice_state(drawing.volume, "axial", index) == "empty"
    index = drawing.panel.draw.table.chosen().index
    QtTest.QTest.keyClick(window, Qt.Key_C)
    assert array(drawing)[index].any()
    QtTest.QTest.keyClick(window, Qt.Key_D)
    assert drawing.logic.panel.slice_state(drawing.volume, "axial", index) == "drawn"
    keys = keys_of(window)
    assert len(keys) == len(set(keys)), "two shortcuts share a key, and neither would work"
    assert set("NPDEC") < set(keys)
    for name, key in (("nextButton", "N"), ("drawnButton", "D")):
        assert f"Key: {key}" in getattr(ui, name).toolTip
    drawing.widget.exit()
    drawing.application.processEvents()
    assert keys_of(window) == []
    drawing.widget.enter()
    ui.nextButton.click()
    row = ui.worklistTable.currentRow()
    QtTest.QTest.keyClick(window, Qt.Key_P)
    assert ui.worklistTable.currentRow() == row - 1
    window.hide()


def test_the_clock_counts_what_is_spent_on_a_slice_and_no_long_pause():
    from SparseAnnotateLib.gui.drawing_clock import DrawingClock

    moment = [0.0]
    clock = DrawingClock(lambda: moment[0])
    assert clock.seconds == 0.0
    clock.start()
    moment[0] = 20.0
    clock.tick()
    moment[0] = 3600.0  # lunch
    assert clock.seconds == 80.0
    clock.pause()
    moment[0] = 4000.0
    clock.resume()
    moment[0] = 4005.0
    assert clock.seconds == 85.0
    clock.start()
    assert clock.seconds == 0.0


def test_time_spent_is_kept_and_the_time_left_is_shown(panel, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(panel.panel.draw.clock, "_now", lambda: moment[0])
    volume = panel.add_ball()
    panel.recommend(20.0)
    panel.add_segment(volume)
    for _ in range(2):
        panel.panel.draw.table.choose(panel.ui.worklistTable.currentRow())
        panel.paint(panel.panel.draw.table.chosen().index)
        moment[0] += 50.0
        panel.ui.drawnButton.click()
    assert panel.ui.drawnLabel.text == "2 of 5 drawn, about 2 min left"
    assert panel.ui.worklistTable.item(0, 6).text() == "50 s"
    assert (
        panel.ui.effortLabel.text == "2 of 24 slices drawn in 2 min. 19 slices did not have to be drawn (about 16 min)."
    )


def test_markers_lie_where_drawn_and_recommended_slices_cross_the_other_views(drawing):
    ui, mrml = drawing.ui, drawing.mrml
    drawn, to_do = mrml.util.getNode("Slices drawn"), mrml.util.getNode("Slices to do")
    assert drawn.GetPolyData().GetNumberOfPolys() == 1
    assert to_do.GetPolyData().GetNumberOfPolys() == 4
    heights = sorted({drawn.GetPolyData().GetPoint(n)[2] for n in range(4)})
    assert heights == [2.0 * drawing.items[0].index]
    display = drawn.GetDisplayNode()
    assert display.GetVisibility2D()
    assert not display.GetVisibility3D()
    ui.drawnButton.click()
    assert drawn.GetPolyData().GetNumberOfPolys() == 2
    ui.markersCheckBox.click()
    assert drawn.GetScene() is None
    ui.markersCheckBox.click()
    assert mrml.util.getNode("Slices drawn").GetPolyData().GetNumberOfPolys() == 2
    drawing.widget.exit()
    assert not [n for n in mrml.util.getNodesByClass("vtkMRMLModelNode") if n.GetName().startswith("Slices")]


def test_jumping_turns_the_view_of_the_plane_and_shows_the_volume_in_all(drawing):
    mrml, volume = drawing.mrml, drawing.volume
    green = mrml.mrmlScene.GetNodeByID("vtkMRMLSliceNodeGreen")
    drawing.logic.jumpToSlice(volume, "coronal", 9)
    assert green.GetSliceToRAS().GetElement(1, 3) == pytest.approx(9.0)
    composites = mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetBackgroundVolumeID() for node in composites} == {volume.GetID()}
    red = mrml.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    there = red.GetSliceOffset()
    red.SetSliceOffset(there + 6)
    drawing.ui.worklistTable.cellClicked.emit(drawing.ui.worklistTable.currentRow(), 2)
    assert red.GetSliceOffset() == pytest.approx(there)


@pytest.mark.parametrize("start", ["nothing", "nearest drawn slice"])
def test_starting_leaves_decided_slices_of_other_planes_as_they_are(drawing, start):
    volume = drawing.volume
    first = drawing.items[0].index
    before = array(drawing)
    if start == "nearest drawn slice":
        assert drawing.logic.markDrawn(volume, "coronal", 12) == "drawn"
    drawing.logic.startSlice(volume, "coronal", 13, start)
    after = array(drawing)
    np.testing.assert_array_equal(after[first], before[first])
    others = np.delete(after[:, 13], first, axis=0)
    expected = np.zeros_like(others) if start == "nothing" else np.delete(before[:, 12], first, axis=0)
    np.testing.assert_array_equal(others, expected)


def test_a_stroke_in_one_plane_is_no_painting_of_the_planes_it_crosses(panel):
    volume = panel.add_ball()
    for name in ("axialCheckBox", "coronalCheckBox"):
        getattr(panel.ui, name).checked = True
    panel.recommend(10.0)
    panel.add_segment(volume)
    item = panel.panel.draw.table.chosen()
    panel.paint(item.index, plane_axis={"axial": 0, "coronal": 1}[item.plane])
    assert panel.ui.offerLabel.text.startswith(f"{item.plane.capitalize()} slice {item.index} ")
    panel.ui.drawnButton.click()
    assert panel.ui.offerFrame.isHidden()


def test_undo_is_not_promised_when_the_editor_has_forgotten_the_step(panel):
    one, two = panel.add_ball("one"), panel.add_ball("two")
    panel.ui.allVolumesButton.click()
    panel.recommend(10.0)
    for volume in (one, two):
        panel.add_segment(volume)
    panel.volume = one
    panel.ui.startSelector.setCurrentText("nothing")
    panel.ui.startButton.click()
    assert panel.ui.undoButton.enabled
    row = next(n for n, item in enumerate(panel.items) if item.volumeNode is two)
    panel.panel.draw.table.choose(row)
    panel.panel.draw.table.choose(0)
    assert panel.panel.session.volume is one
    assert not panel.ui.undoButton.enabled


def test_only_the_volume_that_is_worked_on_shows_its_drawing_and_the_tool_stays(panel):
    one, two = panel.add_ball("one"), panel.add_ball("two")
    panel.ui.allVolumesButton.click()
    panel.recommend(10.0)
    for volume in (one, two):
        panel.add_segment(volume)
    editor = panel.ui.segmentEditorWidget
    editor.setActiveEffectByName("Paint")
    row = next(n for n, item in enumerate(panel.items) if item.volumeNode is two)
    panel.panel.draw.table.choose(row)
    assert editor.activeEffect().name == "Paint"
    assert editor.currentSegmentID() == "ball"
    visible = {v: bool(panel.logic.segmentationNode(v).GetDisplayNode().GetVisibility()) for v in (one, two)}
    assert visible == {one: False, two: True}
    panel.panel.draw.table.choose(0)
    visible = {v: bool(panel.logic.segmentationNode(v).GetDisplayNode().GetVisibility()) for v in (one, two)}
    assert visible == {one: True, two: False}


def test_time_is_booked_once_when_a_slice_is_reset_and_drawn_again(panel, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(panel.panel.draw.clock, "_now", lambda: moment[0])
    volume = panel.add_ball()
    panel.recommend(4.0)
    panel.add_segment(volume)
    panel.panel.draw.table.choose(0)
    moment[0] += 50.0
    panel.ui.drawnButton.click()
    panel.ui.toDoButton.click()
    moment[0] += 1.0
    panel.ui.drawnButton.click()
    assert [item.seconds for item in panel.items] == [51.0]


def test_a_segment_added_in_the_editor_changes_what_is_to_do_next(panel):
    panel.add_ball()
    panel.recommend(10.0)
    assert "Add a segment" in panel.ui.nextStepLabel.text
    panel.ui.segmentEditorWidget.parts.add_button.click()
    panel.idle()
    assert panel.ui.nextStepLabel.text.startswith("Draw axial slice")


def turn_round(panel) -> None:
    """Count the axial slices of the volume from the other end, as Slicer does with left-handed images."""
    volume, util = panel.volume, panel.mrml.util
    matrix = scene.geometry_of(volume).matrix
    array = util.arrayFromVolume(volume)
    to_other_end = np.eye(4)
    to_other_end[2, 2:] = -1.0, len(array) - 1.0
    util.updateVolumeFromArray(volume, array[::-1].copy())
    volume.SetIJKToRASMatrix(util.vtkMatrixFromArray(matrix @ to_other_end))


@pytest.mark.parametrize("millimetres", [1e-7, 10.0])
def test_recommended_slices_can_be_used_after_the_volume_was_moved(panel, millimetres):
    volume = panel.volume = panel.add_ball()
    panel.recommend(20.0)
    table = panel.panel.draw.table
    transform = panel.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = millimetres
    transform.SetMatrixTransformToParent(panel.mrml.util.vtkMatrixFromArray(matrix))
    for node in (volume, panel.logic.segmentationNode(volume)):
        node.SetAndObserveTransformNodeID(transform.GetID())
        node.HardenTransform()
    table.choose(2)
    # Rounding is no other grid. After another shift, it takes one more click.
    assert ("has another voxel grid now" in panel.message) == (millimetres > 1)
    assert all(item.isCurrent for item in table.items)
    table.choose(2)
    assert panel.panel.draw.is_here(table.items[2])
    assert "has another voxel grid now" not in panel.message
    panel.ui.skipButton.click()
    assert "has another voxel grid now" not in panel.message
    assert [entry.state.value for entry in panel.logic.ledger(volume).entries].count("skipped") == 1


@pytest.mark.parametrize("button", ["drawnButton", "emptyButton", "skipButton", "startButton", "the row"])
def test_a_number_from_before_the_volume_was_turned_is_not_taken_for_another_slice(drawing, button):
    ui, table = drawing.ui, drawing.panel.draw.table
    last, before = len(drawing.labels) - 1, array(drawing)
    ledger = drawing.logic.ledger(drawing.volume)
    row = next(row for row, item in enumerate(table.items) if item is table.chosen())
    turn_round(drawing)
    if button == "the row":
        ui.worklistTable.cellClicked.emit(row, 0)
    else:
        getattr(ui, button).click()
    assert "has another voxel grid now" in drawing.message
    now = drawing.logic.ledger(drawing.volume)
    assert {(last - e.index, e.state) for e in now.entries} == {(e.index, e.state) for e in ledger.entries}
    np.testing.assert_array_equal(array(drawing), before[::-1])
    # The list has the numbers of now, and is taken.
    assert sorted(item.index for item in table.items) == sorted(entry.index for entry in now.entries)
    to_do = next(row for row, item in enumerate(table.items) if item.state.value == "to do")
    ui.worklistTable.cellClicked.emit(to_do, 0)
    assert drawing.panel.draw.is_here(table.items[to_do])
