"""Whether the images of a DICOM series belong together: one patient, one kind of image, one grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .dicom_headers import IMAGE_TYPE, ONE_OF_EACH, DicomHeader, DicomSlice
from .errors import BadInputError
from .messages import _, counted, listed

_SAME_DIRECTION = 1e-4
_SAME_VALUE = 1e-3  # share of an echo time or b-value
_UNEVEN_LENGTH = 0.01  # how far the length of a direction may be off 1
_CHUNK_BYTES = 1 << 20


def is_copy(one: DicomHeader, other: DicomHeader) -> bool:
    """Whether two files with the same SOP instance UID hold the same image at the same place."""

    def facts(header: DicomHeader) -> list[object]:
        return [(replace(each, path=""), each.variants) for each in header.slices]

    return facts(one) == facts(other) and _voxels_are_equal(one, other)


def _voxels_are_equal(one: DicomHeader, other: DicomHeader) -> bool:
    if one.voxel_bytes != other.voxel_bytes:
        return False
    with open(one.path, "rb") as first, open(other.path, "rb") as second:
        for header, file in ((one, first), (other, second)):
            if header.voxel_bytes:
                file.seek(-header.voxel_bytes, 2)
        while content := first.read(_CHUNK_BYTES):
            if content != second.read(_CHUNK_BYTES):
                return False
        return not second.read(1)


def has_usable_numbers(one: DicomSlice) -> bool:
    """Whether the place of an image is one: finite, with a spacing above 0 and directions of length 1.

    True for an image without a place.
    """
    if not one.has_place:
        return True
    lengths = np.linalg.norm(np.reshape(one.orientation, (2, 3)), axis=1)
    is_finite = bool(np.isfinite([*one.position, *one.orientation, *one.spacing]).all())
    return is_finite and min(one.spacing) > 0 and float(np.abs(lengths - 1).max()) <= _UNEVEN_LENGTH


def with_unit_directions(slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    """The slices with directions of length 1: headers round them."""
    found = []
    for one in slices:
        axes = np.reshape(one.orientation, (2, 3))
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        found.append(replace(one, orientation=tuple(axes.ravel().tolist())))
    return found


def images_by_direction(slices: Sequence[DicomSlice]) -> list[int]:
    """How many images there are in each orientation."""
    counts: dict[tuple[float, ...], int] = {}
    for one in slices:
        counts[one.orientation] = counts.get(one.orientation, 0) + 1
    found = [counts.pop((), 0)]
    directions, numbers = np.array(list(counts)), np.array(list(counts.values()))
    while len(numbers):
        is_same = (np.abs(directions - directions[0]) <= _SAME_DIRECTION).all(axis=1)
        is_same[0] = True  # even if it is not a number
        found.append(int(numbers[is_same].sum()))
        directions, numbers = directions[~is_same], numbers[~is_same]
    return [count for count in found if count]


def several_directions(counts: Sequence[int]) -> str:
    return _(
        "its images lie in {count} different orientations, as those of a localizer; a volume has one. If they are "
        "several stacks of slices, save each as NRRD in 3D Slicer."
    ).format(count=len(counts))


def require_one_rescaling(slices: Sequence[DicomSlice]) -> None:
    """Raise BadInputError when only some images are rescaled, and their values change by it."""
    plain = sum(not one.is_rescaled for one in slices)
    if 0 < plain < len(slices) and any(tuple(one.rescaling) != (1, 0) for one in slices if one.is_rescaled):
        raise BadInputError(
            _(
                "{count} of its {all} images have no rescale slope and intercept, although the others do, so their "
                "values do not mean the same. Export the series again."
            ).format(count=plain, all=len(slices))
        )


def require_one_grid(headers: Sequence[DicomHeader], slices: Sequence[DicomSlice], shown: Callable[[str], str]) -> None:
    """Raise BadInputError when files are damaged, or of several patients, studies or grids.

    Args:
        shown: a path for messages.
    """
    cut = [header.path for header in headers if header.is_cut_off]
    if cut:
        raise BadInputError(
            counted(
                len(cut),
                _("{file} is cut off: it is shorter than its voxels. Copy it again."),
                _("{count} files are cut off, such as {file}: they are shorter than their voxels. Copy them again."),
                file=shown(cut[0]),
            )
        )
    problem = next((header.problem for header in headers if header.problem), "")
    if problem:
        raise BadInputError(problem)
    if len({(header.study_uid, header.patient) for header in headers}) > 1:
        raise BadInputError(
            _(
                "its files are of several patients or studies, although they have one series UID. Export each study "
                "again, or save each volume as NRRD in 3D Slicer."
            )
        )
    without = sum(not one.has_place for one in slices) + sum(header.is_color for header in headers)
    if without:
        raise BadInputError(
            _(
                "{count} of its {all} images have no position, orientation or pixel spacing in the patient, or are in "
                "color. Copy the series again, or put the files of the volume into a folder of its own."
            ).format(count=without, all=len(slices))
        )
    if not all(map(has_usable_numbers, slices)):
        raise BadInputError(
            _(
                "its header has a pixel spacing, a position or an orientation that is not a usable number. Export the "
                "series again."
            )
        )
    counts = images_by_direction(slices)
    if len(counts) > 1:
        raise BadInputError(several_directions(counts))
    remedy = _("Put the files of each part into a folder of its own.")
    sizes = sorted({one.size for one in slices})
    if len(sizes) > 1:
        listed_sizes = ", ".join(f"{columns} x {rows}" for rows, columns in sizes[:4])
        raise BadInputError(
            _("its images have different sizes ({sizes} pixels), so they are not one volume. {remedy}").format(
                sizes=listed_sizes, remedy=remedy
            )
        )
    spacing = np.array([one.spacing for one in slices])
    if not np.allclose(spacing, spacing[0], rtol=1e-4, atol=0):
        raise BadInputError(
            _("its images have different pixel spacings, so they are not one volume. {remedy}").format(remedy=remedy)
        )
    if len({header.frame_of_reference_uid for header in headers}) > 1:
        raise BadInputError(
            _("its images have different frames of reference: the patient was moved between them. {remedy}").format(
                remedy=remedy
            )
        )


def require_one_of_each(slices: Sequence[DicomSlice]) -> list[str]:
    """Raise BadInputError when slices that make up an even stack are of several time points, echoes or b-values.

    Returns sentences on what else may not belong together.
    """
    differing = [name for name in ONE_OF_EACH if _differs([one.variants.get(str(name), "") for one in slices])]
    if differing:
        raise BadInputError(
            _(
                "its slices are of several images that take turns: they differ in {names}. Put the files of one of "
                "them into a folder of its own, or save it as NRRD in 3D Slicer."
            ).format(names=listed(differing, 5))
        )
    if _differs([one.variants.get(str(IMAGE_TYPE), "") for one in slices]):
        return [_("its slices have different image types. Check that they belong to one image.")]
    return []


def _differs(values: Sequence[str]) -> bool:
    if len(set(values)) == 1:
        return False
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return True
    return not np.allclose(numbers, numbers[0], rtol=_SAME_VALUE, atol=0)
