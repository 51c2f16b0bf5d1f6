"""Agreement of a label map with a reference: overlap, distances in mm, and scores defined in papers.

Distances are between boundary voxels (voxels of the mask with a face neighbour outside it), as MONAI and the
challenges measure them. Two empty masks agree perfectly (Dice 1, distance 0); when just one is empty, Dice is 0 and
distances are infinite, because no finite distance would be meaningful.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BadInputError
from .messages import _
from .voxel_boxes import bounding_box


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient 2 TP / (2 TP + FP + FN) of two bool arrays."""
    both, either = _intersection_and_union(prediction, reference)
    return 1.0 if either == 0 else 2.0 * both / (both + either)


def iou(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union (Jaccard index) TP / (TP + FP + FN) of two bool arrays."""
    both, either = _intersection_and_union(prediction, reference)
    return 1.0 if either == 0 else both / either


def batched_iou(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Sum of intersections over sum of unions of (prediction, reference) bool pairs over a whole cohort.

    The measure of Zhang et al. 2025, appendix E: small structures hardly affect it.
    """
    totals = np.zeros(2, dtype=np.int64)
    for prediction, reference in pairs:
        totals += _intersection_and_union(prediction, reference)
    return 1.0 if totals[1] == 0 else float(totals[0] / totals[1])


def boundary_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (mm) from each boundary voxel of one mask to the nearest boundary voxel of the other, both ways.

    Args:
        prediction, reference: bool arrays of the same shape.
        spacing: voxel size in mm along the array's axes.
    """
    # Imported here, not above: Slicer imports this file at every start, and scipy takes a quarter of a second.
    from scipy import ndimage

    _require_same_shape(prediction, reference)
    if not (prediction.any() and reference.any()):
        raise BadInputError(_("The distance between boundaries is undefined when a mask is empty."))
    # Cropping to the box changes nothing: voxels beyond the border count as background in either case.
    box = bounding_box(prediction | reference)
    prediction, reference = _boundary(prediction[box]), _boundary(reference[box])
    to_reference = ndimage.distance_transform_edt(~reference, sampling=spacing)[prediction]
    to_prediction = ndimage.distance_transform_edt(~prediction, sampling=spacing)[reference]
    return to_reference, to_prediction


@dataclass(frozen=True)
class BoundaryFigures:
    """Distances between two boundaries in mm: their average (ADB), and the symmetric Hausdorff distances."""

    average: float
    hausdorff_95: float
    hausdorff: float


def boundary_figures(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> BoundaryFigures:
    """All boundary distances of two bool masks from one pair of distance maps; `spacing` in mm along the axes.

    The average is over both boundaries' distances together; each Hausdorff figure is the larger of the directed ones.
    """
    _require_same_shape(prediction, reference)
    if not prediction.any() and not reference.any():
        return BoundaryFigures(0.0, 0.0, 0.0)
    if not prediction.any() or not reference.any():
        return BoundaryFigures(math.inf, math.inf, math.inf)
    there, back = boundary_distances(prediction, reference, spacing)
    return BoundaryFigures(
        average=float(np.concatenate([there, back]).mean()),
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hausdorff=float(max(there.max(), back.max())),
    )


def average_boundary_distance(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Average distance of boundaries (ADB) in mm; see `boundary_figures`."""
    return boundary_figures(prediction, reference, spacing).average


def hausdorff_distance(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Symmetric Hausdorff distance in mm; see `boundary_figures`."""
    return boundary_figures(prediction, reference, spacing).hausdorff


def hausdorff_distance_95(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the symmetric Hausdorff distance (mm): robust against single stray voxels."""
    return boundary_figures(prediction, reference, spacing).hausdorff_95


def hvsmr_overall_score(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], labels: Iterable[int]
) -> float:
    """Overall score of the HVSMR 2016 challenge: sum over classes of Dice / 2 - ADB / 4 - Hausdorff / 30.

    Args:
        prediction, reference: (K, J, I) integer label maps.
        spacing: mm along the array's axes.
        labels: the classes (myocardium and blood pool in the challenge).

    Source: Zheng et al. 2020, 'Experiments', after Pace et al. 2015.
    """
    score = 0.0
    for label in labels:
        p, r = prediction == label, reference == label
        boundary = boundary_figures(p, r, spacing)
        score += dice(p, r) / 2 - boundary.average / 4 - boundary.hausdorff / 30
    return score


def adapted_rand_f_score(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Rand F-score: harmonic mean of the Rand merge and split scores of two integer label maps of objects.

    Voxels that are 0 in the reference are left out; a 0 in the prediction counts as one object.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142 (V_rand); used by Zheng et al. 2020, table 2.
    """
    _require_same_shape(prediction, reference)
    inside = reference != 0
    if not inside.any():
        return 1.0 if not prediction.any() else 0.0
    _, p = np.unique(prediction[inside], return_inverse=True)
    _, r = np.unique(reference[inside], return_inverse=True)
    _, overlap = np.unique(p.astype(np.int64) * (int(r.max()) + 1) + r, return_counts=True)
    pairs_in_both = float((overlap.astype(float) ** 2).sum())
    pairs_in_prediction = float((np.bincount(p).astype(float) ** 2).sum())
    pairs_in_reference = float((np.bincount(r).astype(float) ** 2).sum())
    merge, split = pairs_in_both / pairs_in_prediction, pairs_in_both / pairs_in_reference
    return 2 * merge * split / (merge + split)


def _intersection_and_union(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    _require_same_shape(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    return both, int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference)) - both


def _boundary(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    boundary: np.ndarray = mask & ~ndimage.binary_erosion(mask)
    return boundary


def _require_same_shape(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:
        raise BadInputError(
            _("The two masks differ in size: {shape} and {reference_shape}; they must be on the same grid.").format(
                shape=prediction.shape, reference_shape=reference.shape
            )
        )
