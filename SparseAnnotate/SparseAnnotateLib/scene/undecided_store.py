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
from .ledger_anchor import LedgerAnchor, anchor_of, moved_voxels, relation_to_volume, relations_within
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


def undecided_mark(segmentation_node) -> str:
    """A text that changes whenever the undecided voxels of a segmentation change; '' without any."""
    return segmentation_node.GetAttribute(_ATTRIBUTE) or ""


def copy_undecided(source_node, volume_node, local: np.ndarray, target_node) -> None:
    """Store the undecided voxels of a segmentation in a copy of it on the volume's grid; arguments as of
    `copy_corrections`.

    Raises BadInputError when it cannot be determined which voxels of the volume they are.
    """
    text = source_node.GetAttribute(_ATTRIBUTE)
    if not text:
        return
    shape, name = geometry_of(volume_node).shape, source_node.GetName()
    kept = parse_json(text, KeptVoxels, f"the undecided voxels of '{name}'")
    voxels = voxels_in_spans(kept.spans, int(np.prod(kept.anchor.shape)))
    found = relations_within(kept.anchor, source_node, local, shape)
    if voxels is None or len(found) != 1:
        raise BadInputError(
            _(
                "'{segmentation}' has undecided voxels, and it cannot be determined which voxels of '{volume}' they "
                "are, so no copy was made."
            ).format(segmentation=name, volume=volume_node.GetName())
        )
    undecided = np.zeros(shape, dtype=bool)
    undecided.reshape(-1)[moved_voxels(voxels, kept.anchor.shape, found[0], shape)] = True
    store_undecided(target_node, volume_node, undecided)


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
