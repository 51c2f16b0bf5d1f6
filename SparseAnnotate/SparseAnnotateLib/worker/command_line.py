"""`sparse-annotate`: the worker's requests as subcommands, for folders, clusters and scripts."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import __version__
from ..core import CancelledError, Cohort, Plane, SparseAnnotateError, Watch
from ..core import Progress as Report
from ..core.decathlon import case_name
from ..core.images import read_geometry, read_labels
from ..core.strict_json import to_plain, to_text
from ..interpolation import interpolator_descriptions
from ..learning import NETWORKS, TrainingSettings
from ..selection import DEFAULT_FEATURES, DEFAULT_STRATEGY, FEATURES, SCOPES, Plan, Scope, strategy_descriptions
from . import requests
from .filling import FillResult
from .planning import Agreement

EXIT_OK, EXIT_ERROR, EXIT_CANCELLED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0 done, 1 an error in a sentence, 2 wrong usage, 130 cancelled."""
    options = _parser().parse_args(arguments)
    watch_progress = _silent if options.json or options.quiet else _shown
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

    create = _command(commands, "create", "make a cohort folder from image files", _create, _show_table)
    create.add_argument("images", nargs="+", help="image files (NRRD, NIfTI, MetaImage); they stay where they are")
    create.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="names of labels, e.g. 1=liver")
    create.add_argument("--references", nargs="*", default=[], help="dense label files, in the order of the images")

    plan = _command(commands, "plan", "say how to spend so many slices or minutes, and why", _request, _show_plan)
    plan.set_defaults(request_name="plan")
    budget = plan.add_mutually_exclusive_group(required=True)
    budget.add_argument("--slices", type=int, help="slices you can draw in the whole cohort")
    budget.add_argument("--minutes", type=float, help="minutes you can spend drawing")
    plan.add_argument("--seconds-per-slice", type=float, help="by default as long as slices have taken so far")
    plan.add_argument("--planes", nargs="+", default=[p.value for p in Plane], help="planes to choose from")
    plan.add_argument("--dimensions", type=int, choices=(2, 3), default=3, help="of the model to train (default: 3)")
    plan.add_argument("--target", choices=("clear", "subtle"), help="whether the structure stands out clearly")

    recommend = _command(commands, "recommend", "recommend the slices to draw", _request, _show_worklist)
    recommend.set_defaults(request_name="recommend")
    _recommend_options(recommend)

    picture = _command(commands, "picture", "draw a map of the slices, drawn and to do", _request, print)
    picture.set_defaults(request_name="picture")
    picture.add_argument("--path", default="slices.png", help="PNG file to write (default: slices.png)")
    picture.add_argument("--planes", nargs="+", default=(), help="by default those of the ledgers")
    _feature_options(picture)
    picture.add_argument("--whole", action="store_true", help="count air around the body, too")

    draw = _command(
        commands, "draw", "draw the worklist as the references show it (experiments)", _request, _show_table
    )
    draw.set_defaults(request_name="draw")

    fill = _command(commands, "fill", "fill between drawn slices", _request, _show_fills)
    fill.set_defaults(request_name="fill")
    methods = "; ".join(f"{name}: {text}" for name, text in interpolator_descriptions().items())
    defaults = requests.FillRequest("")
    fill.add_argument("--method", default=defaults.method, help=methods)
    fill.add_argument("--steps", type=int, default=defaults.steps, help="in which 'propagation' learns")
    fill.add_argument("--device", default=defaults.device, help="for 'propagation': auto, cpu, cuda, cuda:1, mps")
    fill.add_argument("--methods", nargs="+", default=defaults.methods, help="what 'auto' may choose from")
    fill.add_argument(
        "--time-limit", type=float, default=defaults.time_limit, help="seconds a volume, for ITK's filter"
    )

    train = _command(commands, "train", "train on drawn slices, or go on with a run", _train, _show_card)
    train.add_argument("--run", required=True, help="name of the run; one that was cancelled or killed goes on")
    defaults = TrainingSettings()
    networks = "; ".join(f"{name}: {text}" for name, text in NETWORKS.items())
    train.add_argument("--network", help=networks)
    train.add_argument("--patch", type=int, nargs=3, metavar=("S", "A", "R"), help="patch in voxels")
    for name, kind in (
        ("batch", int),
        ("iterations", int),
        ("learning_rate", float),
        ("dropout", float),
        ("fill_weight", float),
        ("seed", int),
    ):
        default = getattr(defaults, name)
        text = "default: planned" if default is None else f"default: {default}"
        train.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    train.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")

    predict = _command(commands, "predict", "label volumes with a trained run", _request, _show_table)
    predict.set_defaults(request_name="predict")
    predict.add_argument("--run", required=True)
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")

    evaluate = _command(commands, "evaluate", "compare results with reference labels", _request, _show_table)
    evaluate.set_defaults(request_name="evaluate")
    evaluate.add_argument("--run", help="a run's predictions; without it, the fill")

    agreement = _command(
        commands, "agreement", "tell whether more rounds still change the result", _request, _show_agreement
    )
    agreement.set_defaults(request_name="agreement")
    agreement.add_argument("--runs", nargs="+", required=True, help="runs in the order of the rounds, all predicted")

    environment = commands.add_parser("environment", help="what can be computed here, on which device")
    environment.set_defaults(function=_request, show=_show_environment, request_name="environment")
    _output_options(environment)
    return parser


def _recommend_options(recommend: argparse.ArgumentParser) -> None:
    budget = recommend.add_mutually_exclusive_group(required=True)
    budget.add_argument("--density", type=float, help="share of each volume's slices, e.g. 0.1")
    budget.add_argument("--every", type=int, metavar="K", help="one of every K slices of each volume, rounded down")
    budget.add_argument("--per-volume", type=int, help="slices in each volume and plane")
    budget.add_argument("--total", type=int, help="slices in the whole cohort")
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


def _train(options: argparse.Namespace, watch: Watch) -> dict[str, Any]:
    given = {f.name: getattr(options, f.name, None) for f in fields(TrainingSettings)}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    settings = TrainingSettings(**given) if given else None
    request = requests.TrainRequest(options.cohort, options.run, options.state, tuple(options.cases), settings)
    return requests.train(request, watch)


@contextmanager
def _shown():
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")

        def report(progress: Report) -> None:
            left = "" if progress.seconds_left is None else f"{progress.seconds_left:.0f} s left"
            figures = "  ".join(f"{name} {value:.3f}" for name, value in progress.metrics.items())
            description = f"{progress.message}  {figures}".strip()
            bar.update(task, completed=progress.fraction, description=description, left=left)

        yield report


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


def _show_table(rows: Sequence[Any]) -> None:
    rows = [to_plain(row) for row in rows]
    if not rows:
        Console().print("Nothing to show.")
        return
    columns = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))]
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    Console().print(table)


def _show_fills(rows: Sequence[FillResult]) -> None:
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    _show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        Console(soft_wrap=True).print(summary, highlight=False)
    for row in rows:
        for sentence in row.warnings:
            Console(soft_wrap=True).print(f"'{row.case}': {sentence}", highlight=False, markup=False)


def _show_card(card: dict[str, Any]) -> None:
    dice = card["validation_dice"]
    held_out = f", Dice {dice:.3f} on held-out drawn slices" if dice is not None else ""
    Console().print(
        f"Run '{card['run']}': {card['network']} trained on {card['slices']} drawn slices "
        f"of {len(card['cases'])} cases, "
        f"{card['iterations']} steps in {card['seconds']:.0f} s on {card['device']}{held_out}."
    )


def _show_worklist(rows: Sequence[Any]) -> None:
    if rows:
        _show_table(rows)
    else:
        Console().print("Nothing more to draw: the drawn slices already use up the budget, or it allows for none.")


def _show_plan(plan: Plan) -> None:
    minutes = f", about {plan.minutes:.0f} minutes" if plan.minutes is not None else ""
    several = f"{plan.slices_per_volume} in each of {len(plan.cases)} volumes" if len(plan.cases) > 1 else plan.cases[0]
    Console(soft_wrap=True).print(
        f"{plan.slices} {plan.plane.value} slices{minutes}: {several}, {plan.density:.1%} of each."
    )
    for item in plan.advice:
        Console(soft_wrap=True).print(f"- {item.sentence} ({item.source})", highlight=False)
    for sentence in plan.unknown:
        Console(soft_wrap=True).print(f"? {sentence}", highlight=False)


def _show_agreement(found: Agreement) -> None:
    for (one, other), value in zip(pairwise(found.runs), found.dice, strict=True):
        Console().print(f"'{one}' and '{other}': Dice {value:.3f} over {found.cases} cases")
    Console(soft_wrap=True).print(found.sentence, highlight=False)


def _show_environment(report: dict[str, Any]) -> None:
    Console().print(report["message"])
    for name, version in report["packages"].items():
        Console().print(f"  {name} {version or 'not installed'}")


if __name__ == "__main__":
    sys.exit(main())
