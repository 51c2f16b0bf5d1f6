"""Scans that are in no cohort are labeled on a host: each goes there as voxels and geometry, and does not stay."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from ..core import BadInputError, CancelledError, SparseAnnotateError, VolumeGeometry, Watch, WorkerError
from ..core.cohort_layout import CARD_FILE
from ..core.errors import BusyError, FileWriteError
from ..core.images import read_image, write_image
from ..core.messages import _, counted
from ..core.origin import run_fingerprint
from ..core.strict_json import from_plain, to_plain, to_text
from ..remote.host_files import Content, KnownHashes, content_of
from ..remote.hosts import Host, host_named
from ..remote.requests_there import CopyingNotAllowedError, HostSession
from ..remote.ssh_errors import ConnectionLostError
from ..runs.run_folder import RunFolder
from .label_image_request import LabeledImage, LabelImageRequest
from .prediction_options import PredictionOptions
from .scan_predictor import LabeledScan

_STAGES = (1.0, 8.0, 1.0)  # of a scan: copying there, work, copying back
_SCAN, _RESULTS, _RUN = "scan", "results", "runs/run"


class HostTroubleError(WorkerError):
    """Something that the next scan would meet, too: the connection, the disk of the host, the run."""


class PredictorOnHost:
    """Labels scans on a host, one after another, with a finished run that is here.

    Args:
        host: name of a host that was set up. is_allowed: the user allows copying the scans.
        run: of this computer. options: of the predictions. device: of the host.
        scans: the files of all channels of all scans, to say what would be copied.

    Raises BadInputError, BusyError when others label scans there with this run, CopyingNotAllowedError, and
    HostTroubleError when the run cannot be used there.
    """

    def __init__(
        self,
        host: str,
        is_allowed: bool,
        run: RunFolder,
        options: PredictionOptions,
        device: str,
        scans: Sequence[Path],
        watch: Watch,
    ):
        known = host_named(host)
        if not is_allowed:
            raise CopyingNotAllowedError(first_use_sentence(known, run, scans))
        self._options, self._device = options, device
        self._run = run
        self._session = HostSession(known, is_allowed)
        # Others may label with the same run: its files are there once, and in use by one of us at a time.
        content = hashlib.sha256(f"scans {run_fingerprint(run.path)}".encode()).hexdigest()
        self._area = f"cohorts/{content[:32]}/copy"
        try:
            self._begin(run, watch)
        except BaseException:
            self.close()
            raise

    def _begin(self, run: RunFolder, watch: Watch) -> None:
        files, hashes = self._session.files, KnownHashes(None)
        watch.step(0.0, _("connecting to '{host}'").format(host=self._session.host.name))
        try:
            files.hold(self._area, watch)
        except BusyError as error:
            raise BusyError(
                _(
                    "Another window or computer is labeling scans with this run on the host '{host}', or a connection "
                    "of yours broke less than a minute ago. Wait until it has finished, then try again."
                ).format(host=self._session.host.name)
            ) from error
        # Nobody there needs to know the cases that it has learned from.
        card = replace(run.card(), cases=(), image_marks=(), voxel_marks=(), notes=())
        contents: dict[str, Content] = {f"{_RUN}/{CARD_FILE}": content_of(to_text(card, indent=2).encode("utf-8"))}
        for path in sorted([*run.path.glob("*/weights.safetensors"), *run.path.glob(f"*/{CARD_FILE}")]):
            contents[f"{_RUN}/{path.relative_to(run.path).as_posix()}"] = hashes.content(path, watch)
        self._empty()
        files.send(self._area, contents, (), tuple(contents), watch.quiet())
        self._ask((), watch.quiet())  # also says what is wrong with the options, before any scan is copied

    def predict(self, image: np.ndarray, geometry: VolumeGeometry, watch: Watch) -> LabeledScan:
        """As `ImagePredictor.predict`.

        Raises BadInputError for a scan that cannot be labeled, HostTroubleError, ConnectionLostError, CancelledError.
        """
        sending, working, fetching = (watch.stage(_STAGES, number) for number in range(3))
        try:
            with tempfile.TemporaryDirectory() as folder:
                names = self._send(image, geometry, Path(folder), sending)
                done = self._ask(names, working)
                if done.problem:
                    raise BadInputError(self._told(done.problem))
                found = self._fetch(done, geometry, Path(folder), fetching)
        except BaseException:
            with suppress(SparseAnnotateError):
                self._empty()
            raise
        self._empty()
        return LabeledScan(found["labels"], found.get("entropy"), found.get("disagreement"), done.notes)

    def _send(self, image: np.ndarray, geometry: VolumeGeometry, folder: Path, watch: Watch) -> list[str]:
        contents, hashes = {}, KnownHashes(None)
        for number, channel in enumerate(image if image.ndim == 4 else image[None]):
            path = folder / f"{number}.nrrd"
            write_image(path, channel, geometry)
            contents[f"{_SCAN}/{number}.nrrd"] = hashes.content(path, watch)
        with _trouble():
            self._session.files.send(self._area, contents, (), (), watch)
        return list(contents)

    def _ask(self, images: Sequence[str], watch: Watch) -> LabeledImage:
        files = self._session.files
        area = files.path(self._area)
        options = {one.name: getattr(self._options, one.name) for one in fields(PredictionOptions)}
        asked = LabelImageRequest(
            run=f"{area}/{_RUN}",
            output=f"{area}/{_RESULTS}",
            images=tuple(f"{area}/{name}" for name in images),
            device=self._device,
            **options,
        )
        try:
            plain = self._session.worker(watch).call("label_image", to_plain(asked), watch)
        except (CancelledError, ConnectionLostError):
            self._session.await_worker()
            raise
        except SparseAnnotateError as error:
            self._session.await_worker()
            # A process that ended may have had too little memory for this scan only.
            is_of_scan = bool(images) and not self._session.worker(watch).is_running
            raise (WorkerError if is_of_scan else HostTroubleError)(self._told(error.message)) from error
        return from_plain(plain, LabeledImage, _("the answer of '{host}'").format(host=self._session.host.name))

    def _told(self, message: str) -> str:
        """A message of the host, with its name, and with that of the run, which is not known there."""
        name = self._session.host.name
        message = message.replace("'run'", f"'{self._run.name}'")
        return message if name in message else _("On '{host}': {problem}").format(host=name, problem=message)

    def _fetch(self, done: LabeledImage, geometry: VolumeGeometry, folder: Path, watch: Watch) -> dict[str, np.ndarray]:
        files = self._session.files
        with _trouble():
            there = files.contents(self._area, [_RESULTS])
            places = {name: folder / "results" / Path(name).name for name in there}
            files.fetch(self._area, there, places, folder / "parts", watch)
        found = {}
        for kind in done.files:
            array, own = read_image(folder / "results" / f"{kind}.nrrd")
            if own.shape != geometry.shape:
                raise WorkerError(_("The host sent a result of another size than the scan."))
            found[kind] = array
        return found

    def _empty(self) -> None:
        """Remove the scan and its results there, and what of it has arrived; the host also does when we are gone."""
        files = self._session.files
        if files.holds(self._area):
            with _trouble():
                files.ask("pass_through", area=self._area, names=[_SCAN, _RESULTS])

    def close(self) -> None:
        """Leave the host."""
        with suppress(SparseAnnotateError):
            self._session.files.release(self._area)
        self._session.close()


def first_use_sentence(host: Host, run: RunFolder, scans: Sequence[Path]) -> str:
    """What labeling scans on a host would copy there, and how to allow it."""
    size = sum(path.stat().st_size for path in scans if path.is_file()) / 1e6
    return _(
        "Scans are copied to the host '{host}' only if you allow it. This would copy to the folder '{folder}' there: "
        "{scans} ({size:.1f} MB), one after another, which are removed there once they are labeled, and the models "
        "of the run '{run}' with the names of its structures. Headers that say more than how voxels lie in space, "
        "DICOM headers, and names of files and cases are not copied. To allow it, add '--allow-copying'."
    ).format(
        host=host.name,
        folder=host.folder,
        scans=counted(len(scans), _("{count} file of scans"), _("{count} files of scans")),
        size=size,
        run=run.name,
    )


@contextmanager
def _trouble() -> Iterator[None]:
    """Errors of copying concern the next scan, too."""
    try:
        yield
    except (CancelledError, ConnectionLostError, FileWriteError):
        raise
    except SparseAnnotateError as error:
        raise HostTroubleError(error.message) from error
