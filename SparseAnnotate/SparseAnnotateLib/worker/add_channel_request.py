"""The request that adds a channel to the cases of a cohort: more images of the same patients."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import BadInputError, Case, Cohort, Watch
from ..core.case_names import name_collisions, normal_name, usable_case_name
from ..core.channels import grouped_by_channel, parsed_channels
from ..core.cohort_channels import another_image
from ..core.given_paths import shown_given
from ..core.image_intake import ImportMode, is_same_image, remove_imported
from ..core.messages import _, counted, listed
from ..core.modalities import check_modalities
from ..core.scan_files import image_files
from .case_channels import CaseChannels, log_left_out, no_channel
from .dicom_added_channels import AddedSeries
from .dicom_cases import holds_dicom
from .dicom_intake import expanded

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class AddChannelRequest:
    """Add a channel to cases of a cohort that lack it. Drawn slices stay as they are.

    Attributes:
        images: files, folders and patterns, see `image_files`; or files and folders with DICOM series.
        channel: NAME=ENDING: the channel, and what the names of its files end with; what is before is the name of the
            case, or else that of the folder. Of DICOM the description or UID of its series, each of which belongs to
            the cases that were made from its study.
        names: of the cases, in the order of the images or series, instead.
        first_channel: the name that the images get which the cohort has already, if they have none.
        modality: of the channel; '' when it is not known. resample, import_mode: as in `CreateRequest`.
        time_point, skip_unusable: of DICOM, as in `CreateRequest`.
    """

    cohort: str
    images: tuple[str, ...]
    channel: str
    names: tuple[str, ...] = ()
    first_channel: str = ""
    modality: str = ""
    resample: bool = False
    import_mode: ImportMode = "link"
    time_point: int = 0
    skip_unusable: bool = False


def add_channel(request: AddChannelRequest, watch: Watch) -> list[Case]:
    """Add the channel; returns the cases that have it now. All images are checked before anything is written.

    Raises BadInputError, CohortError or FileWriteError when something cannot be used, BusyError when another process
    adds a channel; then nothing has been changed.
    """
    ((channel, text),) = parsed_channels([request.channel]).items()
    is_dicom = holds_dicom(request.images, bool(request.time_point), request.skip_unusable, watch.part(0, 10))
    if request.skip_unusable and not is_dicom:
        raise BadInputError(
            _("'--skip-unusable' is for DICOM series, and there are none in {given}. Leave it out.").format(
                given=shown_given(expanded(request.images))
            )
        )
    with Cohort.open(request.cohort).adding_channel(channel):
        cohort = Cohort.open(request.cohort)  # again: another program may have added a channel meanwhile
        channels = cohort.channels_with(channel, request.first_channel)
        said = check_modalities({channel: request.modality} if request.modality else {}, channels)
        images: _AddedFiles | AddedSeries
        if is_dicom:
            images = AddedSeries.of(cohort, request, channel, text, said.get(channel, ""), watch.part(0, 2))
        else:
            images = _AddedFiles.of(cohort, request, channels, channel, text, watch.part(0, 2))
        made: list[Path] = []
        is_kept = False
        try:
            further = {}
            part = watch.part(1, 2)
            for number, name in enumerate(images.new):
                part.step(number / len(images.new), _("adding '{case}'").format(case=name))
                further[name] = images.entered(name, made, part.part(number, len(images.new)))
            cohort.add_channel(channel, further, request.first_channel, said.get(channel, images.modality))
            is_kept = True
        finally:
            if not is_kept:
                remove_imported(made, cohort.folder)
    _report(cohort, channel, images.new)
    return [cohort.case(name) for name in images.names]


@dataclass(frozen=True, eq=False)
class _AddedFiles:
    """Image files to add to cases as a channel.

    Attributes:
        names: of the cases. new: of those that do not have this image yet. modality: '', which files do not tell.
    """

    names: tuple[str, ...]
    new: tuple[str, ...]
    _cohort: Cohort
    _files: CaseChannels
    _channel: str
    _import_mode: ImportMode
    modality: str = ""

    @classmethod
    def of(
        cls,
        cohort: Cohort,
        request: AddChannelRequest,
        channels: Sequence[str],
        channel: str,
        ending: str,
        watch: Watch,
    ) -> _AddedFiles:
        """The files of a request, each of which has been checked. Raises BadInputError and CohortError."""
        images = _images_of_cases(cohort, request, channel, ending)
        new = tuple(name for name, path in images.items() if not _has(cohort, name, channel, path))
        parts = tuple({channel: images[name]} for name in new)
        firsts = tuple(str(cohort.image_path(name)) for name in new)
        files = CaseChannels(tuple(channels), firsts, new, parts, False, request.resample)
        for number, name in enumerate(new):
            watch.step(number / len(new), _("checking '{case}'").format(case=name))
            files.checked_geometry(number)
        return cls(tuple(images), new, cohort, files, channel, request.import_mode)

    def entered(self, name: str, made: list[Path], watch: Watch) -> str:
        """Import the image of a case, or resample it; returns its path for cohort.json."""
        watch.check()
        number = self.new.index(name)
        case = self._files.entered(self._cohort.case(name), number, self._cohort.folder, self._import_mode, made)
        return case.further[self._channel]


def _images_of_cases(cohort: Cohort, request: AddChannelRequest, channel: str, ending: str) -> dict[str, str]:
    """The image of each case. Raises BadInputError when it is not clear whose images these are."""
    files = image_files(request.images, False)
    if request.names:
        if len(request.names) != len(files):
            raise BadInputError(
                _(
                    "Number of images: {image_count}, number of names: {name_count}. Give one name for each image."
                ).format(image_count=len(files), name_count=len(request.names))
            )
        twice = name_collisions([normal_name(name) for name in request.names])
        if twice:
            raise BadInputError(_("Two images are given for the case '{name}'.").format(name=twice[0][0]))
        return {cohort.case(name).name: path for name, path in zip(request.names, files, strict=True)}
    if not ending:
        raise BadInputError(
            _(
                "Say what the file names of the channel end with, for example {name}=_{ending}, or name the cases with "
                "'--names'."
            ).format(name=channel, ending=channel.lower())
        )
    groups = grouped_by_channel(files, {channel: ending})
    if not groups:
        raise no_channel({channel: ending})
    used = [parts[channel] for parts in groups.values()]
    log_left_out([path for path in files if path not in used])
    found: dict[str, str] = {}
    others = []
    for (folder, rest), parts in groups.items():
        name = usable_case_name(rest or Path(folder).name)
        if not cohort.has_case(name):
            others.append(parts[channel])
        elif name in found:
            raise BadInputError(
                _("'{one}' and '{other}' are both the channel '{channel}' of the case '{name}'.").format(
                    one=found[name], other=parts[channel], channel=channel, name=name
                )
            )
        else:
            found[cohort.case(name).name] = parts[channel]
    if not found:
        raise BadInputError(
            _(
                "No file is named after a case of the cohort '{cohort}' ({cases}): '{path}', for example. Rename the "
                "files, or name their cases with '--names'."
            ).format(cohort=cohort.name, cases=listed([case.name for case in cohort.cases], 3), path=others[0])
        )
    if others:
        _LOG.warning(
            counted(
                len(others),
                "Left out {count} file that is named after no case of the cohort: '{example}'.",
                "Left out {count} files that are named after no case of the cohort, for example '{example}'.",
                example=others[0],
            )
        )
    return found


def _has(cohort: Cohort, name: str, channel: str, path: str) -> bool:
    """Whether a case has this image already. Raises CohortError when it has another one, or is a 4D file."""
    known: Mapping[str, Path] = cohort.channel_paths(name)
    if channel not in known:
        return False
    if not is_same_image(Path(path), known[channel]):
        raise another_image(name, channel, known[channel])
    return True


def _report(cohort: Cohort, channel: str, new: Sequence[str]) -> None:
    count = counted(len(new), "{count} case of", "{count} cases of")
    _LOG.warning(f"Added the channel '{channel}' to {count} the cohort '{cohort.name}'.")
    lacking = [case.name for case in cohort.cases if channel not in cohort.channel_paths(case.name)]
    if lacking:
        _LOG.warning(f"Without the channel '{channel}': {listed(lacking, 5)}.")
    if new:
        _LOG.warning(
            "Drawn slices stay as they are. Fills and predictions of these cases are out of date now; runs go on using "
            "the channels that they have learned from."
        )
