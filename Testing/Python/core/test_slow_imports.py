"""Large packages that are imported piece by piece."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from SparseAnnotateLib.core import slow_imports
from SparseAnnotateLib.core.pieces import Piece

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


def test_each_module_comes_alone_and_the_garbage_collector_does_not_interrupt_it(monkeypatch, tmp_path):
    (tmp_path / "slow_one.py").write_text("import gc; was_collecting = gc.isenabled()")
    (tmp_path / "slow_two.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(slow_imports.PACKAGES, "slow_two", ("slow_one", "slow_two"))
    assert gc.isenabled()
    steps = slow_imports.importing("slow_two")
    assert next(steps) is Piece.NEXT_IS_LONG
    assert not sys.modules.pop("slow_one").was_collecting
    with pytest.raises(ImportError):
        next(steps)
    assert gc.isenabled()


def test_a_piece_that_another_version_lacks_is_passed_over_but_a_package_is_not(monkeypatch):
    monkeypatch.setitem(slow_imports.PACKAGES, "zoneinfo", ("no.such.part", "zoneinfo"))
    monkeypatch.delitem(sys.modules, "zoneinfo", raising=False)
    assert len(list(slow_imports.importing("zoneinfo"))) == 2
    monkeypatch.setitem(slow_imports.PACKAGES, "no_such_package", ("no_such_package",))
    with pytest.raises(ImportError):
        list(slow_imports.importing("no_such_package"))


def test_a_large_library_is_loaded_beside_the_window_and_imported_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "SimpleITK", raising=False)
    monkeypatch.setattr(slow_imports.importlib, "import_module", lambda name: imported.append(name))
    loaded, imported, may_end = [], [], threading.Event()

    def load(path):
        may_end.wait(60)
        loaded.append(Path(path))

    monkeypatch.setattr(slow_imports.ctypes, "CDLL", load)
    steps = slow_imports.importing("SimpleITK")
    assert [next(steps) for _ in range(3)] == [None] * 3
    assert not imported
    may_end.set()
    assert Piece.NEXT_IS_LONG in list(steps)
    assert imported == ["SimpleITK"]
    assert [path.name.split(".")[0] for path in loaded] == ["_SimpleITK"]
    assert loaded[0].is_file()


def test_a_library_that_cannot_be_loaded_is_left_to_the_import(monkeypatch):
    def load(path):
        raise OSError("no such symbol")

    monkeypatch.delitem(sys.modules, "SimpleITK", raising=False)
    monkeypatch.setattr(slow_imports.ctypes, "CDLL", load)
    monkeypatch.setattr(slow_imports.importlib, "import_module", lambda name: imported.append(name))
    imported: list[str] = []
    list(slow_imports.importing("SimpleITK"))
    assert imported == ["SimpleITK"]
