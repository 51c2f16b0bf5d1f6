"""Importing large packages module by module, so that a window stays responsive."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from .pieces import Piece, done_beside

_SCIPY = ("numpy.testing", "numpy.f2py", "scipy", "scipy._lib._array_api", "scipy.special._ufuncs")
PACKAGES = {
    "SimpleITK": ("SimpleITK",),
    "scipy.ndimage": (*_SCIPY, "scipy.ndimage._filters", "scipy.ndimage"),
    "scipy.sparse": (*_SCIPY, "scipy.sparse"),
}
"""Large packages, and modules that they import, in import order."""

COMPILED = {"SimpleITK": "_SimpleITK"}
"""The compiled modules, of hundreds of megabytes, of packages of PACKAGES."""


def importing(*packages: str) -> Iterator[Piece | None]:
    """Import packages of PACKAGES; yields after each module, that the next piece takes long, and while one is loaded.

    The first import of scipy's image functions alone takes a quarter of a second.
    """
    for package in packages:
        for module in PACKAGES[package]:
            if package in sys.modules:
                break
            yield from _loading(module)
            try:
                with _without_collector():
                    importlib.import_module(module)
            except ImportError:
                # Another version may lack a module; only the package itself is needed.
                if module == package:
                    raise
            yield Piece.NEXT_IS_LONG


def _loading(module: str) -> Iterator[None]:
    """Load a module's library into the process; yields until that is done.

    Python's own import stops all threads while the system reads and links a library, ctypes does not.
    """
    library = _library_of(module)
    if library is None:
        return
    yield from done_beside(lambda: _load(library))


def _library_of(package: str) -> Path | None:
    """The file of a package's compiled module in COMPILED."""
    found = find_spec(package) if package in COMPILED else None
    if found is None or found.origin is None:
        return None
    files = (Path(found.origin).with_name(COMPILED[package] + suffix) for suffix in EXTENSION_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _load(library: Path) -> None:
    with suppress(OSError):  # the import says what is wrong
        ctypes.CDLL(str(library))


@contextmanager
def _without_collector() -> Iterator[None]:
    """A context without Python's garbage collector: modules are kept, and looking at all objects takes 0.05 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
