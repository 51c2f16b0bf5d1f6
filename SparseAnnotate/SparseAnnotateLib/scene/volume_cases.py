"""The names of volumes' cases in cohort folders, stored in the nodes."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

import slicer

from ..core.case_names import name_problem, usable_case_name
from .opened_case import opened_case
from .sequence_frames import frame_of

_ATTRIBUTE = "SparseAnnotate.Case"
_HAS_REFERENCE = "HasReference"
_ROLE = "SparseAnnotate.CaseOf"
_Named = dict[tuple[str, str], dict[str, list[Any]]]  # Slicer's nodes have no types


def case_of(volume_node) -> str:
    """Name of the volume's case in any cohort: the node's name and a random suffix, stored in the node.

    A volume that was opened from a cohort folder has the name of its case there.

    Each frame of a sequence is a separate case, and its name is stored in the sequence node.
    """
    return _case_of(volume_node, {})


def cases_of(volume_nodes: Iterable) -> list[str]:
    """`case_of` of many volumes, which looks through the nodes of the scene once instead of for each."""
    named: _Named = {}
    return [_case_of(node, named) for node in volume_nodes]


def _case_of(volume_node, named: _Named) -> str:
    frame = frame_of(volume_node)
    owner, attribute = volume_node, _ATTRIBUTE
    if frame is not None:
        owner, attribute = frame.sequence, f"{_ATTRIBUTE}.{frame.key}"
    opened = opened_case(volume_node) if frame is None else None
    if opened is not None:
        return opened.case
    by_name, name = _nodes_by_name(owner.GetClassName(), attribute, named), owner.GetAttribute(attribute)
    if name and name_problem(name) is None and _is_own(owner, attribute, name):
        nodes = by_name.setdefault(name, [])
        first = next((node for node in nodes if _is_own(node, attribute, name)), None)
        if first is None:
            # A volume that was removed from the scene keeps its name: it may be added again.
            nodes.append(owner)
        # A clone from a scene of an earlier version comes after its original.
        if first is None or first is owner:
            return name
    plain = usable_case_name(volume_node.GetName() + (f" {frame.value}" if frame else ""))
    # A cohort folder is used by several scenes: 'T1' of one patient must not be mixed up with 'T1' of another.
    name = f"{plain} {uuid.uuid4().hex[:8]}"
    _store_name(owner, attribute, name)
    by_name[name] = [owner]
    return name


def _nodes_by_name(class_name: str, attribute: str, named: _Named) -> dict[str, list[Any]]:
    """The nodes of a class in the scene by the name of a case in this attribute, in their order; kept in `named`."""
    key = class_name, attribute
    if key not in named:
        named[key] = {}
        for node in slicer.util.getNodesByClass(class_name):
            named[key].setdefault(node.GetAttribute(attribute), []).append(node)
    return named[key]


def _is_own(node, attribute: str, name: str) -> bool:
    """Whether the name of a case in this attribute was given to this node, and not to another that it has it from.

    A clone has the attributes of its original, and a volume that shows frames of a sequence has those of the frames.
    So a node refers to itself with each name that it was given. Scenes of earlier versions have no such references.
    """
    if node.GetNodeReferenceID(_role(name)) == node.GetID():
        return True
    return not node.GetAttribute(f"{attribute}.{_HAS_REFERENCE}")


def _store_name(node, attribute: str, name: str) -> None:
    node.SetAttribute(attribute, name)
    identifier = node.GetID()
    # A node that was never in a scene has no ID to refer to.
    node.SetAttribute(f"{attribute}.{_HAS_REFERENCE}", "1" if identifier else None)
    node.SetNodeReferenceID(_role(name), identifier)


def _role(name: str) -> str:
    """Of the reference of a node to itself; names may have characters that roles in scene files must not have."""
    return f"{_ROLE}.{hashlib.sha1(name.encode()).hexdigest()[:16]}"
