"""Measure: a result compared with a reference, and the slices and time spent and saved."""

from __future__ import annotations

import math

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import counted, listed
from .plain_table import fit_columns, make_plain
from .session import PanelSession, duration
from .step import Step

_SHOWN = {"Dice": ".3f", "HD95 (mm)": ".2f", "Volume (ml)": ".2f", "Reference volume (ml)": ".2f"}
"""The shown columns of the table node, and the number format of each."""

_NAMED = 5


class MeasureStep(Step):
    """Dice, distances and volumes in a table, which is also a node in the scene."""

    def __init__(self, session: PanelSession):
        super().__init__(session, session.ui.measureSection)
        table = self.ui.figuresTable
        titles = [_("Structure"), _("Dice"), _("HD95\n(mm)"), _("Volume\n(ml)"), _("Reference\n(ml)")]
        make_plain(table, titles, 0)
        self._mean = self._saved = ""
        self._shown = None
        session.on_click(self.ui.measureButton, self._measure)
        for selector in (self.ui.measuredSelector, self.ui.referenceSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self._chosen())

    def summary(self) -> str:
        return self._mean or self._saved

    def disconnect(self) -> None:
        self._show(None)

    def refresh(self) -> None:
        session = self.session
        session.attempt(self._show_effort, keep_message=True)
        session.attempt(self._chosen, keep_message=True)

    @property
    def _pair(self) -> list:
        return [selector.currentNode() for selector in (self.ui.measuredSelector, self.ui.referenceSelector)]

    def _chosen(self) -> None:
        """Show the measures of the selected pair that are stored in the scene, also from earlier sessions."""
        pair = self._pair if self.session.parameters is not None else [None]
        self._show(self.logic.panel.figures_of(*pair) if all(pair) else None)
        self._enable()

    def _enable(self) -> None:
        session, chosen = self.session, self._pair
        why = session.why_busy or session.why_no_volume
        session.enable(
            self.ui.measureButton,
            why or (None if all(chosen) else _("Select a segmentation to measure and a reference first.")),
        )
        self.ui.figuresTable.visible = self.ui.figuresTable.rowCount > 0

    def _show_effort(self) -> None:
        effort = self.session.effort
        saved = effort.saved_slices
        self._saved = (
            counted(saved, _("1 slice did not have to be drawn"), _("{count} slices did not have to be drawn"))
            if effort.drawn
            else ""
        )
        drawn = {"drawn": effort.drawn, "all": effort.all_slices}
        if effort.seconds:
            text = _("{drawn} of {all} slices drawn in {time}.").format(time=duration(effort.seconds), **drawn)
        else:
            text = _("{drawn} of {all} slices drawn.").format(**drawn)
        if effort.saved_minutes is None:
            text += " " + counted(
                saved, _("1 slice did not have to be drawn."), _("{count} slices did not have to be drawn.")
            )
        else:
            text += " " + counted(
                saved,
                _("1 slice did not have to be drawn (about {time})."),
                _("{count} slices did not have to be drawn (about {time})."),
                time=duration(60 * effort.saved_minutes),
            )
        self.ui.effortLabel.text = text

    def _measure(self) -> None:
        result, reference = self.ui.measuredSelector.currentNode(), self.ui.referenceSelector.currentNode()
        if result is None or reference is None:
            raise BadInputError(_("Select a segmentation to measure and a reference first."))
        volume = self.session.volume
        self.session.start(
            _("Measuring ..."), lambda **how: self.logic.panel.measure(result, reference, volume, **how), self._measured
        )

    def _show(self, figures) -> None:
        """Show measures in the table; None clears it."""
        if figures == self._shown:
            return
        self._shown = figures
        table = self.ui.figuresTable
        table.setRowCount(len(figures.structures) if figures is not None else 0)
        self._mean = ""
        if figures is None:
            return
        for row, structure in enumerate(figures.structures):
            numbers = [_number(figures.columns[name][row], form) for name, form in _SHOWN.items()]
            for column, text in enumerate([structure, *numbers]):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(text)
                table.setItem(row, column, cell)
        fit_columns(table)
        if figures.mean_dice is not None:
            self._mean = _("mean Dice {dice:.3f}").format(dice=figures.mean_dice)

    def _measured(self, found) -> None:
        self.session.refresh()
        figures = found.figures
        if figures.dice is None:
            self.session.say(_("Both segmentations are empty, so there is nothing to measure."))
            return
        text = _("Mean Dice {dice:.3f}. All measures are in the table '{table}'.").format(
            dice=figures.dice, table=found.tableNode.GetName()
        )
        text += " " + _("HVSMR overall score {score}, adapted Rand F-score {rand:.3f}.").format(
            score=_number(figures.hvsmr_score, ".3f"), rand=figures.rand_f_score
        )
        if found.volumes > 1:
            each = [f"{name} {iou:.3f}" for name, iou in found.batchedIou.items()]
            text += " " + _("Batched IoU over {count} measured volumes: {figures}.").format(
                count=found.volumes, figures=listed(each, _NAMED)
            )
        if figures.absent:
            names = ", ".join(found.names[value] for value in figures.absent)
            text += " " + _("Not included, because they are empty in both segmentations: {names}.").format(names=names)
        self.session.say(text)


def _number(value: float, form: str) -> str:
    """A measure as text; the distance to a missing structure is infinite."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{form}}"
