"""The Python that work outside Slicer's own process runs in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from .errors import WorkerError
from .messages import _

PYTHON_VARIABLE = "SPARSE_ANNOTATE_PYTHON"
"""Environment variable that names another Python for the worker, for builds of Slicer that lack PythonSlicer."""

_SET_BY_LAUNCHER = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "QT_PLUGIN_PATH"),
)


def worker_python() -> str:
    """The Python that runs the worker: the one named by PYTHON_VARIABLE, else Slicer's own `PythonSlicer` inside
    Slicer, else this very Python.

    Raises WorkerError when it is not there.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise WorkerError(
                _("The worker's Python '{named}' does not exist. Name another one under Environment, or none.").format(
                    named=named
                )
            )
        return named
    found = shutil.which("PythonSlicer") or sys.executable
    if not found:
        raise WorkerError(
            _(
                "Slicer's Python (PythonSlicer) was not found beside Slicer, so nothing can be run beside the "
                "window. Name a Python for the worker under Environment, or use a Slicer from its installer."
            )
        )
    return found


def environment_for(program: str) -> dict[str, str]:
    """The environment variables that a program is to be started with from this process.

    Slicer's Python, and this very Python, need the environment as it is. Any other program gets it without what
    Slicer's launcher has set for Slicer alone: another Python finds neither its own standard library nor its own
    packages with Slicer's PYTHONHOME and PYTHONPATH, and loads Slicer's libraries in place of its own.
    """
    environment = dict(os.environ)
    if _is_own(program):
        return environment
    before = _before_slicer()
    names = [name for name in (*_SET_BY_LAUNCHER, "PATH") if name in before]
    # What is the same before and after was not told apart: Slicer was started without its launcher.
    restored = {name: before[name] for name in names if before[name] != environment.get(name)}
    return {name: value for name, value in environment.items() if name not in _SET_BY_LAUNCHER} | restored


def _is_own(program: str) -> bool:
    """True for Slicer's Python, this very Python, and everything else that lies in Slicer's folder."""
    place = Path(shutil.which(program) or program).absolute()
    own = [Path(found).absolute() for found in (shutil.which("PythonSlicer"), sys.executable) if found]
    home, folder = os.environ.get("SLICER_HOME"), place.parent.resolve()
    return place in own or bool(home and Path(home).resolve() in (folder, *folder.parents))


def _before_slicer() -> dict[str, str]:
    """The environment that Slicer was started in; empty outside Slicer, which nothing here imports."""
    util: Any = getattr(sys.modules.get("slicer"), "util", None)
    try:
        before = dict(util.startupEnvironment())
    except AttributeError:
        return {}
    # Qt keeps the 'Path' of Windows as it is written; `os.environ` has it in capitals.
    return {name.upper() if os.name == "nt" else name: value for name, value in before.items()}
