"""The layers of a segmentation: images that hold the voxels of one or several segments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


def segment_ids(segmentation_node) -> list[str]:
    """IDs of all segments, in their order."""
    segmentation = segmentation_node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def new_segment_id(segmentation_node, name: str) -> str:
    """A segment ID that is not used yet: the name, with '_' for characters with which Slicer spoils a saved scene.

    Slicer writes the IDs into the display properties of a segmentation: with an '&' there, the scene cannot be opened
    again, and '|', ':' and others separate what is written.
    """
    return str(segmentation_node.GetSegmentation().GenerateUniqueSegmentID(re.sub(r"[^\w .-]", "_", name)))


def layers_of(segmentation_node) -> dict:
    """Segment ID to the image that holds the segment's voxels (shared or not); empty segments are left out."""
    found = {}
    for segment_id in segment_ids(segmentation_node):
        layer = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
        if not is_empty_layer(layer):
            found[segment_id] = layer
    return found


def is_empty_layer(layer) -> bool:
    return layer is None or layer.IsEmpty() or layer.GetPointData().GetScalars() is None


class LabelOf:
    """The label of each value of a layer.

    Args:
        labels: the label of values; that of all others is 0. dtype: of the labels.
    """

    def __init__(self, labels: Mapping[int, int], dtype: np.dtype):
        self.labels = {value: label for value, label in labels.items() if label}
        self._dtype = dtype
        self._table = self._table_to(255)

    def _table_to(self, highest: int) -> np.ndarray:
        table = np.zeros(max([highest, *self.labels]) + 1, dtype=self._dtype)
        for value, label in self.labels.items():
            table[value] = label
        return table

    def __getitem__(self, values: np.ndarray) -> np.ndarray:
        """The labels of an array of values, as an array of its shape."""
        if values.dtype == np.uint8:
            # Twice as fast, and cannot fail: there is a label for every value.
            found: np.ndarray = self._table.take(values, mode="clip")
            return found
        highest = int(values.max(initial=0))
        if highest >= len(self._table):
            self._table = self._table_to(highest)
        return self._table[values]

    def inverse(self, dtype: np.dtype) -> LabelOf:
        """The value of each label."""
        return LabelOf({label: value for value, label in self.labels.items()}, dtype)


@dataclass(frozen=True, eq=False)
class NamedLayer:
    """A layer that holds some named segments.

    Attributes:
        image: a vtkOrientedImageData. names: of these segments.
        label_of: the label of each of its values; None when two segments of the layer have the same value.
    """

    image: Any
    names: tuple[str, ...]
    label_of: LabelOf | None


def named_layers(segmentation_node, values: Mapping[str, int]) -> list[NamedLayer]:
    """The layers that hold the named segments, each with the label value that `values` gives each of them."""
    dtype = np.dtype(np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    segmentation = segmentation_node.GetSegmentation()
    by_layer: dict[int, tuple[Any, list]] = {}
    for segment_id, layer in layers_of(segmentation_node).items():
        by_layer.setdefault(id(layer), (layer, []))[1].append(segmentation.GetSegment(segment_id))
    found = []
    for layer, segments in by_layer.values():
        names = tuple(segment.GetName() for segment in segments if values.get(segment.GetName()))
        if names:
            labels = {segment.GetLabelValue(): values.get(segment.GetName(), 0) for segment in segments}
            found.append(NamedLayer(layer, names, LabelOf(labels, dtype) if len(labels) == len(segments) else None))
    return found
