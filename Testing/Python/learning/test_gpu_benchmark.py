"""`Testing/run bench gpu`: in its shortened form on the CPU, stopped, and on machines that lack something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace

import pytest

PROJECT = Path(__file__).resolve().parents[3]
BENCHMARKS = PROJECT / "Testing" / "Benchmarks"
GPU = BENCHMARKS / "gpu.py"
PARTS = ("agreement", "memory", "step", "prediction", "learning")
GOOD, BAD = ("agrees", "measured"), ("differs", "failed")


def test_the_splits_are_those_of_the_benchmark_learning(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import learning_cohorts

    assert learning_cohorts.SPLITS[learning_cohorts.HIPPOCAMPUS] == gpu.SPLITS
    assert gpu.parser().parse_args([]).splits == [learning_cohorts.REPORTING[0]]


def command(json_file: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(GPU), "--device", "cpu", "--json", str(json_file), *arguments]


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "SPARSE_ANNOTATE_DATA": str(data), "OMP_NUM_THREADS": "1"}


def test_without_a_gpu_every_part_runs_in_short_and_gives_figures(small_hippocampi, tmp_path):
    json_file = tmp_path / "gpu.json"
    result = subprocess.run(
        command(json_file, "--minutes", "14"), env=environment(small_hippocampi), capture_output=True, text=True
    )
    content = json.loads(json_file.read_text())
    entries = {part: content["parts"][part] for part in PARTS}
    bad = [entry for part in PARTS for entry in entries[part] if entry["result"] in BAD]
    assert bad == []
    assert (content["stopped"], content["running"], content["is_short"]) == (None, None, True)
    for part in PARTS:
        assert any(entry["result"] in GOOD for entry in entries[part]), part
        assert all(entry["figures"] for entry in entries[part] if entry["result"] in GOOD)
    reasons = {entry["reason"] for part in PARTS for entry in entries[part] if entry["result"] == "skipped"}
    assert reasons == {"no GPU", "left out of the shortened form"}
    assert sum(entry.get("reason") == "no GPU" for entry in entries["memory"]) >= 8
    assert any("self-training" in entry["figures"] for entry in entries["learning"])
    assert result.returncode == 0, result.stderr
    assert "agreement: " in result.stdout
    assert str(json_file) in result.stdout


def test_what_fails_is_recorded_with_its_traceback_and_the_next_part_runs(small_hippocampi, tmp_path):
    (small_hippocampi / "msd_hippocampus" / "dataset.json").write_text("{")
    json_file = tmp_path / "gpu.json"
    arguments = ("--parts", "learning", "prediction", "--minutes", "14")
    result = subprocess.run(
        command(json_file, *arguments), env=environment(small_hippocampi), capture_output=True, text=True
    )
    content = json.loads(json_file.read_text())["parts"]
    failed = [entry for entry in content["learning"] if entry["result"] == "failed"]
    assert failed
    assert all("dataset.json" in entry["traceback"] for entry in failed)
    assert {entry["result"] for entry in content["learning"]} <= {"failed", "skipped"}  # there is no time for all
    assert any(entry["result"] in GOOD for entry in content["prediction"])
    assert result.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program can answer")
def test_a_run_stopped_by_sigterm_keeps_what_it_has(tmp_path):
    json_file = tmp_path / "gpu.json"
    process = subprocess.Popen(
        command(json_file, "--parts", "agreement", "--minutes", "14"),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 600
    while time.monotonic() < until and len(finished(json_file)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    content = json.loads(json_file.read_text())
    assert len(finished(json_file)) >= 2
    assert content["stopped"] == "SIGTERM"
    assert content["running"] is None


def finished(json_file: Path) -> list[dict]:
    """The entries with figures so far."""
    content = json.loads(json_file.read_text()) if json_file.is_file() else {"parts": {"agreement": []}}
    return [entry for entry in content["parts"]["agreement"] if entry["result"] in GOOD]


MEASURING = """
import os, sys, time
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
from gpu_parts.record import Record
record = Record(Path({json!r}))
for name in ("first", {what!r}, "last"):
    if record.entry("a", name) is None:
        record.start("a", name)
        if name == "crash":
            os.abort()
        if name == "hang":
            time.sleep(600)
        record.add("a", name, "measured", figures={{"x": 1}})
"""


def supervised(tmp_path: Path, what: str, seconds: float = 600) -> tuple[int, dict]:
    """The exit status and the record of a measuring process that crashes or hangs in the middle."""
    from gpu_parts.record import Record
    from gpu_parts.supervision import Supervisor

    json_file = tmp_path / "r.json"
    Record(json_file).begin(["a"])
    script = MEASURING.format(benchmarks=str(BENCHMARKS), json=str(json_file), what=what)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        end = time.monotonic() + seconds
        status = Supervisor(lambda left: [sys.executable, "-c", script], dict(os.environ), json_file, end).run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return status, json.loads(json_file.read_text())


def test_a_process_that_crashes_is_started_again_without_what_it_was_at(parts, tmp_path):
    status, content = supervised(tmp_path, "crash")
    assert [(e["name"], e["result"]) for e in content["parts"]["a"]] == [
        ("first", "measured"),
        ("crash", "failed"),
        ("last", "measured"),
    ]
    assert "status" in content["parts"]["a"][1]["traceback"]
    assert (status, content["stopped"]) == (1, None)


def test_a_process_that_hangs_is_ended_when_the_time_is_over(parts, tmp_path, monkeypatch):
    from gpu_parts import supervision

    class WaitedFor(subprocess.Popen):
        """The time is over as soon as the process hangs."""

        def wait(self, timeout=None):
            while timeout is not None and json.loads((tmp_path / "r.json").read_text())["running"] != ["a", "hang"]:
                assert self.poll() is None
                time.sleep(0.02)
            return super().wait(timeout and 0.1)

    monkeypatch.setattr(supervision.subprocess, "Popen", WaitedFor)
    status, content = supervised(tmp_path, "hang")
    assert content["parts"]["a"][0]["result"] == "measured"
    assert content["parts"]["a"][1]["result"] == "skipped"
    assert content["stopped"] == "the time was over"
    assert status == 0


def test_carried_wheels_are_unpacked_and_folders_used_as_they_are(parts, tmp_path, monkeypatch):
    from gpu_parts import carried

    monkeypatch.setattr(sys, "path", list(sys.path))
    wheels, plain = tmp_path / "wheels", tmp_path / "plain"
    wheels.mkdir()
    plain.mkdir()
    with zipfile.ZipFile(wheels / "carried_thing-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_thing.py", "x = 1")
    unpacked = tmp_path / "unpacked"
    assert carried.put_on_path([str(wheels), str(plain)], unpacked) == [str(unpacked), str(plain)]
    assert (unpacked / "carried_thing.py").is_file()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        carried.put_on_path([str(tmp_path / "nowhere")], unpacked)


def test_its_help_needs_no_package_and_says_which_to_carry():
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.run([sys.executable, "-S", str(GPU), "--help"], env=bare, capture_output=True, text=True)
    assert shown.returncode == 0
    for words in ("--carried", "pip download", "monai SimpleITK einops safetensors"):
        assert words in shown.stdout
    refused = subprocess.run([sys.executable, "-S", str(GPU)], env=bare, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "monai" in refused.stderr.splitlines()[0]
    assert "pip download" in refused.stderr


def test_it_is_set_up_only_where_nothing_is_carried_and_pytorch_finds_no_gpu(monkeypatch):
    loader = SourceFileLoader("testing_run", str(PROJECT / "Testing" / "run"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = module_from_spec(spec_from_loader("testing_run", loader))
    loader.exec_module(module)
    for status, expected in ((0, True), (1, False)):
        monkeypatch.setattr(module.subprocess, "run", lambda *a, status=status, **k: SimpleNamespace(returncode=status))
        assert module.needs_no_set_up(["gpu"]) is expected
        assert module.needs_no_set_up(["gpu", "--carried", "wheels"]) is True
        assert module.needs_no_set_up(["gpu", "--help"]) is True
