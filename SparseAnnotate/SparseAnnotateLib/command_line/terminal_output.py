"""Tables and lines in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..core.messages import listed
from ..core.strict_json import to_plain

_NAMED = 3


def show_table(rows: Sequence[Any]) -> None:
    """Print one row for each item, without the columns that are empty in all of them; long text is folded, not cut."""
    rows = [to_plain(row) for row in rows]
    if not rows:
        show_line("Nothing to show.")
        return
    names = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))]
    names = [name for name in names if any(row[name] not in (None, "") for row in rows)]
    table = Table(*(Column(name.replace("_", " "), overflow="fold") for name in names))
    for row in rows:
        # As Text, so that a name like 'scan[1]' is not read as markup.
        table.add_row(*(Text(_cell(row[name])) for name in names))
    Console(emoji=False).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_line(text: str) -> None:
    """Print a line without markup: names may contain text such as '[red]' or ':x:'."""
    Console(soft_wrap=True, emoji=False).print(text, highlight=False, markup=False)


def show_notes(notes: Iterable[tuple[str, str]], most: int | None = None) -> None:
    """Print what there is to say of cases, given as (case, sentence): each sentence once, with its cases.

    `most`: the largest number of lines, None: all; a last line tells how many more there are.
    """
    cases: dict[str, list[str]] = {}
    for case, sentence in notes:
        cases.setdefault(sentence, []).append(f"'{case}'")
    lines = [f"- {listed(names, _NAMED)}: {sentence}" for sentence, names in cases.items()]
    shown = len(lines) if most is None else most
    for line in lines[:shown]:
        show_line(line)
    if len(lines) > shown:
        show_line(f"- and {len(lines) - shown} more; '--json' shows all.")
