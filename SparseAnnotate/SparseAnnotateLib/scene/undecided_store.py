"""Voxels of drawn slices without a decision, stored in the node of the segmentation that is drawn in.

They come from a cohort folder (labels imported with an ignore label). In the scene they stay as they are until their
voxel is painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core import BadInputError
from ..core.corrections_file import spans_of, voxels_in_spans
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .ledger_anchor import LedgerAnchor, anchor_of, moved_voxels, relation_to_volume
from .volume_nodes import geometry_of

_ATTRIBUTE = "SparseAnnotate.Undecided"


@dataclass(frozen=True)
class KeptVoxels:
    """Voxels as they are stored in a node: the anchor of their grid, and their spans, see `spans_of`."""

    anchor: LedgerAnchor
    spans: str


def store_undecided(segmentation_node, volume_node, undecided: np.ndarray | None) -> None:
    """Store the undecided voxels of the volume's drawn slices, (K, J, I) bool; None: there are none."""
    if undecided is None or not undecided.any():
        segmentation_node.RemoveAttribute(_ATTRIBUTE)
        return
    spans = spans_of(np.flatnonzero(undecided))
    segmentation_node.SetAttribute(
        _ATTRIBUTE, to_text(KeptVoxels(anchor_of(segmentation_node, volume_node, {}), spans))
    )


def undecided_of(segmentation_node, volume_node, labels: np.ndarray) -> np.ndarray | None:
    """(K, J, I) bool: the stored voxels on the volume as it is now, but for those with a label; None without any.

    Args:
        labels: (K, J, I), what is drawn.

    Raises BadInputError when they are damaged, or it cannot be determined which voxels of the volume they are.
    """
    text = segmentation_node.GetAttribute(_ATTRIBUTE)
    if not text:
        return None
    name, shape = segmentation_node.GetName(), geometry_of(volume_node).shape
    what = _("the undecided voxels stored in the segmentation '{segmentation}'").format(segmentation=name)
    kept = parse_json(text, KeptVoxels, what)
    voxels = voxels_in_spans(kept.spans, int(np.prod(kept.anchor.shape)))
    if voxels is None:
        raise BadInputError(
            _("The undecided voxels stored in the segmentation '{segmentation}' are damaged.").format(segmentation=name)
        )
    relation = relation_to_volume(kept.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes)
    undecided = np.zeros(shape, dtype=bool)
    undecided.reshape(-1)[moved_voxels(voxels, kept.anchor.shape, relation, shape)] = True
    undecided &= labels == 0
    return undecided if undecided.any() else None
