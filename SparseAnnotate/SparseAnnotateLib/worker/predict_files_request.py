"""The request that labels scans that are in no cohort with a finished run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from ..core import DEFAULT_DEVICE, BadInputError, CancelledError, Cohort, FileWriteError, SparseAnnotateError, Watch
from ..core.failed_cases import NAMED
from ..core.image_fingerprint import KeptFingerprint
from ..core.messages import _, counted, joined, listed
from ..core.origin import run_fingerprint
from ..core.scan_files import scans_to_label
from ..core.scan_names import scan_names
from ..remote.ssh_errors import ConnectionLostError
from ..runs.cards import RunCard
from ..runs.learned_images import ImageFacts
from ..runs.run_folder import RunFolder
from .labeling_on_host import HostTroubleError
from .prediction_options import PredictionOptions
from .prediction_warnings import DifferenceWarnings, warn_of_flips
from .results_folder import DEFAULT_FORMAT, ResultRecord, ResultsFolder, format_ending
from .scan_channels import ScanChannels
from .scan_predictor import NO_MEMORY, MakePredictor, PredictorHere, ScanPredictor

RecordOf = Callable[[Path, KeptFingerprint], ResultRecord]
"""Gives the record of a scan with this fingerprint."""
Outcome = Literal["labeled", "kept", "failed"]


@dataclass(frozen=True)
class PredictFilesRequest(PredictionOptions):
    """Label scans that are in no cohort with a finished run; each gets a label file on its own grid.

    Attributes:
        run: folder of a run or, with `cohort`, its name there.
        scans: files, folders (all images in them) and patterns. output: folder for the results.
        state: see `Cohort.open`.
        name_from: 'file': results are named after their scans; 'parent': after the folder of each scan, and of folders
            in `scans` the images in the folders directly in them are labeled, too.
        format: of the results; see `results_folder.FORMATS`.
        resume: leave out scans whose results have been made from them, by this run, with these options.
        overwrite: replace other results. Without it, an existing result is an error, before anything is labeled.
        device: such as 'auto', 'cpu', 'cuda:1'.
        channels: of scans of several channels, name to the ending of the files' names; see `CreateRequest`.
    """

    run: str
    scans: tuple[str, ...]
    output: str
    cohort: str | None = None
    state: str | None = None
    name_from: Literal["file", "parent"] = "file"
    format: str = DEFAULT_FORMAT
    resume: bool = False
    overwrite: bool = False
    device: str = DEFAULT_DEVICE
    channels: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> PredictionOptions:
        return PredictionOptions(**{one.name: getattr(self, one.name) for one in fields(PredictionOptions)})


@dataclass(frozen=True)
class ScanResult:
    """What has become of one scan.

    Attributes:
        name: of the result. scan: path of the image. path: of the label file; '' when it was not labeled.
        outcome: 'labeled', 'kept' (a result of an earlier call), or 'failed'. seconds: that labeling took.
        notes: what the user should know. problem: why it was not labeled; '' when it was.
    """

    name: str
    scan: str
    path: str
    outcome: Outcome
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class FilePredictions:
    """What a request has done: the folder of the results, label value to name, and each scan, in their order."""

    folder: str
    run: str
    labels: dict[int, str]
    scans: tuple[ScanResult, ...]


class ScansNotLabeledError(BadInputError):
    """Some scans could not be labeled; `shown` holds what has become of all of them."""

    def __init__(self, message: str, shown: FilePredictions):
        super().__init__(message)
        self.shown = shown


def predict_files(
    request: PredictFilesRequest, watch: Watch, make_predictor: MakePredictor = PredictorHere
) -> FilePredictions:
    """Label the scans one after another. One that cannot be labeled does not stop the others.

    `make_predictor`: labels them here, or elsewhere.

    Raises:
        BadInputError, RunError, CohortError, FileWriteError: before anything is labeled.
        ScansNotLabeledError: at the end. FileWriteError, ConnectionLostError, HostTroubleError: at once, because the
            other scans would fail, too.
    """
    ending = format_ending(request.format)
    run = _run_folder(request)
    card = run.card()
    watch.step(0.0, _("looking for scans"))
    from_folders = request.name_from == "parent"
    found = scans_to_label(request.scans, from_folders and not any(request.channels.values()))
    channels = ScanChannels.of(found, request.channels, card, run.name)
    paths = channels.paths
    names = scan_names(paths, from_folders, channels.stems)
    folder = ResultsFolder(Path(os.path.expanduser(request.output)).absolute(), ending)
    folder.require_apart(request.scans, paths)
    made = _records(request, run, card, channels)
    folder.require_writable()
    kept = _kept(request, folder, names, paths, made, watch)
    todo = [place for place in range(len(paths)) if place not in kept]
    results = {
        place: ScanResult(names[place], str(paths[place]), str(folder.labels_path(names[place])), "kept")
        for place in kept
    }
    if todo:
        warn_of_flips(card, run.name, request.flips)
        differences = DifferenceWarnings(card)
        differences.announce(
            [names[place] for place in todo], lambda number: channels.geometry(paths[todo[number]]), watch
        )
        files = [file for place in todo for file in channels.files(paths[place]).values() or [paths[place]]]
        predictor = make_predictor(run, request.options, request.device, files, watch)
        try:
            labeler = _Labeler(predictor, differences, folder, made, channels)
            for number, place in enumerate(todo):
                part = watch.part(number, len(todo), f"'{names[place]}': ")
                results[place] = labeler.result(names[place], paths[place], part)
        finally:
            predictor.close()
    done = FilePredictions(
        str(folder.path), run.name, dict(card.label_names), tuple(results[p] for p in range(len(paths)))
    )
    failed = [result for result in done.scans if result.outcome == "failed"]
    if failed:
        raise ScansNotLabeledError(_failed_sentence(failed, len(paths) - len(failed)), done)
    return done


class _Labeler:
    """Labels one scan after another with the same loaded run; nothing is kept of them."""

    def __init__(
        self,
        predictor: ScanPredictor,
        differences: DifferenceWarnings,
        folder: ResultsFolder,
        made: RecordOf,
        channels: ScanChannels,
    ):
        self._predictor, self._differences = predictor, differences
        self._folder, self._made, self._channels = folder, made, channels

    def result(self, name: str, path: Path, watch: Watch) -> ScanResult:
        """Raises what the next scan would meet, too, and CancelledError; other errors are part of the result."""
        start = time.monotonic()
        try:
            written, notes = self._label(name, path, watch)
        except (CancelledError, FileWriteError, ConnectionLostError, HostTroubleError):
            raise
        except SparseAnnotateError as error:
            return self._failed(name, path, error.message)
        except MemoryError:
            return self._failed(name, path, NO_MEMORY)
        return ScanResult(name, str(path), str(written), "labeled", round(time.monotonic() - start, 3), notes)

    def _failed(self, name: str, path: Path, problem: str) -> ScanResult:
        earlier = self._folder.labels_path(name)
        if earlier.is_file():
            problem = joined(" ", [problem, _("'{path}' is an earlier result.").format(path=earlier)])
        return ScanResult(name, str(path), "", "failed", problem=problem)

    def _label(self, name: str, path: Path, watch: Watch) -> tuple[Path, tuple[str, ...]]:
        watch.step(0.0, _("reading"))
        # Recorded first, so that later changes, also during the prediction, are noticed.
        made = self._made(path, KeptFingerprint((), ""))
        made = replace(made, image=made.fingerprint())
        image, geometry = self._channels.image(path)
        facts = ImageFacts.of(image if image.ndim == 3 else image[0], geometry)
        warnings = self._differences.of(name, facts)
        found = self._predictor.predict(image, geometry, watch)
        maps = {"entropy": found.entropy, "disagreement": found.disagreement}
        return self._folder.write(name, made, found.labels, geometry, maps), (*warnings, *found.notes)


def _run_folder(request: PredictFilesRequest) -> RunFolder:
    """The folder of the run. Raises BadInputError when it is another folder, CohortError."""
    if request.cohort is not None:
        return RunFolder(Cohort.open(request.cohort, request.state).run_folder(request.run))
    run = RunFolder(Path(os.path.expanduser(request.run)).absolute())
    if not run.is_started and not run.is_finished:
        raise BadInputError(
            _(
                "'{path}' is not the folder of a run. Name the folder of a run in a cohort, such as COHORT/runs/NAME, "
                "or the cohort and the name of the run."
            ).format(path=request.run)
        )
    return run


def _records(request: PredictFilesRequest, run: RunFolder, card: RunCard, channels: ScanChannels) -> RecordOf:
    content, options = run_fingerprint(run.path), request.options
    return lambda path, image: ResultRecord(
        os.path.abspath(path),
        image,
        run.name,
        content,
        options,
        dict(card.label_names),
        channels={name: os.path.abspath(file) for name, file in channels.files(path).items()},
        channel_order=channels.given if channels.is_4d else (),
    )


def _kept(
    request: PredictFilesRequest,
    folder: ResultsFolder,
    names: Sequence[str],
    paths: Sequence[Path],
    made: RecordOf,
    watch: Watch,
) -> set[int]:
    """Which scans have been labeled already. Raises BadInputError when there are results that must not be replaced."""
    existing = [place for place, name in enumerate(names) if folder.labels_path(name).exists()]
    if not request.resume:
        if existing and not request.overwrite:
            raise BadInputError(_existing_sentence(folder, [names[place] for place in existing], len(names)))
        return set()
    others: dict[str, str] = {}
    kept = set()
    for number, place in enumerate(existing):
        watch.step(0.0, _("checking results, {number} of {count}").format(number=number + 1, count=len(existing)))
        try:
            difference = folder.difference(names[place], made(paths[place], KeptFingerprint((), "")))
        except BadInputError as error:
            difference = error.message
        if difference:
            others[names[place]] = difference
        else:
            kept.add(place)
    if others and not request.overwrite:
        raise BadInputError(_others_sentence(folder, others))
    return kept


def _existing_sentence(folder: ResultsFolder, names: Sequence[str], count: int) -> str:
    files = listed([f"'{folder.labels_path(name).name}'" for name in names], NAMED)
    return counted(
        len(names),
        _(
            "{count} of the {scans} results exists already in '{folder}' ({files}). '--continue' labels the other "
            "scans only, '--overwrite' replaces it. Or choose another folder."
        ),
        _(
            "{count} of the {scans} results exist already in '{folder}' ({files}). '--continue' labels the other scans "
            "only, '--overwrite' replaces them. Or choose another folder."
        ),
        scans=count,
        folder=folder.path,
        files=files,
    )


def _others_sentence(folder: ResultsFolder, others: dict[str, str]) -> str:
    reasons = [_("'{name}': {reason}").format(name=name, reason=reason) for name, reason in others.items()]
    return counted(
        len(others),
        _(
            "{count} result in '{folder}' is not what this call would make ({reasons}). Replace it with '--continue "
            "--overwrite', or choose another folder."
        ),
        _(
            "{count} results in '{folder}' are not what this call would make ({reasons}). Replace them with "
            "'--continue --overwrite', or choose another folder."
        ),
        folder=folder.path,
        reasons=_first_of(reasons),
    )


def _failed_sentence(failed: Sequence[ScanResult], done: int) -> str:
    problems = [_("'{name}': {problem}").format(name=result.name, problem=result.problem) for result in failed]
    return counted(
        len(failed),
        _("{count} scan was not labeled (others labeled: {done}). {problems}"),
        _("{count} scans were not labeled (others labeled: {done}). {problems}"),
        done=done,
        problems=_first_of(problems, " "),
    )


def _first_of(sentences: Sequence[str], separator: str = "; ") -> str:
    more = _("And {count} more.") if separator == " " else _("and {count} more")
    others = [more.format(count=len(sentences) - NAMED)] if len(sentences) > NAMED else []
    return joined(separator, [*sentences[:NAMED], *others])
