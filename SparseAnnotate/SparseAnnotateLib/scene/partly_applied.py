"""Leaves out of a result what must not be applied: where something else was drawn."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence

import numpy as np

from ..core import SparseAnnotation
from ..core.messages import _, counted
from ..core.pieces import slabs
from ..core.voxel_boxes import Box
from .changed_segments import ShownSegment
from .segment_regions import slice_region, whole_region
from .unmarked_drawings import Slice, Unmarked


def axes_of(slices: Collection[Slice], annotation: SparseAnnotation) -> dict[int, list[int]]:
    """Slices as array axis to sorted indices."""
    found: dict[int, list[int]] = {}
    for plane, index in slices:
        found.setdefault(plane.array_axis(annotation.geometry), []).append(index)
    return {axis: sorted(indices) for axis, indices in found.items()}


def leaving_room(
    segmentation_node, volume_node, labels: np.ndarray, values: Mapping[str, int], kept: Sequence[str]
) -> Generator[None, None, list[str]]:
    """In pieces: remove labels that would overlap structures that are kept; returns sentences on what was removed.

    Structures that overlap already may do so elsewhere, too.

    Args:
        labels: (K, J, I) on the volume's grid, changed in place. values: label value of each segment that is applied.
        kept: the structures.
    """
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    segments = {n: ShownSegment(segmentation_node, volume_node, n, identify(n), {}) for n in (*values, *kept)}
    names, whole = {value: name for name, value in values.items()}, whole_region(labels.shape)
    clashes: dict[tuple[str, str], int] = {}
    overlapping: set[tuple[str, str]] = set()
    regions = [(slab, *whole[1:]) for slab in slabs(labels.shape, labels.itemsize)] if kept else []
    for region in regions:
        for other in kept:
            mask = segments[other].mask(region)
            present = np.unique(labels[region][mask]).tolist() if mask.any() else []
            for name in [names[value] for value in present if value in names]:
                wanted = mask & (labels[region] == values[name])
                clashes[name, other] = clashes.get((name, other), 0) + int(np.count_nonzero(wanted))
                if (segments[name].mask(region) & mask).any():
                    overlapping.add((name, other))
        yield
    clashes = {pair: count for pair, count in clashes.items() if pair not in overlapping}
    for region in regions if clashes else ():
        for name, other in clashes:
            part = labels[region]
            part[segments[other].mask(region) & (part == values[name])] = 0
        yield
    return [_room_sentence(name, other, count) for (name, other), count in clashes.items()]


def entering_before(
    segmentation_node,
    labels: np.ndarray,
    values: Mapping[str, int],
    unmarked: Unmarked,
    slices: Collection[Slice],
    annotation: SparseAnnotation,
) -> Generator[None, None, dict[tuple[int, int], dict[str, str]]]:
    """In pieces: enter into labels, on slices that are not changed, what had been applied there before.

    So that what was painted on them is still found the next time. Not where slices decide a structure.

    Args:
        labels: (K, J, I) on the volume's grid, changed in place. values: label value of each segment that is applied.

    Returns:
        What those labels come from: axis and index of a slice to the source of each segment ID, where it is known.
    """
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    value_of = {name: value for value, name in annotation.names.items()}
    decided = {name: annotation.deciding_by_axis(value_of.get(name, 0)) for name in values}
    sources: dict[tuple[int, int], dict[str, str]] = {}
    for axis, indices in axes_of(slices, annotation).items():
        for index in indices:
            box = slice_region(labels.shape, axis, index)
            part, entered = labels[box], dict[str, np.ndarray]()
            for name, value in values.items():
                record, free = unmarked.before.get(name), _undecided(decided[name], box)
                part[free & (part == value)] = 0
                if record is not None:
                    entered[name] = record.mask(identify(name), box) & free
                    source = record.source_on(identify(name), axis, index)
                    if source:
                        sources.setdefault((axis, index), {})[identify(name)] = source
                yield
            for name, mask in entered.items():
                part[mask] = values[name]
                yield
    return sources


def _undecided(decided: Mapping[int, Sequence[int]], box: Box) -> np.ndarray:
    """bool, of the shape of a box of the volume: where none of the decided slices passes."""
    free = np.ones([side.stop - side.start for side in box], dtype=bool)
    for axis, indices in decided.items():
        first, stop = box[axis].start, box[axis].stop
        np.moveaxis(free, axis, 0)[[index - first for index in indices if first <= index < stop]] = False
    return free


def _room_sentence(name: str, other: str, count: int) -> str:
    return _(
        "'{name}' was left out where it would overlap '{other}' ({voxels}), which was not changed. To let them "
        "overlap, choose to apply '{name}' only."
    ).format(name=name, other=other, voxels=counted(count, _("{count} voxel"), _("{count} voxels")))
