"""How DICOM files are called in messages: paths from hospitals often name the patient.

A path is shown when the header says who the patient is, and the path does not. A file whose header is damaged
before it says that is called by its place in its folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .dicom_files import quietly, value_of
from .messages import _
from .patient_names import names_one_of, words_of_patient

NAMES = ("PatientName", "PatientBirthName", "OtherPatientNames")
IDENTIFIERS = ("OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "StudyID")
_PATIENT_GROUP, _STUDY_ID = 0x0010, 0x0020_0010  # elements are sorted by group, and the study ID is the last of these


def patient_of(dataset: Any) -> frozenset[str]:
    """The words by which a header's patient is recognized; see `words_of_patient`."""
    return words_of_patient(
        [value_of(dataset, keyword) for keyword in NAMES],
        value_of(dataset, "PatientID"),
        [value_of(dataset, keyword) for keyword in IDENTIFIERS],
    )


def shown_file(
    path: str | Path, patient: Collection[str] | None = None, beside: Collection[str] | None = None, kind: str = ""
) -> str:
    """A DICOM file for messages, for example "the DICOM file '/data/ct/IM3'".

    Args:
        patient: words by which its patient is recognized; None: those of its header, as far as it can be read.
        beside: the same of other files in its folder, by which the folder is judged when its own patient is not known.
        kind: what it is; '' for 'DICOM file'.
    """
    kind = kind or _("DICOM file")
    folder, name = os.path.split(os.path.abspath(path))
    words = _patient_in(path) if patient is None else patient
    if words is not None and not names_one_of(str(path), words):
        return _("the {kind} '{path}'").format(kind=kind, path=path)
    known = words if words is not None else beside
    number, count = _place_in(folder, name)
    if known is not None and not names_one_of(folder, known):
        return _("the {kind} number {number} of {count} (sorted by name) in '{folder}'").format(
            kind=kind, number=number, count=count, folder=folder
        )
    return _(
        "the {kind} number {number} of {count} in its folder (sorted by name; its path is not shown because it may "
        "name the patient)"
    ).format(kind=kind, number=number, count=count)


def _place_in(folder: str, name: str) -> tuple[int, int]:
    """The number of a file, from 1, among the files of its folder, and how many these are."""
    try:
        names = sorted(one.name for one in os.scandir(folder) if one.is_file())
    except OSError:
        names = [name]
    return (names.index(name) + 1 if name in names else 1), max(1, len(names))


def _patient_in(path: str | Path) -> frozenset[str] | None:
    """The patient of a file that may be damaged; None when it is not known."""
    from pydicom.filereader import read_partial

    has_passed = [False]

    def is_after(tag: Any, _kind: Any, _length: Any) -> bool:
        has_passed[0] |= tag.group > _PATIENT_GROUP
        return bool(tag > _STUDY_ID)

    with quietly():
        try:
            with open(path, "rb") as file:
                dataset = read_partial(file, is_after, force=True)
                return patient_of(dataset) if has_passed[0] else None
        except Exception:  # a damaged file raises whatever its conversion does
            return None
