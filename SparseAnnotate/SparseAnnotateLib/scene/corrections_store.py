"""The corrections of a volume, stored in the node of the segmentation that is drawn in, and saved with the scene."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core import BadInputError
from ..core.corrections import Corrections, Stroke
from ..core.corrections_file import StoredStroke, spans_of, voxels_in_spans
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .ledger_anchor import LedgerAnchor, anchor_of, relation_to_volume
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
    text = _text(segmentation_node)
    if not text:
        return None
    kept = parse_json(text, KeptCorrections, _source(segmentation_node))
    relation = relation_to_volume(kept.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes)
    shape = geometry_of(volume_node).shape
    segmentation = segmentation_node.GetSegmentation()
    strokes = []
    for one in kept.strokes:
        segment = segmentation.GetSegment(one.structure)
        value = values.get(segment.GetName()) if segment is not None else None
        if value is None:
            continue
        voxels = voxels_in_spans(one.spans, int(np.prod(kept.anchor.shape)))
        if voxels is None:
            raise BadInputError(_("{source} is damaged.").format(source=_source(segmentation_node).capitalize()))
        voxels = _moved(voxels, kept.anchor.shape, relation, shape)
        if len(voxels):
            strokes.append(Stroke(voxels, value, one.is_in, one.seconds))
    return Corrections(shape, tuple(strokes)) if strokes else None


def store_corrections(
    segmentation_node, volume_node, corrections: Corrections | None, values: Mapping[str, int]
) -> None:
    """Store corrections on the voxels of the volume as it is now; `values` as for `corrections_of`."""
    if corrections is None or not corrections.strokes:
        segmentation_node.SetAttribute(_ATTRIBUTE, "")
        return
    identify = segmentation_node.GetSegmentation().GetSegmentIdBySegmentName
    identifiers = {value: identify(name) for name, value in values.items()}
    strokes = tuple(
        StoredStroke(identifiers[s.value], s.is_in, s.seconds, spans_of(s.voxels)) for s in corrections.strokes
    )
    kept = KeptCorrections(anchor_of(segmentation_node, volume_node, {}), strokes)
    segmentation_node.SetAttribute(_ATTRIBUTE, to_text(kept))


def copy_corrections(source_node, target_node) -> None:
    """Store the corrections of a segmentation in a copy of it with the same coordinates and segment IDs."""
    if knows_of_corrections(source_node):
        target_node.SetAttribute(_ATTRIBUTE, _text(source_node))


def _moved(voxels: np.ndarray, old: tuple[int, ...], relation: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """(n,) int64, sorted: voxels of a grid of one shape, as those of another; what lies outside of that is left out."""
    if np.array_equal(relation, np.eye(4)) and tuple(old) == tuple(new):
        return voxels
    ijk = np.stack(np.unravel_index(voxels, old))[::-1]
    kji = (relation[:3, :3].astype(np.int64) @ ijk + relation[:3, 3:].astype(np.int64))[::-1]
    inside = ((kji >= 0) & (kji < np.array(new)[:, None])).all(axis=0)
    return np.sort(np.ravel_multi_index(tuple(kji[:, inside]), new)).astype(np.int64)


def _text(segmentation_node) -> str:
    return segmentation_node.GetAttribute(_ATTRIBUTE) or ""


def _source(segmentation_node) -> str:
    return _("the corrections stored in the segmentation '{segmentation}'").format(
        segmentation=segmentation_node.GetName()
    )
