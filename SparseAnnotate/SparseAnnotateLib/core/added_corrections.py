"""Adds a correction to what is known of a volume, with sentences on it for the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .annotation import SparseAnnotation
from .corrections import Corrections, Stroke
from .errors import BadInputError
from .messages import _, counted


@dataclass(frozen=True, eq=False)
class AddedCorrection:
    """A correction that has been added.

    Attributes:
        annotation: with it. stroke: what is left of it off the drawn slices.
        notes: sentences on what was left out, and what contradicts earlier corrections.
    """

    annotation: SparseAnnotation
    stroke: Stroke
    notes: tuple[str, ...]


def with_correction(annotation: SparseAnnotation, stroke: Stroke) -> AddedCorrection:
    """Add a correction to an annotation. Raises BadInputError when all of it is on drawn slices, which count more."""
    old = annotation.corrections or Corrections(annotation.geometry.shape)
    after = annotation.with_stroke(stroke)
    if after.corrections is None or len(after.corrections.strokes) <= len(old.strokes):
        raise BadInputError(
            _("The correction lies on drawn slices, which count already. Change what is drawn on them instead.")
        )
    kept = after.corrections.strokes[-1]
    against = old.contradictions(kept)
    notes = []
    left_out = len(stroke.voxels) - len(kept.voxels)
    if left_out:
        notes.append(
            counted(
                left_out,
                _("{count} voxel of the correction is on a drawn slice and was left out: the slice counts."),
                _("{count} voxels of the correction are on drawn slices and were left out: the slices count."),
            )
        )
    if len(against):
        notes.append(
            counted(
                len(against),
                _("{count} voxel contradicts an earlier correction, at {place} (R, A, S): the later one counts."),
                _("{count} voxels contradict an earlier correction, near {place} (R, A, S): the later one counts."),
                place=_place(annotation, int(against[len(against) // 2])),
            )
        )
    return AddedCorrection(after, kept, tuple(notes))


def not_followed_sentence(problem: str) -> str:
    """That a correction is stored, and why the result did not follow from it."""
    return _("The correction is stored, but the result was not changed. {problem}").format(problem=problem)


def _place(annotation: SparseAnnotation, voxel: int) -> str:
    kji = np.unravel_index(voxel, annotation.geometry.shape)
    point = annotation.geometry.matrix @ [*(float(n) for n in kji[::-1]), 1.0]
    return ", ".join(f"{x:.1f}" for x in point[:3])
