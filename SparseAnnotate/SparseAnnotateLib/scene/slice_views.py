"""Slice views: going to a slice of a volume."""

from __future__ import annotations

import slicer

from ..core import Plane
from ..core.planes import slice_centre_ras
from .volume_nodes import geometry_of, world_geometry_of

_ORIENTATIONS = {Plane.AXIAL: "Axial", Plane.CORONAL: "Coronal", Plane.SAGITTAL: "Sagittal"}


def jump_to_slice(slice_node, volume_node, plane: Plane, index: int) -> None:
    """Show a volume in a slice view, turned to the volume's own plane (oblique, too), at the slice."""
    axis, world = plane.array_axis(geometry_of(volume_node)), world_geometry_of(volume_node)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == slice_node.GetLayoutName():
            composite.SetBackgroundVolumeID(volume_node.GetID())
    # Under a parent transform the volume's axial slices may lie coronally in the world.
    shown = next(p for p in Plane if p.array_axis(world) == axis)
    slice_node.SetOrientation(_ORIENTATIONS[shown])
    # RotateToVolumePlane turns to whichever of the volume's planes is nearest to the orientation just set.
    slice_node.RotateToVolumePlane(volume_node)
    slice_node.JumpSliceByCentering(*slice_centre_ras(world, axis, index))
