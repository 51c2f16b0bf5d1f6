"""The subcommands of the command line: their options, and the requests these make."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from .. import __version__
from ..core import Plane, Watch
from ..core.strict_json import read_json, read_json_text
from ..interpolation import interpolator_descriptions
from ..runs import LOSSES, NETWORKS, PRESETS, RECIPES, TrainingSettings
from ..selection import DEFAULT_FEATURES, DEFAULT_STRATEGY, FEATURES, SCOPES, Scope, strategy_descriptions
from ..worker import requests
from ..worker.create_request import CreateRequest, create, parsed_labels
from .terminal_output import (
    show_agreement,
    show_environment,
    show_evaluations,
    show_exchanged,
    show_fills,
    show_line,
    show_plan,
    show_table,
    show_training,
    show_worklist,
)


def parser() -> argparse.ArgumentParser:
    """The subcommands and their options; `function` and `show` of the options are what to do and how to show it."""
    found = argparse.ArgumentParser(
        prog="sparse-annotate",
        description="Draw a few slices of your 3D scans and get the whole cohort segmented.",
    )
    found.add_argument("--version", action="version", version=f"sparse-annotate {__version__}")
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _create_options(commands)

    plan = _command(commands, "plan", "say how to spend so many slices or minutes, and why", show_plan)
    budget = plan.add_mutually_exclusive_group(required=True)
    budget.add_argument("--slices", type=int, help="slices you can draw in the whole cohort")
    budget.add_argument("--minutes", type=float, help="minutes you can spend drawing")
    plan.add_argument("--seconds-per-slice", type=float, help="by default as long as slices have taken so far")
    plan.add_argument("--planes", nargs="+", default=[p.value for p in Plane], help="planes to choose from")
    plan.add_argument("--dimensions", type=int, choices=(2, 3), default=3, help="of the model to train (default: 3)")
    plan.add_argument("--target", choices=("clear", "subtle"), help="whether the structure stands out clearly")

    recommend = _command(commands, "recommend", "recommend the slices to draw", show_worklist)
    _recommend_options(recommend)

    picture = _command(commands, "picture", "draw a map of the slices, drawn and to do", show_line)
    picture.add_argument("--path", default="slices.png", help="PNG file to write (default: slices.png)")
    picture.add_argument("--planes", nargs="+", default=(), help="by default those of the ledgers")
    _feature_options(picture)
    picture.add_argument("--whole", action="store_true", help="count air around the body, too")

    _command(commands, "draw", "draw the worklist as the references show it (experiments)", show_table)

    fill = _command(commands, "fill", "fill between drawn slices", show_fills)
    methods = "; ".join(f"{name}: {text}" for name, text in interpolator_descriptions().items())
    defaults = requests.FillRequest("")
    fill.add_argument("--method", default=defaults.method, help=methods)
    fill.add_argument("--steps", type=int, default=defaults.steps, help="in which 'propagation' learns")
    fill.add_argument("--device", default=defaults.device, help="for 'propagation': auto, cpu, cuda, cuda:1, mps")
    fill.add_argument("--beyond", type=int, metavar="N", help="slices beyond the outermost drawn ones, at most")
    fill.add_argument("--methods", nargs="+", default=defaults.methods, help="what 'auto' may choose from")
    fill.add_argument(
        "--time-limit", type=float, default=defaults.time_limit, help="seconds a volume, for ITK's filter"
    )

    train = _command(commands, "train", "train on drawn slices, or go on with a run", show_training, _train)
    train.add_argument("--run", required=True, help="name of the run; one that was cancelled or killed goes on")
    train.add_argument("--preset", choices=PRESETS, help="; ".join(f"{n}: {text}" for n, text in PRESETS.items()))
    train.add_argument("--recipe", choices=RECIPES, help="; ".join(f"{n}: {text}" for n, text in RECIPES.items()))
    train.add_argument("--settings", metavar="JSON", help="file with any of the training settings; options override it")
    train.add_argument("--plan-only", action="store_true", help="write the plan, to be edited; say how long it takes")
    defaults = TrainingSettings()
    networks = "; ".join(f"{name}: {text}" for name, text in NETWORKS.items())
    train.add_argument("--network", help=f"of 3D models. {networks}")
    train.add_argument("--network-2d", help="of 2D models, the same names")
    train.add_argument("--loss", help="; ".join(f"{name}: {text}" for name, text in LOSSES.items()))
    train.add_argument("--patch", type=int, nargs=3, metavar=("S", "A", "R"), help="patch in voxels")
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
        train.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    train.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")

    curves = _command(commands, "curves", "draw loss and Dice of a run, finished or not", show_line)
    curves.add_argument("--run", required=True)
    curves.add_argument("--path", default="curves.png", help="PNG file to write (default: curves.png)")

    predict = _command(commands, "predict", "label volumes with a trained run", show_table)
    predict.add_argument("--run", required=True)
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    predict.add_argument("--flips", action="store_true", help="average over mirrored volumes, too: slower, better")
    predict.add_argument("--models", nargs="+", default=(), help="only these of the run's models: 2d, 3d, final")
    predict.add_argument("--uncertainty", action="store_true", help="write volumes of entropy and disagreement, too")
    predict.add_argument("--follows-edges", action="store_true", help="refine 2D models by a conditional random field")
    predict.add_argument("--largest-component", action="store_true", help="keep the largest piece of each structure")
    predict.add_argument("--smoothing", type=float, default=0.0, metavar="MM", help="smooth outlines by so much")

    evaluate = _command(
        commands,
        "evaluate",
        "compare results with reference labels: Dice over all voxels and over the undrawn ones alone (undrawn_dice)",
        show_evaluations,
    )
    evaluate.add_argument("--run", help="a run's predictions; without it, the fill")

    agreement = _command(commands, "agreement", "tell whether more rounds still change the result", show_agreement)
    agreement.add_argument("--runs", nargs="+", required=True, help="runs in the order of the rounds, all predicted")

    _exchange_commands(commands)

    environment = commands.add_parser("environment", help="what can be computed here, on which device")
    environment.set_defaults(function=_request, show=show_environment, request_name="environment")
    _output_options(environment)
    return found


def _create_options(commands) -> None:
    command = _command(
        commands, "create", "make a cohort folder from image files, or add image files to one", show_table, _create
    )
    command.add_argument("images", nargs="+", help="image files (NRRD, NIfTI, MetaImage)")
    command.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="names of labels, e.g. 1=liver")
    command.add_argument(
        "--references",
        nargs="*",
        default=[],
        help="dense label files, in the order of the images; refused where their names say otherwise",
    )
    command.add_argument(
        "--names", nargs="+", default=[], help="of the cases, in the order of the images (default: those of the files)"
    )
    command.add_argument(
        "--name-from",
        choices=("file", "parent"),
        default="file",
        help="name cases by their files, and by folders where files are called alike; or by the folder they lie in",
    )
    ways = command.add_mutually_exclusive_group()
    ways.add_argument(
        "--copy-images",
        dest="way",
        action="store_const",
        const="copy",
        default="link",
        help="images go into the cohort folder, so that it can be copied and moved, as hard links, which take no disk "
        "(where the file system has none, the images stay where they are): with this option as copies there",
    )
    ways.add_argument(
        "--leave-images",
        dest="way",
        action="store_const",
        const="leave",
        help="keep only the paths of images outside the cohort folder; relative ones, where both lie in one project",
    )


def _recommend_options(recommend: argparse.ArgumentParser) -> None:
    budget = recommend.add_mutually_exclusive_group(required=True)
    budget.add_argument("--density", type=float, help="share of each volume's slices, e.g. 0.1")
    budget.add_argument("--every", type=int, metavar="K", help="one of every K slices of each volume, rounded down")
    budget.add_argument("--per-volume", type=int, help="slices in each volume and plane")
    budget.add_argument("--total", type=int, help="slices in the whole cohort")
    budget.add_argument("--more", type=int, help="slices in the whole cohort, in addition to those drawn already")
    budget.add_argument("--minutes", type=float, help="minutes to spend drawing")
    recommend.add_argument(
        "--seconds-per-slice", type=float, help="with --minutes; by default as long as slices have taken so far"
    )
    recommend.add_argument("--planes", nargs="+", default=["axial"], help="axial, coronal, sagittal (default: axial)")
    strategies = "; ".join(f"{name}: {text}" for name, text in strategy_descriptions().items())
    recommend.add_argument("--strategy", help=f"{strategies} Default: {DEFAULT_STRATEGY}.")
    scopes = "; ".join(f"{scope.value}: {text}" for scope, text in SCOPES.items())
    recommend.add_argument(
        "--scope", default=Scope.PLANE.value, help=f"what is looked at together. {scopes}. Default: plane."
    )
    recommend.add_argument("--minimum", type=int, help="slices of each volume at least, with --scope cohort")
    recommend.add_argument("--maximum", type=int, help="slices of each volume at most, with --scope cohort")
    _feature_options(recommend)
    recommend.add_argument("--runs", nargs="+", default=(), help="with --strategy uncertainty: the models to ask")
    recommend.add_argument("--samples", type=int, default=8, help="predictions sampled of a single model")
    recommend.add_argument("--picture", metavar="PNG", help="write a map of the slices and a coverage curve there")
    recommend.add_argument("--whole", action="store_true", help="recommend air around the body, too")


def _feature_options(command: argparse.ArgumentParser) -> None:
    features = "; ".join(f"{name}: {text}" for name, text in FEATURES.items())
    command.add_argument(
        "--features",
        default=DEFAULT_FEATURES,
        help=f"what slices are compared by. {features} none: with uncertainty, not at all",
    )
    command.add_argument(
        "--from-scratch", action="store_true", help="with --features autoencoder: a small one, without VGG-19's weights"
    )
    command.add_argument(
        "--download-weights", action="store_true", help="let autoencoder download VGG-19's weights (548 MB), once"
    )
    command.add_argument("--feature-steps", type=int, default=1000, help="steps in which features are learned")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def _command(commands, name: str, text: str, show: Callable, function: Callable | None = None):
    """A subcommand for the request of that name, with what all have, and --state and --cases if it takes them."""
    command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    command.add_argument("cohort", metavar="COHORT", help="cohort folder, or a folder in the Decathlon's layout")
    request_name = name.replace("-", "_")
    taken = {f.name for f in fields(requests.METHODS[request_name][0])}
    if "state" in taken:
        command.add_argument(
            "--state", metavar="FOLDER", help="keep annotations, ledgers, results and runs there instead"
        )
    if "cases" in taken:
        command.add_argument("--cases", nargs="+", default=(), help="only these cases")
    command.set_defaults(function=function or _request, show=show, request_name=request_name)
    _output_options(command)
    return command


def _exchange_commands(commands) -> None:
    """Data sets of nnU-Net and bundles of MONAI, there and back."""
    for name, text in (
        ("export-nnunet", "write the cohort as a raw data set of nnU-Net v2, undrawn voxels ignored"),
        ("import-nnunet", "make a cohort of a raw data set of nnU-Net v2, or take its predictions over"),
        ("export-bundle", "write a run's 3D model as a MONAI bundle"),
        ("import-bundle", "take a MONAI bundle that was written so over as a run"),
    ):
        command = _command(commands, name, text, show_exchanged)
        command.add_argument("--folder", required=True, help="the data set or bundle")
        if name.endswith("bundle"):
            command.add_argument("--run", required=True)
        if name == "import-nnunet":
            command.add_argument(
                "--predictions", metavar="FOLDER", help="nnU-Net's label files, for an existing cohort"
            )
            command.add_argument("--run", help="name to keep the predictions under")


def _output_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _create(options: argparse.Namespace, watch: Watch) -> Any:
    request = CreateRequest(
        options.cohort,
        tuple(options.images),
        tuple(options.references),
        parsed_labels(options.labels),
        tuple(options.names),
        options.name_from,
        options.way,
    )
    return create(request, watch)


def _request(options: argparse.Namespace, watch: Watch) -> Any:
    request_class, function = requests.METHODS[options.request_name]
    given = {f.name: getattr(options, f.name) for f in fields(request_class)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return function(request_class(**given), watch)


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
