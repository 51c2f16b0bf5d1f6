"""DICOM files: how they are recognized, found and opened."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .decathlon import is_left_by_macos
from .dicom_packages import require_dicom_packages
from .errors import BadInputError
from .given_paths import GivenPath
from .messages import _, capitalized
from .progress import Watch

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MARK = b"DICM"
_ENDINGS = (".dcm", ".ima", ".dicom")
_SEARCHED_BYTES = 1 << 14  # of a file that does not begin like DICOM, for elements further on
# UIDs of the file, its study and its series: tag, kind and length, value (PS3.5, 7.1), also with big endian numbers.
_UID_ELEMENTS = re.compile(
    rb"(?:(?:\x08\0([\x16\x18])\0|\x20\0([\x0d\x0e])\0)(?:UI[\x0e-\x40]\0|[\x0e-\x40]\0\0\0)"
    rb"|(?:\0\x08\0([\x16\x18])|\0\x20\0([\x0d\x0e]))UI\0[\x0e-\x40])"
    rb"([0-2](?:\.[0-9]{1,62}){2,})"
)
_UID_KEYWORDS = {
    b"\x16": "SOPClassUID",
    b"\x18": "SOPInstanceUID",
    b"\x0d": "StudyInstanceUID",
    b"\x0e": "SeriesInstanceUID",
}
_ARCHIVES = (b"PK", b"\x1f\x8b", b"7z", b"Rar!")
_REPORTED_EVERY = 100  # files
_FIRST_ELEMENTS = (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00", b"\x16\x00")


def is_dicom_file(path: str | os.PathLike[str], inside: str | os.PathLike[str] = "") -> bool:
    """Whether a file begins like a DICOM file, with or without the usual preamble, or only its beginning does not.

    Raises BadInputError when it cannot be read.

    `inside`: the folder or file that a user gives; see `shown_file`.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_SEARCHED_BYTES)
    except OSError as error:
        raise unreadable(path, error, inside=inside) from error
    # Without the preamble, old files begin with the first elements of group 8.
    return _is_sure(head) or (head[:2] == b"\x08\x00" and head[2:4] in _FIRST_ELEMENTS)


def is_surely_dicom(path: str | Path) -> bool:
    """Whether a file has the mark of DICOM files, or elements that files of other kinds do not have by chance."""
    return _is_sure(_head(path))


def is_marked(path: str | Path) -> bool:
    """Whether a file has the mark of DICOM files where it belongs."""
    return _has_mark(_head(path))


def uids_within(path: str | Path) -> dict[str, str]:
    """UIDs of a file, its study and its series by keyword, those that its first bytes hold, whatever is before them.

    Of several the last ones: those in sequences, which refer to others, mostly come first. None when it cannot be read.
    """
    try:
        return _uids_in(_head(path))
    except OSError:
        return {}


def _head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_SEARCHED_BYTES)


def _is_sure(head: bytes) -> bool:
    return _has_mark(head) or bool(_uids_in(head))


def _has_mark(head: bytes) -> bool:
    return head[128:132] == _MARK


def _uids_in(head: bytes) -> dict[str, str]:
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return {}
    found = (match.groups() for match in _UID_ELEMENTS.finditer(head))
    return {_UID_KEYWORDS[b"".join(filter(None, tags))]: uid.decode("ascii") for *tags, uid in found}


def is_named_like_dicom(path: str | Path) -> bool:
    """Whether a file has an ending of DICOM files."""
    return str(path).lower().endswith(_ENDINGS) and not is_left_by_macos(path)


class FilesFound(NamedTuple):
    """What there is in a folder.

    Attributes:
        dicom: the DICOM files, sorted, damaged ones among them. others: how many other files there are.
        named_alike: how many of these have an ending of DICOM files.
    """

    dicom: list[str]
    others: int
    named_alike: int


def dicom_files(folder: str | os.PathLike[str], watch: Watch | None = None) -> FilesFound:
    """The DICOM files in a folder and the folders in it, and how many other files there are.

    Files are recognized by their content, because those from a hospital often have no ending.

    Raises BadInputError when a folder or a file in it cannot be read.
    """

    given = folder if isinstance(folder, GivenPath) else GivenPath(os.fspath(folder))

    def stop(error: OSError) -> None:
        raise unreadable(error.filename, error, _shown_inside(error.filename, given, _("folder"))) from error

    found: list[str] = []
    others = named_alike = 0
    for path in files_in(folder, watch, stop):
        if is_dicom_file(path, given):
            found.append(path)
        else:
            others += 1
            named_alike += is_named_like_dicom(path)
    return FilesFound(sorted(found), others, named_alike)


def has_dicom_file(folder: str | os.PathLike[str], watch: Watch | None = None) -> bool:
    """Whether there is a DICOM file in a folder or the folders in it. Raises BadInputError as `dicom_files` does."""
    if not os.access(folder, os.R_OK | os.X_OK):
        dicom_files(folder)
    return any(is_dicom_file(path, folder) for path in files_in(folder, watch))


def files_in(
    folder: str | os.PathLike[str], watch: Watch | None = None, stop: Callable[[OSError], None] | None = None
) -> Iterator[str]:
    """The files in a folder and the folders in it, without links to nothing and sockets, those of a folder by name.

    `stop`: called when a folder cannot be read; None: it is passed over.
    """
    count = 0
    for parent, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        for name in sorted(names):
            count += 1
            if watch is not None:
                watch.check()
                if count % _REPORTED_EVERY == 0:
                    watch.step(0.0, _("looking for DICOM files (files so far: {count})").format(count=count))
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                yield path


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of pydicom and highdicom, which quote values that may be those of the patient."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def opened(
    path: str | Path,
    tags: Sequence[str] | None = None,
    with_voxels: bool = False,
    shown: str = "",
    inside: str | os.PathLike[str] = "",
) -> Iterator[Dataset]:
    """A DICOM file, read by pydicom with all elements, or some; `bytes_left` is the size of its rest, the voxels.

    `shown`: the file for messages; '': as `shown_file` calls it, `inside` a folder.

    Raises BadInputError when it is damaged or cannot be read.
    """
    require_dicom_packages()
    import pydicom  # here, because Slicer imports this folder at every start

    with quietly():
        try:
            wanted: list[Any] | None = None if tags is None else list(tags)
            with open(path, "rb") as file:
                dataset = pydicom.dcmread(file, stop_before_pixels=not with_voxels, specific_tags=wanted, force=True)
                dataset.bytes_left = os.fstat(file.fileno()).st_size - file.tell()
        except OSError as error:
            raise unreadable(path, error, shown, inside) from error
        except Exception as error:  # a damaged file raises whatever its conversion does
            raise damaged(path, shown, inside) from error
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
        yield dataset


def value_of(dataset: Any, keyword: str) -> str:
    """An element as text, several values joined by backslashes; '' when it is missing, empty or cannot be read."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
            return "\\".join(str(part) for part in value)
        return str(value).strip()
    except Exception:  # a damaged element raises whatever its conversion does; it counts as missing
        return ""


def is_readable(dataset: Any, keyword: str) -> bool:
    """Whether an element is missing, or is of the kind that DICOM says, with characters that can be decoded."""
    from pydicom.datadict import dictionary_VR

    try:
        if keyword not in dataset:
            return True
        text = value_of(dataset, keyword).strip("\0 ")
        is_of_kind: bool = dictionary_VR(keyword) == dataset[keyword].VR
    except Exception:  # as above
        return False
    return is_of_kind and not any(c == "\N{REPLACEMENT CHARACTER}" or unicodedata.category(c) == "Cc" for c in text)


def numbers_of(dataset: Any, keyword: str) -> tuple[float, ...]:
    """An element as numbers; empty when it is missing or cannot be read."""
    try:
        return tuple(float(part) for part in value_of(dataset, keyword).split("\\") if part)
    except ValueError:
        return ()


def group_of(frame: Any, shared: Any, keyword: str) -> Any:
    """A functional group of a multi-frame image: of the frame, or of all frames; None without it."""
    for groups in (frame, shared):
        items = groups.get(keyword) if groups is not None else None
        if items:
            return items[0]
    return None


def whole_number(dataset: Any, keyword: str) -> int:
    try:
        return int(value_of(dataset, keyword) or 0)
    except ValueError:
        return 0


def damaged(path: str | os.PathLike[str], shown: str = "", inside: str | os.PathLike[str] = "") -> BadInputError:
    """What is wrong with a damaged file. `shown`, `inside`: as for `opened`."""
    return BadInputError(
        _("{file} is damaged: its header is incomplete. Copy it again.").format(file=_called(path, shown, inside))
    )


def unreadable(
    path: str | os.PathLike[str], error: OSError, shown: str = "", inside: str | os.PathLike[str] = ""
) -> BadInputError:
    """What is wrong with a file that cannot be opened. `shown`, `inside`: as for `opened`."""
    return BadInputError(
        _("{file} cannot be read ({reason}).").format(
            file=_called(path, shown, inside, _("file")), reason=error.strerror
        )
    )


def _called(path: str | os.PathLike[str], shown: str, inside: str | os.PathLike[str], kind: str = "") -> str:
    from .dicom_paths import shown_file  # here, because it reads files, too

    return capitalized(shown or shown_file(path, kind=kind, inside=inside))


def _shown_inside(path: str | os.PathLike[str], folder: GivenPath, kind: str) -> str:
    from .dicom_paths import shown_inside  # here, as above

    return shown_inside(path, folder, kind)
