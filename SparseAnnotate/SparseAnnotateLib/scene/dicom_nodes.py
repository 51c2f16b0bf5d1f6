"""What Slicer knows of DICOM: the files that a volume was loaded from, and the terminology of segments."""

from __future__ import annotations

import os

import numpy as np
import slicer
import vtk

from ..core import BadInputError
from ..core.dicom_codes import StructureCodes
from ..core.messages import _
from .segment_regions import whole_region
from .segmentation_nodes import masks_of, segment_ids
from .volume_nodes import geometry_of

_INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"  # set by Slicer's DICOM module
_TERMINOLOGY_TAG = "TerminologyEntry"


def dicom_files_of(volume_node) -> list[str]:
    """The files that Slicer's DICOM module loaded a volume from.

    Raises BadInputError when it was loaded from other files, or these are no longer in Slicer's DICOM database.
    """
    uids = (volume_node.GetAttribute(_INSTANCES_ATTRIBUTE) or "").split()
    name = volume_node.GetName()
    if not uids:
        raise BadInputError(
            _(
                "'{volume}' was not loaded from DICOM, so a DICOM segmentation has no series to refer to. Load it with "
                "Slicer's DICOM module."
            ).format(volume=name)
        )
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


def whole_masks(segmentation_node, volume_node) -> dict[str, np.ndarray]:
    """The segments that have voxels in a volume, by name: (K, J, I) bool on its grid.

    Raises BadInputError when two segments share a name, or the grids differ.
    """
    shape = geometry_of(volume_node).shape
    found: dict[str, np.ndarray] = {}
    for name, box, mask in masks_of(segmentation_node, volume_node, whole_region(shape)):
        if name in found:
            raise BadInputError(_("Two segments are named '{name}'. Rename one of them.").format(name=name))
        if mask.any():
            found[name] = np.zeros(shape, dtype=bool)
            found[name][box] = mask
    return found


def codes_of(segmentation_node) -> dict[str, StructureCodes]:
    """The codes in the terminology of each segment that has one, by the segment's name."""
    found: dict[str, StructureCodes] = {}
    for segment_id in segment_ids(segmentation_node):
        segment, tag = segmentation_node.GetSegmentation().GetSegment(segment_id), vtk.reference("")
        codes = StructureCodes.from_slicer(str(tag)) if segment.GetTag(_TERMINOLOGY_TAG, tag) else None
        if codes is not None:
            found[segment.GetName()] = codes
    return found


def colors_of(segmentation_node) -> dict[str, tuple[float, float, float]]:
    """Red, green and blue of each segment, from 0 to 1, by its name."""
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetSegment(segment_id) for segment_id in segment_ids(segmentation_node)]
    return {segment.GetName(): segment.GetColor() for segment in segments}
