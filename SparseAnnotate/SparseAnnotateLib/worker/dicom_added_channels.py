"""DICOM series that are added to the cases of a cohort as a further channel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core import BadInputError, Cohort, Watch
from ..core.case_names import name_collisions, normal_name
from ..core.cohort_channels import another_image
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_series import DicomSeries
from ..core.dicom_source import DicomSource, read_source
from ..core.image_intake import free_path
from ..core.images import write_image
from ..core.messages import _, capitalized, counted, listed
from .create_request import CreateRequest
from .dicom_channels import FirstImage, channel_voxels, modalities_of, note_missing_rescaling, require_one_modality
from .dicom_intake import log_series_of_cases, usable_series

if TYPE_CHECKING:
    from .add_channel_request import AddChannelRequest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AddedSeries:
    """DICOM series to add to cases as a channel.

    Attributes:
        names: of the cases. new: of those that do not have this image yet. modality: of all series; '' if not known.
    """

    names: tuple[str, ...]
    new: tuple[str, ...]
    modality: str
    _cohort: Cohort
    _channel: str
    _kind: str
    _series: Mapping[str, DicomSeries]

    @classmethod
    def of(
        cls, cohort: Cohort, request: AddChannelRequest, channel: str, text: str, said: str, watch: Watch
    ) -> AddedSeries:
        """The series of a request, each of which has been checked.

        Args:
            text: description or UID of the series; '' for all of them, where the cases are named. said: the modality
                that the user gives, so that their headers do not count; '' for none.

        Raises BadInputError and CohortError.
        """
        require_dicom_packages()
        if not text and not request.names:
            raise BadInputError(
                _(
                    "Say which DICOM series are the channel, by their description or UID, for example "
                    "{name}='{example}', or name the cases with '--names'."
                ).format(name=channel, example=_("T2 FLAIR axial"))
            )
        asked = CreateRequest(
            request.cohort,
            request.images,
            series=(text,) if text else (),
            time_point=request.time_point,
            skip_unusable=request.skip_unusable,
        )
        found = _series_of_cases(cohort, request.names, channel, usable_series(asked, watch))
        for name, one in found.items():
            source = read_source(cohort, name)
            if source is not None and source.key == one.key:
                raise BadInputError(
                    _("The case '{name}' was made from {series}, so it cannot be the channel '{channel}', too.").format(
                        name=name, series=one.title, channel=channel
                    )
                )
            frame = source.frame_of_reference_uid if source is not None else ""
            first = FirstImage(_("the case '{name}'").format(name=name), cohort.geometry(name), frame)
            first.require_usable(channel, one, request.resample)
        of_channel = [(channel, one) for one in found.values()]
        require_one_modality(of_channel, (channel,) if said else (), cohort)
        kind = said or cohort.modalities.get(channel, "")
        new = tuple(name for name, one in found.items() if not _has(cohort, name, channel, one, kind, watch))
        modality = modalities_of(of_channel).get(channel, "")
        if any(channel in cohort.channel_paths(case.name) for case in cohort.cases):
            modality = ""  # what the cohort knows stays, and what it does not know stays unknown
        note_missing_rescaling([(channel, found[name]) for name in new], {channel: kind or modality})
        log_series_of_cases([(name, found[name]) for name in new])
        return cls(tuple(found), new, modality, cohort, channel, kind, found)

    def entered(self, name: str, made: list[Path], watch: Watch) -> str:
        """Write the image of a case, resampled if need be; returns its path for cohort.json."""
        one, grid = self._series[name], self._cohort.geometry(name)
        voxels, is_resampled = channel_voxels(one, grid, watch, self._channel, self._kind)
        path = free_path(self._cohort.path_for_channel(name, self._channel), lambda place: place.exists())
        made.append(path)
        write_image(path, voxels, grid)
        if is_resampled:
            _LOG.warning(f"Resampled the channel '{self._channel}' of '{name}' to the grid of the first: {one.title}")
        return path.relative_to(self._cohort.folder).as_posix()


def _series_of_cases(
    cohort: Cohort, names: Sequence[str], channel: str, series: Sequence[DicomSeries]
) -> dict[str, DicomSeries]:
    """The series of each case: in the order of the names, or those of the studies that cases were made from."""
    sources = {case.name: read_source(cohort, case.name) for case in cohort.cases}
    if names:
        if len(names) != len(series):
            raise BadInputError(
                _(
                    "Number of DICOM series: {series_count}, number of names: {name_count}. Give one name for each, in "
                    "this order: {series}."
                ).format(series_count=len(series), name_count=len(names), series=listed([s.title for s in series], 20))
            )
        twice = name_collisions([normal_name(name) for name in names])
        if twice:
            raise BadInputError(_("Two series are given for the case '{name}'.").format(name=twice[0][0]))
        given = {cohort.case(name).name: one for name, one in zip(names, series, strict=True)}
        for name, one in given.items():
            _require_own_study(sources, name, one)
        return given
    found: dict[str, DicomSeries] = {}
    others = []
    for one in series:
        fitting = _cases_of_study(sources, one)
        if not fitting:
            others.append(one)
        for name in fitting:
            if name in found:
                raise BadInputError(
                    _(
                        "Two series of one study are the channel '{channel}': {one}, and {other}. Give the UID of one."
                    ).format(channel=channel, one=found[name].title, other=one.title)
                )
            found[name] = one
    if not found:
        raise BadInputError(
            _(
                "None of the DICOM series is of a study that a case of the cohort '{cohort}' was made from: {series}. "
                "Name the cases with '--names', in the order of the series."
            ).format(cohort=cohort.name, series=listed([one.title for one in others], 3))
        )
    if others:
        _LOG.warning(
            counted(
                len(others),
                "Left out {count} series whose study is that of no case: {example}.",
                "Left out {count} series whose studies are those of no case, for example {example}.",
                example=others[0].title,
            )
        )
    return found


def _cases_of_study(sources: Mapping[str, DicomSource | None], one: DicomSeries) -> list[str]:
    """The cases that were made from the study of a series; of head and chest, say, those that it may lie on."""
    study, frame = one.headers[0].study_uid, one.headers[0].frame_of_reference_uid
    frames = {
        name: source.frame_of_reference_uid
        for name, source in sources.items()
        if source is not None and study and source.study_uid == study
    }
    return [name for name, own in frames.items() if len({own, frame} - {""}) < 2] or list(frames)


def _require_own_study(sources: Mapping[str, DicomSource | None], name: str, one: DicomSeries) -> None:
    """Raise BadInputError when a series that is given for a case is of the study of other cases."""
    source, study = sources[name], one.headers[0].study_uid
    others = [other for other in _cases_of_study(sources, one) if other != name]
    if not others or (source is not None and source.study_uid == study):
        return
    raise BadInputError(
        _(
            "{series} is given for the case '{name}', but is of the study that the case '{other}' was made from. Give "
            "the names in the order of the series, or leave out '--names': then each series goes to the case of its "
            "study."
        ).format(series=capitalized(one.title), name=name, other=others[0])
    )


def _has(cohort: Cohort, name: str, channel: str, one: DicomSeries, kind: str, watch: Watch) -> bool:
    """Whether a case has this image already. Raises CohortError when it has another one."""
    known = cohort.channel_paths(name)
    if channel not in known:
        return False
    grid = cohort.geometry(name)
    voxels, _is_resampled = channel_voxels(one, grid, watch, channel, kind)
    if not np.array_equal(voxels, cohort.channel_image(name, channel, grid)):
        raise another_image(name, channel, known[channel])
    return True
