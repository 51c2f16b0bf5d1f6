"""Which image the slices of a case were drawn on, and how the image that is there now differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .geometry import VolumeGeometry
from .messages import _, joined, listed

_MOST_NAMED = 5


@dataclass(frozen=True)
class DrawnOn:
    """The image that a case was drawn on, or its first channel.

    Attributes:
        file: fingerprint of its file; see `image_fingerprint`.
        voxels: fingerprint of its voxels, for a file that was compressed or saved again; see `voxel_fingerprint`. ''
            when they cannot be used, because some are not numbers, or the file was replaced before they were read.
        geometry: its grid.
    """

    file: str
    voxels: str
    geometry: VolumeGeometry


@dataclass(frozen=True)
class ImageChange:
    """How a case's image differs from the one that was drawn on.

    Attributes:
        text: a clause, such as 'its voxels have other values'.
        is_of_grid: whether the grid differs, so that the drawn slices cannot belong to the image that is there now.
    """

    text: str
    is_of_grid: bool = False


@dataclass(frozen=True)
class AcceptedImage:
    """A case whose image was accepted: what was drawn on it counts as drawn on that image now.

    Attributes:
        change: how it differs from the one that was drawn on, as a clause.
        written: when the file of the accepted image was last written, in local time, such as '2026-05-04 13:07'.
    """

    case: str
    change: str
    written: str


def changed_images_sentence(changes: Mapping[str, ImageChange]) -> str:
    """A message about cases whose images are not those that were drawn on, with what to do.

    Args:
        changes: case to how its image differs; at least one.
    """
    if len(changes) == 1:
        ((name, change),) = changes.items()
        what = _("The image of case '{case}' is not the one that was drawn on: {change}.").format(
            case=name, change=change.text
        )
    else:
        cases = [_("'{case}' ({change})").format(case=name, change=change.text) for name, change in changes.items()]
        what = _("The images of {count} cases are not those that were drawn on: {cases}.").format(
            count=len(changes), cases=listed(cases, _MOST_NAMED)
        )
    back = _("Put the earlier image back.") if len(changes) == 1 else _("Put the earlier images back.")
    if all(change.is_of_grid for change in changes.values()):
        return joined(" ", [what, back, _("An image on another grid is a new case: add it under another name.")])
    accept = _(
        "Or, if what was drawn also fits what is there now, accept it with 'sparse-annotate accept-image', or open the "
        "case in Slicer, look at its slices, and mark one of them again."
    )
    return joined(" ", [what, back, accept])
