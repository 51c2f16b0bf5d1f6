"""Several volumes of the scene as the channels of one case: the volume that is drawn on, and others on its grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from ..core import BadInputError
from ..core.channels import MOST_CHANNELS, check_channels, on_grid_of_channels, resampled_to_channel
from ..core.messages import _
from ..core.strict_json import to_text
from .image_checksum import image_checksum
from .volume_nodes import geometry_of, image_of, require_scalar_volume, volumes_of_scene, vtk_matrix, world_geometry_of

_NAMES_ATTRIBUTE = "SparseAnnotate.Channels"
_ROLE = "SparseAnnotate.Channel"
_SELF_ROLE = "SparseAnnotate.ChannelsOf"


def channel_names(volume_node) -> tuple[str, ...]:
    """The names of a volume's channels, its own first; none where it is a case by itself."""
    text = volume_node.GetAttribute(_NAMES_ATTRIBUTE)
    # Cloning copies attributes and references.
    if not text or volume_node.GetNodeReferenceID(_SELF_ROLE) != volume_node.GetID():
        return ()
    return tuple(str(name) for name in json.loads(text))


def further_channels(volume_node) -> dict[str, Any]:
    """The volumes of the further channels by name, without those that have been removed from the scene."""
    names = channel_names(volume_node)[1:]
    nodes = [volume_node.GetNodeReference(f"{_ROLE}{place}") for place in range(len(names))]
    return {name: node for name, node in zip(names, nodes, strict=True) if node is not None}


def is_further_channel(volume_node) -> bool:
    """Whether a volume is a further channel of another one: then it is no case by itself."""
    return any(volume_node in further_channels(node).values() for node in volumes_of_scene() if node is not volume_node)


def set_channels(volume_node, channels: Mapping[str, Any]) -> list[str]:
    """Make volumes the channels of one case; returns sentences on those that were resampled.

    A channel on another grid is resampled once to the first one's grid by linear interpolation, as a new volume.

    Args:
        volume_node: the volume that is drawn on.
        channels: name to volume; the first one is `volume_node`. Only that one for a case that lacks all others; none
            for a case of a single image without channels.

    Raises BadInputError when names or volumes cannot be used; then nothing has been changed.
    """
    names = check_channels(tuple(channels))
    nodes = list(channels.values())
    if not nodes:
        _forget(volume_node)
        return []
    if nodes[0] is not volume_node:
        raise BadInputError(
            _("The first channel must be the volume that is drawn on, '{volume}'.").format(volume=volume_node.GetName())
        )
    for place, node in enumerate(nodes):
        require_scalar_volume(node)
        if node in nodes[:place]:
            raise BadInputError(_("The volume '{volume}' is given for two channels.").format(volume=node.GetName()))
        if node is not volume_node and channel_names(node):
            raise BadInputError(
                _("The volume '{volume}' has channels of its own, so it cannot be a channel of '{other}'.").format(
                    volume=node.GetName(), other=volume_node.GetName()
                )
            )
    if is_further_channel(volume_node):
        raise BadInputError(
            _("The volume '{volume}' is a channel of another volume, so it cannot have channels itself.").format(
                volume=volume_node.GetName()
            )
        )
    made: list[Any] = []
    notes: list[str] = []
    for name, node in zip(names[1:], nodes[1:], strict=True):
        on_grid = _on_grid(volume_node, name, node)
        made.append(on_grid)
        if on_grid is not node:
            notes.append(
                _("'{volume}' was resampled to the grid of '{first}', as '{made}'.").format(
                    volume=node.GetName(), first=volume_node.GetName(), made=on_grid.GetName()
                )
            )
    _forget(volume_node)
    # A role for each: of several references in one role, those after a removed one would move up.
    for place, node in enumerate(made):
        volume_node.SetNodeReferenceID(f"{_ROLE}{place}", node.GetID())
    volume_node.SetNodeReferenceID(_SELF_ROLE, volume_node.GetID())
    volume_node.SetAttribute(_NAMES_ATTRIBUTE, to_text(list(names)))
    return notes


def _forget(volume_node) -> None:
    for place in range(MOST_CHANNELS):
        volume_node.SetNodeReferenceID(f"{_ROLE}{place}", None)
    volume_node.SetNodeReferenceID(_SELF_ROLE, None)
    volume_node.SetAttribute(_NAMES_ATTRIBUTE, None)


def channel_images_of(volume_node) -> np.ndarray:
    """The image of a volume, (K, J, I); of several channels (C, K, J, I), without those that have been removed.

    Raises BadInputError for NaN or Inf, or when a channel is no longer on the volume's grid.
    """
    image, further = image_of(volume_node), further_channels(volume_node)
    if not further:
        return image
    return np.stack([image, *(channel_image_of(volume_node, name) for name in further)])


def channel_image_of(volume_node, name: str) -> np.ndarray:
    """The image of a further channel on the volume's grid, (K, J, I). Raises BadInputError."""
    node = further_channels(volume_node)[name]
    own, grid = world_geometry_of(node), world_geometry_of(volume_node)
    return on_grid_of_channels(image_of(node), own, grid, node.GetName())


def channels_stamp(volume_node) -> str:
    """A text that changes with the voxels and the grids of the further channels; '' without any."""
    return "|".join(
        f"{name}={node.GetID()},{node.GetImageData().GetMTime()},{hash(world_geometry_of(node))}"
        for name, node in further_channels(volume_node).items()
    )


def channels_checksum(volume_node) -> str:
    """A text computed from the voxels of a volume and its further channels, for telling whether they have changed."""
    own = image_checksum(volume_node)
    further = further_channels(volume_node)
    if not further:
        return own
    return "; ".join([own, *(f"{name} {image_checksum(node)}" for name, node in further.items())])


def _on_grid(volume_node, name: str, node):
    """The node, or a new one with its image on the volume's grid."""
    own, grid = world_geometry_of(node), world_geometry_of(volume_node)
    image = image_of(node)
    try:
        on_grid_of_channels(image, own, grid, node.GetName())
        return node
    except BadInputError:
        pass
    try:
        array = resampled_to_channel(image, own, grid)
    except BadInputError as error:
        raise BadInputError(
            _("The volume '{volume}' cannot be a channel of '{first}'. {problem}").format(
                volume=node.GetName(), first=volume_node.GetName(), problem=error.message
            )
        ) from error
    made = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} {name}")
    )
    made.SetIJKToRASMatrix(vtk_matrix(geometry_of(volume_node).matrix))
    made.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    made.CreateDefaultDisplayNodes()
    slicer.util.updateVolumeFromArray(made, array)
    return made
