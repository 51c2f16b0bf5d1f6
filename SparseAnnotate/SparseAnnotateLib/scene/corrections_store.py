"""The corrections of a volume, stored in the node of the segmentation that is drawn in, and saved with the scene."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..core import BadInputError
from ..core.corrections import Corrections, Stroke
from ..core.corrections_file import StoredStroke, spans_of, voxels_in_spans
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .ledger_anchor import LedgerAnchor, anchor_of, moved_voxels, relation_to_volume, relations_within
from .volume_nodes import geometry_of

_ATTRIBUTE = "SparseAnnotate.Corrections"


@dataclass(frozen=True)
class KeptCorrections:
    """Corrections as they are stored in a node.

    Attributes:
        anchor: the grid of their voxels. strokes: in order; their structures are IDs of segments.
    """

    anchor: LedgerAnchor
    strokes: tuple[StoredStroke, ...]


def has_corrections(segmentation_node) -> bool:
    """True when something was corrected, on the grid of any volume."""
    return bool(_text(segmentation_node))


def knows_of_corrections(segmentation_node) -> bool:
    """True when corrections have been stored in a segmentation, even if they have been cleared since."""
    return segmentation_node.GetAttribute(_ATTRIBUTE) is not None


def corrections_mark(segmentation_node) -> str:
    """A text that changes with every correction; '' without any."""
    text = _text(segmentation_node)
    return f"{zlib.crc32(text.encode()):08x}" if text else ""


def corrections_text(segmentation_node) -> str:
    """What is stored, to be put back by `put_corrections_text`."""
    return _text(segmentation_node)


def put_corrections_text(segmentation_node, text: str) -> None:
    """Store what `corrections_text` gave earlier."""
    segmentation_node.SetAttribute(_ATTRIBUTE, text)


def corrections_of(segmentation_node, volume_node, values: Mapping[str, int]) -> Corrections | None:
    """The corrections on the voxels of the volume as it is now; None without any.

    Args:
        values: label value of each segment name. Corrections of other segments, and of those that have been removed,
            are left out.

    Raises BadInputError when they are damaged, or it cannot be determined which voxels of the volume they are.
    """
    shape = geometry_of(volume_node).shape
    strokes = []
    for one in _stored(segmentation_node, volume_node):
        value = values.get(_name_of(one, segmentation_node))
        voxels = voxels_in_spans(one.spans, int(np.prod(shape)))
        if value is not None and voxels is not None and len(voxels):
            strokes.append(Stroke(voxels, value, one.is_in, one.seconds))
    return Corrections(shape, tuple(strokes)) if strokes else None


def store_corrections(
    segmentation_node, volume_node, corrections: Corrections | None, values: Mapping[str, int]
) -> None:
    """Store corrections on the voxels of the volume as it is now; `values` as for `corrections_of`.

    Those of segments without a value, or that have been removed, stay: removing a segment can be undone.
    """
    others = [one for one in _stored(segmentation_node, volume_node) if _name_of(one, segmentation_node) not in values]
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    identifiers = {value: identify(name) for name, value in values.items()}
    own = [
        StoredStroke(identifiers[s.value], s.is_in, s.seconds, spans_of(s.voxels))
        for s in (corrections.strokes if corrections is not None else ())
    ]
    if not own and not others:
        segmentation_node.SetAttribute(_ATTRIBUTE, "")
        return
    kept = KeptCorrections(anchor_of(segmentation_node, volume_node, {}), (*others, *own))
    segmentation_node.SetAttribute(_ATTRIBUTE, to_text(kept))


def copy_corrections(source_node, volume_node, local: np.ndarray, target_node) -> None:
    """Store the corrections of a segmentation in a copy of it on the volume's grid, with the same segment IDs.

    Nothing is stored when the voxels of the two grids are not the same.

    Args:
        local: (4, 4) voxel index of the volume's array to the coordinates of the source, where the copy's voxels come
            from.
    """
    text = _text(source_node)
    if not text:
        return
    shape = geometry_of(volume_node).shape
    try:
        kept = parse_json(text, KeptCorrections, _source(source_node))
        found = relations_within(kept.anchor, source_node, local, shape)
        moved = _on_grid(kept, found[0], shape, source_node) if len(found) == 1 else ()
    except BadInputError:
        return  # damaged ones stay where they are
    if moved:
        copied = KeptCorrections(anchor_of(target_node, volume_node, {}), moved)
        target_node.SetAttribute(_ATTRIBUTE, to_text(copied))


def _stored(segmentation_node, volume_node) -> tuple[StoredStroke, ...]:
    """The strokes as stored, with their voxels on the volume's grid as it is now. Raises as `corrections_of`."""
    text = _text(segmentation_node)
    if not text:
        return ()
    kept = parse_json(text, KeptCorrections, _source(segmentation_node))
    relation = relation_to_volume(kept.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes)
    return _on_grid(kept, relation, geometry_of(volume_node).shape, segmentation_node)


def _on_grid(
    kept: KeptCorrections, relation: np.ndarray, shape: tuple[int, ...], segmentation_node
) -> tuple[StoredStroke, ...]:
    strokes = []
    for one in kept.strokes:
        voxels = voxels_in_spans(one.spans, int(np.prod(kept.anchor.shape)))
        if voxels is None:
            raise BadInputError(
                _("The corrections stored in the segmentation '{segmentation}' are damaged.").format(
                    segmentation=segmentation_node.GetName()
                )
            )
        if not np.array_equal(relation, np.eye(4)) or tuple(kept.anchor.shape) != tuple(shape):
            one = replace(one, spans=spans_of(moved_voxels(voxels, kept.anchor.shape, relation, shape)))
        if one.spans:
            strokes.append(one)
    return tuple(strokes)


def _name_of(stroke: StoredStroke, segmentation_node) -> str:
    """Name of the segment that a stored stroke is of; '' when it has been removed."""
    segment = segmentation_node.GetSegmentation().GetSegment(stroke.structure)
    return segment.GetName() if segment is not None else ""


def _text(segmentation_node) -> str:
    return segmentation_node.GetAttribute(_ATTRIBUTE) or ""


def _source(segmentation_node) -> str:
    return _("the corrections stored in the segmentation '{segmentation}'").format(
        segmentation=segmentation_node.GetName()
    )
