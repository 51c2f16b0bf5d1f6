"""A fill with its summary and warnings: uses the image if possible, and refills only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import BadInputError, Plane, SparseAnnotation, Watch
from ..core.messages import _, counted
from ..core.planes import slice_layer
from .corrected_fill import CorrectedFill, earlier_corrections, with_corrections
from .findings import fill_summary, fill_warnings
from .interpolator import Fill, FindsMore, IncrementalInterpolator, Interpolator
from .structure_groups import filled, unseen_by


@dataclass(frozen=True, eq=False)
class FinishedFill:
    """A fill, the annotation it was made from, and sentences for the user.

    Attributes:
        fill: the result. annotation: what was filled.
        summary: how good it is, in one sentence; '' when it was not measured. warnings: sentences.
        plain: the fill without the corrections, for the next one; None without any, or when it is not needed.
        problem: why the corrections did not use the image; '' if they did. weights: see `CorrectedFill`.
    """

    fill: Fill
    annotation: SparseAnnotation
    summary: str
    warnings: tuple[str, ...]
    plain: Fill | None = None
    problem: str = ""
    weights: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


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
        method: the fill method. annotation: what to fill.
        read_image: returns the (K, J, I) image, of several channels (C, K, J, I); called only if the method uses it.
        names: the name of each label, for the sentences.
        watch: reports progress and passes on a request to cancel.
        previous: an earlier fill by the same method; methods that fill gap by gap then fill only the gaps that have
            changed, and only corrections near these are spread again. Its arrays are used for the result. It must have
            been made with the same `beyond`.
        beyond: largest number of slices to fill beyond the outermost drawn ones; None: no limit.
    """
    if beyond is not None and beyond < 0:
        raise BadInputError(
            _("The number of slices to fill beyond the drawn ones must be 0 or more, not {count}.").format(count=beyond)
        )
    image, problem = usable_image(method, read_image)
    corrected, annotation = annotation, replace(annotation, corrections=None)
    earlier = None
    if (
        previous is not None
        and isinstance(method, IncrementalInterpolator)
        # How several channels are mixed follows from all drawn slices.
        and (image is None or image.ndim == 3)
        and not unseen_by(method, annotation)
        and not annotation.has_unknown_structures
        and not previous.annotation.has_unknown_structures
        and (previous.annotation.corrections is None or previous.plain is not None)
        and previous.annotation.geometry == annotation.geometry
        # Shares and scores belong to structures, whose labels may have been given to others.
        and previous.annotation.names.items() <= annotation.names.items()
    ):
        before = replace(previous.annotation, corrections=None)
        plain = previous.plain if previous.plain is not None else previous.fill
        done = CorrectedFill(previous.fill, previous.problem, previous.weights)
        earlier = earlier_corrections(plain, done, previous.annotation)
        fill = method.refill(plain, annotation, image, changed_slices(before, annotation), watch)
    else:
        fill = filled(method, annotation, image, watch)
    if beyond is not None:
        _empty_beyond(annotation, fill.labels, beyond)
    undecided = _left_undecided(annotation, fill)
    notes = method.notes(annotation, fill.left_out) if isinstance(method, FindsMore) else []
    found = fill_warnings(annotation, fill, names, beyond is None, corrected.corrections is not None)
    warnings = (*([problem] if problem else []), *notes, *found)
    warnings += (undecided,) if undecided else ()
    if corrected.corrections is None:
        return FinishedFill(fill, corrected, fill_summary(fill, names), warnings)
    keep = isinstance(method, IncrementalInterpolator)
    image_or_reader = image if method.uses_image else read_image
    done = with_corrections(fill, corrected, image_or_reader, watch, earlier, keep)
    warnings += (done.problem,) if done.problem else ()
    kept, summary = fill if keep else None, fill_summary(done.fill, names)
    return FinishedFill(done.fill, corrected, summary, warnings, kept, done.problem, done.weights)


def usable_image(method: Interpolator, read_image: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """The image, or None; and the reason, if the method would use an image but this one cannot be used ('' otherwise).

    Raises BadInputError when the method cannot do without it, and it cannot be used.
    """
    if not method.uses_image:
        return None, ""
    try:
        return read_image(), ""
    except BadInputError as error:
        if method.needs_image:
            raise
        return None, _("Filled without using the image. {problem}").format(problem=error.message)


def changed_slices(before: SparseAnnotation, after: SparseAnnotation) -> list[tuple[Plane, int]]:
    """Slices that are drawn in only one of two annotations, or differ in labels or undecided voxels."""
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
    """Remove undecided voxels of drawn slices from a fill, in place; returns a warning, '' when there are none."""
    if annotation.undecided is None:
        return ""
    # On a slice that does not speak for all structures, what the others show of a structure stays.
    known = annotation.undecided.copy()
    for axis, indices in annotation.drawn_by_axis().items():
        plane = next(plane for plane in Plane if plane.array_axis(annotation.geometry) == axis)
        for index in indices:
            unknown = annotation.unknown_on(plane, index)
            if unknown:
                known[slice_layer(axis, index)] &= ~np.isin(fill.labels[slice_layer(axis, index)], unknown)
    fill.labels[known] = 0
    fill.confidence[annotation.undecided] = 1
    return counted(
        int(np.count_nonzero(annotation.undecided)),
        _(
            "{count} voxel of the drawn slices was left undecided (ignored). The fill treats it as background, with a "
            "confidence of 1 %. Draw it if a structure continues there."
        ),
        _(
            "{count} voxels of the drawn slices were left undecided (ignored). The fill treats them as background, "
            "with a confidence of 1 %. Draw them where a structure continues."
        ),
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
    # Slices of one plane may cover regions that those of another do not.
    inside = kept[0][:, None, None] | kept[1][None, :, None] | kept[2][None, None, :]
    labels[~inside] = 0
    annotation.restore_drawn(labels)
