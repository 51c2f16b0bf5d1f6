"""The ledger inside the scene: attributes of the segmentation node, so that it is saved and copied with it.

With the ledger goes the voxel grid it was made for. Slicer may store a volume's axes in another order or direction than
before (it turns left-handed volumes round when it loads them); the ledger's slices are then found again by position.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import slicer

from ..core import BadInputError, Ledger, VolumeGeometry
from ..core.planes import Plane, slice_centre_ras
from ..core.strict_json import parse_json, to_text
from .volume_nodes import geometry_of

_LEDGER_ATTRIBUTE = "SparseAnnotate.Ledger"
_GRID_ATTRIBUTE = "SparseAnnotate.Grid"


def stored_ledger(segmentation_node) -> Ledger:
    """The segmentation's ledger, for its volume's grid as it is now; an empty one when none is stored.

    Raises BadInputError when it is damaged, or its slices are no longer slices of the volume.
    """
    text = segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE)
    if not text:
        return Ledger()
    name = segmentation_node.GetName()
    ledger = _parsed(text, Ledger, f"the ledger stored in the segmentation '{name}'")
    grid, volume = segmentation_node.GetAttribute(_GRID_ATTRIBUTE), _volume_of(segmentation_node)
    if not grid or volume is None:
        return ledger
    made_for = _parsed(grid, VolumeGeometry, f"the grid stored in the segmentation '{name}'")
    return _found_again(ledger, made_for, geometry_of(volume), name)


@lru_cache(maxsize=4096)
def _parsed(text: str, cls, what: str):
    """The panel reads the ledgers of hundreds of volumes with every click, and few of them have changed."""
    return parse_json(text, cls, what)


def store_ledger(segmentation_node, ledger: Ledger) -> None:
    """Store the ledger in the segmentation node. Raises BadInputError when there is no node."""
    if segmentation_node is None:
        raise BadInputError("No segmentation is selected, so there is no place to keep the ledger. Create one first.")
    segmentation_node.SetAttribute(_LEDGER_ATTRIBUTE, to_text(ledger))
    volume = _volume_of(segmentation_node)
    if volume is not None:
        segmentation_node.SetAttribute(_GRID_ATTRIBUTE, to_text(geometry_of(volume)))


def _volume_of(segmentation_node):
    node = segmentation_node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    return node if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData() else None


def _found_again(ledger: Ledger, old: VolumeGeometry, new: VolumeGeometry, name: str) -> Ledger:
    if old == new or not ledger.entries:
        return ledger
    to_new = np.linalg.inv(new.matrix)
    entries = []
    for entry in ledger.entries:
        centre = slice_centre_ras(old, entry.plane.array_axis(old), entry.index)
        ijk = (to_new @ np.array([*centre, 1.0]))[:3]
        axis = entry.plane.array_axis(new)
        index = ijk[2 - axis]
        parallel = abs(old.directions[:, entry.plane.array_axis(old)] @ new.directions[:, axis])
        same_length = Plane.slice_count(entry.plane, old) == Plane.slice_count(entry.plane, new)
        if parallel < 1 - 1e-4 or abs(index - round(index)) > 0.05 or not same_length:
            raise BadInputError(
                f"The voxel grid of the volume has changed since slices were marked in the segmentation '{name}', so "
                "they are no longer slices of the volume. Go back to the volume as it was, or begin a new segmentation."
            )
        entries.append(replace(entry, index=round(float(index))))
    return Ledger(tuple(entries))
