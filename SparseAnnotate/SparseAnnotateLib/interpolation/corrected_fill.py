"""Corrections in a fill: all of them, or again only those near which the fill has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import BadInputError, SparseAnnotation, Watch
from ..core.corrections import Corrections, Stroke
from ..core.messages import _
from ..core.voxel_boxes import Box, enclosing_box
from ..core.voxel_values import label_counts
from .correcting import correct, reachable
from .interpolator import Fill
from .seen_channels import StructureImage, image_of_structure

_MOST_UNDECIDED = np.uint8(99)  # percent


@dataclass(frozen=True, eq=False)
class _Group:
    """Strokes, in order, and the part of the volume that they can have changed.

    Attributes:
        plain, corrected: labels and confidence there, without and with the strokes. known: what was known there, bool.
    """

    strokes: tuple[Stroke, ...]
    box: Box
    plain: tuple[np.ndarray, np.ndarray]
    known: np.ndarray
    corrected: tuple[np.ndarray, np.ndarray]

    def is_as_before(self, plain: Fill, annotation: SparseAnnotation) -> bool:
        now = (plain.labels[self.box], plain.confidence[self.box], annotation.known_in(self.box))
        return all(np.array_equal(a, b) for a, b in zip((*self.plain, self.known), now, strict=True))


@dataclass(frozen=True, eq=False)
class EarlierCorrections:
    """What strokes have made of an earlier fill, in groups that are too far from each other to have met.

    Attributes:
        groups: their parts of the volume share no voxel. problem: why the image was not used, '' if it was.
        weights: of the channels for each structure, where there are several; see `image_of_structure`.
    """

    groups: tuple[_Group, ...] = ()
    problem: str = ""
    weights: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CorrectedFill:
    """A fill with corrections.

    Attributes:
        fill: labels and confidence. problem: why the image was not used, as a warning; '' if it was.
        weights: as of `EarlierCorrections`.
    """

    fill: Fill
    problem: str = ""
    weights: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


class _Guides:
    """The image that the strokes of each structure follow, read and chosen once it is needed."""

    def __init__(self, image: np.ndarray | Callable[[], np.ndarray] | None, annotation: SparseAnnotation):
        self._given, self._annotation = image, annotation
        self._images: dict[int, StructureImage] = {}
        self._is_read = False
        self._all: np.ndarray | None = None
        self._problem = ""
        self.weights: dict[int, tuple[float, ...]] = {}

    @property
    def problem(self) -> str:
        """Why there is none; '' if there is."""
        self._read()
        return self._problem

    def of(self, value: int) -> StructureImage | None:
        """(K, J, I), for a structure; None without an image that can be used."""
        found = self._read()
        if found is None or found.ndim == 3:
            return found
        if value not in self._images:
            self._images[value], self.weights[value] = image_of_structure(found, self._annotation, value)
        return self._images[value]

    def is_as_before(self, values: set[int], weights: Mapping[int, tuple[float, ...]]) -> bool:
        """Whether structures have the same weights as before, those without any not being chosen among channels."""
        for value in values & weights.keys():
            self.of(value)
        return all(self.weights.get(value) == weights[value] for value in values & weights.keys())

    def _read(self) -> np.ndarray | None:
        if not self._is_read:
            self._is_read = True
            try:
                self._all = self._given() if callable(self._given) else self._given
            except BadInputError as error:
                self._problem = _("Corrected without using the image. {problem}").format(problem=error.message)
        return self._all


def earlier_corrections(plain: Fill, corrected: CorrectedFill, annotation: SparseAnnotation) -> EarlierCorrections:
    """What to keep of a fill with corrections, before its arrays are used for the next one.

    Args:
        plain, corrected: the fill without and with them. annotation: what was filled.
    """
    strokes = annotation.corrections.strokes if annotation.corrections is not None else ()
    groups = []
    for group, box in _groups(strokes, annotation):
        before, after = ((fill.labels[box].copy(), fill.confidence[box].copy()) for fill in (plain, corrected.fill))
        groups.append(_Group(tuple(group), box, before, annotation.known_in(box), after))
    return EarlierCorrections(tuple(groups), corrected.problem, corrected.weights)


def with_corrections(
    plain: Fill,
    annotation: SparseAnnotation,
    image: np.ndarray | Callable[[], np.ndarray] | None,
    watch: Watch | None,
    earlier: EarlierCorrections | None = None,
    keep: bool = False,
) -> CorrectedFill:
    """A fill with the corrections spread into it, one after another.

    Args:
        plain: the fill without them; its arrays are used for the result, unless it is to `keep` them.
        annotation: what was filled, with the corrections.
        image: (K, J, I), or (C, K, J, I), of which each structure's corrections follow what shows it best; or what
            reads it.
        earlier: of an earlier fill. Groups of strokes that have stayed the same, where the fill and what is known have
            stayed the same, too, are taken from there: they would come out the same.
    """
    corrections = annotation.corrections
    strokes = corrections.strokes if corrections is not None else ()
    labels, confidence = plain.labels, plain.confidence
    if max((stroke.value for stroke in strokes), default=0) > np.iinfo(labels.dtype).max:
        labels = labels.astype(np.uint16)
    elif keep:
        labels = labels.copy()
    if keep:
        confidence = confidence.copy()
    groups = _groups(strokes, annotation)
    same = _unchanged(groups, plain, annotation, earlier)
    guides, problem = _Guides(image, annotation), earlier.problem if earlier is not None else ""
    if earlier is not None and earlier.weights:
        # What shows a structure best follows from all drawn slices, however far they are.
        same = {
            number: group
            for number, group in same.items()
            if guides.is_as_before({stroke.value for stroke in group.strokes}, earlier.weights)
        }
    if len(same) < len(groups):
        problem = guides.problem
        if earlier is not None and problem != earlier.problem:
            same = {}
    for number, (group, box) in enumerate(groups):
        if number in same:
            labels[box], confidence[box] = same[number].corrected
            continue
        for count, stroke in enumerate(group, start=1):
            # As they were when the stroke was made: an answer that was corrected live is the same.
            so_far = replace(annotation, corrections=Corrections(labels.shape, tuple(group[:count])))
            correct(labels, confidence, guides.of(stroke.value), so_far, stroke, watch)
    annotation.restore_drawn(labels)
    enter_certainty(annotation, labels, confidence)
    return CorrectedFill(replace(plain, labels=labels, confidence=confidence), problem, guides.weights)


def enter_certainty(annotation: SparseAnnotation, labels: np.ndarray, confidence: np.ndarray) -> None:
    """On slices that do not speak for all structures, make the confidence 100 only where all that occur are decided.

    A correction may have brought in a structure of which such a slice says nothing.

    Args:
        labels, confidence: (K, J, I), with the corrections; the confidence is changed in place.
    """
    if not annotation.has_unknown_structures:
        return
    drawn = replace(annotation, corrections=None)
    decided = drawn.decided_mask({*annotation.label_values(), *label_counts(labels)})
    is_open = drawn.supervised_mask() & ~decided & ~annotation.corrected_mask()
    np.minimum(confidence, _MOST_UNDECIDED, out=confidence, where=is_open)
    confidence[decided] = 100


def _groups(strokes: Sequence[Stroke], annotation: SparseAnnotation) -> list[tuple[list[Stroke], Box]]:
    """Strokes in groups, each in order, and the part of the volume that each changes; these share no voxel."""
    groups: list[tuple[list[int], Box]] = []
    for number, stroke in enumerate(strokes):
        numbers, box = [number], reachable(stroke, annotation)
        while met := [group for group in groups if _meet(box, group[1])]:
            groups = [group for group in groups if group not in met]
            numbers += [other for group in met for other in group[0]]
            box = enclosing_box([box, *(group[1] for group in met)]) or box
        groups.append((numbers, box))
    return [([strokes[number] for number in sorted(numbers)], box) for numbers, box in groups]


def _meet(one: Box, other: Box) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _unchanged(
    groups: Sequence[tuple[Sequence[Stroke], Box]],
    plain: Fill,
    annotation: SparseAnnotation,
    earlier: EarlierCorrections | None,
) -> dict[int, _Group]:
    """Number of each group that would come out as in the earlier fill, and what that was."""
    found = {}
    for number, (group, box) in enumerate(groups):
        for one in earlier.groups if earlier is not None else ():
            if tuple(group) == one.strokes and box == one.box and one.is_as_before(plain, annotation):
                found[number] = one
    return found
