"""PySide6 classes as PythonQt shows Qt to Python, and nothing more than Slicer shows.

A class of PySide6 is subclassed: Qt properties become attributes (`box.value = 3`), signals connect by signature
(`button.connect("clicked()", f)`). To code of the project the objects have only what the facts of Slicer say: any other
attribute is an AttributeError, as it would be in Slicer. Tests and the stand-in itself may use all of PySide6.
"""

from __future__ import annotations

import ctypes
import re
import sys
from functools import cache
from types import MethodType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from .slicer_facts import Facts, facts_of_class

_PROJECT = "SparseAnnotate"
_SHOWN = (QtCore.QObject, QtWidgets.QTableWidgetItem, QtWidgets.QListWidgetItem)

# Errors raised by slots, oldest first. Slicer prints such an error and continues; tests check this list, or click.
slot_errors: list[Exception] = []


def is_project(frame) -> bool:
    """True for a frame that runs code of the project."""
    return frame.f_globals.get("__name__", "").startswith(_PROJECT)


@cache
def as_pythonqt(cls: type) -> type:
    """The class of PySide6, or of the stand-in, as PythonQt shows it."""
    return _shown_class(cls)


def show(value):
    """What a Qt method returned, as PythonQt shows it."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(show, value))
    if isinstance(value, _SHOWN) and type(value).__module__.startswith("PySide6."):
        value.__class__ = shown = _class_of_found(type(value))
        # With each such object that goes its class loses one reference more than it got, and is freed in the end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(shown))
    return value


@cache
def _class_of_found(cls: type) -> type:
    """The class for objects that Qt has made. It must not be older than the first of them.

    PySide6 learns from the first object of a class where its base classes lie within it, and tells classes that are
    derived later. Objects of a class that does not know would stay in its books when they are gone.
    """
    return _shown_class(cls)


def _shown_class(cls: type) -> type:
    facts = _facts_of(cls)
    members: dict[str, Any] = {"_qt_class": cls, "_facts": facts, "__init__": _maker(cls)}
    properties: set[str] = set()
    if issubclass(cls, QtCore.QObject):
        properties = _property_names(cls, facts)
        members |= {name: _Property(cls, name) for name in properties if not _is_declared(cls, name)}
        members |= _setters(cls, facts, properties)
        members |= {"connect": _connect, "disconnect": _disconnect, "delete": shiboken6.delete}
        members |= {"className": lambda self: cls.__name__, "findChildren": _find_children, "findChild": _find_child}
        if issubclass(cls, QtWidgets.QAbstractButton):
            members["click"] = _click
    shown = _PythonQtType(cls.__name__, (cls,), members)
    shown.__getattribute__, shown.__setattr__ = _reading(shown, cls, facts), _writing(shown, cls, facts, properties)
    return shown


class _PythonQtType(type(QtCore.QObject)):
    """Class of the classes: a QPushButton is a QWidget, though made from another class of PySide6."""

    def __instancecheck__(cls, value) -> bool:
        return issubclass(type(value), cls.__dict__.get("_qt_class", cls))


def _facts_of(cls: type) -> Facts:
    """The class's own facts, or those of the nearest base class that has some."""
    return next(facts for base in cls.__mro__ if (facts := facts_of_class(base.__name__)) is not None)


# --- attributes -------------------------------------------------------------------------------------------------------


def _asked_by_project(name: str) -> bool:
    """True when a line of the project names this attribute; Qt itself looks for methods while such a line runs, too."""
    try:
        frame = sys._getframe(2)
    except ValueError:  # a thread of Qt's own
        return False
    return is_project(frame) and (name in frame.f_code.co_names or name in frame.f_code.co_consts)


def _reading(shown: type, cls: type, facts: Facts):
    read = cls.__getattribute__

    def __getattribute__(self, name):
        if not _asked_by_project(name) or _is_of_subclass(self, shown, name):
            return read(self, name)
        if not facts.allows(name):
            raise AttributeError(f"{cls.__name__} has no attribute '{name}' in Slicer.")
        value = read(self, name)
        if isinstance(value, QtCore.SignalInstance):
            return _Signal(self, name, value)
        return _Method(self, name, value) if callable(value) and not name.startswith("__") else show(value)

    return __getattribute__


def _writing(shown: type, cls: type, facts: Facts, properties: set[str]):
    write = cls.__setattr__

    def __setattr__(self, name, value):
        if _asked_by_project(name) and type(self) is shown and (name not in properties or not facts.allows(name)):
            raise AttributeError(
                f"'{name}' is not a property of {cls.__name__} in Slicer, and new attributes are not allowed."
            )
        write(self, name, value)

    return __setattr__


def _is_of_subclass(widget, shown: type, name: str) -> bool:
    """True for an attribute that a subclass in Python has added."""
    if type(widget) is shown:
        return False
    own = type(widget).__mro__[: type(widget).__mro__.index(shown)]
    return name in object.__getattribute__(widget, "__dict__") or any(name in vars(base) for base in own)


def _maker(cls: type):
    def __init__(self, *arguments, **keywords):
        if keywords and is_project(sys._getframe(1)):
            raise TypeError(f"{cls.__name__}() takes no keyword arguments in Slicer.")
        cls.__init__(self, *arguments, **keywords)

    return __init__


class _Method:
    """A method as the project gets it: without keyword arguments, and what it returns is as PythonQt shows it."""

    def __init__(self, widget, name: str, method):
        self._key, self._method = (id(widget), name), method

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise TypeError(f"{self._key[1]}() takes no keyword arguments in Slicer.")
        return show(self._method(*arguments))

    def __eq__(self, other) -> bool:
        return isinstance(other, _Method) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


# --- properties -------------------------------------------------------------------------------------------------------


def _property_names(cls: type, facts: Facts) -> set[str]:
    meta = cls.staticMetaObject
    names = {meta.property(number).name() for number in range(meta.propertyCount())}
    if facts.properties is None or facts_of_class(cls.__name__) is None:
        return names
    # Another version of Qt may have the same name as a plain method.
    methods = {name for name in facts.names - facts.properties if not _is_declared(cls, name)}
    return (names - methods) | {name for name in facts.properties if callable(getattr(cls, name, None))}


def _is_declared(cls: type, name: str) -> bool:
    """True for a property that a class of the stand-in declares; it is an attribute already."""
    return any(isinstance(vars(base).get(name), QtCore.Property) for base in cls.__mro__)


class _Property:
    """A Qt property as an attribute. Of the class it gives the method of that name, as `QTimer.singleShot` is one."""

    def __init__(self, cls: type, name: str):
        self._name, self._owner, self._method = name, cls.__name__, getattr(cls, name, None)
        if self._method is QtCore.QTimer.singleShot:
            self._method = _call_later
        meta = cls.staticMetaObject
        number = meta.indexOfProperty(name)
        self._is_writable = number >= 0 and meta.property(number).isWritable()

    def __get__(self, widget, owner=None):
        if widget is None:
            return self._method
        # By the C++ method where there is one: Qt asks Python for virtual methods such as QProgressBar.text, finds the
        # property, and would recurse forever.
        is_getter = callable(self._method) and self._name != "singleShot"
        return self._method(widget) if is_getter else QtCore.QObject.property(widget, self._name)

    def __set__(self, widget, value) -> None:
        if not self._is_writable:
            raise AttributeError(f"The property '{self._name}' of {self._owner} cannot be set.")
        if value is None or not QtCore.QObject.setProperty(widget, self._name, value):
            raise AttributeError(f"The property '{self._name}' of {self._owner} takes no {value!r}.")


def _call_later(milliseconds: int, action) -> None:
    """`QTimer.singleShot` as PythonQt has it: with a timer of its own, so that what is pending comes before.

    PySide6 posts an event where there is nothing to wait for; between two of these no timer would be heard.
    """
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.timeout.connect(timer.deleteLater)
    timer.timeout.connect(action)
    timer.start(milliseconds)


def _setters(cls: type, facts: Facts, properties: set[str]) -> dict[str, Any]:
    """`setCollapsed` beside `collapsed`, where Slicer has it and a class of the stand-in does not spell it out."""
    setters = {f"set{name[0].upper()}{name[1:]}": name for name in properties}
    missing = {setter: name for setter, name in setters.items() if setter in facts.names and not hasattr(cls, setter)}
    return {setter: lambda self, value, name=name: setattr(self, name, value) for setter, name in missing.items()}


# --- signals ----------------------------------------------------------------------------------------------------------


class _Signal:
    """`button.clicked` as the project gets it."""

    def __init__(self, sender, name: str, signal):
        self._signature = _first_signature(type(sender), name)
        self._sender, self.emit = sender, signal.emit

    def connect(self, receiver) -> bool:
        return _attach(self._sender, self._signature, receiver)

    def disconnect(self, receiver) -> bool:
        return _detach(self._sender, self._signature, receiver)


@cache
def _first_signature(cls: type, name: str) -> str:
    """The signature of a signal; of several with the same name that of the first, as `clicked(bool)`."""
    meta = cls.staticMetaObject
    methods = (meta.method(number) for number in range(meta.methodCount()))
    return next(bytes(m.methodSignature()).decode() for m in methods if bytes(m.name()).decode() == name)


def _connect(self, signature: str, receiver) -> bool:
    """Call the receiver whenever the signal with this signature is emitted; ValueError when there is none."""
    return _attach(self, _checked(self, signature), receiver)


def _disconnect(self, signature: str, receiver) -> bool:
    """Undo a `connect`; False when there was none."""
    return _detach(self, _checked(self, signature), receiver)


def _checked(sender, signature: str) -> str:
    """The signature as PySide6 knows it, when Slicer and the stand-in have it."""
    cls = type(sender)
    normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if "_qt_class" in vars(cls) and not cls._facts.allows_signal(normal):
        raise ValueError(f"{cls.__name__} has no signal '{signature}' in Slicer.")
    plain = re.sub(r"vtk\w+\*", "PyObject", normal)
    if cls.staticMetaObject.indexOfSignal(plain) < 0:
        raise ValueError(f"The stand-in of {cls.__name__} has no signal '{signature}'.")
    return plain


def _attach(sender, signature: str, receiver) -> bool:
    if not callable(receiver):
        raise TypeError(f"{receiver!r} cannot be called.")
    taken = _arguments_taken(receiver)

    def slot(*arguments):
        try:
            receiver(*map(show, arguments[:taken]))
        except Exception as error:
            slot_errors.append(error)
            raise

    _connections(sender).append((signature, receiver, slot))
    return bool(QtCore.QObject.connect(sender, QtCore.SIGNAL(signature), slot))


def _detach(sender, signature: str, receiver) -> bool:
    connections = _connections(sender)
    for connection in connections:
        if connection[:2] == (signature, receiver):
            connections.remove(connection)
            return bool(QtCore.QObject.disconnect(sender, QtCore.SIGNAL(signature), connection[2]))
    return False


def _connections(sender) -> list[tuple]:
    """Signature, receiver and slot of all that is connected; as in PythonQt, a receiver lives as long as its sender."""
    return object.__getattribute__(sender, "__dict__").setdefault("_connections", [])


def _arguments_taken(receiver) -> int | None:
    """How many of a signal's arguments a Python function gets: no more than it names; None for all."""
    code = getattr(receiver, "__code__", None)
    if code is None or code.co_flags & 0x04:  # *arguments
        return None
    return code.co_argcount - isinstance(receiver, MethodType)


def _click(self) -> None:
    """Click; what a slot raises while it runs is raised here, so that a test fails where it clicked."""
    known = len(slot_errors)
    self._qt_class.click(self)
    if len(slot_errors) > known:
        raise slot_errors.pop()


# --- children ---------------------------------------------------------------------------------------------------------


def _find_children(self, kind=QtCore.QObject, *arguments, **keywords) -> list:
    return QtCore.QObject.findChildren(self, getattr(kind, "_qt_class", kind), *arguments, **keywords)


def _find_child(self, kind=QtCore.QObject, *arguments, **keywords):
    return QtCore.QObject.findChild(self, getattr(kind, "_qt_class", kind), *arguments, **keywords)
