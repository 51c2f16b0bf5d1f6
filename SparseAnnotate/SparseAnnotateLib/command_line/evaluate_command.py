"""`evaluate`: results compared with reference labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from rich.console import Console

from ..core import BadInputError, Watch
from ..core.failed_cases import NAMED
from ..core.messages import _, counted, listed
from ..worker.evaluate_request import Evaluation
from .evaluation_tables import TABLES, figure, mean_and_deviation, show_columns, show_structures
from .shared_options import cohort_command, request_of_options
from .terminal_output import show_line, show_notes

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
    command.description = f"{command.description} Runs on this computer only: references are not copied to hosts."
    what = command.add_mutually_exclusive_group()
    what.add_argument("--run", help="compare the predictions of this run; without it, the fills")
    what.add_argument(
        "--applied", action="store_true", help="compare what was applied in Slicer, with what has been drawn since"
    )
    described = " ".join(f"{name}: {text}" for name, text in MEASURES.items())
    command.add_argument("--measures", nargs="+", choices=MEASURES, default=(), help=f"show more measures. {described}")
    command.add_argument(
        "--table",
        choices=TABLES,
        default="dice",
        help="measure to show for each structure, with mean and standard deviation over the cases (default: dice, over "
        "all voxels and over undrawn ones); surface_dice needs --tolerance",
    )
    command.add_argument(
        "--tolerance",
        type=float,
        metavar="MM",
        help="also measure the surface Dice: the share of both boundaries that is no further than this distance in mm "
        "from the other one",
    )
    command.add_argument(
        "--csv", metavar="FILE", help="also write all figures to a CSV file, a row per case and structure"
    )
    command.add_argument(
        "--include-stale",
        action="store_true",
        help="also compare results that are out of date, because slices were drawn or a run was trained again after "
        "they were made; without it they are left out and named, and the exit code is 1",
    )
    command.set_defaults(function=_evaluate)


def _evaluate(options: argparse.Namespace, watch: Watch) -> list[Evaluation]:
    if options.table == "surface_dice" and options.tolerance is None:
        raise BadInputError(_("The surface Dice needs a tolerance in mm: add '--tolerance MM', for example 2."))
    measures = [*options.measures, *(["surface_dice"] if options.tolerance is not None else [])]
    options.show = partial(show_evaluations, measures=measures, table=options.table, tolerance=options.tolerance)
    return request_of_options(options, watch, batched_iou="batched_iou" in options.measures)


def show_evaluations(
    rows: Sequence[Evaluation], measures: Sequence[str] = (), table: str = "dice", tolerance: float | None = None
) -> None:
    console = Console(emoji=False)
    refused, rows = [row for row in rows if row.refused], [row for row in rows if not row.refused]
    if rows:
        _show_compared(console, rows, measures, table, tolerance)
    if len(refused) > NAMED:  # otherwise the error names all
        show_notes((row.case, row.refused) for row in refused)


def _show_compared(
    console: Console, rows: Sequence[Evaluation], measures: Sequence[str], table: str, tolerance: float | None
) -> None:
    if any(row.labels for row in rows):
        rest = {"dice": " over all voxels", "surface_dice": f" at {tolerance or 0:g} mm"}.get(table, "")
        show_structures(console, rows, table, TABLES[table] + rest)
        if table == "dice":
            show_structures(console, rows, "undrawn_dice", f"{TABLES[table]} over undrawn voxels")
    more = [name for name in (*MEASURES, "surface_dice") if name in measures and name != "batched_iou"]
    shown = ("dice", "undrawn_dice", "hd95_mm", *more, "slices_drawn", "density")
    values = [[getattr(row, name) for row in rows] for name in shown]
    columns = [(name, [figure(value) for value in found]) for name, found in zip(shown, values, strict=True)]
    below = mean_and_deviation(values, partial(figure, missing="-"))
    show_columns(console, [row.case for row in rows], columns, "Means over the structures", below)
    if "batched_iou" in measures:
        found = {f["name"]: f["batched_iou"] for row in rows for f in row.labels}
        count = counted(len(rows), "{count} case", "{count} cases")
        figures = [f"{name} {figure(value)}" for name, value in found.items()]
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
    show_notes((row.case, note) for row in rows for note in row.notes)


def _quoted(names: Sequence[str]) -> str:
    """The first three names in quotation marks, and the number of others."""
    return listed([f"'{name}'" for name in names], 3)
