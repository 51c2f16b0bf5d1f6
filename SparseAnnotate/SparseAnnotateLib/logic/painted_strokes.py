"""What a person has said with a brush: the voxels that it changed, and those under it that were right already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import scene
from ..core import BadInputError, VolumeGeometry
from ..core.corrections import Stroke
from ..core.voxel_boxes import Box
from .corrected_answer import CorrectedAnswer


def painted_strokes(
    part: Box, before: np.ndarray, now: np.ndarray, shape: tuple[int, ...], seconds: float
) -> list[Stroke]:
    """What was painted in a part of the volume, by structure; and what was erased to nothing.

    Args:
        before, now: labels of the part. shape: of the volume. seconds: what painting took.
    """
    different = before != now
    found: list[tuple[int, bool, np.ndarray]] = []
    for value in np.unique(before[different & (now == 0)]).tolist():
        found.append((value, False, different & (now == 0) & (before == value)))
    for value in np.unique(now[different]).tolist():
        if value:
            found.append((value, True, different & (now == value)))
    strokes = []
    for value, is_in, mask in found:
        places = [axis + side.start for axis, side in zip(np.nonzero(mask), part, strict=True)]
        voxels = np.sort(np.ravel_multi_index(tuple(places), shape)).astype(np.int64)
        strokes.append(Stroke(voxels, value, is_in, seconds / len(found)))
    return strokes


def with_confirmed(
    strokes: Sequence[Stroke], answer: CorrectedAnswer, brush: scene.BrushPlace, seconds: float
) -> list[Stroke]:
    """Painted strokes, and the voxels under the brush that have the right label already: they are known now, too.

    Args:
        answer: with the labels from before the strokes. brush: where the last of them ended.
        seconds: what painting took.
    """
    value = answer.values.get(brush.structure)
    if value is None:
        return list(strokes)
    try:
        geometry = scene.world_geometry_of(answer.volume)
        ball = Stroke.ball(geometry, brush.at, value, brush.is_in, brush.radius, seconds)
    except BadInputError:
        return list(strokes)  # the mouse is not over the volume
    is_it = np.take(answer.labels, ball.voxels) == value
    is_right = is_it if brush.is_in else ~is_it
    if brush.across is not None:
        is_right &= _in_slice(ball.voxels, geometry, brush.at, brush.across)
    right = ball.voxels[is_right]
    for stroke in strokes:
        right = np.setdiff1d(right, stroke.voxels, assume_unique=True)
    if not len(right):
        return list(strokes)
    same = next((s for s in strokes if (s.value, s.is_in) == (value, brush.is_in)), None)
    if same is None:
        return [*strokes, replace(ball, voxels=right, seconds=0.0 if strokes else seconds)]
    more = replace(same, voxels=np.union1d(same.voxels, right))
    return [more if stroke is same else stroke for stroke in strokes]


def _in_slice(voxels: np.ndarray, geometry: VolumeGeometry, at: Sequence[float], across: Sequence[float]) -> np.ndarray:
    """(n,) bool: which voxels, (n,) places in the flattened array, lie in the slice through a point.

    `across`: unit vector across the slice. A slice is as thick as the voxels along the axis that it is most across.
    """
    along = np.abs(np.asarray(across) @ geometry.matrix[:3, :3])  # mm, of a step along each axis
    kji = np.stack(np.unravel_index(voxels, geometry.shape))
    points = geometry.matrix[:3, :3] @ kji[::-1] + geometry.matrix[:3, 3:]
    away = np.abs(np.asarray(across) @ (points - np.asarray(at)[:, None]))
    inside: np.ndarray = away < along.max() / 2
    return inside


def confirmed_by(strokes: Sequence[Stroke], labels: np.ndarray) -> int:
    """How many voxels of strokes have the right label already."""
    count = 0
    for stroke in strokes:
        is_it = np.take(labels, stroke.voxels) == stroke.value
        count += int(np.count_nonzero(is_it == stroke.is_in))
    return count
