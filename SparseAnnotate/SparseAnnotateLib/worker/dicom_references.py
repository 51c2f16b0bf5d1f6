"""DICOM SEG files as references of cases that are made from DICOM series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core import BadInputError, Cohort, Watch
from ..core.case_names import file_stem
from ..core.dicom_codes import StructureCodes
from ..core.dicom_reading import SegmentationFile, read_segmentation, read_segmentation_header
from ..core.dicom_series import DicomSeries
from ..core.dicom_source import known_codes, note_codes
from ..core.images import write_image
from ..core.messages import _, capitalized, joined, listed
from .dicom_masks import reported, segmentation_files
from .mask_labels import in_cohort_values


class DicomReferences:
    """The DICOM SEG files among the references of a request, each matched with the series that it refers to.

    Attributes:
        labels: label value to name; of the structures in the files, if the cohort names none. others: references that
            are not DICOM.

    Raises BadInputError when a series has no file or several, one is damaged, or other references are given, too.
    """

    def __init__(self, given: Sequence[str], series: Sequence[DicomSeries], labels: Mapping[int, str], watch: Watch):
        masks = segmentation_files(given, watch.part(0, 2))
        if masks.problems:
            raise next(iter(masks.problems.values()))
        paths, self.others = masks.given, masks.others
        self.labels = {value: name for value, name in labels.items() if value}
        self._of_series: dict[str, SegmentationFile] = {}
        if not paths:
            return
        if self.others:
            raise BadInputError(
                _(
                    "Some references are DICOM SEG files, and number {number} of the {count} given is not. Give "
                    "references of one kind."
                ).format(number=self.others[0].number, count=len(given))
            )
        files = [read_segmentation_header(path, paths[path]) for path in reported(list(paths), watch.part(1, 2))]
        for one in series:
            of_series = [file for file in files if one.uid in file.series_uids]
            fitting = of_series
            if one.time_point:
                fitting = [file for file in of_series if file.is_of((s.sop_uid, s.frame) for s in one.slices)]
            if of_series and not fitting:
                raise BadInputError(
                    _(
                        "{file} does not refer to the images of {series} only, so it may be the "
                        "segmentation of another time point. Give the one of this time point."
                    ).format(file=capitalized(of_series[0].shown), series=one.title)
                )
            if len(fitting) != 1:
                found = listed([file.shown for file in fitting], 3) or _("none")
                raise BadInputError(
                    _("Give one DICOM SEG as the reference of each series. For {series} there is: {found}.").format(
                        series=one.title, found=found
                    )
                )
            self._of_series[one.uid] = fitting[0]
        if not self.labels:
            names = [name for one in series for name in self._of_series[one.uid].names.values()]
            self.labels = dict(enumerate(dict.fromkeys(names), 1))

    def write(self, one: DicomSeries, folder: Path, name: str, made: list[Path]) -> list[str]:
        """Write the reference of a series as a label file; returns its path, or nothing without one.

        Args:
            folder: of the cohort. name: of the case. made: the file is appended to it.

        Raises BadInputError when the file cannot be used, or has structures that the cohort does not have.
        """
        file = self._of_series.get(one.uid)
        if file is None:
            return []
        geometry = one.required_geometry()
        source = read_segmentation(file, geometry, one.headers[0].frame_of_reference_uid)
        try:
            labels: np.ndarray = in_cohort_values(source, file.names, {}, self.labels)
        except BadInputError as error:
            refused = _("{file} was not taken.").format(file=capitalized(file.shown))
            raise BadInputError(joined(" ", [refused, error.message])) from error
        path = folder / "references" / f"{file_stem(name)}.nrrd"
        made.append(path)
        write_image(path, labels, geometry)
        return [str(path)]

    def note_codes(self, folder: Path) -> None:
        """Keep the codes of the structures in the cohort."""
        if codes := self._codes():
            note_codes(Cohort.open(folder), codes)

    def require_usable_codes(self, cohort: Cohort) -> None:
        """Raise BadInputError, before anything is written, when the file that gets the codes is damaged."""
        if self._codes():
            known_codes(cohort)

    def _codes(self) -> dict[str, StructureCodes]:
        return {file.names[n]: codes for file in self._of_series.values() for n, codes in file.codes.items()}
