"""What the command line shows in a terminal: tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.strict_json import to_plain
from ..runs.run_folder import TrainingPlan
from ..selection import AnnotationPlan
from ..worker.evaluate_request import Evaluation
from ..worker.exchange_requests import Exchanged
from ..worker.fill_request import FillResult
from ..worker.plan_requests import Agreement


def show_table(rows: Sequence[Any]) -> None:
    rows = [to_plain(row) for row in rows]
    if not rows:
        show_line("Nothing to show.")
        return
    columns = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))]
    table = Table(*columns)
    for row in rows:
        # As text: a name like 'scan[1]' is no instruction to the terminal.
        table.add_row(*(Text(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c])) for c in columns))
    Console(emoji=False).print(table)


def show_evaluations(rows: Sequence[Evaluation]) -> None:
    table = Table("case")
    for name in ("dice", "undrawn_dice", "hd95_mm", "slices_drawn", "density"):
        table.add_column(name, no_wrap=True, min_width=12)
    for row in rows:
        figures = (_figure(row.dice), _figure(row.undrawn_dice), _figure(row.hd95_mm))
        table.add_row(Text(row.case), *figures, str(row.slices_drawn), f"{row.density:.4g}")
    Console(emoji=False).print(table)
    known = [row.dice for row in rows if row.dice is not None]
    if known:
        none = len(rows) - len(known)
        left_out = f"; {none} without any structure left out" if none else ""
        show_line(f"Mean Dice {sum(known) / len(known):.4g} over {len(known)} of {len(rows)} cases{left_out}.")
    for names in dict.fromkeys(tuple(row.absent) for row in rows if row.absent):
        cases = [row.case for row in rows if tuple(row.absent) == names]
        show_line(f"In neither result nor reference of {_some(cases)}, and so in no mean: {', '.join(names)}.")
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        show_line(f"{_some([row.case for row in rows if note in row.notes])}: {note}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _figure(value: float | None) -> str:
    """A figure of a case; None: there is nothing to measure."""
    if value is None:
        return "no structure"
    return "infinite" if math.isinf(value) else f"{value:.4g}"


def show_fills(rows: Sequence[FillResult]) -> None:
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        show_line(summary)
    for row in rows:
        for sentence in row.warnings:
            show_line(f"'{row.case}': {sentence}")


def show_training(result: dict[str, Any] | TrainingPlan) -> None:
    if isinstance(result, TrainingPlan):
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


def show_exchanged(result: Exchanged) -> None:
    show_line(f"{result.path}: {len(result.cases)} cases" if result.cases else result.path)
    for sentence in result.warnings:
        show_line(f"- {sentence}")


def show_worklist(rows: Sequence[Any]) -> None:
    if rows:
        show_table(rows)
    else:
        show_line("Nothing more to draw: the drawn slices already use up the budget, or it allows for none.")


def show_plan(plan: AnnotationPlan) -> None:
    minutes = f", about {plan.minutes:.0f} minutes" if plan.minutes is not None else ""
    several = f"{plan.slices_per_volume} in each of {len(plan.cases)} volumes" if len(plan.cases) > 1 else plan.cases[0]
    show_line(f"{plan.slices} {plan.plane.value} slices{minutes}: {several}, {plan.density:.1%} of each.")
    for item in plan.advice:
        show_line(f"- {item.sentence} ({item.source})")
    for sentence in plan.unknown:
        show_line(f"? {sentence}")


def show_agreement(found: Agreement) -> None:
    for (one, other), value, empty in zip(pairwise(found.runs), found.dice, found.empty, strict=True):
        cases = f"{found.cases - empty} of {found.cases}" if empty else str(found.cases)
        show_line(f"'{one}' and '{other}': Dice {value:.3f} over {cases} cases")
    show_line(found.sentence)


def show_environment(report: dict[str, Any]) -> None:
    show_line(report["message"])
    for name, version in report["packages"].items():
        show_line(f"  {name} {version or 'not installed'}")


def show_line(text: str) -> None:
    """A line as it is: names may hold what a terminal's library takes for instructions, '[red]' or ':x:'."""
    Console(soft_wrap=True, emoji=False).print(text, highlight=False, markup=False)
