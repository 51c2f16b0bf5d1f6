"""The environment variables that Slicer's launcher sets for Slicer, and that every process started from it inherits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BEFORE: dict[str, str] = {}
"""The environment that the launcher was started in; empty while nothing was launched."""


@contextmanager
def launched(folder: str | os.PathLike) -> Iterator[dict[str, str]]:
    """As in an installed Slicer that lies in `folder`; gives the variables that were set.

    They suit this Python, which stands in for Slicer's, and harm any other one.
    """
    lib = os.path.join(folder, "lib")
    variables = {
        "SLICER_HOME": str(folder),
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.path.join(lib, "Python"), os.environ.get("PYTHONPATH")])),
        "PYTHONNOUSERSITE": "1",
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [lib, os.environ.get("LD_LIBRARY_PATH")])),
    }
    before = dict(os.environ)
    BEFORE.update(before)
    os.environ.update(variables)
    try:
        yield variables
    finally:
        for name in variables:
            os.environ.pop(name)
        os.environ.update({name: before[name] for name in variables if name in before})
        BEFORE.clear()
