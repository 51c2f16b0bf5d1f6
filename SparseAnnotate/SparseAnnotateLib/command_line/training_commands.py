"""`train`, `curves` and `slice`: train models on drawn slices, plot the training, and label one slice."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from ..core import DEFAULT_DEVICE, BadInputError, Plane, Watch
from ..core.messages import _, counted
from ..core.strict_json import read_json, read_json_text
from ..runs import DEFAULT_PRESET, LOSSES, PRESETS, RECIPES, TrainingSettings, base_networks
from ..runs.dice_in_words import dice_sentences
from ..runs.live_settings import LIVE_PRESET
from ..runs.plan import TrainingEstimate
from ..worker import requests
from ..worker.slice_request import SliceAnswer
from .shared_options import DEVICE_HELP, answered, choices, cohort_command, host_options
from .terminal_output import show_line


def add_train(commands) -> None:
    command = cohort_command(commands, "train", "train on drawn slices, or resume a run", show_training, _train)
    training_options(command)
    host_options(command)
    command.add_argument(
        "--plan-only", action="store_true", help="do not train: write the plan for editing, and estimate the time"
    )
    command.add_argument(
        "--live",
        action="store_true",
        help="learn from slices while they are being drawn, until Ctrl-C; the run can be used and continued then",
    )


def training_options(command: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how: of `train` and of `submit train`."""
    command.add_argument("--run", required=True, help="name of the run; a cancelled or killed run is resumed")
    command.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"which models are trained, and how. {choices(PRESETS)} Default: {DEFAULT_PRESET}; with --live "
        f"{LIVE_PRESET}. The options below and --settings change single settings of it.",
    )
    # An older spelling, which still works: each recipe has a preset.
    command.add_argument("--recipe", choices=RECIPES, help=argparse.SUPPRESS)
    command.add_argument(
        "--settings",
        metavar="JSON",
        help="JSON file with training settings that differ from the preset; options override it",
    )
    command.add_argument("--network", help=f"network of 3D models. {choices(base_networks())}")
    command.add_argument("--network-2d", help="network of 2D models; same choices")
    command.add_argument("--loss", help=choices(LOSSES))
    command.add_argument(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="channels to learn from (default: all but those that show nothing of any structure on the drawn slices)",
    )
    command.add_argument(
        "--patch",
        type=int,
        nargs=3,
        metavar=("S", "A", "R"),
        help="patch size in voxels along the superior, anterior and right axes (default: chosen by the plan)",
    )
    defaults = TrainingSettings()
    for name, kind, meaning in (
        ("batch", int, "patches per step"),
        ("iterations", int, "largest number of training steps of each model"),
        ("learning_rate", float, "learning rate"),
        ("dropout", float, "fraction of values dropped in the network"),
        ("fill_weight", float, "weight of filled voxels, relative to drawn ones"),
        ("mean_teacher", float, "weight of the mean-teacher loss on undrawn voxels"),
        ("seed", int, "random seed"),
    ):
        default = getattr(defaults, name)
        shown = "chosen by the plan" if default is None else default
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{meaning} (default: {shown})")
    command.add_argument("--device", help=DEVICE_HELP)


def add_curves(commands) -> None:
    command = cohort_command(commands, "curves", "plot loss and Dice of a run, finished or not", show_line)
    command.add_argument("--run", required=True, help="name of the run")
    command.add_argument("--path", default="curves.png", help="PNG file to write (default: curves.png)")


def add_slice(commands) -> None:
    command = cohort_command(commands, "slice", "label one slice with a run of a single model", show_slice)
    command.add_argument("case", metavar="CASE", help="name of the case")
    command.add_argument("--run", required=True, help="name of the run")
    command.add_argument(
        "--plane", default="axial", choices=[plane.value for plane in Plane], help="plane of the slice (default: axial)"
    )
    command.add_argument(
        "--index",
        type=int,
        required=True,
        metavar="N",
        help="number of the slice along its axis in the image array, from 0",
    )
    command.add_argument("--device", default=DEFAULT_DEVICE, help=DEVICE_HELP)


def show_slice(answer: SliceAnswer) -> None:
    show_line(answer.path)
    show_line(answer.summary)


def training_choice(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a TrainRequest from the `training_options`."""
    given = {f.name: getattr(options, f.name, None) for f in fields(TrainingSettings)}
    given = {k: v for k, v in given.items() if v is not None}
    if options.settings:
        given = {**_settings_file(options.settings), **given}
    given = {name: value for name, value in given.items() if name != "device" or options.preset is None}
    return {
        "cohort": options.cohort,
        "run": options.run,
        "state": options.state,
        "cases": tuple(options.cases),
        "preset": options.preset,
        "changes": given,
        "device": options.device or DEFAULT_DEVICE,
    }


def _train(options: argparse.Namespace, watch: Watch) -> Any:
    request = training_choice(options)
    if options.plan_only and options.live:
        raise BadInputError(
            _("Leave out '--plan-only' or '--live': a training that runs until you stop it has no plan.")
        )
    if options.plan_only:
        return answered(options, "plan_training", requests.PlanTrainingRequest(**request), watch)
    return answered(options, "train", requests.TrainRequest(**request, live=options.live), watch)


def _settings_file(path: str) -> dict[str, Any]:
    """The fields of a JSON file, checked against those of the settings."""
    read_json(path, TrainingSettings)
    return json.loads(read_json_text(path))


def show_training(result: dict[str, Any] | TrainingEstimate) -> None:
    if isinstance(result, TrainingEstimate):
        for model in result.models:
            patch = " x ".join(map(str, model.patch))
            steps = counted(model.iterations, "{count} step", "{count} steps")
            patches = counted(model.batch, "{count} patch", "{count} patches")
            show_line(f"{model.role}: {model.network}, {steps} of {patches} of {patch}")
        minutes = counted(round(result.minutes), "About {count} minute", "About {count} minutes")
        show_line(f"{minutes} on {result.device}. Plan: {result.path}")
        notes = result.notes
    else:
        networks = ", ".join(f"{m['plan']['network']} ({m['plan']['role']})" for m in result["models"])
        steps = counted(sum(m["iterations"] for m in result["models"]), "{count} step", "{count} steps")
        slices = counted(result["slices"], "{count} drawn slice", "{count} drawn slices")
        cases = counted(len(result["cases"]), "{count} case", "{count} cases")
        show_line(
            f"Run '{result['run']}': {networks} trained on {slices} of {cases}, {steps} in "
            f"{result['seconds']:.0f} s on {result['device']}."
        )
        if result["validation_dice"] is not None or result.get("is_live", False):
            show_line(dice_sentences(result["validation_dice"], result["corrected_dice"], result.get("is_live", False)))
        notes = result["notes"]
    for sentence in notes:
        show_line(f"- {sentence}")
