"""JSON files read strictly into frozen dataclasses: an unknown, missing or mistyped field is an error that names it."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .atomic_files import write_text
from .errors import BadInputError
from .json_checksum import FIELD, flipped_bit, with_checksum
from .messages import Message, _, remember, remembered

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_VERSION = "version"
_LEFT_OUT = "left out of files when empty"
LEFT_OUT_WHEN_EMPTY = types.MappingProxyType({_LEFT_OUT: True})
"""Metadata of a field that is not written when it is empty or False, so that older versions read such files."""


def read_json(path: str | Path, cls: type[T]) -> T:
    """Read a JSON file into the dataclass `cls`; a file from Windows may begin with a byte order mark.

    Raises:
        BadInputError: when the file is missing, damaged, is not JSON, or a field is unknown, missing or of the wrong
            type; the message names file and field.
    """
    return file_content(read_json_text(path), cls, path)


def file_content(text: str, cls: type[T], path: str | Path) -> T:
    """The text of a JSON file, read by `read_json_text`, as the dataclass `cls`. Raises as `read_json`."""
    source = _("the file '{path}'").format(path=path)
    value = _parsed(text, source)
    if isinstance(value, dict) and FIELD not in {field.name for field in dataclasses.fields(cls)}:
        value.pop(FIELD, None)
    content: T = from_plain(value, cls, source)
    return content


def read_json_text(path: str | Path) -> str:
    """The text of a JSON file, our own or of another program, without a byte order mark.

    Raises:
        BadInputError: when the file is missing or not UTF-8 text, or has a checksum that does not match because of a
            single flipped bit. A file that was edited since it was written is read.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        place = flipped_bit(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInputError(_("The file '{path}' does not exist.").format(path=path)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise BadInputError(_("The file '{path}' cannot be read ({error}).").format(path=path, error=reason)) from error
    if place is not None:
        line = content.count(b"\n", 0, place) + 1
        raise BadInputError(
            _(
                "The file '{path}' is damaged: its checksum does not match, consistent with a single flipped "
                "bit in line {line}. Restore a copy of the file. If you changed that line on purpose, also delete the "
                "line '{field}' at its end."
            ).format(path=path, line=line, field=FIELD)
        )
    return text


def parse_json(text: str, cls: type[T], source: str) -> T:
    """Parse JSON text into the dataclass `cls`; `source` names the text in errors: "the file 'x.json'"."""
    content: T = from_plain(_parsed(text, source), cls, source)
    return content


def write_json(path: str | Path, value: Any, checksum: bool = True) -> None:
    """Write a dataclass (or plain value) as indented JSON, atomically. Raises FileWriteError.

    `checksum`: add one as the last field, for `read_json` to check; not for files that others edit or read.
    """
    text = to_text(value, indent=2) + "\n"
    write_text(path, with_checksum(text) if checksum else text)


def to_text(value: Any, indent: int | None = None) -> str:
    """JSON text of a dataclass or plain value; numbers that are not finite become null."""
    return json.dumps(to_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def to_plain(value: Any) -> Any:
    """Dataclasses, enums, paths, tuples and numpy scalars as values that JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: (f, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {name: to_plain(v) for name, (f, v) in found.items() if v or not f.metadata.get(_LEFT_OUT)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(to_plain(k)): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(v) for v in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Message):
        remember(value)
        return value
    if isinstance(value, str):
        return remembered(value)
    if hasattr(value, "item") and not isinstance(value, bytes):
        return to_plain(value.item())
    return value


def from_plain(value: Any, cls: Any, source: str, field: str = "") -> Any:
    """A plain JSON value as type `cls`. Raises BadInputError naming `source` and `field`."""
    origin, arguments = typing.get_origin(cls), typing.get_args(cls)
    if cls is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return from_plain(value, next(a for a in arguments if a is not type(None)), source, field)
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        return _dataclass_from(value, cls, source, field)
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        try:
            return cls(value)
        except ValueError:
            raise _wrong(source, field, _one_of(m.value for m in cls), value) from None
    if origin is typing.Literal:
        if value not in arguments:
            raise _wrong(source, field, _one_of(arguments), value)
        return value
    if origin in (tuple, list):
        return _sequence_from(value, origin, arguments, source, field)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(source, field, _("an object"), value)
        key, item = arguments
        return {_key_from(k, key, source, field): from_plain(v, item, source, f"{field}.{k}") for k, v in value.items()}
    return _scalar_from(value, cls, source, field)


def _scalar_from(value: Any, cls: type, source: str, field: str) -> Any:
    if cls is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if (isinstance(value, bool) and cls is not bool) or not isinstance(value, cls):
        names = {
            int: _("a whole number"),
            float: _("a number"),
            str: _("a string"),
            bool: _("true or false"),
            dict: _("an object"),
        }
        raise _wrong(source, field, names.get(cls, cls.__name__), value)
    return value


def _key_from(key: str, cls: type, source: str, field: str) -> str | int:
    if cls is not int:
        return key
    try:
        return int(key)
    except ValueError:
        raise BadInputError(
            _("Cannot use {source}: the names in the field '{field}' must be whole numbers, not '{name}'.").format(
                source=source, field=field, name=key
            )
        ) from None


def _sequence_from(
    value: Any, origin: type[tuple[Any, ...] | list[Any]], arguments: tuple[Any, ...], source: str, field: str
) -> tuple[Any, ...] | list[Any]:
    if not isinstance(value, list):
        raise _wrong(source, field, _("a list"), value)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise _wrong(source, field, _("a list of {count} values").format(count=len(arguments)), value)
        kinds = arguments
    else:
        kinds = (arguments[0],) * len(value)
    return origin(
        from_plain(v, kind, source, f"{field}[{n}]") for n, (v, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _dataclass_from(value: Any, cls: type[T], source: str, field: str) -> T:
    if not isinstance(value, dict):
        raise _wrong(source, field, _("an object"), value)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    prefix = f"{field}." if field else ""
    _require_known_version(value, fields, cls, source)
    for name in value:
        if name not in fields:
            raise BadInputError(
                _(
                    "Cannot use {source}: it has an unknown field '{name}'; known are {known}. It may come from "
                    "another version of SparseAnnotate."
                ).format(source=source, name=prefix + name, known=", ".join(fields))
            )
    hints = _type_hints(cls)
    arguments = {}
    for name, description in fields.items():
        if name in value:
            arguments[name] = from_plain(value[name], hints[name], source, prefix + name)
        elif description.default is dataclasses.MISSING and description.default_factory is dataclasses.MISSING:
            raise BadInputError(
                _("Cannot use {source}: it lacks the field '{name}'.").format(source=source, name=prefix + name)
            )
    return cls(**arguments)


def _require_known_version(value: dict[str, Any], fields: Collection[str], cls: type, source: str) -> None:
    """Raise BadInputError when a file has a later version of its format than is known; its fields may be others."""
    found = value.get(_VERSION)
    if _VERSION not in fields or not isinstance(found, int):
        return
    known = typing.get_args(_type_hints(cls)[_VERSION])
    if known and found > max(known):
        raise BadInputError(
            _(
                "Cannot use {source}: it was written by a newer version of SparseAnnotate (format {found}; this "
                "version reads up to {known}). Update SparseAnnotate."
            ).format(source=source, found=found, known=max(known))
        )


@lru_cache(maxsize=1024)
def _type_hints(cls: type) -> dict[str, Any]:
    """Cached, because a ledger has dozens of entries, and there are hundreds of ledgers."""
    return typing.get_type_hints(cls)


def _parsed(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(
            _("Cannot use {source}: it is not valid JSON (line {line}: {details}); it may be cut off.").format(
                source=source, line=error.lineno, details=error.msg
            )
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            _("Cannot use {source}: it cannot be read as JSON ({error}).").format(source=source, error=error)
        ) from error


def _wrong(source: str, field: str, expected: str, value: Any) -> BadInputError:
    shown = json.dumps(to_plain(value))
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    if not field:
        return BadInputError(
            _("Cannot use {source}: its content must be {expected}, not {value}.").format(
                source=source, expected=expected, value=shown
            )
        )
    return BadInputError(
        _("Cannot use {source}: the field '{field}' must be {expected}, not {value}.").format(
            source=source, field=field, expected=expected, value=shown
        )
    )


def _one_of(choices: Iterable[Any]) -> str:
    return _("one of {choices}").format(choices=", ".join(map(repr, choices)))
