"""Learning on a host while slices are drawn here: what is drawn goes there within seconds, and the run comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core import CancelledError, Cohort, RunError, SparseAnnotateError, Watch
from ..core.cohort_file import COHORT_FILE
from ..core.errors import BusyError
from ..core.file_stamp import FileStamp, stamp_of
from ..core.messages import _, joined
from ..core.strict_json import to_plain
from ..runs.live_settings import not_learned_yet
from ..runs.plan import require_cases
from ..runs.run_folder import RunFolder
from .cohort_copy import CohortFiles
from .cohort_record import RunThere
from .host_files import HostFiles
from .requests_there import HostSession, TextHere, on_host, opened, send_copy
from .run_on_host import RunOnHost
from .ssh_errors import ConnectionLostError
from .where import Needs, needs_of, require_images

_LOOK_SECONDS = 0.5
_TRY_AGAIN_SECONDS = 5.0
_BACK_SECONDS = 30.0
_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0)
_LEFT_THERE = ("labels",)  # arrays of what is learned from, while it is


class LearningThere:
    """A run that learns on the host of a session, from slices that are being drawn here.

    The cohort's files are looked at twice a second, and those that have changed are copied. The run is copied back
    every half a minute, and when it ends; a connection that breaks is made again.

    Args:
        params: of the request `train`.

    Attributes:
        path: of the run's folder here.
    """

    def __init__(self, session: HostSession, params: Mapping[str, Any]):
        self._session, self._params = session, params
        self._returning = HostFiles(session.host)  # what is large must not delay an answer
        self._run = RunOnHost(session, opened(params), str(params.get("run", "")), self._returning)
        self._sending, self._asking = threading.Lock(), threading.Lock()
        self._has_ended, self._is_connected = threading.Event(), threading.Event()
        self._further: set[str] = set()
        self._there: frozenset[str] = frozenset()
        self._images: dict[str, Path] = {}
        self._sent: frozenset[FileStamp] = frozenset()
        self._problem = ""

    @property
    def path(self) -> Path:
        return self._run.folder.path

    def train(self, watch: Watch) -> dict[str, Any]:
        """Learn until cancelled; returns the run's name with its card.

        Raises CopyingNotAllowedError, RunError, WorkerError, CancelledError and what the training itself raises.
        """
        cohort = self._run.cohort
        cases = self._cases(cohort)
        require_images("train", self._params, cohort, cases, watch.quiet())
        self._session.identity(self._run.files, cases)
        self._run.require_ours(watch)
        failures = 0
        try:
            while True:
                try:
                    return self._learned(watch)
                except (ConnectionLostError, BusyError) as error:
                    may_return = error.may_return if isinstance(error, ConnectionLostError) else failures > 0
                    if watch.is_cancelled or not may_return:
                        raise self._kept_there(error) from error
                    self._wait_to_reconnect(failures, watch)
                    failures += 1
        finally:
            self._returning.close()

    def slice(self, params: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
        """What the model finds on a slice now; see the request `slice`. Also while it is learning.

        Raises RunError while it cannot be asked, BadInputError, ConnectionLostError.
        """
        cohort = opened(params)
        needs = needs_of("slice", params, cohort)
        if not self._is_connected.is_set():
            raise not_learned_yet(self._run.name)
        self._send_what_is_new(needs.cases[0])
        area = self._session.files.path(self._run.area)
        told = TextHere(area, cohort.state_folder, self._images)
        with self._asking:
            try:
                there = {**params, "cohort": area, "state": None}
                result = self._session.worker(watch).call("slice", there, watch)
            except SparseAnnotateError as error:
                raise on_host(self._session.host, error, told.text) from error
            found = self._session.files.contents(self._run.area, sorted(needs.outputs))
            places = {name: cohort.state_folder / name for name in found}
            self._session.files.fetch(self._run.area, found, places, self._run.files.parts / "slices", watch)
        answer: dict[str, Any] = told.value(result)
        return answer

    # --- learning -------------------------------------------------------------------------------------------------

    def _learned(self, watch: Watch) -> dict[str, Any]:
        area = self._session.files.path(self._run.area)
        with self._run.held(watch):
            with self._sending:
                self._begin(watch)
            told = TextHere(area, self._run.cohort.state_folder, self._images)
            there = {**self._params, "cohort": area, "state": None, "live": True}
            problem: SparseAnnotateError | None = None
            with self._handing_on(watch):
                try:
                    self._session.worker(watch).call("train", there, _NamingWatch(watch, self._told))
                except SparseAnnotateError as error:
                    problem = error
                    # It may be in its last step, which stores the run.
                    self._session.await_worker()
            if isinstance(problem, ConnectionLostError):
                raise problem
            with self._run.saying_what_is_kept():
                self._run.bring_back(Watch(), everything=True, is_ended=True, without=_LEFT_THERE)
                self._run.note_brought_back()
        run = self._run.folder
        if problem is not None and not (isinstance(problem, CancelledError) and run.is_finished):
            raise on_host(self._session.host, problem, told.text) from problem
        return {"run": run.name, **to_plain(run.card())}

    def _begin(self, watch: Watch) -> None:
        """Copy what it learns from; a run that is there is continued, unless it was deleted here."""

        def is_same(known: RunThere) -> bool:
            return not known.files

        sent, needs = self._mark(self._run.cohort), self._needs(self._run.cohort)
        copy = self._run.begin(needs, watch, is_same)
        self._sent, self._there, self._images = sent, frozenset(needs.cases), copy.images

    @contextmanager
    def _handing_on(self, watch: Watch) -> Iterator[None]:
        """Copy what is drawn, and the run, while it learns."""
        self._has_ended.clear()
        threads = [threading.Thread(target=work, daemon=True) for work in (self._hand_on, self._bring_back)]
        for thread in threads:
            thread.start()
        self._is_connected.set()
        try:
            yield
        finally:
            self._is_connected.clear()
            self._has_ended.set()
            for thread in threads:
                thread.join()

    def _hand_on(self) -> None:
        seconds = _LOOK_SECONDS
        while not self._has_ended.wait(seconds):
            seconds = _LOOK_SECONDS
            try:
                self._send_what_is_new()
                self._problem = ""
            except ConnectionLostError:
                return  # the request for the training ends, too
            except SparseAnnotateError as error:
                self._problem, seconds = error.message, _TRY_AGAIN_SECONDS

    def _bring_back(self) -> None:
        while not self._has_ended.wait(_BACK_SECONDS):
            try:
                self._run.bring_back(Watch(), everything=True, without=_LEFT_THERE)
            except ConnectionLostError:
                continue  # it is brought back in the end
            except SparseAnnotateError as error:
                self._problem = error.message

    def _send_what_is_new(self, case: str = "") -> None:
        """Copy what has changed here, and a further case that is asked for."""
        if case and case not in self._there:
            self._further.add(case)
        elif case and self._sending.locked():
            return  # it is being copied
        with self._sending:
            cohort = opened(self._params)
            mark = self._mark(cohort)
            if mark == self._sent and self._further <= self._there:
                return
            needs = self._needs(cohort)
            copy = send_copy(self._session, CohortFiles(cohort), self._run.area, needs, Watch())
            self._sent, self._there, self._images = mark, frozenset(needs.cases), copy.images

    def _needs(self, cohort: Cohort) -> Needs:
        return Needs(self._cases(cohort), is_whole=False)

    def _cases(self, cohort: Cohort) -> tuple[str, ...]:
        """The cases that it learns from now, and those that were asked for."""
        given = tuple(map(str, self._params.get("cases") or ()))
        known = {case.name for case in cohort.cases}
        names = [*(given or cohort.annotated_cases()), *((self._there | self._further) & known)]
        require_cases(names, cohort.name)
        return tuple(case.name for case in cohort.select(names))

    def _mark(self, cohort: Cohort) -> frozenset[FileStamp]:
        """What tells whether a file has changed that it learns from, or may learn from when a slice is drawn."""
        names = [*(self._params.get("cases") or (case.name for case in cohort.cases)), *self._further]
        paths = [cohort.state_folder / COHORT_FILE]
        for name in names:
            paths += [*cohort.annotation_files(name), cohort.drawn_on_path(name), *cohort.channel_paths(name).values()]
        found = set()
        for path in paths:
            with suppress(OSError):  # most of them need not exist
                found.add(stamp_of(path))
        return frozenset(found)

    # --- what it says ---------------------------------------------------------------------------------------------

    def _told(self, text: str) -> str:
        problem = f"({self._problem})" if self._problem else ""
        told = _("on '{host}': {progress}").format(host=self._run.host, progress=text)
        return joined(" ", [told, problem]) if problem else told

    def _wait_to_reconnect(self, failures: int, watch: Watch) -> None:
        seconds = _WAITS[min(failures, len(_WAITS) - 1)]
        message = _("'{host}' cannot be reached; what was learned is kept there. Trying again in {seconds:.0f} s.")
        until = time.monotonic() + seconds
        with suppress(CancelledError):
            watch.step(0.0, message.format(host=self._run.host, seconds=seconds))
        while time.monotonic() < until and not watch.is_cancelled:
            time.sleep(0.1)
        if watch.is_cancelled:
            raise CancelledError(self._kept_sentence())

    def _kept_there(self, error: SparseAnnotateError) -> SparseAnnotateError:
        return RunError(joined(" ", [error.message, self._kept_sentence()]))

    def _kept_sentence(self) -> str:
        return _(
            "What the run '{run}' has learned is kept on the host '{host}'. Learn under the same name again to "
            "continue it."
        ).format(run=self._run.name, host=self._run.host)


class _NamingWatch(Watch):
    """Passes on reports with changed messages, and cancelling."""

    def __init__(self, whole: Watch, told: Callable[[str], str]):
        super().__init__()
        self._whole, self._told = whole, told

    @property
    def is_cancelled(self) -> bool:
        return self._whole.is_cancelled

    def check(self) -> None:
        """See `Watch.check`."""
        self._whole.check()

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        """See `Watch.step`."""
        self._whole.step(fraction, self._told(message), seconds_left, **metrics)


def learns_while_drawing(params: Mapping[str, Any]) -> bool:
    """Whether a request `train` learns while slices are being drawn, or continues a run that does.

    Raises CohortError, RunError, BadInputError.
    """
    if params.get("live"):
        return True
    run = RunFolder(opened(params).run_folder(str(params.get("run", ""))))
    return run.is_started and run.plan().is_live
