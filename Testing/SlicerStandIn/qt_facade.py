"""`qt`, `ctk` and the qMRML widgets the panel uses, on PySide6, as PythonQt shows them to Python.

PySide6 classes are subclassed so that Qt properties are attributes (`box.value = 3`), signals connect by signature
(`button.connect("clicked()", f)`, refused when there is no such signal), and nothing else is added.
"""

from __future__ import annotations

import sys
import types
from functools import cache

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_CLASSES = [
    "QCheckBox",
    "QComboBox",
    "QDoubleSpinBox",
    "QFormLayout",
    "QHBoxLayout",
    "QHeaderView",
    "QLabel",
    "QLineEdit",
    "QPlainTextEdit",
    "QProcess",
    "QProgressBar",
    "QPushButton",
    "QSpinBox",
    "QTableWidget",
    "QTimer",
    "QVBoxLayout",
    "QWidget",
]
_PLAIN_CLASSES = ["QAbstractItemView", "QTableWidgetItem", "Qt"]


def _connect(self, signature: str, receiver) -> None:
    """PythonQt's `connect`: the signal by its signature, which must exist."""
    plain = signature.replace("vtkMRMLNode*", "PyObject")
    normalised = QtCore.QMetaObject.normalizedSignature(plain).data().decode()
    if self.metaObject().indexOfSignal(normalised) < 0:
        raise ValueError(f"{self.metaObject().className()} has no signal '{signature}'.")
    if not QtCore.QObject.connect(self, QtCore.SIGNAL(plain), receiver):
        raise ValueError(f"'{signature}' cannot be connected.")


@cache
def as_pythonqt(cls):
    """The PySide6 class as PythonQt shows it."""
    meta = cls.staticMetaObject
    members = {"connect": _connect}
    for number in range(meta.propertyCount()):
        name = meta.property(number).name()
        # Properties declared in Python are attributes already.
        if any(isinstance(vars(base).get(name), QtCore.Property) for base in cls.__mro__):
            continue
        members[name] = property(
            _reader(cls, name),
            lambda self, value, name=name: _set(self, name, value),
        )
    members["name"] = property(lambda self: QtCore.QObject.property(self, "objectName"))
    return type(cls.__name__, (cls,), members)


def _reader(cls, name: str):
    """How a property is read: by its C++ method where that has the same name.

    Qt asks Python for virtual methods such as QProgressBar.text, finds the property, and would ask for ever.
    """
    method = getattr(cls, name, None)
    if callable(method):
        return lambda self: method(self)
    return lambda self: QtCore.QObject.property(self, name)


def _set(widget, name: str, value) -> None:
    if not widget.metaObject().property(widget.metaObject().indexOfProperty(name)).isWritable():
        raise AttributeError(f"The property '{name}' of {widget.metaObject().className()} cannot be set.")
    QtCore.QObject.setProperty(widget, name, value)


class qMRMLWidget(QtWidgets.QWidget):
    """A plain widget that knows the scene."""


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    """A titled box; collapsing hides its contents."""

    contentsCollapsed = QtCore.Signal(bool)

    def _title(self):
        return self.title()

    text = QtCore.Property(str, _title, lambda self, text: self.setTitle(text))

    def _is_collapsed(self):
        return bool(getattr(self, "_folded", False))

    def _collapse(self, folded: bool):
        self._folded = folded
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(not folded)
        self.contentsCollapsed.emit(folded)

    collapsed = QtCore.Property(bool, _is_collapsed, _collapse)


class ctkPathLineEdit(QtWidgets.QLineEdit):
    """A line with a path."""

    currentPathChanged = QtCore.Signal(str)
    Files, Dirs = 0x002, 0x001

    def __init__(self, parent=None):
        super().__init__(parent)
        self._filters = self.Files | self.Dirs
        self.textChanged.connect(self.currentPathChanged)

    filters = QtCore.Property(int, lambda self: self._filters, lambda self, f: setattr(self, "_filters", f))

    currentPath = QtCore.Property(str, lambda self: QtWidgets.QLineEdit.text(self), lambda self, p: self.setText(p))


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the scene's nodes of the given types and follows the scene."""

    currentNodeChanged = QtCore.Signal(object)
    nodeActivated = QtCore.Signal(object)  # by the user only

    def __init__(self, parent=None):
        super().__init__(parent)
        self._types: list[str] = []
        self._flags = {"showChildNodeTypes": True, "addEnabled": True, "removeEnabled": True, "noneEnabled": False}
        self._ids: list[str] = []
        self.currentIndexChanged.connect(lambda _: self.currentNodeChanged.emit(self.currentNode()))
        self.activated.connect(lambda _: self.nodeActivated.emit(self.currentNode()))

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, lambda self, t: self._take_types(t))

    def _flag(name):
        return QtCore.Property(
            bool, lambda self: self._flags[name], lambda self, value: self._flags.__setitem__(name, value)
        )

    showChildNodeTypes, addEnabled = _flag("showChildNodeTypes"), _flag("addEnabled")
    removeEnabled, noneEnabled = _flag("removeEnabled"), _flag("noneEnabled")

    def setMRMLScene(self, scene) -> None:
        tags: list[int] = []

        def follow(*_) -> None:
            # Slicer's own widget lets go of the scene when it is destroyed.
            if shiboken6.isValid(self):
                self._list_nodes()
            else:
                for tag in tags:
                    scene.RemoveObserver(tag)

        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent):
            tags.append(scene.AddObserver(event, follow))
        self._list_nodes()

    def currentNode(self):
        index = self.currentIndex() if callable(self.currentIndex) else self.currentIndex
        return slicer.mrmlScene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def setCurrentNode(self, node) -> None:
        identifier = node.GetID() if node is not None else None
        self.setCurrentIndex(self._ids.index(identifier) if identifier in self._ids else -1)

    def _take_types(self, types_) -> None:
        self._types = list(types_)

    def _list_nodes(self) -> None:
        current = self.currentNode()
        nodes = [n for t in self._types for n in slicer.util.getNodesByClass(t)]
        if not self._flags["showChildNodeTypes"]:
            nodes = [n for n in nodes if n.GetClassName() in self._types]
        self.blockSignals(True)
        self.clear()
        self._ids = [n.GetID() for n in nodes]
        self.addItems([n.GetName() for n in nodes])
        self.blockSignals(False)
        first = nodes[0] if nodes and not self._flags["noneEnabled"] else None
        self.setCurrentNode(current if current is not None else first)
        self.currentNodeChanged.emit(self.currentNode())


_WIDGETS = {c.__name__: c for c in (qMRMLWidget, ctkCollapsibleButton, ctkPathLineEdit, qMRMLNodeComboBox)}


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, class_name, parent=None, name=""):
        cls = _WIDGETS.get(class_name) or getattr(QtWidgets, class_name)
        widget = as_pythonqt(cls)(parent)
        QtCore.QObject.setProperty(widget, "objectName", name)
        self.kept.append(widget)
        return widget


def load_ui(path: str):
    """`slicer.util.loadUI`."""
    loader = _Loader()
    loader.kept = []
    file = QtCore.QFile(str(path))
    if not file.open(QtCore.QFile.ReadOnly):
        raise RuntimeError(f"Could not load UI file: {path}")
    widget = loader.load(file)
    if widget is None:
        raise RuntimeError(f"Could not load UI file: {path}: {loader.errorString()}")
    widget._kept = loader.kept
    return widget


def child_widget_variables(widget):
    """`slicer.util.childWidgetVariables`."""
    children = [c for c in widget._kept if QtCore.QObject.property(c, "objectName")]
    return types.SimpleNamespace(**{QtCore.QObject.property(c, "objectName"): c for c in children})


def install() -> QtWidgets.QApplication:
    """Make `qt` and `ctk` importable, and give `slicer.app` an event loop; returns the application."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerStandIn"])
    qt = types.ModuleType("qt")
    for name in _CLASSES:
        module = next(m for m in (QtWidgets, QtCore, QtGui) if hasattr(m, name))
        setattr(qt, name, as_pythonqt(getattr(module, name)))
    for name in _PLAIN_CLASSES:
        module = next(m for m in (QtWidgets, QtCore, QtGui) if hasattr(m, name))
        setattr(qt, name, getattr(module, name))
    ctk = types.ModuleType("ctk")
    ctk.ctkCollapsibleButton = as_pythonqt(ctkCollapsibleButton)
    ctk.ctkPathLineEdit = as_pythonqt(ctkPathLineEdit)
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    slicer.qMRMLNodeComboBox = as_pythonqt(qMRMLNodeComboBox)
    slicer.util.loadUI, slicer.util.childWidgetVariables = load_ui, child_widget_variables
    slicer.app.process_events = application.processEvents
    return application
