"""Loading .ui files with the classes of the stand-in: `slicer.util.loadUI` and `childWidgetVariables`."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets, table_widget
from .pythonqt_rules import as_pythonqt
from .segment_editor_widget import qMRMLSegmentEditorWidget
from .slicer_facts import facts_of_class

WIDGETS = {
    cls.__name__: cls
    for cls in (
        ctk_widgets.ctkCollapsibleButton,
        ctk_widgets.ctkCollapsibleGroupBox,
        ctk_widgets.ctkPathLineEdit,
        ctk_widgets.ctkSearchBox,
        mrml_widgets.qMRMLNodeComboBox,
        mrml_widgets.qMRMLWidget,
        table_widget.QTableWidget,
        qMRMLSegmentEditorWidget,
    )
}


class _Loader(QtUiTools.QUiLoader):
    def __init__(self):
        super().__init__()
        self.kept: list[QtWidgets.QWidget] = []

    def createWidget(self, class_name, parent=None, name=""):
        cls = WIDGETS.get(class_name) or getattr(QtWidgets, class_name, None)
        if cls is None or facts_of_class(class_name) is None:
            raise RuntimeError(f"Nothing is known of the class {class_name} in Slicer; see slicer_facts.py.")
        widget = as_pythonqt(cls)(parent)
        QtCore.QObject.setProperty(widget, "objectName", name)
        self.kept.append(widget)
        return widget


def load_ui(path: str):
    """The widget of a .ui file. Raises RuntimeError when it cannot be loaded."""
    loader = _Loader()
    file = QtCore.QFile(str(path))
    if not file.open(QtCore.QFile.OpenModeFlag.ReadOnly):
        raise RuntimeError(f"Could not load UI file: {path}")
    widget = loader.load(file)
    if widget is None:
        raise RuntimeError(f"Could not load UI file: {path}: {loader.errorString()}")
    widget._kept = [child for child in loader.kept if child is not widget]
    return widget


def child_widget_variables(widget):
    """The named widgets in the widget of a .ui file as attributes of one object."""
    named = {QtCore.QObject.property(child, "objectName"): child for child in widget._kept}
    return types.SimpleNamespace(**{name: child for name, child in named.items() if name})
