"""Whether DICOM slices of one orientation make up an even stack, and its grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dicom_headers import DicomSlice
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _, counted, listed

# Shares of the distance between slices.
_SAME_PLACE = 1e-3
_UNEVEN = 0.05  # headers round positions
_WIDE = 0.5
_MOST_STACKS, _FEWEST_IN_STACK = 8, 2
_MOST_TILTED = 1e-3  # sine, up to which slices count as stacked at right angles; see `geometry`


def sorted_slices(slices: Sequence[DicomSlice]) -> tuple[DicomSlice, ...]:
    """The slices in the order of their positions along their normal."""
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    normal = np.cross(row, column)
    return tuple(sorted(slices, key=lambda one: float(np.dot(one.position, normal))))


def slices_by_place(slices: Sequence[DicomSlice]) -> list[list[DicomSlice]]:
    """Sorted slices of one orientation, grouped by where they lie."""
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    heights = np.array([one.position for one in slices]) @ np.cross(row, column)
    same = _are_at_one_place(np.diff(heights))
    found = [[slices[0]]]
    for one, is_same in zip(slices[1:], same.tolist(), strict=True):
        if is_same:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _are_at_one_place(steps: np.ndarray) -> np.ndarray:
    """(n,) bool: which distances between neighbours, (n,) in mm, are none."""
    usual = float(np.median(steps[steps > _SAME_PLACE])) if (steps > _SAME_PLACE).any() else 0.0
    found: np.ndarray = steps <= _SAME_PLACE * max(usual, _SAME_PLACE)
    return found


def require_one_stack(slices: Sequence[DicomSlice]) -> None:
    """Raise BadInputError when slices of one orientation are of stacks that lie side by side."""
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    positions = np.array([one.position for one in slices])
    steps = np.diff(positions @ np.cross(row, column))
    near = _UNEVEN * float(np.median(steps[steps > _SAME_PLACE])) if (steps > _SAME_PLACE).any() else _SAME_PLACE
    sideways = positions @ np.stack([row, column], axis=1)
    counts: list[int] = []
    first = sideways[0]
    while len(sideways) and len(counts) <= _MOST_STACKS:
        is_here = np.linalg.norm(sideways - sideways[0], axis=1) <= near
        counts.append(int(is_here.sum()))
        last, sideways = sideways[0], sideways[~is_here]
    if not len(sideways) and 1 < len(counts) <= _MOST_STACKS and min(counts) >= _FEWEST_IN_STACK:
        raise BadInputError(
            _(
                "its images are of {count} separate stacks that lie side by side, up to {distance:.4g} mm apart "
                "({sizes} images). A case can have only one of them. {remedy}"
            ).format(
                count=len(counts),
                distance=float(np.linalg.norm(last - first)),
                sizes=_sizes(counts),
                remedy=_("Put the files of each stack into a folder of its own."),
            )
        )


def _require_no_wide_gap(steps: np.ndarray, usual: float) -> None:
    """Raise BadInputError when slices are of stacks one after another: gaps are as long as the stacks beside them."""
    ends = np.flatnonzero(steps > usual * (1 + _WIDE))
    counts = np.diff([0, *(ends + 1), len(steps) + 1])
    if not 0 < len(ends) < _MOST_STACKS or counts.min() < _FEWEST_IN_STACK:
        return
    if (steps[ends] / usual >= 1 + np.minimum(counts[:-1], counts[1:])).all():
        raise BadInputError(
            _(
                "its slices make up {count} separate stacks ({sizes} slices) with gaps of up to {gap:.4g} mm between "
                "them, others are {usual:.4g} mm apart. If they are stacks, put the files of each into a folder of "
                "its own. If slices are missing, copy the series again, with all its files."
            ).format(count=len(counts), sizes=_sizes(counts.tolist()), gap=float(steps.max()), usual=usual)
        )


def _sizes(counts: Sequence[int]) -> str:
    return " + ".join(map(str, counts))


def require_even(slices: Sequence[DicomSlice], remedy: str = "") -> None:
    """Raise BadInputError when sorted slices are not evenly spaced: some are missing, doubled or shifted.

    `remedy`: what to do about several images at the same place.
    """
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    positions = np.array([one.position for one in slices])
    heights = positions @ np.cross(row, column)
    steps = np.diff(heights)
    usual = float(np.median(steps[steps > _SAME_PLACE])) if (steps > _SAME_PLACE).any() else 0.0
    same = _are_at_one_place(steps)
    if same.any():
        raise BadInputError(_several_at_one_place(slices, same, remedy))
    _require_no_wide_gap(steps, usual)
    gaps = steps / usual
    whole = np.rint(gaps)
    if (whole > 1).any() and (np.abs(gaps - whole) <= _UNEVEN * np.maximum(whole, 1)).all() and whole.min() >= 1:
        first = int(np.argmax(whole > 1))
        raise BadInputError(
            counted(
                int((whole - 1).sum()),
                _("{count} slice is missing: {where}. {remedy}"),
                _("{count} slices are missing: {where}. {remedy}"),
                where=_(
                    "slices {first} and {second} (of {found}) are {gap:.4g} mm apart, others {usual:.4g} mm"
                ).format(first=first + 1, second=first + 2, found=len(slices), gap=float(steps[first]), usual=usual),
                remedy=_("Copy the series again, with all its files."),
            )
        )
    line = positions[0] + np.linspace(0, 1, len(slices))[:, None] * (positions[-1] - positions[0])
    if float(np.linalg.norm(positions - line, axis=1).max()) > _UNEVEN * usual:
        raise BadInputError(
            _(
                "its slices are not evenly spaced: {smallest:.4g} to {largest:.4g} mm apart, or shifted sideways. Load "
                "it in 3D Slicer, which can resample it ('Acquisition geometry regularization' in the settings of the "
                "DICOM module), and save it as NRRD."
            ).format(smallest=float(steps.min()), largest=float(steps.max()))
        )


def _several_at_one_place(slices: Sequence[DicomSlice], same: np.ndarray, remedy: str) -> str:
    places = len(slices) - int(np.count_nonzero(same))
    differing = sorted(
        {
            name
            for number in np.flatnonzero(same).tolist()
            for name, value in slices[number].variants.items()
            if value != slices[number + 1].variants.get(name, value)
        }
    )
    sentence = counted(
        places,
        _(
            "it has {images} images, but only {count} position: several time points or echoes, for example. A case "
            "can have only one of them."
        ),
        _(
            "it has {images} images, but only {count} positions: several time points or echoes, for example. A case "
            "can have only one of them."
        ),
        images=len(slices),
    )
    if differing:
        sentence += " " + _("Images at the same place differ in: {names}.").format(names=listed(differing, 5))
    own = _("Put the files of one of them into a folder of its own, or save it as NRRD in 3D Slicer.")
    return sentence + " " + (remedy or own)


def stack_geometry(slices: Sequence[DicomSlice]) -> VolumeGeometry:
    """The grid of slices that are sorted along their normal. Raises BadInputError when they make up no volume."""
    positions = np.array([one.position for one in slices])
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    normal = np.cross(row, column)
    sine = float(np.linalg.norm(np.cross(step / np.linalg.norm(step), normal)))
    spacing = (slices[0].spacing[1], slices[0].spacing[0], float(np.linalg.norm(step)))
    direction = np.stack([row, column, step / np.linalg.norm(step)], axis=1)
    size = (slices[0].size[1], slices[0].size[0], len(slices))
    try:
        return VolumeGeometry.from_itk(size, spacing, positions[0], direction)
    except BadInputError as error:
        if sine <= _MOST_TILTED:
            raise
        raise BadInputError(
            _(
                "its slices are not stacked at right angles: they are tilted by {degrees:.3g} degrees (gantry tilt). "
                "Load it in 3D Slicer, which can straighten it ('Acquisition geometry regularization' in the settings "
                "of the DICOM module), and save it as NRRD."
            ).format(degrees=float(np.rad2deg(np.arcsin(min(1.0, sine)))))
        ) from error
