"""Base of the methods that fill gap by gap: filling all gaps, or again only those that have changed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..core import BadInputError, Plane, SparseAnnotation, Watch
from ..core.messages import _
from ..core.planes import slice_layer
from ..core.voxel_boxes import along_axes
from ..core.voxel_values import require_finite
from .confidence import enter_confidence
from .crossings import contradictions
from .drawn_stack import DrawnStack, Gap
from .interpolator import Fill, undemanding_method
from .label_fields import DrawnSlices
from .shape_fields import depends_on

_THREADS = max(1, min(4, os.cpu_count() or 1))


class GapInterpolator(ABC):
    """Base of the methods in which a gap depends only on the drawn slices around it."""

    needs_image = False
    uses_image = False

    @abstractmethod
    def _fill_gap(
        self, drawn: DrawnSlices, gap: Gap, prepared: Any, out: np.ndarray, confidence: np.ndarray, watch: Watch
    ) -> None:
        """Fill one gap of the main stack, in place.

        Args:
            drawn: all drawn slices. gap: the gap. prepared: the result of `_prepare`.
            out, confidence: (count, rows, columns) labels, drawn voxels of other planes entered, and percent.
            watch: to be checked at least every second; called from several threads.
        """

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> Any:
        """What all gaps need, computed once; nothing by default."""
        return ()

    def _drawn_slices(self, annotation: SparseAnnotation) -> DrawnSlices:
        """The drawn slices, and which of their stacks is filled gap by gap."""
        return DrawnSlices.of(annotation)

    def _depends_on_all(self, drawn: DrawnSlices, earlier: DrawnStack | None, gap: Gap) -> bool:
        """Whether a gap must be filled again although no slice near it has changed; not by default.

        `earlier`: the main stack before something changed; None when it is not known.
        """
        return False

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`."""
        drawn = self._drawn_slices(annotation)
        self._check_image(annotation, image)
        confidence = np.empty(annotation.geometry.shape, dtype=np.uint8)
        enter_confidence(confidence, drawn.stacks, (slice(None), slice(None), slice(None)))
        labels = annotation.drawn_labels()
        self._fill_gaps(annotation, image, drawn, list(drawn.main.gaps()), labels, confidence, watch or Watch())
        return Fill(labels, confidence, tuple(c.sentence for c in contradictions(annotation)))

    def refill(
        self,
        previous: Fill,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        changed: Iterable[tuple[Plane, int]],
        watch: Watch | None = None,
    ) -> Fill:
        """See `IncrementalInterpolator.refill`: only the gaps that depend on changed slices are filled again."""
        if previous.labels.shape != annotation.geometry.shape:
            raise BadInputError(_("The previous fill belongs to a volume of another size. Fill the whole volume."))
        drawn = DrawnSlices.of(annotation)
        self._check_image(annotation, image)
        changed = list(changed)
        gaps = list(drawn.main.gaps())
        # With several planes a slice affects more than its gap, and another stack may have become the main one.
        if not drawn.others and all(p.array_axis(annotation.geometry) == drawn.main.axis for p, _index in changed):
            indices = [index for _plane, index in changed]
            earlier = _earlier(previous, drawn.main, indices)
            gaps = [
                gap
                for gap in gaps
                if any(depends_on(drawn.main, gap, index, earlier) for index in indices)
                or self._depends_on_all(drawn, earlier, gap)
            ]
        labels, confidence = previous.labels, previous.confidence
        stacked = drawn.main.moved(labels)
        for gap in gaps:
            stacked[gap.first : gap.stop] = 0
        annotation.restore_drawn(labels)
        for plane, index in changed:
            if annotation.ledger.is_decided(plane, index):
                confidence[slice_layer(plane.array_axis(annotation.geometry), index)] = 100
        for gap in gaps:
            # With the drawn slices beside it: one of them may have just been drawn or reset.
            beside = slice(max(gap.first - 1, 0), gap.stop + 1)
            region = along_axes(beside if axis == drawn.main.axis else slice(None) for axis in range(3))
            enter_confidence(confidence, drawn.stacks, region)
        self._fill_gaps(annotation, image, drawn, gaps, labels, confidence, watch or Watch())
        return Fill(labels, confidence, tuple(c.sentence for c in contradictions(annotation)))

    def _check_image(self, annotation: SparseAnnotation, image: np.ndarray | None) -> None:
        if not self.uses_image:
            return
        image = required_image(image)
        if image.shape[-3:] != annotation.geometry.shape:
            raise BadInputError(
                _("The image has shape {image_shape}, but the annotation has shape {shape}.").format(
                    image_shape=image.shape, shape=annotation.geometry.shape
                )
            )
        require_finite(image, _("The image"))

    def _fill_gaps(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        drawn: DrawnSlices,
        gaps: Sequence[Gap],
        labels: np.ndarray,
        confidence: np.ndarray,
        watch: Watch,
    ) -> None:
        prepared = self._prepare(annotation, drawn, image)
        slab, trust = drawn.main.moved(labels), drawn.main.moved(confidence)

        def fill_gap(gap: Gap) -> None:
            watch.check()
            part = slice(gap.first, gap.stop)
            self._fill_gap(drawn, gap, prepared, slab[part], trust[part], watch)

        watch.step(0.0, _("filling between drawn slices"))
        with ThreadPoolExecutor(_THREADS) as threads:
            for number, _nothing in enumerate(threads.map(fill_gap, gaps), start=1):
                watch.step(number / len(gaps), _("filled {done} of {count} gaps").format(done=number, count=len(gaps)))
        annotation.restore_drawn(labels)


def _earlier(previous: Fill, main: DrawnStack, changed: Collection[int]) -> DrawnStack | None:
    """The main stack as it was when a fill was made; None when the fill does not say which slices were drawn."""
    labels, confidence = main.moved(previous.labels), main.moved(previous.confidence)
    slices = {index: layer for index, layer in main.slices.items() if index not in changed}
    for index in changed:
        # A drawn voxel has 100, another one less, and one that was left undecided on a drawn slice has 1.
        lowest, highest = confidence[index].min(), confidence[index].max()
        if lowest == 100:
            slices[index] = labels[index]
        elif lowest == 1 or highest == 100:
            return None
    return main.with_slices(slices)


def required_image(image: np.ndarray | None) -> np.ndarray:
    """The image of a method that needs it. Raises BadInputError when there is none."""
    if image is None:
        raise BadInputError(
            _("This fill method needs the image, and there is none. Use the {other} method.").format(
                other=undemanding_method()
            )
        )
    return image
