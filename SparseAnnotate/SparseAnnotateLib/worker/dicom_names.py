"""The names of cases that are made from DICOM series."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..core import BadInputError, Cohort
from ..core.case_names import names_of_files, normal_name, usable_case_name
from ..core.dicom_series import DicomSeries
from ..core.messages import _, listed

if TYPE_CHECKING:
    from .create_request import CreateRequest


def names_of_cases(
    request: CreateRequest, series: Sequence[DicomSeries], known: Cohort | None, by_series: Mapping[str, str]
) -> list[str]:
    """The names of the cases; series that the cohort has already keep theirs.

    Args:
        by_series: the cases of the cohort by the keys of their series.

    By default they are numbered: names of files and folders, and descriptions, may name the patient.
    """
    if request.names:
        if len(request.names) != len(series):
            raise BadInputError(
                _(
                    "Number of DICOM series: {series_count}, number of names: {name_count}. Give one name for each, in "
                    "this order: {series}."
                ).format(
                    series_count=len(series),
                    name_count=len(request.names),
                    series=listed([s.title for s in series], 20),
                )
            )
        for one, name in zip(series, request.names, strict=True):
            if by_series.get(one.key, normal_name(name)) != normal_name(name):
                raise BadInputError(
                    _("The {series} is in the cohort already, as case '{name}'.").format(
                        series=one.title, name=by_series[one.key]
                    )
                )
        return [normal_name(name) for name in request.names]
    new = [one for one in series if one.key not in by_series]
    if request.name_from == "parent":
        folders = [_folder(one) for one in new]
        files = [os.path.join(folder, "series") for folder in folders]
        fresh = names_of_files(files, [usable_case_name(os.path.basename(folder)) for folder in folders], True)
    elif request.name_from == "patient":
        fresh = _patient_names(new)
    else:
        fresh = _numbers([case.name for case in known.cases] if known else [], len(new))
    names = iter(fresh)
    return [by_series[one.key] if one.key in by_series else next(names) for one in series]


def _folder(series: DicomSeries) -> str:
    """The folder that holds all files of a series."""
    try:
        found = os.path.commonpath(series.folders)
    except ValueError:  # on different drives of Windows
        found = ""
    if not os.path.basename(found):
        raise BadInputError(
            _("The files of the {series} lie in no folder of their own. Name the cases with '--names'.").format(
                series=series.title
            )
        )
    return found


def _numbers(taken: Sequence[str], count: int) -> list[str]:
    """The next numbers after those of the cases that are there."""
    used = [int(name.removeprefix("case_")) for name in taken if name.startswith("case_") and name[5:].isdecimal()]
    first = max(used, default=0) + 1
    return [f"case_{number:03d}" for number in range(first, first + count)]


def _patient_names(series: Sequence[DicomSeries]) -> list[str]:
    """Patient IDs, with the number of the series where a patient has several."""
    ids = [one.headers[0].patient_id for one in series]
    if not all(ids):
        raise BadInputError(
            _("The files of the {series} have no patient ID. Name the cases with '--names'.").format(
                series=series[ids.index("")].title
            )
        )
    names = [
        usable_case_name(text if ids.count(text) == 1 else f"{text}_{one.headers[0].number or '0'}")
        for text, one in zip(ids, series, strict=True)
    ]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(
            _("Several series would be named '{name}' after their patient. Name the cases with '--names'.").format(
                name=twice
            )
        )
    return names
