"""What may be replaced when a result is applied: nothing that others have drawn off the marked slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import Plane, SparseAnnotation
from .applied import Part, applied_masks
from .segment_regions import whole_region
from .segmentation_nodes import masks_of

_FEW_SLICES = 2
_FINISHED_SHARE = 0.5
_MOST_NAMED = 6


@dataclass(frozen=True)
class UnmarkedDrawing:
    """What others have drawn of a structure on slices that are not marked.

    Attributes:
        structure: its name. plane: of the slices. indices: of the slices, sorted. voxels: in all.
        is_finished: it is drawn on most of the slices it spans, as a finished structure of another tool is.
    """

    structure: str
    plane: Plane
    indices: tuple[int, ...]
    voxels: int
    is_finished: bool

    @property
    def slices(self) -> str:
        """The slices in words, for a sentence."""
        shown = ", ".join(str(index) for index in self.indices[:_MOST_NAMED])
        more = f" and {len(self.indices) - _MOST_NAMED} more" if len(self.indices) > _MOST_NAMED else ""
        kind = "slice" if len(self.indices) == 1 else "slices"
        return f"{self.plane.value} {kind} {shown}{more}"

    @property
    def sentence(self) -> str:
        """Why the structure is left as it is, and what to do."""
        if self.is_finished:
            return (
                f"'{self.structure}' is left as it is: it seems to be finished, because it is drawn on {self.slices}, "
                "which are not marked. To replace it, apply it by name."
            )
        return (
            f"'{self.structure}' has been changed on {self.slices}, which nobody has marked as drawn: it would be "
            "overwritten there. Mark what is drawn, or erase it, first."
        )


def unmarked_drawings(
    segmentation_node, volume_node, annotation: SparseAnnotation, names: Sequence[str]
) -> dict[str, UnmarkedDrawing]:
    """Structure name to what others have drawn of it off the decided slices; those without any are left out.

    What the module has applied itself, and nobody has changed since, is not counted.

    Args:
        annotation: of the segmentation, on the volume's grid. names: structures to look at.
    """
    plane = _main_plane(annotation)
    axis = plane.array_axis(annotation.geometry)
    decided = annotation.supervised_mask()
    region = whole_region(annotation.geometry.shape)
    segmentation = segmentation_node.GetSegmentation()
    applied = applied_masks(segmentation_node, volume_node)
    now = {name: (box, mask) for name, box, mask in masks_of(segmentation_node, volume_node, region) if name in names}
    found = {}
    for name in names:
        segment_id = segmentation.GetSegmentIdBySegmentName(name)
        known = [None, *(masks[segment_id] for masks in reversed(applied) if segment_id in masks)]
        for part in reversed(known):
            changed = _difference(annotation.geometry.shape, now.get(name), part) & ~decided
            if part is known[-1]:
                since_last = changed
            if not changed.any():
                break
        else:
            indices = np.flatnonzero(since_last.any(axis=tuple(a for a in range(3) if a != axis)))
            drawn = tuple(int(index) for index in indices)
            is_finished = _is_finished(drawn, set(annotation.ledger.indices(plane)))
            found[name] = UnmarkedDrawing(name, plane, drawn, int(np.count_nonzero(since_last)), is_finished)
    return found


def _difference(shape, one: Part | None, other: Part | None) -> np.ndarray:
    """(K, J, I) bool: where two masks, each with its part of the volume, differ; None is nowhere."""
    changed = np.zeros(shape, dtype=bool)
    for part in (one, other):
        if part is not None:
            changed[part[0]] ^= part[1]
    return changed


def _main_plane(annotation: SparseAnnotation) -> Plane:
    """The plane with most decided slices."""
    return max(Plane, key=lambda plane: len(annotation.ledger.indices(plane)))


def _is_finished(indices: Sequence[int], decided: set[int]) -> bool:
    span = [index for index in range(indices[0], indices[-1] + 1) if index not in decided]
    return len(indices) > _FEW_SLICES and len(indices) > _FINISHED_SHARE * len(span)
