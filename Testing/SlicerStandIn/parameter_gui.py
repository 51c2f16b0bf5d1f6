"""Which widgets Slicer binds to which kinds of parameters, and how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6 import QtWidgets

from .ctk_widgets import ctkPathLineEdit
from .mrml_widgets import qMRMLNodeComboBox
from .parameter_values import Choice, WithinRange, is_node_type, is_union, plain_type


class Connector:
    """A widget that shows a parameter: `read` and `write` its value, `begin` and `end` to hear of changes."""

    def __init__(self, read: Callable, write: Callable, signal):
        self.read, self.write, self._signal = read, write, signal
        self._slot: Callable | None = None

    def begin(self, changed: Callable[[], None]) -> None:
        self._slot = lambda *_: changed()
        self._signal.connect(self._slot)

    def end(self) -> None:
        if self._slot is not None:
            self._signal.disconnect(self._slot)
            self._slot = None


def connector(widget, kind) -> Connector:
    """What binds this widget to a parameter of this (annotated) kind.

    Raises RuntimeError when Slicer binds no such parameter to such a widget.
    """
    # The very class, as Slicer wants it: a subclass is not bound.
    cls, plain = vars(type(widget)).get("_qt_class"), plain_type(kind)
    rules = {type(rule): rule for rule in getattr(kind, "__metadata__", ())}
    if cls is QtWidgets.QCheckBox and plain is bool:
        return Connector(lambda: widget.checked, widget.setChecked, widget.stateChanged)
    if cls is QtWidgets.QSpinBox and plain is int:
        return _spin_box(widget, rules.get(WithinRange, WithinRange(-(2**31), 2**31 - 1)), int)
    if cls is QtWidgets.QDoubleSpinBox and plain in (int, float):
        if plain is int:
            widget.setDecimals(0)
        return _spin_box(widget, rules.get(WithinRange, WithinRange(float("-inf"), float("inf"))), plain)
    if cls is QtWidgets.QComboBox and plain in (str, int, float, bool):
        if Choice not in rules:
            raise RuntimeError("A QComboBox can only be bound to a parameter with the annotation Choice.")
        return _combo_box(widget, rules[Choice].choices)
    if cls is QtWidgets.QLineEdit and plain is str:
        return Connector(lambda: widget.text, lambda text: _write_text(widget, text), widget.textChanged)
    if cls is ctkPathLineEdit and plain is Path:
        return Connector(lambda: Path(widget.currentPath), lambda p: _write_path(widget, p), widget.currentPathChanged)
    if cls is qMRMLNodeComboBox and (nodes := _node_types(plain)):
        widget.nodeTypes = [node.__name__ for node in nodes]
        return Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'.")


def _spin_box(widget, within: WithinRange, kind: type) -> Connector:
    widget.setRange(within.minimum, within.maximum)
    return Connector(lambda: kind(widget.value), lambda value: widget.setValue(kind(value)), widget.valueChanged)


def _combo_box(widget, choices: list) -> Connector:
    # Whatever the .ui file lists is replaced by the choices themselves.
    widget.clear()
    widget.addItems([str(choice) for choice in choices])
    return Connector(
        lambda: choices[widget.currentIndex],
        lambda value: widget.setCurrentIndex(choices.index(value)),
        widget.currentIndexChanged,
    )


def _write_text(widget, text: str) -> None:
    if widget.text != text:  # writing moves the cursor
        widget.setText(text)


def _write_path(widget, path: Path) -> None:
    widget.currentPath = str(path)


def _node_types(plain) -> list[type]:
    """The node classes of a kind that is a node, or a node or None; empty for anything else."""
    kinds = [kind for kind in plain.__args__ if kind is not type(None)] if is_union(plain) else [plain]
    return kinds if all(is_node_type(kind) for kind in kinds) else []
