"""Fills of annotations in which some drawn slices speak for some of the structures only.

A fill method takes every drawn slice as complete. So structures that different slices decide are filled one group after
another, each from the slices that decide it, and the fills are put together: a slice that says nothing about a
structure neither adds to it nor holds it back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core import SparseAnnotation, Watch
from .interpolator import Fill, Interpolator
from .label_fields import DrawnSlices


def filled(
    method: Interpolator, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
) -> Fill:
    """`Interpolator.fill` of each group of structures that the same slices decide.

    Drawn voxels stay as they are. Where structures of two groups meet, the one with fewer drawn voxels wins. The
    confidence is the lowest of all groups, and 100 only where all structures of the fill are decided.
    """
    groups = annotation.structure_groups()
    if len(groups) == 1 and groups[0][1] is annotation:
        return method.fill(annotation, image, watch)
    watch = watch or Watch()
    rank = np.zeros(int(annotation.labels.max(initial=0)) + 1, dtype=np.uint16)
    for place, value in enumerate(reversed(DrawnSlices.of(annotation).in_order()), start=1):
        rank[value] = place
    own: list[Fill] = []
    # One fill after another, because of their memory.
    for number, (values, part) in enumerate(groups):
        fill = method.fill(part, image, watch.part(number, len(groups)))
        if number == 0:
            first, confidence = fill.labels, fill.confidence
            labels, closed = np.zeros_like(first), np.ones(first.shape, dtype=bool)
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
    confidence[annotation.decided_mask([value for values, _part in groups for value in values])] = 100
    return Fill(
        labels,
        confidence,
        tuple(dict.fromkeys(w for fill in own for w in fill.warnings)),
        {value: method for fill in own for value, method in fill.methods.items()},
        tuple(score for fill in own for score in fill.scores),
        {value: shares for fill in own for value, shares in fill.shares.items()},
    )


def _only(fill: Fill, values: tuple[int, ...]) -> Fill:
    """A fill with the methods and scores of some labels only."""
    return replace(
        fill,
        methods={value: method for value, method in fill.methods.items() if value in values},
        scores=tuple(score for score in fill.scores if score.label in values),
        shares={value: shares for value, shares in fill.shares.items() if value in values},
    )
