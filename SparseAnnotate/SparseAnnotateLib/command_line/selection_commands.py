"""`plan`, `recommend`, `picture` and `agreement`: which slices to draw, and whether more of them are needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..core import Plane, Watch
from ..selection import (
    DEFAULT_DIMENSIONS,
    FEATURES,
    SCOPES,
    STRATEGIES,
    AnnotationPlan,
    Budget,
    FeatureSettings,
    Scope,
    SelectionSettings,
)
from ..worker.plan_requests import Agreement
from .shared_options import DEVICES, choices, cohort_command, of_options, request_of_options
from .terminal_output import show_line, show_table


def add_plan(commands) -> None:
    command = cohort_command(commands, "plan", "say how to spend so many slices or minutes, and why", show_plan)
    budget = command.add_mutually_exclusive_group(required=True)
    budget.add_argument("--slices", type=int, help="slices you can draw in the whole cohort")
    budget.add_argument("--minutes", type=float, help="minutes you can spend drawing")
    command.add_argument("--seconds-per-slice", type=float, help="by default as long as slices have taken so far")
    command.add_argument("--planes", nargs="+", default=[p.value for p in Plane], help="planes to choose from")
    command.add_argument(
        "--dimensions",
        type=int,
        choices=(2, 3),
        default=DEFAULT_DIMENSIONS,
        help=f"of the model to train (default: {DEFAULT_DIMENSIONS})",
    )
    command.add_argument("--target", choices=("clear", "subtle"), help="whether the structure stands out clearly")


def add_recommend(commands) -> None:
    command = cohort_command(commands, "recommend", "recommend the slices to draw", show_worklist, _recommend)
    budget = command.add_mutually_exclusive_group(required=True)
    budget.add_argument("--density", type=float, help="share of each volume's slices, e.g. 0.1")
    budget.add_argument("--every", type=int, metavar="K", help="one of every K slices of each volume, rounded down")
    budget.add_argument("--per-volume", type=int, help="slices in each volume and plane")
    budget.add_argument("--total", type=int, help="slices in the whole cohort")
    budget.add_argument("--more", type=int, help="slices in the whole cohort, in addition to those drawn already")
    budget.add_argument("--minutes", type=float, help="minutes to spend drawing")
    command.add_argument(
        "--seconds-per-slice", type=float, help="with --minutes; by default as long as slices have taken so far"
    )
    planes = SelectionSettings.planes
    command.add_argument(
        "--planes", nargs="+", default=planes, help=f"axial, coronal, sagittal (default: {', '.join(planes)})"
    )
    default = SelectionSettings.strategy
    command.add_argument("--strategy", default=default, help=f"{choices(STRATEGIES)} Default: {default}.")
    scopes = "; ".join(f"{scope.value}: {text}" for scope, text in SCOPES.items())
    command.add_argument(
        "--scope", default=Budget.scope, help=f"what is looked at together. {scopes}. Default: {Budget.scope}."
    )
    command.add_argument("--minimum", type=int, help="slices of each volume at least, with --scope cohort")
    command.add_argument("--maximum", type=int, help="slices of each volume at most, with --scope cohort")
    _feature_options(command)
    command.add_argument("--runs", nargs="+", default=(), help="with --strategy uncertainty: the models to ask")
    command.add_argument(
        "--samples", type=int, default=SelectionSettings.samples, help="predictions sampled of a single model"
    )
    command.add_argument("--picture", metavar="PNG", help="write a map of the slices and a coverage curve there")
    command.add_argument("--whole", action="store_true", help="recommend air around the body, too")


def add_picture(commands) -> None:
    command = cohort_command(commands, "picture", "draw a map of the slices, drawn and to do", show_line)
    command.add_argument("--path", default="slices.png", help="PNG file to write (default: slices.png)")
    command.add_argument("--planes", nargs="+", default=(), help="by default those of the ledgers")
    _feature_options(command)
    command.add_argument("--whole", action="store_true", help="count air around the body, too")


def add_agreement(commands) -> None:
    command = cohort_command(commands, "agreement", "tell whether more rounds still change the result", show_agreement)
    command.add_argument("--runs", nargs="+", required=True, help="runs in the order of the rounds, all predicted")


def _feature_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--features",
        default=FeatureSettings.features,
        help=f"what slices are compared by. {choices(FEATURES)} none: with uncertainty, not at all",
    )
    command.add_argument(
        "--from-scratch", action="store_true", help="with --features autoencoder: a small one, without VGG-19's weights"
    )
    command.add_argument(
        "--download-weights", action="store_true", help="let autoencoder download VGG-19's weights (548 MB), once"
    )
    command.add_argument(
        "--feature-steps", type=int, default=FeatureSettings.feature_steps, help="steps in which features are learned"
    )
    command.add_argument("--seed", type=int, default=FeatureSettings.seed)
    command.add_argument("--device", default=FeatureSettings.device, help=DEVICES)


def _recommend(options: argparse.Namespace, watch: Watch) -> Any:
    budget = of_options(Budget, options, scope=Scope.named(options.scope))
    return request_of_options(options, watch, budget=budget, planes=tuple(map(Plane.named, options.planes)))


def show_plan(plan: AnnotationPlan) -> None:
    minutes = f", about {plan.minutes:.0f} minutes" if plan.minutes is not None else ""
    several = f"{plan.slices_per_volume} in each of {len(plan.cases)} volumes" if len(plan.cases) > 1 else plan.cases[0]
    show_line(f"{plan.slices} {plan.plane.value} slices{minutes}: {several}, {plan.density:.1%} of each.")
    for item in plan.advice:
        show_line(f"- {item.sentence} ({item.source})")
    for sentence in plan.unknown:
        show_line(f"? {sentence}")


def show_worklist(rows: Sequence[Any]) -> None:
    if rows:
        show_table(rows)
    else:
        show_line("Nothing more to draw: the drawn slices already use up the budget, or it allows for none.")


def show_agreement(found: Agreement) -> None:
    for (one, other), value, empty in zip(pairwise(found.runs), found.dice, found.empty, strict=True):
        cases = f"{found.cases - empty} of {found.cases}" if empty else str(found.cases)
        show_line(f"'{one}' and '{other}': Dice {value:.3f} over {cases} cases")
    show_line(found.sentence)
