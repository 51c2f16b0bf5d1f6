"""Importing large packages module by module, so that a window stays responsive."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .pieces import Piece

_SCIPY = ("numpy.testing", "numpy.f2py", "scipy", "scipy._lib._array_api", "scipy.special._ufuncs")
PACKAGES = {
    "SimpleITK": ("SimpleITK",),
    "scipy.ndimage": (*_SCIPY, "scipy.ndimage._filters", "scipy.ndimage"),
    "scipy.sparse": (*_SCIPY, "scipy.sparse"),
}
"""Large packages, and modules that they import, in import order."""


def importing(*packages: str) -> Iterator[Piece]:
    """Import packages of PACKAGES; yields after each module, that the next piece takes long.

    The first import of scipy's image functions alone takes a quarter of a second.
    """
    for package in packages:
        for module in PACKAGES[package]:
            if package in sys.modules:
                break
            try:
                with _without_collector():
                    importlib.import_module(module)
            except ImportError:
                # Another version may lack a module; only the package itself is needed.
                if module == package:
                    raise
            yield Piece.NEXT_IS_LONG


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
