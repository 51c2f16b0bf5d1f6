"""Nodes that only show something: made again when it is shown, and neither saved with the scene nor edited."""

from __future__ import annotations

import slicer


def shown_only_node(class_name: str, name: str, attribute: str, value: str):
    """The displayable node of a class with this attribute, and whether it is new; it is created if there is none."""
    for node in nodes_with(class_name, attribute):
        if node.GetAttribute(attribute) == value:
            return node, False
    node = slicer.mrmlScene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(attribute, value)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node = slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    return node, True


def nodes_with(class_name: str, attribute: str) -> list:
    """The nodes of a class with an attribute."""
    return [node for node in slicer.util.getNodesByClass(class_name) if node.GetAttribute(attribute)]
