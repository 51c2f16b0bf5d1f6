"""The sets that `learning` trains on, and their splits: which volumes teach, which are measured, and where.

Hippocampus: 200 volumes in five folds of 40, by a permutation with a seed of its own. A split trains on one fold and
tests on the first 20 volumes of another. **Splits 0 and 1 are for choosing settings, splits 2, 3 and 4 for reporting
figures**: the two groups share no volume. 'first' is the split of earlier figures, the first 40 volumes listed and the
next 20; today's settings were chosen on it, so figures of it flatter them.

MS lesions: two patients. '07 to 19' and '19 to 07' train on one and test on the other; 'within' trains on both and
measures those voxels of them that were not drawn. Pulmonary artery and spinal cord have one volume each, so there is
only 'within': it tells how well the rest of a volume is found, and nothing about other patients.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interpolation import labelled_sets
from SparseAnnotateLib.core import Cohort, Plane, Watch
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests

HIPPOCAMPUS, WITHIN = "hippocampus", "within"
FOLDS = {"0": (1, 0), "1": (0, 1), "2": (3, 2), "3": (4, 3), "4": (2, 4)}  # split: trained on, tested on
CHOOSING, REPORTING = ("0", "1"), ("2", "3", "4")
SPLITS = {
    HIPPOCAMPUS: ("first", *FOLDS),
    "MS lesions": ("07 to 19", "19 to 07", WITHIN),
    "pulmonary artery": (WITHIN,),
    "spinal cord": (WITHIN,),
}
ONE = 0.0  # the density that means one slice per volume
_TRAINING, _TEST, _QUICK_TRAINING, _QUICK_TEST = 40, 20, 6, 3
_SEED_OF_FOLDS = 2026


@dataclass(frozen=True, eq=False)
class Split:
    """A cohort with the names of the cases to train on, and of those to measure."""

    cohort: Cohort
    training: tuple[str, ...]
    test: tuple[str, ...]
    plane: Plane


def hippocampus_split(names: list[str], split: str, quick: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the volumes to train on and to test on; raises KeyError for an unknown split."""
    training, test = (_QUICK_TRAINING, _QUICK_TEST) if quick else (_TRAINING, _TEST)
    if split == "first":
        return tuple(names[:training]), tuple(names[training : training + test])
    order = np.random.default_rng(_SEED_OF_FOLDS).permutation(len(names))
    folds = [[names[n] for n in fold] for fold in np.array_split(order, len(FOLDS))]
    taught, tested = FOLDS[split]
    return tuple(folds[taught][:training]), tuple(folds[tested][:test])


def opened_split(name: str, split: str, data: Path, work: Path, quick: bool = False) -> Split:
    """A set's cohort with one of its splits; what is drawn and trained goes to the folder `work`."""
    if name == HIPPOCAMPUS:
        cohort = Cohort.open(data / "msd_hippocampus", work / "state")
        listed = [case.name for case in cohort.cases if case.reference]
        return Split(cohort, *hippocampus_split(listed, split, quick), Plane.CORONAL)
    folder = work / "cohort"
    if not (folder / "cohort.json").is_file():
        Cohort.create(folder, name, {1: name})
    cohort = Cohort.open(folder, work / "state")
    for volume in labelled_sets(data)[name]:
        if not cohort.has_case(volume.image.parent.name):
            cohort.add_case(volume.image.parent.name, volume.image, reference=volume.labels)
    names = tuple(case.name for case in cohort.cases)
    if split == WITHIN:
        return Split(cohort, names, names, Plane.AXIAL)
    taught, tested = (f"patient{number}" for number in split.split(" to "))
    return Split(cohort, (taught,), (tested,), Plane.AXIAL)


def measured_on(name: str, split: str, is_full: bool) -> str:
    """Which voxels the Dice of a configuration counts."""
    if split != WITHIN:
        return "other volumes" if name == HIPPOCAMPUS else "the other patient"
    return "voxels it learned from" if is_full else "undrawn voxels of the same volumes"


def draw(split: Split, density: float, strategy: str, seed: int) -> int:
    """Recommend slices of the training volumes and draw them from the reference; returns how many are drawn."""
    cohort, training = split.cohort, split.training
    common = {"cohort": str(cohort.folder), "state": str(cohort.state_folder), "cases": training}
    finished = cohort.state_folder / "all_drawn"
    if not finished.is_file():
        shutil.rmtree(cohort.state_folder, ignore_errors=True)  # of a run that was killed while it drew
        requests.recommend(
            requests.RecommendRequest(
                **common,
                budget=Budget(per_volume=1) if density == ONE else Budget(density=density),
                planes=(split.plane,),
                strategy="fixed_interval" if strategy == "full" else strategy,
                seed=seed,
                whole=True,
            ),
            Watch(),
        )
        requests.draw(requests.DrawRequest(**common), Watch())
        finished.touch()
    return sum(len(cohort.ledger(name).decided) for name in training)
