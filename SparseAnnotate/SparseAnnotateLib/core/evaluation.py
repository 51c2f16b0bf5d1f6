"""Comparing label maps with references, label by label: the figures that a report shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metrics
from .geometry import VolumeGeometry


@dataclass(frozen=True)
class LabelFigures:
    """Agreement of one label that is in the result, the reference or both.

    Attributes:
        dice, iou: 0 when just one of them has the label.
        hd95_mm, hausdorff_mm, average_boundary_mm: distances in mm; infinite when just one of them has the label.
        volume_ml, reference_volume_ml: in ml; 0 where the label is absent.
        undrawn_dice: Dice over the undrawn voxels; None when not asked for, or when neither has the label there.
        surface_dice: normalized surface Dice at a tolerance; None when not asked for.
        intersection_voxels, union_voxels: voxels in both, and in at least one of the two.
    """

    label: int
    dice: float
    iou: float
    hd95_mm: float
    hausdorff_mm: float
    average_boundary_mm: float
    volume_ml: float
    reference_volume_ml: float
    undrawn_dice: float | None = None
    intersection_voxels: int = 0
    union_voxels: int = 0
    surface_dice: float | None = None

    @classmethod
    def from_plain(cls, row: Mapping[str, Any]) -> LabelFigures:
        """From a row of the worker's answer: JSON has no infinity, so an infinite distance comes as null."""
        distances = ("hd95_mm", "hausdorff_mm", "average_boundary_mm")
        figures: dict[str, Any] = {k: math.inf if v is None and k in distances else v for k, v in row.items()}
        return cls(**figures)


@dataclass(frozen=True)
class CaseFigures:
    """Agreement of one volume.

    Attributes:
        case: its name.
        labels: figures of every label compared that the result or the reference holds.
        absent: labels compared that neither holds: they agree, but do not count in the means.
        rand_f_score: adapted Rand F-score of the connected pieces of all labels compared, see `metrics`; None when
            neither holds any.
    """

    case: str
    labels: tuple[LabelFigures, ...]
    absent: tuple[int, ...] = ()
    rand_f_score: float | None = None

    @property
    def dice(self) -> float | None:
        """Mean Dice over the labels; None when neither the result nor the reference holds any of them."""
        return mean_of_known(f.dice for f in self.labels)

    @property
    def hd95_mm(self) -> float | None:
        """Mean 95 % Hausdorff distance over the labels, in mm; infinite, or None, as for the single label and Dice."""
        return mean_of_known(f.hd95_mm for f in self.labels)

    @property
    def iou(self) -> float | None:
        """Mean IoU over the labels; None as for Dice."""
        return mean_of_known(f.iou for f in self.labels)

    @property
    def hvsmr_score(self) -> float | None:
        """Overall score of the HVSMR 2016 challenge, see `metrics`; None as for Dice, -infinite with a distance."""
        if not self.labels:
            return None
        return metrics.hvsmr_overall_score((f.dice, f.average_boundary_mm, f.hausdorff_mm) for f in self.labels)

    @property
    def surface_dice(self) -> float | None:
        """Mean surface Dice over the labels; None as for Dice, or when not asked for."""
        return mean_of_known(f.surface_dice for f in self.labels)

    @property
    def undrawn_dice(self) -> float | None:
        """Mean Dice over the labels on undrawn voxels; None when no label has one."""
        return mean_of_known(f.undrawn_dice for f in self.labels)


def compare_labels(
    case: str,
    result: np.ndarray,
    reference: np.ndarray,
    geometry: VolumeGeometry,
    labels: Iterable[int] | None = None,
    drawn: np.ndarray | None = None,
    expected: Iterable[int] = (),
    tolerance: float | None = None,
) -> CaseFigures:
    """Figures of a (K, J, I) label map against a reference on the same grid.

    Args:
        labels: the label values to compare; others are ignored. None: every value other than 0 that the result or the
            reference holds. Include the labels of the result: a structure that is only predicted counts only if its
            label is compared.
        expected: label values to count as absent where neither holds them.
        drawn: (K, J, I) bool, voxels that a person decided; if given, Dice is also computed over all others.
        tolerance: in mm; if given, the surface Dice is also computed.
    """
    present = np.union1d(np.unique(result), np.unique(reference)).tolist()
    wanted = sorted({int(v) for v in (*(present if labels is None else labels), *expected)} - {0})
    millilitres = math.prod(geometry.spacing) / 1000.0
    figures = []
    for label in (value for value in wanted if value in present):
        p, r = result == label, reference == label
        boundary = metrics.boundary_figures(p, r, geometry.spacing, tolerance)
        both, either = metrics.intersection_and_union(p, r)
        figures.append(
            LabelFigures(
                label=label,
                dice=metrics.dice(p, r),
                iou=metrics.batched_iou([(both, either)]),
                hd95_mm=boundary.hausdorff_95,
                hausdorff_mm=boundary.hausdorff,
                average_boundary_mm=boundary.average,
                volume_ml=float(p.sum()) * millilitres,
                reference_volume_ml=float(r.sum()) * millilitres,
                undrawn_dice=None if drawn is None else dice_if_any(p & ~drawn, r & ~drawn),
                intersection_voxels=both,
                union_voxels=either,
                surface_dice=boundary.surface_dice,
            )
        )
    absent = tuple(value for value in wanted if value not in present)
    return CaseFigures(case, tuple(figures), absent, _rand_f_score(result, reference, [f.label for f in figures]))


def _rand_f_score(result: np.ndarray, reference: np.ndarray, labels: list[int]) -> float | None:
    if not labels:
        return None
    result, reference = (np.where(np.isin(array, labels), array, 0) for array in (result, reference))
    return metrics.adapted_rand_f_score(metrics.objects_of(result), metrics.objects_of(reference))


def dice_if_any(one: np.ndarray, other: np.ndarray) -> float | None:
    """Dice of two bool masks; None when both are empty."""
    return metrics.dice(one, other) if one.any() or other.any() else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None when there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
