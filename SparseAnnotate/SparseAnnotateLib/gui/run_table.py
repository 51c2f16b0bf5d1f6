"""The training runs as a table: name, date, volumes and slices trained on, Dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from ..core.messages import counted
from ..runs.dice_in_words import dice_range, dice_sentences
from .plain_table import fit_columns, make_plain
from .words import in_users_language

_DICE_COLUMN = 3


class RunTable:
    """Shows runs in a QTableWidget, the newest first, and knows which one is selected."""

    def __init__(self, table, on_chosen: Callable[[str], None]):
        self._table, self._on_chosen = table, on_chosen
        self._runs: list = []
        self._updating = False
        titles = [_("Run"), _("Date"), _("Trained on"), _("Dice")]
        make_plain(table, titles, 2)
        table.connect("currentCellChanged(int,int,int,int)", lambda row, *_others: self._changed(row))

    def show(self, runs: Sequence, chosen: str) -> None:
        """Show these runs (RunSummary, oldest first); `chosen` is the name of the selected one."""
        runs = list(reversed(runs))
        self._updating = True
        try:
            if runs != self._runs:
                self._runs = runs
                self._table.setRowCount(len(runs))
                for row, run in enumerate(runs):
                    for column, text in enumerate(_cells(run)):
                        cell = qt.QTableWidgetItem(text)
                        cell.setToolTip(in_users_language(run.problem) or _explained(run, column) or text)
                        self._table.setItem(row, column, cell)
                fit_columns(self._table)
            names = [run.name for run in runs]
            row = names.index(chosen) if chosen in names else -1
            if row != self._table.currentRow():
                self._table.setCurrentCell(row, 0)
        finally:
            self._updating = False

    @property
    def chosen(self):
        """The selected RunSummary, or None."""
        row = self._table.currentRow()
        return self._runs[row] if 0 <= row < len(self._runs) else None

    def _changed(self, row: int) -> None:
        if not self._updating and 0 <= row < len(self._runs):
            self._on_chosen(self._runs[row].name)


def _explained(run, column: int) -> str:
    """What the Dice of a finished run means; '' for the other columns."""
    if column != _DICE_COLUMN or not run.is_finished:
        return ""
    return in_users_language(dice_sentences(run.dice, run.corrected_dice, run.is_live))


def _cells(run) -> tuple[str, ...]:
    learned = counted(run.cases, _("1 volume"), _("{count} volumes"))
    if run.slices is not None:
        learned += ", " + counted(run.slices, _("1 slice"), _("{count} slices"))
    if run.problem:
        learned, dice = _("cannot be used"), ""
    elif not run.is_finished:
        dice = _("not finished")
    else:
        dice = in_users_language(dice_range(run.dice, run.corrected_dice)) or _("not measured")
    return (run.name, run.changed.strftime("%Y-%m-%d %H:%M"), learned, dice)
