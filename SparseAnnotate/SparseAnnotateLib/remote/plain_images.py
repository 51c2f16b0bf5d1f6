"""Images as they may leave this computer: voxels and geometry, and nothing else that a header can hold.

Programs that convert DICOM keep its tags in headers of NRRD and MetaImage files and in extensions of NIfTI, and gzip
keeps the name of the file that was packed. An image with anything of this kind is copied without it first.
"""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np

from ..core import Cohort, VolumeGeometry
from ..core.atomic_files import written_atomically
from ..core.errors import BadInputError
from ..core.images import channel_count, read_image, write_image

_NRRD_FIELDS = frozenset(
    (
        *("type", "dimension", "space", "spacedimension", "sizes", "spacedirections", "kinds", "endian", "encoding"),
        *("spaceorigin", "spacings", "spaceunits", "units", "centerings", "centers", "axismins", "axismaxs"),
        *("thicknesses", "measurementframe", "byteskip", "lineskip", "min", "max", "oldmin", "oldmax"),
    )
)
_META_FIELDS = frozenset(
    (
        *("ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData"),
        *("CompressedDataSize", "TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin"),
        *("CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "ElementSize", "DimSize", "ElementType"),
        *("ElementNumberOfChannels", "ElementMin", "ElementMax", "HeaderSize", "ElementDataFile"),
    )
)
_PLAIN_COMMENT = re.compile(r"# (Complete NRRD file format specification|http://teem|SparseAnnotate checksum: )")
_NIFTI_TEXTS = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))  # data_type, db_name, descrip, aux_file, intent
_NIFTI_HEADER = 348
_LONGEST_HEADER = 1 << 20


def is_plain(path: Path) -> bool:
    """True when the header says nothing but how the voxels lie in space. Raises BadInputError."""
    name = path.name.lower()
    try:
        with open(path, "rb") as file:
            start = file.read(_LONGEST_HEADER)
        if name.endswith(".nrrd"):
            return _is_plain_nrrd(start)
        if name.endswith(".mha"):
            return _is_plain_meta(start)
        if name.endswith((".nii", ".nii.gz")):
            return _is_plain_nifti(path, start)
    except (OSError, EOFError) as error:
        raise BadInputError(f"The image '{path}' cannot be read ({error}).") from error
    return False  # a header whose voxels are in other files, by their names


def write_plain(cohort: Cohort, name: str, channel: str, place: Path) -> None:
    """Write an image of a case with the same voxels and geometry, and an empty header otherwise, as NRRD.

    Args:
        channel: of the cohort; '' where the image has no channel's name.

    Raises BadInputError when the image cannot be read, FileWriteError.
    """
    path = cohort.channel_paths(name)[channel]
    if not cohort.case(name).is_4d:
        write_image(place, *read_image(path))
        return
    volumes = [read_image(path, number) for number in range(channel_count(path))]
    _write_4d(place, [array for array, _geometry in volumes], volumes[0][1])


def _write_4d(place: Path, arrays: list[np.ndarray], geometry: VolumeGeometry) -> None:
    import SimpleITK as sitk

    spacing, origin, direction = geometry.to_itk()
    images = []
    for array in arrays:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        images.append(image)
    with written_atomically(place) as temporary:
        sitk.WriteImage(sitk.JoinSeries(images), str(temporary), useCompression=True)


def _is_plain_nrrd(start: bytes) -> bool:
    end = re.search(rb"\r?\n\r?\n", start)
    if end is None:
        return False
    for line in start[: end.start()].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#"):
            if not _PLAIN_COMMENT.match(line):
                return False
        elif line.partition(":")[0].lower().replace(" ", "") not in _NRRD_FIELDS or ":=" in line:
            return False
    return True


def _is_plain_meta(start: bytes) -> bool:
    for line in start.split(b"\n"):
        name, equals, text = line.decode("latin-1").partition("=")
        if not equals or name.strip() not in _META_FIELDS:
            return False
        if name.strip() == "ElementDataFile":
            return text.strip().upper() == "LOCAL"
    return False


def _is_plain_nifti(path: Path, start: bytes) -> bool:
    if start[:2] == b"\x1f\x8b":
        if start[3] & 0b11100:  # more fields, the name of the packed file, or a comment
            return False
        with gzip.open(path, "rb") as packed:
            start = packed.read(_NIFTI_HEADER + 4)
    if len(start) < _NIFTI_HEADER + 4 or _NIFTI_HEADER not in (
        struct.unpack("<i", start[:4])[0],
        struct.unpack(">i", start[:4])[0],
    ):
        return False
    if start[_NIFTI_HEADER]:
        return False  # extensions follow
    return not any(start[place : place + length].strip(b"\0 ") for place, length in _NIFTI_TEXTS)
