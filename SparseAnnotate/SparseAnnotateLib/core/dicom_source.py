"""Which DICOM series a case was made from, for writing its segmentation: kept in dicom/sources/<case>.json.

It holds UIDs, which the hospital can trace to the patient, but neither names nor IDs; and no paths, unless asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .case_names import file_stem
from .cohort import Cohort
from .cohort_file import path_in, stored_path
from .dicom_codes import DEFAULT_CODES, StructureCodes
from .dicom_files import dicom_files
from .dicom_headers import DicomHeader, readable_headers
from .dicom_series import DicomSeries, series_key, series_of
from .errors import BadInputError, CohortError
from .given_paths import GivenPath
from .messages import _, counted, joined
from .permissions import exists
from .progress import Watch
from .strict_json import LEFT_OUT_WHEN_EMPTY, read_json, write_json

FOLDER = "dicom"
_CODES_FILE = "terminology.json"


@dataclass(frozen=True)
class DicomSource:
    """The series of a case.

    Attributes:
        series_uid, study_uid, frame_of_reference_uid: UIDs; '' where the header has none.
        modality: such as 'CT'.
        instances: SOP instance UID of each slice of the volume, along the array axis K.
        frames: number of each slice in its file, from 1; empty for files with a single image.
        folders: of the files, as cohort.json keeps paths; empty unless they were to be kept.
        time_point: its number, from 1, of a series that has several; otherwise 0.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    instances: tuple[str, ...]
    frames: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()
    format: Literal["SparseAnnotate DICOM source"] = "SparseAnnotate DICOM source"
    version: Literal[1] = 1
    time_point: int = field(default=0, metadata=LEFT_OUT_WHEN_EMPTY)

    @property
    def key(self) -> str:
        """As of `DicomSeries`."""
        return series_key(self.series_uid, self.time_point)

    @property
    def images(self) -> list[tuple[str, int]]:
        """SOP instance UID of each slice, and its number in the file, 0 for files with a single image."""
        return list(zip(self.instances, self.frames or (0,) * len(self.instances), strict=True))

    @classmethod
    def of(cls, series: DicomSeries, paths_from: Path | None = None) -> DicomSource:
        """The source that a series is.

        Args:
            paths_from: folder of the cohort; the paths of the files are kept, relative to it if they are near. None:
                they are not kept, because paths often name the patient, in ways that cannot be recognized.
        """
        first = series.headers[0]
        folders = () if paths_from is None else series.folders
        return cls(
            series_uid=series.uid,
            study_uid=first.study_uid,
            frame_of_reference_uid=first.frame_of_reference_uid,
            modality=first.modality,
            instances=tuple(one.sop_uid for one in series.slices),
            frames=tuple(one.frame for one in series.slices) if any(one.frame for one in series.slices) else (),
            folders=tuple(stored_path(paths_from, folder) for folder in folders if paths_from is not None),
            time_point=series.time_point,
        )


def source_path(cohort_folder: Path, name: str) -> Path:
    return cohort_folder / FOLDER / "sources" / f"{file_stem(name)}.json"


def write_source(cohort_folder: Path, name: str, source: DicomSource) -> Path:
    """Write the source of a case; returns the file. Raises FileWriteError."""
    path = source_path(cohort_folder, name)
    write_json(path, source)
    return path


def read_source(cohort: Cohort, name: str) -> DicomSource | None:
    """The source of a case; None when it was not made from DICOM. Raises BadInputError when the file is damaged."""
    path = source_path(cohort.folder, cohort.case(name).name)
    return read_json(path, DicomSource) if path.is_file() else None


def cases_by_series(cohort: Cohort) -> dict[str, str]:
    """The cases that were made from DICOM, by the keys of their series; see `DicomSeries.key`."""
    found: dict[str, str] = {}
    if not (cohort.folder / FOLDER).is_dir():
        return found
    for case in cohort.cases:
        source = read_source(cohort, case.name)
        if source is not None:
            found[source.key] = case.name
    return found


class SourceSeries:
    """Finds the series of cases again.

    Args:
        folder: with all of them; None: each case's own, if they were kept.
    """

    def __init__(self, cohort: Cohort, folder: str | None, watch: Watch):
        self._cohort = cohort
        self._given = None if folder is None else os.path.expanduser(folder)
        self._scanned: dict[str, dict[str, list[DicomHeader]]] = {}
        self._damaged: dict[str, int] = {}
        if self._given is not None:
            if not exists(self._given) or not os.path.isdir(self._given):
                raise BadInputError(_("The folder '{folder}' does not exist.").format(folder=self._given))
            self._headers(GivenPath(self._given), "", watch)

    def of(self, name: str, watch: Watch) -> DicomSeries:
        """The series of a case, with the same images.

        Raises CohortError when the case was not made from DICOM, or the series is missing or has other images now.
        """
        source = read_source(self._cohort, name)
        if source is None:
            raise CohortError(
                _(
                    "The case '{name}' was not made from DICOM, so its segmentation cannot refer to a series. Make the "
                    "cohort from the DICOM folder with 'sparse-annotate create'."
                ).format(name=name)
            )
        remedy = _("Give the folder of the series with '--dicom'.")
        folders = [str(path_in(self._cohort.folder, folder)) for folder in source.folders]
        if self._given is not None:
            folders = [self._given]
        elif not folders:
            raise CohortError(
                _(
                    "The folder of the DICOM series of case '{name}' was not kept, because paths often name the "
                    "patient. {remedy}"
                ).format(name=name, remedy=remedy)
            )
        elif not all(map(os.path.isdir, folders)):
            raise CohortError(
                _("The folder of the DICOM series of case '{name}' does not exist any more. {remedy}").format(
                    name=name, remedy=remedy
                )
            )
        headers = [one for folder in folders for one in self._headers(folder, source.series_uid, watch)]
        found = series_of({one.path: one for one in headers}.values(), source.time_point)
        if not found:
            raise self._incomplete(
                _("The DICOM series of case '{name}' ({uid}) is not in its folder. {remedy}").format(
                    name=name, uid=source.series_uid, remedy=remedy
                ),
                folders,
            )
        (series,) = found
        try:
            geometry = series.required_geometry()
        except BadInputError as error:
            raise CohortError(
                _("The DICOM series of case '{name}' cannot be used. {problem}").format(
                    name=name, problem=error.message
                )
            ) from error
        now = DicomSource.of(series)
        if (now.instances, now.frames) != (source.instances, source.frames):
            raise self._incomplete(
                _(
                    "The DICOM series has other images than when the case '{name}' was made from it. Restore its "
                    "files, or make a new case."
                ).format(name=name),
                folders,
            )
        difference = self._cohort.geometry(name).difference_from(geometry)
        if difference:
            raise CohortError(
                _(
                    "The image of case '{name}' is no longer on the grid of its DICOM series: {difference}. Restore "
                    "the image, or make a new case."
                ).format(name=name, difference=difference)
            )
        return series

    def _incomplete(self, message: str, folders: Sequence[str]) -> CohortError:
        """A series that has not all of its images; damaged files may be why."""
        damaged = sum(self._damaged[os.path.realpath(folder)] for folder in folders)
        note = counted(
            damaged,
            _("{count} DICOM file there is damaged and was not read; it may be of this series."),
            _("{count} DICOM files there are damaged and were not read; they may be of this series."),
        )
        return CohortError(joined(" ", [message, *([note] if damaged else [])]))

    def _headers(self, folder: str | GivenPath, uid: str, watch: Watch) -> list[DicomHeader]:
        """The headers of a series in a folder, each of which is read once; damaged files are missing."""
        place = os.path.realpath(folder)
        if place not in self._scanned:
            by_uid = self._scanned[place] = {}
            headers, damages = readable_headers(dicom_files(folder, watch).dicom, watch)
            self._damaged[place] = len(damages)
            for header in headers:
                by_uid.setdefault(header.series_uid, []).append(header)
        return self._scanned[place].get(uid, [])


@dataclass(frozen=True)
class KnownCodes:
    """The content of dicom/terminology.json: structure to its codes, in the form of Slicer's terminology tags."""

    structures: dict[str, str]
    format: Literal["SparseAnnotate terminology"] = "SparseAnnotate terminology"
    version: Literal[1] = 1


def known_codes(cohort: Cohort) -> dict[str, StructureCodes]:
    """The codes of structures that came with segmentations or from Slicer. Raises BadInputError on a damaged file."""
    path = cohort.state_folder / FOLDER / _CODES_FILE
    if not path.is_file():
        return {}
    found = {name: StructureCodes.from_slicer(tag) for name, tag in read_json(path, KnownCodes).structures.items()}
    return {name: codes for name, codes in found.items() if codes is not None}


def note_codes(
    cohort: Cohort,
    codes: Mapping[str, StructureCodes],
    is_newer: Callable[[str, StructureCodes], bool] = lambda _name, _known: False,
) -> None:
    """Keep the codes of the cohort's structures; the default ones say nothing. Raises FileWriteError.

    Args:
        is_newer: called with a structure and the codes that are known of it; whether those here replace them.
    """
    known, ours = known_codes(cohort), set(cohort.labels.values())
    more = {name: found for name, found in codes.items() if name in ours and found != DEFAULT_CODES}
    found = known | {name: one for name, one in more.items() if name not in known or is_newer(name, known[name])}
    if found != known:
        tags = {name: one.for_slicer() for name, one in found.items()}
        write_json(cohort.state_folder / FOLDER / _CODES_FILE, KnownCodes(tags), checksum=False)
