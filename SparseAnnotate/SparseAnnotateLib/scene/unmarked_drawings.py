"""Finds what must not be replaced when a result is applied: what was drawn outside the marked slices."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.messages import _, listed
from ..core.planes import slice_layer
from ..core.voxel_boxes import Box, enclosing_box
from .last_applied import Part, applied_masks, reading_applied
from .layer_writing import comparing_labels
from .segment_regions import whole_region
from .segmentation_nodes import masks_of

_FEW_SLICES = 2
_FINISHED_SHARE = 0.5
_MAX_NAMED = 6


@dataclass(frozen=True)
class UnmarkedDrawing:
    """What the user or another tool has drawn of a structure on slices that are not marked.

    Attributes:
        structure: its name. plane: of the slices. indices: of the slices, sorted.
        is_finished: it is drawn on most of the slices that it spans, like a finished structure from another tool.
    """

    structure: str
    plane: Plane
    indices: tuple[int, ...]
    is_finished: bool

    @property
    def sentence(self) -> str:
        """Why the structure was not changed, and what to do."""
        if self.is_finished:
            text = _(
                "'{structure}' was not changed because it seems to be finished: it is drawn on the {plane} slices "
                "{indices}, which are not marked as drawn. To replace it, call applyFill in the Python console and "
                "name it in 'structures'."
            )
        elif len(self.indices) == 1:
            text = _(
                "'{structure}' has been changed on {plane} slice {indices}, which is not marked as drawn. Applying the "
                "result would overwrite this change: mark the slice as drawn, or erase the change, and try again."
            )
        else:
            text = _(
                "'{structure}' has been changed on {plane} slices {indices}, which are not marked as drawn. Applying "
                "the result would overwrite these changes: mark the slices as drawn, or erase the changes, and try "
                "again."
            )
        indices = listed([str(index) for index in self.indices], _MAX_NAMED)
        return text.format(structure=self.structure, plane=self.plane.value, indices=indices)


def unmarked_drawings(
    segmentation_node, volume_node, annotation: SparseAnnotation, names: Sequence[str]
) -> dict[str, UnmarkedDrawing]:
    """Structure name to what was drawn of it outside the slices that decide it; those without any are left out.

    Labels that the module applied itself, and that are unchanged since, do not count.

    Args:
        annotation: of the segmentation, on the volume's grid. names: structures to check.
    """
    geometry = annotation.geometry
    applied = applied_masks(segmentation_node, volume_node)
    segmentation = segmentation_node.GetSegmentation()
    masks = masks_of(segmentation_node, volume_node, whole_region(geometry.shape))
    now = {name: (box, mask) for name, box, mask in masks if name in names}
    found = {}
    value_of = {name: value for value, name in annotation.names.items()}
    for name in names:
        decided = annotation.deciding(value_of.get(name, 0))
        segment_id = segmentation.GetSegmentIdBySegmentName(name)
        known = [masks[segment_id] for masks in applied if segment_id in masks]
        # Nothing outside the drawn slices is a known state, too; undo may have restored any of them.
        differences = [_undecided_difference(decided, now.get(name), state) for state in [*known, None]]
        states = [state for state in differences if state is not None]
        if len(states) < len(differences):
            continue
        box, changed = min(states, key=lambda state: np.count_nonzero(state[1]))
        by_plane = {plane: _slices_of(changed, box, plane.array_axis(geometry)) for plane in Plane}
        # A painted slice of any plane crosses many slices of the others.
        plane = min(by_plane, key=lambda plane: (len(by_plane[plane]), -len(annotation.ledger.indices(plane))))
        is_finished = not known and len(by_plane[plane]) > _FEW_SLICES and _is_finished(decided, now[name])
        if is_finished:
            plane = _main_plane(decided)
        found[name] = UnmarkedDrawing(name, plane, by_plane[plane], is_finished)
    return found


def finding_unmarked(
    segmentation_node, volume_node, annotation: SparseAnnotation, names: Sequence[str]
) -> Generator[None, None, dict[str, UnmarkedDrawing]]:
    """`unmarked_drawings` in pieces, but for structures of which there is something to report."""
    records = yield from reading_applied(segmentation_node, volume_node)
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    suspects, decided = list(names), annotation.drawn_by_axis()
    for record in [*records, None]:
        if record is None:
            values = {name: value for value, name in enumerate(suspects, start=1)}
        else:
            value_of = {segment_id: value for value, segment_id in record.segments.items()}
            values = {name: value_of[identify(name)] for name in suspects if identify(name) in value_of}
        if not values or annotation.has_unknown_structures:
            continue  # then each structure has other decided slices
        labels, start = (record.labels, record.start) if record is not None else (None, (0, 0, 0))
        compared = segmentation_node, volume_node, labels, values
        differing = yield from comparing_labels(*compared, start=start, without=decided)
        if differing is not None:
            suspects = [name for name in suspects if name not in values or name in differing]
    return unmarked_drawings(segmentation_node, volume_node, annotation, suspects) if suspects else {}


def _slices_of(mask: np.ndarray, box: Box, axis: int) -> tuple[int, ...]:
    """Indices, along an axis of the volume, of the slices on which the mask of a part of it has a voxel."""
    layers = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return tuple(int(layer) + box[axis].start for layer in layers)


def _undecided_difference(decided: SparseAnnotation, one: Part | None, other: Part | None) -> Part | None:
    """Where two masks, each with its part of the volume, differ outside the decided slices; None when they do not.

    `decided`: with the slices that decide the structure only.
    """
    parts = [part for part in (one, other) if part is not None and part[1].size]
    box = enclosing_box(part[0] for part in parts)
    if box is None:
        return None
    changed = np.zeros([side.stop - side.start for side in box], dtype=bool)
    for place, mask in parts:
        changed[tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(place, box, strict=True))] ^= mask
    for axis, indices in decided.drawn_by_axis().items():
        for index in indices:
            if box[axis].start <= index < box[axis].stop:
                changed[slice_layer(axis, index - box[axis].start)] = False
    return (box, changed) if changed.any() else None


def _main_plane(decided: SparseAnnotation) -> Plane:
    """The plane with most decided slices."""
    return max(Plane, key=lambda plane: len(decided.ledger.indices(plane)))


def _is_finished(decided: SparseAnnotation, part: Part) -> bool:
    """True when a structure is on more than half of the undecided slices between its first and its last one."""
    plane = _main_plane(decided)
    indices = _slices_of(part[1], part[0], plane.array_axis(decided.geometry))
    known = set(decided.ledger.indices(plane))
    undecided = [index for index in range(indices[0], indices[-1] + 1) if index not in known]
    return len(set(indices) - known) > _FINISHED_SHARE * len(undecided)
