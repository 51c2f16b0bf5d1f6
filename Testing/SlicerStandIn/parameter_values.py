"""How the values of parameters are kept in a vtkMRMLScriptedModuleNode, and the rules they must follow."""

from __future__ import annotations

import types
import typing
from collections.abc import MutableSequence
from dataclasses import dataclass
from pathlib import Path

import slicer


@dataclass(frozen=True)
class Choice:
    """The value must be one of `choices`."""

    choices: list

    def check(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}.")


@dataclass(frozen=True)
class WithinRange:
    """The value must lie between minimum and maximum, both included."""

    minimum: float
    maximum: float

    def check(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within {self.minimum} and {self.maximum}, is {value}.")


def value_kind(kind, where: str):
    """What reads and writes values of an annotated type. Raises TypeError for a type the stand-in does not keep."""
    plain, rules = plain_type(kind), tuple(typing.get_args(kind)[1:] if hasattr(kind, "__metadata__") else ())
    if plain in _Scalar.DEFAULTS:
        return _Scalar(plain, rules)
    if is_node_type(plain):
        return _Node(plain)
    arguments = typing.get_args(plain)
    if typing.get_origin(plain) is list:
        return _List(value_kind(arguments[0], where))
    if is_union(plain) and len(arguments) == 2 and arguments[1] is types.NoneType:
        return _Optional(value_kind(arguments[0], where))
    raise TypeError(f"The stand-in has no serializer for {where}: {kind}.")


def plain_type(kind):
    """The type without what `Annotated` says about it."""
    return typing.get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def is_node_type(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def is_union(kind) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


@dataclass(frozen=True)
class _Scalar:
    """Text, a number, a truth value or a path, as text."""

    DEFAULTS: typing.ClassVar[dict[type, typing.Any]] = {str: "", int: 0, float: 0.0, bool: False, Path: Path()}
    kind: type
    rules: tuple = ()

    @property
    def default(self):
        return self.DEFAULTS[self.kind]

    def has(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def read(self, node, name: str):
        text = node.GetParameter(name)
        return text == "True" if self.kind is bool else self.kind(text)

    def check(self, value) -> None:
        allowed = {float: (int, float), Path: Path}.get(self.kind, self.kind)
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"Value must be of type {self.kind.__name__}, is {value!r}.")
        for rule in self.rules:
            rule.check(value)

    def write(self, node, name: str, value) -> None:
        self.check(value)
        node.SetParameter(name, str(value))

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)


@dataclass(frozen=True)
class _Node:
    """A node or None, as a node reference; an empty parameter says that it has been set."""

    kind: type
    default = None

    def has(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def check(self, value) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type {self.kind.__name__}, is {value!r}.")

    def write(self, node, name: str, value) -> None:
        self.check(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


@dataclass(frozen=True)
class _List:
    """A list: its length under `name.len`, its elements under `name.0`, `name.1`, ..."""

    element: typing.Any

    @property
    def default(self) -> list:
        return []

    def has(self, node, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def _length(self, node, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.has(node, name) else 0

    def read(self, node, name: str) -> StoredList:
        return StoredList(node, name, self)

    def elements(self, node, name: str) -> list:
        return [self.element.read(node, f"{name}.{number}") for number in range(self._length(node, name))]

    def check(self, values) -> None:
        if not isinstance(values, (list, tuple, StoredList)):
            raise TypeError(f"Value must be a list, is {values!r}.")
        for value in values:
            self.element.check(value)

    def write(self, node, name: str, values) -> None:
        self.check(values)
        values = list(values)
        with slicer.util.NodeModify(node):
            for number in range(len(values), self._length(node, name)):
                self.element.remove(node, f"{name}.{number}")
            for number, value in enumerate(values):
                self.element.write(node, f"{name}.{number}", value)
            node.SetParameter(f"{name}.len", str(len(values)))

    def remove(self, node, name: str) -> None:
        self.write(node, name, [])
        node.UnsetParameter(f"{name}.len")


@dataclass(frozen=True)
class _Optional:
    """A value under `name.0`, or a mark under `name.1` that there is none."""

    inner: typing.Any
    default = None

    def has(self, node, name: str) -> bool:
        return self.inner.has(node, f"{name}.0") or node.HasParameter(f"{name}.1")

    def read(self, node, name: str):
        return self.inner.read(node, f"{name}.0") if self.inner.has(node, f"{name}.0") else None

    def check(self, value) -> None:
        if value is not None:
            self.inner.check(value)

    def write(self, node, name: str, value) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            if value is None:
                node.SetParameter(f"{name}.1", "None")
            else:
                self.inner.write(node, f"{name}.0", value)

    def remove(self, node, name: str) -> None:
        self.inner.remove(node, f"{name}.0")
        node.UnsetParameter(f"{name}.1")


class StoredList(MutableSequence):
    """A list as the parameter node holds it: a change of the list is a change of the node.

    Not a `list`: it cannot be added to one, nor multiplied.
    """

    def __init__(self, node, name: str, stored: _List):
        self._node, self._name, self._stored = node, name, stored
        self._list = stored.elements(node, name)

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __setitem__(self, index, value) -> None:
        self._list[index] = value
        self._store()

    def __delitem__(self, index) -> None:
        del self._list[index]
        self._store()

    def insert(self, index: int, value) -> None:
        self._list.insert(index, value)
        self._store()

    def __eq__(self, other) -> bool:
        return self._list == (other._list if isinstance(other, StoredList) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"StoredList({self._list})"

    def _store(self) -> None:
        try:
            self._stored.write(self._node, self._name, self._list)
        finally:
            self._list = self._stored.elements(self._node, self._name)
