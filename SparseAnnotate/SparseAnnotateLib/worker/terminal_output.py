"""What the command line shows in a terminal: a progress bar, tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..core import Progress as Report
from ..core.strict_json import to_plain
from ..learning.run_folder import TrainingPlan
from ..selection import Plan
from .exchange import Exchanged
from .filling import FillResult
from .planning import Agreement


@contextmanager
def progress_bar():
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


def show_table(rows: Sequence[Any]) -> None:
    rows = [to_plain(row) for row in rows]
    if not rows:
        Console().print("Nothing to show.")
        return
    columns = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))]
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    Console().print(table)


def show_fills(rows: Sequence[FillResult]) -> None:
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        Console(soft_wrap=True).print(summary, highlight=False)
    for row in rows:
        for sentence in row.warnings:
            Console(soft_wrap=True).print(f"'{row.case}': {sentence}", highlight=False, markup=False)


def show_training(result: dict[str, Any] | TrainingPlan) -> None:
    console = Console(soft_wrap=True)
    if isinstance(result, TrainingPlan):
        for model in result.models:
            patch = " x ".join(map(str, model.patch))
            console.print(
                f"{model.role}: {model.network}, {model.iterations} steps of {model.batch} patches of {patch}"
            )
        console.print(f"About {result.minutes:.0f} minutes on {result.device}. Plan: {result.path}", highlight=False)
        notes = result.notes
    else:
        dice = result["validation_dice"]
        held_out = f", Dice {dice:.3f} on held-out drawn slices" if dice is not None else ""
        networks = ", ".join(f"{m['plan']['network']} ({m['plan']['role']})" for m in result["models"])
        steps = sum(m["iterations"] for m in result["models"])
        console.print(
            f"Run '{result['run']}': {networks} trained on {result['slices']} drawn slices of "
            f"{len(result['cases'])} cases, {steps} steps in {result['seconds']:.0f} s on {result['device']}{held_out}."
        )
        notes = result["notes"]
    for sentence in notes:
        console.print(f"- {sentence}", highlight=False, markup=False)


def show_exchanged(result: Exchanged) -> None:
    console = Console(soft_wrap=True)
    console.print(f"{result.path}: {len(result.cases)} cases" if result.cases else result.path, highlight=False)
    for sentence in result.warnings:
        console.print(f"- {sentence}", highlight=False, markup=False)


def show_worklist(rows: Sequence[Any]) -> None:
    if rows:
        show_table(rows)
    else:
        Console().print("Nothing more to draw: the drawn slices already use up the budget, or it allows for none.")


def show_plan(plan: Plan) -> None:
    minutes = f", about {plan.minutes:.0f} minutes" if plan.minutes is not None else ""
    several = f"{plan.slices_per_volume} in each of {len(plan.cases)} volumes" if len(plan.cases) > 1 else plan.cases[0]
    Console(soft_wrap=True).print(
        f"{plan.slices} {plan.plane.value} slices{minutes}: {several}, {plan.density:.1%} of each."
    )
    for item in plan.advice:
        Console(soft_wrap=True).print(f"- {item.sentence} ({item.source})", highlight=False)
    for sentence in plan.unknown:
        Console(soft_wrap=True).print(f"? {sentence}", highlight=False)


def show_agreement(found: Agreement) -> None:
    for (one, other), value in zip(pairwise(found.runs), found.dice, strict=True):
        Console().print(f"'{one}' and '{other}': Dice {value:.3f} over {found.cases} cases")
    Console(soft_wrap=True).print(found.sentence, highlight=False)


def show_environment(report: dict[str, Any]) -> None:
    Console().print(report["message"])
    for name, version in report["packages"].items():
        Console().print(f"  {name} {version or 'not installed'}")
