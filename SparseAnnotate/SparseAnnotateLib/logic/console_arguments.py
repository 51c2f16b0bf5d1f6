"""What is given to the methods of the console, checked: a wrong node or value ends in a sentence that names it."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import scene
from ..core import BadInputError
from ..core.messages import _, joined

C = TypeVar("C", bound=type)

VOLUMES = ("volumeNode",)
LISTS_OF_VOLUMES = ("volumeNodes",)
SEGMENTATIONS = ("segmentationNode", "resultNode", "referenceNode")
VOLUMES_BY_NAME = ("channels",)
SLICE_VIEWS = ("sliceNode",)
"""Names of the parameters that are nodes, which have no type in Python."""


def checks_arguments(cls: C) -> C:
    """A class decorator: public methods get arguments of the right kind, or raise BadInputError.

    Nodes are known by the name of the parameter, everything else by its annotation. Numbers of numpy become Python's,
    and one volume or one name in place of a list becomes a list of it.
    """
    for name, method in list(vars(cls).items()):
        is_static = isinstance(method, staticmethod)
        function = method.__func__ if is_static else method
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        checked = _checked(function)
        setattr(cls, name, staticmethod(checked) if is_static else checked)
    return cls


def _checked(method: Callable) -> Callable:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        arguments = signature.bind(*given, **named)
        kinds = _kinds(method)
        for name, value in arguments.arguments.items():
            if name != "self":
                is_default = value is signature.parameters[name].default
                arguments.arguments[name] = value if is_default else _argument(method.__name__, name, value, kinds)
        return method(*arguments.args, **arguments.kwargs)

    return call


@functools.cache
def _kinds(method: Callable) -> Mapping[str, Any]:
    return typing.get_type_hints(method)


def _argument(method: str, name: str, value: Any, kinds: Mapping[str, Any]) -> Any:
    if name in VOLUMES:
        return _volume(value, method, name)
    if name in LISTS_OF_VOLUMES:
        return [_volume(node, method, name) for node in _listed(value, method, name)]
    if name in SEGMENTATIONS:
        return _node(value, "vtkMRMLSegmentationNode", _("a segmentation"), method, name)
    if name in SLICE_VIEWS:
        return _node(value, "vtkMRMLSliceNode", _("a slice view's node"), method, name)
    value = _plain(value, kinds.get(name, Any), method, name)
    if name in VOLUMES_BY_NAME:
        return {key: _volume(node, method, name) for key, node in value.items()}
    return value


def _listed(value: Any, method: str, name: str) -> Iterable:
    """Several nodes; a single one, which is an easy slip, as a list of it."""
    if hasattr(value, "IsA") or value is None:
        return [value]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong(method, name, _("a list of volumes"), value)
    return value


def _volume(node: Any, method: str, name: str) -> Any:
    if node is None:
        scene.require_scalar_volume(node)
    return _node(node, "vtkMRMLScalarVolumeNode", _("a volume"), method, name)


def _node(node: Any, kind: str, what: str, method: str, name: str) -> Any:
    if not hasattr(node, "IsA"):
        raise _wrong(method, name, what, node)
    if not node.IsA(kind):
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            raise BadInputError(
                _(
                    "'{node}' is a label map, not {what}. Convert it first: right-click it in Slicer's module 'Data', "
                    "and choose 'Convert labelmap to segmentation node'."
                ).format(node=node.GetName(), what=what)
            )
        raise BadInputError(
            _("{method}: '{name}' must be {what}; '{node}' is not a node of that kind ({kind}).").format(
                method=method, name=name, what=what, node=node.GetName(), kind=node.GetClassName()
            )
        )
    if node.GetScene() is None:
        raise BadInputError(
            _("'{node}' is no longer in the scene. Load it again, or choose another one.").format(node=node.GetName())
        )
    return node


def _plain(value: Any, kind: Any, method: str, name: str) -> Any:
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in of:
            return None
        choices = [choice for choice in of if choice is not type(None)]
        return _plain(value, Path if Path in choices else choices[-1], method, name)
    if kind is Path:
        if not isinstance(value, (str, os.PathLike)):
            raise _wrong(method, name, _("a path"), value)
        return value
    if origin is Sequence and of == (str,):
        return _names(value, method, name)
    if origin is dict and not isinstance(value, Mapping):
        raise _wrong(method, name, _("a dictionary"), value)
    return _scalar(value, kind, method, name)


def _names(value: Any, method: str, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    names = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(item, str) for item in names):
        raise _wrong(method, name, _("a list of names"), value)
    return names


def _scalar(value: Any, kind: Any, method: str, name: str) -> Any:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
    if kind is int:
        if not is_number or value % 1:  # also refuses infinity, whose remainder is no number
            raise _wrong(method, name, _("a whole number"), value)
        return int(value)
    if kind is float:
        if not is_number:
            raise _wrong(method, name, _("a number"), value)
        return float(value)
    if kind is bool:
        if not (isinstance(value, np.bool_) or (isinstance(value, int) and value in (0, 1))):
            raise _wrong(method, name, _("True or False"), value)
        return bool(value)
    if kind is str and not isinstance(value, str):
        raise _wrong(method, name, _("text"), value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise _wrong(method, name, f"a {kind.__name__}", value)
    return value


def _wrong(method: str, name: str, expected: str, value: Any) -> BadInputError:
    shown = repr(value)
    sentence = _("{method}: '{name}' must be {expected}, not {value}.").format(
        method=method, name=name, expected=expected, value=shown if len(shown) <= 60 else shown[:57] + "..."
    )
    if isinstance(value, str) and name in (*VOLUMES, *LISTS_OF_VOLUMES, *SEGMENTATIONS, *SLICE_VIEWS):
        sentence = joined(" ", [sentence, _("slicer.util.getNode gives the node with a name.")])
    return BadInputError(sentence)
