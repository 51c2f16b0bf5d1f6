"""DICOM SEG files as masks of a cohort's cases: which case each belongs to, and its labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..core import BadInputError, Cohort, VolumeGeometry, Watch
from ..core.dicom_files import dicom_files
from ..core.dicom_reading import (
    SegmentationFile,
    is_segmentation_file,
    read_segmentation,
    read_segmentation_header,
)
from ..core.dicom_source import cases_by_series, note_codes, read_source
from ..core.images import IMAGE_ENDINGS
from ..core.messages import _, capitalized, listed


def segmentation_files(given: Sequence[str], watch: Watch) -> tuple[dict[str, str], list[str]]:
    """Those of the files and folders a user gives that are DICOM SEG files, or hold some, as files; and the others.

    The files come with the folder that was given, '' for a file.

    Raises BadInputError when a DICOM file is no segmentation.
    """
    found: dict[str, str] = {}
    others: list[str] = []
    for number, text in enumerate(given):
        watch.step(number / len(given), _("reading DICOM headers"))
        part = watch.part(number, len(given))
        path = os.path.expanduser(text)
        if os.path.isdir(path):
            names = os.listdir(path) if os.access(path, os.R_OK) else []
            inside = [] if any(n.lower().endswith(IMAGE_ENDINGS) for n in names) else dicom_files(path, part)[0]
            inside = [file for file in reported(inside, part) if is_segmentation_file(file, path)]
            found |= dict.fromkeys(inside, path)
            others += [] if inside else [text]
        elif not path.lower().endswith(IMAGE_ENDINGS) and is_segmentation_file(path):
            found[path] = ""
        else:
            others.append(text)
    return found, others


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
        paths, self.others = segmentation_files(given, watch.part(0, 2))
        by_series = cases_by_series(cohort) if paths else {}
        several: dict[str, list[str]] = {}
        for path in reported(list(paths), watch.part(1, 2)):
            try:
                file = self._files[path] = read_segmentation_header(path, paths[path])
            except BadInputError as error:
                self.problems[self._key(path, error.message)] = error
                continue
            of_series = [name for key, name in by_series.items() if key.partition(" ")[0] in file.series_uids]
            names = [name for name in of_series if self._is_of_time_point(file, name)]
            if of_series and not names:
                self.problems[self._key(path)] = BadInputError(
                    _(
                        "{file} refers to the series of {cases}, which has several time points, and "
                        "not only to the images of the one that was taken, so it is not clear whether it belongs to "
                        "it. Give the segmentation of that time point."
                    ).format(file=capitalized(file.shown), cases=listed([f"'{name}'" for name in of_series], 3))
                )
            elif len(set(names)) == 1:
                several.setdefault(names[0], []).append(path)
            elif not names and len(cohort.cases) and not by_series:
                self.others.append(path)  # by its name, like any mask
            elif names:
                self.problems[self._key(path)] = BadInputError(
                    _(
                        "{file} refers to the series of several cases ({cases}), so it is not clear to "
                        "which it belongs. Split it by series first."
                    ).format(
                        file=capitalized(file.shown), cases=listed([f"'{name}'" for name in dict.fromkeys(names)], 3)
                    )
                )
            else:
                self.problems[self._key(path)] = BadInputError(
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

    def _key(self, path: str, message: str = "") -> str:
        """What a file that cannot be used is called in `problems`; `message`: why its header cannot be used."""
        shown = message or self.shown(path)
        return path if f"'{path}'" in shown else _("DICOM SEG {number}").format(number=len(self.problems) + 1)

    def read(self, case: str, path: str, geometry: VolumeGeometry) -> tuple[Mapping[int, str], np.ndarray]:
        """The names of the segments, and labels on the case's grid: (K, J, I), the number of the segment or 0.

        The codes of the cohort's structures are kept for export. Raises BadInputError as `read_segmentation` does.
        """
        file, source = self._files[path], read_source(self._cohort, case)
        labels = read_segmentation(file, geometry, source.frame_of_reference_uid if source else "")
        note_codes(self._cohort, {file.names[number]: codes for number, codes in file.codes.items()})
        return file.names, labels
