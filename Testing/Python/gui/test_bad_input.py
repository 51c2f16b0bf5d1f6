"""Mistakes of users: each is reported in a sentence, and nothing is lost."""

from __future__ import annotations

import random

import numpy as np
import pytest
import vtk

from SparseAnnotateLib.core import BadInputError, Plane
from SparseAnnotateLib.core.failed_cases import PartlyDoneError


def buttons_of(panel) -> dict:
    from PySide6.QtWidgets import QAbstractButton

    return {
        name: widget
        for name, widget in vars(panel.ui).items()
        if isinstance(widget, QAbstractButton) and name.endswith(("Button", "CheckBox"))
    }


# These ask questions, open a menu or install something.
ELSEWHERE = (
    *(
        "installButton",
        "nextStepButton",
        "environmentButton",
        "openCohortButton",
        "modelsButton",
        "saveSegmentationButton",
    ),
    *("addHostButton", "checkHostButton", "cleanHostButton", "cancelHostButton"),
)


@pytest.fixture
def drawn_ball(panel):
    """A ball whose recommended slices are all drawn."""
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    return volume


@pytest.fixture
def painted_after_fill(panel):
    """A ball filled from three drawn slices, and the index of a slice painted since, which is not marked as drawn."""
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.add_segment(volume)
    for _ in range(3):
        panel.paint(panel.panel.draw.table.chosen().index)
        panel.ui.drawnButton.click()
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.fillButton.click()
    panel.idle()
    index = panel.panel.draw.table.chosen().index
    panel.paint(index)
    return volume, index


def test_every_button_can_be_pressed_in_an_empty_scene(panel):
    """Disabled buttons are pressed through their actions as well, as a key or a script would."""
    from PySide6 import QtCore

    for name, button in buttons_of(panel).items():
        if name not in ELSEWHERE:
            button.click()
            button.enabled = True
            QtCore.QMetaObject.invokeMethod(button, "click", QtCore.Qt.DirectConnection)
            panel.idle()
    assert panel.logic.panel.volumes() == []
    assert panel.panel.session.volume is None


@pytest.mark.parametrize("seed", range(4))
def test_clicks_in_any_order_lose_no_drawn_voxel(panel, seed):
    volume = panel.add_ball()
    panel.recommend(15.0)
    panel.add_segment(volume)
    panel.paint(panel.items[0].index)
    panel.ui.drawnButton.click()
    drawn = panel.items[0].index
    segmentation = panel.logic.segmentationNode(volume)
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.iterationsSpinBox.value = 2
    order = random.Random(seed)
    names = sorted(set(buttons_of(panel)) - set(ELSEWHERE) - {"toDoButton", "emptyButton", "noVolumesButton"})
    for _ in range(25):
        name = order.choice(names)
        button = getattr(panel.ui, name)
        panel.panel.open(order.choice(list(panel.panel.steps.values())))
        button.click()
        if order.random() < 0.5:
            panel.idle()
        assert panel.logic.panel.slice_state(volume, "axial", drawn) == "drawn"
    panel.logic.cancel()
    panel.idle()
    found = panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume)
    np.testing.assert_array_equal(found[drawn], panel.labels[drawn] > 0)


def test_every_control_has_a_tooltip_and_says_why_it_cannot_be_used(panel):
    from PySide6 import QtWidgets

    kinds = (
        QtWidgets.QAbstractButton,
        QtWidgets.QComboBox,
        QtWidgets.QAbstractSpinBox,
        QtWidgets.QTableWidget,
        QtWidgets.QListWidget,
        QtWidgets.QLineEdit,
    )
    for group in (
        panel.ui.channelsGroup,
        panel.ui.moreChoicesGroup,
        panel.ui.advancedTrainingGroup,
        panel.ui.advancedRunGroup,
    ):
        group.collapsed = False
    controls = {name: c for name, c in vars(panel.ui).items() if isinstance(c, kinds) and not name.endswith("Section")}
    assert len(controls) > 50
    assert [name for name, control in controls.items() if not control.toolTip and name != "moreChoicesGroup"] == []
    helps = {name: control.property("helpText") or control.toolTip for name, control in controls.items()}
    disabled = [name for name, control in controls.items() if not control.enabled]
    assert {"recommendButton", "fillButton", "trainButton", "runButton", "measureButton"} < set(disabled)
    assert [name for name in disabled if controls[name].toolTip == helps[name]] == []
    panel.add_ball()
    assert panel.ui.recommendButton.enabled
    assert "Choose the slices to draw" in panel.ui.recommendButton.toolTip
    assert panel.ui.fillButton.toolTip == "Draw a slice and mark it as drawn first."


def test_the_volume_the_segmentation_and_the_result_can_be_deleted_at_any_time(panel, drawn_ball):
    ui, scene_, volume = panel.ui, panel.mrml.mrmlScene, drawn_ball
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.fillButton.click()
    panel.idle()
    scene_.RemoveNode(panel.mrml.util.getNode("ball fill"))
    panel.idle()
    assert not ui.applyButton.enabled
    ui.fillButton.click()
    scene_.RemoveNode(panel.logic.segmentationNode(volume))
    panel.idle()
    assert panel.items == []
    assert ui.recommendButton.enabled
    panel.recommend(25.0)
    assert len(panel.items) == 6
    ui.recommendButton.click()
    ui.fillButton.click()
    scene_.RemoveNode(volume)
    panel.idle()
    assert panel.items == []
    assert ui.nextStepLabel.text == "Load a volume to begin."


def test_a_volume_removed_while_it_is_filled_is_reported(panel, drawn_ball):
    panel.ui.fillButton.click()
    panel.until(lambda: panel.logic.session.jobs._open is None or panel.logic.session.jobs._open.call is not None)
    panel.mrml.mrmlScene.RemoveNode(drawn_ball)
    panel.idle()
    assert "was removed from the scene" in panel.message
    assert panel.logic.panel.volumes() == []


def test_marks_that_a_copy_on_the_volume_s_grid_cannot_have_are_counted(panel):
    ui, volume = panel.ui, panel.add_ball()
    matrix = panel.mrml.util.arrayFromVTKMatrix(ijk_to_ras(panel, volume))
    array = panel.mrml.util.arrayFromVolume(volume)
    crop = panel.mrml.util.addVolumeFromArray(array[:, :, :-4].copy(), matrix, name="crop")
    drawn = panel.logic.segmentationNode(crop)
    drawn.GetSegmentation().AddEmptySegment("x", "x")
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(
        np.ascontiguousarray(panel.labels[:, :, :-4]), drawn, "x", crop
    )
    for plane, index in (("axial", 10), ("axial", 12), ("sagittal", 14)):
        panel.logic.markDrawn(crop, plane, index)
    panel.mrml.mrmlScene.RemoveNode(crop)
    panel.idle()
    ui.segmentationSelector.setCurrentNode(drawn)
    ui.segmentationSelector.nodeActivated.emit(drawn)
    assert "are no longer slices of the volume 'ball'" in ui.geometryLabel.text
    ui.matchGridButton.click()
    assert panel.message.endswith(
        "2 of 3 marked slices do not match slices of this volume; their marks were not copied."
    )
    (entry,) = panel.logic.ledger(volume).decided
    assert (entry.plane, entry.index) == (Plane.SAGITTAL, 14)


def ijk_to_ras(panel, volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_a_segmentation_on_another_grid_is_reported_and_matched(panel):
    from SparseAnnotateLib import scene

    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(20.0)
    own = panel.logic.segmentationNode(volume)
    other = panel.mrml.util.addVolumeFromArray(np.zeros((12, 14, 16)), np.diag([-2.0, 2.0, 4.0, 1.0]), name="coarse")
    coarse = np.zeros((12, 14, 16), np.uint8)
    coarse[4:8, 4:8, 4:8] = 1
    foreign = scene.new_segmentation("foreign", coarse, {1: "x"}, other)
    panel.idle()
    ui.segmentationSelector.setCurrentNode(foreign)
    ui.segmentationSelector.nodeActivated.emit(foreign)
    assert not ui.geometryFrame.isHidden()
    assert "does not have the voxel grid of the volume 'ball'" in ui.geometryLabel.text
    assert panel.logic.segmentationNode(volume) is own
    assert "does not match" in ui.nextStepLabel.text
    ui.matchGridButton.click()
    copy = panel.mrml.util.getNode("foreign on ball")
    assert panel.message == "'foreign on ball' is a copy on the voxel grid of 'ball'; 'foreign' is unchanged."
    assert ui.geometryFrame.isHidden()
    assert panel.logic.segmentationNode(volume) is copy
    segment_id = copy.GetSegmentation().GetNthSegmentID(0)
    assert panel.mrml.util.arrayFromSegmentBinaryLabelmap(copy, segment_id, volume).any()
    assert (panel.mrml.util.arrayFromSegmentBinaryLabelmap(foreign, segment_id, other) == coarse).all()


def test_errors_are_sentences_in_the_panel(panel):
    ui = panel.ui
    panel.add_ball()
    panel.recommend(10.0)
    ui.drawnButton.click()
    assert "has no segment. Add one for each structure" in panel.message
    assert panel.message_is == "error"
    for name in ("axialCheckBox", "coronalCheckBox", "sagittalCheckBox"):
        getattr(ui, name).checked = False
    assert not ui.recommendButton.enabled
    assert ui.recommendButton.toolTip == "Select a plane first."
    panel.panel.session.attempt(panel.panel.recommend.recommend)
    assert "Select at least one plane" in panel.message
    ui.axialCheckBox.checked = True
    panel.add_segment(panel.panel.session.volume)
    panel.paint(panel.panel.draw.table.chosen().index)
    ui.emptyButton.click()
    assert "is not empty: something is drawn on it" in panel.message


def test_a_segment_that_is_renamed_or_removed_after_training_is_reported(panel, drawn_ball):
    ui, volume = panel.ui, drawn_ball
    ui.iterationsSpinBox.value = 2
    ui.trainButton.click()
    panel.idle()
    segmentation = panel.logic.segmentationNode(volume).GetSegmentation()
    ui.runButton.click()
    panel.idle()
    segmentation.GetSegment("ball").SetName("globe")
    panel.panel.refresh()
    ui.applyButton.click()
    panel.applied()
    assert "have no segment of the same name" in panel.message
    assert "The result has: ball" in panel.message
    # The answer is of what is drawn, by its name now.
    ui.runButton.click()
    panel.idle()
    assert panel.message.startswith("New segmentation: ")
    assert "'globe'" in ui.resultLabel.text
    ui.applyButton.click()
    panel.applied()
    assert "Applied to your segmentation" in panel.message
    segmentation.AddEmptySegment("other", "other")
    segmentation.RemoveSegment("ball")
    ui.applyButton.click()
    panel.applied()
    assert "have no segment of the same name" in panel.message
    assert [e.index for e in panel.logic.ledger(volume).decided]


@pytest.mark.parametrize("moment", ["recommended", "drawn", "filling", "filled", "training", "measured"])
def test_the_scene_can_be_closed_at_each_step(panel, embedded, moment):
    from SlicerStandIn import questions

    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(25.0)
    if moment != "recommended":
        panel.draw_all(volume)
        ui.fillMethodSelector.setCurrentText("Shape")
    if moment in ("filling", "filled"):
        ui.fillButton.click()
    if moment == "filled":
        panel.idle()
        ui.applyButton.click()
        panel.applied()
    if moment == "training":
        ui.iterationsSpinBox.value = 100000
        ui.trainButton.click()
        panel.until(lambda: "step" in panel.job)
        questions.answers.append(False)
    folder = panel.logic.cohortFolder
    embedded.clear_scene()
    panel.idle()
    assert len(questions.asked) == (moment == "training")
    assert ui.nextStepLabel.text == "Load a volume to begin."
    assert panel.items == []
    for name in ("applyButton", "undoButton", "fillButton", "trainButton"):
        assert not getattr(ui, name).enabled
    if moment == "training":
        ui.cohortFolderSelector.currentPath = str(folder)
        assert panel.logic.unfinishedRuns() == ["run 1"]
    panel.add_ball("again")
    panel.recommend(25.0)
    assert len(panel.items) == 6


def test_the_panel_fits_a_screen_700_pixels_high_and_a_narrow_column(panel):
    from PySide6.QtWidgets import QWidget

    panel.add_ball()
    panel.recommend(20.0)
    column = panel.panel.widget
    for name, step in panel.panel.steps.items():
        panel.panel.open(step)
        panel.idle()
        assert QWidget.minimumSizeHint(column).width() <= 420, name
        # The height of the Segment Editor depends on its effects; everything above it must be visible.
        needed = QWidget.sizeHint(column).height()
        if name == "draw":
            needed -= QWidget.sizeHint(panel.ui.editorFrame).height()
        assert needed <= 640, name


def test_a_scene_saved_with_unknown_choices_still_opens(panel):
    """A scene from another version, with a strategy, a preset or a step that this version does not have."""
    panel.add_ball()
    node = panel.widget.logic.getParameterNode().parameterNode
    panel.widget.exit()
    node.SetParameter("unfolded", "data,future")
    panel.widget.enter()
    assert not panel.ui.dataSection.collapsed
    assert panel.ui.trainSection.collapsed


def test_a_slice_is_not_marked_while_another_one_is_on_the_screen(panel):
    volume = panel.add_ball()
    panel.recommend(20.0)
    panel.add_segment(volume)
    chosen = panel.panel.draw.table.chosen().index
    panel.mrml.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").JumpSliceByOffsetting(0, 0, 2.0 * (chosen + 1))
    panel.until(lambda: not panel.panel.draw.painting.is_waiting)
    panel.paint(chosen + 1)
    for button in (panel.ui.drawnButton, panel.ui.emptyButton):
        button.click()
        assert f"shows axial slice {chosen + 1}, but slice {chosen} is selected" in panel.message
        assert panel.logic.panel.slice_state(volume, "axial", chosen) == "to do"
    assert f"Axial slice {chosen + 1} of" in panel.ui.offerLabel.text
    panel.ui.offerButton.click()
    assert panel.logic.panel.slice_state(volume, "axial", chosen + 1) == "drawn"


def test_nothing_is_applied_over_a_painted_slice_that_is_not_marked(panel, painted_after_fill):
    ui, (volume, index) = panel.ui, painted_after_fill
    before = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), "ball", volume)
    ui.applyButton.click()
    panel.applied()
    assert f"painted but not marked as drawn were not changed: axial {index} ('ball')" in panel.message
    assert f"Axial slice {index} of" in panel.ui.offerLabel.text
    after = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), "ball", volume)
    np.testing.assert_array_equal(before[index], after[index])
    assert after.sum() > before.sum()
    ui.drawnButton.click()
    ui.applyButton.click()
    panel.applied()
    assert "drawn slices are unchanged" in panel.message


def test_a_volume_whose_grid_has_changed_is_reported_and_the_others_stay_usable(panel):
    broken, fine = panel.add_ball("broken"), panel.add_ball("fine")
    panel.ui.allVolumesButton.click()
    panel.recommend(10.0)
    first = next(item for item in panel.items if item.volumeNode is broken)
    panel.add_segment(broken)
    panel.logic.markEmpty(broken, first.plane, first.index)
    broken.SetSpacing(1.0, 1.0, 2.7)
    panel.panel.refresh()
    assert "no longer slices of the volume 'broken'" in panel.message
    assert {item.volumeNode for item in panel.items} == {fine}
    panel.widget.exit()
    panel.widget.enter()
    panel.panel.draw.table.choose(1)
    panel.add_segment(fine)
    panel.paint(panel.panel.draw.table.chosen().index)
    panel.ui.drawnButton.click()
    assert [item.state for item in panel.items].count("drawn") == 1


def test_a_volume_removed_while_slices_are_chosen_is_left_out(panel):
    panel.add_ball("gone")
    panel.add_ball("there")
    panel.ui.allVolumesButton.click()
    panel.ui.recommendButton.click()
    panel.mrml.mrmlScene.RemoveNode(panel.mrml.util.getNode("gone"))
    panel.idle()
    assert {item.volumeNode.GetName() for item in panel.items} == {"there"}


def test_a_budget_of_many_slices_is_restored(panel):
    panel.add_ball()
    panel.ui.budgetKindSelector.setCurrentText("slices")
    panel.ui.budgetSpinBox.value = 500
    panel.widget.exit()
    panel.widget.enter()
    assert panel.ui.budgetSpinBox.value == 500
    assert panel.ui.budgetKindSelector.currentText == "slices"


def test_no_checked_volume_is_reported_and_none_is_checked_by_itself(panel):
    panel.add_ball()
    panel.ui.noVolumesButton.click()
    assert panel.ui.nextStepLabel.text == "Check the volumes to work on."
    panel.panel.refresh()
    assert panel.panel.session.volumes == []
    panel.add_ball("another")
    assert panel.panel.session.volume is not None


def test_a_painted_slice_that_was_undone_is_no_longer_offered_and_does_not_block_apply(panel, painted_after_fill):
    ui, (_, index) = panel.ui, painted_after_fill
    assert f"Axial slice {index} of" in panel.ui.offerLabel.text
    ui.segmentEditorWidget.undo()
    panel.idle()
    panel.until(lambda: not panel.panel.draw.painting.is_waiting)
    assert ui.offerFrame.isHidden()
    ui.applyButton.click()
    panel.applied()
    assert "drawn slices are unchanged" in panel.message


def test_a_finished_structure_is_changed_only_if_asked_for_and_this_is_reported_in_the_panel(panel, drawn_ball):
    ui, volume = panel.ui, drawn_ball
    panel.add_segment(volume, "organ")
    organ = np.zeros_like(panel.labels)
    organ[:, 2:6, 2:6] = 1
    organ[1::2, 2:6, 6] = 1  # on slices that are not drawn: the fill would change it
    segmentation = panel.logic.segmentationNode(volume)
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(organ, segmentation, "organ", volume)
    for entry in panel.logic.ledger(volume).decided:
        panel.logic.markDrawn(volume, entry.plane.value, entry.index)
    panel.idle()
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.fillButton.click()
    panel.idle()
    ui.applyButton.click()
    panel.applied()
    assert "'organ' was not changed because it seems to be finished" in panel.message
    assert "no such segment" not in panel.message
    after = panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "organ", volume)
    np.testing.assert_array_equal(after, organ)

    ui.finishedTooCheckBox.click()
    ui.applyButton.click()
    panel.applied()
    assert "seems to be finished" not in panel.message
    after = panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "organ", volume)
    fill = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.panel.result.node, "organ", volume)
    assert (after != organ).any()
    np.testing.assert_array_equal(after, fill)
    assert not ui.finishedTooCheckBox.checked

    ui.finishedTooCheckBox.click()
    ui.fillButton.click()
    panel.idle()
    assert not ui.finishedTooCheckBox.checked, "another result is shown now"


def test_a_note_on_what_was_done_does_not_look_like_an_error_and_leaves_an_error_one(panel):
    session = panel.panel.session
    session.say("Done.")
    assert panel.message_is == "plain"
    session.add_note("But look at this.")
    assert (panel.message, panel.message_is) == ("Done. But look at this.", "note")
    session.say("Not done.", is_error=True)
    session.add_note("And look at this.")
    assert (panel.message, panel.message_is) == ("Not done. And look at this.", "error")
    session.say("Done.")
    assert panel.message_is == "plain"
    session.say("")
    session.add_note("Look at this.")
    assert (panel.message, panel.message_is) == ("Look at this.", "note")


def test_what_failed_for_some_cases_only_is_a_note_and_what_failed_for_all_an_error(panel):
    session = panel.panel.session
    partly = PartlyDoneError("1 case was left out.", ["rows"], ["a"])
    for error, kind in ((partly, "note"), (BadInputError("Nothing was done."), "error")):

        def fail(error=error):
            raise error

        session.attempt(fail)
        assert (panel.message, panel.message_is) == (error.message, kind)
        session.say("")
        session.start("Working ...", lambda onDone, error=error, **_how: onDone(None, error), done=lambda _result: None)
        assert (panel.message, panel.message_is) == (error.message, kind)
