"""Importing large packages module by module, so that a window stays responsive."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

_SCIPY = ("numpy.testing", "numpy.f2py", "scipy", "scipy._lib._array_api", "scipy.special._ufuncs")
PACKAGES = {
    "SimpleITK": ("SimpleITK",),
    "scipy.ndimage": (*_SCIPY, "scipy.ndimage._filters", "scipy.ndimage"),
    "scipy.sparse": (*_SCIPY, "scipy.sparse"),
}
"""Large packages, and modules that they import, in import order."""


def importing(*packages: str) -> Iterator[None]:
    """Import packages of PACKAGES; yields after each module.

    The first import of scipy's image functions alone takes a quarter of a second.
    """
    for package in packages:
        for module in PACKAGES[package]:
            if package in sys.modules:
                break
            try:
                importlib.import_module(module)
            except ImportError:
                # Another version may lack a module; only the package itself is needed.
                if module == package:
                    raise
            yield
