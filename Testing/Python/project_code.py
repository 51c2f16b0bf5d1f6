"""Code that runs as if it were the project's, to see what Slicer would allow it."""

from __future__ import annotations

import textwrap


def as_project(source: str, **names):
    """Run code as if it stood in a module of the project; returns the value of its variable `result`."""
    space = {"__name__": "SparseAnnotateLib.gui.trial", **names}
    exec(compile(textwrap.dedent(source), "trial.py", "exec"), space)
    return space.get("result")
