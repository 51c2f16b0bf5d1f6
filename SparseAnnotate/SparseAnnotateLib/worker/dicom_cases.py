"""Cases of a cohort from DICOM folders: which series become cases, their names, and their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import BadInputError, Case, Cohort, CohortError, VolumeGeometry, Watch
from ..core.case_names import file_stem
from ..core.channels import channel_folder, check_channels
from ..core.cohort_file import COHORT_FILE, check_labels, merged_labels, require_same_channels
from ..core.dicom_files import files_in, has_dicom_file, is_dicom_file, is_named_like_dicom
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_series import DicomSeries
from ..core.dicom_source import DicomSource, cases_by_series, source_path, write_source
from ..core.dicom_voxels import read_series
from ..core.given_paths import GivenPath, does_not_exist, shown_given
from ..core.image_intake import remove_imported
from ..core.images import IMAGE_ENDINGS, write_image
from ..core.messages import _, capitalized, counted
from ..core.modalities import CT, require_same_modalities
from .case_channels import CaseChannels
from .dicom_channels import (
    DicomCase,
    cases_of_series,
    channel_voxels,
    modalities_of,
    note_missing_rescaling,
    require_one_modality,
    require_usable_channels,
    series_of_channels,
)
from .dicom_intake import damage_sentence, expanded, is_pattern, log_series_of_cases, not_dicom, usable_series
from .dicom_names import names_of_cases
from .dicom_references import DicomReferences

if TYPE_CHECKING:
    from .create_request import CreateRequest

_LOG = logging.getLogger(__name__)


def holds_dicom(given: Sequence[str], is_asked_for: bool, skip_unusable: bool, watch: Watch) -> bool:
    """Whether files and folders that a user gives are DICOM; a folder with images of other formats is not.

    Args:
        is_asked_for: series were chosen, so such a folder is, too.
        skip_unusable: a file that is only named like DICOM may be among others that are.

    Raises BadInputError when DICOM and other images are given together, a file is only named like DICOM, or there is
    no DICOM although it is asked for.
    """
    are = {one: _is_dicom(one, is_asked_for, watch) for one in expanded(given)}
    named_alike = [one for one in are if not are[one] and os.path.isfile(one) and is_named_like_dicom(one.path)]
    if named_alike and not (skip_unusable and any(are.values())):
        raise BadInputError(damage_sentence(list(map(not_dicom, named_alike)), len(named_alike) < len(are)))
    are |= dict.fromkeys(named_alike, True)
    if any(are.values()) or is_asked_for:
        _require_existing(given)
    if not any(are.values()):
        if is_asked_for:
            raise BadInputError(
                _("There are no DICOM files in {given}, so no series can be chosen.").format(given=shown_given([*are]))
            )
        return False
    if not all(are.values()):
        one, other = (next(path for path, is_it in are.items() if is_it is kind) for kind in (True, False))
        raise BadInputError(
            _("Of {given}, number {dicom} is DICOM, and number {other} is not. Add them one after the other.").format(
                given=shown_given([*are]), dicom=one.number, other=other.number
            )
        )
    return True


def _require_existing(given: Sequence[str]) -> None:
    """Raise BadInputError when a path or pattern stands for nothing."""
    missing = [text for text in given if not expanded([text]) or not all(map(os.path.exists, expanded([text])))]
    if not missing:
        return
    path = os.path.expanduser(missing[0])
    if not is_pattern(path):
        place = next(one for one in expanded(given) if one.path == path)
    else:
        place = GivenPath(missing[0])  # it was typed
    raise BadInputError(does_not_exist(place))


def create_from_dicom(
    request: CreateRequest, watch: Watch, create: Callable[[CreateRequest, Watch, CaseChannels], list[Case]]
) -> list[Case]:
    """Make or enlarge a cohort by a case for each series, or for those of each study that are the request's channels.

    Returns the cases of all series, which `create` adds.

    Every header is checked before anything is written.

    Raises BadInputError, CohortError or FileWriteError when something cannot be used; then nothing has been changed.
    """
    require_dicom_packages()
    if request.channels and request.series:
        raise BadInputError(_("Name the series of each channel in '--channels', and leave out '--series'."))
    cases = cases_of_series(usable_series(request, watch.part(0, 10)), request.channels)
    require_usable_channels(cases, request.resample)
    names_of_channels = check_channels(tuple(request.channels))
    series = [case.first for case in cases]
    folder = Path(os.path.expanduser(request.cohort)).absolute()
    check_labels(request.labels)
    known = Cohort.open(folder) if (folder / COHORT_FILE).is_file() else None
    by_series = {} if known is None else cases_by_series(known)
    names = names_of_cases(request, series, known, by_series)
    labels = request.labels if known is None else merged_labels(known.file, request.labels)
    fresh = [(name, one) for name, one in zip(names, series, strict=True) if one.key not in by_series]
    of_first = {case.first.key: case for case in cases}
    if known is not None:
        require_same_channels(known.file, names_of_channels)
        _require_known_channels(known, cases, by_series)
    new_cases = [of_first[one.key] for _name, one in fresh]
    new_series = series_of_channels(new_cases, names_of_channels)
    require_one_modality(new_series, request.modalities, known)
    kinds = {**(known.modalities if known is not None else {}), **request.modalities}
    modalities = {**modalities_of(new_series), **request.modalities}
    if known is not None:
        # Of a cohort from an earlier version the modalities are not known, and stay so.
        modalities = request.modalities | {name: m for name, m in modalities.items() if name in known.modalities}
        require_same_modalities(known.modalities, modalities, known.name, COHORT_FILE)
        _note_unknown_ct(known, new_series)
    note_missing_rescaling(new_series, {**(known.modalities if known is not None else {}), **modalities})
    looking = watch.part(0, len(fresh) + 2)
    references = DicomReferences(request.references, [one for _name, one in fresh], labels, looking)
    if known is not None:
        references.require_usable_codes(known)
    for name, _one in fresh:
        _require_free(folder, name, known, names_of_channels[1:])
    made: list[Path] = []
    is_kept = False
    try:
        images = {name: str(known.image_path(name)) for name in by_series.values() if known and name in names}
        further = {name: _further_paths(known, name) for name in images if known is not None}
        written: list[str] = []
        for number, (name, one) in enumerate(fresh):
            part = watch.part(1 + number, len(fresh) + 2, f"'{name}': ")
            first = (*names_of_channels, "")[0]
            voxels, geometry = read_series(one, part, kinds.get(first, ""), first)
            path = folder / "images" / f"{file_stem(name)}.nrrd"
            made += [path, source_path(folder, name)]
            # First, so that the image of an attempt that was killed can be distinguished from other files.
            write_source(folder, name, DicomSource.of(one, folder if request.keep_source_paths else None))
            write_image(path, voxels, geometry)
            images[name] = str(path)
            further[name] = _write_channels(of_first[one.key], folder, name, geometry, kinds, part, made)
            written += references.write(one, folder, name, made)
        plain = replace(request, name_from="file", series=(), import_mode="link")
        if written:
            # Cases that the cohort has already keep the references that they have.
            new = [name for name, _one in fresh]
            plain = replace(plain, references=tuple(written), labels=references.labels, names=tuple(new))
        else:
            plain = replace(plain, names=tuple(names))
        plain = replace(plain, images=tuple(images[name] for name in plain.names), modalities=modalities)
        parts = tuple(further[name] for name in plain.names)
        channels = CaseChannels(names_of_channels, plain.images, plain.names, parts, False, False)
        create(plain, watch.part(len(fresh) + 1, len(fresh) + 2), channels)
        is_kept = True
    finally:
        if not is_kept:
            remove_imported(made, folder)
    references.note_codes(folder)
    _report(fresh, folder, request.keep_source_paths)
    cohort = Cohort.open(folder)
    return [cohort.case(name) for name in names]


def _note_unknown_ct(known: Cohort, series: Sequence[tuple[str, DicomSeries]]) -> None:
    """Say that CT is added to a cohort that does not say what its images are."""
    ct = [one for channel, one in series if one.headers[0].modality == CT and not known.modality(channel)]
    if ct and known.cases:
        _LOG.warning(
            f"{capitalized(ct[0].title)} is CT, but the cohort '{known.name}' does not say what its "
            f"images are, so each of them is scaled by itself. If all are CT, enter that as 'modalities' in "
            f"'{COHORT_FILE}'; otherwise make a cohort of each kind."
        )


def _require_known_channels(known: Cohort, cases: Sequence[DicomCase], by_series: Mapping[str, str]) -> None:
    """Raise CohortError when a case of the cohort lacks a channel that its study has here."""
    for case in cases:
        name = by_series.get(case.first.key)
        lacking = [c for c in case.further if name is not None and c not in known.channel_paths(name)]
        if lacking:
            raise CohortError(
                _("The case '{name}' is already in the cohort '{cohort}', without the channel '{channel}'.").format(
                    name=name, cohort=known.name, channel=lacking[0]
                )
            )


def _further_paths(known: Cohort, name: str) -> dict[str, str]:
    return {channel: str(path) for channel, path in list(known.channel_paths(name).items())[1:]}


def _write_channels(
    case: DicomCase,
    folder: Path,
    name: str,
    geometry: VolumeGeometry,
    kinds: Mapping[str, str],
    watch: Watch,
    made: list[Path],
) -> dict[str, str]:
    """Write the further channels of a case; returns their files by name.

    `kinds`: the modality of each channel of which it is known.
    """
    found = {}
    for channel, one in case.further.items():
        voxels, is_resampled = channel_voxels(one, geometry, watch, channel, kinds.get(channel, ""))
        path = folder / channel_folder(channel) / f"{file_stem(name)}.nrrd"
        made.append(path)
        write_image(path, voxels, geometry)
        if is_resampled:
            _LOG.warning(f"Resampled the channel '{channel}' of '{name}' to the grid of the first: {one.title}")
        found[channel] = str(path)
    return found


def _require_free(folder: Path, name: str, known: Cohort | None, channels: Sequence[str]) -> None:
    """Raise BadInputError when there are files of this name, other than those of an attempt that was killed."""
    stem = file_stem(name)
    paths = [folder / "images" / f"{stem}.nrrd", folder / "references" / f"{stem}.nrrd", source_path(folder, name)]
    paths += [folder / channel_folder(channel) / f"{stem}.nrrd" for channel in channels]
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


def _is_dicom(path: GivenPath, is_asked_for: bool, watch: Watch) -> bool:
    watch.check()
    if os.path.isfile(path):
        return not path.path.lower().endswith(IMAGE_ENDINGS) and is_dicom_file(path, path)
    if not os.path.isdir(path):
        return False
    if not is_asked_for and _has_image(path):
        return False
    if has_dicom_file(path, watch):
        return True
    named = [name for name in files_in(path, watch) if name.lower().endswith(".dcm")]
    if named:
        raise BadInputError(
            _(
                "None of the files in {folder} is DICOM, although {named}. Check that they were copied or unpacked "
                "completely."
            ).format(
                folder=path.shown,
                named=counted(len(named), _("{count} has the ending .dcm"), _("{count} have the ending .dcm")),
            )
        )
    return False


def _has_image(folder: GivenPath) -> bool:
    """Whether there are images of other formats directly in a folder, or in the folders in it."""
    try:
        names = os.listdir(folder)
        inner = [os.path.join(folder, name) for name in names if os.path.isdir(os.path.join(folder, name))]
        names += [name for one in inner if os.access(one, os.R_OK) for name in os.listdir(one)]
    except OSError as error:
        raise BadInputError(
            _("{folder} cannot be read ({reason}).").format(folder=capitalized(folder.shown), reason=error.strerror)
        ) from error
    return any(name.lower().endswith(IMAGE_ENDINGS) for name in names)


def _report(fresh: Sequence[tuple[str, DicomSeries]], folder: Path, keep_source_paths: bool) -> None:
    """Say which series became which case, and what was not kept."""
    log_series_of_cases(fresh, f"'{folder.name}/dicom/sources' has the series UID of each case.")
    if fresh and not keep_source_paths:
        _LOG.warning(
            "The paths of the DICOM files are not kept, because paths often name the patient: 'export-dicom' will need "
            "'--dicom FOLDER'. To keep them, use '--keep-source-paths'."
        )
