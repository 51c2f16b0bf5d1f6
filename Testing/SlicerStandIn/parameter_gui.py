"""The stand-in's binding of parameters to widgets, for the widgets the panel binds."""

from __future__ import annotations

from PySide6 import QtWidgets

from .qt_facade import qMRMLNodeComboBox

_connected: dict[int, list] = {}


def connect(wrapper, mapping: dict) -> int:
    """Bind each parameter to its widget, both ways; returns a tag for `disconnect`."""
    tag = len(_connected) + 1
    bound = []
    for name, widget in mapping.items():
        read, write, signal = _access(widget)
        write(getattr(wrapper, name))

        def changed(*_, name=name, read=read):
            value = read()
            setattr(wrapper, name, value)

        signal.connect(changed)
        bound.append((signal, changed))
    _connected[tag] = bound
    return tag


def disconnect(tag: int) -> None:
    """Let go of the widgets bound under `tag`."""
    for signal, slot in _connected.pop(tag, []):
        signal.disconnect(slot)


def _access(widget):
    if isinstance(widget, qMRMLNodeComboBox):
        return widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged
    if isinstance(widget, QtWidgets.QComboBox):
        return (lambda: widget.property("currentText")), widget.setCurrentText, widget.currentTextChanged
    if isinstance(widget, QtWidgets.QCheckBox):
        return (lambda: widget.property("checked")), widget.setChecked, widget.toggled
    if isinstance(widget, (QtWidgets.QSpinBox, QtWidgets.QDoubleSpinBox)):
        return (lambda: widget.property("value")), widget.setValue, widget.valueChanged
    raise TypeError(f"The stand-in cannot bind a parameter to a {type(widget).__name__}.")
