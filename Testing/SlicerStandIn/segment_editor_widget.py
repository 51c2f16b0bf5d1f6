"""A stand-in for Slicer's Segment Editor: plain to look at, with Slicer's own editor logic and undo behind it.

Effects can be chosen and do nothing by themselves; `paint` does what a stroke with a brush does.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt
from vtk.util import numpy_support

from . import segment_editor_parts
from .mrml_widgets import Observations, console_errors, qMRMLWidget
from .segment_editor_parts import EFFECTS

_SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


def _visibility(*parts: str):
    """A property that shows or hides parts of the editor."""

    def write(self, shown: bool) -> None:
        for part in parts:
            getattr(self.parts, part).setVisible(shown)

    return QtCore.Property(bool, lambda self: getattr(self.parts, parts[0]).isVisibleTo(self), write)


def _stored(kind, name: str):
    return QtCore.Property(
        kind, lambda self: self._values[name], lambda self, value: self._values.__setitem__(name, value)
    )


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Selectors of segmentation and volume, the segments, the effects, undo and redo; `parts` are its widgets."""

    segmentationNodeChanged = QtCore.Signal(object)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    currentSegmentIDChanged = QtCore.Signal(str)  # by the user only

    def __init__(self, parent=None):
        super().__init__(parent)
        self._values = {"autoShowSourceVolumeNode": True, "maskingSectionVisible": True, "readOnly": False}
        self._node = self._segmentation = self._source = self._last_effect = None
        self._shortcuts: list[QtGui.QShortcut] = []
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetSegmentationHistory(slicer.vtkSegmentationHistory())
        self._observed = Observations(self)
        self._observed.add(self._logic, self._logic.SegmentationHistoryChangedEvent, self._show_undo)
        self.parts = segment_editor_parts.build(self)
        self.parts.segmentation_box.currentNodeChanged.connect(
            lambda node: self.setSegmentationNode(node) if self._node is not None else None
        )
        self.parts.source_box.currentNodeChanged.connect(
            lambda node: self.setSourceVolumeNode(node) if self.segmentationNode() is not None else None
        )
        self.parts.add_button.clicked.connect(lambda: self._logic.AddEmptySegment("", 0))
        self.parts.remove_button.clicked.connect(lambda: self._logic.RemoveSelectedSegment())
        self.parts.effects.buttonClicked.connect(lambda button: self.setActiveEffectByName(button.objectName()))
        self.parts.table.currentCellChanged.connect(self._choose_row)
        self.parts.undo_button.clicked.connect(self.undo)
        self.parts.redo_button.clicked.connect(self.redo)
        self.updateWidgetFromMRML()

    segmentationNodeSelectorVisible = _visibility("segmentation_box", "segmentation_label")
    sourceVolumeNodeSelectorVisible = _visibility("source_box", "source_label")
    switchToSegmentationsButtonVisible = _visibility("switch_button")
    show3DButtonVisible = _visibility("show_3d_button")
    addRemoveSegmentButtonsVisible = _visibility("add_button", "remove_button")
    undoEnabled = _visibility("undo_button", "redo_button")
    autoShowSourceVolumeNode = _stored(bool, "autoShowSourceVolumeNode")
    maskingSectionVisible = _stored(bool, "maskingSectionVisible")
    readOnly = _stored(bool, "readOnly")
    maximumNumberOfUndoStates = QtCore.Property(
        int,
        lambda self: self._logic.GetMaximumNumberOfUndoStates(),
        lambda self, count: self._logic.SetMaximumNumberOfUndoStates(count),
    )

    # --- nodes --------------------------------------------------------------------------------------------------------

    def setMRMLScene(self, scene) -> None:
        if self._scene is not None:
            self._observed.remove(self._scene)
        super().setMRMLScene(scene)
        self._logic.SetMRMLApplicationLogic(slicer._embedded.application_logic)
        self._logic.SetMRMLScene(scene)
        for box in (self.parts.segmentation_box, self.parts.source_box):
            box.blockSignals(True)
            box.setMRMLScene(scene)
            box.blockSignals(False)
        if scene is not None:
            for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.NodeRemovedEvent):
                self._observed.add(scene, event, self.updateWidgetFromMRML)
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self):
        return self._node

    def setMRMLSegmentEditorNode(self, node) -> None:
        if node is self._node:
            return
        if self._node is not None:
            self._observed.remove(self._node)
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._observed.add(node, "ModifiedEvent", self.updateWidgetFromMRML)
        self.updateWidgetFromMRML()

    def segmentationNode(self):
        return self._node.GetSegmentationNode() if self._node is not None else None

    def setSegmentationNode(self, node) -> None:
        if self._node is None:
            if node is not None:
                console_errors.append("setSegmentationNode failed: need to set segment editor node first")
            return
        if node is not self.segmentationNode():
            self._logic.SetSegmentationNode(node)
            self.setActiveEffectByName("")

    def segmentationNodeID(self) -> str:
        return _identifier(self.segmentationNode())

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def setSourceVolumeNode(self, node) -> None:
        if self.segmentationNode() is None:
            if node is not None:
                console_errors.append(
                    "setSourceVolumeNode failed: need to set segment editor and segmentation nodes first"
                )
            return
        self._logic.SetSourceVolumeNode(node)

    def sourceVolumeNodeID(self) -> str:
        return _identifier(self.sourceVolumeNode())

    def setupViewObservations(self) -> None:
        """Slicer's editor begins to listen to the slice views; there is nothing to listen to here."""

    def removeViewObservations(self) -> None:
        """See `setupViewObservations`."""

    def updateWidgetFromMRML(self) -> None:
        """Show what the nodes say."""
        if self._scene is not None and self._scene.IsClosing():
            return
        if self._node is not None and self._node.GetScene() is None:
            self.setMRMLSegmentEditorNode(None)  # it was removed with the scene
            return
        # One change at a time: what following the segmentation does to the node comes back when it is done.
        with slicer.util.NodeModify(self._node) if self._node is not None else nullcontext():
            self._follow_segmentation()
            self._follow_source()
        self._show_segments()
        self._show_undo()
        effect = self.activeEffect().name if self.activeEffect() is not None else "None"
        for button in self.parts.effects.buttons():
            button.setChecked(button.objectName() == effect)

    def _follow_segmentation(self) -> None:
        node = self.segmentationNode()
        _select_quietly(self.parts.segmentation_box, node)
        if node is self._segmentation:
            return
        if self._segmentation is not None:
            self._observed.remove(self._segmentation)
        self._segmentation = node
        if node is not None:
            for event in _SEGMENT_EVENTS:
                self._observed.add(node, getattr(slicer.vtkSegmentation, event), self._show_segments)
            node.CreateDefaultDisplayNodes()
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            self._logic.SetSourceVolumeNode(node.GetNodeReference(role))
            if node.GetSegmentation().GetNumberOfSegments() > 0:
                self.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(0))
        self.segmentationNodeChanged.emit(node)

    def _follow_source(self) -> None:
        node = self.sourceVolumeNode()
        _select_quietly(self.parts.source_box, node)
        if node is self._source:
            return
        self._source = node
        if node is not None and self._values["autoShowSourceVolumeNode"]:
            for layers in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                if node.GetID() not in (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID()):
                    layers.SetBackgroundVolumeID(node.GetID())
        self.sourceVolumeNodeChanged.emit(node)

    # --- segments -----------------------------------------------------------------------------------------------------

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if self._node is not None:
            self._node.SetSelectedSegmentID(segment_id)

    def selectPreviousSegment(self) -> None:
        self._logic.SelectSegmentAtOffset(-1, True)

    def selectNextSegment(self) -> None:
        self._logic.SelectSegmentAtOffset(1, True)

    def _show_segments(self) -> None:
        node, table = self.segmentationNode(), self.parts.table
        segmentation = node.GetSegmentation() if node is not None else None
        ids = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        table.blockSignals(True)
        table.setRowCount(len(ids))
        table.setCurrentItem(None)
        for row, segment_id in enumerate(ids):
            segment = segmentation.GetSegment(segment_id)
            colour, name = QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem(segment.GetName())
            colour.setData(Qt.ItemDataRole.DecorationRole, QtGui.QColor.fromRgbF(*segment.GetColor()))
            name.setData(Qt.ItemDataRole.UserRole, segment_id)
            table.setItem(row, 0, colour)
            table.setItem(row, 1, name)
            if segment_id == self.currentSegmentID():
                table.setCurrentItem(name)
        table.blockSignals(False)
        editable = node is not None and not self._values["readOnly"]
        self.parts.add_button.setEnabled(editable and self._logic.CanAddSegments())
        self.parts.remove_button.setEnabled(editable and self.currentSegmentID() in ids)
        for button in (self.parts.show_3d_button, self.parts.switch_button, *self.parts.effects.buttons()):
            button.setEnabled(editable)

    def _choose_row(self, row: int, *_) -> None:
        item = self.parts.table.item(row, 1)
        if item is not None:
            self.setCurrentSegmentID(item.data(Qt.ItemDataRole.UserRole))
            self.currentSegmentIDChanged.emit(self.currentSegmentID())

    # --- effects, undo and keys ---------------------------------------------------------------------------------------

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def activeEffect(self):
        """An object with the effect's `name`; None when no effect is active."""
        name = self._node.GetActiveEffectName() if self._node is not None else None
        return SimpleNamespace(name=name) if name else None

    def setActiveEffect(self, effect) -> None:
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        if self._node is not None:
            self._last_effect = name if name in EFFECTS else self._last_effect
            self._node.SetActiveEffectName(name if name in EFFECTS else "")

    def toggle_effect(self, name: str) -> None:
        """Activate an effect, or deactivate it when it is the active one, as its key does."""
        active = self.activeEffect()
        self.setActiveEffectByName("" if active is not None and active.name == name else name)

    def toggle_last_effect(self) -> None:
        self.toggle_effect(self._last_effect or "")

    def toggleSourceVolumeIntensityMaskEnabled(self) -> None:
        self._logic.ToggleSourceVolumeIntensityMask()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        if self._logic.CanUndo():
            self._logic.Undo()

    def redo(self) -> None:
        if self._logic.CanRedo():
            self._logic.Redo()

    def _show_undo(self) -> None:
        self.parts.undo_button.setEnabled(not self._values["readOnly"] and self._logic.CanUndo())
        self.parts.redo_button.setEnabled(not self._values["readOnly"] and self._logic.CanRedo())

    def installKeyboardShortcuts(self, parent=None) -> None:
        self.uninstallKeyboardShortcuts()
        self._shortcuts = segment_editor_parts.shortcuts(self, parent or slicer.util.mainWindow() or self.window())

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    # --- for tests ----------------------------------------------------------------------------------------------------

    def paint(self, mask: np.ndarray, segment_id: str, erase: bool = False) -> None:
        """Add voxels to a segment, or erase them, as one stroke with a brush does: one step that can be undone.

        Args:
            mask: (K, J, I) bool on the grid of the source volume.
        """
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        transform = self.segmentationNode().GetParentTransformNode()
        stroke = logic.CreateOrientedImageDataFromVolumeNode(self.sourceVolumeNode(), transform)
        stroke.UnRegister(None)
        scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(mask, dtype=np.uint8).ravel(), deep=True)
        stroke.GetPointData().SetScalars(scalars)
        self.saveStateForUndo()
        mode = self._logic.ModificationModeRemove if erase else self._logic.ModificationModeAdd
        self._logic.ModifySegmentByLabelmap(self.segmentationNode(), segment_id, stroke, mode, True, False)


def _identifier(node) -> str:
    return node.GetID() if node is not None else ""


def _select_quietly(box, node) -> None:
    box.blockSignals(True)
    box.setCurrentNode(node)
    box.blockSignals(False)
