"""How segments differ from what was applied to them, outside the slices that decide them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.pieces import slabs
from ..core.voxel_boxes import Box
from .applied_labels import AppliedLabels
from .segment_regions import whole_region
from .segmentation_layers import layers_of
from .segmentation_nodes import aligned_voxels, common_part
from .volume_nodes import geometry_of


@dataclass(frozen=True)
class Change:
    """Where a segment differs from what was applied to it, outside the slices that decide it.

    Attributes:
        size: the number of voxels.
        layers: sorted indices, along each axis of the volume's array, of the slices with such a voxel.
        shown: the same for the slices on which the segment has a voxel, changed or not.
    """

    size: int
    layers: tuple[list[int], ...]
    shown: tuple[list[int], ...]


@dataclass(frozen=True)
class ShownSegment:
    """A segment, with binary voxels on the grid of a volume, and the slices that decide it, array axis to indices."""

    segmentation_node: Any
    volume_node: Any
    name: str
    segment_id: str
    decided: Mapping[int, Sequence[int]]

    def mask(self, box: Box) -> np.ndarray:
        """bool, of the shape of a box of the volume: where the segment is; nowhere when it has been removed."""
        found = np.zeros([side.stop - side.start for side in box], dtype=bool)
        layer = layers_of(self.segmentation_node).get(self.segment_id)
        if layer is not None:
            array, starts = aligned_voxels(layer, self.segmentation_node, self.volume_node)
            common = common_part(array, starts, box)
            if common is not None:
                segment = self.segmentation_node.GetSegmentation().GetSegment(self.segment_id)
                found[common[1]] = array[common[0]] == segment.GetLabelValue()
        return found

    def finding_change(
        self, states: Sequence[AppliedLabels | None]
    ) -> Generator[None, None, tuple[AppliedLabels | None, Change]]:
        """In pieces: of several states, None for 'nowhere', that from which it differs least, and how it does."""
        shape = geometry_of(self.volume_node).shape
        counts = [[np.zeros(size, dtype=np.int64) for size in shape] for _state in states]
        shown = [np.zeros(size, dtype=np.int64) for size in shape]
        for region in self._regions(range(shape[0])):
            now = self.mask(region)
            _add_layers(shown, now, region)
            for of_state, state in zip(counts, states, strict=True):
                _add_layers(of_state, self._difference(now, state, region), region)
            yield
        sizes = [int(of_state[0].sum()) for of_state in counts]
        least = sizes.index(min(sizes))
        layers, on = (tuple(np.flatnonzero(one).tolist() for one in axes) for axes in (counts[least], shown))
        return states[least], Change(sizes[least], layers, on)

    def finding_voxels(self, change: Change, state: AppliedLabels | None) -> Generator[None, None, np.ndarray]:
        """In pieces: (n, 3) places (K, J, I) in the volume of the voxels of a change from a state."""
        found = [np.empty((0, 3), dtype=np.int64)]
        for region in self._regions(change.layers[0]):
            difference = self._difference(self.mask(region), state, region)
            found.append(np.argwhere(difference) + [side.start for side in region])
            yield
        return np.concatenate(found)

    def _regions(self, wanted: Iterable[int]) -> Iterator[Box]:
        """The slabs of the volume that hold one of some layers along the first axis."""
        whole, layers = whole_region(geometry_of(self.volume_node).shape), np.asarray(list(wanted))
        for slab in slabs([side.stop for side in whole], 1):
            if ((layers >= slab.start) & (layers < slab.stop)).any():
                yield slab, whole[1], whole[2]

    def _difference(self, now: np.ndarray, state: AppliedLabels | None, region: Box) -> np.ndarray:
        """Where the segment differs from a state, outside the slices that decide it."""
        changed = now ^ state.mask(self.segment_id, region) if state is not None else now.copy()
        for axis, indices in self.decided.items():
            side = region[axis]
            np.moveaxis(changed, axis, 0)[[i - side.start for i in indices if side.start <= i < side.stop]] = False
        return changed


def _add_layers(counts: Sequence[np.ndarray], mask: np.ndarray, region: Box) -> None:
    """Add the number of voxels of a mask of a part of the volume on each of its slices, along each axis."""
    if mask.any():
        for axis, (count, side) in enumerate(zip(counts, region, strict=True)):
            count[side] += np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
