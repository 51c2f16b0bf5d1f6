"""Clean-up of a prediction before it is written: stray pieces removed, outlines smoothed, and what was removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from ...core import SparseAnnotation, Watch
from ...core.messages import _, counted
from ..data.surroundings import without_surroundings
from .stray_pieces import DrawnVoxels, StrayPieces, without_far_pieces


@dataclass(frozen=True)
class CleanUp:
    """How to clean a prediction, structure by structure.

    Attributes:
        stray_pieces: leave out what lies in the uniform surroundings of the image, where no structure was drawn, and
            pieces far from anything drawn; see `stray_pieces`.
        largest_component: keep only the largest connected piece of each structure (faces touch), and those that
            are partly drawn by hand.
        smoothing: standard deviation (mm) of the Gaussian that each structure's share is smoothed by; 0: none.
    """

    largest_component: bool = False
    smoothing: float = 0.0
    stray_pieces: bool = True


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A prediction after clean-up.

    Attributes:
        classes: (S, A, R) class indices.
        in_surroundings: voxels left out because they lay in the uniform surroundings of the image.
        stray: what was left out of each class because it lay far from anything drawn.
    """

    classes: np.ndarray
    in_surroundings: int = 0
    stray: list[StrayPieces] = field(default_factory=list)

    def sentences(self, names: Sequence[str]) -> tuple[str, ...]:
        """What has been left out; `names` are those of the classes, from the first after the background."""
        notes = []
        if self.in_surroundings:
            notes.append(
                counted(
                    self.in_surroundings,
                    _("{count} voxel that the model labeled in the empty surroundings of the image was left out."),
                    _("{count} voxels that the model labeled in the empty surroundings of the image were left out."),
                )
            )
        for stray in self.stray:
            notes.append(
                _(
                    "Left out {pieces} of '{structure}' ({voxels}) far from where it was drawn. Keep stray pieces if "
                    "the structure is there."
                ).format(
                    pieces=counted(stray.pieces, _("{count} piece"), _("{count} pieces")),
                    structure=names[stray.value - 1],
                    voxels=counted(stray.voxels, _("{count} voxel"), _("{count} voxels")),
                )
            )
        return tuple(notes)


def drawn_voxels(annotation: SparseAnnotation, values: Sequence[int], dtype) -> DrawnVoxels | None:
    """What has been drawn by hand, as indices of the classes `values`, from 1 on; None when nothing is drawn."""
    by_axis = annotation.drawn_by_axis()
    if not by_axis:
        return None
    labels, geometry = annotation.drawn_labels(), annotation.geometry
    # Other labels count as background.
    index_of = np.zeros(max([int(labels.max()), *values]) + 1, dtype=dtype)
    index_of[list(values)] = np.arange(1, len(values) + 1)
    slices = [geometry.to_standard_slice(axis, index) for axis, indices in by_axis.items() for index in indices]
    silent = {
        place: frozenset(geometry.to_standard_slice(p.array_axis(geometry), i) for p, i in annotation.silent_on(v))
        for place, v in enumerate(values, start=1)
    }
    mask = geometry.to_standard_order(annotation.decided_mask(values))
    return DrawnVoxels(geometry.to_standard_order(index_of[labels]), mask, tuple(slices), silent)


def cleaned_labels(labels: np.ndarray, annotation: SparseAnnotation, clean_up: CleanUp, watch: Watch) -> np.ndarray:
    """Labels (K, J, I) of a volume, smoothed and without smaller components as asked for; drawn voxels as drawn."""
    if not clean_up.largest_component and not clean_up.smoothing:
        return labels
    geometry = annotation.geometry
    table = np.unique(labels)
    values = table[table > 0].tolist()
    table = np.array([0, *values], dtype=labels.dtype)
    classes = np.ascontiguousarray(geometry.to_standard_order(np.searchsorted(table, labels).astype(labels.dtype)))
    drawn = drawn_voxels(annotation, values, classes.dtype)
    asked = replace(clean_up, stray_pieces=False)
    found = cleaned(classes, len(table), geometry.standard_spacing, asked, drawn, None, watch)
    result = np.ascontiguousarray(geometry.from_standard_order(table[found.classes]))
    annotation.restore_drawn(result)
    return result


def cleaned(
    classes: np.ndarray,
    class_count: int,
    spacing: Sequence[float],
    clean_up: CleanUp,
    drawn: DrawnVoxels | None = None,
    image: np.ndarray | None = None,
    watch: Watch | None = None,
) -> Cleaned:
    """Class indices (S, A, R) after clean-up, same dtype, and what was left out; `spacing` in mm, in the same order.

    Smoothing gives each voxel to the structure with the largest smoothed share around it, so that structures that
    touch still do. It comes first, so that pieces it cuts off are removed with the stray pieces.

    Args:
        drawn: what a person has drawn in the volume, if anything. It stays as drawn, and pieces connected to a drawn
            structure are kept.
        watch: for cancelling between two structures, which raises CancelledError.
        image: (S, A, R), if no structure that was drawn reaches into the uniform surroundings of the images.
    """
    if clean_up.smoothing > 0:
        classes = _smoothed(classes, class_count, [clean_up.smoothing / s for s in spacing])
    in_surroundings = 0
    stray: list[StrayPieces] = []
    if clean_up.stray_pieces and image is not None:
        classes, in_surroundings = without_surroundings(classes, image)
    if drawn is not None:
        classes = np.where(drawn.mask, drawn.classes, classes).astype(classes.dtype)
    if clean_up.stray_pieces and drawn is not None:
        classes, stray = without_far_pieces(classes, class_count, spacing, drawn, watch)
    if clean_up.largest_component:
        classes = _largest_pieces(classes, class_count, drawn)
    return Cleaned(classes, in_surroundings, stray)


def _largest_pieces(classes: np.ndarray, class_count: int, drawn: DrawnVoxels | None) -> np.ndarray:
    """Only the largest piece of each structure, and those that are partly drawn."""
    classes = classes.copy()
    for value in range(1, class_count):
        pieces, count = ndimage.label(classes == value)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            kept = np.zeros(count + 1, dtype=bool)
            kept[0] = kept[int(sizes.argmax())] = True
            if drawn is not None:
                kept[pieces[drawn.mask]] = True
            classes[~kept[pieces]] = 0
    return classes


def _smoothed(classes: np.ndarray, class_count: int, widths: list[float]) -> np.ndarray:
    best = ndimage.gaussian_filter((classes == 0).astype(np.float32), widths)
    result = np.zeros_like(classes)
    for value in _smallest_first(classes, class_count):
        share = ndimage.gaussian_filter((classes == value).astype(np.float32), widths)
        larger = share > best
        result[larger] = value
        np.maximum(best, share, out=best)
    return result


def _smallest_first(classes: np.ndarray, class_count: int) -> list[int]:
    """The structures that occur, smallest first: the first one wins ties, which must not depend on its label."""
    sizes = np.zeros(class_count, dtype=int)
    for layer in classes:
        sizes += np.bincount(layer.ravel(), minlength=class_count)
    same = {size for size in sizes.tolist() if np.count_nonzero(sizes == size) > 1}

    def key(value: int) -> tuple[int, int]:
        return int(sizes[value]), int(np.argmax(classes == value)) if sizes[value] in same else 0

    return sorted((value for value in range(1, class_count) if sizes[value]), key=key)
