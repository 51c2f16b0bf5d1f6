"""What a segment editor is made of: its selectors, buttons and table, and its keys."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt

from .mrml_widgets import qMRMLNodeComboBox

EFFECTS = (
    *("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Margin"),
    *("Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)
# Keys that Slicer's slice views act on while the mouse is over them; they are no shortcuts.
VIEW_KEYS = ("Up", "Down", "Left", "Right", "+", "-", "B", "F", "G", "R", "V")
_COLUMNS = 2
_TABLE_HEIGHT = 80


@dataclass(frozen=True)
class EditorParts:
    """The widgets by what they are for."""

    segmentation_label: QtWidgets.QLabel
    segmentation_box: qMRMLNodeComboBox
    source_label: QtWidgets.QLabel
    source_box: qMRMLNodeComboBox
    add_button: QtWidgets.QPushButton
    remove_button: QtWidgets.QPushButton
    show_3d_button: QtWidgets.QPushButton
    switch_button: QtWidgets.QToolButton
    table: QtWidgets.QTableWidget
    effects: QtWidgets.QButtonGroup
    undo_button: QtWidgets.QToolButton
    redo_button: QtWidgets.QToolButton


def build(editor: QtWidgets.QWidget) -> EditorParts:
    """Lay out the parts in an empty widget."""
    parts = EditorParts(
        QtWidgets.QLabel("Segmentation:"),
        _selector("vtkMRMLSegmentationNode"),
        QtWidgets.QLabel("Source volume:"),
        _selector("vtkMRMLScalarVolumeNode"),
        _button(QtWidgets.QPushButton, "Add"),
        _button(QtWidgets.QPushButton, "Remove"),
        _button(QtWidgets.QPushButton, "Show 3D"),
        _button(QtWidgets.QToolButton, "Segmentations"),
        _table(),
        QtWidgets.QButtonGroup(editor),
        _button(QtWidgets.QToolButton, "Undo"),
        _button(QtWidgets.QToolButton, "Redo"),
    )
    parts.source_box.noneEnabled, parts.source_box.hideChildNodeTypes = True, ["vtkMRMLSegmentationNode"]
    parts.source_box.noneDisplay = "Select source volume to enable editing"
    selectors = QtWidgets.QGridLayout()
    selectors.setColumnStretch(1, 1)
    for row, pair in enumerate(
        [(parts.segmentation_label, parts.segmentation_box), (parts.source_label, parts.source_box)]
    ):
        for column, widget in enumerate(pair):
            selectors.addWidget(widget, row, column)
    actions = QtWidgets.QHBoxLayout()
    for widget in (parts.add_button, parts.remove_button, parts.show_3d_button, parts.switch_button):
        actions.addWidget(widget)
    tools = QtWidgets.QGridLayout()
    tools.setSpacing(3)
    for place, name in enumerate(("None", *EFFECTS)):
        button = _button(QtWidgets.QToolButton, name)
        button.setCheckable(True)
        parts.effects.addButton(button)
        tools.addWidget(button, place // _COLUMNS, place % _COLUMNS)
    row = tools.rowCount()
    for column, button in enumerate((parts.undo_button, parts.redo_button)):
        tools.addWidget(button, row, column)
    tools.setColumnStretch(_COLUMNS, 1)  # where Slicer has the options of the active effect
    layout = QtWidgets.QVBoxLayout(editor)
    layout.addLayout(selectors)
    layout.addLayout(actions)
    layout.addWidget(parts.table)
    layout.addLayout(tools)
    return parts


def shortcuts(editor, parent: QtWidgets.QWidget) -> list[QtGui.QShortcut]:
    """The keys that Slicer's Segment Editor takes in a window: digits, Escape, Space, Z, Y, Q, W, I and others."""
    keys: dict[str, object] = {"Esc": lambda: editor.setActiveEffectByName(""), "Space": editor.toggle_last_effect}
    for number in range(20):
        shift, digit = ("Shift+" if number >= 10 else ""), str((number + 1) % 10)
        keys[shift + digit] = lambda number=number: editor.toggle_effect("".join(EFFECTS[number : number + 1]))
    for undo, redo in (("Z", "Y"), ("Ctrl+Z", "Ctrl+Y")):
        keys |= {undo: editor.undo, redo: editor.redo}
    for previous, following in ("QW", "/*", ",.", "><"):
        keys |= {previous: editor.selectPreviousSegment, following: editor.selectNextSegment}
    keys["I"] = editor.toggleSourceVolumeIntensityMaskEnabled
    made = []
    for key, action in keys.items():
        shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), parent)
        shortcut.activated.connect(action)
        made.append(shortcut)
    return made


def _selector(node_type: str) -> qMRMLNodeComboBox:
    box = qMRMLNodeComboBox()
    box.nodeTypes = [node_type]
    box.addEnabled = node_type == "vtkMRMLSegmentationNode"
    box.removeEnabled, box.renameEnabled = box.addEnabled, True
    return box


def _button(kind: type, text: str):
    button = kind()
    button.setObjectName(text)
    button.setText(text)
    button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
    return button


def _table() -> QtWidgets.QTableWidget:
    table = QtWidgets.QTableWidget(0, 2)
    table.setHorizontalHeaderLabels(["Color", "Name"])
    table.setFixedHeight(_TABLE_HEIGHT)
    table.setAutoScroll(False)  # the colours stay in sight
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setStretchLastSection(True)
    table.setColumnWidth(0, 50)
    table.setIconSize(QtCore.QSize(16, 16))
    table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return table
