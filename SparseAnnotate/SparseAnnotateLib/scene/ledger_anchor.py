"""Anchors the slices of a ledger to voxels of the segmentation, so that they are found after the volume has changed.

A ledger identifies slices by their index in a volume. Before the ledger is read again, the volume may be reloaded,
reoriented by Slicer (which flips left-handed volumes), moved with its segmentation by a hardened transform, or replaced
as the reference. So the ledger is anchored to the segmentation in three ways: to the voxels of its layers, to positions
in its coordinates, and to its reference geometry. These usually agree. Where they do not, the number of voxels drawn on
each slice decides.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
import slicer

from ..core import BadInputError, LedgerEntry, Plane
from ..core.messages import _
from .segmentation_layers import layers_of
from .segmentation_nodes import different_transforms_sentence
from .volume_nodes import geometry_of
from .voxel_grids import layer_ijk_to_local, volume_ijk_to_segmentation, whole_voxel_relation

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LedgerAnchor:
    """Where the voxel grid of a ledger, which is that of the volume's array, lies in the segmentation.

    Attributes:
        shape: voxels (K, J, I). planes: array axis of each plane.
        local: (4, 4) rows, from voxel index (i, j, k, 1) to the segmentation's own coordinates (mm).
        layers: segment ID to (4, 4) rows, to voxel indices of the layer that holds the segment.
        reference: (4, 4) rows, to voxel indices of the segmentation's reference geometry; None when its voxels differ.
        counts: voxels drawn on each decided slice, by 'plane index'.
    """

    shape: tuple[int, int, int]
    planes: dict[str, int]
    local: Rows
    layers: dict[str, Rows] = field(default_factory=dict)
    reference: Rows | None = None
    counts: dict[str, int] = field(default_factory=dict)


def anchor_of(segmentation_node, volume_node, counts: dict[str, int]) -> LedgerAnchor:
    """The anchor of a ledger whose slices are those of the volume as it is now."""
    geometry = geometry_of(volume_node)
    local = volume_ijk_to_segmentation(segmentation_node, volume_node)
    size = max(geometry.shape)
    layers, seen = {}, set()
    for segment_id, layer in layers_of(segmentation_node).items():
        relation = None if id(layer) in seen else whole_voxel_relation(layer_ijk_to_local(layer), local, size)
        seen.add(id(layer))
        if relation is not None:
            layers[segment_id] = _rows(relation)
    reference = reference_ijk_to_local(segmentation_node)
    to_reference = whole_voxel_relation(reference, local, size) if reference is not None else None
    return LedgerAnchor(
        geometry.shape,
        {plane.value: plane.array_axis(geometry) for plane in Plane},
        _rows(local),
        layers,
        _rows(to_reference) if to_reference is not None else None,
        counts,
    )


def moved_voxels(voxels: np.ndarray, old: tuple[int, ...], relation: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """(n,) int64, sorted: voxels of a grid of one shape, as those of another; what lies outside of that is left out."""
    ijk = np.stack(np.unravel_index(voxels, old))[::-1]
    kji = (relation[:3, :3].astype(np.int64) @ ijk + relation[:3, 3:].astype(np.int64))[::-1]
    inside = ((kji >= 0) & (kji < np.array(new)[:, None])).all(axis=0)
    return np.sort(np.ravel_multi_index(tuple(kji[:, inside]), new)).astype(np.int64)


def reference_ijk_to_local(segmentation_node) -> np.ndarray | None:
    """(4, 4) matrix from voxel index of the reference geometry to the segmentation's coordinates; None if missing."""
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    text = segmentation_node.GetSegmentation().GetConversionParameter(name)
    image = slicer.vtkOrientedImageData()
    if not text or not converter.DeserializeImageGeometry(text, image, False):
        return None
    return layer_ijk_to_local(image)


def relation_to_volume(
    anchor: LedgerAnchor,
    segmentation_node,
    volume_node,
    matches: Callable[[np.ndarray], int],
    outcome: Callable[[np.ndarray], Hashable],
) -> np.ndarray:
    """(4, 4) int matrix from voxel indices of the ledger's grid to those of the volume's current array.

    Args:
        matches: returns, for such a matrix, on how many decided slices as many voxels are drawn as when it was stored.
        outcome: returns the slices that result from such a matrix; matrices with equal outcomes are equivalent.

    Raises:
        BadInputError: when the slices are no longer slices of the volume, or it cannot be determined which they are.
    """
    volume_from = volume_ijk_to_segmentation(segmentation_node, volume_node)
    shape = tuple(reversed(volume_node.GetImageData().GetDimensions()))
    size = max(*anchor.shape, *shape)

    def related(source_from: np.ndarray | None) -> np.ndarray | None:
        return whole_voxel_relation(volume_from, source_from, size) if source_from is not None else None

    by_position = related(np.array(anchor.local))
    layers = _anchored_layers(anchor, segmentation_node)
    by_layers = [related(layer @ np.array(anchor.layers[segment_id])) for segment_id, layer in layers.items()]
    if not layers and anchor.reference is not None:
        # Nothing is drawn. The reference geometry, too, is moved with the segmentation.
        reference = reference_ijk_to_local(segmentation_node)
        by_layers = [related(reference @ np.array(anchor.reference))] if reference is not None else []
    moved = [found for found in _distinct(by_layers) if by_position is None or not np.array_equal(found, by_position)]
    stays = by_position if by_position is not None and _fills(by_position, anchor.shape, shape) else None
    if stays is not None and (not moved or not anchor.counts):
        return stays
    # Either saving has rewritten the layers, or they were moved: the voxels drawn on the slices decide.
    if stays is not None:
        candidates = [stays, *moved]
    else:
        candidates = [found for found in moved if _fills(found, anchor.shape, shape)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and any(anchor.counts.values()):
        candidates = _reorientations(anchor.shape, shape)
    scores = [matches(candidate) for candidate in candidates]
    best = [found for found, score in zip(candidates, scores, strict=True) if score == max(scores)]
    if not best or not _fills(best[0], anchor.shape, shape) or (stays is None and max(scores) < len(anchor.counts)):
        raise BadInputError(_not_slices_sentence(segmentation_node, volume_node))
    if len({outcome(found) for found in best}) > 1:
        raise BadInputError(
            _(
                "Cannot determine which slices of the volume '{volume}' were marked in the segmentation "
                "'{segmentation}', because the volume or the segmentation has been moved by whole slices or rotated. "
                "Undo that change, or start a new segmentation."
            ).format(volume=volume_node.GetName(), segmentation=segmentation_node.GetName())
        )
    return best[0]


def _not_slices_sentence(segmentation_node, volume_node) -> str:
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        consequence = _("The marked slices no longer match the slices of the volume.")
        return different_transforms_sentence(segmentation_node, volume_node, consequence)
    return _(
        "The slices marked in the segmentation '{segmentation}' are no longer slices of the volume '{volume}', because "
        "the size, position or orientation of the segmentation or the volume has changed since. Undo that change, "
        "choose the volume that the slices were drawn on, or press 'Match to volume grid' in the SparseAnnotate panel "
        "to make a copy, which keeps the marks that still fit."
    ).format(segmentation=segmentation_node.GetName(), volume=volume_node.GetName())


def _reorientations(old: Sequence[int], new: Sequence[int]) -> list[np.ndarray]:
    """All (4, 4) int matrices that swap and flip the axes of a grid of one shape (K, J, I) to get the other shape."""
    found = []
    size = [n - 1 for n in reversed(old)]
    for axes in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            relation = np.eye(4, dtype=int)
            relation[:3] = 0
            for source, (target, sign) in enumerate(zip(axes, signs, strict=True)):
                relation[target, source] = sign
                relation[target, 3] = 0 if sign > 0 else size[source]
            if _fills(relation, old, new):
                found.append(relation)
    return found


def relations_within(anchor: LedgerAnchor, segmentation_node, local: np.ndarray, shape) -> list[np.ndarray]:
    """(4, 4) int matrices from voxel indices of the ledger's grid to those of a grid with the same voxels.

    The layers and the position that the ledger is anchored to give one each; they usually agree.

    Args:
        local: (4, 4) voxel index of that grid to the segmentation's coordinates. shape: its voxels (K, J, I).
    """
    sources = [
        layer @ np.array(anchor.layers[segment_id])
        for segment_id, layer in _anchored_layers(anchor, segmentation_node).items()
    ]
    sources.append(np.array(anchor.local))
    return _distinct(whole_voxel_relation(local, source, max(*anchor.shape, *shape)) for source in sources)


def covers_slices(relation: np.ndarray, anchor: LedgerAnchor, axis: int, shape: Sequence[int]) -> bool:
    """True when the ledger's slices cover whole slices, stacked along `axis`, of a grid of that shape."""
    low, high = _box(relation, anchor.shape)
    across = [place for place in range(3) if place != 2 - axis]
    last = np.array([n - 1 for n in reversed(shape)])
    return bool((low[across] <= 0).all() and (high[across] >= last[across]).all())


def mapped_entry(entry: LedgerEntry, relation: np.ndarray, anchor: LedgerAnchor, planes: dict[int, Plane]):
    """Plane and index of an entry in the grid that a relation leads to; `planes` gives the plane of each axis there."""
    old_axis = anchor.planes[entry.plane.value]
    row = int(np.argmax(np.abs(relation[:3, 2 - old_axis])))
    index = relation[row, 2 - old_axis] * entry.index + relation[row, 3]
    return planes[2 - row], int(index)


def _anchored_layers(anchor: LedgerAnchor, segmentation_node) -> dict[str, np.ndarray]:
    """Matrix of each layer that the anchor refers to and that is not empty now, by segment ID."""
    layers = layers_of(segmentation_node)
    return {segment_id: layer_ijk_to_local(layers[segment_id]) for segment_id in anchor.layers if segment_id in layers}


def _fills(relation: np.ndarray, old: Sequence[int], new: Sequence[int]) -> bool:
    """True when the box of one grid is exactly the box of the other."""
    low, high = _box(relation, old)
    return np.array_equal(low, [0, 0, 0]) and np.array_equal(high, [n - 1 for n in reversed(new)])


def _box(relation: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel index (i, j, k) of a grid of that shape (K, J, I), in the other grid."""
    last = np.array([*[n - 1 for n in reversed(shape)], 1])
    ends = np.stack([relation @ [0, 0, 0, 1], relation @ last])[:, :3]
    return ends.min(axis=0), ends.max(axis=0)


def _distinct(relations: Iterable[np.ndarray | None]) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for relation in relations:
        if relation is not None and not any(np.array_equal(relation, other) for other in found):
            found.append(relation)
    return found


def _rows(matrix: np.ndarray) -> Rows:
    return tuple(tuple(float(x) for x in row) for row in matrix)
