"""A stand-in for `slicer.parameterNodeWrapper`: the kinds of parameters the project uses, and no others.

Values live in the vtkMRMLScriptedModuleNode itself, so they are saved with the scene as in Slicer.
"""

from __future__ import annotations

import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path

import slicer
import vtk


@dataclass(frozen=True)
class Choice:
    """The value must be one of `choices`."""

    choices: list


@dataclass(frozen=True)
class WithinRange:
    """The value must lie between minimum and maximum, both included."""

    minimum: float
    maximum: float


class _Parameter:
    """Descriptor that reads and writes one parameter of the wrapped node."""

    def __init__(self, name: str, kind, default):
        self.name, self.default = name, default
        arguments = typing.get_args(kind)
        self.kind = arguments[0] if arguments else kind
        self.rules = arguments[1:]
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, vtk.vtkObject)
        if not self.is_node and self.kind not in (str, int, float, bool, Path):
            raise TypeError(f"The stand-in has no serializer for {name}: {kind}.")

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        node = wrapper.parameterNode
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.name not in node.GetParameterNames():
            return self.default
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def __set__(self, wrapper, value):
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name} must be a {self.kind.__name__}.")
            wrapper.parameterNode.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.kind) and not (self.kind is float and isinstance(value, int)):
            raise TypeError(f"{self.name} must be a {self.kind.__name__}, not {value!r}.")
        for rule in self.rules:
            if isinstance(rule, Choice) and value not in rule.choices:
                raise ValueError(f"{self.name} must be one of {rule.choices}, not {value!r}.")
            if isinstance(rule, WithinRange) and not rule.minimum <= value <= rule.maximum:
                raise ValueError(f"{self.name} must be within {rule.minimum} and {rule.maximum}, not {value!r}.")
        wrapper.parameterNode.SetParameter(self.name, str(value))


def parameterNodeWrapper(cls):
    """Class decorator: annotated members become parameters of the node given to the constructor."""
    parameters = {
        name: _Parameter(name, kind, getattr(cls, name, None))
        for name, kind in typing.get_type_hints(cls, include_extras=True).items()
    }

    def initialise(self, parameterNode):
        self.parameterNode = parameterNode

    def connect_parameters_to_gui(self, mapping) -> int:
        from . import parameter_gui

        return parameter_gui.connect(self, mapping)

    def disconnect_gui(self, tag: int) -> None:
        from . import parameter_gui

        parameter_gui.disconnect(tag)

    members = {
        **parameters,
        "__init__": initialise,
        "connectParametersToGui": connect_parameters_to_gui,
        "disconnectGui": disconnect_gui,
    }
    return type(cls.__name__, (cls,), members)


def install() -> None:
    """Make `slicer.parameterNodeWrapper` importable."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.Choice, module.WithinRange, module.parameterNodeWrapper = Choice, WithinRange, parameterNodeWrapper
    sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
