"""The channels of a cohort: their names and modalities, and how they are added."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .case_names import normal_name
from .channels import channel_folder, check_channels, require_grid_of_channel
from .cohort_file import (
    COHORT_FILE,
    Case,
    CohortFile,
    path_in,
    read_cohort_file,
    require_same_channels,
    stored_path,
)
from .cohort_layout import CohortLayout
from .errors import BadInputError, CohortError
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .messages import _
from .modalities import CT, check_modalities, modalities_by_name, require_same_modalities


class CohortChannels(CohortLayout):
    """What `Cohort` knows of channels."""

    folder: Path
    file: CohortFile

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def cases(self) -> tuple[Case, ...]: ...

    @abstractmethod
    def case(self, name: str) -> Case: ...

    @abstractmethod
    def geometry(self, name: str) -> VolumeGeometry: ...

    @abstractmethod
    def locked(self, purpose: str) -> FolderLock: ...

    @abstractmethod
    def _update_file(self, change: Callable[[CohortFile], CohortFile]) -> None: ...

    @abstractmethod
    def _name_cases(self) -> None: ...

    @abstractmethod
    def _require_changeable(self) -> None: ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels; none where each case has a single image without a channel's name."""
        return self.file.channels

    @property
    def modalities(self) -> dict[str, str]:
        """Channel to modality, as far as known, such as 'CT'; '' stands for images without a channel's name."""
        return dict(self.file.modalities)

    def is_ct(self, channel: str = "") -> bool:
        """Whether the images of a channel, or of the first one, are in Hounsfield units."""
        return self.file.modalities.get(channel or (self.channels or ("",))[0]) == CT

    def use_channels(self, channels: Sequence[str]) -> None:
        """Give a cohort without cases these channels, for a case that has them.

        Raises CohortError when a cohort with cases has others. A case may lack some of them, but not the first.
        """
        channels = check_channels(channels)
        if not self._takes_channels(channels):
            # As another process may have left the file.
            with self.locked("naming the channels"):
                self._update_file(lambda file: file if file.cases else _with_channels(file, channels))
        if not self._takes_channels(channels):
            require_same_channels(self.file, channels)

    def channels_with(self, channel: str, first_channel: str = "") -> tuple[str, ...]:
        """The channels of the cohort and another one, last, if it is not there yet.

        Args:
            first_channel: the name of the first channel, where the images have none yet.

        Raises BadInputError when a name cannot be used or is missing, CohortError when cases are 4D files.
        """
        known = self.channels
        if not known and not first_channel:
            raise BadInputError(
                _(
                    "The images of the cohort '{cohort}' have no channel name yet. Give the first channel a "
                    "name, for example FLAIR ('--first-channel')."
                ).format(cohort=self.name)
            )
        wanted = check_channels([first_channel] if first_channel else [])
        if known and wanted and wanted != known[:1]:
            raise BadInputError(
                _("The first channel of the cohort '{cohort}' is '{known}', not '{given}'.").format(
                    cohort=self.name, known=known[0], given=wanted[0]
                )
            )
        known = known or wanted
        (name,) = check_channels([channel])
        if name == known[0]:
            raise BadInputError(
                _("'{name}' is the first channel of the cohort '{cohort}', which all cases have.").format(
                    name=name, cohort=self.name
                )
            )
        whole = next((case.name for case in self.cases if case.is_4d), None)
        if whole is not None:
            raise CohortError(
                _(
                    "The image of case '{case}' is one file with all channels (4D), so none can be added. Make a new "
                    "cohort, with a file for each channel."
                ).format(case=whole)
            )
        return known if name in known else check_channels([*known, name])

    def adding_channel(self, channel: str, wait_seconds: float = 0.0) -> FolderLock:
        """Lock for writing images of a channel before they are added: of two programs, the second gets a sentence.

        Raises CohortError for a folder in the Decathlon format, which is only read.
        """
        self._require_changeable()
        return FolderLock(self.state_folder, f"adding the channel '{channel}'", wait_seconds, name=".channels.lock")

    def add_channel(
        self, channel: str, images: Mapping[str, str | Path], first_channel: str = "", modality: str = ""
    ) -> None:
        """Add a channel to cases, whose drawn slices stay as they are: case to image, on the grid of its first channel.

        Other cases lack it. Args and raises: as `channels_with`; BadInputError for an image on another grid, or for
        another modality than images of this channel have here; CohortError for a case that has another image of it.
        """
        kinds = {normal_name(channel.strip()): modality} if modality else {}
        self.add_channels({channel: images}, first_channel, kinds)

    def add_channels(
        self,
        images: Mapping[str, Mapping[str, str | Path]],
        first_channel: str = "",
        modalities: Mapping[str, str] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """`add_channel` for several channels in one step, all or none: channel to case to image.

        Args:
            modalities: of channels by name, as far as they are known.
            check: called before the cohort changes, once no other process can change it; it may raise.
        """
        for paths in images.values():
            for name, path in paths.items():
                require_grid_of_channel(path_in(self.folder, str(path)), self.geometry(name))
        with self.locked("adding channels"):
            self.file = read_cohort_file(self.folder)[0]
            self._name_cases()
            if check is not None:
                check()
            was_unnamed = self.file.first_was_unnamed or not self.channels
            file = self.file
            for channel, paths in images.items():
                file = self._file_with_channel(channel, paths, first_channel, (modalities or {}).get(channel, ""))
                self.file = file  # in memory, for the next channel
            self._update_file(lambda _file: replace(file, first_was_unnamed=was_unnamed))

    def _file_with_channel(
        self, channel: str, images: Mapping[str, str | Path], first_channel: str, modality: str
    ) -> CohortFile:
        channels = self.channels_with(channel, first_channel)
        paths = {self.case(name).name: path_in(self.folder, str(path)) for name, path in images.items()}
        stored = {name: stored_path(self.folder, path) for name, path in paths.items()}
        name = normal_name(channel.strip())
        for case, path in stored.items():
            known = self.case(case).further.get(name, path)
            if known != path:
                raise another_image(case, name, path_in(self.folder, known))
        if modality and any(name in case.further for case in self.cases):
            require_same_modalities(self.modalities, {name: modality}, self.name, COHORT_FILE)
        cases = tuple(
            replace(c, further={**c.further, name: stored[c.name]}) if c.name in stored else c for c in self.cases
        )
        kinds = {known or channels[0]: kind for known, kind in self.modalities.items()}
        if name not in self.channels:
            kinds |= modalities_by_name([name])
        kinds |= {name: modality} if modality else {}
        return replace(self.file, cases=cases, channels=channels, modalities=kinds)

    def modality(self, channel: str = "") -> str:
        """The modality of a channel, or of the image that has no channel's name; '' when it is not known."""
        return self.file.modalities.get(self._name_now(channel), "")

    def _name_now(self, channel: str) -> str:
        """The name of a channel, also of images that had none before the first channel was named."""
        return self.channels[0] if not channel and self.file.first_was_unnamed and self.channels else channel

    def use_modalities(self, modalities: Mapping[str, str]) -> None:
        """Set the modalities of channels, by name; '' as the modality: none is known. Runs keep what they were
        trained with.

        Raises BadInputError when there is no such channel.
        """
        known = {**self.modalities, **{self._name_now(name): kind for name, kind in modalities.items()}}
        wanted = check_modalities({name: kind for name, kind in known.items() if kind}, self.channels)
        if wanted != self.modalities:
            with self.locked("setting the modalities"):
                self._update_file(lambda file: replace(file, modalities=wanted))

    def note_modalities(self, name: str, modalities: Mapping[str, str]) -> None:
        """Note what the images of a case are before it is added: channel to modality, '' when it is not known.

        What the cohort knows stays. What it does not know is noted for its first case only: of those that it has
        already the modality stays unknown.

        Raises BadInputError when the cohort knows another modality of a channel.
        """
        found = self.require_modalities(name, modalities)
        is_first = all(case.name == normal_name(name) for case in self.cases)
        new = {channel: kind for channel, kind in found.items() if is_first and channel not in self.modalities}
        if new:
            self.use_modalities(new)

    def require_modalities(self, name: str, modalities: Mapping[str, str]) -> dict[str, str]:
        """What the images of a case are that is to be written, by the names of channels here, as far as it is known.

        Raises BadInputError when the cohort knows another modality of a channel.
        """
        found = {self._name_now(channel): kind for channel, kind in modalities.items() if kind}
        for channel, kind in found.items():
            own = self.modalities.get(channel, "")
            if own and own != kind:
                what = _("The channel '{name}'").format(name=channel) if channel else _("The image")
                raise BadInputError(
                    _(
                        "{what} of the case '{case}' has the modality {kind}, and in the cohort '{cohort}' it is "
                        "{own}, so the case was not written there. Choose another cohort folder or, if one of the two "
                        "is wrong, set the modality of the volume."
                    ).format(what=what, case=name, kind=kind, cohort=self.name, own=own)
                )
        return found

    def _takes_channels(self, channels: Sequence[str]) -> bool:
        known = self.file.channels
        if not channels and self.file.first_was_unnamed:
            return True
        return channels == known or (bool(channels) and channels[:1] == known[:1] and set(channels) <= set(known))

    def path_for_channel(self, name: str, channel: str) -> Path:
        """Where the image of a further channel of a case is written: not where that of another case lies."""
        taken = {other.further.get(channel) for other in self.cases if other.name != name}
        folder, stem = channel_folder(channel), self._stem(name)
        stored = f"{folder}/{stem}.nrrd"
        while stored in taken:
            stem = f"2 {stem}"
            stored = f"{folder}/{stem}.nrrd"
        return self.folder / stored


def another_image(case: str, channel: str, path: str | Path) -> CohortError:
    """The error for a case that has another image of a channel than the one to add; `path`: of the one it has."""
    return CohortError(
        _(
            "The case '{name}' already has another image of the channel '{channel}' ('{path}'), which is not replaced."
        ).format(name=case, channel=channel, path=path)
    )


def _with_channels(file: CohortFile, channels: tuple[str, ...]) -> CohortFile:
    known = {name: kind for name, kind in file.modalities.items() if name in (channels or ("",))}
    return replace(file, channels=channels, modalities={**modalities_by_name(channels), **known})
