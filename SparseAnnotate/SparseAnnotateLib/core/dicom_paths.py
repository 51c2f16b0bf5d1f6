"""How DICOM files are called in messages: paths from hospitals often name the patient.

A path is shown when it is known who the patient is, and the path does not name them. Otherwise, a file is called by
its number, and its folder by numbers from the last folder on whose path names nobody. What a damaged header says is
not trusted: it may be that of nobody. What a user gives is called by its number among all that is given: the shell may
have written it for a pattern.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .dicom_files import is_readable, quietly, value_of
from .given_paths import GivenPath
from .messages import _, joined
from .patient_names import names_one_of, words_of_patient

NAMES = ("PatientName", "PatientBirthName", "OtherPatientNames")
IDENTIFIERS = ("OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "StudyID")
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")
_LONGEST_NAME = 194  # three of 64 characters (PS3.5, table 6.2-1)
_STUDY_ID = 0x0020_0010  # elements are sorted, and the study ID is the last of these


def patient_of(dataset: Any) -> frozenset[str]:
    """The words by which a header's patient is recognized; see `words_of_patient`."""
    return words_of_patient(
        [value_of(dataset, keyword) for keyword in NAMES],
        value_of(dataset, "PatientID"),
        [value_of(dataset, keyword) for keyword in IDENTIFIERS],
    )


def has_patient(dataset: Any) -> bool:
    """Whether a header says who the patient is, also by empty elements, which whole files have.

    It does not when a name, ID or date cannot be read, or has characters that are not of the header's character set.
    """
    if "PatientName" not in dataset or "PatientID" not in dataset:
        return False
    is_ascii_only = not _has_other_letters(value_of(dataset, "SpecificCharacterSet"))
    for keyword in (*NAMES, "PatientID", *IDENTIFIERS):
        text = value_of(dataset, keyword)
        is_too_long = any(len(one) > _LONGEST_NAME for one in text.split("\\"))
        if is_too_long or not is_readable(dataset, keyword) or (is_ascii_only and not text.isascii()):
            return False
    return True


def _has_other_letters(character_sets: str) -> bool:
    """Whether character sets in a header are those of DICOM, and have other letters than ASCII."""
    from pydicom.charset import python_encoding

    found = character_sets.split("\\")
    return all(one in python_encoding for one in found) and not all(one in _ASCII for one in found)


class FileNumbers:
    """The numbers of files and folders in their folder, sorted by name; each folder is read once."""

    def __init__(self) -> None:
        self._folders: dict[str, tuple[dict[str, int], dict[str, int]]] = {}

    def of(self, path: str) -> tuple[int, int]:
        """The number of a file among the files of its folder, or of a folder among the folders, and how many there are.

        Numbers begin with 1.
        """
        parent, name = os.path.split(path)
        if parent not in self._folders:
            self._folders[parent] = _numbered(parent)
        files, folders = self._folders[parent]
        among = folders if name in folders else files
        return among.get(name, 1), max(1, len(among))


def shown_file(
    path: str | os.PathLike[str],
    patient: Collection[str] | None = None,
    kind: str = "",
    numbers: FileNumbers | None = None,
    inside: str | os.PathLike[str] = "",
) -> str:
    """A DICOM file for messages, for example "the DICOM file '/data/ct/IM3'".

    Args:
        patient: words by which its patient is recognized, from a whole header; None: not known, so that no part of the
            path is shown.
        kind: what it is; '' for 'DICOM file'.
        numbers: of files and folders that were read before.
        inside: a folder that was searched, or the file itself, if a user gives it, which is not shown either; '' for
            none.
    """
    kind = kind or _("DICOM file")
    if patient is not None and not names_one_of(str(path), patient):
        return _("the {kind} '{path}'").format(kind=kind, path=path)
    place = os.path.abspath(path)
    if isinstance(inside, GivenPath) and os.path.abspath(inside) == place:
        return inside.called(kind)
    root = _unnamed_folder(os.path.dirname(place), patient) if patient else ""
    return _by_number(place, root, kind, numbers or FileNumbers(), inside)


class GivenFolders:
    """The folders that a user gives, to call those in them by numbers."""

    def __init__(self, given: Iterable[GivenPath]):
        self._given = {os.path.abspath(one): one for one in given if os.path.isdir(one)}
        self._numbers = FileNumbers()

    def shown(self, folder: str) -> str:
        """A folder by its numbers, for example 'folder 1 of 2 in the folder given'; '' if it is in none of them."""
        end = folder = os.path.abspath(folder)
        while end not in self._given:
            if end == os.path.dirname(end):
                return ""
            end = os.path.dirname(end)
        return joined(_(" in "), [*_folder_numbers(folder, end, self._numbers), self._given[end].shown])


def number_of(path: str, given: GivenPath) -> str:
    """The numbers of a file that a user gives, or that is in a folder that a user gives, to tell it from others."""
    place, end = os.path.abspath(path), os.path.abspath(given)
    own = [_("number {number}").format(number=given.number)] if given.count > 1 or place == end else []
    if place == end:
        return joined("", own)
    numbers = FileNumbers()
    number = _("number {number}").format(number=numbers.of(place)[0])
    return joined(_(" in "), [number, *_folder_numbers(os.path.dirname(place), end, numbers), *own])


def shown_inside(path: str | os.PathLike[str], folder: GivenPath, kind: str) -> str:
    """A file or folder by its numbers in a folder that a user gives, or the folder itself."""
    if os.path.abspath(path) == os.path.abspath(folder):
        return folder.shown
    return _by_number(os.path.abspath(path), "", kind, FileNumbers(), folder)


class FilesBeside:
    """How files that cannot be read are called in messages: by what the whole files beside them say of the patients.

    Args:
        paths: all files that were searched. patients: words of the patients of the whole ones, by path.
    """

    def __init__(self, paths: Iterable[str], patients: Mapping[str, frozenset[str]]):
        self._patients: dict[str, set[frozenset[str]]] = {}
        for path, patient in patients.items():
            if patient:
                self._patients.setdefault(_folder_of(path), set()).add(patient)
        every = {folder: frozenset().union(*found) for folder, found in self._patients.items()}
        self._words: dict[str, frozenset[str]] = every
        self._all_words: frozenset[str] = frozenset().union(*every.values())
        self._common = _common_folder({_folder_of(path) for path in paths})
        self._roots: dict[str, str] = {}
        self._numbers = FileNumbers()

    def shown(self, path: str) -> str:
        """One of the files for messages.

        Its own header, as far as it can be read, may give the path away, but shows that it names nobody only when it
        is of the same patient as a whole file beside it.
        """
        own, folder, kind = _patient_in(path), _folder_of(path), _("DICOM file")
        words = self._words.get(folder, frozenset())
        if own in self._patients.get(folder, ()) and not names_one_of(path, words):
            return shown_file(path, ())
        if not words and not self._all_words:
            return _by_number(os.path.abspath(path), "", kind, self._numbers, self._common)
        if folder not in self._roots:
            start, others = (folder, words) if words else (self._common, self._all_words)
            self._roots[folder] = _unnamed_folder(start, others)
        root = _unnamed_folder(self._roots[folder], own)
        return _by_number(os.path.abspath(path), root, kind, self._numbers, self._common)


def _by_number(path: str, root: str, kind: str, numbers: FileNumbers, hidden: str | os.PathLike[str] = "") -> str:
    """A file or folder by its number, and by those of its folders.

    Args:
        root: a folder that it is in, and that is shown; '' for none. hidden: the same, not shown, if there is no root.
    """
    folder = os.path.dirname(path)
    number, count = numbers.of(path)
    if folder == root:
        return _("the {kind} number {number} of {count} (sorted by name) in '{folder}'").format(
            kind=kind, number=number, count=count, folder=folder
        )
    end = root or (os.path.abspath(hidden) if hidden else "")
    places = _folder_numbers(folder, end, numbers) if end else []
    if root:
        places.append(f"'{root}'")
    elif isinstance(hidden, GivenPath):
        places.append(hidden.shown)
    else:
        places.append(_("the folder that holds all the files") if places else _("its folder"))
    return _(
        "the {kind} number {number} of {count} in {place} (sorted by name; its path is not shown because it may name "
        "the patient)"
    ).format(kind=kind, number=number, count=count, place=joined(_(" in "), places))


def _folder_numbers(folder: str, end: str, numbers: FileNumbers) -> list[str]:
    """The number of a folder, and of each one that it is in, up to the folder `end`."""
    places: list[str] = []
    while folder not in (end, os.path.dirname(folder)):
        number, count = numbers.of(folder)
        places.append(_("folder {number} of {count}").format(number=number, count=count))
        folder = os.path.dirname(folder)
    return places


def _unnamed_folder(folder: str, words: Collection[str]) -> str:
    """A folder, or the last of those that it is in, whose path has none of the words in it; '' when there is none."""
    while folder and names_one_of(folder, words):
        parent = os.path.dirname(folder)
        folder = parent if parent != folder else ""
    return folder


def _folder_of(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _common_folder(folders: Collection[str]) -> str:
    """The folder that all the folders are in; '' when there is none."""
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none, or on different drives of Windows
        return ""


def _numbered(folder: str) -> tuple[dict[str, int], dict[str, int]]:
    """The files and the folders in a folder with their numbers, from 1; none when it cannot be read."""
    try:
        entries = sorted((one.name, one.is_file(), one.is_dir()) for one in os.scandir(folder))
    except OSError:
        return {}, {}
    files = (name for name, is_file, _is_folder in entries if is_file)
    folders = (name for name, _is_file, is_folder in entries if is_folder)
    return {name: n for n, name in enumerate(files, 1)}, {name: n for n, name in enumerate(folders, 1)}


def _patient_in(path: str) -> frozenset[str]:
    """What a file that may be damaged says of its patient; empty when it cannot be read."""
    from pydicom.filereader import read_partial

    with quietly():
        try:
            with open(path, "rb") as file:
                return patient_of(read_partial(file, lambda tag, _kind, _length: tag > _STUDY_ID, force=True))
        except Exception:  # a damaged file raises whatever its conversion does
            return frozenset()
