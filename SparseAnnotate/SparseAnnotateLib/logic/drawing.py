"""Where slices are drawn, what is said of them, and going there."""

from __future__ import annotations

import slicer

from .. import scene
from ..core import BadInputError, Plane, SliceState
from .session import SessionLogic


class DrawingLogic(SessionLogic):
    """The segmentation that is drawn in, and the ledger of its slices."""

    def segmentationNode(self, volumeNode):
        """The segmentation in which slices of the volume are drawn; made when there is none."""
        return scene.annotated_segmentation(volumeNode, create=True)

    def drawnIn(self, volumeNode):
        """The segmentation in which slices of the volume are drawn, or None when there is none yet."""
        return scene.annotated_segmentation(volumeNode)

    def useSegmentation(self, volumeNode, segmentationNode) -> None:
        """Draw slices of the volume in this segmentation from now on; it must have the volume's voxel grid."""
        scene.use_segmentation(volumeNode, segmentationNode)

    def mendGeometry(self, volumeNode, segmentationNode) -> None:
        """Give a segmentation the volume's voxel grid, so that a slice painted in it is a slice of the volume."""
        scene.mend_geometry(segmentationNode, volumeNode)

    def markDrawn(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Say that a slice is completely drawn; without any label on it, it counts as empty. Returns its state."""
        return scene.mark_decided(volumeNode, Plane.named(plane), index, seconds).value

    def markEmpty(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Say that no structure is on a slice. It must not hold any label."""
        return scene.mark_empty(volumeNode, Plane.named(plane), index, seconds).value

    def markSkipped(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Put a slice aside: it is neither drawn nor asked for again until slices are recommended anew."""
        return scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.SKIPPED, seconds).value

    def markToDo(self, volumeNode, plane: str, index: int) -> str:
        """Take back what was said of a slice."""
        return scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.TODO).value

    def jumpToSlice(self, volumeNode, plane: str, index: int, sliceNode=None) -> None:
        """Show a slice in a slice view: `sliceNode`, or Slicer's red one."""
        sliceNode = sliceNode or slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        if sliceNode is None:
            raise BadInputError("There is no slice view to show the slice in.")
        scene.jump_to_slice(sliceNode, volumeNode, Plane.named(plane), index)
