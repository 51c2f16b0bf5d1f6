"""Measure: a result against a reference, and what drawing has cost and spared."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from .plain_table import make_plain
from .session import PanelSession, duration
from .step import Step


class MeasureStep(Step):
    """Dice, distances and volumes in a table, which is also a node of the scene."""

    def __init__(self, session: PanelSession):
        super().__init__(session, session.ui.measureSection)
        table = self.ui.figuresTable
        titles = [_("Structure"), _("Dice"), _("HD95 (mm)"), _("Volume (ml)"), _("Reference (ml)")]
        make_plain(table, titles, 0)
        self._told = self._saved = ""
        session.on_click(self.ui.measureButton, self._measure)
        for selector in (self.ui.measuredSelector, self.ui.referenceSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self._enable())

    def summary(self) -> str:
        return self._told or self._saved

    def disconnect(self) -> None:
        self._told = ""
        self.ui.figuresTable.setRowCount(0)

    def refresh(self) -> None:
        session = self.session
        session.attempt(self._show_effort, keep_message=True)
        self._enable()

    def _enable(self) -> None:
        session = self.session
        chosen = [selector.currentNode() for selector in (self.ui.measuredSelector, self.ui.referenceSelector)]
        why = session.why_busy or session.why_no_volume
        session.enable(
            self.ui.measureButton,
            why or (None if all(chosen) else _("Choose what to measure, and a reference, first.")),
        )
        self.ui.figuresTable.visible = self.ui.figuresTable.rowCount > 0

    def _show_effort(self) -> None:
        effort = self.session.effort
        self._saved = _("{slices} slices saved").format(slices=effort.saved_slices) if effort.drawn else ""
        text = _("{drawn} of {all} slices drawn").format(drawn=effort.drawn, all=effort.all_slices)
        if effort.seconds:
            text += _(" in {time}").format(time=duration(effort.seconds))
        text += _("; {slices} saved").format(slices=effort.saved_slices)
        if effort.saved_minutes is not None:
            text += _(" (about {time})").format(time=duration(60 * effort.saved_minutes))
        self.ui.effortLabel.text = text + "."

    def _measure(self) -> None:
        result, reference = self.ui.measuredSelector.currentNode(), self.ui.referenceSelector.currentNode()
        if result is None or reference is None:
            raise BadInputError(_("Choose what to measure, and a reference, first."))
        volume = self.session.volume
        self.session.start(
            _("Measuring ..."), lambda **how: self.logic.measure(result, reference, volume, **how), self._measured
        )

    def _measured(self, found) -> None:
        table = self.ui.figuresTable
        table.setRowCount(len(found.figures.labels))
        for row, figures in enumerate(found.figures.labels):
            cells = (
                found.names.get(figures.label, str(figures.label)),
                f"{figures.dice:.3f}",
                f"{figures.hd95_mm:.2f}",
                f"{figures.volume_ml:.2f}",
                f"{figures.reference_volume_ml:.2f}",
            )
            for column, text in enumerate(cells):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        self._told = _("mean Dice {dice:.3f}").format(dice=found.figures.dice)
        self.session.refresh()
        self.session.say(
            _("Mean Dice {dice:.3f}; all figures are in the table '{table}'.").format(
                dice=found.figures.dice, table=found.tableNode.GetName()
            )
        )
