"""Out of memory for real, runs resumed on the other device, and torch.compile."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from learning_speed import ball_cohort
from SparseAnnotateLib.core import DEFAULT_DEVICE, CancelledError, Cohort, Progress, Watch
from SparseAnnotateLib.learning.devices import release_cached_memory
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.network import DEFAULT_NETWORK
from SparseAnnotateLib.runs.run_folder import RunFolder

from .comparing import SMALL_NETWORK, computed_alike, share_equal, without_estimate
from .gpu_memory import limited_to, occupied_but, reset_used, used_gigabytes
from .sub_part import Setting, Skipped, SubPart

STEPS = 6


@dataclass(frozen=True)
class _Sizes:
    """How large trainings are, how little memory (GB) they get, and how much (GB) kernels may keep of it."""

    network: str = DEFAULT_NETWORK
    patch: tuple[int, int, int] = (96, 96, 96)
    smaller_patch: tuple[int, int, int] = (32, 32, 32)
    patch_to_predict: tuple[int, int, int] = (64, 64, 64)
    half: float = 5.0  # of what a batch of 4 needs
    little: float = 1.0
    hardly_any: float = 0.05
    little_to_predict: float = 0.5
    hardly_any_to_predict: float = 0.02
    kernels: float = 0.5
    workspace: float = 0.1


_USUAL = _Sizes()
_IN_SHORT = _Sizes(SMALL_NETWORK, *[(16, 16, 32)] * 3, 0.045, 0.05, 0.01, 0.01, 0.002, 0.001, 0.001)


def sub_parts(setting: Setting) -> list[SubPart]:
    """All of this part, the most telling ones first; most need a GPU."""
    sizes = _IN_SHORT if setting.is_short else _USUAL
    little, predicting = sizes.little, sizes.little_to_predict
    return [
        SubPart("training, half of the batch fits", lambda: _limited_training(setting, sizes), 12.0),
        SubPart(f"prediction, {predicting} GB left", lambda: _limited_prediction(setting, sizes, predicting), 10.0),
        SubPart("resumed on the CPU", lambda: _resumed(setting, setting.device, "cpu"), 6.0),
        SubPart("resumed on the GPU", lambda: _resumed_on_gpu(setting), 6.0),
        SubPart("free memory after a training", lambda: _given_back(setting, sizes), 8.0),
        SubPart("compile", lambda: _compiled(setting), 35.0),
        SubPart(
            f"training, {little} GB left, planned for that",
            lambda: _occupied_training(setting, sizes, little, None),
            12.0,
        ),
        SubPart(
            f"training, {sizes.hardly_any} GB left",
            lambda: _occupied_training(setting, sizes, sizes.hardly_any, sizes.smaller_patch),
            12.0,
        ),
        SubPart(
            f"prediction, {sizes.hardly_any_to_predict} GB left",
            lambda: _limited_prediction(setting, sizes, sizes.hardly_any_to_predict),
            12.0,
        ),
        SubPart(
            f"training, {little} GB left, planned for more",
            lambda: _occupied_training(setting, sizes, little, sizes.patch),
            25.0,
        ),
    ]


def _cohort(setting: Setting) -> Cohort:
    folder = setting.work / "large cohort"
    if not (folder / "cohort.json").is_file():
        ball_cohort(folder, (24, 28, 32) if setting.is_short else (112, 128, 128), count=2)
    return Cohort.open(folder)


def _settings(setting: Setting, **changes: Any) -> TrainingSettings:
    steps = 2 if setting.is_short else STEPS
    usual = {"network": SMALL_NETWORK, "iterations": steps, "device": setting.device, "validation_share": 0.0}
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


def _limited_training(setting: Setting, sizes: _Sizes) -> dict[str, Any]:
    """Training stays on the GPU with fewer or smaller patches, and takes all its steps."""
    setting.require_gpu()
    settings = _settings(setting, network=sizes.network, patch=sizes.patch, batch=4, precision="fp32")
    card = _train(setting, "limited", settings, limited_to(sizes.half, setting.device))
    model = card.models[0].plan
    is_reduced = model.batch < 4 or model.patch != sizes.patch
    finished = card.models[0].iterations == settings.iterations and card.device != "cpu"
    return {**_facts(card, setting.device), "agrees": is_reduced and finished and bool(card.notes)}


def _occupied_training(
    setting: Setting, sizes: _Sizes, gigabytes: float, patch: tuple[int, ...] | None
) -> dict[str, Any]:
    """Another program has all but a little of the memory: training takes all its steps, there or on the CPU."""
    setting.require_gpu()
    batch = 2 if patch else None
    settings = _settings(setting, network=sizes.network, patch=patch, batch=batch, device=DEFAULT_DEVICE)
    reset_used(setting.device)
    run = f"{gigabytes} GB left, {patch}"
    card = _train(setting, run, settings, occupied_but(gigabytes, setting.device))
    plan = card.models[0].plan
    is_smaller = patch is None or plan.patch != patch or plan.batch < 2 or card.device == "cpu"
    finished = card.models[0].iterations == settings.iterations
    return {**_facts(card, setting.device), "agrees": finished and is_smaller}


def _given_back(setting: Setting, sizes: _Sizes) -> dict[str, Any]:
    """What a training leaves taken of the GPU once the worker has released its memory, as after every job."""
    setting.require_gpu()
    with without_estimate():
        # What the driver and PyTorch take once, for kernels and workspaces, is taken by this one.
        _train(setting, "first", _settings(setting, patch=sizes.smaller_patch, batch=1), nullcontext())
        release_cached_memory()
        free, tensors = _free_and_allocated(setting.device)
        settings = _settings(setting, network=sizes.network, patch=sizes.patch, batch=2)
        _train(setting, "second", settings, nullcontext())
        kept = torch.cuda.memory_reserved(setting.device) / 1e9
        release_cached_memory()
        free_after, tensors_after = _free_and_allocated(setting.device)
    figures = {
        "free before": free,
        "free after": free_after,
        "tensors before": tensors,
        "tensors after": tensors_after,
        "kept by PyTorch before the release": kept,
    }
    # The kernels of larger patches, and cuBLAS's workspace, take some memory for good.
    agrees = free - free_after < sizes.kernels and tensors_after - tensors < sizes.workspace
    return {**figures, "agrees": agrees}


def _free_and_allocated(device: str) -> tuple[float, float]:
    """GB that the driver has free, and that tensors take."""
    return torch.cuda.mem_get_info(device)[0] / 1e9, torch.cuda.memory_allocated(device) / 1e9


def _limited_prediction(setting: Setting, sizes: _Sizes, gigabytes: float) -> dict[str, Any]:
    """A prediction with little memory finishes with about the labels that it has with enough."""
    setting.require_gpu()
    cohort, run = _cohort(setting), "to predict with"
    if not RunFolder(cohort.run_folder(run)).is_finished:
        steps = 2 if setting.is_short else 30
        settings = _settings(setting, network=sizes.network, patch=sizes.patch_to_predict, iterations=steps)
        with without_estimate():
            train(cohort, run, settings)
    case = cohort.cases[0].name
    with computed_alike():  # the CPU may predict a part
        expected = Predictor(cohort, run, setting.device).labels(case)
        predictor = Predictor(cohort, run, setting.device)
        reset_used(setting.device)
        start = time.monotonic()
        with limited_to(gigabytes, setting.device):
            found = predictor.predict(case)
            used = used_gigabytes(setting.device)
        seconds = time.monotonic() - start
        again = predictor.labels(case)
    same, same_again = share_equal(found.labels, expected), share_equal(again, expected)
    figures = {"seconds": seconds, "gigabytes used": used, "notes": list(found.notes)}
    return {**figures, "same": same, "same again": same_again, "agrees": min(same, same_again) > 0.98}


def _resumed(setting: Setting, first: str, second: str) -> dict[str, Any]:
    """A run that was cancelled on one device and is resumed on the other, beside one that never stopped."""
    cohort, run = _cohort(setting), f"from {first} to {second}".replace(":", " ")
    settings = _settings(setting, patch=(16, 16, 32), batch=1, precision="fp32", checkpoint_every=2, device=first)
    watch = Watch(lambda progress: _cancel_at(progress, watch))
    folder = RunFolder(cohort.run_folder(run))
    with without_estimate(), computed_alike():
        with suppress(CancelledError):
            train(cohort, run, settings, watch=watch)
        steps_before = len(folder.metrics("3d"))
        card = train(cohort, run, replace(settings, device=second))
        train(cohort, f"{run}, whole", settings)
    whole = RunFolder(cohort.run_folder(f"{run}, whole")).metrics("3d")
    losses, expected = ([m["loss"] for m in lines if "loss" in m] for lines in (folder.metrics("3d"), whole))
    difference = float(np.abs(np.array(losses) - np.array(expected)).max()) if len(losses) == len(expected) else None
    figures = {"steps before": steps_before, "device": card.device, "notes": list(card.notes), "difference": difference}
    interrupted = 0 < steps_before < settings.iterations
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
    patch = (16, 16, 32) if setting.is_short else (48, 48, 48)
    for compiled in (False, True):
        run = f"compile {compiled}"
        start = time.monotonic()
        with without_estimate():
            card = train(cohort, run, _settings(setting, patch=patch, batch=2, compile=compiled))
        seconds[compiled] = time.monotonic() - start
        losses[compiled] = np.array([m["loss"] for m in RunFolder(cohort.run_folder(run)).metrics("3d")])
    failure = next((note for note in card.notes if "could not be compiled" in note), None)
    if failure:
        raise Skipped(failure)
    difference = float(np.abs(losses[True] - losses[False]).max())
    figures = {"seconds without": seconds[False], "seconds with": seconds[True], "notes": list(card.notes)}
    return {**figures, "difference": difference, "agrees": difference < 0.1}
