"""`sparse-annotate`: the worker's requests as subcommands, for folders, clusters and scripts."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import __version__
from ..core import CancelledError, Cohort, Plane, SparseAnnotateError, Watch
from ..core.decathlon import case_name
from ..core.images import read_geometry, read_labels
from ..core.strict_json import read_json, to_plain, to_text
from ..interpolation import interpolator_descriptions
from ..learning import LOSSES, NETWORKS, PRESETS, RECIPES, TrainingSettings
from ..selection import DEFAULT_FEATURES, DEFAULT_STRATEGY, FEATURES, SCOPES, Scope, strategy_descriptions
from . import requests
from .terminal_output import (
    progress_bar,
    show_agreement,
    show_environment,
    show_exchanged,
    show_fills,
    show_plan,
    show_table,
    show_training,
    show_worklist,
)

EXIT_OK, EXIT_ERROR, EXIT_CANCELLED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0 done, 1 an error in a sentence, 2 wrong usage, 130 cancelled."""
    options = _parser().parse_args(arguments)
    watch_progress = _silent if options.json or options.quiet else progress_bar
    try:
        with watch_progress() as report, _cancelled_by_ctrl_c(report) as watch:
            result = options.function(options, watch)
    except CancelledError:
        Console(stderr=True).print("Cancelled. What was finished is kept; a training goes on where it stopped.")
        return EXIT_CANCELLED
    except SparseAnnotateError as error:
        if options.json:
            print(to_text({"error": str(error), "type": type(error).__name__}))
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False, highlight=False)
        return EXIT_ERROR
    if options.json:
        print(to_text(result, indent=2))
    else:
        options.show(result)
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparse-annotate",
        description="Draw a few slices of your 3D scans and get the whole cohort segmented.",
    )
    parser.add_argument("--version", action="version", version=f"sparse-annotate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    create = _command(commands, "create", "make a cohort folder from image files", _create, show_table)
    create.add_argument("images", nargs="+", help="image files (NRRD, NIfTI, MetaImage); they stay where they are")
    create.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="names of labels, e.g. 1=liver")
    create.add_argument("--references", nargs="*", default=[], help="dense label files, in the order of the images")

    plan = _command(commands, "plan", "say how to spend so many slices or minutes, and why", _request, show_plan)
    plan.set_defaults(request_name="plan")
    budget = plan.add_mutually_exclusive_group(required=True)
    budget.add_argument("--slices", type=int, help="slices you can draw in the whole cohort")
    budget.add_argument("--minutes", type=float, help="minutes you can spend drawing")
    plan.add_argument("--seconds-per-slice", type=float, help="by default as long as slices have taken so far")
    plan.add_argument("--planes", nargs="+", default=[p.value for p in Plane], help="planes to choose from")
    plan.add_argument("--dimensions", type=int, choices=(2, 3), default=3, help="of the model to train (default: 3)")
    plan.add_argument("--target", choices=("clear", "subtle"), help="whether the structure stands out clearly")

    recommend = _command(commands, "recommend", "recommend the slices to draw", _request, show_worklist)
    recommend.set_defaults(request_name="recommend")
    _recommend_options(recommend)

    picture = _command(commands, "picture", "draw a map of the slices, drawn and to do", _request, print)
    picture.set_defaults(request_name="picture")
    picture.add_argument("--path", default="slices.png", help="PNG file to write (default: slices.png)")
    picture.add_argument("--planes", nargs="+", default=(), help="by default those of the ledgers")
    _feature_options(picture)
    picture.add_argument("--whole", action="store_true", help="count air around the body, too")

    draw = _command(commands, "draw", "draw the worklist as the references show it (experiments)", _request, show_table)
    draw.set_defaults(request_name="draw")

    fill = _command(commands, "fill", "fill between drawn slices", _request, show_fills)
    fill.set_defaults(request_name="fill")
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

    train = _command(commands, "train", "train on drawn slices, or go on with a run", _train, show_training)
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

    curves = _command(commands, "curves", "draw loss and Dice of a run, finished or not", _request, print)
    curves.set_defaults(request_name="curves")
    curves.add_argument("--run", required=True)
    curves.add_argument("--path", default="curves.png", help="PNG file to write (default: curves.png)")

    predict = _command(commands, "predict", "label volumes with a trained run", _request, show_table)
    predict.set_defaults(request_name="predict")
    predict.add_argument("--run", required=True)
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    predict.add_argument("--flips", action="store_true", help="average over mirrored volumes, too: slower, better")
    predict.add_argument("--models", nargs="+", default=(), help="only these of the run's models: 2d, 3d, final")
    predict.add_argument("--uncertainty", action="store_true", help="write volumes of entropy and disagreement, too")
    predict.add_argument("--follows-edges", action="store_true", help="refine 2D models by a conditional random field")
    predict.add_argument("--largest-component", action="store_true", help="keep the largest piece of each structure")
    predict.add_argument("--smoothing", type=float, default=0.0, metavar="MM", help="smooth outlines by so much")

    evaluate = _command(commands, "evaluate", "compare results with reference labels", _request, show_table)
    evaluate.set_defaults(request_name="evaluate")
    evaluate.add_argument("--run", help="a run's predictions; without it, the fill")

    agreement = _command(
        commands, "agreement", "tell whether more rounds still change the result", _request, show_agreement
    )
    agreement.set_defaults(request_name="agreement")
    agreement.add_argument("--runs", nargs="+", required=True, help="runs in the order of the rounds, all predicted")

    _exchange_commands(commands)

    environment = commands.add_parser("environment", help="what can be computed here, on which device")
    environment.set_defaults(function=_request, show=show_environment, request_name="environment")
    _output_options(environment)
    return parser


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
    command.add_argument("--feature-steps", type=int, default=1000, help="steps in which features are learned")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def _command(commands, name: str, text: str, function: Callable, show: Callable) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    command.add_argument("cohort", metavar="COHORT", help="cohort folder, or a folder in the Decathlon's layout")
    if name != "create":
        command.add_argument("--state", metavar="FOLDER", help="keep annotations, ledgers and runs there instead")
        command.add_argument("--cases", nargs="+", default=(), help="only these cases")
    command.set_defaults(function=function, show=show)
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
        command = _command(commands, name, text, _request, show_exchanged)
        command.set_defaults(request_name=name.replace("-", "_"))
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


def _create(options: argparse.Namespace, watch: Watch) -> list[dict[str, Any]]:
    from ..core import BadInputError

    labels = {}
    for item in options.labels:
        value, _, name = item.partition("=")
        if not value.isdigit() or not name:
            raise BadInputError(f"A label is given as VALUE=NAME, for example 1=liver, not '{item}'.")
        labels[int(value)] = name
    if options.references and len(options.references) != len(options.images):
        raise BadInputError(
            f"{len(options.images)} images but {len(options.references)} references were given; "
            "give one reference for each image, in the same order."
        )
    names = [case_name(image) for image in options.images]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(f"Several images are named '{twice[0]}'; each case needs a file name of its own.")
    # Everything is looked at before anything is made.
    for number, image in enumerate(options.images):
        geometry = read_geometry(image)
        if options.references:
            read_labels(options.references[number], geometry)
    cohort = Cohort.create(options.cohort, Path(options.cohort).name, labels)
    for number, image in enumerate(options.images):
        watch.step(number / len(options.images), f"adding {image}")
        reference = options.references[number] if options.references else None
        cohort.add_case(case_name(image), image, reference=reference)
    return [to_plain(case) for case in cohort.cases]


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
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def _silent():
    yield None


@contextmanager
def _cancelled_by_ctrl_c(report):
    watch = Watch(report)
    old = {number: signal.signal(number, lambda *_: watch.cancel()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield watch
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
