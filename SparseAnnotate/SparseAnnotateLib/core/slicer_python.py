"""The Python that work outside Slicer's own process runs in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .errors import WorkerError

PYTHON_VARIABLE = "SPARSE_ANNOTATE_PYTHON"
"""Environment variable that names another Python for the worker, for builds of Slicer that lack PythonSlicer."""


def worker_python() -> str:
    """The Python that runs the worker: the one named by PYTHON_VARIABLE, else Slicer's own `PythonSlicer` inside
    Slicer, else this very Python.

    Raises WorkerError when it is not there.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise WorkerError(
                f"The worker's Python '{named}' does not exist. Name another one under Environment, or none."
            )
        return named
    found = shutil.which("PythonSlicer") or sys.executable
    if not found:
        raise WorkerError(
            "Slicer's Python (PythonSlicer) was not found beside Slicer, so nothing can be run beside the window. "
            "Name a Python for the worker under Environment, or use a Slicer from its installer."
        )
    return found
