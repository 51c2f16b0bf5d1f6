"""What a slice can be initialized from before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .. import scene
from ..core import Plane
from .undoable_changes import UndoableChanges

STARTS = [start.value for start in scene.Start]
"""What a slice can be initialized from."""


def starts_from_result(start: str) -> bool:
    """Whether slices are initialized from a fill or a prediction, which may still follow from corrections."""
    return scene.Start.named(start) in (scene.Start.FILL, scene.Start.PREDICTION)


def start_slice(changes: UndoableChanges, volume_node, plane: Plane, index: int, start: scene.Start) -> str:
    """Initialize a slice, as one change that can be undone; returns what it was initialized from."""
    masks, source = scene.start_masks(volume_node, plane, index, start)
    put_start(changes, volume_node, plane, index, masks, source)
    return source


def put_start(
    changes: UndoableChanges,
    volume_node,
    plane: Plane,
    index: int,
    masks: Mapping[str, np.ndarray],
    source: str,
    names: Sequence[str] | None = None,
) -> None:
    """Initialize a slice with these masks, (rows, columns) bool by segment name, as one change that can be undone.

    `names`: of the segments that are replaced, all by default.
    """
    segmentation = scene.annotated_segmentation(volume_node)
    names = scene.segment_names(segmentation) if names is None else names
    whole = scene.whole_slice(masks, names, volume_node, plane, index)
    changes.change(
        volume_node,
        segmentation,
        lambda editor: scene.put_slice(segmentation, volume_node, plane, index, whole, editor),
    )
    scene.record_start(volume_node, plane, index, source)
