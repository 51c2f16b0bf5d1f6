"""Pseudo-labels: the base models' predictions for every voxel, along each plane and in 3D (Zheng et al. 2020)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...core import Cohort, RunError, Watch
from ...core.array_files import save_array
from ...core.atomic_files import written_atomically
from ...core.images import write_image
from ...core.messages import _
from ...runs.plan import RunPlan
from ...runs.run_folder import RunFolder
from ..data.training_cases import TrainingCase, kept_path, normalised_image, normalised_image_path
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import agreement
from ..prediction.volume_prediction import VolumePrediction, class_dtype
from .distributed import Ranks

_LOCATED_AT_MOST = 2000
_MARGIN = 16  # voxels


def write_pseudo_labels(
    cohort: Cohort, folder: RunFolder, plan: RunPlan, models: list[TrainedModel], ranks: Ranks, watch: Watch
) -> None:
    """Predict all cases of a run with its base models and write the results; cases that have them are skipped.

    Each case gets its sets of class indices (`RunFolder.pseudo_labels_path`) and a map of their agreement in percent
    (`RunFolder.agreement_path`), which is 100 on voxels that are drawn, where all structures are decided.
    """
    names = [*plan.cases, *plan.undrawn_cases]
    for number in ranks.share(len(names)):
        name = names[number]
        if folder.pseudo_labels_path(name).is_file():
            continue
        part = watch.part(number, len(names), _("pseudo-labels of '{name}': ").format(name=name))
        settings = plan.settings
        image = normalised_image(cohort, name, settings.normalisation, plan.channels, plan.ct, part)
        volume = VolumePrediction(models, image, part)
        shape = (len(volume.view_names), *image.shape[-3:])
        sets, sure = np.zeros(shape, dtype=class_dtype(plan.class_count)), np.zeros(shape, dtype=np.uint8)
        for start, stop, found in volume.slabs(volume.sets):
            sets[:, start:stop], sure[:, start:stop] = found
        _write_agreement(cohort, folder, plan, name, sets)
        with written_atomically(folder.pseudo_labels_path(name)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, sets=sets, sure=sure, views=np.array(volume.view_names))
    ranks.wait()


def read_pseudo_labels(folder: RunFolder, case: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The sets of a case, (V, S, A, R) class indices and their probabilities, 255 for 1, and the views they come from.

    Raises RunError.
    """
    path = folder.pseudo_labels_path(case)
    try:
        with np.load(path, allow_pickle=False) as content:
            return content["sets"], content["sure"], tuple(str(name) for name in content["views"])
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            _("The pseudo-labels '{path}' cannot be read ({error}). Train again under another name.").format(
                path=path, error=error
            )
        ) from error


def majority(sets: np.ndarray, class_count: int) -> np.ndarray:
    """The class index that most sets have, (V, S, A, R) to (S, A, R); in a tie the lower one."""
    best, most = np.zeros(sets.shape[1:], dtype=sets.dtype), np.zeros(sets.shape[1:], dtype=np.uint8)
    for value in range(class_count):
        votes = (sets == value).sum(0, dtype=np.uint8)
        best[votes > most] = value
        np.maximum(most, votes, out=most)
    return best


def with_pseudo_labels(
    cohort: Cohort, folder: RunFolder, plan: RunPlan, cases: Sequence[TrainingCase], ranks: Ranks
) -> list[TrainingCase]:
    """The cases to train a final model on: the drawn ones, and those without drawn slices."""
    known = {case.name: case for case in cases}
    unknown_sets = next((case.unknown_sets for case in cases if case.unknown_sets), ())
    found = []
    for name in [*plan.cases, *plan.undrawn_cases]:
        sets, sure, _ = read_pseudo_labels(folder, name)
        box = _box(sets)
        path = kept_path(folder.labels_folder, "pseudo-labels", name)
        if ranks.is_first:
            inside = (slice(None), *box)
            save_array(path, np.stack([sets[inside], sure[inside].astype(sets.dtype)]))
        case = known.get(name) or _undrawn_case(cohort, folder, plan, name, sets, ranks)
        start = tuple(side.start for side in box)
        located = _located(majority(sets, plan.class_count), plan)
        # The final model does not learn from fills: the base models did, and their pseudo-labels carry that on.
        case = replace(case, weights_path=None, distances_paths={}, distance_classes=0, unknown_sets=unknown_sets)
        found.append(replace(case, pseudo_path=path, pseudo_start=start, located=located))
    ranks.wait()
    return found


def _box(sets: np.ndarray) -> tuple[slice, ...]:
    """The box around the structures of all sets, with a margin; only this part is kept uncompressed."""
    seen = (sets > 0).any(0)
    box = []
    for axis in range(3):
        indices = np.flatnonzero(np.any(seen, axis=tuple(a for a in range(3) if a != axis)))
        low, high = (indices[0], indices[-1] + 1) if len(indices) else (0, 1)
        box.append(slice(max(0, int(low) - _MARGIN), min(seen.shape[axis], int(high) + _MARGIN)))
    return tuple(box)


def _undrawn_case(cohort: Cohort, folder: RunFolder, plan: RunPlan, name: str, sets, ranks: Ranks) -> TrainingCase:
    labels_path = kept_path(folder.labels_folder, "labels", name)
    if ranks.is_first:
        save_array(labels_path, np.zeros(sets.shape[1:], dtype=sets.dtype))
    image_path = normalised_image_path(cohort, name, plan.settings.normalisation, plan.channels, plan.ct)
    return TrainingCase(name, image_path, labels_path, ())


def _located(labels: np.ndarray, plan: RunPlan) -> dict[int, np.ndarray]:
    """For each class up to 2000 random voxels of it, (n, 3) int16."""
    found = {}
    for value in range(1, plan.class_count):
        places = np.flatnonzero(labels == value)
        if len(places):
            rng = np.random.default_rng([plan.settings.seed, value])
            places = rng.choice(places, min(len(places), _LOCATED_AT_MOST), replace=False)
            found[value] = np.stack(np.unravel_index(places, labels.shape), 1).astype(np.int16)
    return found


def _write_agreement(cohort: Cohort, folder: RunFolder, plan: RunPlan, name: str, sets: np.ndarray) -> None:
    geometry = cohort.geometry(name)
    percent = np.ascontiguousarray(geometry.from_standard_order(agreement(sets)))
    percent[cohort.annotation(name).decided_mask(plan.classes)] = 100
    write_image(folder.agreement_path(name), percent, geometry)
