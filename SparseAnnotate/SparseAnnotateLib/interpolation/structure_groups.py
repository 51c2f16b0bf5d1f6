"""Filling structures that different drawn slices decide: each group from its own slices, then all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ..core import SparseAnnotation, Watch
from ..core.voxel_values import label_counts
from .interpolator import Fill, FindsMore, Interpolator, SeesOneChannel
from .label_fields import DrawnSlices


def filled(
    method: Interpolator, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
) -> Fill:
    """`Interpolator.fill` of each group of structures that the same slices decide.

    Drawn voxels stay as they are. Where structures of two groups meet, the one that is smaller on the drawn slices
    wins: it may lie within the other. The confidence is the lowest of all groups, and 100 only where all structures of
    the fill are decided.
    """
    if isinstance(method, SeesOneChannel):
        method = method.seeing(annotation, image)
    more = method.found_elsewhere(annotation) if isinstance(method, FindsMore) else {}
    unseen = unseen_by(method, annotation)
    groups = annotation.structure_groups([value for value in more if value not in unseen])
    if groups.is_whole and not unseen:
        return method.fill(annotation, image, watch)
    watch = watch or Watch()
    rank = _ranks(annotation, more)
    rest: list[tuple[tuple[int, ...], None]] = [(tuple(unseen), None)] if unseen else []
    own: list[Fill] = []
    # One fill after another, because of their memory.
    for number, (values, part) in enumerate(chain(groups, rest)):
        fill = _of_group(method, values, annotation, part, more, image, watch.part(number, len(groups) + len(rest)))
        if number == 0:
            first, confidence = fill.labels, fill.confidence
            labels, closed = np.zeros_like(first), np.ones(first.shape, dtype=bool)
        labels = labels.astype(np.promote_types(labels.dtype, fill.labels.dtype), copy=False)
        mine = np.zeros(len(rank), dtype=bool)
        mine[list(values)] = True
        for layer in range(len(labels)):
            found = np.where(mine[fill.labels[layer]], fill.labels[layer], 0)
            np.copyto(labels[layer], found, where=rank[found] > rank[labels[layer]])
        closed &= fill.labels > 0
        np.minimum(confidence, fill.confidence, out=confidence)
        nothing = np.empty(0, dtype=np.uint8)
        own.append(replace(_only(fill, values), labels=nothing, confidence=nothing))
        del fill
    # Where every fill shows something, but none a structure of its own group, there is no background.
    np.copyto(labels, first, where=closed & (labels == 0))
    annotation.restore_drawn(labels)
    confidence[annotation.decided_mask({*annotation.label_values(), *label_counts(labels)})] = 100
    return Fill(
        labels,
        confidence,
        tuple(dict.fromkeys(w for fill in own for w in fill.warnings)),
        {value: method for fill in own for value, method in fill.methods.items()},
        tuple(score for fill in own for score in fill.scores),
        {value: shares for fill in own for value, shares in fill.shares.items()},
        _left_out_of_all(own),
    )


def _left_out_of_all(fills: Sequence[Fill]) -> dict[str, str]:
    """The sources that take part in no fill."""
    return {name: text for name, text in fills[0].left_out.items() if all(name in fill.left_out for fill in fills)}


def unseen_by(method: Interpolator, annotation: SparseAnnotation) -> list[int]:
    """The labels that a method finds, and no drawn slice says anything about."""
    found = method.found_elsewhere(annotation) if isinstance(method, FindsMore) else {}
    return [value for value in found if not annotation.is_decided_somewhere(value)]


def _of_group(
    method: Interpolator,
    values: Sequence[int],
    annotation: SparseAnnotation,
    part: SparseAnnotation | None,
    more: Mapping[int, int],
    image: np.ndarray | None,
    watch: Watch,
) -> Fill:
    """The fill of a group from the annotation for it; without one, of structures that no slice decides."""
    if not isinstance(method, FindsMore):
        assert part is not None
        return method.fill(part, image, watch)
    if part is None:
        return method.unseen(annotation, values)
    kept = {entry.key for entry in part.ledger.decided}
    known = [v for v in more if annotation.is_decided_somewhere(v) and kept.isdisjoint(annotation.silent_on(v))]
    return method.finding(known).fill(part, image, watch)


def _ranks(annotation: SparseAnnotation, more: Mapping[int, int]) -> np.ndarray:
    """(labels,) uint16, higher for structures that are smaller on the drawn slices.

    `more`: labels that the slices do not show, and their sizes there.
    """
    drawn = DrawnSlices.of(annotation)
    sizes = np.zeros(max([int(annotation.labels.max(initial=0)), *more]) + 1, dtype=np.int64)
    for stack in drawn.stacks:
        for index in stack.indices:
            here = stack.sizes(index)
            sizes[: len(here)] += here
    sizes[list(more)] = list(more.values())
    # Sorting is stable: of equally large ones, those that are drawn win, in their own order.
    in_order = sorted([*drawn.in_order(), *more], key=lambda value: int(sizes[value]))
    rank = np.zeros(len(sizes), dtype=np.uint16)
    rank[in_order] = np.arange(len(in_order), 0, -1)
    return rank


def _only(fill: Fill, values: Sequence[int]) -> Fill:
    """A fill with the methods and scores of some labels only."""
    return replace(
        fill,
        methods={value: method for value, method in fill.methods.items() if value in values},
        scores=tuple(score for score in fill.scores if score.label in values),
        shares={value: shares for value, shares in fill.shares.items() if value in values},
    )
