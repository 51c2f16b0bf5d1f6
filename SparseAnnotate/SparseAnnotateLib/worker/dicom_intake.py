"""The DICOM series in files and folders that can become images of cases, and what is wrong with the others."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import BadInputError, Watch
from ..core.dicom_files import FilesFound, dicom_files, is_dicom_file, is_named_like_dicom
from ..core.dicom_headers import readable_headers, series_of_damaged
from ..core.dicom_paths import GivenFolders
from ..core.dicom_series import DicomSeries, chosen_series, series_of
from ..core.given_paths import GivenPath, shown_given
from ..core.messages import _, capitalized, counted, joined

if TYPE_CHECKING:
    from .create_request import CreateRequest

_LOG = logging.getLogger(__name__)
_MOST_NAMED = 10


def expanded(given: Sequence[str]) -> list[GivenPath]:
    """Files and folders as a user gives them, with those that patterns stand for."""
    found: list[str] = []
    is_of_pattern = False
    for text in given:
        path = os.path.expanduser(text)
        matched = sorted(glob.glob(path, recursive=True)) if is_pattern(path) else [path]
        is_of_pattern |= is_pattern(path)
        found += matched
    paths = list(dict.fromkeys(found))
    return [GivenPath(path, number, len(paths), is_of_pattern) for number, path in enumerate(paths, 1)]


def is_pattern(path: str) -> bool:
    return not os.path.exists(path) and any(character in path for character in "*?[")


def not_dicom(given: GivenPath) -> BadInputError:
    """What is wrong with a file that is only named like DICOM."""
    problem = _("{file} is named like a DICOM file, but has other content. It may be damaged: copy it again.")
    return BadInputError(problem.format(file=capitalized(given.called(_("file")))))


def log_series_of_cases(cases: Sequence[tuple[str, DicomSeries]], more: str = "") -> None:
    """Say which series is whose: name of the case and series; of many the first ones. `more`: where the others are."""
    for name, one in cases[:_MOST_NAMED]:
        _LOG.warning(f"'{name}': {one.title}")
    if len(cases) > _MOST_NAMED:
        _LOG.warning(joined(" ", [f"... and {len(cases) - _MOST_NAMED} more.", *filter(None, [more])]))


def log_skipped(others: int, named_alike: int) -> None:
    """Say how many files are not DICOM, and how many of these have an ending of DICOM files."""
    if not others:
        return
    skipped = counted(others, "Skipped {count} file that is not DICOM.", "Skipped {count} files that are not DICOM.")
    alike = counted(
        named_alike,
        "{count} of them is named like a DICOM file, so it may be damaged. If something is missing, copy it again.",
        "{count} of them are named like DICOM files, so they may be damaged. If something is missing, copy them again.",
    )
    if others == named_alike == 1:
        alike = "It is named like a DICOM file, so it may be damaged. If something is missing, copy it again."
    _LOG.warning(joined(" ", [skipped, *([alike] if named_alike else [])]))


def usable_series(request: CreateRequest, watch: Watch) -> list[DicomSeries]:
    """The series to take, in the order in which their files and folders are given, and of one folder as `series_of`.

    Raises BadInputError when there is none, or one of them cannot be used.
    """
    if request.time_point < 0:
        raise BadInputError(
            _("Time points are numbered from 1; there is no time point {number}.").format(number=request.time_point)
        )
    places: dict[str, int] = {}
    others = named_alike = 0
    given = expanded(request.images)
    for number, place in enumerate(given):
        if os.path.basename(place.path).upper() == "DICOMDIR":
            # It lists the files beside it.
            place = replace(place, path=os.path.dirname(place.path) or ".")
        found = dicom_files(place, watch) if os.path.isdir(place) else _file_found(place)
        for path in found.dicom:
            places.setdefault(path, number)
        others += found.others
        named_alike += found.named_alike
    paths = list(places)
    headers, damages = readable_headers(paths, watch)
    if damages and not request.skip_unusable:
        raise BadInputError(damage_sentence(list(damages.values())))
    for error in damages.values():
        _LOG.warning(f"Skipped: {error.message}")
    others += len(paths) - len(headers) - len(damages)
    log_skipped(others, named_alike)
    damaged_uids, damaged_folders = _damaged_series(damages, watch)
    folders = GivenFolders(given)
    found_series = [
        _without_damages(one.found_in(folders), damaged_uids, damaged_folders)
        for one in series_of(headers, request.time_point)
    ]
    found_series.sort(key=lambda one: min(places.get(header.path, 0) for header in one.headers))
    chosen = chosen_series(found_series, request.series or tuple(filter(None, request.channels.values())))
    good = [one for one in chosen if one.geometry is not None]
    problems = [one for one in chosen if one.problem]
    left_out = [one for one in chosen if one.left_out]
    if left_out and (request.series or request.channels or not good + problems):
        problems = [*problems, *left_out]
        left_out = []
    for one in left_out:
        _LOG.warning(f"Left out: {one.title}: {one.left_out}")
    for one in good:
        for note in one.notes:
            _LOG.warning(f"{capitalized(one.title)}: {note}")
    if not chosen:
        raise BadInputError(
            _("There is no series of images among the DICOM files in {given}.").format(given=shown_given(given))
        )
    if problems and not (request.skip_unusable and good):
        raise BadInputError(_problem_sentence(problems, bool(good)))
    for one in problems:
        _LOG.warning(f"Skipped: {one.title}: {one.problem or one.left_out}")
    if request.time_point > 1 and not any(one.time_point for one in good):
        raise BadInputError(
            _("None of the series has several time points, so there is no time point {number}.").format(
                number=request.time_point
            )
        )
    return good


def _file_found(given: GivenPath) -> FilesFound:
    is_other = not is_dicom_file(given, given) and is_named_like_dicom(given.path)
    return FilesFound([], 1, 1) if is_other else FilesFound([given.path], 0, 0)


def _damaged_series(paths: Iterable[str], watch: Watch) -> tuple[set[str], set[str]]:
    """The UIDs of the series of damaged files, and the folders of those whose series is not known."""
    uids, folders = set(), set()
    for path in paths:
        watch.check()
        uid = series_of_damaged(path)
        if uid:
            uids.add(uid)
        else:
            folders.add(os.path.dirname(os.path.abspath(path)))
    return uids, folders


def _without_damages(series: DicomSeries, uids: Collection[str], folders: Collection[str]) -> DicomSeries:
    """A series, unusable if one of its files is damaged, or if a damaged file beside them may belong to it.

    `uids`, `folders`: as `_damaged_series` returns them.
    """
    if not series.left_out and (series.uid in uids or any(folder in folders for folder in series.folders)):
        return replace(series, geometry=None, problem=_("one of its files is damaged."))
    return series


def damage_sentence(damages: Sequence[BadInputError], are_there_others: bool = True) -> str:
    """What is wrong with damaged files, and how to take the other series, if there are others."""
    each = [error.message for error in damages[:_MOST_NAMED]]
    if len(damages) > _MOST_NAMED:
        each.append(_("and {count} more").format(count=len(damages) - _MOST_NAMED))
    if are_there_others:
        each.append(_("To take the other series, use '--skip-unusable'."))
    return joined("\n" if len(damages) > 1 else " ", each)


def _problem_sentence(problems: Sequence[DicomSeries], are_others_good: bool) -> str:
    each = [
        _("{series}: {problem}").format(series=one.title, problem=one.problem or one.left_out)
        for one in problems[:_MOST_NAMED]
    ]
    if len(problems) > _MOST_NAMED:
        each.append(_("and {count} more").format(count=len(problems) - _MOST_NAMED))
    message = counted(
        len(problems),
        _("{count} DICOM series cannot be used: {problems}"),
        _("{count} DICOM series cannot be used.\n{problems}"),
        problems=joined("\n", each),
    )
    if not are_others_good:
        return message
    return joined(
        "\n" if len(problems) > 1 else " ",
        [message, _("To take the others, choose series with '--series', or use '--skip-unusable'.")],
    )
