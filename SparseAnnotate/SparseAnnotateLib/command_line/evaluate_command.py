"""`evaluate`: results compared with reference labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.messages import counted, listed
from ..worker.evaluate_request import Evaluation
from .shared_options import cohort_command
from .terminal_output import show_line


def add_evaluate(commands) -> None:
    command = cohort_command(
        commands,
        "evaluate",
        "compare results with reference labels: Dice over all voxels (dice) and over undrawn ones only (undrawn_dice)",
        show_evaluations,
    )
    command.add_argument("--run", help="compare the predictions of this run; without it, the fills")


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
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        show_line(f"{_quoted([row.case for row in rows if note in row.notes])}: {note}")


def _quoted(names: Sequence[str]) -> str:
    """The first three names in quotation marks, and the number of others."""
    return listed([f"'{name}'" for name in names], 3)


def _figure(value: float | None) -> str:
    """A figure of a case as text; None: there is no structure to measure."""
    if value is None:
        return "no structure"
    return "infinite" if math.isinf(value) else f"{value:.4g}"
