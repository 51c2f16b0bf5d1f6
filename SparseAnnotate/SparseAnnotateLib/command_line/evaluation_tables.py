"""Figures of `evaluate` as tables that fit a terminal, with a row for each case."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import mean, stdev

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..worker.evaluate_request import Evaluation

TABLES = {
    "dice": "Dice",
    "iou": "IoU",
    "surface_dice": "Surface Dice",
    "hd95_mm": "95 % Hausdorff distance (mm)",
    "hausdorff_mm": "Hausdorff distance (mm)",
    "average_boundary_mm": "Average boundary distance (mm)",
}
"""Measures of a single structure, and their titles."""

_WIDEST_CASE, _WIDEST_WORD, _GAP = 24, 14, 2


def show_structures(console: Console, rows: Sequence[Evaluation], measure: str, title: str) -> None:
    """Print a measure of each case and structure, with means and standard deviations over the cases."""
    labels = {f["name"]: f["label"] for row in rows for f in row.labels}
    structures = sorted(labels, key=lambda name: labels[name])
    columns = [(name, [_of(row, name, measure) for row in rows]) for name in structures]
    if len(structures) > 1:
        columns.append(("mean", [_mean(f.get(measure) for f in row.labels) for row in rows]))
    digits = 2 if measure.endswith("_mm") else 3
    below = mean_and_deviation([found for _name, found in columns], partial(_fixed, digits=digits))
    texts = [(_wrapped(name), [_fixed(value, digits) for value in found]) for name, found in columns]
    show_columns(console, [row.case for row in rows], texts, title, below)


def mean_and_deviation(
    columns: Sequence[Sequence[float | None]], shown: Callable[[float | None], str]
) -> dict[str, list[str]]:
    """Rows 'mean' and 'SD' for under columns of figures, without those that are None; no rows under a single one."""
    if not columns or len(columns[0]) < 2:
        return {}
    known = [[value for value in found if value is not None] for found in columns]
    return {
        "mean": [shown(_mean(found)) for found in known],
        "SD": [shown(_deviation(found)) for found in known],
    }


def show_columns(
    console: Console,
    cases: Sequence[str],
    columns: Sequence[tuple[str, Sequence[str]]],
    title: str,
    below: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Print columns of figures, with their headings, beside the cases.

    Those that do not fit the console follow in further tables.

    Args:
        below: further rows under the cases, by name, with a figure for each column.
    """
    below = below or {}
    widths = [
        max(map(cell_len, (*heading.split("\n"), *figures, *(row[n] for row in below.values()))))
        for n, (heading, figures) in enumerate(columns)
    ]
    case_width = min(_WIDEST_CASE, max(map(cell_len, ("case", *cases, *below))))
    groups = _groups(widths, console.width - case_width - _GAP - 1)
    for number, group in enumerate(groups, start=1):
        table = Table(
            Column("case", overflow="fold", width=case_width),
            *(Column(Text(columns[n][0]), justify="right", overflow="fold", width=widths[n]) for n in group),
            box=box.SIMPLE_HEAD,
            padding=(0, _GAP - 1, 0, 0),
        )
        for place, case in enumerate(cases):
            table.add_row(Text(case), *(columns[n][1][place] for n in group))
        for name, figures in below.items():
            if name == next(iter(below)):
                table.add_section()
            table.add_row(name, *(figures[n] for n in group))
        # Not as the table's title, which would be broken at the width of the table.
        console.print(Text(title if len(groups) == 1 else f"{title} ({number} of {len(groups)})", style="bold"))
        console.print(table)


def figure(value: float | None, missing: str = "no structure") -> str:
    """A figure as text; `missing` where there is none."""
    if value is None:
        return missing
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:.4g}"


def _fixed(value: float | None, digits: int) -> str:
    return figure(value, "-") if value is None or math.isinf(value) else f"{value:.{digits}f}"


def _wrapped(name: str) -> str:
    """A heading in several lines, broken after blanks, hyphens and underscores, and where a word is very long."""
    pieces = [piece for part in re.findall(r"[^ _-]+[ _-]*|[ _-]+", name) for piece in _chunks(part)]
    width = max(map(len, pieces), default=0)
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _chunks(text: str) -> list[str]:
    return [text[start : start + _WIDEST_WORD] for start in range(0, len(text), _WIDEST_WORD)]


def _groups(widths: Sequence[int], available: int) -> list[list[int]]:
    """The numbers of the columns, in groups that fit the available width."""
    groups: list[list[int]] = [[]]
    used = 0
    for number, width in enumerate(widths):
        if groups[-1] and used + width + _GAP > available:
            groups.append([])
            used = 0
        groups[-1].append(number)
        used += width + _GAP
    return groups


def _of(row: Evaluation, structure: str, measure: str) -> float | None:
    found = next((f.get(measure) for f in row.labels if f["name"] == structure), None)
    return None if found is None else float(found)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _deviation(values: Sequence[float]) -> float | None:
    """The sample's standard deviation; None of fewer than two values, or infinite ones."""
    return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
