"""Detects and converts segments that are stored as surfaces, contours or fractions, not as binary labelmaps."""

from __future__ import annotations

import slicer

from ..core import BadInputError
from ..core.messages import _
from .volume_nodes import require_scalar_volume
from .voxel_grids import volume_layer

BINARY_LABELMAP = "Binary labelmap"


def other_representation(segmentation_node) -> str | None:
    """Name of the representation that the segments are stored as; None when it is a binary labelmap.

    A segment without a binary labelmap may be empty, or may hold a surface or contours; empty segments do not count.
    """
    segmentation = segmentation_node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    for number in range(segmentation.GetNumberOfSegments()):
        names = _representations(segmentation.GetNthSegment(number))
        if source and source != BINARY_LABELMAP and source in names:
            return source
        if names and BINARY_LABELMAP not in names:
            return names[0]
    return None


def has_only_labelmaps(segmentation_node) -> bool:
    """True when no segment has anything but a binary labelmap, such as a surface, even an empty one."""
    segmentation = segmentation_node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        names: list[str] = []
        segmentation.GetNthSegment(number).GetContainedRepresentationNames(names)
        if not set(names) <= {BINARY_LABELMAP}:
            return False
    return True


def binary_labelmap_copy(segmentation_node, volume_node):
    """A vtkSegmentation with a binary labelmap of every segment, made on the volume's voxels; the node is not changed.

    The copy has the node's coordinates. Raises BadInputError, naming the node, when Slicer cannot convert a segment.
    """
    require_scalar_volume(volume_node)
    stored_as = other_representation(segmentation_node)
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation_node.GetSegmentation())
    if stored_as is None:
        return copy
    converter = slicer.vtkSegmentationConverter
    size = volume_node.GetImageData().GetDimensions()
    grid = volume_layer([bound for n in size for bound in (0, n - 1)], segmentation_node, volume_node)
    copy.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(grid)
    )
    # The volume's own voxels are wanted, not finer ones.
    copy.SetConversionParameter("Oversampling factor", "1")
    segments = [copy.GetNthSegment(number) for number in range(copy.GetNumberOfSegments())]
    filled = [segment for segment in segments if _representations(segment)]
    copy.SetSourceRepresentationName(stored_as)
    copy.RemoveRepresentation(BINARY_LABELMAP)
    done = copy.CreateRepresentation(BINARY_LABELMAP)
    missing = [segment.GetName() for segment in filled if segment.GetRepresentation(BINARY_LABELMAP) is None]
    if not done or missing:
        names = ", ".join(f"'{name}'" for name in missing[:5]) or _("its segments")
        raise BadInputError(
            _(
                "The segmentation '{segmentation}' is stored as '{representation}', and Slicer cannot convert {names} "
                "to a binary labelmap. Convert the segmentation in the Segmentations module (contours need the "
                "SlicerRT extension), or choose another segmentation."
            ).format(segmentation=segmentation_node.GetName(), representation=stored_as, names=names)
        )
    copy.SetSourceRepresentationName(BINARY_LABELMAP)
    return copy


def _representations(segment) -> list[str]:
    """Names of the representations of a segment that are not empty."""
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    return [name for name in names if not _is_empty(segment.GetRepresentation(name))]


def _is_empty(data) -> bool:
    if data is None:
        return True
    return bool(data.IsEmpty()) if hasattr(data, "IsEmpty") else data.GetNumberOfPoints() == 0
