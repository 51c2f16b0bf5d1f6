"""DICOM SEG files as masks of a cohort's cases: which case each belongs to, and its labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core import BadInputError, Cohort, VolumeGeometry, Watch
from ..core.dicom_files import dicom_files, is_dicom_file, is_named_like_dicom
from ..core.dicom_paths import number_of
from ..core.dicom_reading import (
    SegmentationFile,
    is_segmentation_file,
    read_segmentation,
    read_segmentation_header,
)
from ..core.dicom_source import cases_by_series, note_codes, read_source
from ..core.given_paths import GivenPath, does_not_exist
from ..core.images import IMAGE_ENDINGS
from ..core.messages import _, capitalized, counted, listed
from .dicom_intake import is_pattern, log_skipped, not_dicom


@dataclass(frozen=True)
class SegmentationFiles:
    """The DICOM SEG files among files and folders that a user gives.

    Attributes:
        given: each file with the file or folder that was given. others: what is not DICOM, as given.
        problems: by file, why one is no DICOM SEG, or is so damaged that it does not say what it is.
        places: each file, those with problems among them, with the file or folder that was given.
    """

    given: dict[str, GivenPath] = field(default_factory=dict)
    others: list[GivenPath] = field(default_factory=list)
    problems: dict[str, BadInputError] = field(default_factory=dict)
    places: dict[str, GivenPath] = field(default_factory=dict)


def segmentation_files(given: Sequence[str], watch: Watch) -> SegmentationFiles:
    """The DICOM SEG files among files and folders that a user gives, or in them; how many are not DICOM is logged.

    Raises BadInputError when a folder with DICOM files holds no segmentation.
    """
    found = SegmentationFiles()
    for number, text in enumerate(given):
        watch.step(number / len(given), _("reading DICOM headers"))
        part = watch.part(number, len(given))
        path = os.path.expanduser(text)
        place = GivenPath(path, number + 1, len(given))
        if os.path.isdir(path):
            names = os.listdir(path) if os.access(path, os.R_OK) else []
            has_images = any(name.lower().endswith(IMAGE_ENDINGS) for name in names)
            if has_images or not _take_folder(place, found, part):
                found.others.append(place)
        elif is_named_like_dicom(path) and not os.path.exists(path) and not is_pattern(path):
            found.problems[path], found.places[path] = does_not_exist(place), place
        elif path.lower().endswith(IMAGE_ENDINGS) or not os.path.isfile(path):
            found.others.append(place)
        elif is_dicom_file(path, place) or is_named_like_dicom(path):
            _take_given(place, found)
        else:
            found.others.append(place)
    return found


def _take_given(given: GivenPath, found: SegmentationFiles) -> None:
    path = given.path
    found.places[path] = given
    if not is_dicom_file(path, given):
        found.problems[path] = not_dicom(given)
    elif not _take_file(path, given, found):
        problem = _("{file} is not a segmentation (DICOM SEG).")
        found.problems[path] = BadInputError(problem.format(file=capitalized(given.called(_("DICOM file")))))


def _take_folder(folder: GivenPath, found: SegmentationFiles, watch: Watch) -> bool:
    """Take the DICOM SEG files in a folder; False when there is no DICOM file."""
    inside = dicom_files(folder, watch)
    taken = [_take_file(file, folder, found) for file in reported(inside.dicom, watch)]
    if not taken:
        return False
    if not any(taken):
        raise BadInputError(
            counted(
                len(taken),
                _("{folder} has {count} DICOM file, which is not a segmentation (DICOM SEG). {others}"),
                _("{folder} has {count} DICOM files, none of which is a segmentation (DICOM SEG). {others}"),
                folder=capitalized(folder.shown),
                others=_("Other objects, such as structure sets (RTSTRUCT), are not read as masks."),
            )
        )
    log_skipped(inside.others, inside.named_alike)
    return True


def _take_file(path: str, given: GivenPath, found: SegmentationFiles) -> bool:
    """Take a file that is a DICOM SEG, or so damaged that it may be one; False when it is none."""
    found.places[path] = given
    try:
        if not is_segmentation_file(path, given):
            return False
        found.given[path] = given
    except BadInputError as error:
        found.problems[path] = error
    return True


def reported(paths: Sequence[str], watch: Watch) -> Iterator[str]:
    """The paths, one after the other, with reports that their headers are being read."""
    for number, path in enumerate(paths):
        watch.step(number / len(paths), _("reading DICOM headers"))
        yield path


class DicomMasks:
    """The DICOM SEG files among the masks of a request.

    Attributes:
        of_case: the file of each case that it refers to by the UID of its series. problems: by file or case, why
            others belong to none. others: masks that are not DICOM.
    """

    def __init__(self, cohort: Cohort, given: Sequence[str], watch: Watch):
        self._cohort = cohort
        self.of_case: dict[str, str] = {}
        self.problems: dict[str, BadInputError] = {}
        self._files: dict[str, SegmentationFile] = {}
        found = segmentation_files(given, watch.part(0, 2))
        paths, self.others, self._places = found.given, found.others, found.places
        for path, error in found.problems.items():
            self.problems[self.key(path, error.message)] = error
        by_series = cases_by_series(cohort) if paths else {}
        several: dict[str, list[str]] = {}
        for path in reported(list(paths), watch.part(1, 2)):
            try:
                file = self._files[path] = read_segmentation_header(path, paths[path])
            except BadInputError as error:
                self.problems[self.key(path, error.message)] = error
                continue
            of_series = [name for key, name in by_series.items() if key.partition(" ")[0] in file.series_uids]
            names = [name for name in of_series if self._is_of_time_point(file, name)]
            if of_series and not names:
                self.problems[self.key(path)] = BadInputError(
                    _(
                        "{file} refers to the series of {cases}, which has several time points, and "
                        "not only to the images of the one that was taken, so it is not clear whether it belongs to "
                        "it. Give the segmentation of that time point."
                    ).format(file=capitalized(file.shown), cases=listed([f"'{name}'" for name in of_series], 3))
                )
            elif len(set(names)) == 1:
                several.setdefault(names[0], []).append(path)
            elif not names and len(cohort.cases) and not by_series:
                self.others.append(GivenPath(path))  # by its name, like any mask
            elif names:
                self.problems[self.key(path)] = BadInputError(
                    _(
                        "{file} refers to the series of several cases ({cases}), so it is not clear to "
                        "which it belongs. Split it by series first."
                    ).format(
                        file=capitalized(file.shown), cases=listed([f"'{name}'" for name in dict.fromkeys(names)], 3)
                    )
                )
            else:
                self.problems[self.key(path)] = BadInputError(
                    _(
                        "{file} refers to a series that no case of the cohort was made from. A "
                        "segmentation of another series, even of the same patient, is not taken."
                    ).format(file=capitalized(file.shown))
                )
        for name, files in several.items():
            if len(files) == 1:
                self.of_case[name] = files[0]
            else:
                self.problems[name] = BadInputError(
                    _("The case '{case}' has several DICOM SEG files: {files}. Give one.").format(
                        case=name, files=listed([self._files[file].shown for file in files], 3)
                    )
                )

    def _is_of_time_point(self, file: SegmentationFile, name: str) -> bool:
        source = read_source(self._cohort, name)
        return source is None or not source.time_point or file.is_of(source.images)

    def has(self, path: str) -> bool:
        return path in self._files

    def shown(self, path: str) -> str:
        """A mask for messages, DICOM or not; see `shown_file`."""
        return self._files[path].shown if path in self._files else f"'{path}'"

    def shown_mask(self, path: str) -> str:
        """The same with what it is."""
        return self._files[path].shown if path in self._files else _("the mask '{path}'").format(path=path)

    def key(self, path: str, message: str = "") -> str:
        """What a file that cannot be used is called in `problems`; `message`: why its header cannot be used."""
        shown = message or self.shown(path)
        return path if f"'{path}'" in shown else number_of(path, self._places[path])

    def read(self, case: str, path: str, geometry: VolumeGeometry) -> tuple[Mapping[int, str], np.ndarray]:
        """The names of the segments, and labels on the case's grid: (K, J, I), the number of the segment or 0.

        The codes of the cohort's structures are kept for export. Raises BadInputError as `read_segmentation` does.
        """
        file, source = self._files[path], read_source(self._cohort, case)
        labels = read_segmentation(file, geometry, source.frame_of_reference_uid if source else "")
        note_codes(self._cohort, {file.names[number]: codes for number, codes in file.codes.items()})
        return file.names, labels
