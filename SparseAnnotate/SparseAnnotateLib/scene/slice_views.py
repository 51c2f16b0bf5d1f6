"""Slice views: going to a slice of a volume."""

from __future__ import annotations

import slicer

from ..core import Plane
from ..core.planes import slice_centre_ras
from .volume_nodes import geometry_of

_ORIENTATIONS = {Plane.AXIAL: "Axial", Plane.CORONAL: "Coronal", Plane.SAGITTAL: "Sagittal"}


def jump_to_slice(slice_node, volume_node, plane: Plane, index: int) -> None:
    """Show a volume in a slice view, turned to the volume's own plane (oblique, too), at the slice."""
    geometry = geometry_of(volume_node)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == slice_node.GetLayoutName():
            composite.SetBackgroundVolumeID(volume_node.GetID())
    slice_node.SetOrientation(_ORIENTATIONS[plane])
    # RotateToVolumePlane turns to whichever of the volume's planes is nearest to the orientation just set.
    slice_node.RotateToVolumePlane(volume_node)
    slice_node.JumpSliceByCentering(*slice_centre_ras(geometry, plane.array_axis(geometry), index))
