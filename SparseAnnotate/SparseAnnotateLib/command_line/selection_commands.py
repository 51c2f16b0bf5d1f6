"""`plan`, `recommend`, `picture` and `agreement`: which slices to draw, and whether more of them are needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..core import Plane, Watch
from ..core.messages import counted
from ..selection import (
    FEATURES,
    SCOPES,
    STRATEGIES,
    AnnotationPlan,
    Budget,
    FeatureSettings,
    PlanSettings,
    SelectionSettings,
)
from ..worker.plan_requests import Agreement
from ..worker.recommend_request import NO_FEATURES
from .budget_options import add_budget_options, budget_of
from .shared_options import DEVICE_HELP, choices, cohort_command, given_with, host_options, request_of_options
from .terminal_output import show_line, show_table


def add_plan(commands) -> None:
    command = cohort_command(
        commands, "plan", "suggest how to spend a budget of slices or minutes, with reasons", show_plan, _with_budget
    )
    add_budget_options(command, counts_drawn=False)
    command.add_argument(
        "--planes",
        nargs="+",
        default=PlanSettings.planes,
        help="planes to choose from: axial, coronal, sagittal (default: all three)",
    )
    command.add_argument(
        "--dimensions",
        type=int,
        choices=(2, 3),
        default=PlanSettings.dimensions,
        help=f"dimensions of the model to train (default: {PlanSettings.dimensions})",
    )
    command.add_argument(
        "--target",
        choices=("clear", "subtle"),
        help="whether the structure stands out clearly or hardly (default: not known)",
    )


def add_recommend(commands) -> None:
    command = cohort_command(commands, "recommend", "recommend the slices to draw", show_worklist, _with_budget)
    host_options(command)
    add_budget_options(command, counts_drawn=True)
    planes = SelectionSettings.planes
    command.add_argument(
        "--planes", nargs="+", default=planes, help=f"axial, coronal, sagittal (default: {', '.join(planes)})"
    )
    default = SelectionSettings.strategy
    command.add_argument("--strategy", default=default, help=f"{choices(STRATEGIES)} Default: {default}.")
    scopes = "; ".join(f"{scope.value}: {text}" for scope, text in SCOPES.items())
    command.add_argument(
        "--scope",
        default=Budget.scope,
        help=f"which slices are compared and share the budget. {scopes}. Default: {Budget.scope}.",
    )
    command.add_argument(
        "--minimum", type=int, metavar="N", help="with --scope cohort: smallest number of slices in a volume"
    )
    command.add_argument(
        "--maximum", type=int, metavar="N", help="with --scope cohort: largest number of slices in a volume"
    )
    _feature_options(command)
    command.add_argument("--runs", nargs="+", default=(), help=f"with {_with_models()}: the runs whose models are used")
    command.add_argument(
        "--samples",
        type=int,
        default=SelectionSettings.samples,
        metavar="N",
        help=f"predictions to sample from a single model (default: {SelectionSettings.samples})",
    )
    command.add_argument(
        "--picture", metavar="PNG", help="also write a picture: a map of the slices and a coverage curve"
    )
    command.add_argument("--whole", action="store_true", help="include background slices around the body")


def add_picture(commands) -> None:
    command = cohort_command(
        commands,
        "picture",
        "write a picture: a map of all slices, with the drawn and recommended ones marked",
        show_line,
    )
    command.add_argument("--path", default="slices.png", help="PNG file to write (default: slices.png)")
    command.add_argument(
        "--planes", nargs="+", default=(), help="planes to show (default: those with drawn or recommended slices)"
    )
    _feature_options(command)
    command.add_argument("--whole", action="store_true", help="include background slices around the body")


def add_agreement(commands) -> None:
    command = cohort_command(
        commands, "agreement", "show whether further rounds still change the result", show_agreement
    )
    command.add_argument(
        "--runs", nargs="+", required=True, help="runs in the order of the rounds; each needs predictions"
    )


def _with_models() -> str:
    return given_with("--strategy", (entry for entry in STRATEGIES.values() if entry.asks_models))


def _feature_options(command: argparse.ArgumentParser) -> None:
    with_weights = given_with("--features", (entry for entry in FEATURES.values() if entry.has_weights))
    command.add_argument(
        "--features",
        default=FeatureSettings.features,
        help=f"features that slices are compared by. {choices(FEATURES)} {NO_FEATURES}: only with "
        f"{_with_models()}. Default: {FeatureSettings.features}.",
    )
    command.add_argument(
        "--from-scratch",
        action="store_true",
        help=f"with {with_weights}: train a small one without VGG-19's weights",
    )
    command.add_argument(
        "--download-weights",
        action="store_true",
        help=f"with {with_weights}: allow it to download VGG-19's weights once (548 MB)",
    )
    command.add_argument(
        "--feature-steps",
        type=int,
        metavar="N",
        default=FeatureSettings.feature_steps,
        help=f"training steps of learned features (default: {FeatureSettings.feature_steps})",
    )
    command.add_argument(
        "--seed", type=int, default=FeatureSettings.seed, help=f"random seed (default: {FeatureSettings.seed})"
    )
    command.add_argument("--device", default=FeatureSettings.device, help=DEVICE_HELP)


def _with_budget(options: argparse.Namespace, watch: Watch) -> Any:
    planes = tuple(map(Plane.named, options.planes))
    return request_of_options(options, watch, budget=budget_of(options), planes=planes)


def show_plan(plan: AnnotationPlan) -> None:
    slices = counted(plan.slices, f"{{count}} {plan.plane.value} slice", f"{{count}} {plan.plane.value} slices")
    minutes = ""
    if plan.minutes is not None:
        minutes = counted(round(plan.minutes), ", about {count} minute", ", about {count} minutes")
    if len(plan.cases) > 1:
        each = f"{plan.slices_per_volume}" if plan.is_even else f"at least {plan.slices_per_volume}"
        where = f"{each} in each of {len(plan.cases)} volumes, {plan.density:.1%} of each"
    else:
        where = f"{plan.density:.1%} of '{plan.cases[0]}'"
    show_line(f"{slices}{minutes}: {where}.")
    for item in plan.advice:
        show_line(f"- {item.sentence} ({item.source})")
    for sentence in plan.unknown:
        show_line(f"? {sentence}")


def show_worklist(rows: Sequence[Any]) -> None:
    if rows:
        show_table(rows)
    else:
        show_line("Nothing more to draw: the drawn slices already use up the budget, or it is too small for one slice.")


def show_agreement(found: Agreement) -> None:
    for (one, other), value, empty in zip(pairwise(found.runs), found.dice, found.empty, strict=True):
        cases = counted(found.cases, "{count} case", "{count} cases")
        cases = f"{found.cases - empty} of {cases}" if empty else cases
        show_line(f"'{one}' and '{other}': Dice {value:.3f} over {cases}")
    show_line(found.sentence)
