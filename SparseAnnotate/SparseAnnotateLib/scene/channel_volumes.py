"""Several volumes of the scene as the channels of one case: the volume that is drawn on, and others on its grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer

from ..core import BadInputError
from ..core.channels import check_channels, on_grid_of_channels, resampled_to_channel, stacked
from ..core.messages import _
from .channel_references import channel_names, forget_channels, further_channels, has_channels, store_channels
from .confidence import is_confidence
from .kept_results import KeptResults
from .modality import modality_of, store_modality
from .node_names import savable
from .node_stamps import node_times
from .opened_case import opened_case
from .sequence_frames import frame_of
from .volume_nodes import geometry_of, image_of, is_offered, require_scalar_volume, vtk_matrix, world_geometry_of


def is_further_channel(volume_node) -> bool:
    """Whether a volume is a further channel of another one: then it is no case by itself."""
    return case_of_channel(volume_node) is not None


def case_of_channel(volume_node):
    """The volume of which this one is a further channel; None if it is not one."""
    return cases_of_channels().get(volume_node.GetID())


def cases_of_channels() -> dict[str, Any]:
    """The volume that is drawn on, by the node ID of each of its further channels, for all of the scene."""
    nodes, (further, _others) = _looked_through()
    return {nodes[channel].GetID(): nodes[case] for channel, case in further.items()}


def volumes_to_draw_on() -> list:
    """The volumes of the scene that can be drawn on; not the confidences of results, nor further channels."""
    nodes, (_further, others) = _looked_through()
    return [nodes[place] for place in others]


_Places = tuple[dict[int, int], list[int]]
_PLACES: KeptResults[_Places] = KeptResults()  # not the nodes, which would outlive their scene


def _looked_through() -> tuple[list, _Places]:
    """The scalar volumes of the scene, the places in it of further channels with their cases, and of other volumes.

    With hundreds of volumes this is asked several times for every click, so only a change makes it look again.
    """
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")

    def look() -> _Places:
        place_of = {node: place for place, node in enumerate(nodes)}
        offered = [node for node in nodes if is_offered(node)]
        cases = [node for node in offered if has_channels(node)]
        further = {place_of[node]: place_of[case] for case in cases for node in further_channels(case).values()}
        others = [place_of[node] for node in offered if not is_confidence(node)]
        return further, [place for place in others if place not in further]

    return nodes, _PLACES.of(None, node_times(nodes), look)


def set_channels(volume_node, channels: Mapping[str, Any], names: Sequence[str] = ()) -> list[str]:
    """Make volumes the channels of one case; returns sentences on those that were resampled.

    A channel on another grid is resampled once to the first one's grid by linear interpolation, as a new volume.

    Args:
        volume_node: the volume that is drawn on.
        channels: name to volume; the first one is `volume_node`. Only that one for a case that lacks all others; none
            for a case of a single image without channels.
        names: of all channels in their order, when the case lacks some of them; by default those of `channels`.

    Raises BadInputError when names or volumes cannot be used; then nothing has been changed.
    """
    given = dict(zip(check_channels(tuple(channels)), channels.values(), strict=True))
    names = check_channels(tuple(names or channels))
    _require_unopened(volume_node)
    if not given:
        forget_channels(volume_node)
        return []
    on_grid, notes = channels_on_grid(volume_node, given, names)
    store_channels(volume_node, names, on_grid)
    return notes


def channels_on_grid(volume_node, given: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Any], list[str]]:
    """The volumes of the further channels among `names`, None for missing ones, and sentences on resampled ones.

    Raises BadInputError when volumes cannot be the channels of one case; then nothing has been changed.
    """
    _require_volumes(volume_node, given, names)
    on_grid: list[Any] = []
    notes: list[str] = []
    try:
        for name in names[1:]:
            node = given.get(name)
            on_grid.append(_on_grid(volume_node, name, node) if node is not None else None)
    except BadInputError:
        remove_resampled(on_grid, list(given.values()))
        raise
    for name, made in zip(names[1:], on_grid, strict=True):
        if made is not given.get(name):
            notes.append(
                _("'{volume}' was resampled to the grid of '{first}', as '{made}'.").format(
                    volume=given[name].GetName(), first=volume_node.GetName(), made=made.GetName()
                )
            )
    return on_grid, notes


def remove_resampled(on_grid: Sequence[Any], given: Sequence[Any]) -> None:
    """Remove the volumes that `channels_on_grid` has made of others, which are `given`."""
    for node in on_grid:
        if node is not None and node not in given:
            slicer.mrmlScene.RemoveNode(node)


def _require_unopened(volume_node) -> None:
    """Raise BadInputError for a volume that was opened from a cohort folder."""
    if opened_case(volume_node) is not None:
        raise BadInputError(
            _(
                "'{volume}' was opened from a cohort folder, which has its channels. To change them, make a new cohort "
                "of the images with 'sparse-annotate create --channels'."
            ).format(volume=volume_node.GetName())
        )


def _require_volumes(volume_node, channels: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise BadInputError when these volumes cannot be the channels of one case."""
    nodes = list(channels.values())
    if nodes[0] is not volume_node or names[0] != next(iter(channels)):
        raise BadInputError(
            _("The first channel must be the volume that is drawn on, '{volume}'.").format(volume=volume_node.GetName())
        )
    unknown = [name for name in channels if name not in names]
    if unknown:
        raise BadInputError(
            _("The channel '{name}' is not one of the names ({names}).").format(name=unknown[0], names=", ".join(names))
        )
    for place, node in enumerate(nodes):
        require_scalar_volume(node)
        if frame_of(node) is not None:
            raise BadInputError(
                _(
                    "'{volume}' shows a frame of a sequence, and each frame is a case of its own. Save the frame as a "
                    "volume to use it as a channel."
                ).format(volume=node.GetName())
            )
        if node in nodes[:place]:
            raise BadInputError(_("The volume '{volume}' is given for two channels.").format(volume=node.GetName()))
        if node is volume_node:
            continue
        if channel_names(node):
            raise BadInputError(
                _("The volume '{volume}' has channels of its own, so it cannot be a channel of '{other}'.").format(
                    volume=node.GetName(), other=volume_node.GetName()
                )
            )
        other = case_of_channel(node)
        if other is not None and other is not volume_node:
            raise BadInputError(
                _("The volume '{volume}' is a channel of '{first}' already. Choose another one.").format(
                    volume=node.GetName(), first=other.GetName()
                )
            )
        if opened_case(node) is not None:
            raise BadInputError(
                _("'{volume}' is a case of a cohort folder by itself, so it cannot be a channel of '{other}'.").format(
                    volume=node.GetName(), other=volume_node.GetName()
                )
            )
    if is_further_channel(volume_node):
        raise BadInputError(
            _("The volume '{volume}' is a channel of another volume, so it cannot have channels itself.").format(
                volume=volume_node.GetName()
            )
        )


def channel_images_of(volume_node) -> np.ndarray:
    """The image of a volume, (K, J, I); of several channels (C, K, J, I), without those that have been removed.

    Raises BadInputError for NaN or Inf, or when a channel is no longer on the volume's grid.
    """
    images = images_of_channels(volume_node)
    return images[0] if len(images) == 1 else stacked(images)


def images_of_channels(volume_node) -> list[np.ndarray]:
    """The (K, J, I) image of each channel of a volume, which is not to be modified. Raises as `channel_images_of`."""
    further = further_channels(volume_node)
    return [image_of(volume_node), *(channel_image_of(volume_node, name) for name in further)]


def channel_image_of(volume_node, name: str) -> np.ndarray:
    """The image of a further channel on the volume's grid, (K, J, I). Raises BadInputError."""
    return image_on_grid(volume_node, further_channels(volume_node)[name])


def image_on_grid(volume_node, node) -> np.ndarray:
    """The image of a volume that lies on the grid of another one, (K, J, I), turned to it. Raises BadInputError."""
    own, grid = world_geometry_of(node), world_geometry_of(volume_node)
    return on_grid_of_channels(image_of(node), own, grid, node.GetName())


def channels_stamp(volume_node) -> str:
    """A text that changes with the names, voxels and grids of the channels; '' for a case by itself."""
    names, further = channel_names(volume_node), further_channels(volume_node)
    return "|".join(f"{name}={_stamp(further[name]) if name in further else ''}" for name in names)


def _stamp(node) -> str:
    return f"{node.GetID()},{node.GetImageData().GetMTime()},{hash(world_geometry_of(node))}"


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
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(savable(f"{volume_node.GetName()} {name}"))
    )
    made.SetIJKToRASMatrix(vtk_matrix(geometry_of(volume_node).matrix))
    made.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    made.CreateDefaultDisplayNodes()
    slicer.util.updateVolumeFromArray(made, array)
    store_modality(made, modality_of(node))
    return made
