"""The Python interpreter of the worker, which runs outside Slicer's process."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from .errors import WorkerError
from .messages import _

PYTHON_VARIABLE = "SPARSE_ANNOTATE_PYTHON"
"""Environment variable that names another Python for the worker, for builds of Slicer that lack PythonSlicer."""

STARTUP_VARIABLE = "SPARSE_ANNOTATE_STARTUP_ENVIRONMENT"
"""Environment variable that tells Slicer's Python the environment that Slicer itself was started in, as JSON: for the
programs that it starts in turn, such as OpenSSH, because it cannot ask Slicer."""

_SET_BY_LAUNCHER = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "QT_PLUGIN_PATH"),
)


def worker_python() -> str:
    """The Python that runs the worker: the one named by PYTHON_VARIABLE; else Slicer's `PythonSlicer` when run inside
    Slicer; else the current Python.

    Raises WorkerError when it does not exist.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise WorkerError(
                _(
                    "The worker's Python '{path}' does not exist. Choose another one under Environment, or clear the "
                    "field."
                ).format(path=named)
            )
        return named
    found = shutil.which("PythonSlicer") or sys.executable
    if not found:
        raise WorkerError(
            _(
                "Slicer's Python (PythonSlicer) was not found in Slicer's folders, so the worker cannot be started. "
                "Choose a Python for the worker under Environment, or use Slicer from an official installer."
            )
        )
    return found


def environment_for(program: str) -> dict[str, str]:
    """The environment variables for a program that is started from this process.

    Slicer's Python and the current Python need the current environment. Any other program gets it without the
    variables that Slicer's launcher sets for Slicer alone: with Slicer's PYTHONHOME and PYTHONPATH, another Python
    would not find its own standard library and packages, and would load Slicer's libraries instead of its own.
    """
    environment = dict(os.environ)
    before = _before_slicer()
    environment.pop(STARTUP_VARIABLE, None)
    if _is_own(program):
        return environment | ({STARTUP_VARIABLE: json.dumps(before)} if before else {})
    names = [name for name in (*_SET_BY_LAUNCHER, "PATH") if name in before]
    # Unchanged variables are not restored: without Slicer's launcher, both environments are the same.
    restored = {name: before[name] for name in names if before[name] != environment.get(name)}
    return {name: value for name, value in environment.items() if name not in _SET_BY_LAUNCHER} | restored


def _is_own(program: str) -> bool:
    """True for Slicer's Python, the current Python, and every other program in Slicer's folder."""
    place = Path(shutil.which(program) or program).absolute()
    own = [Path(found).absolute() for found in (shutil.which("PythonSlicer"), sys.executable) if found]
    home, folder = os.environ.get("SLICER_HOME"), place.parent.resolve()
    return place in own or bool(home and Path(home).resolve() in (folder, *folder.parents))


def _before_slicer() -> dict[str, str]:
    """The environment that Slicer was started in; empty outside Slicer, which is not imported here."""
    stored = os.environ.get(STARTUP_VARIABLE)
    if stored:
        return {str(name): str(value) for name, value in json.loads(stored).items()}
    util: Any = getattr(sys.modules.get("slicer"), "util", None)
    try:
        before = {str(name): str(value) for name, value in dict(util.startupEnvironment()).items()}
    except AttributeError:
        return {}
    before = {name: value for name, value in before.items() if name.upper() in (*_SET_BY_LAUNCHER, "PATH")}
    # On Windows, Qt keeps the spelling 'Path'; `os.environ` has it in capitals.
    return {name.upper() if os.name == "nt" else name: value for name, value in before.items()}
