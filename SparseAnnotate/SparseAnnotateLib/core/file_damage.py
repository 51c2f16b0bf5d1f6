"""Whether an image file is whole: its checksums are right, and all its voxels are there."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInputError
from .file_looks import FileLooks, is_settled, looks_of
from .metaimage_length import META_ENDINGS, metaimage_damage
from .nifti_header import NIFTI_ENDINGS, nifti_damage
from .nrrd_checksum import checksum_differs
from .nrrd_length import NRRD_ENDINGS, nrrd_damage

_KEPT_FROM = 1 << 22  # bytes; smaller files are checked each time
_CHECKS = ((NRRD_ENDINGS, nrrd_damage), (META_ENDINGS, metaimage_damage), (NIFTI_ENDINGS, nifti_damage))
_whole: set[FileLooks] = set()


def require_whole(path: Path) -> None:
    """Raise BadInputError when an image file is damaged or cut off; it is read once for that, from end to end.

    What only the program that wrote it could know is not noticed: a changed voxel in a file without a checksum.
    """
    check = next((check for endings, check in _CHECKS if path.name.lower().endswith(endings)), None)
    if check is None:
        return
    try:
        looks = looks_of(path)
        if looks in _whole:
            return
        problem = check(path)
    except OSError as error:
        problem = str(error)
    if problem:
        raise BadInputError(unreadable(path, problem))
    # The voxels of a header may lie in other files.
    own_voxels = not path.name.lower().endswith((".nhdr", ".mhd"))
    if own_voxels and looks[1] >= _KEPT_FROM and is_settled(looks):
        _whole.add(looks)


def require_whole_header(path: Path) -> None:
    """The same of the header alone, as far as a file has a checksum of it: costs next to nothing."""
    if not path.name.lower().endswith(NRRD_ENDINGS):
        return
    try:
        differs = checksum_differs(path, header_only=True)
    except OSError as error:
        raise BadInputError(unreadable(path, error)) from error
    if differs:
        raise BadInputError(unreadable(path, "its header is not what SparseAnnotate wrote: its checksum does not fit"))


def unreadable(path: Path, reason: Exception | str) -> str:
    """A sentence on a file that cannot be used, from what a reader said of it."""
    lines = [line for line in str(reason).strip().splitlines() if line.strip()]
    return (
        f"The file '{path}' cannot be read as an image; it may be damaged or cut off. "
        f"Copy it again from its source. (Reader: {lines[-1].strip() if lines else type(reason).__name__})"
    )
