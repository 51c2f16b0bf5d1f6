"""What a finished run gets right: each of its parts on the test volumes, and its pseudo-labels on the training volumes.

The parts of a run of self-training, all from one pass over a volume: each view of the base models (the 2D model along
three planes, '3D'), '2D' (its views averaged), '2D + 3D' (all views averaged: the pseudo-label that the final model
learns from), 'final alone', and 'self-training' (the final model averaged with '2D + 3D', as `predict` does).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from SparseAnnotateLib.core import Cohort, SparseAnnotation, Watch
from SparseAnnotateLib.learning.data.training_cases import normalised_image
from SparseAnnotateLib.learning.prediction.run_models import loaded_models
from SparseAnnotateLib.learning.prediction.view_averages import mean_view
from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction, most_likely
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.run_folder import RunFolder

PARTS = ("3D", "2D + 3D", "self-training")  # each is the one before and more
FLIPS = " + flips"
EVERYWHERE, OFF = "everywhere", "off the drawn slices"
DISTANCES = {"0": (0, 0), "1": (1, 1), "2": (2, 2), "3-4": (3, 4), "5+": (5, 1 << 30)}  # slices to the nearest drawn


class PartPrediction:
    """All parts of a finished run, for any number of volumes. `flips`: averaged over mirrored volumes."""

    def __init__(self, cohort: Cohort, run_name: str, device: str = "cpu", flips: bool = False):
        folder = RunFolder(cohort.run_folder(run_name))
        self._cohort = cohort
        self._card: RunCard = folder.card()
        self._models = loaded_models(folder, self._card, device, flips=flips)
        self._has_final = any(model.role == "final" for model in self._models)

    def labels(self, case: str, watch: Watch) -> dict[str, np.ndarray]:
        """Labels of a case by every part, (K, J, I); drawn slices are predicted like all others."""
        image = normalised_image(self._cohort, case, self._card.normalisation)
        volume = VolumePrediction(self._models, image, watch, self._card.view_weights or None)

        def slab(start: int, stop: int) -> dict[str, np.ndarray]:
            parts = self._parts(*volume.joint_and_views(start, stop))
            return {part: most_likely(probabilities) for part, probabilities in parts.items()}

        slabs: dict[str, list[np.ndarray]] = defaultdict(list)
        for _start, _stop, found in volume.slabs(slab):
            for part, classes in found.items():
                slabs[part].append(classes)
        to_own = self._cohort.geometry(case).from_standard_order
        return {part: to_own(self._card.label_table[np.concatenate(found)]) for part, found in slabs.items()}

    def _parts(self, joint: torch.Tensor, views: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights = self._card.view_weights or None
        flat = {name: view for name, view in views.items() if name != "3d"}
        parts = {f"2D {name}": view for name, view in flat.items()}
        if flat:
            parts["2D"] = mean_view(flat, weights)
        if "3d" in views:
            parts["3D"] = views["3d"]
        if flat and "3d" in views:
            parts["2D + 3D"] = mean_view(views, weights)
        if self._has_final:
            parts["self-training"] = joint
            parts["final alone"] = 2 * joint - mean_view(views, weights)  # joint: half of each
        return parts


def dice_of_labels(labels: np.ndarray, reference: np.ndarray, counted: np.ndarray, values: Sequence[int]):
    """Dice of each label value over the voxels `counted`; 0 when neither has it."""
    found = []
    for value in values:
        p, t = (labels == value)[counted], (reference == value)[counted]
        found.append(float(2 * (p & t).sum() / max(1, p.sum() + t.sum())))
    return found


def slice_distances(annotation: SparseAnnotation) -> np.ndarray:
    """(K, J, I) int32: how many slices each voxel is from the nearest drawn one; without any, the largest number."""
    distances = np.full(annotation.geometry.shape, np.iinfo(np.int32).max, dtype=np.int32)
    for axis, drawn in annotation.drawn_by_axis().items():
        steps = np.abs(np.arange(distances.shape[axis])[:, None] - np.asarray(drawn)).min(1)
        shape = [1, 1, 1]
        shape[axis] = -1
        np.minimum(distances, steps.reshape(shape), out=distances, casting="unsafe")
    return distances


class Tally:
    """Counts over several volumes: Dice of each part, agreement of the views, and what the final model repeats.

    All of it everywhere, off the drawn slices, and by the distance from the nearest drawn slice.
    """

    def __init__(self, values: Sequence[int]):
        self._values = tuple(values)
        self._voxels: dict[tuple[str, str, int], np.ndarray] = defaultdict(lambda: np.zeros(3, dtype=np.int64))
        self._counts: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, parts: dict[str, np.ndarray], reference: np.ndarray, distances: np.ndarray) -> None:
        """Count a volume: labels of every part, reference and `slice_distances`, all (K, J, I)."""
        places = {EVERYWHERE: np.ones(reference.shape, dtype=bool), OFF: distances > 0}
        places |= {name: (distances >= least) & (distances <= most) for name, (least, most) in DISTANCES.items()}
        for place, here in places.items():
            if here.any():
                inside = {part: labels[here] for part, labels in parts.items()}
                self._add_dice(place, inside, reference[here])
                self._add_agreement(place, inside, reference[here])

    def _add_dice(self, place: str, parts: dict[str, np.ndarray], reference: np.ndarray) -> None:
        for part, labels in parts.items():
            for value in self._values:
                p, t = labels == value, reference == value
                self._voxels[part, place, value] += ((p & t).sum(), p.sum(), t.sum())

    def _add_agreement(self, place: str, parts: dict[str, np.ndarray], reference: np.ndarray) -> None:
        views = np.stack([labels for part, labels in parts.items() if part == "3D" or part.startswith("2D ")])
        if "2D + 3D" not in parts:
            return
        concerned = (reference > 0) | (views > 0).any(0)
        agreed = (views == views[0]).all(0) & concerned
        mean = parts["2D + 3D"]
        right = mean == reference
        counts = {
            "concerned": concerned,
            "agreed": agreed,
            "right where agreed": agreed & right,
            "right elsewhere": concerned & ~agreed & right,
        }
        if "final alone" in parts:
            final = parts["final alone"]
            counts["errors"] = concerned & ~right
            counts["errors repeated"] = concerned & ~right & (final == mean)
            counts["errors mended"] = concerned & ~right & (final == reference)
            counts["errors added"] = concerned & right & (final != reference)
        for name, voxels in counts.items():
            self._counts[name, place] += int(voxels.sum())

    def dice(self) -> dict[str, dict[str, float]]:
        """Dice of each part in each place, over all volumes together, mean of the labels that the reference shows."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for part, place in dict.fromkeys(key[:2] for key in self._voxels):
            counts = [self._voxels[part, place, value] for value in self._values]
            shown = [2 * both / (p + t) for both, p, t in counts if t]
            if shown:
                found[part][place] = float(np.mean(shown))
        return dict(found)

    def agreement(self) -> dict[str, dict[str, float]]:
        """Shares in each place, of voxels that the reference or any view calls a structure.

        'agreed': all views say the same. 'right where agreed', 'right elsewhere': '2D + 3D' is right. Of the voxels
        where it is wrong, the final model alone gives the same label ('errors repeated') or the right one ('errors
        mended'); of those where it is right, the final model is wrong ('errors added').
        """
        found: dict[str, dict[str, float]] = defaultdict(dict)
        wholes = {
            "agreed": lambda count: count("concerned"),
            "right where agreed": lambda count: count("agreed"),
            "right elsewhere": lambda count: count("concerned") - count("agreed"),
            "errors repeated": lambda count: count("errors"),
            "errors mended": lambda count: count("errors"),
            "errors added": lambda count: count("concerned") - count("errors"),
        }
        for place in dict.fromkeys(key[1] for key in self._counts):
            for name, whole in wholes.items():
                total = whole(lambda key, place=place: self._counts[key, place])
                if (name, place) in self._counts and total:
                    found[name][place] = self._counts[name, place] / total
        return dict(found)


def measured(
    cohort: Cohort, test: Sequence[str], training: Sequence[str], prediction: PartPrediction, watch: Watch
) -> tuple[dict[str, list[list[float]]], dict[str, dict]]:
    """Dice on the test cases, and what the pseudo-labels of the training cases are worth.

    The first result has a list of the labels' Dice for each part and test case, over the voxels that were not drawn
    (over all voxels, if all were drawn). The second has `Tally.dice` and `Tally.agreement` of 'test' and 'training'.
    Without training cases it is empty, which is faster.
    """
    values = tuple(cohort.labels)
    found: dict[str, list[list[float]]] = defaultdict(list)
    tallies = {"test": Tally(values), "training": Tally(values)}
    for name in dict.fromkeys([*test, *training]):
        annotation, reference = cohort.annotation(name), cohort.reference(name)
        parts = prediction.labels(name, watch)
        if name in test:
            counted = ~annotation.supervised_mask()
            if not counted.any():
                counted[:] = True
            for part, labels in parts.items():
                found[part].append(dice_of_labels(labels, reference, counted, values))
        if training:
            tallies["training" if name in training else "test"].add(parts, reference, slice_distances(annotation))
    if not training:
        return dict(found), {}
    return dict(found), {kind: {"dice": t.dice(), "agreement": t.agreement()} for kind, t in tallies.items()}
