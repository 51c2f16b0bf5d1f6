"""A fill with all that belongs to it: the image if it can be used, only what has changed, sentences for the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..core import BadInputError, Plane, SparseAnnotation, Watch
from ..core.planes import slice_layer
from .findings import fill_summary, fill_warnings
from .interpolator import Fill, IncrementalInterpolator, Interpolator


@dataclass(frozen=True, eq=False)
class FinishedFill:
    """A fill, what it was made of, and what to tell the user.

    Attributes:
        fill: the result. annotation: what was filled.
        summary: how good it is, in one sentence; '' when that was not measured. warnings: sentences.
    """

    fill: Fill
    annotation: SparseAnnotation
    summary: str
    warnings: tuple[str, ...]


def finished_fill(
    method: Interpolator,
    annotation: SparseAnnotation,
    read_image: Callable[[], np.ndarray],
    names: Mapping[int, str],
    watch: Watch | None = None,
    previous: FinishedFill | None = None,
    beyond: int | None = None,
) -> FinishedFill:
    """Fill an annotation.

    Args:
        method: how. annotation: what.
        read_image: gives the (K, J, I) image; called only if the method looks at it.
        names: the name of each label, for the sentences.
        watch: takes progress out and the wish to cancel in.
        previous: a fill by the same method of what was drawn before; methods that fill gap by gap then fill only those
            that have changed. Its arrays belong to the result. It must have been cut to the same `beyond`.
        beyond: how many slices beyond the outermost drawn ones keep what was filled; None: all.
    """
    if beyond is not None and beyond < 0:
        raise BadInputError(f"A fill goes 0 or more slices beyond the drawn ones, not {beyond}.")
    image, problem = usable_image(method, read_image)
    if (
        previous is not None
        and isinstance(method, IncrementalInterpolator)
        and previous.annotation.geometry == annotation.geometry
    ):
        changed = changed_slices(previous.annotation, annotation)
        fill = method.refill(previous.fill, annotation, image, changed, watch)
    else:
        fill = method.fill(annotation, image, watch)
    if beyond is not None:
        _empty_beyond(annotation, fill.labels, beyond)
    undecided = _left_undecided(annotation, fill)
    warnings = (*([problem] if problem else []), *fill_warnings(annotation, fill, names, ends=beyond is None))
    warnings += (undecided,) if undecided else ()
    return FinishedFill(fill, annotation, fill_summary(fill, names), warnings)


def usable_image(method: Interpolator, read_image: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """The image, if the method looks at it, and why there is none though it would like to.

    Raises BadInputError when the method cannot do without it, and it cannot be used.
    """
    if not method.looks_at_image:
        return None, ""
    try:
        return read_image(), ""
    except BadInputError as error:
        if method.needs_image:
            raise
        return None, f"Filled without looking at the image: {error}"


def changed_slices(before: SparseAnnotation, after: SparseAnnotation) -> list[tuple[Plane, int]]:
    """Slices that are drawn now and were not, or the other way round, or have other labels than they had."""
    changed = []
    for plane in Plane:
        old, new = set(before.ledger.indices(plane)), set(after.ledger.indices(plane))
        axis = plane.array_axis(after.geometry)
        changed += [(plane, index) for index in sorted(old ^ new)]
        changed += [
            (plane, index)
            for index in sorted(old & new)
            if not np.array_equal(before.labels[slice_layer(axis, index)], after.labels[slice_layer(axis, index)])
            or not np.array_equal(_undecided_on(before, axis, index), _undecided_on(after, axis, index))
        ]
    return changed


def _undecided_on(annotation: SparseAnnotation, axis: int, index: int) -> np.ndarray:
    layer = slice_layer(axis, index)
    return (
        np.zeros_like(annotation.labels[layer], bool) if annotation.undecided is None else annotation.undecided[layer]
    )


def _left_undecided(annotation: SparseAnnotation, fill: Fill) -> str:
    """Take undecided voxels of drawn slices out of a fill, in place, and say so; '' when there are none."""
    if annotation.undecided is None:
        return ""
    fill.labels[annotation.undecided] = 0
    fill.confidence[annotation.undecided] = 1
    count = int(np.count_nonzero(annotation.undecided))
    return (
        f"{count} {'voxel' if count == 1 else 'voxels'} of the drawn slices were left undecided (ignored). The fill "
        "takes them for background, with a confidence of 1 %: draw them where a structure goes on there."
    )


def _empty_beyond(annotation: SparseAnnotation, labels: np.ndarray, beyond: int) -> None:
    """Empty (K, J, I) labels, in place, further than `beyond` slices outside the drawn ones along every drawn axis."""
    kept = []
    for axis, size in enumerate(labels.shape):
        indices = annotation.drawn_by_axis().get(axis)
        near = np.zeros(size, dtype=bool)
        if indices:
            near[max(0, indices[0] - beyond) : indices[-1] + beyond + 1] = True
        kept.append(near)
    # Slices of one plane may reach where those of another do not.
    inside = kept[0][:, None, None] | kept[1][None, :, None] | kept[2][None, None, :]
    labels[~inside] = 0
    annotation.restore_drawn(labels)
