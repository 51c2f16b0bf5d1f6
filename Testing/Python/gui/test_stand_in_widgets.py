"""The stand-in's widgets: sections, selectors of nodes, the segment editor, parameters bound to widgets."""

from __future__ import annotations

import numpy as np
import pytest

from project_code import as_project

# --- ctk --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def section(qt, ctk):
    """A collapsible button with two labels, shown in a window; the second label is hidden for its own sake."""
    window = qt.QWidget()
    section = ctk.ctkCollapsibleButton(window)
    section.text = "Section"
    outer, inner = qt.QVBoxLayout(window), qt.QFormLayout(section)
    outer.addWidget(section)
    section.labels = [qt.QLabel("shown"), qt.QLabel("hidden")]
    for label in section.labels:
        inner.addRow("label", label)
    section.labels[1].visible = False
    window.show()
    section.window_kept = window
    return section


def visible(section) -> list[bool]:
    return [label.visible for label in section.labels]


def test_a_collapsible_button_hides_what_it_holds(section):
    folds = []
    section.connect("contentsCollapsed(bool)", folds.append)
    assert visible(section) == [True, False]
    as_project("section.collapsed = True", section=section)
    assert visible(section) == [False, False]
    assert section.maximumHeight < 40
    as_project("section.collapsed = False", section=section)
    assert visible(section) == [True, False]
    assert folds == [True, False]


def test_what_changes_in_a_collapsed_section_shows_when_it_opens(section, mrml):
    section.collapsed = True
    section.labels[0].visible = False
    section.labels[1].visible = True
    section.collapsed = False
    assert visible(section) == [False, True]
    section.collapsed = True
    section.window_kept.hide()
    section.window_kept.show()
    mrml.app.processEvents()
    assert visible(section) == [False, False]


def test_a_click_on_the_title_folds_and_one_below_does_not(section, mrml):
    from PySide6 import QtCore, QtTest

    mrml.app.processEvents()
    click = QtTest.QTest.mouseClick
    click(section, QtCore.Qt.LeftButton, pos=QtCore.QPoint(30, 5))
    assert section.collapsed
    click(section, QtCore.Qt.LeftButton, pos=QtCore.QPoint(30, 5))
    mrml.app.processEvents()
    click(section, QtCore.Qt.LeftButton, pos=QtCore.QPoint(2, section.height - 2))
    assert not section.collapsed


def test_paths_and_searches_say_what_was_typed(facade, ctk):
    heard = []
    path, search = ctk.ctkPathLineEdit(), ctk.ctkSearchBox()
    as_project(
        """
        path.filters = ctk.ctkPathLineEdit.Dirs
        path.connect("currentPathChanged(QString)", heard.append)
        path.currentPath = "/some/where"
        search.showSearchIcon = True
        search.placeholderText = "Find"
        search.connect("textChanged(QString)", heard.append)
        search.text = "liver"
        """,
        ctk=ctk,
        path=path,
        search=search,
        heard=heard,
    )
    assert heard == ["/some/where", "liver"]
    facade.answers.append("/else/where")
    path.browse()
    assert path.currentPath == "/else/where"


# --- nodes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def selector(facade, mrml):
    selector = mrml.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.addEnabled = selector.removeEnabled = False
    selector.setMRMLScene(mrml.mrmlScene)
    return selector


def listed(selector) -> list[str]:
    return [selector.nodeFromIndex(n).GetName() for n in range(selector.nodeCount())]


def add_volume(mrml, name: str):
    return mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_a_node_selector_follows_names_and_what_is_hidden(selector, mrml):
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    first, second = add_volume(mrml, "first"), add_volume(mrml, "second")
    assert listed(selector) == ["first", "second"]
    assert selector.currentNode() is first
    second.SetName("renamed")
    assert listed(selector) == ["first", "renamed"]
    first.SetHideFromEditors(True)
    assert listed(selector) == ["renamed"]
    assert selector.currentNode() is second
    first.SetHideFromEditors(False)
    assert listed(selector) == ["first", "renamed"]
    assert selector.currentNode() is second
    mrml.mrmlScene.Clear(0)
    assert selector.currentNode() is None
    assert heard == ["first", "renamed", None]


def test_a_node_selector_with_none_chooses_nothing_by_itself(selector, mrml):
    as_project("selector.noneEnabled = True; selector.noneDisplay = 'No volume'", selector=selector)
    node = add_volume(mrml, "volume")
    assert selector.currentNode() is None
    as_project("selector.currentNodeID = node.GetID()", selector=selector, node=node)
    assert selector.currentNode() is node
    as_project("selector.setCurrentNode(None)", selector=selector)
    assert selector.currentNodeID == ""


def test_the_user_makes_and_deletes_nodes_with_the_last_entries(selector, mrml):
    added, activated = [], []
    selector.connect("nodeAddedByUser(vtkMRMLNode*)", added.append)
    selector.connect("nodeActivated(vtkMRMLNode*)", activated.append)
    selector.addEnabled = selector.removeEnabled = True
    selector.baseName = "Scan"
    texts = [selector.itemText(n) for n in range(selector.count)]
    selector.activated.emit(texts.index("Create new node"))
    assert [node.GetName() for node in added] == ["Scan"]
    assert selector.currentNode() is added[0]
    texts = [selector.itemText(n) for n in range(selector.count)]
    selector.activated.emit(texts.index("Delete current node"))
    assert listed(selector) == []
    assert activated == []


def test_the_combo_box_under_a_node_selector_is_not_for_the_project(selector):
    with pytest.raises(AttributeError, match="qMRMLNodeComboBox has no attribute 'currentIndex'"):
        as_project("selector.currentIndex", selector=selector)


# --- the segment editor -----------------------------------------------------------------------------------------------


@pytest.fixture
def editor(facade, mrml):
    """A segment editor on a small volume with two empty segments, 'a' and 'b'."""
    matrix = np.array([[0.0, 0.0, 3.0, 5.0], [-1.0, 0.0, 0.0, 2.0], [0.0, 1.5, 0.0, -7.0], [0, 0, 0, 1]])
    volume = mrml.util.addVolumeFromArray(np.zeros((4, 5, 6)), matrix, "volume")
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in "ab":
        segmentation.GetSegmentation().AddEmptySegment(name, name)
    editor = mrml.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(mrml.mrmlScene)
    editor.setMRMLSegmentEditorNode(mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(segmentation)
    return editor


def voxels(mrml, editor, segment_id: str) -> np.ndarray:
    return mrml.util.arrayFromSegmentBinaryLabelmap(editor.segmentationNode(), segment_id, editor.sourceVolumeNode())


def random_mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((4, 5, 6)) < 0.4


def test_a_painted_stroke_can_be_undone_and_done_again(editor, mrml):
    masks = random_mask(0), random_mask(1)
    for mask in masks:
        editor.paint(mask, "a")
    both = masks[0] | masks[1]
    np.testing.assert_array_equal(voxels(mrml, editor, "a"), both)
    editor.undo()
    np.testing.assert_array_equal(voxels(mrml, editor, "a"), masks[0])
    editor.redo()
    np.testing.assert_array_equal(voxels(mrml, editor, "a"), both)
    editor.parts.undo_button.click()
    editor.parts.undo_button.click()
    assert not editor.parts.undo_button.isEnabled()
    assert not voxels(mrml, editor, "a").any()


def test_a_stroke_overwrites_other_segments_and_erasing_takes_away(editor, mrml):
    everything = np.ones((4, 5, 6), dtype=bool)
    editor.paint(everything, "a")
    editor.paint(random_mask(0), "b")
    np.testing.assert_array_equal(voxels(mrml, editor, "a"), ~random_mask(0))
    editor.paint(random_mask(1), "b", erase=True)
    np.testing.assert_array_equal(voxels(mrml, editor, "b"), random_mask(0) & ~random_mask(1))


def test_a_state_saved_by_the_project_is_one_step_of_the_editor(editor, mrml):
    as_project("editor.saveStateForUndo()", editor=editor)
    mrml.util.updateSegmentBinaryLabelmapFromArray(
        random_mask(2).astype(np.uint8), editor.segmentationNode(), "b", editor.sourceVolumeNode()
    )
    np.testing.assert_array_equal(voxels(mrml, editor, "b"), random_mask(2))
    as_project("editor.undo()", editor=editor)
    assert not voxels(mrml, editor, "b").any()


def test_the_editor_follows_its_nodes_and_tells(facade, mrml):
    heard = []
    editor = mrml.qMRMLSegmentEditorWidget()
    for signature in (
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)",
    ):
        editor.connect(signature, lambda node: heard.append(node and node.GetName()))
    editor.connect("currentSegmentIDChanged(QString)", heard.append)
    editor.setMRMLScene(mrml.mrmlScene)
    volume = mrml.util.addVolumeFromArray(np.zeros((2, 3, 4)), name="volume")
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    as_project("editor.setMRMLSegmentEditorNode(node)", editor=editor, node=node)
    assert as_project("result = editor.mrmlSegmentEditorNode()", editor=editor) is node
    editor.setSegmentationNode(segmentation)
    assert editor.sourceVolumeNode() is volume
    assert heard == ["drawn", "volume"]
    editor.parts.add_button.click()
    editor.parts.add_button.click()
    first, second = segmentation.GetSegmentation().GetSegmentIDs()
    assert editor.currentSegmentID() == second
    editor.parts.table.setCurrentCell(0, 1)
    assert editor.currentSegmentID() == first
    assert heard[2:] == [first]
    editor.parts.remove_button.click()
    assert list(segmentation.GetSegmentation().GetSegmentIDs()) == [second]


def test_effects_can_be_chosen_and_are_left_with_the_segmentation(editor, mrml):
    as_project("editor.setActiveEffectByName('Paint')", editor=editor)
    assert as_project("result = editor.activeEffect().name", editor=editor) == "Paint"
    assert editor.mrmlSegmentEditorNode().GetActiveEffectName() == "Paint"
    editor.setSegmentationNode(None)
    assert editor.activeEffect() is None
    assert editor.sourceVolumeNode() is None or editor.segmentationNode() is None


def test_closing_the_scene_leaves_an_empty_editor(editor, embedded, mrml):
    editor.paint(random_mask(0), "a")
    embedded.clear_scene()
    assert editor.segmentationNode() is None
    assert editor.sourceVolumeNode() is None
    assert editor.currentSegmentID() == ""
    editor.undo()
    editor.setActiveEffectByName("Paint")
    editor.updateWidgetFromMRML()
    assert editor.parts.table.rowCount() == 0
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLSegmentEditorNode(node)
    assert editor.mrmlSegmentEditorNode() is node


def test_parts_of_the_editor_can_be_hidden(editor):
    names = ("segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "undoEnabled", "show3DButtonVisible")
    for name in (*names, "switchToSegmentationsButtonVisible", "addRemoveSegmentButtonsVisible"):
        as_project(f"editor.{name} = False", editor=editor)
        assert as_project(f"result = editor.{name}", editor=editor) is False
    assert editor.parts.source_box.isHidden()
    as_project("editor.maximumNumberOfUndoStates = 20", editor=editor)
    assert editor.maximumNumberOfUndoStates == 20


def test_the_editors_keys_are_those_of_slicer(editor, qt):
    from PySide6 import QtGui

    window = qt.QWidget()
    as_project("editor.installKeyboardShortcuts(window)", editor=editor, window=window)
    shortcuts = {s.key().toString(): s for s in window.findChildren(QtGui.QShortcut)}
    assert {*"0123456789ZYQWI", "Space", "Esc", "Shift+1", "Ctrl+Z"} <= set(shortcuts)
    shortcuts["2"].activated.emit()
    assert editor.activeEffect().name == "Paint"
    shortcuts["Esc"].activated.emit()
    assert editor.activeEffect() is None
    editor.paint(random_mask(0), "a")
    shortcuts["Z"].activated.emit()
    assert editor.parts.redo_button.isEnabled()
    as_project("editor.uninstallKeyboardShortcuts()", editor=editor)
    assert window.findChildren(QtGui.QShortcut) == []
