"""Parts that can be chosen by name: selection strategies, slice features, interpolators, networks, losses.

Each kind of part has one `Registry`. Every module in the registry's own folder is imported when the registry is first
used, and adds its parts::

    STRATEGIES.add(StrategyEntry(name="core_set", label="Core set", description="...", make=CoreSet))

So a new part is one new file. Parts can also be tried without changing the project: Python files in the folders that
the environment variable SPARSE_ANNOTATE_PARTS lists (`os.pathsep` between them) are imported in the same way, in
alphabetical order. Such a file imports the registry and adds its parts to it::

    from SparseAnnotateLib.selection import STRATEGIES, FixedInterval, StrategyEntry

    class Late(FixedInterval):
        def phase(self, stack):
            return 0.9

    STRATEGIES.add(StrategyEntry(name="late", label="Late", description="The end of each interval.", make=Late))

The panel, the console, the command line and the worker (which inherits the variable) then all offer these parts.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import BadInputError
from .messages import _

PARTS_VARIABLE = "SPARSE_ANNOTATE_PARTS"
_AFTER_BUILT_IN = 1000


class Need(StrEnum):
    """What a part cannot work without."""

    IMAGE = "image"
    FEATURES = "features"
    UNCERTAINTY = "uncertainty"
    TORCH = "torch"
    SLICER = "slicer"
    DISTANCES = "distances"
    CLASS_WEIGHTS = "class_weights"

    @property
    def label(self) -> str:
        """The name that users see."""
        return _NEED_LABELS[self]


_NEED_LABELS = {
    Need.IMAGE: _("the image"),
    Need.FEATURES: _("slice features"),
    Need.UNCERTAINTY: _("a trained model"),
    Need.TORCH: "PyTorch",
    Need.SLICER: "Slicer",
    Need.DISTANCES: _("distances to the boundary"),
    Need.CLASS_WEIGHTS: _("a weight for each class"),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One part and its description.

    Attributes:
        name: in files, on the command line and in the console.
        label: in the panel.
        description: what it does, in one sentence.
        make: the function or class that makes it, or its location 'package.module:name', imported on first use.
        needs: what it cannot work without.
        order: position in lists; smaller comes first, equal ones are sorted by name.
    """

    name: str
    label: str
    description: str
    make: Callable[..., Any] | str
    needs: frozenset[Need] = frozenset()
    order: int = _AFTER_BUILT_IN

    def loaded(self) -> Callable[..., Any]:
        """The function or class that makes the part, imported if necessary."""
        return imported(self.make)


def imported(place: Callable[..., Any] | str) -> Callable[..., Any]:
    """The object at 'package.module:name'; values other than text are returned unchanged."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """The parts of one kind by name, in the order in which they are listed.

    Args:
        unknown: the message about a name that does not exist, with the names `name` and `names` to fill in.
        package: the package whose modules add the parts; None when they are added explicitly.
    """

    def __init__(self, unknown: str, package: str | None):
        self._unknown, self._package = unknown, package
        self._entries: dict[str, E] = {}
        self._is_discovered = package is None

    def add(self, entry: E) -> E:
        """Register a part. Raises BadInputError when another one has its name."""
        if entry.name in self._entries:
            raise BadInputError(
                _("Two entries are named '{name}'. Give one of them another name.").format(name=entry.name)
            )
        self._entries[entry.name] = entry
        return entry

    def named(self, name: str) -> E:
        """The part with that name. Raises BadInputError when there is none, or one of the user's files is broken."""
        require_own_parts()
        entries = self._listed()
        if name not in entries:
            raise BadInputError(self._unknown.format(name=name, names=", ".join(entries)))
        return entries[name]

    def __getitem__(self, name: str) -> E:
        return self._listed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())

    def _listed(self) -> dict[str, E]:
        with _IMPORTING:
            if not self._is_discovered and self._package is not None:
                self._is_discovered = True
                try:
                    folder = importlib.import_module(self._package)
                    for module in pkgutil.iter_modules(folder.__path__):
                        importlib.import_module(f"{self._package}.{module.name}")
                except BaseException:
                    self._is_discovered = False
                    raise
            own_parts_problem()
        return dict(sorted(self._entries.items(), key=lambda item: (item[1].order, item[0])))


_IMPORTING = threading.RLock()
_OWN_PARTS: dict[Path, str] = {}
"""Files of SPARSE_ANNOTATE_PARTS that were imported, and the error of each ('' for none)."""


def own_parts_problem() -> str:
    """Import the files of the folders in SPARSE_ANNOTATE_PARTS, each once in a process.

    Returns why a folder or a file cannot be used, '' when all can. The parts of the other files are still listed, so
    that the panel can open and show the problem.
    """
    problems: list[str] = []
    for name in os.environ.get(PARTS_VARIABLE, "").split(os.pathsep):
        if not name:
            continue
        folder = Path(name).expanduser().absolute()
        if not folder.is_dir():
            problems.append(
                _("'{folder}' in the environment variable {variable} is not a folder.").format(
                    folder=folder, variable=PARTS_VARIABLE
                )
            )
        for path in sorted(folder.glob("*.py")):
            with _IMPORTING:
                if path not in _OWN_PARTS:
                    _OWN_PARTS[path] = ""  # first, because the file itself may use a registry
                    _OWN_PARTS[path] = _problem_of_import(path)
            if _OWN_PARTS[path]:
                problems.append(_OWN_PARTS[path])
    return problems[0] if problems else ""


def require_own_parts() -> None:
    """Raise BadInputError when a folder or a file of SPARSE_ANNOTATE_PARTS cannot be used."""
    problem = own_parts_problem()
    if problem:
        raise BadInputError(problem)


def _problem_of_import(path: Path) -> str:
    name = f"sparse_annotate_part_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise any
        del sys.modules[name]
        return _(
            "The file '{path}' cannot be imported ({kind}: {error}). Correct it, or remove its folder from the "
            "environment variable {variable}."
        ).format(path=path, kind=type(error).__name__, error=error, variable=PARTS_VARIABLE)
    return ""


def markdown_table(entries: Iterable[Entry]) -> str:
    """The parts as a table for the documentation; one line for each, without a line break at the end."""
    lines = ["| name | in the panel | what it does | needs |", "|---|---|---|---|"]
    for entry in entries:
        needs = ", ".join(need.label for need in Need if need in entry.needs) or "nothing"
        lines.append(f"| `{entry.name}` | {entry.label} | {entry.description} | {needs} |")
    return "\n".join(lines)
