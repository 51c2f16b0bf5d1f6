"""Marking a slice as drawn, empty, skipped or to do."""

from __future__ import annotations

from ..core import BadInputError, Plane, SliceState
from ..core.messages import _
from .annotations import annotated_segmentation, label_values
from .ledger_store import store_ledger, stored_ledger
from .segment_regions import slice_region
from .segmentation_nodes import geometry_problem, labels_of, segment_ids
from .volume_nodes import geometry_of


def mark_slice(volume_node, plane: Plane, index: int, state: SliceState, seconds: float | None = None) -> SliceState:
    """Set a slice's state in the ledger; seconds are added to those spent before.

    Raises BadInputError when the volume has no such slice.
    """
    geometry = geometry_of(volume_node)
    segmentation = annotated_segmentation(volume_node, create=True)
    segments = [segmentation.GetSegmentation().GetSegment(s) for s in segment_ids(segmentation)]
    structures = [segment.GetName() for segment in segments]
    ledger = stored_ledger(segmentation, volume_node).with_state(plane, int(index), state, seconds, structures)
    ledger.check_fits(geometry, _request_to_mark(volume_node))
    store_ledger(segmentation, volume_node, ledger)
    return state


def mark_decided(volume_node, plane: Plane, index: int, seconds: float | None = None) -> SliceState:
    """Mark a finished slice as drawn, or as empty when no segment has a voxel on it. Returns the state.

    Raises BadInputError when there is no segment, the grids differ, or segments overlap on the slice.
    """
    state = SliceState.DRAWN if _has_labels(volume_node, plane, int(index)) else SliceState.EMPTY
    return mark_slice(volume_node, plane, index, state, seconds)


def mark_empty(volume_node, plane: Plane, index: int, seconds: float | None = None) -> SliceState:
    """Mark a slice as empty. Raises BadInputError, and changes nothing, when something is drawn on it."""
    if _has_labels(volume_node, plane, int(index)):
        raise BadInputError(
            _(
                "The {plane} slice {index} of '{volume}' is not empty: something is drawn on it. Erase the drawing if "
                "the slice should be empty, or mark the slice as drawn."
            ).format(plane=plane.value, index=index, volume=volume_node.GetName())
        )
    return mark_slice(volume_node, plane, index, SliceState.EMPTY, seconds)


def _request_to_mark(volume_node) -> str:
    """The name of the request in the error that reports a missing slice."""
    return _("The request to mark a slice of '{volume}'").format(volume=volume_node.GetName())


def _has_labels(volume_node, plane: Plane, index: int) -> bool:
    """Whether any segment has a voxel on the slice; only the slice is read, because this runs with every click."""
    geometry = geometry_of(volume_node)
    plane.require_slice(index, geometry, _request_to_mark(volume_node))
    region = slice_region(geometry.shape, plane.array_axis(geometry), index)
    segmentation = annotated_segmentation(volume_node, create=True)
    problem = geometry_problem(segmentation, volume_node)
    if problem:
        raise BadInputError(problem)
    return bool(labels_of(segmentation, volume_node, label_values(segmentation), region=region).any())
