"""Fills between drawn slices, side by side: batched IoU with the dense annotation, and seconds.

Axial slices at fixed intervals, densities 5, 10, 20 and 40 %, on every labelled set of the data folder. The measure
is that of Zhang et al. 2025, appendix E: the completed annotation (drawn and filled slices) against the dense one,
intersections and unions summed over the volumes of a set; over all labels together, and as the mean over labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DENSITIES = (0.05, 0.1, 0.2, 0.4)
PEERS = ("nearest", "signed distance")


@dataclass(frozen=True)
class LabelledVolume:
    """Paths of one volume's dense labels and, where there is one, of its image."""

    labels: Path
    image: Path | None = None


@dataclass
class Score:
    """Sums over the volumes of a set: per label and, under 0, over all labels together."""

    both: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    either: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    seconds: float = 0.0

    def add(self, filled: np.ndarray, truth: np.ndarray, seconds: float) -> None:
        top = int(max(filled.max(), truth.max())) + 1
        both = np.bincount(truth[truth == filled].ravel(), minlength=top)
        either = np.bincount(truth.ravel(), minlength=top) + np.bincount(filled.ravel(), minlength=top) - both
        for label in np.flatnonzero(either[1:]) + 1:
            self.both[int(label)] += int(both[label])
            self.either[int(label)] += int(either[label])
        self.both[0] += int(((truth > 0) & (filled > 0)).sum())
        self.either[0] += int(((truth > 0) | (filled > 0)).sum())
        self.seconds += seconds

    def iou(self, label: int = 0) -> float:
        return self.both[label] / self.either[label]

    def mean_iou(self, at_least: int = 0) -> float:
        """Mean over labels; `at_least` leaves out labels with a smaller union, as the figures to beat do for EM."""
        return float(np.mean([self.iou(label) for label in self.either if label and self.either[label] >= at_least]))


def labelled_sets(root: Path) -> dict[str, list[LabelledVolume]]:
    """Every labelled set of the data folder."""
    hippocampi = sorted((root / "msd_hippocampus" / "labelsTr").glob("*.nii.gz"))
    lesions = sorted((root / "ms_lesions").glob("*/lesion_gold.nii.gz"))
    return {
        "hippocampus": [LabelledVolume(p, root / "msd_hippocampus" / "imagesTr" / p.name) for p in hippocampi],
        "spinal cord": _one(root / "spinal_cord", "t2_seg.nii.gz", "t2_image.nii.gz"),
        "MS lesions": [
            LabelledVolume(p, next(iter(sorted(p.parent.glob("*[Ff][Ll][Aa][Ii][Rr]*"))), None)) for p in lesions
        ],
        "H&N organs": [LabelledVolume(p) for p in sorted((root / "hn_ct_masks").glob("*_oars.nii.gz"))],
        "pulmonary artery": _one(root / "ct_heart", "heart_pulmonary_artery.nii.gz", "heart_ct.nii.gz"),
        "brain tumour": _one(root / "brain_tumour", "brain1_label.nrrd", "brain1_image.nrrd"),
        "EM bodies": _one(root / "em_fib25", "label_bodies.nii.gz", "image.nii.gz"),
        "EM interior": _one(root / "em_fib25", "label_interior.nii.gz", "image.nii.gz"),
    }


def _one(folder: Path, labels: str, image: str) -> list[LabelledVolume]:
    return [LabelledVolume(folder / labels, folder / image)] if (folder / labels).is_file() else []


def fixed_interval(depth: int, density: float) -> np.ndarray:
    """Slices centred in equal parts of the stack, as the figures to beat are taken."""
    count = max(1, round(density * depth))
    return np.unique(np.floor((np.arange(count) + 0.5) * depth / count).astype(int))
