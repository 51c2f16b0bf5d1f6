"""Tables that show rows to choose from, and nothing to type into."""

from __future__ import annotations

from collections.abc import Sequence

import qt

_ROWS_MEASURED = 100
_NARROWEST = 28  # pixels


def make_plain(table, titles: Sequence[str], stretched: int) -> None:
    """Give a QTableWidget its columns; rows are chosen as a whole, and one column takes the room that is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.verticalHeader().setVisible(False)
    table.setWordWrap(False)
    header = table.horizontalHeader()
    # A header that fits its columns by itself measures the whole table at every cell that is set: 43 ms for a row.
    header.setSectionResizeMode(qt.QHeaderView.Interactive)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    header.setResizeContentsPrecision(_ROWS_MEASURED)
    header.setMinimumSectionSize(_NARROWEST)


def fit_columns(table) -> None:
    """Make the columns as wide as what is in them; call it once, when the table has been filled."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        if header.sectionResizeMode(column) == qt.QHeaderView.Interactive:
            table.resizeColumnToContents(column)
