"""The cohort's volumes as a check list that stays fast with hundreds of volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import qt
from slicer.i18n import tr as _


class VolumeList:
    """Shows volumes in a QListWidget; the checked ones form the cohort, the selected one is active.

    Args:
        on_changed: called when the user has checked, unchecked or selected a volume.
        on_clicked: called when the user has clicked a volume, even if it was selected already.
    """

    def __init__(self, widget, filter_edit, on_changed: Callable[[], None], on_clicked: Callable[[], None]):
        self._widget, self._filter, self._on_changed = widget, filter_edit, on_changed
        self._nodes: list = []
        self._shown: list[tuple[str, str, str]] = []
        self._checked: set[str] | None = None  # IDs of the checked ones as shown last; None once any box has changed
        widget.connect("itemChanged(QListWidgetItem*)", lambda _item: self._box_changed())
        widget.connect("currentRowChanged(int)", lambda _row: on_changed())
        widget.connect("itemClicked(QListWidgetItem*)", lambda _item: on_clicked())
        filter_edit.connect("textChanged(QString)", lambda _text: self._hide_others())

    def show(self, nodes: Sequence, checked: Sequence, chosen, channels: Sequence[str]) -> None:
        """Show these volumes; `checked` are checked, `chosen` (or None) is the active one.

        `channels` are those of each volume in a few words, '' for a case by itself.
        """
        with self._unnoticed():
            wanted = [(node.GetID(), node.GetName(), text) for node, text in zip(nodes, channels, strict=True)]
            # Another scene may have the same names and IDs.
            if wanted != self._shown or self._nodes != list(nodes):
                self._fill(nodes, wanted)
            self._check({node.GetID() for node in checked})
            row = self._row_of(chosen)
            if self._widget.currentRow != row:
                self._widget.setCurrentRow(row)

    def _check(self, ids: set[str]) -> None:
        """Check these volumes; with hundreds of them, looking at each box takes a while."""
        if ids != self._checked:
            for row, (node_id, _name, _channels) in enumerate(self._shown):
                state = qt.Qt.Checked if node_id in ids else qt.Qt.Unchecked
                item = self._widget.item(row)
                if item.checkState() != state:
                    item.setCheckState(state)
            self._checked = ids

    def _box_changed(self) -> None:
        self._checked = None
        self._on_changed()

    def check_shown(self, is_checked: bool) -> None:
        """Check or uncheck all volumes that match the filter."""
        with self._unnoticed():
            for row in range(len(self._nodes)):
                item = self._widget.item(row)
                if not item.isHidden():
                    item.setCheckState(qt.Qt.Checked if is_checked else qt.Qt.Unchecked)
        self._box_changed()

    @contextmanager
    def _unnoticed(self) -> Iterator[None]:
        """Context for changes that the user has not made; hundreds of signals would take a tenth of a second."""
        was = self._widget.blockSignals(True)
        try:
            yield
        finally:
            self._widget.blockSignals(was)

    @property
    def checked(self) -> list:
        """The checked nodes."""
        return [node for row, node in enumerate(self._nodes) if self._widget.item(row).checkState() == qt.Qt.Checked]

    @property
    def chosen(self):
        """The active node, or None."""
        row = self._widget.currentRow
        return self._nodes[row] if 0 <= row < len(self._nodes) else None

    def _fill(self, nodes: Sequence, wanted: list[tuple[str, str, str]]) -> None:
        self._nodes, self._shown, self._checked = list(nodes), wanted, None
        self._widget.clear()
        # Created by the list itself, because Python might delete items that it has created.
        self._widget.addItems([f"{name} ({text})" if text else name for _node_id, name, text in wanted])
        for row, (node, (_node_id, name, text)) in enumerate(zip(nodes, wanted, strict=True)):
            item = self._widget.item(row)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Unchecked)
            shape = " x ".join(str(n) for n in node.GetImageData().GetDimensions())
            tooltip = _("{name}: {shape} voxels. The checked volumes form the cohort.").format(name=name, shape=shape)
            if text:
                tooltip += " " + _("Channels: {channels}.").format(channels=text)
            item.setToolTip(tooltip)
        self._hide_others()

    def _hide_others(self) -> None:
        wanted = self._filter.text.strip().lower()
        for row, (_node_id, name, _channels) in enumerate(self._shown):
            self._widget.item(row).setHidden(bool(wanted) and wanted not in name.lower())

    def _row_of(self, node) -> int:
        node_id = node.GetID() if node is not None else None
        return next((row for row, (shown, *_) in enumerate(self._shown) if shown == node_id), -1)
