"""Which DICOM series are the channels of one case: those of one study, chosen by description or UID."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core import BadInputError, Cohort, VolumeGeometry, Watch
from ..core.channels import check_channels, on_grid_of_channels, resampled_to_channel
from ..core.cohort_file import COHORT_FILE
from ..core.dicom_series import DicomSeries, is_named
from ..core.dicom_source import read_source
from ..core.dicom_voxels import read_series
from ..core.messages import _, capitalized, joined, listed
from ..core.modalities import CT, is_modality

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DicomCase:
    """The series of one case.

    Attributes:
        first: that slices are drawn in. further: the series of the other channels by name; some may be missing.
    """

    first: DicomSeries
    further: Mapping[str, DicomSeries] = field(default_factory=dict)


def cases_of_series(series: Sequence[DicomSeries], channels: Mapping[str, str]) -> list[DicomCase]:
    """The cases that series make up: each one a case, or all of a study one case of these channels.

    Args:
        channels: name of each channel, in order, to the description or UID of its series; none for single images.

    Raises BadInputError when names or series cannot be used, or a study lacks the first channel.
    """
    if not channels:
        return [DicomCase(one) for one in series]
    names = check_channels(tuple(channels))
    if not all(channels.values()):
        raise BadInputError(
            _(
                "Say which DICOM series each channel is, by its description or UID, for example {name}='{example}'."
            ).format(name=names[0], example=_("T2 FLAIR axial"))
        )
    studies: dict[tuple[str, frozenset[str]], dict[str, DicomSeries]] = {}
    for one in series:
        parts = studies.setdefault((one.headers[0].study_uid, one.headers[0].patient), {})
        for name, text in zip(names, channels.values(), strict=True):
            if not is_named(one, text):
                continue
            if name in parts:
                raise BadInputError(
                    _(
                        "Two series of one study are the channel '{channel}': {one}, and {other}. Give the UID of one."
                    ).format(channel=name, one=parts[name].title, other=one.title)
                )
            parts[name] = one
    without = [next(iter(parts.values())).title for parts in studies.values() if names[0] not in parts]
    if without:
        raise BadInputError(
            _(
                "The studies of these series have no series of the first channel, '{channel}': {series}. Slices are "
                "drawn in the first channel: leave these studies out, or name a channel first that all have."
            ).format(channel=names[0], series=listed(without, 3))
        )
    found = []
    for parts in studies.values():
        further = {name: parts[name] for name in names[1:] if name in parts}
        for name, one in further.items():
            if one is parts[names[0]] or sum(one is other for other in further.values()) > 1:
                raise BadInputError(
                    _("{series} is given for two channels, '{channel}' is one of them.").format(
                        series=one.title, channel=name
                    )
                )
        found.append(DicomCase(parts[names[0]], further))
    return found


def require_usable_channels(cases: Sequence[DicomCase], resample: bool) -> None:
    """Raise BadInputError when a further channel has another frame of reference, or another grid without `resample`."""
    for case in cases:
        first = FirstImage(
            case.first.title, case.first.required_geometry(), case.first.headers[0].frame_of_reference_uid
        )
        for name, one in case.further.items():
            first.require_usable(name, one, resample)


@dataclass(frozen=True)
class FirstImage:
    """The first channel of a case, which others are to lie on.

    Attributes:
        title: for messages. frame_of_reference_uid: '' where it is not known.
    """

    title: str
    geometry: VolumeGeometry
    frame_of_reference_uid: str

    def require_usable(self, channel: str, one: DicomSeries, resample: bool) -> None:
        """Raise BadInputError when a series has another frame of reference, or another grid without `resample`."""
        if len({self.frame_of_reference_uid, one.headers[0].frame_of_reference_uid} - {""}) > 1:
            raise BadInputError(
                _(
                    "The channel '{channel}' ({series}) has another frame of reference than {first}: how they lie "
                    "to each other is not known. Register the two images first, and make a cohort of the results."
                ).format(channel=channel, series=one.title, first=self.title)
            )
        own = one.required_geometry()
        if resample or self.geometry.with_same_voxels(np.broadcast_to(np.uint8(0), own.shape), own) is not None:
            return
        problem = _("The channel '{channel}' ({series}) does not lie on the grid of {first}: {difference}.").format(
            channel=channel, series=one.title, first=self.title, difference=own.difference_from(self.geometry)
        )
        raise BadInputError(joined(" ", [problem, _("'--resample' resamples it.")]))


def channel_voxels(
    one: DicomSeries, grid: VolumeGeometry, watch: Watch, channel: str, modality: str
) -> tuple[np.ndarray, bool]:
    """The image of a further channel on the grid of the first, (K, J, I), and whether it was resampled.

    `modality`: of the channel, as a user or the cohort says; '' if only the header tells.

    Raises BadInputError when it cannot be read, or lies outside of the first.
    """
    voxels, own = read_series(one, watch, modality, channel)
    if grid.with_same_voxels(np.broadcast_to(np.uint8(0), own.shape), own) is not None:
        return on_grid_of_channels(voxels, own, grid, one.title), False
    try:
        return resampled_to_channel(voxels, own, grid), True
    except BadInputError as error:
        title = capitalized(one.title)
        raise BadInputError(_("{series}: {problem}").format(series=title, problem=error.message)) from error


def series_of_channels(cases: Sequence[DicomCase], channels: Sequence[str]) -> list[tuple[str, DicomSeries]]:
    """The name of the channel, '' without names, and the series, of all images of cases."""
    first = (channels or ("",))[0]
    return [(name, one) for case in cases for name, one in {first: case.first, **case.further}.items()]


def require_one_modality(series: Sequence[tuple[str, DicomSeries]], said: Container[str], known: Cohort | None) -> None:
    """Raise BadInputError, naming the series, when one is of another modality than the cohort, or than the others.

    Args:
        series: to add, each with its channel. said: channels of which a user has said the modality, so that their
            headers do not count. known: the cohort; None for a new one.
    """
    others = _kinds_of_cases(known) if known is not None else {}
    for channel, one in series:
        kind = one.headers[0].modality
        if channel in said or not is_modality(kind):
            continue
        own = known.modalities.get(channel, "") if known is not None else ""
        option = f"--modality {channel}=" if channel else "--modality "
        if known is not None and own not in ("", kind):
            raise BadInputError(
                _(
                    "The header of {series} says that it is {kind}, and the cohort '{cohort}' has {own}{channel}, "
                    "so nothing was added. Leave this series out or, if its header is wrong, give "
                    "'{option}{own}'."
                ).format(
                    series=one.title,
                    kind=kind,
                    cohort=known.name,
                    own=own,
                    channel=_(" as the channel '{name}'").format(name=channel) if channel else "",
                    option=option,
                )
            )
        other, other_kind = others.setdefault(channel, (one.title, kind))
        if other_kind == kind:
            continue
        differ = _("The headers of two series differ in what they are: {one} is {kind}, and {other} is {other_kind}.")
        if known is None:
            remedy = _(
                "Make a cohort of each or, if a header is wrong, say what all of them are, such as '{option}{kind}'."
            ).format(option=option, kind=kind)
        else:
            remedy = _(
                "Nothing was added. Make a cohort of each or, if a header is wrong, enter what all of them are as "
                "'modalities' in '{file}'."
            ).format(file=COHORT_FILE)
        sentence = differ.format(one=one.title, kind=kind, other=other, other_kind=other_kind)
        raise BadInputError(joined(" ", [sentence, remedy]))


def note_missing_rescaling(series: Sequence[tuple[str, DicomSeries]], kinds: Mapping[str, str]) -> None:
    """Say which series are used as CT although they do not say how their values become Hounsfield units.

    Args:
        series: each with its channel. kinds: the modality that each channel has in the cohort, whatever headers say.
    """
    for channel, one in series:
        if kinds.get(channel) == CT and not any(image.is_rescaled for image in one.slices):
            _LOG.warning(
                f"{capitalized(one.title)}: it is taken as CT, but its images do not say how their values become "
                "Hounsfield units (no rescale slope and intercept). So the values are taken to be Hounsfield units. If "
                f"they are not, give another modality, such as '--modality {channel and channel + '='}OT'."
            )


def _kinds_of_cases(known: Cohort) -> dict[str, tuple[str, str]]:
    """A case of a cohort that does not say what its first images are, and what it is, by the name of the channel."""
    channel = (known.channels or ("",))[0]
    for case in known.cases if not known.modality(channel) else ():
        source = read_source(known, case.name)
        if source is not None and is_modality(source.modality):
            return {channel: (_("the case '{name}'").format(name=case.name), source.modality)}
    return {}


def modalities_of(series: Sequence[tuple[str, DicomSeries]]) -> dict[str, str]:
    """The modality of each channel that is the same in all its series, as their headers say."""
    found: dict[str, set[str]] = {}
    for name, one in series:
        found.setdefault(name, set()).add(one.headers[0].modality)
    return {
        name: next(iter(kinds)) for name, kinds in found.items() if len(kinds) == 1 and all(map(is_modality, kinds))
    }
