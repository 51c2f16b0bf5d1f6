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
    fills = [method.fill(part, image, watch.part(n, len(groups))) for n, (_values, part) in enumerate(groups)]
    own = [_only(fill, values) for fill, (values, _part) in zip(fills, groups, strict=True)]
    labels = np.zeros_like(fills[0].labels)
    group_of = {value: number for number, (values, _part) in enumerate(groups) for value in values}
    for value in reversed(DrawnSlices.of(annotation).in_order()):
        np.copyto(labels, value, where=fills[group_of[value]].labels == value, casting="unsafe")
    # Where every fill shows something, but none a structure of its own group, there is no background.
    unfilled = labels == 0
    for fill in fills:
        unfilled &= fill.labels > 0
    np.copyto(labels, fills[0].labels, where=unfilled)
    annotation.restore_drawn(labels)
    confidence = fills[0].confidence
    for fill in fills[1:]:
        np.minimum(confidence, fill.confidence, out=confidence)
    confidence[annotation.decided_mask(group_of)] = 100
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
