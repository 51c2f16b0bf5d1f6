"""Corrections of which it is still being found out what follows from them, and what the answer shows meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..core import SparseAnnotation
from ..core.corrections import Stroke, within
from ..core.voxel_boxes import Box, enclosing_box
from ..interpolation.correcting import PartAnswer, reachable
from .correction_report import CorrectionReport


@dataclass(eq=False)
class PendingStep:
    """Strokes that belong to one step of undo, and what is shown of them until all that follows is known.

    Attributes:
        strokes: off the drawn slices. annotations: for each stroke, what is known with it and those before it.
        corrections: what is stored without them, and with them.
        report: what the step did; of the slices at hand only, until all is known.
        known_by: what the drawn slices of the annotations were read from.
        voxels, labels: places in the flattened array, and the labels there that are shown meanwhile.
        instead: the labels there without this step.
    """

    strokes: Sequence[Stroke]
    annotations: Sequence[SparseAnnotation]
    corrections: tuple[str, str]
    report: CorrectionReport
    known_by: tuple
    voxels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint16))
    instead: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint16))

    def shown_in(self, shape: tuple[int, ...]) -> Box | None:
        """The part of the volume in which something is shown meanwhile; None without any."""
        if not len(self.voxels):
            return None
        places = np.stack(np.unravel_index(self.voxels, shape))
        low, high = places.min(axis=1).tolist(), places.max(axis=1).tolist()
        k, j, i = (slice(a, b + 1) for a, b in zip(low, high, strict=True))
        return k, j, i

    @property
    def place(self) -> Box:
        """The part of the volume outside which nothing can change."""
        found = enclosing_box(
            reachable(stroke, annotation) for stroke, annotation in zip(self.strokes, self.annotations, strict=True)
        )
        assert found is not None
        return found

    @property
    def before(self) -> int:
        """How many corrections of the volume there were before this step."""
        return self.report.corrections - len(self.strokes)

    def counted_apart(self, place: Box, changed: np.ndarray) -> int:
        """How many voxels of a place have changed, bool, apart from those of the strokes."""
        apart = changed.copy()
        for stroke in self.strokes:
            apart[within(place, stroke.voxels, self.annotations[0].geometry.shape)] = False
        return int(np.count_nonzero(apart))

    def add(self, labels: np.ndarray, part: PartAnswer) -> None:
        """Show a further part of the answer, from the next `put` on; `labels` do not show this step now."""
        k, j, i = np.unravel_index(self.voxels, labels.shape)
        outside = np.zeros(len(self.voxels), dtype=bool)
        for along, side in zip((k, j, i), part.region, strict=True):
            outside |= (along < side.start) | (along >= side.stop)
        different = part.labels != labels[part.region]
        places = tuple(axis + side.start for axis, side in zip(np.nonzero(different), part.region, strict=True))
        found = np.ravel_multi_index(places, labels.shape).astype(np.int64)
        self.voxels = np.concatenate([self.voxels[outside], found])
        self.labels = np.concatenate([self.labels[outside], part.labels[different].astype(labels.dtype)])

    def show_only(self, which: np.ndarray) -> None:
        """Show only some voxels, (n,) bool, from the next `put` on; labels do not show this step now."""
        self.voxels, self.labels, self.instead = self.voxels[which], self.labels[which], self.instead[which]

    def put(self, labels: np.ndarray) -> None:
        """Show this step in labels that do not."""
        self.instead = np.take(labels, self.voxels)
        np.put(labels, self.voxels, self.labels)

    def take_away(self, labels: np.ndarray) -> None:
        """Undo `put`."""
        np.put(labels, self.voxels, self.instead)


@contextmanager
def without_pending(labels: np.ndarray, pending: list[PendingStep]) -> Iterator[None]:
    """Inside, labels do not show what the steps that are pending show; steps may be removed from the list there."""
    for step in reversed(pending):
        step.take_away(labels)
    try:
        yield
    finally:
        for step in pending:
            step.put(labels)
