"""Whether an image file is complete: its checksums match, and all its voxels are there."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInputError
from .file_stamp import FileStamp, is_settled, stamp_of
from .messages import Message, _
from .metaimage_length import META_ENDINGS, metaimage_damage
from .nifti_header import NIFTI_ENDINGS, nifti_damage
from .nrrd_checksum import checksum_differs
from .nrrd_length import NRRD_ENDINGS, nrrd_damage

_KEPT_FROM = 1 << 22  # bytes; smaller files are checked each time
_CHECKS = ((NRRD_ENDINGS, nrrd_damage), (META_ENDINGS, metaimage_damage), (NIFTI_ENDINGS, nifti_damage))
_intact: set[FileStamp] = set()


def require_whole(path: Path) -> None:
    """Raise BadInputError when an image file is damaged or cut off; to check that, the whole file is read once.

    Damage that leaves the file readable is only found with a checksum: a changed voxel without one goes unnoticed.
    """
    check = next((check for endings, check in _CHECKS if path.name.lower().endswith(endings)), None)
    if check is None:
        return
    try:
        stamp = stamp_of(path)
        if stamp in _intact:
            return
        problem = check(path)
    except OSError as error:
        problem = str(error)
    if problem:
        raise BadInputError(unreadable(path, problem))
    # The voxels of a header may lie in other files.
    own_voxels = not path.name.lower().endswith((".nhdr", ".mhd"))
    if own_voxels and stamp[1] >= _KEPT_FROM and is_settled(stamp):
        _intact.add(stamp)


def require_whole_header(path: Path) -> None:
    """The same for the header alone, when the file has a checksum of its header: takes hardly any time."""
    if not path.name.lower().endswith(NRRD_ENDINGS):
        return
    try:
        differs = checksum_differs(path, header_only=True)
    except OSError as error:
        raise BadInputError(unreadable(path, error)) from error
    if differs:
        problem = _("the checksum of its header does not match: the header has changed since SparseAnnotate wrote it")
        raise BadInputError(unreadable(path, problem))


def missing_sentence(path: Path) -> str:
    """A message on a file that is not there."""
    return _("The file '{path}' does not exist. If it was moved, put it back where it was.").format(path=path)


def unreadable(path: Path, reason: Exception | str) -> str:
    """A message on a file that cannot be used; of a reader's error, it shows the last line."""
    details: str
    if isinstance(reason, Message):
        details = reason
    else:
        lines = [line for line in str(reason).strip().splitlines() if line.strip()]
        details = lines[-1].strip() if lines else type(reason).__name__
    return _(
        "The file '{path}' cannot be read as an image; it may be damaged or cut off. Copy it again from its source. "
        "(Details: {details})"
    ).format(path=path, details=details)
