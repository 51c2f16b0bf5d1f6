"""One row of the group Channels: a channel's name, its volume, and what the volume is."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from .session import PanelSession

_MODALITIES = ("", "CT", "MR", "PT")


class ChannelRow:
    """A name, a volume and its modality.

    Attributes:
        name: a QLineEdit. box: a QComboBox with '(none)' and the volumes; nothing is selected before one is chosen.
        kind: a QComboBox with modalities.
    """

    def __init__(self, layout, number: int):
        self.name, self.box, self.kind = qt.QLineEdit(), qt.QComboBox(), qt.QComboBox()
        layout.addWidget(self.name, number, 0)
        layout.addWidget(self.box, number, 1)
        layout.addWidget(self.kind, number, 2)
        self.kind.toolTip = _(
            "What the volume is. CT is in Hounsfield units, so models scale all cases alike. It counts for this "
            "channel of all cases in the cohort folder. '?': not known, or as DICOM says."
        )
        self._modalities: list[str] = []
        self._modality_shown = ""
        self.name.placeholderText = _("name, e.g. FLAIR") if number == 0 else _("name, e.g. T1")
        self.name.toolTip = _("Name of the channel. All cases that are used together need the same ones.")
        # However long the names of volumes are, the column can be narrow.
        for widget, width in ((self.name, 60), (self.box, 60), (self.kind, 52)):
            widget.minimumWidth = width
            widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        self.box.placeholderText = _("choose a volume")
        if number == 0:
            self.box.toolTip = _("The volume that you draw on is always the first channel.")
        else:
            self.box.toolTip = _(
                "The volume with this channel of the same patient. '(none)': this case has no such image. A row with "
                "neither name nor volume is left out."
            )
        self._is_first = number == 0
        self._nodes: list = []
        self.show(False)

    @property
    def node(self):
        """The volume; None for '(none)', and while nothing is chosen."""
        index = self.box.currentIndex
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    @property
    def is_chosen(self) -> bool:
        """Whether a volume or '(none)' is chosen."""
        return self.box.currentIndex >= 0

    @property
    def is_removed(self) -> bool:
        """Whether the volume has been removed from the scene."""
        return self.node is not None and self.node.GetScene() is None

    @property
    def modality(self) -> str:
        """The modality that is selected; '' for none."""
        place = self.kind.currentIndex
        return self._modalities[place] if 0 <= place < len(self._modalities) else ""

    @property
    def is_modality_chosen(self) -> bool:
        """Whether another modality is selected than the volume's."""
        return bool(self._modalities) and self.modality != self._modality_shown

    def show_modality(self, modality: str) -> None:
        """Show the modality of the volume, unless another one has been selected."""
        if self.is_modality_chosen:
            return
        known = [*_MODALITIES, *([modality] if modality not in _MODALITIES else [])]
        if known != self._modalities:
            self._modalities = known
            self.kind.clear()
            self.kind.addItems([name or "?" for name in known])
        self._modality_shown = modality
        self.kind.setCurrentIndex(known.index(modality))

    def forget_modality(self) -> None:
        """Forget what has been selected."""
        self._modality_shown = self.modality

    def choose(self, node, is_chosen: bool) -> None:
        """Choose a volume, or None for '(none)'; nothing unless `is_chosen`."""
        self._fill([None] if node is None else [None, node], node, is_chosen)
        self.forget_modality()

    def offer(self, nodes: list) -> None:
        """Offer these volumes; the chosen one stays if it is in the scene."""
        node, is_chosen = self.node, self.is_chosen and not self.is_removed
        kept = [node] if node is not None and is_chosen and node not in nodes else []
        self._fill([None, *nodes, *kept], node, is_chosen)

    def offer_only(self, node) -> None:
        """Show a volume that cannot be changed."""
        self._fill([node], node, True)

    def _fill(self, nodes: list, chosen, is_chosen: bool) -> None:
        texts = [node.GetName() if node is not None else _("(none)") for node in nodes]
        if texts != [self.box.itemText(place) for place in range(self.box.count)]:
            self.box.clear()
            self.box.addItems(texts)
        self._nodes = nodes
        self.box.setCurrentIndex(nodes.index(chosen) if is_chosen else -1)

    def show(self, is_shown: bool) -> None:
        """Show or hide the row."""
        self.name.visible = self.box.visible = self.kind.visible = is_shown

    def enable(self, session: PanelSession, why_not: str | None) -> None:
        """Let the row be edited, or say why it cannot be."""
        session.enable(self.name, why_not)
        session.enable(self.box, why_not or (self.box.toolTip if self._is_first else None))
        session.enable(self.kind, why_not)
