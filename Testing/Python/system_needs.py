"""Marks of tests that not every system can run, with the reason that pytest shows."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence

import pytest

HAS_SLICER = importlib.util.find_spec("slicer") is not None

needs_slicer = pytest.mark.skipif(not HAS_SLICER, reason="needs Slicer's libraries (slicer-core)")
needs_posix_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to a process")
needs_posix_limits = pytest.mark.skipif(os.name == "nt", reason="Windows limits neither files nor permissions this way")
needs_symbolic_links = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
needs_posix_names = pytest.mark.skipif(os.name == "nt", reason="no file on Windows can have such a name")

INSIST = "SPARSE_ANNOTATE_INSIST"
"""The environment variable that names, with spaces between, what must not be missing: CI sets it."""


def program(name: str) -> str | None:
    """The path of a program, also where only the superuser usually looks; None when it is not installed."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/sbin")))


def need_programs(what: str, names: Sequence[str], packages: str) -> None:
    """Skip the test when a program is missing; fail where `INSIST` names `what`. `packages`: Debian's, with them."""
    missing = [name for name in names if program(name) is None]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: apt-get install -y --no-install-recommends {packages}"
    if what in os.environ.get(INSIST, "").split():
        pytest.fail(reason)
    pytest.skip(reason)
