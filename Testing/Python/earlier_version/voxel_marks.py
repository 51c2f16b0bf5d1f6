"""What tells an array of voxels from every other one, in a line of JSON."""

from __future__ import annotations

import zlib

import numpy as np

_MOST_VALUES = 8


def mark(array: np.ndarray) -> dict:
    """A checksum of a (K, J, I) array of small numbers; and how often each value occurs, where there are few."""
    array = np.ascontiguousarray(array, np.int32)
    values, counts = np.unique(array, return_counts=True)
    found = {"crc32": zlib.crc32(array.astype("<i4").tobytes())}
    if len(values) <= _MOST_VALUES:
        found["voxels"] = {str(value): int(count) for value, count in zip(values, counts, strict=True)}
    return found


def marks_of_segments(slicer, segmentation_node, volume_node) -> dict[str, dict]:
    """The mark of each segment of a segmentation, by its name, on the grid of a volume."""
    segments = segmentation_node.GetSegmentation()
    return {
        segments.GetSegment(key).GetName(): mark(
            slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, key, volume_node)
        )
        for key in segments.GetSegmentIDs()
    }
