"""Stand-ins for the qMRML widgets that know the scene: the plain one, and the selector of a node."""

from __future__ import annotations

from functools import partial

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .questions import ask

console_errors: list[str] = []
"""Errors that Slicer's widgets would print to its console; tests should check this list."""

_NODE, _ACTION = QtCore.Qt.ItemDataRole.UserRole, QtCore.Qt.ItemDataRole.UserRole + 1


class qMRMLWidget(QtWidgets.QWidget):
    """A plain widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What a module's panel is laid out in; `isEntered` while the module is the one that is shown."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._entered = True

    isEntered = QtCore.Property(
        bool, lambda self: self._entered, lambda self, entered: setattr(self, "_entered", entered)
    )


class Observations:
    """Observers of VTK objects that end with a Qt object, as Slicer's own widgets let go when they are destroyed."""

    def __init__(self, owner: QtCore.QObject):
        self._owner = owner
        self._tags: dict[object, list[int]] = {}

    def add(self, observed, event, callback, with_node: bool = False) -> None:
        """Call back at an event; with the node that it is about, where this is asked for."""

        def call(*arguments) -> None:
            if shiboken6.isValid(self._owner):
                callback(*arguments[2:])
            else:
                self.remove(observed)

        if with_node:
            call.CallDataType = vtk.VTK_OBJECT
        self._tags.setdefault(observed, []).append(observed.AddObserver(event, call))

    def remove(self, observed) -> None:
        for tag in self._tags.pop(observed, []):
            observed.RemoveObserver(tag)

    def keep_only(self, wanted) -> set:
        """Stop observing all but these; returns those of them that are not observed yet."""
        for observed in [o for o in self._tags if o not in wanted]:
            self.remove(observed)
        return set(wanted) - set(self._tags)


def _stored(kind, name: str, changed: str | None = None):
    """A property that is kept in `_values`; when it changes, the method of that name is called."""

    def write(self, value) -> None:
        self._values[name] = list(value) if kind == "QStringList" else value
        if changed is not None:
            getattr(self, changed)()

    return QtCore.Property(kind, lambda self: self._values[name], write)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the nodes of the given types in the order of the scene, and follows the scene.

    Before the nodes comes 'None' where it is enabled, after them what the user may do: rename, create, delete.
    """

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)  # by the user only
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._values = {
            "nodeTypes": [],
            "hideChildNodeTypes": [],
            "baseName": "",
            "noneDisplay": "None",
            **dict.fromkeys(["showChildNodeTypes", "selectNodeUponCreation", "addEnabled", "removeEnabled"], True),
            **dict.fromkeys(["noneEnabled", "renameEnabled", "editEnabled", "showHidden"], False),
        }
        self._scene = None
        self._attributes: dict[tuple[str, str], str | None] = {}
        self._candidates: list = []
        self._shown: dict[str, str] = {}
        self._current: str | None = None
        self._of_scene, self._of_nodes = Observations(self), Observations(self)
        self.setSizeAdjustPolicy(self.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setEnabled(False)
        self.currentIndexChanged.connect(self._choose)
        self.activated.connect(self._activate)

    nodeTypes = _stored("QStringList", "nodeTypes", "_list_nodes")
    hideChildNodeTypes = _stored("QStringList", "hideChildNodeTypes", "_list_nodes")
    showChildNodeTypes = _stored(bool, "showChildNodeTypes", "_list_nodes")
    showHidden = _stored(bool, "showHidden", "_list_nodes")
    noneEnabled = _stored(bool, "noneEnabled", "_list_nodes")
    noneDisplay = _stored(str, "noneDisplay", "_list_nodes")
    addEnabled = _stored(bool, "addEnabled", "_list_nodes")
    removeEnabled = _stored(bool, "removeEnabled", "_list_nodes")
    renameEnabled = _stored(bool, "renameEnabled", "_list_nodes")
    editEnabled = _stored(bool, "editEnabled")
    selectNodeUponCreation = _stored(bool, "selectNodeUponCreation")
    baseName = _stored(str, "baseName")
    currentNodeID = QtCore.Property(
        str, lambda self: self._current or "", lambda self, node: self.setCurrentNodeID(node)
    )

    # --- the scene ----------------------------------------------------------------------------------------------------

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        if self._scene is not None:
            self._of_scene.remove(self._scene)
        self._scene = scene
        if scene is not None:
            self._of_scene.add(scene, scene.NodeAddedEvent, self._list_added, with_node=True)
            self._of_scene.add(scene, scene.NodeRemovedEvent, self._list_without, with_node=True)
            for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
                self._of_scene.add(scene, event, self._list_nodes)
        self.setEnabled(scene is not None)
        self._list_nodes()

    def addAttribute(self, node_type: str, name: str, value=None) -> None:
        """List nodes of this type only if they have the attribute (with this value)."""
        self._attributes[node_type, name] = None if value is None else str(value)
        self._list_nodes()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop((node_type, name), None)
        self._list_nodes()

    def _list_nodes(self) -> None:
        self._candidates = self._nodes_of_these_types()
        for node in self._of_nodes.keep_only(self._candidates):
            self._of_nodes.add(node, "ModifiedEvent", partial(self._list_if_changed, node))
        before, self._shown = self._shown, self._look()
        self.blockSignals(True)
        self.clear()
        if self._values["noneEnabled"]:
            self.addItem(self._values["noneDisplay"], None)
        for identifier, name in self._shown.items():
            self.addItem(name, identifier)
        self._add_actions()
        self.setCurrentIndex(self._place(self._current))
        if self._current_id() is None and self._shown and not self._values["noneEnabled"]:
            self.setCurrentIndex(0)
        self.blockSignals(False)
        self._say_if_changed(renamed=before.get(self._current) != self._shown.get(self._current))
        for identifier in self._shown.keys() - before.keys():
            self.nodeAdded.emit(self._scene.GetNodeByID(identifier))

    def _list_if_changed(self, node) -> None:
        # Nodes are modified at every stroke; what is listed seldom changes with it.
        if self._shown.get(node.GetID()) != (node.GetName() if self._is_listed(node) else None):
            self._list_nodes()

    def _list_added(self, node) -> None:
        # With hundreds of volumes, listing all of them again with each new one would take minutes.
        kinds = self._values["nodeTypes"]
        if not any(node.IsA(kind) for kind in kinds):
            return
        if len(kinds) > 1 or not self._shown or not self._is_listed(node):
            self._list_nodes()
            return
        self._candidates.append(node)
        self._of_nodes.add(node, "ModifiedEvent", partial(self._list_if_changed, node))
        place = len(self._shown) + bool(self._values["noneEnabled"])
        self._shown[node.GetID()] = node.GetName()
        self.insertItem(place, node.GetName(), node.GetID())
        self._say_if_changed()
        self.nodeAdded.emit(node)

    def _list_without(self, node) -> None:
        if node not in self._candidates:
            return
        identifier = node.GetID()
        if identifier == self._current or identifier not in self._shown:
            self._list_nodes()
            return
        self._candidates.remove(node)
        self._of_nodes.remove(node)
        place = list(self._shown).index(identifier) + bool(self._values["noneEnabled"])
        del self._shown[identifier]
        self.removeItem(place)

    def _look(self) -> dict[str, str]:
        """The name of each node that is to be listed, by its identifier."""
        return {node.GetID(): node.GetName() for node in self._candidates if self._is_listed(node)}

    def _nodes_of_these_types(self) -> list:
        if self._scene is None:
            return []
        kinds = self._values["nodeTypes"]
        nodes = [node for kind in kinds for node in slicer.util.getNodesByClass(kind, self._scene)]
        return list(dict.fromkeys(nodes))

    def _is_listed(self, node) -> bool:
        values, kind = self._values, node.GetClassName()
        if node.GetHideFromEditors() and not values["showHidden"]:
            return False
        if not values["showChildNodeTypes"] and kind not in values["nodeTypes"]:
            return False
        if kind not in values["nodeTypes"] and any(node.IsA(hidden) for hidden in values["hideChildNodeTypes"]):
            return False
        wanted = {name: value for (of, name), value in self._attributes.items() if node.IsA(of)}
        has = {name: node.GetAttribute(name) for name in wanted}
        return all(has[name] is not None and value in (None, has[name]) for name, value in wanted.items())

    # --- the current node ---------------------------------------------------------------------------------------------

    def currentNode(self):
        identifier = self._current_id()
        return self._scene.GetNodeByID(identifier) if identifier else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identifier: str) -> None:
        if self._scene is None:
            self._current = identifier or None  # chosen as soon as there is a scene
            return
        self.setCurrentIndex(self._place(identifier))
        self._say_if_changed()  # even if signals are blocked

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._shown)

    def nodeFromIndex(self, index: int):
        return self._scene.GetNodeByID(list(self._shown)[index]) if 0 <= index < len(self._shown) else None

    def _current_id(self) -> str | None:
        return QtWidgets.QComboBox.currentData(self, _NODE)

    def _place(self, identifier: str | None) -> int:
        """Where a node is in the list, or 'None', or nothing."""
        place = self.findData(identifier, _NODE) if identifier else -1
        return 0 if place < 0 and self._values["noneEnabled"] else place

    def _choose(self, index: int) -> None:
        if self.itemData(index, _ACTION) is None:
            self._say_if_changed()

    def _say_if_changed(self, renamed: bool = False) -> None:
        before, self._current = self._current, self._current_id()
        if self._current == before and not renamed:
            return
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._current or "")

    # --- what the user does -------------------------------------------------------------------------------------------

    def addNode(self, node_type: str | None = None):
        """A new node, as the user makes one with the last entries of the list."""
        kind = node_type or self._values["nodeTypes"][0]
        name = self._values["baseName"] or self._scene.CreateNodeByClass(kind).GetNodeTagName()
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(name))
        if self._values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def renameCurrentNode(self) -> None:
        name = ask("Rename", self.currentNode().GetName())
        if name:
            self.currentNode().SetName(name)

    def _add_actions(self) -> None:
        actions = {
            "renameEnabled": ("Rename current node", self.renameCurrentNode),
            "addEnabled": ("Create new node", self.addNode),
            "removeEnabled": ("Delete current node", self.removeCurrentNode),
        }
        chosen = [action for name, action in actions.items() if self._values[name]]
        if self._scene is not None and chosen:
            self.insertSeparator(QtWidgets.QComboBox.count(self))
            for text, action in chosen:
                self.addItem(text)
                self.setItemData(QtWidgets.QComboBox.count(self) - 1, action.__name__, _ACTION)

    def _activate(self, index: int) -> None:
        action = self.itemData(index, _ACTION)
        if action is not None:
            self.blockSignals(True)
            self.setCurrentIndex(self._place(self._current))
            self.blockSignals(False)
            getattr(self, action)()
        else:
            self.nodeActivated.emit(self.currentNode())
