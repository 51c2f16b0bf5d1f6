"""Out of memory for real, runs resumed on the other device, and torch.compile."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from learning_speed import ball_cohort
from SparseAnnotateLib.core import DEFAULT_DEVICE, CancelledError, Cohort, Progress, Watch
from SparseAnnotateLib.learning.devices import usable_memory_bytes
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.run_folder import RunFolder

from .comparing import share_equal
from .gpu_memory import limited_to, occupied_but, reset_used, used_gigabytes
from .sub_part import Setting, SubPart

LARGE = (96, 96, 96)
STEPS = 6


def sub_parts(setting: Setting) -> list[SubPart]:
    """All of this part; most need a GPU."""
    return [
        SubPart("training, half of the batch fits", lambda: _limited_training(setting, 5.0, 4), 15.0),
        SubPart("training, 1 GB left, planned for more", lambda: _occupied_training(setting, 1.0, LARGE), 20.0),
        SubPart("training, 1 GB left, planned for that", lambda: _occupied_training(setting, 1.0, None), 15.0),
        SubPart("training, 0.05 GB left", lambda: _occupied_training(setting, 0.05, (32, 32, 32)), 15.0),
        SubPart("free memory after a training", lambda: _given_back(setting), 10.0),
        SubPart("prediction, 0.5 GB left", lambda: _limited_prediction(setting, 0.5), 15.0),
        SubPart("prediction, 0.02 GB left", lambda: _limited_prediction(setting, 0.02), 20.0),
        SubPart("resumed on the CPU", lambda: _resumed(setting, setting.device, "cpu"), 8.0),
        SubPart("resumed on the GPU", lambda: _resumed_on_gpu(setting), 8.0),
        SubPart("compile", lambda: _compiled(setting), 45.0),
    ]


def _cohort(setting: Setting) -> Cohort:
    folder = setting.work / "large cohort"
    if not (folder / "cohort.json").is_file():
        ball_cohort(folder, (24, 28, 32) if setting.is_short else (112, 128, 128), count=2)
    return Cohort.open(folder)


def _settings(setting: Setting, **changes: Any) -> TrainingSettings:
    usual = {"network": "basic_unet", "iterations": STEPS, "device": setting.device, "validation_share": 0.0}
    return TrainingSettings(**{**usual, **changes})


def _train(setting: Setting, run: str, settings: TrainingSettings, limit: AbstractContextManager[None]) -> RunCard:
    cohort = _cohort(setting)
    with limit:
        return train(cohort, run, settings)


def _facts(card: RunCard, device: str) -> dict[str, Any]:
    model = card.models[0]
    return {
        "device": card.device,
        "patch": list(model.plan.patch),
        "batch": model.plan.batch,
        "steps": model.iterations,
        "loss": model.loss,
        "gigabytes used": used_gigabytes(device),
        "notes": list(card.notes),
    }


def _limited_training(setting: Setting, gigabytes: float, batch: int) -> dict[str, Any]:
    """Training stays on the GPU with fewer or smaller patches, and takes all its steps."""
    setting.require_gpu()
    settings = _settings(setting, patch=LARGE, batch=batch, precision="fp32")
    card = _train(setting, "limited", settings, limited_to(gigabytes, setting.device))
    model = card.models[0].plan
    is_reduced = model.batch < batch or model.patch != LARGE
    finished = card.models[0].iterations == STEPS and card.device != "cpu"
    return {**_facts(card, setting.device), "agrees": is_reduced and finished and bool(card.notes)}


def _occupied_training(setting: Setting, gigabytes: float, patch: tuple[int, ...] | None) -> dict[str, Any]:
    """Another program has all but a little of the memory: training takes all its steps, there or on the CPU."""
    setting.require_gpu()
    settings = _settings(setting, patch=patch, batch=2 if patch else None, device=DEFAULT_DEVICE)
    reset_used(setting.device)
    run = f"{gigabytes} GB left, {patch}"
    card = _train(setting, run, settings, occupied_but(gigabytes, setting.device))
    is_smaller = card.models[0].plan.patch != patch or card.models[0].plan.batch < 2 or card.device == "cpu"
    return {**_facts(card, setting.device), "agrees": card.models[0].iterations == STEPS and is_smaller}


def _given_back(setting: Setting) -> dict[str, Any]:
    """What a plan sees as free after a training in the same process, as the worker runs one after the other."""
    setting.require_gpu()
    before = usable_memory_bytes(setting.device)
    _train(setting, "before", _settings(setting, patch=LARGE, batch=2), nullcontext())
    after = usable_memory_bytes(setting.device)
    reserved = torch.cuda.memory_reserved(setting.device) / 1e9
    figures = {"usable before": before / 1e9, "usable after": after / 1e9, "reserved gigabytes": reserved}
    return {**figures, "agrees": after > 0.9 * before}


def _limited_prediction(setting: Setting, gigabytes: float) -> dict[str, Any]:
    """A prediction with little memory finishes with about the labels that it has with enough."""
    setting.require_gpu()
    cohort, run = _cohort(setting), "to predict with"
    if not RunFolder(cohort.run_folder(run)).is_finished:
        train(cohort, run, _settings(setting, patch=(64, 64, 64), iterations=30))
    case = cohort.cases[0].name
    expected = Predictor(cohort, run, setting.device).labels(case)
    predictor = Predictor(cohort, run, setting.device)
    reset_used(setting.device)
    start = time.monotonic()
    with limited_to(gigabytes, setting.device):
        labels = predictor.labels(case)
        used = used_gigabytes(setting.device)
    figures = {"seconds": time.monotonic() - start, "gigabytes used": used, "note": predictor.note}
    again = Predictor(cohort, run, setting.device).labels(case)
    same = share_equal(labels, expected)
    return {**figures, "same": same, "agrees": same > 0.98 and share_equal(again, expected) > 0.999}


def _resumed(setting: Setting, first: str, second: str) -> dict[str, Any]:
    """A run that was cancelled on one device and is resumed on the other, beside one that never stopped."""
    cohort, run = _cohort(setting), f"from {first} to {second}".replace(":", " ")
    settings = _settings(setting, network="basic_unet_small", patch=(16, 16, 32), batch=1, precision="fp32")
    steps = 2 if setting.is_short else STEPS
    settings = replace(settings, iterations=steps, checkpoint_every=2, device=first)
    watch = Watch(lambda progress: _cancel_at(progress, watch))
    with suppress(CancelledError):
        train(cohort, run, settings, watch=watch)
    folder = RunFolder(cohort.run_folder(run))
    steps_before = len(folder.metrics("3d"))
    card = train(cohort, run, replace(settings, device=second))
    train(cohort, f"{run}, whole", settings)
    whole = RunFolder(cohort.run_folder(f"{run}, whole")).metrics("3d")
    losses, expected = ([m["loss"] for m in lines if "loss" in m] for lines in (folder.metrics("3d"), whole))
    difference = float(np.abs(np.array(losses) - np.array(expected)).max()) if len(losses) == len(expected) else None
    figures = {"steps before": steps_before, "device": card.device, "notes": list(card.notes), "difference": difference}
    interrupted = 0 < steps_before < steps
    agrees = interrupted and difference is not None and difference < 0.05
    return {**figures, "agrees": agrees and card.device.split(":")[0] == second.split(":")[0]}


def _resumed_on_gpu(setting: Setting) -> dict[str, Any]:
    setting.require_gpu()
    return _resumed(setting, "cpu", setting.device)


def _cancel_at(progress: Progress, watch: Watch) -> None:
    """Cancel after the first step that is reported."""
    if "loss" in progress.metrics:
        watch.cancel()


def _compiled(setting: Setting) -> dict[str, Any]:
    """A few steps with torch.compile, whose losses are those without it."""
    setting.require_gpu()
    cohort, losses, seconds = _cohort(setting), {}, {}
    for compiled in (False, True):
        run = f"compile {compiled}"
        settings = _settings(setting, network="basic_unet_small", patch=(48, 48, 48), batch=2, compile=compiled)
        start = time.monotonic()
        card = train(cohort, run, settings)
        seconds[compiled] = time.monotonic() - start
        losses[compiled] = np.array([m["loss"] for m in RunFolder(cohort.run_folder(run)).metrics("3d")])
    difference = float(np.abs(losses[True] - losses[False]).max())
    figures = {"seconds without": seconds[False], "seconds with": seconds[True], "notes": list(card.notes)}
    return {**figures, "difference": difference, "agrees": difference < 0.1}
