"""Where slices are drawn, what is said of them, and going there."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from .. import scene
from ..core import BadInputError, Plane, SliceState
from .changing import ChangingLogic

STARTS = [start.value for start in scene.Start]
"""What the drawing of a slice can start from."""


class DrawingLogic(ChangingLogic):
    """The segmentation that is drawn in, and the ledger of its slices."""

    def segmentationNode(self, volumeNode):
        """The segmentation in which slices of the volume are drawn; made when there is none."""
        return scene.annotated_segmentation(volumeNode, create=True)

    def drawnIn(self, volumeNode):
        """The segmentation in which slices of the volume are drawn, or None when there is none yet."""
        return scene.annotated_segmentation(volumeNode)

    def hasSegments(self, volumeNode) -> bool:
        """True when there is a segment to draw in."""
        segmentation = scene.annotated_segmentation(volumeNode)
        return segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0

    def useSegmentation(self, volumeNode, segmentationNode) -> None:
        """Draw slices of the volume in this segmentation from now on; it must have the volume's voxel grid."""
        scene.use_segmentation(volumeNode, segmentationNode)

    def mendGeometry(self, volumeNode, segmentationNode):
        """A copy of a segmentation on the volume's voxel grid, so that a slice painted in it is a slice of the volume.

        It has everything the segmentation has, at the same place; see `scene.mended_copy`. The segmentation itself
        stays as it is: what is finer than the volume, or outside it, is not in the copy, nor are marked slices that
        are no slices of the volume.
        """
        return scene.mended_copy(segmentationNode, volumeNode)

    def ledgerProblem(self, volumeNode, segmentationNode=None) -> str | None:
        """Why the slices marked in a segmentation are no slices of the volume, as a sentence; None when they are.

        Without a segmentation: that of the volume.
        """
        segmentation = segmentationNode or scene.annotated_segmentation(volumeNode)
        try:
            if segmentation is not None:
                scene.stored_ledger(segmentation, volumeNode)
        except BadInputError as error:
            return str(error)
        return None

    def markedSliceCount(self, segmentationNode) -> int:
        """How many slices have been marked as drawn or empty in a segmentation."""
        return scene.marked_slice_count(segmentationNode)

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

    def geometryProblem(self, volumeNode, segmentationNode) -> str | None:
        """Why slices painted in a segmentation are not slices of the volume, as a sentence; None when they are."""
        return scene.geometry_problem(segmentationNode, volumeNode)

    def jumpToSlice(self, volumeNode, plane: str, index: int, sliceNode=None) -> None:
        """Show a slice in a slice view: `sliceNode`, or the one for its plane. The other views cut through it."""
        plane = Plane.named(plane)
        scene.jump_to_slice(sliceNode or scene.slice_view_for(plane), volumeNode, plane, index)

    def sliceShown(self, volumeNode, plane: str) -> int | None:
        """Index of the slice of a volume that the plane's slice view shows; None when it shows none."""
        return scene.slice_shown(volumeNode, Plane.named(plane))

    def startSlice(self, volumeNode, plane: str, index: int, start: str) -> str:
        """Put something onto a slice that is to be drawn, so that it need only be corrected; `undo` takes it back.

        `start` is one of STARTS: the nearest drawn slice, the last fill, or the last result of a model, for each
        segment that is drawn in; or nothing, which empties the slice. Where a decided slice of another plane crosses
        it, everything stays. What it was started from is noted in the ledger, and returned.
        """
        plane, start = Plane.named(plane), scene.Start(start)
        masks, source = scene.start_masks(volumeNode, plane, index, start)
        segmentation = scene.annotated_segmentation(volumeNode)
        names = scene.segment_names(segmentation)
        whole = scene.whole_slice(masks, names, volumeNode, plane, index)
        self._change(
            volumeNode,
            segmentation,
            lambda editor: scene.put_slice(segmentation, volumeNode, plane, index, whole, editor),
        )
        scene.note_start(volumeNode, plane, index, source)
        return source

    def sliceMark(self, volumeNode, plane: str, index: int) -> int:
        """A number that changes with what is drawn on a slice; 0 when nothing is."""
        mark = 0
        for name, mask in sorted(self.sliceMasks(volumeNode, plane, index).items()):
            mark = zlib.crc32(mask.tobytes(), zlib.crc32(name.encode(), mark))
        return mark

    def sliceState(self, volumeNode, plane: str, index: int) -> str | None:
        """What the ledger says of a slice: 'to do', 'drawn', 'empty', 'skipped'; None when it does not name it."""
        entry = self.ledger(volumeNode).entry(Plane.named(plane), index)
        return entry.state.value if entry is not None else None

    def watchDrawing(
        self, segmentationNode, onVoxels: Callable[[], None], onSegments: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `onVoxels` whenever voxels of a segmentation change, `onSegments` when segments come, go or are named
        anew; returns a function that ends it."""
        return scene.watch_segmentation(segmentationNode, onVoxels, onSegments)

    def watchViews(self, onMoved: Callable[[], None]) -> Callable[[], None]:
        """Call `onMoved` whenever a slice view shows another slice; returns a function that ends it."""
        return scene.watch_slice_views(onMoved)

    def sliceMasks(self, volumeNode, plane: str, index: int) -> dict:
        """What is drawn on a slice: a (rows, columns) bool mask for each segment that has voxels there."""
        segmentation = scene.annotated_segmentation(volumeNode)
        return (
            scene.slice_masks(segmentation, volumeNode, Plane.named(plane), index) if segmentation is not None else {}
        )

    def changedVoxels(self, volumeNode, plane: str, index: int, before: dict) -> int:
        """In how many voxels a slice differs from what `sliceMasks` said before."""
        now = self.sliceMasks(volumeNode, plane, index)
        nothing = False
        return sum(int((now.get(name, nothing) ^ before.get(name, nothing)).sum()) for name in {*now, *before})

    def segmentName(self, segmentationNode, segmentId: str) -> str:
        """Name of a segment; '' when there is none."""
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId) if segmentationNode and segmentId else None
        return segment.GetName() if segment is not None else ""

    def segmentId(self, segmentationNode, name: str) -> str:
        """ID of the segment of that name; '' when there is none."""
        return segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name) if name else ""

    def addSegmentsLike(self, volumeNode, otherVolumeNode) -> list[str]:
        """Add to a volume's segmentation the segments of another volume's that it lacks, empty; returns their names.

        Names, colours and terminology are the same, so that one model learns them from both volumes.
        """
        other = scene.annotated_segmentation(otherVolumeNode)
        if other is None:
            raise BadInputError(f"'{otherVolumeNode.GetName()}' has no segmentation that is drawn in.")
        return scene.add_segments_like(scene.annotated_segmentation(volumeNode, create=True), other)

    def showOnlyVolume(self, volumeNode, volumeNodes: Sequence) -> None:
        """Show what was drawn in one volume, and its newest result, and nothing of the other volumes."""
        scene.show_only_volume(volumeNode, volumeNodes)

    def segmentEditorNode(self):
        """The node that holds the settings of the module's own Segment Editor."""
        return scene.segment_editor_node()

    def showMarkers(self, volumeNode) -> None:
        """Show thin lines in the slice views where drawn (green) and recommended (orange) slices cross them."""
        scene.show_markers(volumeNode, self.ledger(volumeNode))

    def hideMarkers(self) -> None:
        """Take the lines of `showMarkers` away."""
        scene.hide_markers()
