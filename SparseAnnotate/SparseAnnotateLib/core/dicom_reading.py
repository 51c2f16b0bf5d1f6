"""DICOM SEG files as label maps on the grid of a case's image; nothing is resampled."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dicom_codes import Code, StructureCodes
from .dicom_files import damaged, group_of, is_dicom_file, is_surely_dicom, numbers_of, opened, value_of, whole_number
from .dicom_headers import SEGMENTATION_CLASSES, class_of, require_whole_header
from .dicom_paths import has_patient, patient_of, shown_file
from .dicom_writing import LONGEST_LABEL
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _, capitalized, listed

_SAME_PLACE_VOXELS = 0.05  # as `dicom_series`: headers round positions
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class SegmentationFile:
    """What the header of a DICOM SEG file says.

    Attributes:
        series_uids: of the series that it refers to. frame_of_reference_uid: '' where there is none.
        names, codes: of each segment number.
        images: that it refers to: SOP instance UID, and number in the file, 0 for the whole file.
        shown: the file for messages, see `shown_file`.
    """

    path: str
    series_uids: tuple[str, ...]
    frame_of_reference_uid: str
    names: dict[int, str]
    codes: dict[int, StructureCodes]
    images: frozenset[tuple[str, int]] = frozenset()
    shown: str = ""

    def is_of(self, images: Iterable[tuple[str, int]]) -> bool:
        """Whether it refers to images, and to these only, of which each is a SOP instance UID and a number as above."""
        own = set(images)
        return bool(self.images) and all((uid, n) in own or (uid, 0) in own for uid, n in self.images)


def is_segmentation_file(path: str | Path, inside: str | os.PathLike[str] = "") -> bool:
    """Whether a file is a DICOM SEG. `inside`: as for `opened`.

    Raises BadInputError when it cannot be read, or is so damaged that it does not say what it is.
    """
    if not Path(path).is_file() or not is_dicom_file(path, inside):
        return False
    with opened(path, ["SOPClassUID"], inside=inside) as dataset:
        sop_class = class_of(dataset)
    if not sop_class and is_surely_dicom(path):
        raise damaged(path, inside=inside)
    return sop_class in SEGMENTATION_CLASSES


def read_segmentation_header(path: str | Path, inside: str | os.PathLike[str] = "") -> SegmentationFile:
    """What a header says. `inside`: as for `opened`.

    Raises BadInputError when the file is damaged, or names no segments.
    """
    with opened(path, inside=inside) as dataset:
        require_whole_header(dataset, str(path), "", inside)
        patient = patient_of(dataset) if has_patient(dataset) else None
        shown = shown_file(path, patient, kind=_("DICOM SEG"), inside=inside)
        if value_of(dataset, "SegmentationType") == "FRACTIONAL":
            raise BadInputError(
                _("{file} is fractional (probabilities), not a label map. Convert it to a binary one first.").format(
                    file=capitalized(shown)
                )
            )
        segments = list(dataset.get("SegmentSequence") or [])
        names = {int(value_of(one, "SegmentNumber") or 0): _name(one) for one in segments}
        names.pop(0, None)
        if not names:
            raise BadInputError(_("{file} has no segments.").format(file=capitalized(shown)))
        twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
        if twice:
            raise BadInputError(
                _("{file} has several segments named {names}. Rename them first.").format(
                    file=capitalized(shown), names=listed([f"'{name}'" for name in twice], 3)
                )
            )
        codes = {int(value_of(one, "SegmentNumber") or 0): _codes(one) for one in segments}
        codes.pop(0, None)
        return SegmentationFile(
            str(path),
            tuple(value_of(one, "SeriesInstanceUID") for one in dataset.get("ReferencedSeriesSequence") or []),
            value_of(dataset, "FrameOfReferenceUID"),
            names,
            {number: found for number, found in codes.items() if found is not None},
            _images(dataset),
            shown,
        )


def _images(dataset: Any) -> frozenset[tuple[str, int]]:
    """The images that the frames were derived from or, where that is not said, those of the series."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    found: list[Any] = []
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        found += (group_of(frame, shared, "DerivationImageSequence") or {}).get("SourceImageSequence") or []
    if not found:
        for series in dataset.get("ReferencedSeriesSequence") or []:
            found += series.get("ReferencedInstanceSequence") or []
    return frozenset(
        (value_of(one, "ReferencedSOPInstanceUID"), int(number))
        for one in found
        for number in numbers_of(one, "ReferencedFrameNumber") or (0,)
    )


def read_segmentation(file: SegmentationFile, geometry: VolumeGeometry, frame_of_reference_uid: str = "") -> np.ndarray:
    """The segments on a grid: (K, J, I) uint8 or uint16, the number of the segment or 0.

    Args:
        frame_of_reference_uid: of the image; '' when it is not known.

    Raises BadInputError when the segments overlap, lie in another frame of reference, or on another grid.
    """
    own = file.frame_of_reference_uid
    if own and frame_of_reference_uid and own != frame_of_reference_uid:
        raise BadInputError(
            _(
                "{file} lies in another frame of reference than the image, so its place in the image "
                "is not known. Register the two images first, or take the segmentation of this series."
            ).format(file=capitalized(file.shown))
        )
    labels = np.zeros(geometry.shape, dtype=np.uint8 if max(file.names) < 256 else np.uint16)
    overlaps: dict[tuple[int, int], int] = {}
    read: set[tuple[int, tuple[float, ...]]] = set()
    with opened(file.path, with_voxels=True, shown=file.shown) as dataset:
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        is_label_map = value_of(dataset, "SegmentationType") == "LABELMAP"
        if len(groups) != max(1, whole_number(dataset, "NumberOfFrames")):
            raise BadInputError(
                _("{file} is damaged: it does not describe each of its frames. Copy it again.").format(
                    file=capitalized(file.shown)
                )
            )
        for frame, values in zip(groups, _frames(dataset, file.shown), strict=True):
            part = _part_of(labels, frame, shared, values.shape, geometry, file.shown)
            place = numbers_of(group_of(frame, shared, "PlanePositionSequence"), "ImagePositionPatient")
            for segment in _segments(frame, shared, values, is_label_map):
                if (segment, place) in read:
                    raise BadInputError(
                        _(
                            "{file} has two frames of segment {number} at the same place, as of "
                            "several time points. Give a segmentation of one of them."
                        ).format(file=capitalized(file.shown), number=segment)
                    )
                read.add((segment, place))
                mask = values == segment if is_label_map else values > 0
                if segment not in file.names:
                    raise BadInputError(
                        _("{file} has voxels of a segment {number} that it does not describe.").format(
                            file=capitalized(file.shown), number=segment
                        )
                    )
                clash = mask & (part > 0) & (part != segment)
                for other in np.unique(part[clash]).tolist() if clash.any() else ():
                    pair = (min(other, segment), max(other, segment))
                    overlaps[pair] = overlaps.get(pair, 0) + int(np.count_nonzero(part[clash] == other))
                part[mask] = segment
    if overlaps:
        raise BadInputError(_overlap_sentence(file, overlaps))
    return labels


def _frames(dataset: Any, shown: str) -> Any:
    from pydicom.pixels import iter_pixels

    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    is_packed = whole_number(dataset, "BitsAllocated") == 1 and not getattr(syntax, "is_encapsulated", False)
    try:
        frames = _unpacked(dataset) if is_packed else iter_pixels(dataset)
        for _number in range(max(1, whole_number(dataset, "NumberOfFrames"))):
            yield next(frames)
    except Exception as error:  # decoders raise whatever they like
        raise BadInputError(
            _("The voxels of {file} cannot be read: it is damaged or cut off. Copy it again.").format(file=shown)
        ) from error


def _unpacked(dataset: Any) -> Iterator[np.ndarray]:
    """The frames of voxels of one bit each, (rows, columns) uint8; frames may begin within a byte (PS3.5, 8.1.1)."""
    rows, columns = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    size, content = rows * columns, np.frombuffer(dataset.PixelData, dtype=np.uint8)
    for number in range(max(1, whole_number(dataset, "NumberOfFrames"))):
        first, skipped = divmod(number * size, 8)
        bits = np.unpackbits(content[first : -(-(number + 1) * size // 8)], bitorder="little")
        yield bits[skipped : skipped + size].reshape(rows, columns)


def _segments(frame: Any, shared: Any, values: np.ndarray, is_label_map: bool) -> list[int]:
    if is_label_map:
        return [value for value in np.unique(values).tolist() if value]
    group = group_of(frame, shared, "SegmentIdentificationSequence")
    return [int(value_of(group or {}, "ReferencedSegmentNumber") or 0)]


def _part_of(
    labels: np.ndarray, frame: Any, shared: Any, size: tuple[int, ...], geometry: VolumeGeometry, shown: str
) -> np.ndarray:
    """View of the labels, (rows, columns), where a frame lies."""
    position, orientation, spacing = (
        np.array(numbers_of(group_of(frame, shared, f"{group}Sequence") or {}, keyword))
        for group, keyword in (
            ("PlanePosition", "ImagePositionPatient"),
            ("PlaneOrientation", "ImageOrientationPatient"),
            ("PixelMeasures", "PixelSpacing"),
        )
    )
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        raise BadInputError(_("{file} does not say where its frames lie.").format(file=capitalized(shown)))
    to_ijk = np.linalg.inv(geometry.matrix)
    start = (to_ijk @ np.append(position * _LPS_TO_RAS, 1.0))[:3]
    column_step = to_ijk[:3, :3] @ (orientation[:3] * _LPS_TO_RAS * spacing[1])
    row_step = to_ijk[:3, :3] @ (orientation[3:] * _LPS_TO_RAS * spacing[0])
    rows, columns = size
    steps = np.rint([start, row_step, column_step]).astype(int)
    far = np.array([start, row_step * (rows - 1), column_step * (columns - 1)])
    near = steps * np.array([1, rows - 1, columns - 1])[:, None]
    last = steps[0] + steps[1] * (rows - 1) + steps[2] * (columns - 1)
    shape = np.array(geometry.shape[::-1])
    is_turned = all(np.abs(step).sum() == 1 for step in steps[1:])
    if not is_turned or np.abs(far - near).max() > _SAME_PLACE_VOXELS:
        raise BadInputError(
            _(
                "{file} does not lie on the grid of the image. Resample it to the image first, with "
                "nearest-neighbor interpolation."
            ).format(file=capitalized(shown))
        )
    if (np.minimum(steps[0], last) < 0).any() or (np.maximum(steps[0], last) >= shape).any():
        raise BadInputError(_("{file} reaches beyond the image.").format(file=capitalized(shown)))
    index: list[int | slice] = [int(n) for n in steps[0][::-1]]
    axes = [2 - int(np.abs(step).argmax()) for step in steps[1:]]
    for axis, step, count in zip(axes, steps[1:], size, strict=True):
        first, sign = int(steps[0][2 - axis]), int(step.sum())
        stop = first + sign * count
        index[axis] = slice(first, None if stop < 0 else stop, sign)
    view = labels[tuple(index)]
    return view if axes[0] < axes[1] else view.T


def _overlap_sentence(file: SegmentationFile, overlaps: dict[tuple[int, int], int]) -> str:
    pairs = [
        _("'{one}' and '{other}' at {count} voxels").format(one=file.names[a], other=file.names[b], count=count)
        for (a, b), count in overlaps.items()
    ]
    return _(
        "Segments of {file} overlap, but a voxel can have one structure only: {pairs}. Load it in 3D "
        "Slicer, decide there, and export the segmentation as a label map."
    ).format(file=file.shown, pairs=listed(pairs, 3))


def _name(segment: Any) -> str:
    label, whole = value_of(segment, "SegmentLabel"), value_of(segment, "SegmentDescription")
    # A label holds 64 characters.
    return whole if len(label) >= LONGEST_LABEL and whole.startswith(label) else label or whole


def _codes(segment: Any) -> StructureCodes | None:
    def code(item: Any, keyword: str) -> Code | None:
        found = (item.get(keyword) or [None])[0] if item is not None else None
        scheme, meaning = (value_of(found or {}, k) for k in ("CodingSchemeDesignator", "CodeMeaning"))
        values = (value_of(found or {}, k) for k in ("CodeValue", "LongCodeValue", "URNCodeValue"))
        value = next(filter(None, values), "")
        return Code(scheme, value, meaning) if scheme and value and meaning else None

    category = code(segment, "SegmentedPropertyCategoryCodeSequence")
    kind = code(segment, "SegmentedPropertyTypeCodeSequence")
    if category is None or kind is None:
        return None
    items = segment.SegmentedPropertyTypeCodeSequence
    region = (segment.get("AnatomicRegionSequence") or [None])[0]
    return StructureCodes(
        category,
        kind,
        code(items[0], "SegmentedPropertyTypeModifierCodeSequence"),
        code(segment, "AnatomicRegionSequence"),
        code(region, "AnatomicRegionModifierSequence"),
    )
