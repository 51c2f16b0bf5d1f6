"""Stand-ins for the ctk widgets the panel uses, drawn like ctk's in any style and palette."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt

from .questions import ask

_EXPLICIT = Qt.WidgetAttribute.WA_WState_ExplicitShowHide


class _Folding:
    """Hides its child widgets while it is collapsed; one that was hidden for its own sake stays hidden afterwards."""

    def _fold(self) -> None:
        """Show or hide the children as `collapsed` says."""
        for child in self.children():
            hidden_by_itself = child.isWidgetType() and child.testAttribute(_EXPLICIT) and child.isHidden()
            if child.isWidgetType() and not hidden_by_itself:
                child.setVisible(self.isChecked())
                child.setAttribute(_EXPLICIT, False)

    def childEvent(self, event) -> None:
        # When a child is polished it is whole; when it is added it may not be.
        if event.type() == QtCore.QEvent.Type.ChildPolished and not self.isChecked():
            self._fold()
        super().childEvent(event)

    def showEvent(self, event) -> None:
        super().showEvent(event)
        if not self.isChecked():
            self._fold()

    def _limit_height(self, folded: bool, height: int) -> None:
        if folded:
            self._height_before = QtWidgets.QWidget.maximumHeight(self)
            self.setMaximumHeight(height)
        else:
            self.setMaximumHeight(self._height_before)
        self.updateGeometry()


class ctkCollapsibleButton(_Folding, QtWidgets.QAbstractButton):
    """A title bar that folds what lies below it: `checked` is the opposite of `collapsed`."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments):
        super().__init__(*(a for a in arguments if not isinstance(a, str)))
        self.setText("".join(a for a in arguments if isinstance(a, str)))
        self.setCheckable(True)
        self.setChecked(True)
        self._height_before = QtWidgets.QWidget.maximumHeight(self)
        self._flat = False
        self._collapsed_height = 14
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setBackgroundRole(QtGui.QPalette.ColorRole.Window)
        self._set_bar()
        self.toggled.connect(self._toggled)

    collapsed = QtCore.Property(
        bool, lambda self: not self.isChecked(), lambda self, folded: self.setChecked(not folded)
    )

    def _set_flat(self, flat: bool) -> None:
        self._flat = flat
        self.update()

    flat = QtCore.Property(bool, lambda self: self._flat, _set_flat)
    # Room that a folded section keeps below its title.
    collapsedHeight = QtCore.Property(
        int, lambda self: self._collapsed_height, lambda self, height: setattr(self, "_collapsed_height", height)
    )

    def _toggled(self, opened: bool) -> None:
        self._fold()
        self._limit_height(not opened, self._bar + self._collapsed_height)
        self.contentsCollapsed.emit(not opened)

    def _set_bar(self) -> None:
        self._bar = self.fontMetrics().height() + 10
        self.setContentsMargins(0, self._bar, 0, 0)
        self.setMinimumHeight(self._bar)

    def changeEvent(self, event) -> None:
        if event.type() in (QtCore.QEvent.Type.FontChange, QtCore.QEvent.Type.StyleChange):
            self._set_bar()
        super().changeEvent(event)

    def hitButton(self, position) -> bool:
        return position.y() < self._bar

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._bar)
        option.state |= (
            QtWidgets.QStyle.StateFlag.State_Sunken if self.isDown() else QtWidgets.QStyle.StateFlag.State_None
        )
        if not self.hitButton(self.mapFromGlobal(QtGui.QCursor.pos())):
            option.state &= ~QtWidgets.QStyle.StateFlag.State_MouseOver
        if self._flat:
            option.features |= QtWidgets.QStyleOptionButton.ButtonFeature.Flat
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        centre = QtCore.QPointF(self._bar / 2, self._bar / 2)
        _draw_triangle(painter, option, centre, points_right=not self.isChecked())
        option.rect.setLeft(self._bar)
        painter.drawItemText(
            option.rect,
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic,
            option.palette,
            self.isEnabled(),
            QtWidgets.QAbstractButton.text(self),
            QtGui.QPalette.ColorRole.ButtonText,
        )


class ctkCollapsibleGroupBox(_Folding, QtWidgets.QGroupBox):
    """A group box whose title folds it: `checked` is the opposite of `collapsed`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self._height_before = QtWidgets.QWidget.maximumHeight(self)
        self._collapsed_height = 14
        self.toggled.connect(self._toggled)

    collapsed = QtCore.Property(
        bool, lambda self: not self.isChecked(), lambda self, folded: self.setChecked(not folded)
    )
    collapsedHeight = QtCore.Property(
        int, lambda self: self._collapsed_height, lambda self, height: setattr(self, "_collapsed_height", height)
    )

    def _toggled(self, opened: bool) -> None:
        self._fold()
        self._limit_height(not opened, self.fontMetrics().height() + self._collapsed_height)

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        group, parts = QtWidgets.QStyle.ComplexControl.CC_GroupBox, QtWidgets.QStyle.SubControl
        box, label = (
            self.style().subControlRect(group, option, part, self)
            for part in (parts.SC_GroupBoxCheckBox, parts.SC_GroupBoxLabel)
        )
        text, option.text = option.text, ""
        option.subControls = parts.SC_GroupBoxFrame
        painter.drawComplexControl(group, option)
        alignment = Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic
        role = QtGui.QPalette.ColorRole.WindowText
        painter.drawItemText(label, alignment, option.palette, self.isEnabled(), text, role)
        centre = QtCore.QPointF(box.center().x(), label.center().y())
        _draw_triangle(painter, option, centre, points_right=not self.isChecked())


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line with a path, and a button that asks for one."""

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, NoDotAndDotDot = 0x010, 0x020, 0x040, 0x1000

    def __init__(self, parent=None):
        super().__init__(parent)
        self._filters = self.AllEntries | self.NoDotAndDotDot | self.Readable | self.Executable
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setEditable(True)
        self._combo.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._browse = QtWidgets.QToolButton(self, text="...")
        self._browse.setSizePolicy(QtWidgets.QSizePolicy.Policy.Fixed, QtWidgets.QSizePolicy.Policy.Ignored)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo, 1)
        layout.addWidget(self._browse)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setFocusProxy(self._combo)
        self._combo.lineEdit().textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    filters = QtCore.Property(
        int, lambda self: self._filters, lambda self, value: setattr(self, "_filters", int(value))
    )
    currentPath = QtCore.Property(
        str, lambda self: self._combo.currentText(), lambda self, path: self._combo.setEditText(path)
    )
    showBrowseButton = QtCore.Property(
        bool, lambda self: self._browse.isVisibleTo(self), lambda self, shown: self._browse.setVisible(shown)
    )
    # Without it there is no list of paths used before; the stand-in never has one.
    showHistoryButton = QtCore.Property(bool, lambda self: False, lambda self, shown: None)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo

    def addCurrentPathToHistory(self) -> None:
        """Slicer remembers the path in its settings; the stand-in forgets it."""

    def browse(self) -> None:
        """Take the path that a person would choose; none leaves the path as it is."""
        path = ask("Choose a path", str(self._combo.currentText()))
        if path:
            self._combo.setEditText(str(path))


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line to search with, with a lens in front and a cross to clear it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._lens: QtGui.QAction | None = None
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)

    def _show_lens(self, shown: bool) -> None:
        if self._lens is not None:
            self.removeAction(self._lens)
        position = QtWidgets.QLineEdit.ActionPosition.LeadingPosition
        self._lens = self.addAction(_lens(QtWidgets.QWidget.palette(self)), position) if shown else None

    showSearchIcon = QtCore.Property(bool, lambda self: self._lens is not None, _show_lens)

    def changeEvent(self, event) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.PaletteChange and self._lens is not None:
            self._lens.setIcon(_lens(QtWidgets.QWidget.palette(self)))


def _draw_triangle(painter, option, centre: QtCore.QPointF, points_right: bool) -> None:
    """A small triangle in the colour of text, pointing right (folded) or down (open)."""
    reach = 4.0
    corners = [QtCore.QPointF(-reach, -reach / 2), QtCore.QPointF(reach, -reach / 2), QtCore.QPointF(0, reach / 2)]
    painter.save()
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.translate(centre)
    painter.rotate(-90 if points_right else 0)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(option.palette.buttonText())
    painter.drawPolygon(QtGui.QPolygonF(corners))
    painter.restore()


def _lens(palette) -> QtGui.QIcon:
    pixmap = QtGui.QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtGui.QPen(palette.color(QtGui.QPalette.ColorRole.Text), 3))
    painter.drawEllipse(6, 6, 13, 13)
    painter.drawLine(18, 18, 26, 26)
    painter.end()
    return QtGui.QIcon(pixmap)
