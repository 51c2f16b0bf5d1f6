"""Leaves out of a result what must not be applied: where something else was drawn."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core import SparseAnnotation
from ..core.messages import _, counted
from ..core.pieces import slabs
from ..core.voxel_boxes import Box
from .annotations import label_values
from .applied_labels import AppliedValues
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
) -> Generator[None, None, AppliedValues]:
    """In pieces: labels as they are to be stored, on slices that are not changed with what had been applied there.

    So that what was painted on them, and what the rest comes from, is still found the next time. Not where slices
    decide a structure.

    Args:
        labels: (K, J, I) on the volume's grid; they may be changed in place, by label values for the voxels on these
            slices. values: label value of each segment that is applied.
    """
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    value_of = {name: value for value, name in annotation.names.items()}
    decided = {name: annotation.deciding_by_axis(value_of.get(name, 0)) for name in values}
    found = AppliedValues(labels, {value: identify(name) for name, value in values.items()})
    new: dict[tuple[str, str], int] = {}
    # Not the value of another segment, whose voxels may be among the labels.
    highest = max([0, *label_values(segmentation_node).values(), *annotation.names, *values.values()])
    for axis, indices in axes_of(slices, annotation).items():
        for index in indices:
            box, entered = slice_region(labels.shape, axis, index), list[tuple[int, np.ndarray]]()
            for name, value in values.items():
                record, free = unmarked.before.get(name), _undecided(decided[name], box)
                part = found.labels[box]
                part[free & (part == value)] = 0
                for source, mask in record.masks_by_source(identify(name), box) if record is not None else ():
                    mask &= free
                    if mask.any():
                        if (name, source) not in new:
                            new[name, source] = found.with_value(identify(name), source, above=highest)
                        entered.append((new[name, source], mask))
                yield
            if new and max(new.values()) > np.iinfo(found.labels.dtype).max:
                found = replace(found, labels=found.labels.astype(np.uint16))
            for value, mask in entered:
                found.labels[box][mask] = value
                yield
    return found


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
