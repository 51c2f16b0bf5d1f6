"""What `Testing/run bench gpu` does on a GPU, tried on a pretend one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NETWORKS, TrainingSettings
from SparseAnnotateLib.runs.presets import preset_settings

BENCHMARKS = Path(__file__).resolve().parents[2] / "Benchmarks"
PARTS = ["agreement", "memory", "step", "prediction", "learning"]


@pytest.fixture
def shortened(parts, tmp_path, pretended):
    """What the parts are given on a pretend GPU, whose sizes are those of the shortened form."""
    from gpu_parts.sub_part import Setting

    def setting(**facts):
        gpu = pretended(**facts)
        return Setting(
            gpu.device,
            True,
            tmp_path,
            time.monotonic() + 600,
            SimpleNamespace(work=None, iterations=None, splits=["2"]),
        )

    return setting


def figures_of(sub_parts: list, name: str) -> dict:
    """What a sub-part gives."""
    return next(sub_part for sub_part in sub_parts if sub_part.name == name).run()


def test_memory_that_runs_out_is_measured_on_a_gpu(shortened):
    from gpu_parts import comparing, memory

    sub_parts = memory.sub_parts(shortened(total=400 << 20))
    names = ("training, half of the batch fits", "prediction, 0.01 GB left", "training, 0.01 GB left")
    more = ("prediction, 0.002 GB left", "free memory after a training")
    with comparing.without_estimate():
        figures = {name: figures_of(sub_parts, name) for name in (*names, *more)}
    assert {name: found for name, found in figures.items() if not found["agrees"]} == {}
    assert figures[names[0]]["device"] == "cuda:0"
    assert "predicting" in figures[names[1]]["notes"][0]
    assert figures[names[1]]["gigabytes used"] > 0
    assert figures[names[2]]["device"] == "cpu"
    assert "on the CPU" in figures[more[0]]["notes"][-1]


def test_a_run_is_resumed_on_the_other_device(shortened):
    from gpu_parts import memory

    sub_parts = memory.sub_parts(shortened())
    for name, device in (("resumed on the CPU", "cpu"), ("resumed on the GPU", "cuda:0")):
        figures = figures_of(sub_parts, name)
        assert (figures["agrees"], figures["device"], figures["steps before"]) == (True, device, 1)


def test_memory_that_a_training_does_not_give_back_is_found(shortened, monkeypatch):
    from gpu_parts import memory

    monkeypatch.setattr(memory, "release_cached_memory", lambda: None)
    figures = figures_of(memory.sub_parts(shortened()), "free memory after a training")
    assert figures["free after"] < figures["free before"]
    assert figures["agrees"] is False


def test_compiling_is_skipped_with_the_reason_where_there_is_no_compiler(shortened, monkeypatch):
    from gpu_parts import memory
    from gpu_parts.sub_part import Skipped

    def failing(network):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(Skipped, match="Failed to find C compiler"):
        figures_of(memory.sub_parts(shortened()), "compile")


def test_compiled_and_plain_training_are_compared(shortened, monkeypatch):
    from gpu_parts import memory

    monkeypatch.setattr(torch, "compile", lambda network: network)
    assert figures_of(memory.sub_parts(shortened()), "compile")["agrees"]


def test_the_most_telling_checks_come_first_and_the_default_networks_are_timed(shortened):
    from gpu_parts import agreement, step_speed

    order = ["loss", "normalization", "network", "prediction", "uncertainty", "propagation", "features", "training"]
    default_networks = ["unet", "unet_one_scan", "y_shaped_dense_vox_net"]

    setting = replace(shortened(), is_short=False)
    kinds = [sub_part.name.split()[0].rstrip(",") for sub_part in agreement.sub_parts(setting)]
    assert list(dict.fromkeys(kinds)) == order
    timed = [sub_part.name.split(",")[0] for sub_part in step_speed.sub_parts(setting)]
    assert [name for name in dict.fromkeys(timed) if name in NETWORKS] == default_networks


def test_nothing_is_dropped_at_random_where_devices_are_compared(parts):
    from gpu_parts.comparing import same_on_all_devices

    settings = preset_settings("zheng2020", "cuda:0")
    assert settings.dropout > 0
    assert same_on_all_devices(settings).dropout == 0


def test_learning_has_the_last_turn_and_all_of_the_time_where_it_is_alone(parts):
    from gpu_parts.measuring import SHARES, turns

    assert turns(["learning"], 20.0, 120.0) == [("learning", 120.0)]
    every = turns(list(PARTS), 0.0, 100.0)
    ends = [100 * SHARES[part] for part in PARTS[:-1]]
    assert every[:4] == list(zip(PARTS[:-1], ends, strict=True))
    assert every[4:8] == [(part, ends[-1]) for part in PARTS[:-1]]
    assert every[8:] == [("learning", 100.0), *((part, 100.0) for part in PARTS[:-1])]
    assert turns(["step"], 0.0, 100.0) == [("step", 100.0)] * 2
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [part for part, share in SHARES.items() if f"| `{part}` | {share:.0%}".replace("%", " %") not in page] == []


def test_what_memory_runs_out_for_is_measured_with_less_at_once(parts, tiny_cohort, pretended):
    from learning_measures import PartPrediction

    small = {"network": "unet_small", "network_2d": "unet_small", "patch": (16, 16, 32), "patch_2d": (32, 32)}
    settings = TrainingSettings(recipe="ensemble", iterations=1, batch=1, batch_2d=1, device="cpu", **small)
    train(tiny_cohort, "r", settings)
    expected = PartPrediction(tiny_cohort, "r", "cpu").labels("a", Watch())
    gpu = pretended()
    gpu.fail_at_convolution(3)
    found = PartPrediction(tiny_cohort, "r", gpu.device).labels("a", Watch())
    assert set(found) == {"2D axial", "2D", "3D", "2D + 3D"}
    for part, labels in found.items():
        assert labels.shape == expected[part].shape


def test_both_final_models_learn_from_base_models_trained_once(parts, small_hippocampi, tmp_path, monkeypatch):
    from gpu_parts import sparse_learning
    from gpu_parts.sub_part import Setting

    monkeypatch.setattr(sparse_learning, "DATA", small_hippocampi)
    options = SimpleNamespace(work=str(tmp_path / "work"), iterations=1, splits=["2", "1"])
    setting = Setting("cpu", True, tmp_path, time.monotonic() + 600, options)
    first, second, third = sparse_learning.sub_parts(setting)[:3]
    assert [sub_part.name for sub_part in (first, third)] == [
        "10 %, split 2, Y-shaped final model",
        "10 %, split 1, Y-shaped final model",
    ]
    lines = [sub_part.run()["line"] for sub_part in (first, second)]
    assert {line["settings"]["network_final"] for line in lines} == set(sparse_learning.FINAL_IN_SHORT.values())
    assert lines[0]["plans"]["final"]["network"] != lines[1]["plans"]["final"]["network"]
    trained = {role: list((tmp_path / "work").rglob(f"{role}/weights.safetensors")) for role in ("2d", "3d", "final")}
    written = {role: len({path.stat().st_mtime_ns for path in paths}) for role, paths in trained.items()}
    assert {role: len(paths) for role, paths in trained.items()} == {"2d": 2, "3d": 2, "final": 2}
    assert written == {"2d": 1, "3d": 1, "final": 2}
    monkeypatch.setattr(sparse_learning, "measure", lambda *_: pytest.fail("measured again"))
    assert [sub_part.run()["line"] for sub_part in (first, second)] == lines
