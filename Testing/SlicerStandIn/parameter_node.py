"""A stand-in for `slicer.parameterNodeWrapper`: the kinds of parameters the project may use, and no others.

Values live in the vtkMRMLScriptedModuleNode itself, under the names that Slicer gives them, so they are saved with the
scene as in Slicer; nodes are node references.
"""

from __future__ import annotations

import sys
import types
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk

from .parameter_values import Choice, WithinRange, value_kind


@dataclass(frozen=True)
class Parameter:
    """One annotated member of a wrapped class."""

    name: str
    kind: typing.Any  # as annotated
    stored: typing.Any  # reads and writes it, see parameter_values
    default: typing.Any


def parameterNodeWrapper(cls=None):
    """Class decorator: annotated members become parameters of the node given to the constructor."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, kind in typing.get_type_hints(cls, include_extras=True).items():
        stored = value_kind(kind, f"{cls.__name__}.{name}")
        parameters[name] = Parameter(name, kind, stored, getattr(cls, name, stored.default))
    reserved = parameters.keys() & vars(ParameterNodeWrapper).keys()
    if reserved:
        raise ValueError(f"Cannot use reserved name '{min(reserved)}' in a parameterNodeWrapper")
    members = {name: _attribute(name) for name in parameters}
    return type(cls.__name__, (ParameterNodeWrapper, cls), {**members, "allParameters": parameters})


def _attribute(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


class ParameterNodeWrapper:
    """What `parameterNodeWrapper` adds to a class."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[dict, int]] = {}
        self._updating_guis = False
        for name, parameter in self.allParameters.items():
            if not parameter.stored.has(parameterNode, name):
                parameter.stored.write(parameterNode, name, parameter.default)
        # As in Slicer, values are cached, and read again when the node has been modified.
        self._values: dict[str, typing.Any] = {}
        self._read()
        this = weakref.ref(self)
        # Before all other observers, which may need the values.
        tag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this()._read(), 1.0)
        weakref.finalize(self, parameterNode.RemoveObserver, tag).atexit = False

    def _read(self) -> None:
        for name, parameter in self.allParameters.items():
            if not parameter.stored.has(self.parameterNode, name):
                parameter.stored.write(self.parameterNode, name, parameter.default)
            self._values[name] = parameter.stored.read(self.parameterNode, name)

    def getValue(self, name: str):
        self._parameter(name)
        return self._values[name]

    def setValue(self, name: str, value) -> None:
        stored = self._parameter(name).stored
        with slicer.util.NodeModify(self.parameterNode):
            stored.write(self.parameterNode, name, value)
            self._values[name] = stored.read(self.parameterNode, name)

    def default(self, name: str):
        return self._parameter(name).default

    @classmethod
    def dataType(cls, name: str):
        return cls.allParameters[name].kind

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def connectGui(self, gui) -> int:
        """Bind every widget of an object that has a dynamic property SlicerParameterName; returns a tag."""
        named = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        """Bind parameters to widgets, both ways; returns a tag for `disconnectGui`.

        Raises ValueError when there is no such parameter, RuntimeError when Slicer cannot bind it to the widget.
        """
        from . import parameter_gui

        connectors = {
            name: parameter_gui.connector(widget, self._parameter(name).kind) for name, widget in mapping.items()
        }
        for name, bound in connectors.items():
            bound.write(self.getValue(name))
            bound.begin(lambda name=name, bound=bound: self._take(name, bound))
        tag = len(self._guis) and max(self._guis) + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_guis())
        self._guis[tag] = (connectors, observer)
        return tag

    def _take(self, name: str, bound) -> None:
        if not self._updating_guis:
            with slicer.util.NodeModify(self):
                self.setValue(name, bound.read())

    def _update_guis(self) -> None:
        if self._updating_guis:
            return
        self._updating_guis = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in self._guis.values():
                    for name, bound in connectors.items():
                        bound.write(self.getValue(name))
        finally:
            self._updating_guis = False

    def disconnectGui(self, tag: int) -> None:
        """Unbind the widgets that were bound with this tag."""
        connectors, observer = self._guis.pop(tag, ({}, None))
        for bound in connectors.values():
            bound.end()
        if observer is not None:
            self.RemoveObserver(observer)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying):
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event, callback, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def install() -> None:
    """Make `slicer.parameterNodeWrapper` importable."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.Choice, module.WithinRange, module.parameterNodeWrapper = Choice, WithinRange, parameterNodeWrapper
    sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
