"""What of a cohort goes to a host for a request: images and what was drawn, under names that say nothing of here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import BadInputError, CancelledError, Cohort, FileWriteError, SparseAnnotateError, Watch
from ..core.channels import channel_folder
from ..core.cohort_file import COHORT_FILE, Case, CohortFile
from ..core.image_fingerprint import image_fingerprint
from ..core.images import IMAGE_ENDINGS
from ..core.messages import _
from ..core.strict_json import to_text
from .host_files import Content, KnownHashes, content_of
from .plain_images import is_plain, write_plain

ELSEWHERE_FOLDER = "elsewhere"  # in the cache
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.3
_NOT_OF_RUNS = ("checkpoint.safetensors", ".lock")


@dataclass(frozen=True)
class CohortCopy:
    """What an area on a host must hold for a request.

    Attributes:
        files: by path in the area, which is a cohort folder. absent: paths that must not be there.
        own: of the files, those whose content must not be shared there.
        marks: of images that were cleaned: path to the path of the file for its fingerprint, and the fingerprint here.
        inputs: case to the sha256 of each of its files, to see whether it has changed when a result comes back.
        before: the sha256 of the results that were here, by path in the area; '' for a result that was not.
        images: path in the area to the image here.
    """

    files: dict[str, Content]
    absent: tuple[str, ...]
    own: tuple[str, ...]
    marks: dict[str, tuple[str, str]]
    inputs: dict[str, dict[str, str]]
    before: dict[str, str]
    images: dict[str, Path]


class CohortFiles:
    """The files of a cohort here, as contents for a host."""

    def __init__(self, cohort: Cohort):
        self.cohort = cohort
        self._folder = cohort.cache_folder / ELSEWHERE_FOLDER
        self.hashes = KnownHashes(self._folder / "hashes.json")

    @property
    def parts(self) -> Path:
        """Where what comes back is kept until it has arrived as a whole: on the disk where it goes then."""
        return self.cohort.state_folder / "cache" / ELSEWHERE_FOLDER / "incoming"

    def size_of_images(self, names: Iterable[str]) -> int:
        """Bytes of the images of these cases, without reading them."""
        paths = {path for name in names for path in self.cohort.channel_paths(name).values()}
        return sum(path.stat().st_size for path in paths if path.is_file())

    def not_to_send(self, names: Iterable[str], watch: Watch) -> dict[str, SparseAnnotateError]:
        """The error of each of these cases whose images cannot be read, so that `copy` would raise it.

        Raises FileWriteError, CancelledError.
        """
        found: dict[str, SparseAnnotateError] = {}
        for name in names:
            try:
                self.cohort.geometry(name)
                for channel in self.cohort.channel_paths(name):
                    self._image(name, channel, watch)
            except (CancelledError, FileWriteError):
                raise
            except SparseAnnotateError as error:
                found[name] = error
        self.hashes.keep()  # for `copy`, which would read all images once more
        return found

    def copy(
        self,
        image_cases: Iterable[str],
        with_fills: bool,
        runs: Iterable[str],
        predictions: Iterable[str],
        outputs: Iterable[str],
        watch: Watch,
        is_whole: bool = True,
    ) -> CohortCopy:
        """What goes to a host.

        Args:
            image_cases: cases whose images are needed. with_fills: also their fills.
            runs: names of finished runs. predictions: names of runs whose stored predictions are needed.
            outputs: paths in the state folder that the request will write, and that must not be there before.
            is_whole: the copy has all cases of the cohort, those without an image, too; otherwise the `image_cases`.

        Raises BadInputError when a file cannot be read, CancelledError.
        """
        cohort, needed = self.cohort, list(dict.fromkeys(image_cases))
        files: dict[str, Content] = {}
        absent: list[str] = []
        marks: dict[str, tuple[str, str]] = {}
        images: dict[tuple[str, str], str] = {}
        originals: dict[str, Path] = {}
        outputs = tuple(outputs)
        for number, name in enumerate(needed):
            watch.step(number / len(needed), _("examining '{case}'").format(case=name))
            for channel in cohort.channel_paths(name):
                place, content, mark = self._image(name, channel, watch)
                images[name, channel] = place
                originals[place] = cohort.channel_paths(name)[channel]
                files[place] = content
                if mark:
                    marks[place] = self._memo(name, channel), mark
        known = [case for case in cohort.cases if is_whole or case.name in needed]
        inputs: dict[str, dict[str, str]] = {}
        for case in known:
            paths = [*cohort.annotation_files(case.name), cohort.drawn_on_path(case.name)]
            if with_fills and case.name in needed:
                paths += [cohort.fill_path(case.name), cohort.fill_confidence_path(case.name)]
            if case.name in needed:
                paths += [cohort.prediction_path(run, case.name) for run in predictions]
                paths += [cohort.uncertainty_path(run, case.name, "confidence") for run in predictions]
            found = self._add_existing(paths, files, absent, watch, case.name if case.name in needed else "")
            if found:
                inputs[case.name] = found
        for run in runs:
            self._add_existing(self._files_of_run(run), files, absent, watch)
        absent += [path for path in outputs if path not in files]
        files[COHORT_FILE] = content_of(to_text(self._neutral_file(known, images), indent=2).encode("utf-8"))
        self.hashes.keep()
        own = [path for path in files if path.startswith("runs/") or path in marks]
        before = {path: self.sha(path) for path in outputs}
        return CohortCopy(files, tuple(absent), tuple(own), marks, inputs, before, originals)

    def sha(self, path: str) -> str:
        """The sha256 of a file in the state folder, named as in an area; '' when there is none."""
        place = self.cohort.state_folder / path
        return self.hashes.content(place).sha if place.is_file() else ""

    def inputs(self, name: str, watch: Watch | None = None) -> dict[str, str]:
        """The sha256 of the files that a result of a case is made from, by path."""
        paths = [*self.cohort.channel_paths(name).values(), *self.cohort.annotation_files(name)]
        return {str(path): self.hashes.content(path, watch).sha for path in paths if path.is_file()}

    def in_state(self, path: Path) -> str:
        """A path in the state folder as it is named in an area."""
        return path.relative_to(self.cohort.state_folder).as_posix()

    def run_files(self, run: str, watch: Watch) -> dict[str, Content]:
        """All files of a run here, with its checkpoints, for going on with it on a host."""
        folder = self.cohort.run_folder(run)
        paths = (
            sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
            if folder.is_dir()
            else []
        )
        return {self.in_state(path): self.hashes.content(path, watch) for path in paths}

    def _files_of_run(self, run: str) -> list[Path]:
        folder = self.cohort.run_folder(run)
        found = [*folder.glob("*"), *folder.glob("*/weights.safetensors"), *folder.glob("*/card.json")]
        return sorted(path for path in found if path.is_file() and path.name not in _NOT_OF_RUNS)

    def _add_existing(
        self, paths: Iterable[Path], files: dict[str, Content], absent: list[str], watch: Watch, case: str = ""
    ) -> dict[str, str]:
        """Add files that belong together, as they all are at one moment; returns the `inputs` of a case then.

        Raises BadInputError when there is no such moment.
        """
        paths = list(paths)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            found = self._existing(paths, watch)
            inputs = self.inputs(case, watch) if case else {}
            if self._existing(paths, watch) == found:
                break
        else:
            raise _keeps_changing(paths[0])
        files.update({self.in_state(path): content for path, content in found.items()})
        absent += [self.in_state(path) for path in paths if path not in found]
        return inputs

    def _existing(self, paths: Iterable[Path], watch: Watch) -> dict[Path, Content]:
        return {path: self.hashes.content(path, watch) for path in paths if path.is_file()}

    def _image(self, name: str, channel: str, watch: Watch) -> tuple[str, Content, str]:
        """Where an image goes, its content, and the fingerprint of the original where the content is another one."""
        cohort = self.cohort
        path = cohort.channel_paths(name)[channel]
        is_first = channel == (cohort.channels or ("",))[0] or cohort.case(name).is_4d
        place = f"{'images' if is_first else channel_folder(channel)}/{cohort.fill_path(name).stem}"
        if is_plain(path):
            ending = next(ending for ending in IMAGE_ENDINGS if path.name.lower().endswith(ending))
            return f"{place}{ending}", self.hashes.content(path, watch), ""
        memo = cohort.cache_folder / self._memo(name, channel).removeprefix("cache/")
        for _attempt in range(_ATTEMPTS):
            mark = image_fingerprint(path, memo)
            plain = self._folder / "plain" / f"{mark}.nrrd"
            if plain.is_file():
                return f"{place}.nrrd", self.hashes.content(plain, watch), mark
            write_plain(cohort, name, channel, plain)
            if image_fingerprint(path, memo) == mark:
                return f"{place}.nrrd", self.hashes.content(plain, watch), mark
            plain.unlink()  # of an image that changed while it was read
        raise _keeps_changing(path)

    def _memo(self, name: str, channel: str) -> str:
        """Where `Cohort.image_fingerprint` keeps the fingerprint of an image, as it is named in an area."""
        stem = self.cohort.fill_path(name).stem
        channels = list(self.cohort.channel_paths(name))
        is_first = channel == channels[0] or self.cohort.case(name).is_4d
        return f"cache/marks/{stem}.json" if is_first else f"cache/marks/channel {channel}/{stem}.json"

    def _neutral_file(self, cases: Iterable[Case], images: Mapping[tuple[str, str], str]) -> CohortFile:
        """cohort.json as it is there: no name of the cohort, no path of here, no references."""
        cohort = self.cohort
        first = (cohort.channels or ("",))[0]

        def neutral(case: Case) -> Case:
            image = images.get((case.name, first)) or f"images/{cohort.fill_path(case.name).stem}"
            further = {c: place for c in case.further if (place := images.get((case.name, c))) is not None}
            return Case(case.name, image, None, further, case.is_4d)

        return replace(cohort.file, name="cohort", cases=tuple(neutral(case) for case in cases))


def _keeps_changing(path: Path) -> BadInputError:
    return BadInputError(
        _("The file '{path}' keeps changing while it is read. Try again when it has been written.").format(path=path)
    )
