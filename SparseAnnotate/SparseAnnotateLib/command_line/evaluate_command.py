"""`evaluate`: results compared with reference labels."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core import Watch
from ..core.messages import counted, listed
from ..worker.evaluate_request import Evaluation
from .shared_options import cohort_command, request_of_options
from .terminal_output import show_line

MEASURES = {
    "iou": "mean IoU.",
    "batched_iou": "IoU of each structure over all cases together.",
    "hvsmr_score": "overall score of the HVSMR 2016 challenge.",
    "rand_f_score": "adapted Rand F-score of the connected pieces of all structures.",
}


def add_evaluate(commands) -> None:
    command = cohort_command(
        commands,
        "evaluate",
        "compare results with reference labels: Dice over all voxels (dice) and over undrawn ones only (undrawn_dice)",
        show_evaluations,
    )
    command.add_argument("--run", help="compare the predictions of this run; without it, the fills")
    described = " ".join(f"{name}: {text}" for name, text in MEASURES.items())
    command.add_argument("--measures", nargs="+", choices=MEASURES, default=(), help=f"show more measures. {described}")
    command.set_defaults(function=_evaluate)


def _evaluate(options: argparse.Namespace, watch: Watch) -> list[Evaluation]:
    options.show = partial(show_evaluations, measures=options.measures)
    return request_of_options(options, watch, batched_iou="batched_iou" in options.measures)


def show_evaluations(rows: Sequence[Evaluation], measures: Sequence[str] = ()) -> None:
    more = [name for name in MEASURES if name in measures and name != "batched_iou"]
    table = Table("case")
    for name in ("dice", "undrawn_dice", "hd95_mm", *more, "slices_drawn", "density"):
        table.add_column(name, no_wrap=True, min_width=12)
    for row in rows:
        figures = [_figure(getattr(row, name)) for name in ("dice", "undrawn_dice", "hd95_mm", *more)]
        table.add_row(Text(row.case), *figures, str(row.slices_drawn), f"{row.density:.4g}")
    Console(emoji=False).print(table)
    if "batched_iou" in measures:
        found = {f["name"]: f["batched_iou"] for row in rows for f in row.labels}
        count = counted(len(rows), "{count} case", "{count} cases")
        figures = [f"{name} {_figure(value)}" for name, value in found.items()]
        show_line(f"Batched IoU over {count}: {', '.join(figures) or 'no structure'}.")
    known = [row.dice for row in rows if row.dice is not None]
    if known:
        count = counted(len(rows), "{count} case", "{count} cases")
        show_line(f"Mean Dice {sum(known) / len(known):.4g} over {len(known)} of {count}.")
        if len(known) < len(rows):
            show_line(f"Left out of the mean, because they have no structure: {len(rows) - len(known)}.")
    for names in dict.fromkeys(tuple(row.absent) for row in rows if row.absent):
        cases = [row.case for row in rows if tuple(row.absent) == names]
        show_line(
            f"Left out of the means, because neither result nor reference of {_quoted(cases)} has them: "
            f"{', '.join(names)}."
        )
    answers = sum(row.answer for row in rows)
    if answers:
        show_line(
            counted(
                answers,
                "{count} of these results is an answer, in which drawn slices and fill took part beside the run.",
                "{count} of these results are answers, in which drawn slices and fill took part beside the run.",
            )
        )
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        show_line(f"{_quoted([row.case for row in rows if note in row.notes])}: {note}")


def _quoted(names: Sequence[str]) -> str:
    """The first three names in quotation marks, and the number of others."""
    return listed([f"'{name}'" for name in names], 3)


def _figure(value: float | None) -> str:
    """A figure of a case as text; None: there is no structure to measure."""
    if value is None:
        return "no structure"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:.4g}"
