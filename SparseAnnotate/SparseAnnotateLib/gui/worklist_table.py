"""The worklist as a table: order, volume, plane, slice, state, reason, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _


class WorklistTable:
    """Fills a QTableWidget with worklist items and tells which one is chosen."""

    def __init__(self, table, on_chosen: Callable):
        self._table = table
        self._items: list = []
        self._updating = False
        titles = [_("#"), _("Volume"), _("Plane"), _("Slice"), _("State"), _("Reason"), _("Time")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(5, qt.QHeaderView.Stretch)
        self._on_chosen = on_chosen
        table.connect("currentCellChanged(int,int,int,int)", self._cell_changed)
        # Clicking the row that is chosen already goes back to its slice.
        table.connect("cellClicked(int,int)", lambda row, _column: self._chosen(row))

    def show(self, items: Sequence) -> None:
        """Show these items; the chosen row stays chosen."""
        row = self._table.currentRow()
        self._updating = True
        try:
            self._fill(list(items), row)
        finally:
            self._updating = False

    def _fill(self, items: list, row: int) -> None:
        self._items = items
        self._table.setRowCount(len(self._items))
        for number, item in enumerate(self._items):
            name = item.volumeNode.GetName()
            time = f"{item.seconds:.0f} s" if item.seconds else ""
            cells = (str(item.order or ""), name, item.plane, str(item.index), item.state, item.reason, time)
            for column, text in enumerate(cells):
                self._table.setItem(number, column, qt.QTableWidgetItem(text))
        if 0 <= row < len(self._items):
            self._table.setCurrentCell(row, 0)

    @property
    def items(self) -> list:
        return list(self._items)

    def chosen(self):
        """The item of the chosen row, or None."""
        row = self._table.currentRow()
        return self._items[row] if 0 <= row < len(self._items) else None

    def choose(self, row: int) -> None:
        """Choose a row, as a click on it would."""
        if row == self._table.currentRow():
            self._chosen(row)
        elif 0 <= row < len(self._items):
            self._table.setCurrentCell(row, 0)

    def choose_next(self, step: int) -> None:
        """Choose the row `step` below (or above, when negative) the chosen one."""
        self.choose(max(self._table.currentRow(), -1 if step > 0 else 0) + step)

    def choose_next_to_do(self) -> None:
        """Choose the next row that is still to do, from the chosen one on and around."""
        count, start = len(self._items), self._table.currentRow() + 1
        for offset in range(count):
            row = (start + offset) % count
            if self._items[row].state == "to do":
                self.choose(row)
                return

    def _cell_changed(self, row: int, _column: int, previous_row: int, _previous_column: int) -> None:
        if row != previous_row:
            self._chosen(row)

    def _chosen(self, row: int) -> None:
        if not self._updating and 0 <= row < len(self._items):
            self._on_chosen(self._items[row])
