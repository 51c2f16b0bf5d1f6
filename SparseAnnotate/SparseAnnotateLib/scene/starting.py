"""Initial contents of a slice, which the user corrects instead of drawing from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from ..core import BadInputError, Ledger, Plane, SliceState
from ..core.choices import choice
from ..core.messages import _
from .annotations import annotated_segmentation
from .ledger_store import store_ledger, stored_ledger
from .results import FILL, made_by, require_current, results_of
from .segment_editing import slice_masks
from .segmentation_nodes import segment_names
from .volume_nodes import geometry_of


class Start(StrEnum):
    """What a slice is initialized from."""

    NOTHING = "nothing"
    NEAREST = "nearest drawn slice"
    FILL = "fill"
    PREDICTION = "prediction"

    @classmethod
    def named(cls, name: str) -> Start:
        """The start of that name; BadInputError when there is none."""
        return choice(cls, name, _("A slice cannot be initialized from '{name}'. Choose one of {names}."))


def start_masks(volume_node, plane: Plane, index: int, start: Start) -> tuple[dict[str, np.ndarray], str]:
    """Initial contents of a slice: a mask for each segment, and where they come from, in a few words.

    Returns:
        Segment name to (rows, columns) bool; and for example 'coronal slice 12' or 'run 1'.

    Raises:
        BadInputError: when the slice is already decided, or there is nothing to initialize it from.
    """
    segmentation = require_undecided(volume_node, plane, index)
    ledger = stored_ledger(segmentation, volume_node)
    if start is Start.NOTHING:
        return {}, ""
    if start is Start.NEAREST:
        return _nearest_masks(volume_node, segmentation, ledger, plane, index)
    found = [node for node in results_of(volume_node) if (made_by(node) == FILL) == (start is Start.FILL)]
    if not found:
        text = (
            _("There is no fill of '{volume}' to initialize the slice from. Fill between slices first.")
            if start is Start.FILL
            else _(
                "There is no prediction for '{volume}' to initialize the slice from. Train a model and run it on this "
                "volume first."
            )
        )
        raise BadInputError(text.format(volume=volume_node.GetName()))
    names = [name for name in segment_names(segmentation) if name in segment_names(found[-1])]
    require_current(found[-1], volume_node, segmentation, names)
    masks = slice_masks(found[-1], volume_node, plane, index)
    return masks, "fill" if start is Start.FILL else str(made_by(found[-1]))


def require_undecided(volume_node, plane: Plane, index: int):
    """The segmentation that a slice is to be drawn in. Raises BadInputError without one, or when it is decided."""
    segmentation = annotated_segmentation(volume_node)
    if segmentation is None:
        raise BadInputError(
            _("'{volume}' has no segmentation to draw in yet. Recommend slices first.").format(
                volume=volume_node.GetName()
            )
        )
    entry = stored_ledger(segmentation, volume_node).entry(plane, index)
    if entry is not None and entry.state.is_decided:
        raise BadInputError(
            _(
                "The {plane} slice {index} of '{volume}' is already marked as {state} and is not overwritten. Choose a "
                "slice that is still to do."
            ).format(plane=plane.value, index=index, volume=volume_node.GetName(), state=entry.state.value)
        )
    return segmentation


def decided_across(volume_node, plane: Plane, name: str | None = None) -> np.ndarray:
    """(rows, columns) bool: where decided slices of other planes, that decide a segment, cross the slices of a plane.

    `name`: of the segment; None: any.
    """
    geometry = geometry_of(volume_node)
    axis = plane.array_axis(geometry)
    across = [a for a in range(3) if a != axis]
    decided = np.zeros([geometry.shape[a] for a in across], dtype=bool)
    ledger = stored_ledger(annotated_segmentation(volume_node), volume_node)
    for other in Plane:
        if other is not plane:
            indices = [i for i in ledger.indices(other) if name is None or _decides(ledger, other, i, name)]
            where = [indices if a == other.array_axis(geometry) else slice(None) for a in across]
            decided[tuple(where)] = True
    return decided


def record_start(volume_node, plane: Plane, index: int, started_from: str) -> None:
    """Record in the ledger what a slice was initialized from."""
    segmentation = annotated_segmentation(volume_node)
    ledger = stored_ledger(segmentation, volume_node).with_start(plane, index, started_from)
    store_ledger(segmentation, volume_node, ledger)


def whole_slice(masks: Mapping[str, np.ndarray], names, volume_node, plane: Plane, index: int) -> dict[str, np.ndarray]:
    """Masks for all of `names` on a slice: empty where none is given, and as drawn where a decided slice crosses it."""
    drawn = slice_masks(annotated_segmentation(volume_node), volume_node, plane, index)
    found = {}
    for name in names:
        decided = decided_across(volume_node, plane, name)
        nothing = np.zeros(decided.shape, dtype=bool)
        found[name] = np.where(decided, drawn.get(name, nothing), masks.get(name, nothing)).astype(bool)
    return found


def _decides(ledger: Ledger, plane: Plane, index: int, name: str) -> bool:
    """Whether a decided slice speaks for a segment."""
    entry = ledger.entry(plane, index)
    return entry is not None and (entry.structures is None or name in entry.structures)


def _nearest_masks(volume_node, segmentation, ledger: Ledger, plane: Plane, index: int):
    """Each segment from the nearest drawn slice that speaks for it; the text names the nearest of all."""
    drawn = sorted(ledger.indices(plane, SliceState.DRAWN), key=lambda other: abs(other - index))
    if not drawn:
        raise BadInputError(
            _(
                "No {plane} slice of '{volume}' has been drawn yet, so there is no nearest drawn slice to initialize "
                "from. Draw the first slice from scratch."
            ).format(plane=plane.value, volume=volume_node.GetName())
        )
    masks: dict[str, np.ndarray] = {}
    left = set(segment_names(segmentation))
    for other in drawn:
        known = {name for name in left if _decides(ledger, plane, other, name)}
        if known:
            found = slice_masks(segmentation, volume_node, plane, other)
            masks |= {name: mask for name, mask in found.items() if name in known}
        left -= known
        if not left:
            break
    # What no slice speaks for may have been painted all the same, and outlines to start from are better than none.
    nearest = slice_masks(segmentation, volume_node, plane, drawn[0])
    masks |= {name: mask for name, mask in nearest.items() if name in left}
    return masks, f"{plane.value} slice {drawn[0]}"
