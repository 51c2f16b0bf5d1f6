"""Marking a slice as drawn, empty, skipped or to do."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import BadInputError, Plane, SliceState
from ..core.messages import _
from .annotations import annotated_segmentation, label_values
from .ledger_store import store_ledger, stored_ledger
from .segment_regions import slice_region
from .segmentation_nodes import geometry_problem, labels_of, structure_names
from .volume_nodes import geometry_of


def mark_slice(
    volume_node,
    plane: Plane,
    index: int,
    state: SliceState,
    seconds: float | None = None,
    structures: Sequence[str] | None = None,
) -> SliceState:
    """Set a slice's state in the ledger; seconds are added to those spent before.

    Args:
        structures: names of the segments that the slice is decided for; the others are unknown on it. None: all
            segments that exist now, or, before there is one, all that will exist.

    Raises BadInputError when the volume has no such slice, or the segmentation no such segment.
    """
    geometry = geometry_of(volume_node)
    segmentation = annotated_segmentation(volume_node, create=True)
    decided = _decided_structures(segmentation, structures)
    ledger = stored_ledger(segmentation, volume_node).with_state(plane, int(index), state, seconds, decided)
    ledger.check_fits(geometry, _request_to_mark(volume_node))
    store_ledger(segmentation, volume_node, ledger)
    return state


def mark_decided(
    volume_node, plane: Plane, index: int, seconds: float | None = None, structures: Sequence[str] | None = None
) -> SliceState:
    """Mark a finished slice as drawn, or as empty when none of its decided segments has a voxel on it.

    `structures` as for `mark_slice`. Returns the state.

    Raises BadInputError when there is no such segment, the grids differ, or segments overlap on the slice.
    """
    state = SliceState.DRAWN if _has_labels(volume_node, plane, int(index), structures) else SliceState.EMPTY
    return mark_slice(volume_node, plane, index, state, seconds, structures)


def mark_empty(
    volume_node, plane: Plane, index: int, seconds: float | None = None, structures: Sequence[str] | None = None
) -> SliceState:
    """Mark a slice as empty, for `structures` as for `mark_slice`.

    Raises BadInputError, and changes nothing, when one of them is drawn on it.
    """
    if _has_labels(volume_node, plane, int(index), structures):
        raise BadInputError(
            _(
                "The {plane} slice {index} of '{volume}' is not empty: something is drawn on it. Erase the drawing if "
                "the slice should be empty, or mark the slice as drawn."
            ).format(plane=plane.value, index=index, volume=volume_node.GetName())
        )
    return mark_slice(volume_node, plane, index, SliceState.EMPTY, seconds, structures)


def _decided_structures(segmentation_node, wanted: Sequence[str] | None) -> list[str] | None:
    """The names of all segments, or the wanted ones; None before there is a segment."""
    names = structure_names(segmentation_node)
    if wanted is None:
        return names or None
    if not wanted:
        raise BadInputError(_("A slice is marked for at least one structure. Choose one, or do not mark the slice."))
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInputError(
            _("The segmentation '{segmentation}' has no segment '{name}' to mark a slice for.").format(
                segmentation=segmentation_node.GetName(), name=missing[0]
            )
        )
    return [name for name in names if name in wanted]


def _request_to_mark(volume_node) -> str:
    """The name of the request in the error that reports a missing slice."""
    return _("The request to mark a slice of '{volume}'").format(volume=volume_node.GetName())


def _has_labels(volume_node, plane: Plane, index: int, structures: Sequence[str] | None) -> bool:
    """Whether one of the segments has a voxel on the slice; only it is read, because this runs with every click."""
    geometry = geometry_of(volume_node)
    plane.require_slice(index, geometry, _request_to_mark(volume_node))
    region = slice_region(geometry.shape, plane.array_axis(geometry), index)
    segmentation = annotated_segmentation(volume_node, create=True)
    problem = geometry_problem(segmentation, volume_node)
    if problem:
        raise BadInputError(problem)
    decided = _decided_structures(segmentation, structures)
    values = {name: v for name, v in label_values(segmentation).items() if decided is None or name in decided}
    return bool(labels_of(segmentation, volume_node, values, region=region).any())
