"""`train`, `curves` and `predict`: models of the drawn slices, and what they say of the volumes."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from ..core import Watch
from ..core.strict_json import read_json, read_json_text
from ..runs import LOSSES, PRESETS, RECIPES, TrainingSettings, base_networks
from ..runs.plan import TrainingEstimate
from ..worker import requests
from .shared_options import DEVICES, choices, cohort_command
from .terminal_output import show_line, show_table


def add_train(commands) -> None:
    command = cohort_command(commands, "train", "train on drawn slices, or go on with a run", show_training, _train)
    command.add_argument("--run", required=True, help="name of the run; one that was cancelled or killed goes on")
    command.add_argument("--preset", choices=PRESETS, help=choices(PRESETS))
    command.add_argument("--recipe", choices=RECIPES, help="; ".join(f"{n}: {text}" for n, text in RECIPES.items()))
    command.add_argument(
        "--settings", metavar="JSON", help="file with any of the training settings; options override it"
    )
    command.add_argument("--plan-only", action="store_true", help="write the plan, to be edited; say how long it takes")
    command.add_argument("--network", help=f"of 3D models. {choices(base_networks())}")
    command.add_argument("--network-2d", help="of 2D models, the same names")
    command.add_argument("--loss", help=choices(LOSSES))
    command.add_argument("--patch", type=int, nargs=3, metavar=("S", "A", "R"), help="patch in voxels")
    defaults = TrainingSettings()
    for name, kind in (
        ("batch", int),
        ("iterations", int),
        ("learning_rate", float),
        ("dropout", float),
        ("fill_weight", float),
        ("mean_teacher", float),
        ("seed", int),
    ):
        default = getattr(defaults, name)
        text = "default: planned" if default is None else f"default: {default}"
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    command.add_argument("--device", help=DEVICES)


def add_curves(commands) -> None:
    command = cohort_command(commands, "curves", "draw loss and Dice of a run, finished or not", show_line)
    command.add_argument("--run", required=True)
    command.add_argument("--path", default="curves.png", help="PNG file to write (default: curves.png)")


def add_predict(commands) -> None:
    command = cohort_command(commands, "predict", "label volumes with a trained run", show_table)
    command.add_argument("--run", required=True)
    command.add_argument("--device", default="auto", help=DEVICES)
    command.add_argument("--flips", action="store_true", help="average over mirrored volumes, too: slower, better")
    command.add_argument("--models", nargs="+", default=(), help="only these of the run's models: 2d, 3d, final")
    command.add_argument("--uncertainty", action="store_true", help="write volumes of entropy and disagreement, too")
    command.add_argument("--follows-edges", action="store_true", help="refine 2D models by a conditional random field")
    command.add_argument("--largest-component", action="store_true", help="keep the largest piece of each structure")
    command.add_argument("--smoothing", type=float, default=0.0, metavar="MM", help="smooth outlines by so much")


def _train(options: argparse.Namespace, watch: Watch) -> Any:
    given = {f.name: getattr(options, f.name, None) for f in fields(TrainingSettings)}
    given = {k: v for k, v in given.items() if v is not None}
    if options.settings:
        given = {**_settings_file(options.settings), **given}
    given = {name: value for name, value in given.items() if name != "device" or options.preset is None}
    request = {
        "cohort": options.cohort,
        "run": options.run,
        "state": options.state,
        "cases": tuple(options.cases),
        "preset": options.preset,
        "changes": given,
        "device": options.device or "auto",
    }
    if options.plan_only:
        return requests.plan_training(requests.PlanTrainingRequest(**request), watch)
    return requests.train(requests.TrainRequest(**request), watch)


def _settings_file(path: str) -> dict[str, Any]:
    """The fields of a JSON file, checked against those of the settings."""
    read_json(path, TrainingSettings)
    return json.loads(read_json_text(path))


def show_training(result: dict[str, Any] | TrainingEstimate) -> None:
    if isinstance(result, TrainingEstimate):
        for model in result.models:
            patch = " x ".join(map(str, model.patch))
            show_line(f"{model.role}: {model.network}, {model.iterations} steps of {model.batch} patches of {patch}")
        show_line(f"About {result.minutes:.0f} minutes on {result.device}. Plan: {result.path}")
        notes = result.notes
    else:
        dice = result["validation_dice"]
        held_out = f", Dice {dice:.3f} on held-out drawn slices" if dice is not None else ""
        networks = ", ".join(f"{m['plan']['network']} ({m['plan']['role']})" for m in result["models"])
        steps = sum(m["iterations"] for m in result["models"])
        show_line(
            f"Run '{result['run']}': {networks} trained on {result['slices']} drawn slices of "
            f"{len(result['cases'])} cases, {steps} steps in {result['seconds']:.0f} s on {result['device']}{held_out}."
        )
        notes = result["notes"]
    for sentence in notes:
        show_line(f"- {sentence}")
