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

_ROUNDING = 1e-5


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient 2 TP / (2 TP + FP + FN) of two bool arrays."""
    both, either = intersection_and_union(prediction, reference)
    return 1.0 if either == 0 else 2.0 * both / (both + either)


def iou(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union (Jaccard index) TP / (TP + FP + FN) of two bool arrays."""
    return batched_iou([intersection_and_union(prediction, reference)])


def intersection_and_union(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """Voxels in both of two bool arrays, and in at least one of them."""
    _require_same_shape(prediction, reference)
    both = int(np.count_nonzero(prediction & reference))
    return both, int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference)) - both


def batched_iou(counts: Iterable[tuple[int, int]]) -> float:
    """IoU of one structure over many volumes: the sum of their intersections over the sum of their unions.

    A volume counts by the size of the structure in it, whereas in a mean of IoUs all count alike.

    Args:
        counts: intersection and union of each volume in voxels, see `intersection_and_union`.

    Source: Zhang et al. 2025 (MIDL), appendix E, which names it without a formula.
    """
    both, either = np.array(list(counts), dtype=np.int64).reshape(-1, 2).sum(axis=0).tolist()
    return 1.0 if either == 0 else both / either


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
    """Distances between two boundaries in mm: their average (ADB), and the symmetric Hausdorff distances.

    `surface_dice`: normalized surface Dice at a tolerance; None when none was given.
    """

    average: float
    hausdorff_95: float
    hausdorff: float
    surface_dice: float | None = None


def boundary_figures(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance: float | None = None
) -> BoundaryFigures:
    """All boundary distances of two bool masks from one pair of distance maps; `spacing` in mm along the axes.

    The average is over both boundaries' distances together; each Hausdorff figure is the larger of the directed ones.
    With a `tolerance` in mm, the surface Dice is the share of both boundaries' voxels that are no further from the
    other boundary; 1 for two empty masks, 0 when just one is empty.

    Source of the surface Dice: Nikolov et al. 2021, 'Clinically applicable segmentation of head and neck anatomy for
    radiotherapy'; here boundary voxels count alike, as in MONAI, and not by their area.
    """
    _require_same_shape(prediction, reference)
    if not prediction.any() and not reference.any():
        return BoundaryFigures(0.0, 0.0, 0.0, None if tolerance is None else 1.0)
    if not prediction.any() or not reference.any():
        return BoundaryFigures(math.inf, math.inf, math.inf, None if tolerance is None else 0.0)
    there, back = boundary_distances(prediction, reference, spacing)
    return BoundaryFigures(
        average=float(np.concatenate([there, back]).mean()),
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hausdorff=float(max(there.max(), back.max())),
        surface_dice=None if tolerance is None else _share_within(tolerance, there, back),
    )


def _share_within(tolerance: float, there: np.ndarray, back: np.ndarray) -> float:
    # NIfTI keeps spacing as float32: a voxel of 1.2 mm must count as within 1.2 mm.
    return float(np.mean(np.concatenate([there, back]) <= tolerance * (1 + _ROUNDING)))


def added_path_length(before: np.ndarray, reference: np.ndarray, tolerance: float = 0.0) -> int:
    """How many pixels of the reference's contour are not on the contour that was there before it was drawn.

    It says how much a person had to draw, or to correct: 0 when the contour was right, and the whole contour when there
    was nothing. What has to be erased does not count.

    Args:
        before, reference: (rows, columns) bool, masks of one structure on one slice.
        tolerance: in pixels; contours as near as this to each other count as the same.

    Raises BadInputError when they differ in size.

    Source: Vaassen et al. 2020, 'Evaluation of measures for assessing time-saving of automatic organ-at-risk
    segmentation in radiotherapy', there with a tolerance of 0.
    """
    _require_same_shape(before, reference)
    there = _boundary(before)
    if tolerance > 0 and there.any():
        from scipy import ndimage

        there = ndimage.distance_transform_edt(~there) <= tolerance
    return int(np.count_nonzero(_boundary(reference) & ~there))


def hvsmr_overall_score(classes: Iterable[tuple[float, float, float]]) -> float:
    """Overall score of the HVSMR 2016 challenge: sum over classes of Dice / 2 - ADB / 4 - Hausdorff / 30.

    It is 1 when both classes of the challenge (myocardium and blood pool) agree perfectly.

    Args:
        classes: of each, Dice, the average distance of boundaries (ADB) and the Hausdorff distance in mm.

    Source: Zheng et al. 2020, 'Experiments', after Pace et al. 2015.
    """
    return sum(dice / 2 - average / 4 - hausdorff / 30 for dice, average, hausdorff in classes)


def objects_of(labels: np.ndarray) -> np.ndarray:
    """The connected pieces (faces touch) of each label of an integer array, numbered from 1; int32, 0 stays 0."""
    from scipy import ndimage

    found, count = np.zeros(labels.shape, dtype=np.int32), 0
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            inside = labels[box] == value
            pieces, pieces_count = ndimage.label(inside)
            found[box][inside] = pieces[inside] + count
            count += pieces_count
    return found


def adapted_rand_f_score(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Rand F-score: harmonic mean of the Rand merge and split scores of two integer arrays of object numbers.

    Voxels that are 0 in the reference are left out. Among the others, each that is 0 in the prediction counts as an
    object of its own, as in the script of the SNEMI3D challenge: a missed object is split into its voxels.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142 (V_rand); used by Zheng et al. 2020, table 2.
    """
    _require_same_shape(prediction, reference)
    inside = reference != 0
    if not inside.any():
        return 1.0 if not prediction.any() else 0.0
    p, r = prediction[inside].astype(np.int64), reference[inside].astype(np.int64)
    pairs, overlaps = np.unique(p * (r.max() + 1) + r, return_counts=True)
    p, r, overlaps = pairs // (r.max() + 1), pairs % (r.max() + 1), overlaps.astype(float)
    missed = float(overlaps[p == 0].sum())
    in_both = _squared_sizes(pairs[p != 0], overlaps[p != 0]) + missed
    in_prediction = _squared_sizes(p[p != 0], overlaps[p != 0]) + missed
    merge, split = in_both / in_prediction, in_both / _squared_sizes(r, overlaps)
    return 2 * merge * split / (merge + split)


def _squared_sizes(objects: np.ndarray, counts: np.ndarray) -> float:
    """The sum of the objects' squared sizes, given their parts: to which object each belongs, and its voxels."""
    _, number = np.unique(objects, return_inverse=True)
    return float((np.bincount(number, weights=counts) ** 2).sum())


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
