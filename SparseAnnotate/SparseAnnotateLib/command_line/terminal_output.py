"""Tables and lines in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.strict_json import to_plain


def show_table(rows: Sequence[Any]) -> None:
    rows = [to_plain(row) for row in rows]
    if not rows:
        show_line("Nothing to show.")
        return
    columns = [name for name, value in rows[0].items() if not isinstance(value, (list, dict))]
    table = Table(*columns)
    for row in rows:
        # As Text, so that a name like 'scan[1]' is not read as markup.
        table.add_row(*(Text(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c])) for c in columns))
    Console(emoji=False).print(table)


def show_line(text: str) -> None:
    """Print a line without markup: names may contain text such as '[red]' or ':x:'."""
    Console(soft_wrap=True, emoji=False).print(text, highlight=False, markup=False)
