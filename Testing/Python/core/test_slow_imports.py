"""Large packages that are imported piece by piece."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from SparseAnnotateLib.core import slow_imports

LIBRARY = Path(slow_imports.__file__).resolve().parents[2]


@pytest.mark.parametrize("package", list(slow_imports.PACKAGES))
def test_a_package_is_whole_after_its_pieces_and_nothing_is_done_a_second_time(package):
    code = f"""
import sys
from SparseAnnotateLib.core.slow_imports import importing
assert {package!r} not in sys.modules
pieces = len(list(importing({package!r})))
assert {package!r} in sys.modules
assert pieces >= 1
assert list(importing({package!r})) == []
"""
    subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, check=True)


def test_a_piece_that_another_version_lacks_is_passed_over_but_a_package_is_not(monkeypatch):
    monkeypatch.setitem(slow_imports.PACKAGES, "zoneinfo", ("no.such.part", "zoneinfo"))
    monkeypatch.delitem(sys.modules, "zoneinfo", raising=False)
    assert len(list(slow_imports.importing("zoneinfo"))) == 2
    monkeypatch.setitem(slow_imports.PACKAGES, "no_such_package", ("no_such_package",))
    with pytest.raises(ImportError):
        list(slow_imports.importing("no_such_package"))
