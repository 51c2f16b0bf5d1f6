"""The stand-in of Slicer's application allows the project what Slicer allows it, and nothing more."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import pytest


@pytest.fixture
def facade(mrml):
    """The stand-in with its windows; nothing asked, nothing answered."""
    from SlicerStandIn import qt_facade, questions

    qt_facade.install()
    questions.forget()
    qt_facade.slot_errors.clear()
    yield qt_facade
    assert qt_facade.slot_errors == []
    assert list(qt_facade.answers) == []


@pytest.fixture
def qt(facade):
    import qt

    return qt


@pytest.fixture
def ctk(facade):
    import ctk

    return ctk


def as_project(source: str, **names):
    """Run code as if it stood in a module of the project; returns the value of its variable `result`."""
    space = {"__name__": "SparseAnnotateLib.gui.trial", **names}
    exec(compile(textwrap.dedent(source), "trial.py", "exec"), space)
    return space.get("result")


# --- attributes -------------------------------------------------------------------------------------------------------


def test_what_slicer_does_not_have_is_no_attribute_for_the_project(qt):
    button = qt.QPushButton("x")
    with pytest.raises(AttributeError, match="QPushButton has no attribute 'thumbnail'"):
        as_project("button.thumbnail", button=button)
    with pytest.raises(AttributeError, match="has no attribute 'staticMetaObject'"):
        as_project("button.staticMetaObject", button=button)  # of PySide6 alone
    assert not as_project("result = hasattr(button, 'staticMetaObject')", button=button)
    assert button.staticMetaObject is not None  # tests may use all of PySide6


def test_the_project_cannot_invent_attributes(qt):
    label = qt.QLabel("x")
    for name in ("colour", "setText", "note"):
        with pytest.raises(AttributeError, match="new attributes are not allowed"):
            as_project(f"label.{name} = 1", label=label)
    as_project("label.text = 'y'; label.setProperty('note', 5)", label=label)
    assert label.text == "y"
    assert as_project("result = label.property('note')", label=label) == 5


def test_properties_are_attributes_and_never_methods(qt):
    table, box = qt.QTableWidget(), qt.QSpinBox()
    as_project("box.value = 7; box.enabled = False; table.rowCount = 3", box=box, table=table)
    assert as_project("result = box.value, box.enabled, table.rowCount", box=box, table=table) == (7, False, 3)
    for call in ("box.value()", "box.isEnabled() and table.rowCount()"):
        with pytest.raises(TypeError, match="not callable"):
            as_project("box.enabled = True; " + call, box=box, table=table)
    assert as_project("result = table.currentRow()", table=table) == -1


def test_a_property_takes_only_what_it_can_hold(qt):
    box = qt.QSpinBox()
    for value in ("None", "'many'", "[5]"):
        with pytest.raises(AttributeError, match="'value' of QSpinBox takes no"):
            as_project(f"box.value = {value}", box=box)
    with pytest.raises(AttributeError, match="cannot be set"):
        as_project("box.cleanText = 'x'", box=box)


def test_what_a_method_returns_is_shown_as_strictly(qt):
    table = qt.QTableWidget(1, 1)
    as_project("table.verticalHeader().visible = False", table=table)
    assert table.verticalHeader().isHidden()
    with pytest.raises(AttributeError, match="QHeaderView has no attribute"):
        as_project("table.verticalHeader().staticMetaObject", table=table)
    as_project("table.setItem(0, 0, qt.QTableWidgetItem('x'))", table=table, qt=qt)
    assert as_project("result = table.item(0, 0).text()", table=table) == "x"
    with pytest.raises(AttributeError, match="QTableWidgetItem has no attribute 'colour'"):
        as_project("table.item(0, 0).colour", table=table)


def test_methods_take_no_keywords(qt):
    with pytest.raises(TypeError, match="no keyword arguments"):
        as_project("qt.QLabel('x').setText(text='y')", qt=qt)
    with pytest.raises(TypeError, match="no keyword arguments"):
        as_project("qt.QPushButton('x', enabled=False)", qt=qt)


def test_the_modules_offer_only_names_of_slicer(facade, qt, ctk):
    from SlicerStandIn.slicer_facts import all_facts

    for module in (qt, ctk):
        offered = {name for name in vars(module) if not name.startswith("_")}
        assert offered <= all_facts()[module.__name__].names
        with pytest.raises(AttributeError, match="has no 'Nothing'"):
            module.Nothing  # noqa: B018
    import slicer

    public = {name for name in dir(slicer.app) if not name.startswith("_")}
    assert public - {"begin", "process_events"} <= all_facts()["slicer.app"].names


def test_a_widget_of_any_kind_is_a_widget(qt, ctk):
    assert isinstance(ctk.ctkCollapsibleButton(), qt.QWidget)
    assert not isinstance(qt.QTimer(), qt.QWidget)
    parent = qt.QWidget()
    children = [qt.QLabel("x", parent), qt.QSpinBox(parent)]
    assert as_project("result = parent.findChildren(qt.QLabel)", parent=parent, qt=qt) == children[:1]


def test_a_subclass_in_python_may_have_attributes_of_its_own(qt):
    watched = as_project(
        """
        class Watcher(qt.QObject):
            def __init__(self):
                qt.QObject.__init__(self)
                self.seen = []

            def eventFilter(self, watched, event):
                self.seen.append(event.type())
                return False

        watcher = Watcher()
        widget.installEventFilter(watcher)
        widget.resize(50, 50)
        widget.show()
        result = watcher.seen
        """,
        qt=qt,
        widget=qt.QWidget(),
    )
    assert watched


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_connects_by_a_signature_that_slicer_has(qt):
    button = qt.QPushButton("x")
    for signature in ("clicked(int)", "clickd()", "nodeAdded(vtkMRMLNode*)"):
        with pytest.raises(ValueError, match="has no signal"):
            button.connect(signature, print)
        with pytest.raises(ValueError, match="has no signal"):
            button.disconnect(signature, print)


def test_a_slot_gets_what_the_signature_says_and_no_more_than_it_takes(qt):
    heard = []
    as_project(
        """
        button.connect("clicked()", lambda *a: heard.append(("clicked()", a)))
        button.connect("clicked(bool)", lambda *a: heard.append(("clicked(bool)", a)))
        button.clicked.connect(lambda *a: heard.append(("clicked", a)))
        button.clicked.connect(lambda: heard.append("nothing"))
        """,
        button=(button := qt.QPushButton("x")),
        heard=heard,
    )
    button.click()
    assert sorted(map(str, heard)) == [
        "('clicked', (False,))",
        "('clicked()', ())",
        "('clicked(bool)', (False,))",
        "nothing",
    ]


def test_what_was_connected_can_be_disconnected(qt):
    class Listener:
        heard = 0

        def hear(self):
            self.heard += 1

    listener, button = Listener(), qt.QPushButton("x")
    as_project("b.connect('clicked()', f.hear); b.clicked.connect(f.hear)", b=button, f=listener)
    button.click()
    assert as_project(
        "result = b.disconnect('clicked()', f.hear), b.clicked.disconnect(f.hear)", b=button, f=listener
    ) == (True, True)
    button.click()
    assert listener.heard == 2
    assert not button.disconnect("clicked()", listener.hear)


def test_a_receiver_lives_as_long_as_its_sender(qt):
    class Listener:
        def __init__(self, heard):
            self.heard = heard

        def hear(self):
            self.heard.append(1)

    heard: list[int] = []
    button = qt.QPushButton("x")
    as_project("button.clicked.connect(Listener(heard).hear)", button=button, Listener=Listener, heard=heard)
    button.click()
    assert heard == [1]


def test_an_error_in_a_slot_fails_the_click(qt, facade):
    button = qt.QPushButton("x")
    button.connect("clicked()", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        button.click()
    assert facade.slot_errors == []


def test_timers_shortcuts_and_settings_work_as_in_slicer(qt, facade, mrml):
    window, heard = qt.QWidget(), []
    as_project(
        """
        qt.QTimer.singleShot(0, lambda: heard.append("later"))
        timer = qt.QTimer(window)
        timer.singleShot = True
        timer.interval = 0
        timer.timeout.connect(lambda: heard.append("timer"))
        timer.start()
        shortcut = qt.QShortcut(qt.QKeySequence("N"), window)
        shortcut.connect("activated()", lambda: heard.append("N"))
        shortcut.setKey(qt.QKeySequence("M"))
        shortcut.enabled = True
        qt.QSettings().setValue("SparseAnnotate/Trial", "kept")
        """,
        qt=qt,
        window=window,
        heard=heard,
    )
    while len(heard) < 2:
        mrml.app.processEvents()
    shortcut = window.findChildren(qt.QShortcut)[0]
    shortcut.activated.emit()
    assert sorted(heard) == ["N", "later", "timer"]
    assert shortcut.key.toString() == "M"
    as_project("shortcut.setParent(None); shortcut.deleteLater()", shortcut=shortcut)
    assert mrml.util.settingsValue("SparseAnnotate/Trial", "") == "kept"
    assert mrml.app.userSettings().value("SparseAnnotate/Trial") == "kept"
    assert Path(mrml.app.settings().fileName()).is_relative_to(Path(mrml.app.temporaryPath).parent)


# --- the application --------------------------------------------------------------------------------------------------


def test_questions_are_answered_from_a_list_and_noted(facade, mrml):
    facade.answers.extend([True, False])
    assert mrml.util.confirmYesNoDisplay("Shall it be?") is True
    assert mrml.util.confirmOkCancelDisplay("Really?") is False
    assert facade.asked == ["Shall it be?", "Really?"]
    with pytest.raises(AssertionError, match="Nobody answers the question 'And now"):
        mrml.util.confirmYesNoDisplay("And now?")
    mrml.util.errorDisplay("It went wrong.")
    mrml.util.messageBox("By the way.")
    assert facade.told == ["It went wrong.", "By the way."]


def test_menus_and_message_boxes_do_not_wait(facade, qt):
    chosen = []
    menu = qt.QMenu()
    for text in ("one", "two"):
        menu.addAction(text).triggered.connect(lambda _=None, text=text: chosen.append(text))
    facade.answers.extend(["two", qt.QMessageBox.No])
    as_project("menu.exec_()", menu=menu)
    assert chosen == ["two"]
    assert as_project("result = box.question(None, 'Title', 'Go on?')", box=qt.QMessageBox) == qt.QMessageBox.No
    assert facade.asked == ["Choose of the menu: one, two", "Go on?"]


def write_ui(path: Path, cls: str) -> Path:
    path.write_text(
        f"""<ui version="4.0"><class>Trial</class><widget class="qMRMLWidget" name="Trial"><layout class="QVBoxLayout">
        <item><widget class="ctkCollapsibleButton" name="section">
        <property name="text"><string>Section</string></property>
        <property name="collapsed"><bool>true</bool></property><layout class="QFormLayout"><item row="0" column="0">
        <widget class="{cls}" name="inner"/></item></layout></widget></item></layout></widget></ui>"""
    )
    return path


def test_a_ui_file_is_made_of_the_stand_ins_classes(facade, mrml, qt, tmp_path):
    widget = mrml.util.loadUI(str(write_ui(tmp_path / "trial.ui", "QLabel")))
    ui = mrml.util.childWidgetVariables(widget)
    assert set(vars(ui)) == {"section", "inner"}
    assert type(ui.inner) is qt.QLabel
    widget.show()
    assert (ui.section.text, ui.section.collapsed, ui.inner.visible) == ("Section", True, False)
    ui.section.collapsed = False
    assert ui.inner.visible


def test_a_ui_file_with_an_unknown_class_cannot_be_loaded(facade, mrml, tmp_path):
    with pytest.raises(RuntimeError, match=r"ctkNothing"):
        mrml.util.loadUI(str(write_ui(tmp_path / "trial.ui", "ctkNothing")))


def test_the_layout_is_that_of_the_scene(facade, mrml):
    manager = as_project("result = app.layoutManager()", app=mrml.app)
    as_project("manager.setLayout(3); manager.layout = 6", manager=manager)
    assert as_project("result = manager.layout", manager=manager) == 6
    assert manager.layoutLogic().GetLayoutNode().GetViewArrangement() == 6
    with pytest.raises(AttributeError):
        as_project("manager.show", manager=manager)


def test_the_clipboard_keeps_text(facade, mrml):
    as_project("app.clipboard().setText('copied')", app=mrml.app)
    assert as_project("result = app.clipboard().text()", app=mrml.app) == "copied"


def test_a_module_knows_its_resources_and_has_one_parameter_node(facade, mrml):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget

    logic = type("TrialLogic", (ScriptedLoadableModuleLogic,), {})()
    assert logic.getParameterNode() is logic.getParameterNode()
    assert logic.getAllParameterNodes() == [logic.getParameterNode()]
    widget = type("TrialWidget", (ScriptedLoadableModuleWidget,), {"__module__": __name__})()
    assert as_project("result = parent.isEntered", parent=widget.parent) is True
    with pytest.raises(AttributeError):
        as_project("layout.addNothing", layout=widget.layout)


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


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.fixture
def parameters(facade, mrml):
    from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    kinds = {
        "volume": vtkMRMLScalarVolumeNode,
        "volumes": list[vtkMRMLScalarVolumeNode],
        "reference": Optional[vtkMRMLSegmentationNode],  # noqa: UP045 as modules of Slicer write it
        "result": vtkMRMLSegmentationNode | None,
        "plane": Annotated[str, Choice(["axial", "coronal"])],
        "count": Annotated[int, WithinRange(1, 10)],
        "share": Annotated[float, WithinRange(0.0, 1.0)],
        "free": bool,
        "title": str,
        "folder": Path,
    }
    defaults = {"plane": "axial", "count": 3, "share": 0.5, "title": "x", "folder": Path("some")}
    TrialParameters = parameterNodeWrapper(type("TrialParameters", (), {"__annotations__": kinds, **defaults}))
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "trial")
    wrapper = TrialParameters(node)
    wrapper.remade = lambda: TrialParameters(mrml.util.getNode("trial"))
    return wrapper


def test_parameters_have_their_defaults_in_the_node(parameters):
    assert (parameters.plane, parameters.count, parameters.share, parameters.free) == ("axial", 3, 0.5, False)
    assert (parameters.volume, parameters.reference, parameters.result) == (None, None, None)
    assert parameters.volumes == []
    assert parameters.parameterNode.GetParameter("count") == "3"
    assert parameters.folder == Path("some")


def test_a_list_of_nodes_survives_in_the_scene(parameters, mrml, embedded, tmp_path):
    volumes = [mrml.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=name) for name in "abc"]
    parameters.volumes = volumes
    parameters.volumes.remove(volumes[1])
    parameters.reference = segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    assert parameters.volumes == [volumes[0], volumes[2]]
    assert parameters.reference is segmentation
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    loaded = parameters.remade()
    assert [node.GetName() for node in loaded.volumes] == ["a", "c"]
    assert loaded.reference.GetName() == "s"
    loaded.reference = None
    assert loaded.reference is None


def test_a_node_of_a_list_that_goes_leaves_a_gap(parameters, mrml):
    parameters.volumes = [add_volume(mrml, "a"), add_volume(mrml, "b")]
    mrml.mrmlScene.RemoveNode(mrml.util.getNode("a"))
    assert [node and node.GetName() for node in parameters.remade().volumes] == [None, "b"]


def test_parameters_refuse_what_slicer_refuses(parameters, mrml):
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name, value in {"plane": "oblique", "count": 11, "share": -0.1}.items():
        with pytest.raises(ValueError, match="Value"):
            setattr(parameters, name, value)
    for name, value in {"count": "3", "title": 5, "volume": segmentation, "volumes": [segmentation], "free": 1}.items():
        with pytest.raises(TypeError, match="Value must be"):
            setattr(parameters, name, value)
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.setValue("nothing", 1)
    assert parameters.remade().count == 3


def test_other_kinds_of_parameters_have_no_serializer(facade):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError, match="no serializer for Odd.what"):
        parameterNodeWrapper(type("Odd", (), {"__annotations__": {"what": complex}}))


def test_values_are_read_again_when_the_node_says_so(parameters):
    node = parameters.parameterNode
    was_modifying = node.StartModify()
    node.SetParameter("count", "8")
    assert parameters.count == 3
    node.EndModify(was_modifying)
    assert parameters.count == 8


@pytest.fixture
def widgets(qt, ctk, mrml):
    selector = mrml.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(mrml.mrmlScene)
    return {
        "volume": selector,
        "plane": qt.QComboBox(),
        "count": qt.QSpinBox(),
        "share": qt.QDoubleSpinBox(),
        "free": qt.QCheckBox(),
        "title": qt.QLineEdit(),
        "folder": ctk.ctkPathLineEdit(),
    }


def test_widgets_and_parameters_follow_each_other_until_they_are_let_go(parameters, widgets, mrml):
    tag = parameters.connectParametersToGui(widgets)
    assert (widgets["count"].minimum, widgets["count"].maximum, widgets["count"].value) == (1, 10, 3)
    assert [widgets["plane"].itemText(n) for n in range(2)] == ["axial", "coronal"]
    widgets["count"].value = 4
    widgets["plane"].setCurrentText("coronal")
    widgets["folder"].currentPath = "else"
    widgets["volume"].setCurrentNode(volume := add_volume(mrml, "v"))
    assert (parameters.count, parameters.plane, parameters.folder) == (4, "coronal", Path("else"))
    assert parameters.volume is volume
    parameters.free, parameters.title, parameters.share, parameters.volume = True, "y", 0.25, None
    shown = (widgets["free"].checked, widgets["title"].text, widgets["share"].value, widgets["volume"].currentNode())
    assert shown == (True, "y", 0.25, None)
    parameters.parameterNode.SetParameter("count", "9")
    assert widgets["count"].value == 9
    parameters.disconnectGui(tag)
    widgets["count"].value = 2
    parameters.plane = "axial"
    assert (parameters.count, widgets["plane"].currentText) == (9, "coronal")


def test_a_widget_is_bound_by_its_property_in_the_ui_file(parameters, widgets):
    from types import SimpleNamespace

    widgets["count"].setProperty("SlicerParameterName", "count")
    parameters.connectGui(SimpleNamespace(**widgets))
    parameters.count = 5
    assert widgets["count"].value == 5


def test_what_slicer_cannot_bind_is_an_error(parameters, qt, mrml):
    pairs = {"title": qt.QComboBox(), "count": qt.QDoubleSpinBox(), "share": qt.QSpinBox(), "volumes": qt.QListWidget()}
    assert parameters.connectParametersToGui({"count": pairs.pop("count")}) == 0  # an int in a QDoubleSpinBox
    for name, widget in pairs.items():
        with pytest.raises(RuntimeError, match=r"Unable to create GUI connector|annotation Choice"):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"nothing": qt.QSpinBox()})
