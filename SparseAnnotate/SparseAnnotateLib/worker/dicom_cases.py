"""Cases of a cohort from DICOM folders: which series become cases, their names, and their files."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import BadInputError, Case, Cohort, Watch
from ..core.case_names import file_stem
from ..core.cohort_file import COHORT_FILE, check_labels, merged_labels
from ..core.dicom_files import dicom_files, has_dicom_file, is_dicom_file
from ..core.dicom_headers import readable_headers, series_of_damaged
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_series import DicomSeries, chosen_series, series_of
from ..core.dicom_source import DicomSource, cases_by_series, source_path, write_source
from ..core.dicom_voxels import read_series
from ..core.image_intake import remove_imported
from ..core.images import IMAGE_ENDINGS, write_image
from ..core.messages import _, counted, joined, listed
from .dicom_names import names_of_cases
from .dicom_references import DicomReferences

if TYPE_CHECKING:
    from .create_request import CreateRequest

_LOG = logging.getLogger(__name__)
_MOST_NAMED = 10


def holds_dicom(given: Sequence[str], is_asked_for: bool) -> bool:
    """Whether files and folders that a user gives are DICOM; a folder with images of other formats is not.

    Args:
        is_asked_for: series were chosen, so such a folder is, too.

    Raises BadInputError when DICOM and other images are given together, or there is no DICOM although it is asked for.
    """
    are = {path: _is_dicom(path, is_asked_for) for path in _expanded(given)}
    if not any(are.values()):
        if is_asked_for:
            raise BadInputError(
                _("There are no DICOM files in {given}, so no series can be chosen.").format(
                    given=listed([f"'{path}'" for path in given], 3)
                )
            )
        return False
    if not all(are.values()):
        one, other = (next(path for path, is_it in are.items() if is_it is kind) for kind in (True, False))
        raise BadInputError(
            _("'{dicom}' is DICOM, and '{other}' is not. Add them one after the other.").format(dicom=one, other=other)
        )
    return True


def create_from_dicom(
    request: CreateRequest, watch: Watch, create: Callable[[CreateRequest, Watch], list[Case]]
) -> list[Case]:
    """Make or enlarge a cohort by a case for each series, with `create`; returns the cases of all series.

    Every header is checked before anything is written.

    Raises BadInputError, CohortError or FileWriteError when something cannot be used; then nothing has been changed.
    """
    require_dicom_packages()
    series = _usable(request, watch.part(0, 10))
    folder = Path(os.path.expanduser(request.cohort)).absolute()
    check_labels(request.labels)
    known = Cohort.open(folder) if (folder / COHORT_FILE).is_file() else None
    by_series = {} if known is None else cases_by_series(known)
    names = names_of_cases(request, series, known, by_series)
    labels = request.labels if known is None else merged_labels(known.file, request.labels)
    fresh = [(name, one) for name, one in zip(names, series, strict=True) if one.uid not in by_series]
    references = DicomReferences(request.references, [one for _name, one in fresh], labels)
    for name, _one in fresh:
        _require_free(folder, name, known)
    made: list[Path] = []
    is_kept = False
    try:
        images = {name: str(known.image_path(name)) for name in by_series.values() if known and name in names}
        written: list[str] = []
        for number, (name, one) in enumerate(fresh):
            part = watch.part(1 + number, len(fresh) + 2, f"'{name}': ")
            voxels, geometry = read_series(one, part)
            path = folder / "images" / f"{file_stem(name)}.nrrd"
            made += [path, source_path(folder, name)]
            # First, so that the image of an attempt that was killed can be distinguished from other files.
            write_source(folder, name, DicomSource.of(one, folder if request.keep_source_paths else None))
            write_image(path, voxels, geometry)
            images[name] = str(path)
            written += references.write(one, folder, name, made)
        plain = replace(request, name_from="file", series=(), import_mode="link")
        if written:
            # Cases that the cohort has already keep the references that they have.
            new = [name for name, _one in fresh]
            plain = replace(plain, references=tuple(written), labels=references.labels, names=tuple(new))
        else:
            plain = replace(plain, names=tuple(names))
        plain = replace(plain, images=tuple(images[name] for name in plain.names))
        create(plain, watch.part(len(fresh) + 1, len(fresh) + 2))
        is_kept = True
    finally:
        if not is_kept:
            remove_imported(made, folder)
    references.note_codes(folder)
    _report(fresh, folder, request.keep_source_paths)
    cohort = Cohort.open(folder)
    return [cohort.case(name) for name in names]


def _require_free(folder: Path, name: str, known: Cohort | None) -> None:
    """Raise BadInputError when there are files of this name, other than those of an attempt that was killed."""
    stem = file_stem(name)
    paths = (folder / "images" / f"{stem}.nrrd", folder / "references" / f"{stem}.nrrd", source_path(folder, name))
    is_taken = known is not None and any(
        file_stem(case.name) == stem or known.image_path(case.name) == paths[0] for case in known.cases
    )
    if source_path(folder, name).is_file() and not is_taken:
        return
    for path in paths:
        if path.exists():
            raise BadInputError(
                _("The cohort has a file '{path}' already. Choose another name for the case with '--names'.").format(
                    path=path.relative_to(folder).as_posix()
                )
            )


def _expanded(given: Sequence[str]) -> list[str]:
    found: list[str] = []
    for text in given:
        path = os.path.expanduser(text)
        is_pattern = not os.path.exists(path) and any(character in path for character in "*?[")
        found += sorted(glob.glob(path, recursive=True)) if is_pattern else [path]
    return list(dict.fromkeys(found))


def _is_dicom(path: str, is_asked_for: bool) -> bool:
    if os.path.isfile(path):
        return not path.lower().endswith(IMAGE_ENDINGS) and is_dicom_file(path)
    if not os.path.isdir(path):
        return False
    if not is_asked_for and _has_image(path):
        return False
    if has_dicom_file(path):
        return True
    named = [name for _parent, _folders, names in os.walk(path) for name in names if name.lower().endswith(".dcm")]
    if named:
        raise BadInputError(
            _(
                "None of the files in '{folder}' is DICOM, although {count} have the ending .dcm, such as '{example}'. "
                "Check that they were copied or unpacked completely."
            ).format(folder=path, count=len(named), example=min(named))
        )
    return False


def _has_image(folder: str) -> bool:
    """Whether there are images of other formats directly in a folder, or in the folders in it."""
    try:
        names = os.listdir(folder)
        inner = [os.path.join(folder, name) for name in names if os.path.isdir(os.path.join(folder, name))]
        names += [name for one in inner if os.access(one, os.R_OK) for name in os.listdir(one)]
    except OSError as error:
        raise BadInputError(
            _("The folder '{folder}' cannot be read ({reason}).").format(folder=folder, reason=error.strerror)
        ) from error
    return any(name.lower().endswith(IMAGE_ENDINGS) for name in names)


def _usable(request: CreateRequest, watch: Watch) -> list[DicomSeries]:
    """The series to take. Raises BadInputError when there is none, or one of them cannot be used."""
    paths: list[str] = []
    others = 0
    for path in _expanded(request.images):
        # A DICOMDIR lists the files beside it.
        folder = os.path.dirname(path) or "." if os.path.basename(path).upper() == "DICOMDIR" else path
        found, count = dicom_files(folder, watch) if os.path.isdir(folder) else ([path], 0)
        paths += found
        others += count
    paths = list(dict.fromkeys(paths))
    headers, damages = readable_headers(paths, watch)
    if damages and not request.skip_unusable:
        raise BadInputError(_damage_sentence(list(damages.values())))
    for error in damages.values():
        _LOG.warning(f"Skipped: {error.message}")
    others += len(paths) - len(headers) - len(damages)
    if others:
        _LOG.warning(
            counted(others, "Skipped {count} file that is not DICOM.", "Skipped {count} files that are not DICOM.")
        )
    uids = {path: series_of_damaged(path) for path in damages}
    found_series = [_without_damages(one, uids) for one in series_of(headers)]
    chosen = chosen_series(found_series, request.series)
    good = [one for one in chosen if one.geometry is not None]
    problems = [one for one in chosen if one.problem]
    left_out = [one for one in chosen if one.left_out]
    if left_out and (request.series or not good + problems):
        problems = [*problems, *left_out]
        left_out = []
    for one in left_out:
        _LOG.warning(f"Left out: {one.title}: {one.left_out}")
    for one in good:
        for note in one.notes:
            _LOG.warning(f"{one.title[:1].upper()}{one.title[1:]}: {note}")
    if not chosen:
        raise BadInputError(
            _("The DICOM files in {given} hold no series of images.").format(
                given=listed([f"'{path}'" for path in request.images], 3)
            )
        )
    if problems and not (request.skip_unusable and good):
        raise BadInputError(_problem_sentence(problems, bool(good)))
    for one in problems:
        _LOG.warning(f"Skipped: {one.title}: {one.problem or one.left_out}")
    return good


def _without_damages(series: DicomSeries, uids: Mapping[str, str]) -> DicomSeries:
    """A series, unusable if one of its files is damaged, or if a damaged file beside them may belong to it.

    Args:
        uids: of the series of the damaged files, by path; '' where it is not known.
    """
    for path, uid in uids.items() if not series.left_out else ():
        folder = os.path.dirname(os.path.abspath(path))
        if uid == series.uid or (not uid and folder in series.folders):
            return replace(series, geometry=None, problem=_("one of its files is damaged."))
    return series


def _damage_sentence(damages: Sequence[BadInputError]) -> str:
    each = [error.message for error in damages[:_MOST_NAMED]]
    if len(damages) > _MOST_NAMED:
        each.append(_("and {count} more").format(count=len(damages) - _MOST_NAMED))
    return joined("\n" if len(damages) > 1 else " ", [*each, _("To take the other series, use '--skip-unusable'.")])


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


def _report(fresh: Sequence[tuple[str, DicomSeries]], folder: Path, keep_source_paths: bool) -> None:
    """Say which series became which case, and what was not kept."""
    for name, one in fresh[:_MOST_NAMED]:
        _LOG.warning(f"'{name}': {one.title}")
    if len(fresh) > _MOST_NAMED:
        _LOG.warning(
            f"... and {len(fresh) - _MOST_NAMED} more. '{folder.name}/dicom/sources' has the series UID of each case."
        )
    if fresh and not keep_source_paths:
        _LOG.warning(
            "The paths of the DICOM files are not kept, because paths often name the patient: 'export-dicom' will need "
            "'--dicom FOLDER'. To keep them, use '--keep-source-paths'."
        )
