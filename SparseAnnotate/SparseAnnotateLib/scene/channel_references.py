"""Which volumes of the scene are the further channels of a case: kept as references in the volume that is drawn on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..core.channels import MOST_CHANNELS, missing_channels
from ..core.strict_json import to_text
from .image_checksum import image_checksum

_NAMES_ATTRIBUTE = "SparseAnnotate.Channels"
_ROLE = "SparseAnnotate.Channel"
_SELF_ROLE = "SparseAnnotate.ChannelsOf"


def has_channels(volume_node) -> bool:
    """Whether channels were stored in a volume; a clone of it has them, too."""
    return volume_node.GetAttribute(_NAMES_ATTRIBUTE) is not None


def channel_names(volume_node) -> tuple[str, ...]:
    """The names of a volume's channels, its own first; none where it is a case by itself."""
    text = volume_node.GetAttribute(_NAMES_ATTRIBUTE)
    # Cloning copies attributes and references.
    if not text or volume_node.GetNodeReferenceID(_SELF_ROLE) != volume_node.GetID():
        return ()
    return tuple(str(name) for name in json.loads(text))


def further_channels(volume_node) -> dict[str, Any]:
    """The volumes of the further channels by name; without those that were removed, or whose file was not found."""
    names = channel_names(volume_node)[1:]
    nodes = [volume_node.GetNodeReference(f"{_ROLE}{place}") for place in range(len(names))]
    found = zip(names, nodes, strict=True)
    return {name: node for name, node in found if node is not None and node.GetImageData() is not None}


def missing_channels_of(volume_node) -> list[str]:
    """The names of the further channels that a volume's case lacks."""
    return missing_channels(tuple(further_channels(volume_node)), channel_names(volume_node)[1:])


def store_channels(volume_node, names: Sequence[str], nodes: Sequence[Any]) -> None:
    """Store the names of all channels, and the volumes of the further ones, None where one is missing."""
    forget_channels(volume_node)
    # A role for each: of several references in one role, those after a removed one would move up.
    for place, node in enumerate(nodes):
        volume_node.SetNodeReferenceID(f"{_ROLE}{place}", node.GetID() if node is not None else None)
    volume_node.SetNodeReferenceID(_SELF_ROLE, volume_node.GetID())
    volume_node.SetAttribute(_NAMES_ATTRIBUTE, to_text(list(names)))


def forget_channels(volume_node) -> None:
    """Make a volume a case by itself."""
    for place in range(MOST_CHANNELS):
        volume_node.SetNodeReferenceID(f"{_ROLE}{place}", None)
    volume_node.SetNodeReferenceID(_SELF_ROLE, None)
    volume_node.SetAttribute(_NAMES_ATTRIBUTE, None)


def channels_checksum(volume_node) -> str:
    """A text computed from the voxels of a volume and its further channels, for telling whether they have changed."""
    own = image_checksum(volume_node)
    further = further_channels(volume_node)
    if not further:
        return own
    return "; ".join([own, *(f"{name} {image_checksum(node)}" for name, node in further.items())])
