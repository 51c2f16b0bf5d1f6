"""Label maps against references, label by label: the figures a report shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import metrics
from .geometry import VolumeGeometry


@dataclass(frozen=True)
class LabelFigures:
    """Agreement of one label in one volume. Distances in mm (infinite when just one of the masks is empty)."""

    label: int
    dice: float
    iou: float
    hd95_mm: float
    hausdorff_mm: float
    average_boundary_mm: float
    volume_ml: float
    reference_volume_ml: float


@dataclass(frozen=True)
class CaseFigures:
    """Agreement of one volume: every label, and their plain mean."""

    case: str
    labels: tuple[LabelFigures, ...]

    @property
    def dice(self) -> float:
        """Mean Dice over the labels."""
        return _mean([f.dice for f in self.labels])

    @property
    def hd95_mm(self) -> float:
        """Mean 95 % Hausdorff distance over the labels, in mm."""
        return _mean([f.hd95_mm for f in self.labels])


def compare_labels(
    case: str, result: np.ndarray, reference: np.ndarray, geometry: VolumeGeometry, labels: list[int] | None = None
) -> CaseFigures:
    """Figures of a (K, J, I) label map against a reference on the same grid.

    `labels` defaults to every label other than 0 that the reference holds.
    """
    if labels is None:
        labels = [int(v) for v in np.unique(reference) if v]
    millilitres = math.prod(geometry.spacing) / 1000.0
    figures = []
    for label in labels:
        p, r = result == label, reference == label
        boundary = metrics.boundary_figures(p, r, geometry.spacing)
        figures.append(
            LabelFigures(
                label=label,
                dice=metrics.dice(p, r),
                iou=metrics.iou(p, r),
                hd95_mm=boundary.hausdorff_95,
                hausdorff_mm=boundary.hausdorff,
                average_boundary_mm=boundary.average,
                volume_ml=float(p.sum()) * millilitres,
                reference_volume_ml=float(r.sum()) * millilitres,
            )
        )
    return CaseFigures(case, tuple(figures))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan
