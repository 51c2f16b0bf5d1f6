"""Tables that show rows to choose from, and nothing to type into."""

from __future__ import annotations

from collections.abc import Sequence

import qt


def make_plain(table, titles: Sequence[str], stretched: int) -> None:
    """Give a QTableWidget its columns; rows are chosen as a whole, and one column takes the room that is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.verticalHeader().setVisible(False)
    table.setWordWrap(False)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
