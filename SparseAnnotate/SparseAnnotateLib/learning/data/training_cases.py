"""Cases as training data: normalised images, labels, weights, distances and pseudo-labels, mapped from disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles
from scipy.ndimage import distance_transform_edt

from ...core import BadInputError, Cohort, SparseAnnotation, Watch
from ...core.array_files import is_whole_array, mapped_array, save_array
from ...core.case_names import file_stem
from ...core.image_fingerprint import joined_fingerprint
from ...core.images import read_facts, read_labels, read_percent
from ...core.intensities import Intensities
from ...core.messages import _
from ...core.origin import Origin, belongs_to, stale_sentence
from ...core.planes import slice_layer
from ...core.structure_values import names_from_facts
from ...core.voxel_values import label_counts, require_finite
from ...runs.ct_scale import CtScale
from ...runs.learned_images import ImageFacts
from .ct_statistics import scale_marks
from .held_out_slices import held_out_slices
from .image_channels import channels_mark, require_channels, require_ct
from .image_facts import facts_path, keep_facts

_FLOAT16_LARGEST = 60000.0
_SAMPLES = 1 << 18
_AIR, _METAL, _NARROW = -1000.0, 4000.0, 20.0  # Hounsfield units: no CT lies beyond, or has a smaller range
_VERSION = 2  # part of every name in the cache: images normalised by another version are not used


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One volume to train on, in the standard axis order (S, A, R) of `VolumeGeometry.to_standard_order`.

    Attributes:
        name: the case.
        image_path, labels_path: where `image` and `labels` lie on disk.
        slices: drawn slices to learn from, as (axis, index); none in a case that has only pseudo-labels.
        held_out: drawn slices kept back for validation, as (axis, index). held_out_sizes: voxels of structures on each;
            empty: not known.
        by_class: for each class index other than 0, the `slices` that show it.
        weights_path: where `weights` lies on disk; None when only drawn slices are learned from.
        distances_paths: for each axis with slices to learn from, where their `distances` lie on disk.
        distance_classes: of how many classes patches carry distances; 0: none.
        pseudo_path: where pseudo-labels lie on disk, except for plain background: (2, V, S, A, R), see
            `pseudo_labels`; None without any. pseudo_start: first voxel of that box.
        located: for each class index other than 0, (n, 3) voxels that pseudo-labels put there.
        undecided_path: where `undecided` lies on disk; None when every voxel of the drawn slices has been decided, and
            no fill says more of them.
        corrected_path: where `corrected` lies on disk; None without corrections.
        unknown_path: where `unknown` lies on disk; None when the drawn slices decide all structures.
        unknown_sets: sets of class indices, the same for all cases that are trained on together.
    """

    name: str
    image_path: Path
    labels_path: Path
    slices: tuple[tuple[int, int], ...]
    held_out: tuple[tuple[int, int], ...] = ()
    by_class: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    weights_path: Path | None = None
    distances_paths: dict[int, Path] = field(default_factory=dict)
    distance_classes: int = 0
    pseudo_path: Path | None = None
    pseudo_start: tuple[int, int, int] = (0, 0, 0)
    located: dict[int, np.ndarray] = field(default_factory=dict)
    undecided_path: Path | None = None
    corrected_path: Path | None = None
    unknown_path: Path | None = None
    unknown_sets: tuple[tuple[int, ...], ...] = ()
    held_out_sizes: tuple[int, ...] = ()

    # Mapped at each access, which costs almost nothing: a cohort may have more cases than a process may open files.
    @property
    def image(self) -> np.ndarray:
        """(S, A, R) float16, normalised, (C, S, A, R) of several channels; mapped from disk, so a cohort may be larger
        than memory."""
        return mapped_array(self.image_path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volume, (S, A, R)."""
        s, a, r = self.image.shape[-3:]
        return s, a, r

    @property
    def labels(self) -> np.ndarray:
        """(S, A, R) class indices, mapped from disk; without `weights` they are undefined off the drawn slices."""
        return mapped_array(self.labels_path)

    @property
    def weights(self) -> np.ndarray | None:
        """(S, A, R) float16, mapped from disk: how much every voxel counts, 1 on drawn slices; None without fills."""
        return mapped_array(self.weights_path) if self.weights_path is not None else None

    @property
    def undecided(self) -> np.ndarray | None:
        """(S, A, R) bool, mapped from disk: undecided voxels of drawn slices, and those whose label is that of a fill,
        because the slice does not speak for the structure; None without any."""
        return mapped_array(self.undecided_path) if self.undecided_path is not None else None

    @property
    def corrected(self) -> np.ndarray | None:
        """(S, A, R) bool, mapped from disk: voxels off the drawn slices of which corrections say something."""
        return mapped_array(self.corrected_path) if self.corrected_path is not None else None

    @property
    def unknown(self) -> np.ndarray | None:
        """(S, A, R) int16, mapped from disk: n where the classes of `unknown_sets[n - 1]` are unknown, 0 elsewhere."""
        return mapped_array(self.unknown_path) if self.unknown_path is not None else None

    def unknown_on(self, axis: int, index: int, c: int | None = None) -> np.ndarray:
        """(rows, columns) bool: the voxels of a drawn slice where a class, or any class, is unknown."""
        unknown = self.unknown
        layer = slice_layer(axis, index)
        if unknown is None:
            return np.zeros(self.labels[layer].shape, dtype=bool)
        table = np.array([False, *(c is None or c in classes for classes in self.unknown_sets)])
        found: np.ndarray = table[unknown[layer]]
        return found

    def decided_on(self, axis: int, index: int) -> np.ndarray:
        """(rows, columns) bool: the voxels of a drawn slice that a person has decided; all, as a rule.

        Of some classes nothing may be known on them; see `unknown_on`.
        """
        undecided = self.undecided
        layer = slice_layer(axis, index)
        return np.ones(self.labels[layer].shape, dtype=bool) if undecided is None else ~undecided[layer]

    def pseudo_labels(self, box: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The pseudo-labels of a box of the volume, by each of V base models.

        Returns class indices (V, *box) and their probabilities (V, *box) uint8, 255 for 1. Far from all structures,
        where nothing is stored, the result is background with certainty.
        """
        if self.pseudo_path is None:
            raise ValueError(f"'{self.name}' has no pseudo-labels")
        kept: Any = mapped_array(self.pseudo_path)
        shape = [side.stop - side.start for side in box]
        sets = np.zeros((kept.shape[1], *shape), dtype=kept.dtype)
        sure = np.full(sets.shape, 255, dtype=np.uint8)
        there, here = [slice(None)], [slice(None)]
        for side, start, count in zip(box, self.pseudo_start, kept.shape[2:], strict=True):
            low, high = max(side.start, start), min(side.stop, start + count)
            if low >= high:
                return sets, sure
            there.append(slice(low - start, high - start))
            here.append(slice(low - side.start, high - side.start))
        sets[tuple(here)], sure[tuple(here)] = kept[(0, *there)], kept[(1, *there)]
        return sets, sure

    def distances(self, axis: int) -> np.ndarray:
        """(n, C, *slice) float16, mapped from disk: of the `slices` across an axis, in order; see `slice_distances`."""
        return mapped_array(self.distances_paths[axis])


def normalise(image: np.ndarray, kind: str, ct: CtScale | None = None, watch: Watch | None = None) -> np.ndarray:
    """A (K, J, I) image as float16 with zero mean and unit variance ('z_score'), or 0.5-99.5 % to 0-1 ('percentile').

    Each volume by itself: MR intensities have no unit, and differ 10,000-fold between scanners. Padding far outside
    the range of the image is ignored and clipped; see `Intensities`. With `ct` the scale is the same for all volumes.

    A large image takes seconds, so `watch` can cancel in between. Raises BadInputError for a constant image.
    """
    watch = watch or Watch()
    if ct is not None:
        return _in_ct_window(image, ct)
    intensities = Intensities.of(image)
    tensor = torch.as_tensor(np.ascontiguousarray(intensities.of_part(image)))[None]
    low, high = float(tensor.min()), float(tensor.max())
    watch.check()
    if low == high:
        raise BadInputError(_("The image is uniform, so there is nothing to learn from."))
    if intensities.is_clipped:
        start, width = _start_and_width(intensities.shown_in(image).astype(np.float64), kind)
        tensor = (tensor - start) / width
    elif kind == "z_score":
        tensor = torch.as_tensor(NormalizeIntensity()(tensor))
    elif _is_nearly_constant(tensor):
        tensor = (tensor - low) / (high - low)
    else:
        scaled = ScaleIntensityRangePercentiles(lower=0.5, upper=99.5, b_min=0.0, b_max=1.0)(tensor)
        tensor = torch.as_tensor(scaled)
    watch.check()
    array = np.asarray(tensor[0].clamp(-_FLOAT16_LARGEST, _FLOAT16_LARGEST), dtype=np.float16)
    require_finite(array[:1], _("The normalized image"))
    return array


def _in_ct_window(image: np.ndarray, ct: CtScale) -> np.ndarray:
    require_finite(image, _("The image"))
    if image.min() == image.max():
        raise BadInputError(_("The image is uniform, so there is nothing to learn from."))
    lowest, highest = float(image.min()), float(image.max())
    if highest <= _AIR or lowest >= _METAL or highest / 2 - lowest / 2 < _NARROW / 2:
        raise BadInputError(
            _(
                "Its values lie between {lowest:g} and {highest:g}, so they are no Hounsfield units. Check the "
                "modality, or convert the image."
            ).format(lowest=lowest, highest=highest)
        )
    return np.clip(ct.of(image), -_FLOAT16_LARGEST, _FLOAT16_LARGEST).astype(np.float16)


def _start_and_width(values: np.ndarray, kind: str) -> tuple[float, float]:
    """The value that becomes 0, and the difference that becomes 1."""
    if kind == "z_score":
        return float(values.mean()), float(values.std()) or 1.0
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high - low) or float(np.ptp(values)) or 1.0


def _is_nearly_constant(tensor: torch.Tensor) -> bool:
    """Whether more than 99 % of the voxels have the same grey value, so that percentiles are of no use."""
    values = tensor.numpy().ravel()
    middle = np.median(values[:: max(1, values.size // _SAMPLES)])
    return bool(np.count_nonzero(values != middle) < 0.01 * values.size)


def normalised_image(
    cohort: Cohort,
    name: str,
    kind: str,
    channels: Sequence[str] = (),
    ct: Mapping[str, CtScale] | None = None,
    watch: Watch | None = None,
) -> np.ndarray:
    """A case's normalised image in standard order, (S, A, R) float16, mapped from the cohort's cache folder.

    With several `channels` (C, S, A, R), in their order. `ct`: scales of CT channels by name, '' for images without.
    `watch` can cancel while the image is read and normalised. Raises BadInputError when the case lacks a channel.
    """
    return mapped_array(normalised_image_path(cohort, name, kind, channels, ct, watch))


def normalised_image_path(
    cohort: Cohort,
    name: str,
    kind: str,
    channels: Sequence[str] = (),
    ct: Mapping[str, CtScale] | None = None,
    watch: Watch | None = None,
) -> Path:
    """Where a case's normalised image lies, as a .npy file; it is written if it is missing or damaged.

    `watch` can cancel while the image is read and normalised; nothing is written then.

    Raises BadInputError when the case lacks a channel, the images of a cohort are not these channels, or a channel that
    is to be scaled as CT is something else.
    """
    require_channels(cohort, [name], channels)
    require_ct(cohort, ct or ())
    which = channels_mark(channels) if len(channels) > 1 or len(cohort.channels) > 1 else ""
    ct = ct or {}
    kinds = f"{kind}-{_VERSION}{which}{scale_marks(ct)}"
    marks = cohort.image_marks(name)
    cached = cohort.cache_folder / "normalised" / f"{joined_fingerprint(list(marks.items()))}-{kinds}.npy"
    if not is_whole_array(cached):
        watch = watch or Watch()
        image, geometry = cohort.image(name)
        cohort.keep_voxels(name, image, marks)
        keep_facts(facts_path(cohort, name), ImageFacts.of(image, geometry))
        # One after the other into one array, because of their memory.
        joint = np.empty((max(1, len(channels)), *geometry.standard_shape), dtype=np.float16)
        for place, channel in zip(joint, channels or ("",), strict=True):
            is_first = channel in ("", *cohort.channels[:1])
            own = image if is_first else cohort.channel_image(name, channel, geometry)
            if not is_first:
                cohort.keep_voxels(name, own, marks, channel)
            watch.check()
            place[:] = geometry.to_standard_order(_normalised(own, kind, name, channel, ct.get(channel), watch))
            watch.check()
        save_array(cached, joint if len(joint) > 1 else joint[0])
    return cached


def _normalised(image: np.ndarray, kind: str, name: str, channel: str, ct: CtScale | None, watch: Watch) -> np.ndarray:
    try:
        return normalise(image, kind, ct, watch)
    except BadInputError as error:
        what = _("The image of case '{name}'") if not channel else _("The channel '{channel}' of case '{name}'")
        raise BadInputError(
            _("{what} cannot be used. {error}").format(
                what=what.format(name=name, channel=channel), error=error.message
            )
        ) from error


def training_cases(
    cohort: Cohort,
    names: Sequence[str],
    classes: dict[int, int],
    *,
    normalisation: str,
    validation_share: float,
    seed: int,
    folder: Path,
    watch: Watch,
    fill_weight: float = 0.0,
    with_distances: bool = False,
    unknown_sets: dict[tuple[int, ...], int] | None = None,
    read: Callable[[str], SparseAnnotation] | None = None,
    ct: Mapping[str, CtScale] | None = None,
    channels: Sequence[str] | None = None,
) -> list[TrainingCase]:
    """The annotated cases, ready for patches.

    Args:
        names: cases to learn from; each must have a drawn slice.
        classes: label value to class index.
        validation_share: share of all drawn slices to hold out; none when fewer than 20 are drawn, and never the last
            one that shows a structure.
        folder: where label maps are kept on disk while training, see `kept_path`.
        fill_weight: of filled voxels, times their confidence; 0: only drawn slices are learned from.
        with_distances: whether the distances to the boundaries are needed.
        unknown_sets: the number of each set of class indices in the cases there are already; new sets are added.
        read: gives the annotation of a case, instead of `Cohort.annotation`.
        ct: scales of CT channels by name.
        channels: those of the run, none where its images have no names; by default those that the cohort has now.

    Raises:
        BadInputError: a case has no drawn slice, or lacks a channel, or, with a `fill_weight`, no fill, or a fill of
            another annotation.
    """
    drawn: dict[str, list[tuple[int, int]]] = {}
    sizes: dict[tuple[str, tuple[int, int]], np.ndarray] = {}
    undecided: dict[str, Path] = {}
    corrected: dict[str, Path] = {}
    unknown: dict[str, Path] = {}
    unknown_sets = {} if unknown_sets is None else unknown_sets
    for number, name in enumerate(names):
        watch.step(
            number / len(names) / 2,
            _("reading the drawn slices of '{case}', {number} of {count}").format(
                case=name, number=number + 1, count=len(names)
            ),
        )
        annotation = (read or cohort.annotation)(name)
        annotation.require_drawn(name)
        drawn[name] = _standard_slices(annotation)
        labels, open_voxels = annotation.drawn_labels(), annotation.undecided
        is_corrected = annotation.corrected_mask() if annotation.corrections is not None else None
        if fill_weight > 0:
            labels, weights, guessed = _filled(cohort, name, annotation, fill_weight)
            if guessed.any():
                open_voxels = guessed if open_voxels is None else open_voxels | guessed
                is_corrected = is_corrected & ~guessed if is_corrected is not None else None
            save_array(kept_path(folder, "weights", name), annotation.geometry.to_standard_order(weights))
        of_classes = _class_labels(labels, annotation, classes)
        sizes |= {(name, s): _class_sizes(of_classes[slice_layer(*s)], len(classes)) for s in drawn[name]}
        save_array(kept_path(folder, "labels", name), of_classes)
        if open_voxels is not None:
            undecided[name] = kept_path(folder, "undecided", name)
            save_array(undecided[name], annotation.geometry.to_standard_order(open_voxels))
        if is_corrected is not None:
            corrected[name] = kept_path(folder, "corrected", name)
            save_array(corrected[name], annotation.geometry.to_standard_order(is_corrected))
        left = _unknown_classes(annotation, labels, classes, unknown_sets)
        if left is not None:
            unknown[name] = kept_path(folder, "unknown", name)
            save_array(unknown[name], left)
    held_out = held_out_slices(sizes, validation_share, seed)
    cases = []
    for number, (name, slices) in enumerate(drawn.items()):
        watch.step(
            0.5 + number / len(names) / 2,
            _("preparing '{case}', {number} of {count}").format(case=name, number=number + 1, count=len(names)),
        )
        labels_path = kept_path(folder, "labels", name)
        learned = tuple(s for s in slices if (name, s) not in held_out)
        kept = tuple(s for s in slices if (name, s) in held_out)
        by_class = {c: tuple(s for s in learned if sizes[name, s][c - 1]) for c in classes.values()}
        seen = cohort.channels if channels is None else channels
        image_path = normalised_image_path(cohort, name, normalisation, seen, ct, watch)
        shown = {c: s for c, s in by_class.items() if s}
        weights_path = kept_path(folder, "weights", name) if fill_weight > 0 else None
        case = TrainingCase(name, image_path, labels_path, learned, kept, shown, weights_path)
        case = replace(case, undecided_path=undecided.get(name), unknown_path=unknown.get(name))
        case = replace(case, unknown_sets=tuple(unknown_sets), corrected_path=corrected.get(name))
        case = replace(case, held_out_sizes=tuple(int(sizes[name, s].sum()) for s in kept))
        if with_distances:
            paths = _saved_distances(folder, case, len(classes) + 1, watch)
            case = replace(case, distances_paths=paths, distance_classes=len(classes) + 1)
        cases.append(case)
    return cases


def kept_path(folder: Path, kind: str, name: str) -> Path:
    """Where an array of a case is kept while training: in a folder for its kind, so that names cannot collide."""
    return folder / kind / f"{file_stem(name)}.npy"


def slice_distances(labels: np.ndarray, class_count: int, decided: np.ndarray | None = None) -> np.ndarray:
    """Signed distances (pixels) to the boundary of each class in a dense 2D slice, (C, height, width) float16.

    Negative inside, 0 on the last pixel inside, 1 on the first outside (MONAI's BoundaryLoss); 0 everywhere for a class
    that does not occur. Within a drawn slice they are exact, because all of it is drawn; in 3D they would not be.
    A structure may continue into voxels that are not `decided`, (height, width) bool, which limits distances outside.
    """
    result = np.zeros((class_count, *labels.shape), dtype=np.float16)
    for value in np.unique(labels):
        inside = labels == value
        if not inside.all():
            outside = distance_transform_edt(~inside)
            if decided is not None and not decided.all():
                outside = np.minimum(outside, distance_transform_edt(decided))
            result[value] = np.where(inside, 1 - distance_transform_edt(inside), outside)
    return result


def _saved_distances(folder: Path, case: TrainingCase, class_count: int, watch: Watch) -> dict[int, Path]:
    paths, labels = {}, case.labels

    def of_slice(axis: int, index: int) -> np.ndarray:
        watch.check()
        return slice_distances(labels[slice_layer(axis, index)], class_count, case.decided_on(axis, index))

    for axis in sorted({axis for axis, _index in case.slices}):
        layers = [of_slice(a, i) for a, i in case.slices if a == axis]
        paths[axis] = kept_path(folder, f"distances-{axis}", case.name)
        save_array(paths[axis], np.stack(layers))
    return paths


def _filled(
    cohort: Cohort, name: str, annotation: SparseAnnotation, fill_weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels of a case's fill, how much each voxel counts, (K, J, I) float16, and which are not what is known.

    The last, (K, J, I) bool, are those of drawn slices and corrections that have a label of which these say nothing.
    """
    path, confidence_path = cohort.fill_path(name), cohort.fill_confidence_path(name)
    if not path.is_file() or not confidence_path.is_file():
        raise BadInputError(
            _(
                "The case '{name}' has not been filled, so nothing can be learned from its fill. Fill it first, "
                "or learn from drawn slices alone (a fill weight of 0)."
            ).format(name=name)
        )
    if not belongs_to(confidence_path, path):
        raise BadInputError(
            _("The confidence of the fill of case '{name}' belongs to another fill. Fill it again.").format(name=name)
        )
    labels = read_labels(path, annotation.geometry)
    confidence = read_percent(confidence_path, annotation.geometry)
    origin = cohort.origin(name, annotation, since=path)
    # Of structures that the cohort does not know the drawn slices say nothing.
    annotation = annotation.with_more_names(names_from_facts(read_facts(path)) or {})
    restored = labels.copy()
    annotation.restore_drawn(restored)
    # A fill may have structures that a run has added: where these are unknown, it is not certain.
    decided = annotation.decided_mask({*annotation.label_values(), *label_counts(labels)})
    # What is known of a corrected voxel may be less than its label.
    differs = (confidence == 100) != decided
    if annotation.corrections is not None:
        differs &= ~annotation.corrected_mask()
    if not np.array_equal(labels, restored) or differs.any():
        raise BadInputError(
            _("The fill of case '{name}' does not match what is drawn now. Fill it again.").format(name=name)
        )
    change = Origin.from_facts(read_facts(path)).changes(origin)
    if change:
        raise BadInputError(stale_sentence("fill", {name: change}, "Fill it again."))
    weights = (confidence * np.float32(fill_weight / 100.0)).astype(np.float16)
    # Of a structure that is unknown on a drawn slice the fill counts there; that the others are absent is certain.
    known = annotation.supervised_mask()
    guessed = known & (labels != annotation.drawn_labels())
    weights[known & ~guessed] = 1.0
    if annotation.undecided is not None:
        weights[annotation.undecided & ~annotation.corrected_mask()] = 0.0
    return labels, weights, guessed


def _unknown_classes(
    annotation: SparseAnnotation, labels: np.ndarray, classes: dict[int, int], numbers: dict[tuple[int, ...], int]
) -> np.ndarray | None:
    """(S, A, R) int16 numbers of sets of classes that are unknown where `labels` is 0; None without any.

    `numbers`: the number of each set of classes, from 1; new sets are added.
    """
    found = annotation.unknown_structures()
    if found is None:
        return None
    table = np.zeros(len(found.sets) + 1, dtype=np.int16)
    for place, values in enumerate(found.sets, start=1):
        unknown = tuple(sorted(classes[value] for value in values if value in classes))
        if unknown:
            table[place] = numbers.setdefault(unknown, len(numbers) + 1)
    result = np.where(labels == 0, table[found.index], np.int16(0))
    return annotation.geometry.to_standard_order(result) if result.any() else None


def _class_labels(labels: np.ndarray, annotation: SparseAnnotation, classes: dict[int, int]) -> np.ndarray:
    table = np.zeros(max([int(labels.max()), *classes]) + 1, dtype=np.uint8 if len(classes) < 256 else np.uint16)
    for value, index in classes.items():
        table[value] = index
    result = np.zeros(labels.shape, dtype=table.dtype)
    for found, layer in zip(result, labels, strict=True):
        if layer.any():  # most slices of a large volume are not drawn
            found[:] = table[layer]
    return annotation.geometry.to_standard_order(result)


def _class_sizes(layer: np.ndarray, class_count: int) -> np.ndarray:
    """(classes,) int: voxels of each class other than background in a slice of class indices."""
    return np.bincount(layer.ravel(), minlength=class_count + 1)[1:]


def _standard_slices(annotation: SparseAnnotation) -> list[tuple[int, int]]:
    by_axis = annotation.drawn_by_axis().items()
    return [annotation.geometry.to_standard_slice(axis, index) for axis, indices in by_axis for index in indices]
