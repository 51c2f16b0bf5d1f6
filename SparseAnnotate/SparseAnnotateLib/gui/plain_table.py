"""Read-only tables whose rows can be selected."""

from __future__ import annotations

from collections.abc import Sequence

import qt

_ROWS_MEASURED = 100
_NARROWEST = 28  # pixels


def make_plain(table, titles: Sequence[str], stretched: int) -> None:
    """Set up the columns of a QTableWidget; rows are selected as a whole, and one column takes the remaining width."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.verticalHeader().setVisible(False)
    table.setWordWrap(False)
    header = table.horizontalHeader()
    # A header with automatic column widths measures the whole table whenever a cell is set: 43 ms for a row.
    header.setSectionResizeMode(qt.QHeaderView.Interactive)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    header.setResizeContentsPrecision(_ROWS_MEASURED)
    header.setMinimumSectionSize(_NARROWEST)


def fit_columns(table) -> None:
    """Fit the columns to their content; call it once, when the table has been filled."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        if header.sectionResizeMode(column) == qt.QHeaderView.Interactive:
            table.resizeColumnToContents(column)
