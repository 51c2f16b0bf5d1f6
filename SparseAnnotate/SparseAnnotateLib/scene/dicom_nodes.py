"""What Slicer knows of DICOM: the files that a volume was loaded from; and segments as masks, for writing them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import slicer

from ..core import BadInputError
from ..core.messages import _
from .segment_regions import whole_region
from .segmentation_nodes import masks_of
from .volume_nodes import geometry_of

_INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"  # set by Slicer's DICOM module


def why_not_from_dicom(volume_node) -> str | None:
    """Why there is no DICOM series that a segmentation of a volume could refer to; None if there is one."""
    if _instances(volume_node):
        return None
    return _(
        "'{volume}' was not loaded from DICOM, so a DICOM segmentation has no series to refer to. Load it with "
        "Slicer's DICOM module."
    ).format(volume=volume_node.GetName())


def _instances(volume_node) -> list[str]:
    return (volume_node.GetAttribute(_INSTANCES_ATTRIBUTE) or "").split()


def dicom_files_of(volume_node) -> list[str]:
    """The files that Slicer's DICOM module loaded a volume from.

    Raises BadInputError when it was loaded from other files, or these are no longer in Slicer's DICOM database.
    """
    why_not = why_not_from_dicom(volume_node)
    if why_not is not None:
        raise BadInputError(why_not)
    uids, name = _instances(volume_node), volume_node.GetName()
    database = getattr(slicer, "dicomDatabase", None)
    paths = [] if database is None else [database.fileForInstance(uid) for uid in uids]
    missing = len(uids) - sum(bool(path) and os.path.isfile(path) for path in paths)
    if missing:
        raise BadInputError(
            _(
                "{missing} of the {count} DICOM files of '{volume}' are not in Slicer's DICOM database or have been "
                "moved. Import them again with the DICOM module."
            ).format(missing=missing, count=len(uids), volume=name)
        )
    return list(paths)


def reading_whole_masks(segmentation_node, volume_node) -> Iterator[tuple[str, np.ndarray]]:
    """The segments that have voxels in a volume, one after the other: name, and (K, J, I) bool on its grid.

    Raises BadInputError when two segments share a name, or the grids differ.
    """
    shape = geometry_of(volume_node).shape
    found: set[str] = set()
    for name, box, mask in masks_of(segmentation_node, volume_node, whole_region(shape)):
        if name in found:
            raise BadInputError(_("Two segments are named '{name}'. Rename one of them.").format(name=name))
        if mask.any():
            found.add(name)
            whole = np.zeros(shape, dtype=bool)
            whole[box] = mask
            yield name, whole
