"""Finds quickly where the labels of a segmentation have changed: for each stroke, in volumes of any size."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np

from ..core.pieces import result_of, slabs
from ..core.voxel_boxes import Box, bounding_box, enclosing_box
from .segmentation_layers import layers_of
from .segmentation_nodes import aligned_voxels


def changed_part(
    segmentation_node, volume_node, values: Mapping[str, int], before: np.ndarray
) -> tuple[Box, np.ndarray] | None:
    """The smallest part of the volume with all changed voxels, and the labels there now; None when nothing changed.

    Args:
        values: label value of each segment name. before: (K, J, I) labels as they were.

    Raises BadInputError when the segmentation does not have the volume's grid.
    """
    layers = _layers(segmentation_node, volume_node, values, before.dtype)
    part = result_of(_comparing(layers, before))
    if part is None:
        return None
    _, rows, columns = part
    changed = [_slice(layers, index, before[index])[rows, columns] for index in range(part[0].start, part[0].stop)]
    return part, np.stack(changed)


def finding_changed(
    segmentation_node, volume_node, values: Mapping[str, int], before: np.ndarray
) -> Generator[None, None, Box | None]:
    """The part of `changed_part` in pieces, without meaning when the segmentation was changed between two of them."""
    return (yield from _comparing(_layers(segmentation_node, volume_node, values, before.dtype), before))


def _comparing(layers: list[_Layer], before: np.ndarray) -> Generator[None, None, Box | None]:
    boxes = []
    for slab in slabs(before.shape, before.itemsize):
        for index in range(slab.start, slab.stop):
            now = _slice(layers, index, before[index])
            if np.array_equal(now, before[index]):
                continue
            found = bounding_box((now != before[index])[None])
            if found is not None:
                boxes.append((slice(index, index + 1), *found[1:]))
        yield
    return enclosing_box(boxes)


_Layer = tuple[np.ndarray, tuple[int, ...], np.ndarray | None]
"""Voxels of a layer in the volume's orientation, its first voxel in the volume, and the label of each of its values.

None: its values are the labels.
"""


def _layers(segmentation_node, volume_node, values: Mapping[str, int], dtype) -> list[_Layer]:
    segmentation = segmentation_node.GetSegmentation()
    by_layer: dict[int, list[str]] = {}
    layers = layers_of(segmentation_node)
    for segment_id, layer in layers.items():
        by_layer.setdefault(id(layer), []).append(segment_id)
    found: list[_Layer] = []
    for segments in by_layer.values():
        layer = layers[segments[0]]
        array, starts = aligned_voxels(layer, segmentation_node, volume_node)
        known = [segmentation.GetSegment(segment_id) for segment_id in segments]
        label_of = np.zeros(max(int(array.max(initial=0)), *(s.GetLabelValue() for s in known)) + 1, dtype=dtype)
        for segment in known:
            label_of[segment.GetLabelValue()] = values.get(segment.GetName(), 0)
        is_same = np.array_equal(label_of, np.arange(len(label_of)))
        found.append((array, starts, None if is_same else label_of))
    return found


def _slice(layers: list[_Layer], index: int, like: np.ndarray) -> np.ndarray:
    """(J, I): the labels of a slice of the volume."""
    labels = np.zeros_like(like)
    for array, starts, label_of in layers:
        if not 0 <= index - starts[0] < len(array):
            continue
        layer = array[index - starts[0]]
        low = [max(start, 0) for start in starts[1:]]
        high = [
            max(min(s + n, size), a) for s, n, size, a in zip(starts[1:], layer.shape, like.shape, low, strict=True)
        ]
        rows, columns = (slice(a - s, b - s) for a, b, s in zip(low, high, starts[1:], strict=True))
        shown = layer[rows, columns] if label_of is None else label_of[layer[rows, columns]]
        target = labels[low[0] : high[0], low[1] : high[1]]
        if len(layers) == 1:
            target[...] = shown
        else:
            np.copyto(target, shown, where=shown > 0, casting="unsafe")
    return labels
