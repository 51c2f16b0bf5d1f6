"""The switch between drawing slices and correcting the answer."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError


@pytest.fixture
def filled(panel):
    """Drawn slices, and a fill between them."""
    panel.volume = panel.add_ball()
    panel.recommend(20.0)
    panel.add_segment(panel.volume)
    for item in panel.items:
        panel.paint(item.index)
        panel.ui.drawnButton.click()
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.fillButton.click()
    panel.idle()
    return panel


def labels_of(panel, node) -> np.ndarray:
    return scene.labels_of(node, panel.volume, {"ball": 1}).copy()


def undrawn(panel) -> int:
    """A slice of the ball between two drawn ones."""
    drawn = {item.index for item in panel.items}
    return next(n for n in range(8, 20) if n not in drawn)


def stroke(panel, index: int, erase: bool = False) -> np.ndarray:
    """Paint a square, or erase one in the middle, with the panel's Segment Editor; returns where."""
    where = np.zeros(panel.labels.shape, bool)
    rows, columns = ((12, 16), (14, 18)) if erase else ((1, 4), (1, 4))
    where[index, rows[0] : rows[1], columns[0] : columns[1]] = True
    panel.ui.segmentEditorWidget.paint(where, panel.ui.segmentEditorWidget.currentSegmentID(), erase)
    panel.until(lambda: not panel.panel.draw.correcting.is_waiting)
    return where


def test_what_is_painted_in_the_answer_is_a_correction(filled):
    ui, editor = filled.ui, filled.ui.segmentEditorWidget
    drawing, node = filled.logic.drawnIn(filled.volume), filled.panel.result.node
    drawn_before, index = labels_of(filled, drawing), undrawn(filled)
    before = labels_of(filled, node)
    assert ui.correctCheckBox.enabled
    assert not ui.clearCorrectionsButton.enabled
    ui.correctCheckBox.click()
    assert editor.segmentationNode() is node
    assert not ui.drawnButton.enabled
    assert "Correct the answer" in ui.drawnButton.toolTip
    where = stroke(filled, index)
    now = labels_of(filled, node)
    assert now[where].all()
    assert "9 voxels were corrected." in filled.message
    assert ui.correctionsLabel.text == "1 correction"
    assert "1 correction." in ui.resultLabel.text
    assert f"slice {index} has been corrected" in ui.offerLabel.text
    np.testing.assert_array_equal(labels_of(filled, drawing), drawn_before)
    stroke(filled, index, erase=True)
    assert ui.correctionsLabel.text == "2 corrections"
    ui.undoCorrectionButton.click()
    assert "were undone" in filled.message
    np.testing.assert_array_equal(labels_of(filled, node), now)
    press(filled, "Z")
    np.testing.assert_array_equal(labels_of(filled, node), before)
    assert filled.logic.corrections(filled.volume) is None
    assert ui.correctionsLabel.text == ""
    assert not ui.undoCorrectionButton.enabled
    press(filled, "Y")
    assert "made again" in filled.message
    np.testing.assert_array_equal(labels_of(filled, node), now)
    ui.correctCheckBox.click()
    assert editor.segmentationNode() is drawing
    assert ui.drawnButton.enabled


def press(panel, key: str) -> None:
    """Press a key in the window; exactly one shortcut must take it."""
    from PySide6.QtGui import QShortcut
    from PySide6.QtWidgets import QWidget

    window = panel.mrml.util.mainWindow() or panel.panel.widget
    found = [s for s in QWidget.findChildren(window, QShortcut) if QShortcut.isEnabled(s)]
    (shortcut,) = [s for s in found if QShortcut.key(s).toString() == key]
    QShortcut.activated.__get__(shortcut).emit()


def test_the_segment_editor_offers_nothing_that_corrections_cannot_follow(filled):
    ui, editor = filled.ui, filled.ui.segmentEditorWidget
    names = ("undoEnabled", "addRemoveSegmentButtonsVisible", "maskingSectionVisible")
    filled.panel.open(filled.panel.draw)
    filled.application.processEvents()
    before = [getattr(editor, name) for name in names]
    ui.correctCheckBox.click()
    assert [getattr(editor, name) for name in names] == [False, False, False]
    ui.correctCheckBox.click()
    assert [getattr(editor, name) for name in names] == before


def test_corrections_are_outlined_and_cleared(filled):
    ui, node = filled.ui, filled.panel.result.node
    before = labels_of(filled, node)

    def outlines():
        nodes = filled.mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
        return [n for n in nodes if n.GetAttribute("SparseAnnotate.CorrectionOutlines")]

    ui.correctCheckBox.click()
    stroke(filled, undrawn(filled))
    (outline,) = outlines()
    assert scene.segment_names(outline) == ["ball"]
    ui.correctCheckBox.click()
    assert not outlines()
    ui.correctCheckBox.click()
    assert len(outlines()) == 1
    ui.clearCorrectionsButton.click()
    np.testing.assert_array_equal(labels_of(filled, node), before)
    assert not outlines()
    assert "removed, and what followed from them" in filled.message
    assert not ui.undoCorrectionButton.enabled
    assert not ui.clearCorrectionsButton.enabled


def test_a_corrected_slice_is_marked_as_drawn(filled):
    ui, node, index = filled.ui, filled.panel.result.node, undrawn(filled)
    ui.correctCheckBox.click()
    stroke(filled, index)
    now = labels_of(filled, node)
    ui.offerButton.click()
    assert f"slice {index}: drawn, as the answer shows it." in filled.message
    np.testing.assert_array_equal(labels_of(filled, filled.logic.drawnIn(filled.volume))[index], now[index])
    assert filled.panel.draw.logic.panel.slice_state(filled.volume, "axial", index).is_decided
    assert ui.offerFrame.isHidden()


def test_a_new_result_is_corrected_from_then_on_and_without_one_slices_are_drawn(filled, monkeypatch):
    ui, editor = filled.ui, filled.ui.segmentEditorWidget
    begun, panel_logic = [], filled.logic.panel
    begin = panel_logic.begin_correcting
    monkeypatch.setattr(panel_logic, "begin_correcting", lambda *given: (begun.append(given[1]), begin(*given)))
    brush = panel_logic.segment_editor_node()
    brush.SetOverwriteMode(brush.OverwriteNone)
    ui.correctCheckBox.click()
    where = stroke(filled, undrawn(filled))
    first = filled.panel.result.node
    ui.fillButton.click()
    filled.idle()
    second = filled.panel.result.node
    assert begun == [first, second]
    assert second is not first
    assert editor.segmentationNode() is second
    # The fill has taken the correction in.
    assert labels_of(filled, second)[where].all()
    assert not filled.logic.fillReport(second).warnings
    for _ in range(2):
        ui.discardButton.click()
        filled.idle()
    assert not ui.correctCheckBox.checked
    assert not ui.correctCheckBox.enabled
    assert "Fill between slices" in ui.correctCheckBox.toolTip
    assert editor.segmentationNode() is filled.logic.drawnIn(filled.volume)
    assert filled.logic.panel.correction_count(filled.volume) == 1
    assert begun == [first, second, first]
    assert brush.GetOverwriteMode() == brush.OverwriteNone
    assert brush.GetAttribute("BrushSphere") == "0"


def test_the_brush_is_as_before_afterwards_and_leaving_the_module_switches_off(filled):
    ui, node = filled.ui, filled.logic.panel.segment_editor_node()
    node.SetOverwriteMode(node.OverwriteNone)
    ui.correctCheckBox.click()
    assert node.GetOverwriteMode() == node.OverwriteAllSegments
    assert node.GetAttribute("BrushSphere") == "1"
    stroke(filled, undrawn(filled))
    filled.widget.exit()
    assert node.GetOverwriteMode() == node.OverwriteNone
    assert node.GetAttribute("BrushSphere") == "0"
    filled.widget.enter()
    assert not ui.correctCheckBox.checked
    assert filled.logic.panel.correction_count(filled.volume) == 1


def test_a_stroke_right_before_the_switch_is_not_lost(filled):
    ui, index = filled.ui, undrawn(filled)
    ui.correctCheckBox.click()
    where = np.zeros(filled.labels.shape, bool)
    where[index, 1:4, 1:4] = True
    ui.segmentEditorWidget.paint(where, ui.segmentEditorWidget.currentSegmentID())
    ui.correctCheckBox.click()
    assert filled.logic.panel.correction_count(filled.volume) == 1


def test_a_stroke_on_a_drawn_slice_is_put_back_and_said(filled):
    ui, node = filled.ui, filled.panel.result.node
    before = labels_of(filled, node)
    ui.correctCheckBox.click()
    stroke(filled, filled.items[0].index)
    assert "lies on drawn slices" in filled.message
    np.testing.assert_array_equal(labels_of(filled, node), before)


def test_renaming_a_segment_of_the_answer_switches_off_and_says_why(filled):
    ui, node = filled.ui, filled.panel.result.node
    ui.correctCheckBox.click()
    node.GetSegmentation().GetNthSegment(0).SetName("tumour")
    stroke(filled, undrawn(filled))
    assert "renamed or removed" in filled.message
    assert not ui.correctCheckBox.checked
    assert filled.logic.corrections(filled.volume) is None
    assert scene.segment_names(filled.logic.drawnIn(filled.volume)) == ["ball"]


def test_a_stroke_right_before_another_volume_becomes_active_is_not_lost(filled):
    ui, first, index = filled.ui, filled.volume, undrawn(filled)
    other = filled.add_ball("other")
    filled.panel.session.parameters.volume = first
    filled.panel.refresh()
    ui.correctCheckBox.click()
    where = np.zeros(filled.labels.shape, bool)
    where[index, 1:4, 1:4] = True
    ui.segmentEditorWidget.paint(where, ui.segmentEditorWidget.currentSegmentID())
    filled.panel.session.parameters.volume = other
    filled.panel.refresh()
    assert filled.logic.panel.correction_count(first) == 1
    assert not ui.correctCheckBox.checked


def test_undo_after_renaming_switches_off_and_says_why(filled):
    ui, node = filled.ui, filled.panel.result.node
    ui.correctCheckBox.click()
    stroke(filled, undrawn(filled))
    node.GetSegmentation().GetNthSegment(0).SetName("tumour")
    ui.undoCorrectionButton.click()
    assert "renamed or removed" in filled.message
    assert not ui.correctCheckBox.checked
    assert filled.logic.panel.correction_count(filled.volume) == 1


def test_keys_undo_only_while_the_section_is_open(filled):
    from PySide6.QtGui import QShortcut
    from PySide6.QtWidgets import QWidget

    def keys():
        window = filled.mrml.util.mainWindow() or filled.panel.widget
        return [s for s in QWidget.findChildren(window, QShortcut) if QShortcut.key(s).toString() == "Ctrl+Z"]

    filled.panel.open(filled.panel.draw)
    filled.ui.correctCheckBox.click()
    assert len(keys()) == 1
    filled.panel.open(filled.panel.result)
    assert not any(QShortcut.isEnabled(shortcut) for shortcut in keys())
    filled.panel.open(filled.panel.draw)
    assert len([shortcut for shortcut in keys() if QShortcut.isEnabled(shortcut)]) == 1


def test_closing_the_scene_while_correcting(filled):
    filled.ui.correctCheckBox.click()
    stroke(filled, undrawn(filled))
    filled.mrml.mrmlScene.Clear(0)
    filled.idle()
    assert not filled.ui.correctCheckBox.checked
    assert filled.ui.correctionsLabel.text == ""


@pytest.fixture
def slow(monkeypatch):
    """What follows from a stroke waits; returns a function that lets it go on."""
    from SparseAnnotateLib.logic import following_strokes

    pieces, waits = following_strokes.correcting, [True]

    def waiting(*given):
        while waits:
            yield None
        return (yield from pieces(*given))

    monkeypatch.setattr(following_strokes, "correcting", waiting)
    return waits.clear


def begin_stroke(panel, index: int) -> np.ndarray:
    """Paint a square, and wait until the panel has taken it, but not for what follows."""
    before = panel.logic.panel.correction_count(panel.volume)
    where = np.zeros(panel.labels.shape, bool)
    where[index, 4:8, 14:18] = True
    panel.ui.segmentEditorWidget.paint(where, "ball")
    panel.until(lambda: panel.logic.panel.correction_count(panel.volume) > before)
    return where


def test_the_slice_at_hand_is_shown_before_the_rest_follows(filled, slow):
    ui, node, index = filled.ui, filled.panel.result.node, undrawn(filled)
    ui.correctCheckBox.click()
    before = labels_of(filled, node)
    where = begin_stroke(filled, index)
    assert "16 voxels were corrected. The result follows" in filled.message
    first = labels_of(filled, node)
    assert first[where].all()
    assert filled.panel.draw.correcting.is_waiting
    # The window goes on: another slice is offered, and the view can be moved.
    assert f"slice {index} has been corrected" in ui.offerLabel.text
    slow()
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert "more voxels of the result followed." in filled.message
    assert not np.array_equal(labels_of(filled, node), first)
    assert ui.jobFrame.isHidden()
    ui.undoCorrectionButton.click()
    np.testing.assert_array_equal(labels_of(filled, node), before)


def test_what_follows_for_long_can_be_cancelled(filled, slow):
    ui, node = filled.ui, filled.panel.result.node
    ui.correctCheckBox.click()
    before = labels_of(filled, node)
    where = begin_stroke(filled, undrawn(filled))
    assert ui.jobFrame.isHidden()
    filled.until(lambda: not ui.jobFrame.isHidden())
    assert "follows from the correction" in ui.jobLabel.text
    assert ui.cancelButton.enabled
    ui.cancelButton.click()
    assert ui.jobFrame.isHidden()
    assert "Cancelled. The result has the voxels of the correction" in filled.message
    np.testing.assert_array_equal(labels_of(filled, node), np.where(where, 1, before))
    assert ui.correctionsLabel.text == "1 correction"
    ui.undoCorrectionButton.click()
    np.testing.assert_array_equal(labels_of(filled, node), before)
    slow()
    filled.idle()
    np.testing.assert_array_equal(labels_of(filled, node), before)


def test_a_stroke_stays_and_its_answer_comes_when_the_worker_is_killed_in_between(filled, slow):
    ui, node, logic = filled.ui, filled.panel.result.node, filled.logic
    ui.correctCheckBox.click()
    where = begin_stroke(filled, undrawn(filled))
    first = labels_of(filled, node)
    ui.fillButton.click()
    filled.until(lambda: logic.panel.worker_is_asked)
    logic.session.jobs.clients[0].transport.process.kill()
    filled.idle()
    assert "The worker process ended during 'fill'" in filled.message
    assert logic.panel.is_following(filled.volume)
    np.testing.assert_array_equal(labels_of(filled, node), first)
    slow()
    filled.until(lambda: not logic.panel.is_following(filled.volume))
    assert filled.panel.result.node is node
    followed = labels_of(filled, node)
    assert followed[where].all()
    assert not np.array_equal(followed, first)
    (stroke,) = logic.corrections(filled.volume).strokes
    np.testing.assert_array_equal(stroke.voxels, np.flatnonzero(where))
    ui.fillButton.click()
    filled.idle()
    assert filled.panel.result.node is not node
    assert labels_of(filled, filled.panel.result.node)[where].all()


def test_switching_off_and_closing_the_scene_while_the_rest_follows(filled, slow):
    ui, node = filled.ui, filled.panel.result.node
    ui.correctCheckBox.click()
    where = begin_stroke(filled, undrawn(filled))
    ui.correctCheckBox.click()
    assert filled.panel.draw.correcting.is_following
    assert labels_of(filled, node)[where].all()
    ui.correctCheckBox.click()
    filled.mrml.mrmlScene.Clear(0)
    slow()
    filled.idle()
    assert ui.correctionsLabel.text == ""
    assert not filled.panel.draw.correcting.is_following


@pytest.fixture
def mouse(filled):
    """Moves the mouse over a voxel (K, J, I) of the volume, in a slice view; None: out of the views."""
    # It outlives the closing of a scene, as in Slicer.
    known = filled.mrml.util.getNodesByClass("vtkMRMLCrosshairNode")
    cursor = known[0] if known else filled.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    cursor.SetCursorPositionInvalid()
    matrix = scene.geometry_of(filled.volume).matrix

    def move(kji) -> None:
        if kji is None:
            cursor.SetCursorPositionInvalid()
        else:
            cursor.SetCursorPositionRAS([float(x) for x in (matrix @ [*reversed(kji), 1.0])[:3]])

    yield move
    cursor.SetCursorPositionInvalid()


def test_painting_over_voxels_that_are_right_confirms_them(filled, mouse):
    ui, editor, node = filled.ui, filled.ui.segmentEditorWidget, filled.panel.result.node
    index = undrawn(filled)
    ui.correctCheckBox.click()
    before = labels_of(filled, node)
    editor.setActiveEffectByName("Paint")
    filled.logic.panel.segment_editor_node().SetAttribute("BrushAbsoluteDiameter", "3.0")
    place = (index, *(int(n) for n in np.argwhere(before[index]).mean(axis=0)))
    where = np.zeros(before.shape, bool)
    where[index, place[1] - 1 : place[1] + 2, place[2] - 1 : place[2] + 2] = True
    assert before[where].all()
    # A stroke without the mouse over a slice view, as from a script: nothing is known of it.
    editor.paint(where, "ball")
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.corrections(filled.volume) is None
    mouse(place)
    editor.paint(where, "ball")
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert "voxels were right and are confirmed." in filled.message
    assert ui.correctionsLabel.text == "1 correction"
    (stroke,) = filled.logic.corrections(filled.volume).strokes
    assert (stroke.value, stroke.is_in) == (1, True)
    assert np.isin(stroke.voxels, np.flatnonzero(before)).all()
    np.testing.assert_array_equal(labels_of(filled, node), before)
    # The answer that follows from it, and its undo, are no strokes, wherever the mouse is.
    ui.undoCorrectionButton.click()
    filled.idle()
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.corrections(filled.volume) is None


def test_a_key_confirms_what_is_or_is_not_under_the_mouse(filled, mouse):
    ui, editor, node = filled.ui, filled.ui.segmentEditorWidget, filled.panel.result.node
    index = undrawn(filled)
    ui.correctCheckBox.click()
    before = labels_of(filled, node)
    middle = (index, *(int(n) for n in np.argwhere(before[index]).mean(axis=0)))
    for effect, place, is_in in (("Paint", middle, True), ("Erase", (index, 2, 2), False)):
        editor.setActiveEffectByName(effect)
        mouse(place)
        press(filled, "K")
        filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
        assert "right and are confirmed." in filled.message
        one = filled.logic.corrections(filled.volume).strokes[-1]
        assert (one.value, one.is_in) == (1, is_in)
        assert np.ravel_multi_index(place, before.shape) in one.voxels
    np.testing.assert_array_equal(labels_of(filled, node), before)
    press(filled, "K")
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.panel.correction_count(filled.volume) == 3
    # What it does not show there is not confirmed, and neither is anything without a brush or a place.
    editor.setActiveEffectByName("Paint")
    press(filled, "K")
    assert "does not show 'ball' under the brush" in filled.message
    mouse(None)
    press(filled, "K")
    assert "Choose Paint to confirm" in filled.message
    assert filled.logic.panel.correction_count(filled.volume) == 3


def test_what_follows_from_a_stroke_confirms_nothing(filled, mouse):
    ui, editor, index = filled.ui, filled.ui.segmentEditorWidget, undrawn(filled)
    ui.correctCheckBox.click()
    editor.setActiveEffectByName("Paint")
    mouse((index, 2, 2))
    stroke(filled, index)
    mouse((index, 14, 16))
    for _ in range(3):
        filled.idle()
        filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.panel.correction_count(filled.volume) == 1
    ui.undoCorrectionButton.click()
    filled.idle()
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.corrections(filled.volume) is None
    for effect in ("Scissors", ""):
        editor.setActiveEffectByName(effect)
        assert filled.logic.panel.brush_over(filled.panel.result.node) is None
    mouse(None)
    editor.setActiveEffectByName("Erase")
    assert filled.logic.panel.brush_over(filled.panel.result.node) is None


def test_masks_of_the_segment_editor_do_not_hold_up_a_correction_and_are_back_afterwards(filled):
    ui, editor_node = filled.ui, filled.logic.panel.segment_editor_node()
    masks = filled.mrml.vtkMRMLSegmentationNode
    editor_node.SetMaskMode(masks.EditAllowedInsideAllSegments)
    editor_node.SourceVolumeIntensityMaskOn()
    editor_node.SetSourceVolumeIntensityMaskRange(1e5, 1e6)
    ui.correctCheckBox.click()
    where = stroke(filled, undrawn(filled))
    assert "9 voxels were corrected." in filled.message
    assert labels_of(filled, filled.panel.result.node)[where].all()
    ui.correctCheckBox.click()
    assert editor_node.GetMaskMode() == masks.EditAllowedInsideAllSegments
    assert editor_node.GetSourceVolumeIntensityMask()


def test_corrections_are_undone_after_another_volume_was_active(filled):
    ui, first, node = filled.ui, filled.volume, filled.panel.result.node
    before = labels_of(filled, node)
    ui.correctCheckBox.click()
    stroke(filled, undrawn(filled))
    corrected = labels_of(filled, node)
    assert not np.array_equal(corrected, before)
    other = filled.add_ball("other")
    filled.panel.session.parameters.volume = other
    filled.panel.refresh()
    assert not ui.undoCorrectionButton.enabled
    filled.panel.session.parameters.volume = first
    filled.panel.refresh()
    assert ui.undoCorrectionButton.enabled
    ui.undoCorrectionButton.click()
    np.testing.assert_array_equal(labels_of(filled, node), before)


def test_a_segment_that_is_renamed_while_the_rest_follows_switches_off_and_is_said(filled, slow):
    ui, node = filled.ui, filled.panel.result.node
    ui.correctCheckBox.click()
    begin_stroke(filled, undrawn(filled))
    node.GetSegmentation().GetNthSegment(0).SetName("tumour")
    filled.until(lambda: not ui.correctCheckBox.checked)
    assert "renamed or removed" in filled.message
    slow()
    filled.idle()
    assert ui.jobFrame.isHidden()
    assert not filled.panel.draw.correcting.is_waiting
    assert filled.logic.panel.correction_count(filled.volume) == 1


def test_a_confirmation_while_an_earlier_stroke_follows_counts_and_is_told(filled, mouse, slow):
    ui, editor, node = filled.ui, filled.ui.segmentEditorWidget, filled.panel.result.node
    index = undrawn(filled)
    ui.correctCheckBox.click()
    before = labels_of(filled, node)
    editor.setActiveEffectByName("Paint")
    filled.logic.panel.segment_editor_node().SetAttribute("BrushAbsoluteDiameter", "3.0")
    begin_stroke(filled, index)
    place = (index, *(int(n) for n in np.argwhere(before[index]).mean(axis=0)))
    where = np.zeros(before.shape, bool)
    where[place] = True
    mouse(place)
    editor.paint(where, "ball")
    filled.until(lambda: "confirmed." in filled.message)
    slow()
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    _first, second = filled.logic.corrections(filled.volume).strokes
    assert np.ravel_multi_index(place, before.shape) in second.voxels
    assert second.seconds > 0


def test_a_brush_from_before_an_undo_confirms_nothing(filled, mouse):
    ui, editor, node = filled.ui, filled.ui.segmentEditorWidget, filled.panel.result.node
    index = undrawn(filled)
    ui.correctCheckBox.click()
    editor.setActiveEffectByName("Paint")
    before = labels_of(filled, node)
    stroke(filled, index)
    place = (index, *(int(n) for n in np.argwhere(before[index]).mean(axis=0)))
    where = np.zeros(before.shape, bool)
    where[place] = True
    mouse(place)
    editor.paint(where, "ball")
    # Before the stroke is taken by itself.
    ui.undoCorrectionButton.click()
    mouse(None)
    editor.paint(where, "ball")
    filled.until(lambda: not filled.panel.draw.correcting.is_waiting)
    assert filled.logic.corrections(filled.volume) is None


@pytest.fixture
def read_in_pieces(filled, monkeypatch):
    """The panel, as with a volume so large that a result is read from the event loop."""
    monkeypatch.setattr("SparseAnnotateLib.logic.correcting._READ_AT_ONCE", 0)
    monkeypatch.setattr("SparseAnnotateLib.core.pieces.PIECE_BYTES", 1)
    return filled


def test_a_large_result_is_read_from_the_event_loop_before_it_is_corrected(read_in_pieces, monkeypatch):
    panel, node, mode = read_in_pieces, read_in_pieces.panel.result.node, read_in_pieces.panel.draw.correcting
    editor = panel.ui.segmentEditorWidget
    panel.ui.correctCheckBox.click()
    assert panel.ui.correctCheckBox.checked
    assert mode.node is None
    assert editor.segmentationNode() is panel.logic.drawnIn(panel.volume)
    assert "Reading" in panel.message
    panel.panel.refresh()
    # All is at hand then, also when the drawing has changed since it was corrected last.
    at_once = []
    monkeypatch.setattr("SparseAnnotateLib.logic.correcting.read_answer", lambda *_nodes: at_once.append(1))
    monkeypatch.setattr(scene, "annotation_of", lambda *_nodes: at_once.append(1))
    panel.until(lambda: mode.node is not None)
    panel.ui.correctCheckBox.click()
    where = np.zeros(panel.labels.shape, bool)
    where[panel.items[0].index, 1:3, 1:3] = True
    editor.paint(where, "ball")
    panel.ui.correctCheckBox.click()
    panel.until(lambda: mode.node is not None)
    assert not at_once
    assert labels_of(panel, node)[where].all()
    np.testing.assert_array_equal(
        labels_of(panel, node)[panel.items[0].index],
        labels_of(panel, panel.logic.drawnIn(panel.volume))[panel.items[0].index],
    )
    assert editor.segmentationNode() is node
    assert panel.message == ""
    where = stroke(panel, undrawn(panel))
    assert labels_of(panel, node)[where].all()


def test_reading_a_large_result_can_be_cancelled(read_in_pieces, monkeypatch):
    panel, mode, ui = read_in_pieces, read_in_pieces.panel.draw.correcting, read_in_pieces.ui
    before = labels_of(panel, panel.panel.result.node)
    known: list = []
    reading = scene.reading_annotation
    monkeypatch.setattr(scene, "reading_annotation", lambda *given: known.append(given) or reading(*given))
    ui.correctCheckBox.click()
    assert not ui.jobFrame.isHidden()
    panel.panel.refresh()
    assert ui.cancelButton.isEnabled()
    ui.cancelButton.click()
    assert ui.jobFrame.isHidden()
    assert not ui.correctCheckBox.checked
    assert not mode.is_waiting
    assert panel.message.startswith("Cancelled.")
    panel.until(lambda: not panel.logic.session.jobs._unfinished)
    assert not known, "no more was read"
    np.testing.assert_array_equal(labels_of(panel, panel.panel.result.node), before)
    ui.correctCheckBox.click()
    panel.until(lambda: mode.node is not None)
    assert known
    assert ui.jobFrame.isHidden()
    where = stroke(panel, undrawn(panel))
    assert labels_of(panel, mode.node)[where].all()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_job_that_ends_while_a_large_result_is_read_leaves_cancel_in_sight(read_in_pieces, monkeypatch, is_first):
    panel, mode, ui = read_in_pieces, read_in_pieces.panel.draw.correcting, read_in_pieces.ui
    # The reading waits.
    monkeypatch.setattr(panel.logic.panel, "read_for_correcting", lambda *_given: None)
    running: list = []
    monkeypatch.setattr(type(panel.logic), "isBusy", property(lambda _logic: bool(running)))
    if is_first:
        ui.correctCheckBox.click()
    panel.panel.session.start("Opening", lambda onDone, **_given: running.append(onDone), lambda _result: None)
    if not is_first:
        ui.correctCheckBox.click()
    running.pop()(None, None)
    assert mode.is_reading
    assert not ui.jobFrame.isHidden()
    assert panel.job == "Reading the result"
    ui.cancelButton.click()
    assert not mode.is_reading
    assert ui.jobFrame.isHidden()


def test_switching_off_closing_and_drawing_while_a_large_result_is_read(read_in_pieces, monkeypatch):
    panel, mode = read_in_pieces, read_in_pieces.panel.draw.correcting
    drawing, item = panel.logic.drawnIn(panel.volume), panel.items[0]
    # A slice that is drawn again meanwhile is in the answer as it is drawn then.
    where = np.zeros(panel.labels.shape, bool)
    where[item.index, 1:3, 1:3] = True
    reading, painted = scene.reading_annotation, []

    def paint_first(*given):
        if not painted:
            painted.append(mode.node)
            panel.ui.segmentEditorWidget.paint(where, "ball")
        return reading(*given)

    monkeypatch.setattr(scene, "reading_annotation", paint_first)
    panel.ui.correctCheckBox.click()
    panel.until(lambda: mode.node is not None)
    assert painted == [None]
    np.testing.assert_array_equal(labels_of(panel, mode.node)[item.index], labels_of(panel, drawing)[item.index])
    assert labels_of(panel, mode.node)[where].all()
    panel.ui.correctCheckBox.click()
    panel.ui.correctCheckBox.click()
    assert mode.is_waiting
    panel.ui.correctCheckBox.click()
    panel.idle()
    assert mode.node is None
    assert panel.ui.segmentEditorWidget.segmentationNode() is drawing
    panel.ui.correctCheckBox.click()
    assert mode.is_waiting
    panel.mrml.mrmlScene.Clear(False)
    panel.idle()
    assert mode.node is None
    assert not panel.ui.correctCheckBox.checked


def test_a_large_result_that_cannot_be_corrected_is_said_and_slices_are_drawn(read_in_pieces):
    panel, mode = read_in_pieces, read_in_pieces.panel.draw.correcting
    panel.ui.correctCheckBox.click()
    name = panel.logic.drawnIn(panel.volume).GetSegmentation().GetNthSegment(0)
    panel.panel.result.node.GetSegmentation().AddEmptySegment("twin", "ball")
    panel.until(lambda: not mode.is_waiting)
    assert name.GetName() == "ball"
    assert not panel.ui.correctCheckBox.checked
    assert "ball" in panel.message


def to_be_initialized(panel):
    """Choose a slice to be initialized from the fill, which has not followed from a stroke; its row of the worklist."""
    panel.ui.startSelector.setCurrentText("fill")
    index = undrawn(panel)
    panel.logic.markToDo(panel.volume, "axial", panel.items[0].index)
    panel.panel.refresh()
    assert panel.panel.draw.table.choose_first_to_do(panel.volume)
    panel.ui.correctCheckBox.click()
    begin_stroke(panel, index)
    panel.ui.correctCheckBox.click()
    return panel.panel.draw.table.chosen()


def test_a_slice_is_initialized_when_the_fill_has_followed_and_the_window_does_not_wait(filled, slow, monkeypatch):
    ui, node = filled.ui, filled.panel.result.node
    item = to_be_initialized(filled)
    assert filled.panel.draw.correcting.is_following
    drawing = filled.logic.drawnIn(filled.volume)
    begun = []
    start = filled.logic.startSlice
    monkeypatch.setattr(filled.logic, "startSlice", lambda *given: (begun.append(given), start(*given))[1])
    ui.startButton.click()
    assert not begun
    assert "is initialized when the result has followed" in filled.message
    slow()
    filled.until(lambda: begun)
    assert not filled.panel.draw.correcting.is_following
    assert "Initialized from fill" in filled.message
    np.testing.assert_array_equal(labels_of(filled, drawing)[item.index], labels_of(filled, node)[item.index])


def test_a_slice_is_not_initialized_when_another_one_was_selected_meanwhile(filled, slow, monkeypatch):
    ui = filled.ui
    ui.startSelector.setCurrentText("fill")
    index = undrawn(filled)
    for item in filled.items[:2]:
        filled.logic.markToDo(filled.volume, "axial", item.index)
    filled.panel.refresh()
    assert filled.panel.draw.table.choose_first_to_do(filled.volume)
    ui.correctCheckBox.click()
    begin_stroke(filled, index)
    ui.correctCheckBox.click()
    before = labels_of(filled, filled.logic.drawnIn(filled.volume))
    ui.startButton.click()
    ui.nextButton.click()
    slow()
    filled.until(lambda: "was not initialized" in filled.message)
    np.testing.assert_array_equal(labels_of(filled, filled.logic.drawnIn(filled.volume)), before)


def test_what_is_drawn_on_a_slice_before_it_is_initialized_is_kept(filled, slow):
    item = to_be_initialized(filled)
    drawing = filled.logic.drawnIn(filled.volume)
    filled.ui.startButton.click()
    where = np.zeros(filled.labels.shape, bool)
    where[item.index, 1:4, 1:4] = True
    filled.ui.segmentEditorWidget.paint(where, "ball")
    before = labels_of(filled, drawing)
    assert before[where].all()
    slow()
    filled.until(lambda: "because it was drawn on meanwhile" in filled.message)
    np.testing.assert_array_equal(labels_of(filled, drawing), before)
    filled.ui.startButton.click()
    assert "Initialized from fill" in filled.message


def turn_round(panel) -> None:
    """The same voxels in another order, as when an opened volume is written as its file has it."""
    volume, array = panel.volume, panel.mrml.util.arrayFromVolume(panel.volume)[::-1].copy()
    matrix = np.array(scene.geometry_of(volume).matrix)
    matrix[:3, 3] += matrix[:3, 2] * (len(array) - 1)
    matrix[:3, 2] *= -1
    volume.SetIJKToRASMatrix(panel.mrml.util.vtkMatrixFromArray(matrix))
    panel.mrml.util.updateVolumeFromArray(volume, array)


def test_a_slice_is_not_initialized_when_its_number_means_another_one_meanwhile(filled, slow, monkeypatch):
    to_be_initialized(filled)
    calls = []
    monkeypatch.setattr(filled.logic.panel, "when_followed", lambda _volume, done: calls.append(done))
    filled.ui.startButton.click()
    before = labels_of(filled, filled.logic.drawnIn(filled.volume))
    filled.logic.cancel()
    chosen = filled.panel.draw.table.chosen()
    turn_round(filled)
    monkeypatch.setattr(filled.panel.draw.table, "chosen", lambda: chosen)
    calls[0](None)
    assert "the volume has got another grid" in filled.message
    np.testing.assert_array_equal(labels_of(filled, filled.logic.drawnIn(filled.volume)), before[::-1])


def test_an_answer_is_given_up_when_its_slices_get_another_order(filled, slow):
    filled.ui.correctCheckBox.click()
    begin_stroke(filled, undrawn(filled))
    turn_round(filled)
    filled.until(lambda: not filled.ui.correctCheckBox.checked)
    assert "in the order in which its file has them" in filled.message
    slow()
    filled.ui.correctCheckBox.click()
    filled.until(lambda: filled.panel.draw.correcting.node is not None)
    where = stroke(filled, 24 - 1 - undrawn(filled))
    assert labels_of(filled, filled.panel.result.node)[where].all()


def test_cancel_while_a_slice_waits_to_be_initialized_leaves_it_as_it_is(filled, slow):
    to_be_initialized(filled)
    before = labels_of(filled, filled.logic.drawnIn(filled.volume))
    filled.ui.startButton.click()
    filled.logic.cancel()
    filled.idle()
    assert "Cancelled. The result has the voxels of the correction" in filled.message
    np.testing.assert_array_equal(labels_of(filled, filled.logic.drawnIn(filled.volume)), before)


def test_an_error_of_reading_is_said_also_when_it_comes_at_once(filled, monkeypatch):
    def fails(_volume, _result, on_read, *_further):
        on_read(BadInputError("It is damaged."))

    monkeypatch.setattr(filled.logic.panel, "read_for_correcting", fails)
    filled.ui.correctCheckBox.click()
    assert filled.message == "It is damaged."
    assert not filled.ui.correctCheckBox.checked
    assert not filled.panel.draw.correcting.is_waiting


@pytest.mark.parametrize("what", ["labels", "drawing"])
def test_a_result_that_is_removed_while_it_is_read_is_given_up_quietly(read_in_pieces, monkeypatch, what):
    panel, node, mode = read_in_pieces, read_in_pieces.panel.result.node, read_in_pieces.panel.draw.correcting
    name = {"labels": "collecting_labels", "drawing": "reading_annotation"}[what]
    reading = getattr(scene, name)

    def removed(*given):
        pieces = reading(*given)
        yield next(pieces)
        panel.mrml.mrmlScene.RemoveNode(node)
        yield
        raise AssertionError("reads a result that has been removed")

    monkeypatch.setattr(scene, name, removed)
    panel.ui.correctCheckBox.click()
    panel.until(lambda: not mode.is_waiting)
    panel.idle()
    assert node.GetScene() is None
    assert panel.message == ""
    assert not panel.ui.correctCheckBox.checked


def test_a_stroke_made_again_while_what_was_drawn_is_read_does_not_keep_it_from_being_shown(
    read_in_pieces, slow, monkeypatch
):
    panel, node, mode = read_in_pieces, read_in_pieces.panel.result.node, read_in_pieces.panel.draw.correcting
    panel.ui.correctCheckBox.click()
    panel.until(lambda: mode.node is not None)
    begin_stroke(panel, undrawn(panel))
    panel.ui.undoCorrectionButton.click()
    panel.ui.correctCheckBox.click()
    where = np.zeros(panel.labels.shape, bool)
    # Out of reach of the stroke.
    where[panel.items[0].index, 25:27, 1:3] = True
    panel.ui.segmentEditorWidget.paint(where, "ball")
    finding, made = scene.finding_changed, []

    def made_again(*given):
        found = yield from finding(*given)
        if not made:
            made.append(1)
            panel.logic.redoCorrection(panel.volume)
        return found

    monkeypatch.setattr(scene, "finding_changed", made_again)
    panel.ui.correctCheckBox.click()
    panel.until(lambda: mode.node is not None)
    assert made
    slow()
    panel.until(lambda: not mode.is_waiting)
    assert labels_of(panel, node)[where].all()
