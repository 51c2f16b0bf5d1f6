"""The worklist as a table: order, volume, plane, slice, reason, state, time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import qt
from slicer.i18n import tr as _

from ..core import SliceState
from .event_loop import later
from .plain_table import fit_columns, make_plain
from .session import duration
from .words import in_users_language, translated

_COLOURS = {
    SliceState.DRAWN: (64, 200, 90, 60),
    SliceState.EMPTY: (64, 200, 90, 30),
    SliceState.TODO: (255, 165, 25, 50),
}
_REASON = 4
_ROWS_AT_ONCE = 50


class WorklistTable:
    """Shows worklist items in a QTableWidget, and knows which one is selected.

    Only rows that have changed are set; a long list is filled step by step from the event loop.

    Args:
        on_chosen: called with the item whose row was selected by the user, or by `choose`.
    """

    def __init__(self, table, on_chosen: Callable):
        self._table = table
        self._items: list = []
        self._shown: list = []
        self._from: list = []  # the item and the name that the cells of each row were made from
        self._updating = False
        self._is_filling = False  # the next rows will be set from the event loop
        self._is_fitted = False  # whether the columns fit the first rows of a list that is still being filled
        titles = [_("#"), _("Volume"), _("Plane"), _("Slice"), _("Reason"), _("State"), _("Time")]
        make_plain(table, titles, _REASON)
        self._on_chosen = on_chosen
        table.connect("currentCellChanged(int,int,int,int)", self._cell_changed)
        # A click on the selected row goes back to its slice.
        table.connect("cellClicked(int,int)", lambda row, _column: self._chosen(row))

    def show(self, items: Sequence) -> None:
        """Show these items; the selected slice stays selected."""
        chosen = self.chosen()
        self._items = list(items)
        self._updating = True
        try:
            if self._table.rowCount != len(self._items):
                self._table.setRowCount(len(self._items))
                self._shown = (self._shown + [None] * len(self._items))[: len(self._items)]
                self._from = (self._from + [None] * len(self._items))[: len(self._items)]
            row = self._row_of(chosen)
            if row != self._table.currentRow():
                self._table.setCurrentCell(row, 0)
        finally:
            self._updating = False
        if not self._is_filling:  # else it continues with these items
            self._fill()

    @property
    def items(self) -> list:
        return list(self._items)

    def chosen(self):
        """The item of the selected row, or None."""
        row = self._table.currentRow()
        return self._items[row] if 0 <= row < len(self._items) else None

    def choose(self, row: int) -> None:
        """Select a row, as a click on it would."""
        if row == self._table.currentRow():
            self._chosen(row)
        elif 0 <= row < len(self._items):
            self._table.setCurrentCell(row, 0)

    def choose_next(self, step: int) -> None:
        """Select the row `step` below (or above, if negative) the selected one."""
        self.choose(max(self._table.currentRow(), -1 if step > 0 else 0) + step)

    def choose_next_to_do(self, without: Collection[str] = ()) -> bool:
        """Select the next row that is still to do, starting over at the top if need be; False if there is none.

        Slices of cases that have not been opened come after all others; those of the cases `without` are left out.
        """
        count, start = len(self._items), self._table.currentRow() + 1
        rows = [(start + offset) % count for offset in range(count)]
        return self._choose_to_do([row for row in rows if self._items[row].case not in without])

    def choose_first_to_do(self, volume=None) -> bool:
        """Select the first row that is still to do, of `volume` if it has one; False if there is none."""
        rows = range(len(self._items))
        others = [volume is not None and item.volumeNode is not volume for item in self._items]
        return self._choose_to_do(sorted(rows, key=lambda row: others[row]))

    def choose_slice(self, volume, plane: str, index: int) -> bool:
        """Select the row of a slice; False if it has none."""
        wanted = (volume.GetID(), plane, index)
        row = next((row for row, item in enumerate(self._items) if _key(item) == wanted), None)
        if row is not None:
            self.choose(row)
        return row is not None

    def _choose_to_do(self, rows: Iterable[int]) -> bool:
        """Select the first of these rows that is to do, if possible on a volume of the scene; False if none is."""
        to_do = [row for row in rows if self._items[row].state is SliceState.TODO]
        row = next((row for row in to_do if not self._items[row].case), to_do[0] if to_do else None)
        if row is not None:
            self.choose(row)
        return row is not None

    def _row_of(self, item) -> int:
        if item is None:
            return -1
        wanted = _key(item)
        return next((row for row, other in enumerate(self._items) if _key(other) == wanted), -1)

    def _fill(self) -> None:
        """Set the next rows that differ, and schedule the others."""
        self._is_filling = False
        done = 0
        for row, item in enumerate(self._items):
            made_from, name = self._from[row], _name(item)
            if made_from is not None and made_from[0] is item and made_from[1] == name:
                continue
            cells = _cells(item)
            if self._shown[row] == cells:
                self._from[row] = item, name
                continue
            if done == _ROWS_AT_ONCE:
                self._is_filling = True
                later(self._continue_filling)
                break
            self._set_row(row, cells)
            done += 1
        if done and not (self._is_filling and self._is_fitted):
            self._is_fitted = self._is_filling
            fit_columns(self._table)

    def _continue_filling(self) -> None:
        if self._is_filling:
            self._fill()

    def _set_row(self, row: int, cells: tuple) -> None:
        colour = _COLOURS.get(self._items[row].state)
        for column, text in enumerate(cells):
            cell = qt.QTableWidgetItem(text)
            cell.setToolTip(text)
            if colour is not None:
                cell.setBackground(qt.QBrush(qt.QColor(*colour)))
            self._table.setItem(row, column, cell)
        self._shown[row] = cells
        self._from[row] = self._items[row], _name(self._items[row])

    def _cell_changed(self, row: int, _column: int, previous_row: int, _previous_column: int) -> None:
        if row != previous_row:
            self._chosen(row)

    def _chosen(self, row: int) -> None:
        if not self._updating and 0 <= row < len(self._items):
            self._on_chosen(self._items[row])


def _key(item) -> tuple:
    return (item.case or item.volumeNode.GetID(), item.plane, item.index)


def _name(item) -> str:
    return item.case or item.volumeNode.GetName()


def _cells(item) -> tuple:
    name = _name(item)
    time = duration(item.seconds) if item.seconds else ""
    reasons = [in_users_language(item.reason)] if item.reason else []
    if item.startedFrom:
        reasons.append(_("initialized from {source}").format(source=translated(item.startedFrom)))
    reason = "; ".join(reasons)
    return (str(item.order or ""), name, translated(item.plane), str(item.index), reason, translated(item.state), time)
