"""Marks of tests that not every system can run, with the reason that pytest shows."""

from __future__ import annotations

import importlib.util
import os

import pytest

HAS_SLICER = importlib.util.find_spec("slicer") is not None

needs_slicer = pytest.mark.skipif(not HAS_SLICER, reason="needs Slicer's libraries (slicer-core)")
needs_posix_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to a process")
needs_posix_limits = pytest.mark.skipif(os.name == "nt", reason="Windows limits neither files nor permissions this way")
needs_symbolic_links = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
needs_posix_names = pytest.mark.skipif(os.name == "nt", reason="no file on Windows can have such a name")
