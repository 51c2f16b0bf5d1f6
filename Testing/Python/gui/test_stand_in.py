"""What the stand-in refuses, and what it does like Slicer: attributes, signals, the application around them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from project_code import as_project

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


def test_timers_are_heard_between_two_calls_from_the_event_loop(qt, mrml):
    heard, timer = [], qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", lambda: heard.append("timer"))
    timer.start()

    def call(number: int) -> None:
        time.sleep(0.005)
        heard.append(number)
        if number < 3:
            as_project("qt.QTimer.singleShot(0, lambda: call(number + 1))", qt=qt, call=call, number=number)

    call(0)
    while 3 not in heard:
        mrml.app.processEvents()
    timer.stop()
    first, last = heard.index(1), heard.index(3)
    assert "timer" in heard[first : heard.index(2)]
    assert "timer" in heard[heard.index(2) : last]


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
    assert facade.shown_messages == ["It went wrong.", "By the way."]


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
