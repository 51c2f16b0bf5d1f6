"""Predictions and whole trainings on the GPU against the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from learning_speed import ball_cohort
from SparseAnnotateLib.core import Cohort, Plane, Watch
from SparseAnnotateLib.learning.data.training_cases import normalised_image
from SparseAnnotateLib.learning.features.learned_features import FeatureTraining, learned_features
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.run_models import loaded_models
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator
from SparseAnnotateLib.learning.prediction.volume_prediction import predicted_classes
from SparseAnnotateLib.learning.propagation.learned_interpolator import propagation_for_cohort
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import PRESETS, AugmentationSettings, TrainingSettings
from SparseAnnotateLib.runs.presets import preset_settings
from SparseAnnotateLib.runs.run_folder import RunFolder

from .comparing import (
    SMALL_FINAL_NETWORK,
    computed_alike,
    relative,
    same_on_all_devices,
    share_equal,
    without_estimate,
)
from .sub_part import Setting, SubPart

FIRST_LOSS, LAST_LOSS, OWN_LOSS = 1e-3, 0.05, 0.15
FINAL_LOSS = 0.3  # of a model that learns from pseudo-labels, which differ where two classes are about as likely
FP32_SAME, SAME = 0.999, 0.98
PATCH, PATCH_2D = (32, 32, 32), (64, 64)


def training_sub_parts(setting: Setting) -> list[SubPart]:
    """Each preset, and what none of them uses, for a few steps; the presets of publications last."""

    def presets(are_published: bool) -> dict[str, Callable[[], TrainingSettings]]:
        names = [name for name, preset in PRESETS.items() if bool(preset.changes) == are_published]
        return {f"preset {name}": lambda name=name: preset_settings(name, setting.device) for name in names}

    kinds = presets(False) | {
        "Y-shaped final model": lambda: TrainingSettings(recipe="self_training", network_final=SMALL_FINAL_NETWORK),
        "mean teacher": lambda: TrainingSettings(mean_teacher=1.0, undrawn_share=0.3),
        "mixup": lambda: TrainingSettings(augmentation=AugmentationSettings(mixup=1.0)),
        "class weights": lambda: TrainingSettings(recipe="ensemble", loss="weighted_ce"),
        "distances": lambda: TrainingSettings(recipe="ensemble", loss="boundary"),
        "all augmentation": lambda: TrainingSettings(
            augmentation=AugmentationSettings(right_angles=1.0, affine=1.0, elastic=1.0, bias_field=1.0)
        ),
    }
    kinds |= presets(True)
    return [
        SubPart(
            f"training, {kind}",
            lambda kind=kind, make=make: _training(kind, make(), setting),
            6.0,
            kind in ("preset best", "mean teacher"),
        )
        for kind, make in kinds.items()
    ]


def prediction_sub_parts(setting: Setting) -> list[SubPart]:
    """Predictions of a run of self-training, and what else computes on the GPU."""
    found = []
    for parts, roles in (("3D", ("3d",)), ("2D + 3D", ("2d", "3d")), ("final", ("2d", "3d", "final"))):
        for flips in (False, True):
            run = lambda roles=roles, flips=flips: _prediction(roles, flips, setting)  # noqa: E731
            found.append(
                SubPart(f"prediction, {parts}{', flips' if flips else ''}", run, 5.0, parts == "final" and flips)
            )
    return [
        *found,
        SubPart("uncertainty of a prediction", lambda: _uncertain_prediction(setting), 4.0),
        SubPart("uncertainty of slices, views", lambda: _slice_uncertainty(setting, "predicted", 0.1), 5.0, False),
        SubPart("uncertainty of slices, dropout", lambda: _slice_uncertainty(setting, "one model", 0.5), 5.0, False),
        SubPart("propagation", lambda: _propagation(setting), 5.0, False),
        SubPart("features, autoencoder", lambda: _features(setting, "autoencoder"), 4.0, False),
        SubPart("features, mae", lambda: _features(setting, "mae"), 4.0, False),
    ]


def small_cohort(setting: Setting, state: str = "state") -> Cohort:
    """Three small volumes, made at the first call; `state` holds runs and caches."""
    folder = setting.work / "small cohort"
    if not (folder / "cohort.json").is_file():
        ball_cohort(folder, (24, 28, 32) if setting.is_short else (40, 48, 48), count=3, apart=5)
    if state == "state":
        return Cohort.open(folder)
    return Cohort.open(folder, setting.work / state)


def _steps(setting: Setting) -> dict[str, Any]:
    """Settings that make a training short."""
    if setting.is_short:
        return {"patch": (16, 16, 32), "patch_2d": (32, 32), "batch": 1, "batch_2d": 2, **_iterations(1)}
    return {"patch": PATCH, "patch_2d": PATCH_2D, "batch": 2, "batch_2d": 4, **_iterations(5)}


def _iterations(count: int) -> dict[str, Any]:
    return {"iterations": count, "iterations_2d": count, "iterations_final": count}


def _training(kind: str, settings: TrainingSettings, setting: Setting) -> dict[str, Any]:
    """The losses of each step on the GPU, in fp32 and as it chooses for itself, against the CPU's in fp32."""
    cohort = small_cohort(setting)
    losses = {}
    exact = {"precision": "fp32", "channels_last": False}
    with computed_alike(), without_estimate():
        for name, device, computed in (
            ("cpu", "cpu", exact),
            ("fp32", setting.device, exact),
            ("own", setting.device, {"precision": "auto"}),
        ):
            if name == "own" and not setting.has_gpu:
                continue
            changes = {**_steps(setting), "device": device, **computed}
            run = f"{kind}, {name}"
            train(cohort, run, same_on_all_devices(settings, **changes))
            lines = RunFolder(cohort.run_folder(run)).metrics()
            losses[name] = {
                role: np.array([line["loss"] for line in lines if line["model"] == role and "loss" in line])
                for role in dict.fromkeys(line["model"] for line in lines)
            }
    figures: dict[str, Any] = {}
    base = [role for role in losses["cpu"] if role != "final"]
    figures["first loss"] = max(relative(losses["fp32"][r][:1], losses["cpu"][r][:1]) for r in base)
    figures["last loss"] = max(relative(losses["fp32"][r][-1:], losses["cpu"][r][-1:]) for r in base)
    agrees = figures["first loss"] < FIRST_LOSS and figures["last loss"] < LAST_LOSS
    if "own" in losses:
        figures["own precision"] = max(relative(losses["own"][r], losses["cpu"][r]) for r in base)
        agrees = agrees and figures["own precision"] < OWN_LOSS
    if "final" in losses["cpu"]:
        others = [of["final"] for name, of in losses.items() if name != "cpu"]
        figures["final model"] = max(relative(of, losses["cpu"]["final"]) for of in others)
        agrees = agrees and figures["final model"] < FINAL_LOSS
    figures["losses"] = {name: {r: v.tolist() for r, v in of.items()} for name, of in losses.items()}
    return {**figures, "agrees": agrees}


def _trained_run(setting: Setting, name: str) -> Cohort:
    """The cohort with a finished run: 'predicted' is one of self-training, 'one model' of a single one."""
    cohort = small_cohort(setting)
    if not RunFolder(cohort.run_folder(name)).is_finished:
        recipe = "self_training" if name == "predicted" else "3d"
        changes = {**_steps(setting), **_iterations(2 if setting.is_short else 40), "device": setting.device}
        settings = TrainingSettings(recipe=recipe, learning_rate=5e-3)
        with without_estimate():
            train(cohort, name, same_on_all_devices(settings, **changes))
    return cohort


def _prediction(roles: tuple[str, ...], flips: bool, setting: Setting) -> dict[str, Any]:
    """Labels by the same models on both devices: in fp32, and as users get them."""
    cohort = _trained_run(setting, "predicted")
    case = cohort.cases[0].name
    folder = RunFolder(cohort.run_folder("predicted"))
    card = folder.card()
    image = normalised_image(cohort, case, card.normalisation)
    exact, usual = {}, {}
    with computed_alike():
        for device in ("cpu", setting.device):
            models = [m for m in loaded_models(folder, card, device, flips=flips) if m.role in roles]
            exact[device] = predicted_classes([replace(m, precision="fp32") for m in models], image)
        for device in ("cpu", setting.device):
            usual[device] = Predictor(cohort, "predicted", device, flips=flips, roles=roles).labels(case)
    figures = {
        "fp32 same": share_equal(exact[setting.device], exact["cpu"]),
        "same": share_equal(usual[setting.device], usual["cpu"]),
        "share of structures": float(np.mean(exact["cpu"] > 0)),
    }
    return {**figures, "agrees": figures["fp32 same"] >= FP32_SAME and figures["same"] >= SAME}


def _uncertain_prediction(setting: Setting) -> dict[str, Any]:
    """Entropy and disagreement in percent, mean difference over the voxels."""
    cohort = _trained_run(setting, "predicted")
    case = cohort.cases[1].name
    with computed_alike():
        found = {
            device: Predictor(cohort, "predicted", device).predict(case, uncertainty=True)
            for device in ("cpu", setting.device)
        }
    figures = {}
    for name in ("entropy", "disagreement"):
        a, b = (getattr(found[device], name).astype(float) for device in (setting.device, "cpu"))
        figures[f"{name} difference"] = float(np.abs(a - b).mean())
    return {**figures, "agrees": max(figures.values()) < 2.0}


def _slice_uncertainty(setting: Setting, run: str, tolerance: float) -> dict[str, Any]:
    """The uncertainty of each slice. Dropout drops other values on each device, so it only agrees roughly."""
    cohort = _trained_run(setting, run)
    case = cohort.cases[2].name
    with computed_alike():
        found = {
            device: UncertaintyEstimator(cohort, [run], samples=4, device=device).of_case(case, [Plane.AXIAL])
            for device in ("cpu", setting.device)
        }
    a, b = (found[device].slices[Plane.AXIAL] for device in (setting.device, "cpu"))
    difference = relative(a, b)
    return {"difference": difference, "agrees": difference < tolerance}


def _propagation(setting: Setting) -> dict[str, Any]:
    """Fills by a network that matches slices, learned on each device in a few steps."""
    cohort = small_cohort(setting)
    case = cohort.cases[0].name
    names, steps = [case], 2 if setting.is_short else 10
    fills = {}
    with computed_alike():
        for device in ("cpu", setting.device):
            interpolator = propagation_for_cohort(cohort, names, Watch(), steps, device)
            fills[device] = interpolator.fill(cohort.annotation(case), cohort.image(case)[0]).labels
    same = share_equal(fills[setting.device], fills["cpu"])
    return {"same": same, "agrees": same > 0.95}


def _features(setting: Setting, kind: str) -> dict[str, Any]:
    """Learned features of slices, in a few steps on each device; each has a cache of its own."""
    found = {}
    with computed_alike():
        for device in ("cpu", setting.device):
            cohort = small_cohort(setting, f"features on {device.replace(':', ' ')}")
            training = FeatureTraining(from_scratch=True, steps=1 if setting.is_short else 3, batch=8, device=device)
            case = cohort.cases[0].name
            found[device] = learned_features(cohort, [case], [Plane.AXIAL], kind, training)[case][Plane.AXIAL]
    difference = relative(found[setting.device], found["cpu"])
    return {"difference": difference, "agrees": difference < 0.1}
