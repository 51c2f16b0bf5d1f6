"""The Python that work outside Slicer's own process runs in."""

from __future__ import annotations

import shutil
import sys

from .errors import WorkerError


def worker_python() -> str:
    """The Python that runs the worker: Slicer's own `PythonSlicer` inside Slicer, this very Python elsewhere.

    Raises WorkerError when neither is there.
    """
    found = shutil.which("PythonSlicer") or sys.executable
    if not found:
        raise WorkerError(
            "Slicer's Python (PythonSlicer) was not found beside Slicer, so nothing can be run beside the window. "
            "Use a Slicer from its installer; builds of one's own may lack it."
        )
    return found
