"""A sequence in the panel: each frame is a case of its own, with its own worklist and drawing."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene


class Film:
    """A sequence of three frames with a ball in them, in the panel, with a segment to draw in on the first."""

    def __init__(self, panel):
        mrml = panel.mrml
        panel.labels = ball()
        self.panel = panel
        self._sequences = mrml.vtkSlicerSequencesLogic()
        self._sequences.SetMRMLScene(mrml.mrmlScene)
        sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
        sequence.SetIndexName("time")
        for number in range(3):
            image = noisy_image(panel.labels, number)
            volume = mrml.util.addVolumeFromArray(image, np.diag([-1.0, 1.0, 2.0, 1.0]), f"frame {number}")
            sequence.SetDataNodeAtValue(volume, str(number))
            mrml.mrmlScene.RemoveNode(volume)
        self.browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        self.browser.AddSynchronizedSequenceNodeID(sequence.GetID())
        self._sequences.UpdateProxyNodesFromSequences(self.browser)
        self.volume = self.browser.GetProxyNode(sequence)
        panel.idle()
        panel.add_segment(self.volume)

    def go_to(self, frame: int) -> None:
        """Select a frame, as Slicer's sequence browser does."""
        self.browser.SetSelectedItemNumber(frame)
        self._sequences.UpdateProxyNodesFromSequences(self.browser)

    @property
    def edited(self):
        """The segmentation in the panel's Segment Editor."""
        return self.panel.ui.segmentEditorWidget.segmentationNode()

    @property
    def drawing(self):
        """The segmentation of the frame that is shown."""
        return self.panel.logic.drawnIn(self.volume)

    def drawn_slices(self) -> list[int]:
        """Axial slices that are marked as drawn on the frame that is shown."""
        return [entry.index for entry in self.panel.logic.ledger(self.volume).decided]


@pytest.fixture
def film(panel):
    return Film(panel)


def voxels(panel, segmentation, volume) -> int:
    return int(panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume).sum())


def test_the_panel_follows_to_the_case_of_another_frame_and_back(panel, film):
    panel.recommend()
    first, slices = film.drawing, [item.index for item in panel.items]
    panel.paint(slices[0])
    panel.ui.drawnButton.click()
    panel.idle()
    assert film.drawn_slices() == [slices[0]]
    assert film.edited is first

    film.go_to(1)
    assert film.edited is None, "at once: the next stroke must not be drawn on the other frame"
    panel.idle()
    assert "'film' now shows the frame 'time = 1 s' of the sequence 'film'" in panel.message
    assert panel.items == []
    assert film.edited is None
    assert not panel.ui.drawnButton.enabled
    assert panel.ui.segmentationSelector.currentNode() is None
    assert not first.GetDisplayNode().GetVisibility(), "it would lie over the image of the other frame"

    panel.add_segment(film.volume)
    panel.recommend()
    second = film.drawing
    assert film.edited is second is not first
    before = voxels(panel, first, film.volume)
    panel.paint(panel.items[0].index)
    panel.ui.drawnButton.click()
    panel.idle()
    assert film.drawn_slices() == [panel.items[0].index]
    assert voxels(panel, first, film.volume) == before

    film.go_to(0)
    assert film.edited is first
    panel.idle()
    assert "frame 'time = 0 s'" in panel.message
    assert [item.index for item in panel.items if item.state.is_decided] == [slices[0]]
    assert first.GetDisplayNode().GetVisibility()
    assert not second.GetDisplayNode().GetVisibility()


def test_a_slice_of_another_frame_is_not_marked_as_drawn(panel, film):
    panel.recommend()
    draw = panel.panel.draw
    item = draw.table.chosen()
    panel.paint(item.index)
    film.go_to(1)
    # Before the worklist is shown again.
    panel.ui.drawnButton.click()
    assert "shows another frame now than the one of this slice" in panel.message
    panel.idle()
    assert film.drawn_slices() == []
    film.go_to(0)
    assert film.drawn_slices() == []
    assert not item.isOfOtherFrame
    panel.idle()
    draw.table.choose_slice(film.volume, item.plane, item.index)
    panel.ui.drawnButton.click()
    panel.idle()
    assert film.drawn_slices() == [item.index]


def test_a_frame_that_is_chosen_while_another_module_is_shown_is_noticed(panel, film):
    panel.recommend()
    first = film.drawing
    panel.widget.exit()
    film.go_to(2)
    panel.widget.enter()
    panel.idle()
    assert "frame 'time = 2 s'" in panel.message
    assert film.edited is not first
    assert panel.items == []


def test_what_is_recommended_for_one_frame_is_not_stored_for_another(panel, film):
    panel.recommend()
    before = [item.index for item in panel.items]
    panel.ui.budgetSpinBox.value = 40.0
    panel.ui.recommendButton.click()
    film.go_to(1)
    panel.idle()
    assert "shows another frame than when slices began to be chosen" in panel.message
    assert panel.items == []
    assert film.drawing is None
    film.go_to(0)
    panel.idle()
    assert [item.index for item in panel.items] == before


def test_corrections_belong_to_the_frame_whose_result_was_corrected(panel, film):
    panel.recommend()
    for item in panel.items:
        panel.paint(item.index)
        panel.ui.drawnButton.click()
        panel.idle()
    panel.ui.fillButton.click()
    panel.idle()
    panel.ui.correctCheckBox.checked = True
    panel.until(lambda: panel.panel.draw.correcting.node is not None)
    film.go_to(1)
    assert film.edited is None
    assert panel.panel.draw.correcting.node is None
    panel.idle()
    assert panel.logic.panel.correction_count(film.volume) == 0


@pytest.fixture(params=["SegmentEditor", "AnotherModule", ""])
def other_editor(panel, request):
    """The node of Slicer's own Segment Editor module, or of another module's editor, which may have no tag."""
    node = panel.mrml.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    node.UnRegister(None)
    if request.param:
        node.SetSingletonTag(request.param)
    return panel.mrml.mrmlScene.AddNode(node)


def put(panel, segmentation, volume, index: int) -> None:
    mask = np.zeros(panel.labels.shape, np.uint8)
    mask[index] = panel.labels[index]
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)


@pytest.mark.parametrize("is_left", [False, True])
def test_painting_in_the_drawing_of_a_frame_that_is_not_shown_is_reported_once(panel, film, other_editor, is_left):
    words = "The drawing of the frame 'time = 0 s' of the sequence 'film' was changed in another Segment Editor"
    first = film.drawing
    other_editor.SetAndObserveSegmentationNode(first)
    put(panel, first, film.volume, 9)
    panel.idle()
    assert words not in panel.message, "it is shown"
    film.go_to(1)
    panel.idle()
    assert words not in panel.message
    if is_left:
        panel.widget.exit()
    put(panel, first, film.volume, 10)
    if is_left:
        panel.widget.enter()
    assert words in panel.message
    panel.idle()
    panel.panel.session.say("")
    put(panel, first, film.volume, 11)
    panel.idle()
    assert panel.message == ""


def test_the_drawing_of_a_hidden_frame_may_be_changed_by_anything_but_another_segment_editor(panel, film, other_editor):
    first = film.drawing
    own = scene.editor_for(first, film.volume)  # as for an undo step
    film.go_to(1)
    panel.add_segment(film.volume)
    other_editor.SetAndObserveSegmentationNode(film.drawing)
    put(panel, first, film.volume, 10)  # as a script does
    assert own.GetSegmentEditorNode().GetSegmentationNode() is first
    put(panel, film.drawing, film.volume, 9)
    panel.idle()
    assert "another Segment Editor" not in panel.message
