"""Drawn slices as training patches: normalised images on disk, patches placed where a person has drawn."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles

from ..core import BadInputError, Cohort, SparseAnnotation, Watch
from ..core.atomic_files import written_atomically
from ..core.images import read_labels, require_finite
from ..core.planes import slice_layer

_FLOAT16_LARGEST = 60000.0


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One volume to train on, in the standard axis order (S, A, R) of `VolumeGeometry.to_standard_order`.

    Attributes:
        name: the case.
        image_path, labels_path: where `image` and `labels` lie on disk.
        slices: drawn slices to learn from, as (axis, index).
        held_out: drawn slices kept back for validation, as (axis, index).
        by_class: for each class index other than 0, the `slices` that show it.
        weights_path: where `weights` lies on disk; None when only drawn slices are learned from.
    """

    name: str
    image_path: Path
    labels_path: Path
    slices: tuple[tuple[int, int], ...]
    held_out: tuple[tuple[int, int], ...] = ()
    by_class: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    weights_path: Path | None = None

    # Mapped anew each time, which costs next to nothing: a cohort may have more cases than a process may have files.
    @property
    def image(self) -> np.ndarray:
        """(S, A, R) float16, normalised; mapped from disk, so a cohort may be larger than memory."""
        return np.load(self.image_path, mmap_mode="r")

    @property
    def labels(self) -> np.ndarray:
        """(S, A, R) class indices, mapped from disk; without `weights` they mean nothing off the drawn slices."""
        return np.load(self.labels_path, mmap_mode="r")

    @property
    def weights(self) -> np.ndarray | None:
        """(S, A, R) float16, mapped from disk: how much every voxel counts, 1 on drawn slices; None without fills."""
        return np.load(self.weights_path, mmap_mode="r") if self.weights_path is not None else None


def normalise(image: np.ndarray, kind: str) -> np.ndarray:
    """A (K, J, I) image as float16 with zero mean and unit variance ('z_score'), or 0.5-99.5 % to 0-1 ('percentile').

    Each volume by itself: MR intensities have no unit, and differ 10,000-fold between scanners. Raises BadInputError
    for a constant image.
    """
    tensor = torch.as_tensor(np.ascontiguousarray(image, dtype=np.float32))[None]
    if float(tensor.max()) == float(tensor.min()):
        raise BadInputError("The image is the same everywhere, so there is nothing to learn from.")
    if kind == "z_score":
        tensor = NormalizeIntensity()(tensor)
    else:
        tensor = ScaleIntensityRangePercentiles(lower=0.5, upper=99.5, b_min=0.0, b_max=1.0)(tensor)
    array = np.asarray(tensor[0].clamp(-_FLOAT16_LARGEST, _FLOAT16_LARGEST), dtype=np.float16)
    require_finite(array[:1], "The normalised image")
    return array


def normalised_image(cohort: Cohort, name: str, kind: str) -> np.ndarray:
    """A case's normalised image in standard order, (S, A, R) float16, mapped from the cohort's cache folder."""
    return np.load(normalised_image_path(cohort, name, kind), mmap_mode="r")


def normalised_image_path(cohort: Cohort, name: str, kind: str) -> Path:
    """Where a case's normalised image lies, as a .npy file; it is made when it is not there yet."""
    path = cohort.image_path(name)
    status = path.stat()
    stamp = f"{path}|{status.st_size}|{status.st_mtime_ns}|{kind}"
    cached = cohort.cache_folder / "normalised" / f"{name}-{hashlib.sha1(stamp.encode()).hexdigest()[:12]}.npy"
    if not cached.is_file():
        image, geometry = cohort.image(name)
        try:
            array = normalise(image, kind)
        except BadInputError as error:
            raise BadInputError(f"The image of case '{name}' cannot be used. {error}") from error
        _save_array(cached, geometry.to_standard_order(array))
    return cached


def training_cases(
    cohort: Cohort,
    names: Sequence[str],
    classes: dict[int, int],
    normalisation: str,
    validation_share: float,
    seed: int,
    folder: Path,
    watch: Watch,
    fill_weight: float = 0.0,
) -> list[TrainingCase]:
    """The annotated cases, ready for patches.

    Args:
        names: cases to learn from; each must have a drawn slice.
        classes: label value to class index.
        validation_share: share of all drawn slices to hold out; none when fewer than 20 are drawn.
        folder: where label maps are kept on disk while training.
        fill_weight: of filled voxels, times their confidence; 0: only drawn slices are learned from.

    Raises:
        BadInputError: a case has no drawn slice, or, with a `fill_weight`, no fill, or one of another annotation.
    """
    drawn: dict[str, list[tuple[int, int]]] = {}
    for number, name in enumerate(names):
        watch.step(number / len(names), f"preparing '{name}'")
        annotation = cohort.annotation(name)
        annotation.require_drawn(name)
        drawn[name] = _standard_slices(annotation)
        labels = annotation.drawn_labels()
        if fill_weight > 0:
            labels, weights = _filled(cohort, name, annotation, fill_weight)
            _save_array(folder / f"{name} weights.npy", annotation.geometry.to_standard_order(weights))
        _save_array(folder / f"{name}.npy", _class_labels(labels, annotation, classes))
    everything = [(name, s) for name, slices in drawn.items() for s in slices]
    held_out = _held_out(everything, validation_share, seed)
    cases = []
    for name, slices in drawn.items():
        labels_path = folder / f"{name}.npy"
        labels = np.load(labels_path, mmap_mode="r")
        learned = tuple(s for s in slices if (name, s) not in held_out)
        kept = tuple(s for s in slices if (name, s) in held_out)
        present = {s: np.unique(labels[slice_layer(*s)]) for s in learned}
        by_class = {c: tuple(s for s in learned if c in present[s]) for c in classes.values()}
        image_path = normalised_image_path(cohort, name, normalisation)
        shown = {c: s for c, s in by_class.items() if s}
        weights_path = folder / f"{name} weights.npy" if fill_weight > 0 else None
        cases.append(TrainingCase(name, image_path, labels_path, learned, kept, shown, weights_path))
    return cases


class PatchSampler:
    """Draws patches around supervised voxels; iteration `n` gives the same patches whenever it is asked for.

    A patch is placed on a voxel of a random structure on a random drawn slice that shows it (`foreground_share` of
    the patches), or on any voxel of a random drawn slice. The voxel lies anywhere in the patch, not only in its centre.
    """

    def __init__(self, cases: list[TrainingCase], patch: tuple[int, int, int], foreground_share: float, seed: int):
        self._cases = cases
        self._patch = patch
        self._foreground_share = foreground_share
        self._seed = seed
        self._slices = [(case, s) for case in cases for s in case.slices]
        classes = sorted({c for case in cases for c in case.by_class})
        self._by_class = [[(case, s) for case in cases for s in case.by_class.get(c, ())] for c in classes]
        self._class_of = classes

    def batch(self, iteration: int, size: int) -> list[dict[str, np.ndarray]]:
        """`size` patches: image (1, S, A, R) float32, label (1, S, A, R) uint8/uint16, supervised (1, S, A, R) bool."""
        rng = np.random.default_rng([self._seed, iteration])
        return [self._draw(rng) for _ in range(size)]

    def _draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        if self._by_class and rng.random() < self._foreground_share:
            which = int(rng.integers(len(self._by_class)))
            case, (axis, index) = self._by_class[which][int(rng.integers(len(self._by_class[which])))]
            inside = np.argwhere(case.labels[slice_layer(axis, index)] == self._class_of[which])
            in_plane = inside[int(rng.integers(len(inside)))].tolist()
        else:
            case, (axis, index) = self._slices[int(rng.integers(len(self._slices)))]
            in_plane = [int(rng.integers(n)) for a, n in enumerate(case.labels.shape) if a != axis]
        voxel = in_plane
        voxel.insert(axis, index)
        start = []
        for position, length, size in zip(voxel, self._patch, case.image.shape, strict=True):
            low, high = max(0, position - length + 1), min(position, size - length)
            start.append(int(rng.integers(low, high + 1)) if high >= low else -((length - size) // 2))
        return extract_patch(case, start, self._patch)


def extract_patch(case: TrainingCase, start: Sequence[int], size: Sequence[int]) -> dict[str, np.ndarray]:
    """One patch of a case from `start`, of `size` voxels; beyond the volume the image is 0 and nothing supervised.

    `supervised` is bool, or, where fills are learned from, the weights as float32.
    """
    case_image, case_labels = case.image, case.labels
    inside = tuple(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(start, size, case_image.shape, strict=True))
    place = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True))
    image = np.zeros(size, dtype=np.float32)
    labels = np.zeros(size, dtype=case_labels.dtype)
    weights = case.weights
    supervised = np.zeros(size, dtype=bool if weights is None else np.float32)
    image[place], labels[place] = case_image[inside], case_labels[inside]
    if weights is not None:
        supervised[place] = weights[inside]
    # Held-out slices last: where they cross a learned one, their voxels are not learned from.
    for slices, counts in ((case.slices, True), (case.held_out, False)):
        for axis, index in slices:
            if inside[axis].start <= index < inside[axis].stop:
                layer = list(place)
                layer[axis] = index - start[axis]
                supervised[tuple(layer)] = counts
    return {"image": image[None], "label": labels[None], "supervised": supervised[None]}


def _filled(
    cohort: Cohort, name: str, annotation: SparseAnnotation, fill_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a case's fill, and how much each voxel counts, (K, J, I) float16."""
    path, confidence_path = cohort.fill_path(name), cohort.fill_confidence_path(name)
    if not path.is_file() or not confidence_path.is_file():
        raise BadInputError(
            f"The case '{name}' has not been filled, so nothing can be learned from its fill. Fill it first, or learn "
            "from drawn slices alone (a fill weight of 0)."
        )
    labels = read_labels(path, annotation.geometry)
    confidence = read_labels(confidence_path, annotation.geometry)
    drawn = annotation.supervised_mask()
    if not np.array_equal(labels[drawn], annotation.labels[drawn]) or not np.array_equal(confidence == 100, drawn):
        raise BadInputError(f"The fill of case '{name}' is not one of what is drawn now. Fill it again.")
    weights = (confidence * np.float32(fill_weight / 100.0)).astype(np.float16)
    weights[drawn] = 1.0
    return labels, weights


def _class_labels(labels: np.ndarray, annotation: SparseAnnotation, classes: dict[int, int]) -> np.ndarray:
    table = np.zeros(max([int(labels.max()), *classes]) + 1, dtype=np.uint8 if len(classes) < 256 else np.uint16)
    for value, index in classes.items():
        table[value] = index
    return annotation.geometry.to_standard_order(table[labels])


def _standard_slices(annotation: SparseAnnotation) -> list[tuple[int, int]]:
    by_axis = annotation.drawn_by_axis().items()
    return [annotation.geometry.to_standard_slice(axis, index) for axis, indices in by_axis for index in indices]


def _held_out(slices: list, share: float, seed: int) -> set:
    count = int(len(slices) * share)
    if len(slices) < 20 or count == 0:
        return set()
    order = np.random.default_rng([seed, 0x5EED]).permutation(len(slices))
    return {slices[i] for i in order[:count]}


def _save_array(path: Path, array: np.ndarray) -> None:
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array))
        file.flush()
        os.fsync(file.fileno())
