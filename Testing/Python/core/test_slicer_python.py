"""The environment variables of programs that are started from Slicer."""

from __future__ import annotations

import os
import sys

import pytest

from SparseAnnotateLib.core.slicer_python import environment_for

OF_SLICER = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH")


@pytest.fixture
def slicer_started(monkeypatch, tmp_path):
    """Starts Slicer in an environment: its launcher sets variables, and Slicer tells what was there before."""

    def start(before: dict[str, str]) -> dict[str, str]:
        import types

        launched = {name: f"{tmp_path}/{name}" for name in OF_SLICER} | {"SLICER_HOME": str(tmp_path)}
        for name, value in launched.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CHOSEN_IN_SLICER", "yes")
        util = types.SimpleNamespace(startupEnvironment=lambda: before)
        monkeypatch.setitem(sys.modules, "slicer", types.SimpleNamespace(util=util))
        return launched

    return start


def test_another_python_gets_nothing_of_what_slicer_set_for_its_own(slicer_started):
    slicer_started({"HOME": "/home/someone"})
    found = environment_for("/opt/other/bin/python")
    assert not set(OF_SLICER) & set(found)
    assert found["CHOSEN_IN_SLICER"] == "yes"
    assert found["PATH"] == os.environ["PATH"]


def test_what_a_person_had_set_before_slicer_started_is_given_to_another_python(slicer_started):
    slicer_started({"LD_LIBRARY_PATH": "/opt/cuda/lib", "PATH": "/usr/bin"})
    found = environment_for("/opt/other/bin/python")
    assert found["LD_LIBRARY_PATH"] == "/opt/cuda/lib"
    assert found["PATH"] == "/usr/bin"
    assert "PYTHONHOME" not in found


def test_a_slicer_that_cannot_tell_before_from_after_gives_away_nothing_of_its_own(slicer_started):
    before: dict[str, str] = {}
    before.update(slicer_started(before))
    assert not set(OF_SLICER) & set(environment_for("/opt/other/bin/python"))


def test_programs_of_slicer_and_this_python_need_what_slicer_set(slicer_started, tmp_path):
    launched = slicer_started({})
    for program in (str(tmp_path / "bin" / "PythonSlicer"), sys.executable):
        found = environment_for(program)
        assert {name: found[name] for name in launched} == launched


def test_another_python_gets_no_home_of_this_one_outside_slicer_either(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", sys.base_prefix)
    monkeypatch.delitem(sys.modules, "slicer", raising=False)
    assert "PYTHONHOME" not in environment_for("/opt/other/bin/python")
    assert environment_for(sys.executable)["PYTHONHOME"] == sys.base_prefix
