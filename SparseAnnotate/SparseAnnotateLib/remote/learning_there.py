"""Learning on a host while slices are drawn here: what is drawn goes there within seconds, and the run comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core import BadInputError, CancelledError, Cohort, CohortError, RunError, SparseAnnotateError, Watch
from ..core.cohort_file import COHORT_FILE, Case
from ..core.errors import BusyError
from ..core.file_stamp import FileStamp, stamp_of
from ..core.messages import _, joined
from ..core.strict_json import to_plain
from ..runs.live_settings import not_learned_yet
from ..runs.plan import require_cases
from ..runs.run_folder import RunFolder
from .cohort_copy import CohortCopy, CohortFiles
from .cohort_record import RunThere, read_record
from .host_files import HostFiles
from .requests_there import HostSession, TextHere, on_host, opened, send_copy
from .run_on_host import LEFT_THERE, RunOnHost
from .ssh_errors import ConnectionLostError, ssh_problem
from .where import Needs, needs_of, require_images

_LOOK_SECONDS = 0.5
_SHARE_OF_TIME = 0.05  # for looking, where a cohort has many files or they are far away
_TRY_AGAIN_SECONDS = 5.0
_BACK_SECONDS = 30.0
_SHORT_COPY_SECONDS = 1.0
_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0)


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
        self._has_ended, self._can_be_asked = threading.Event(), threading.Event()
        self._is_lost = self._is_waiting = False
        self._copying = Watch()
        self._further: set[str] = set()
        self._there: frozenset[str] = frozenset()
        self._here: TextHere | None = None
        self._sent: frozenset[FileStamp] = frozenset()
        self._not_sent = self._not_brought_back = ""

    @property
    def path(self) -> Path:
        return self._run.folder.path

    def train(self, watch: Watch) -> dict[str, Any]:
        """Learn until cancelled; returns the run's name with its card.

        Raises CopyingNotAllowedError, RunError, WorkerError, CancelledError and what the training itself raises.
        """
        cohort = self._run.cohort
        cases = tuple(case.name for case in cohort.select(self._cases(cohort)))
        require_images("train", self._params, cohort, cases, watch.quiet())
        self._session.identity(self._run.files, cases)
        if self._run.require_ours(watch) and not self._run.known.is_live:
            raise RunError(
                _(
                    "The run '{run}' is being trained, or was trained, on the host '{host}' as a job. Choose another "
                    "name to learn while you draw."
                ).format(run=self._run.name, host=self._run.host)
            )
        failures = 0
        try:
            while True:
                try:
                    return self._learned(watch)
                except (ConnectionLostError, BusyError) as error:
                    # A process there that was cut off from here ends within a minute.
                    may_return = failures > 0 if isinstance(error, BusyError) else error.may_return
                    if watch.is_cancelled or not may_return:
                        raise self._kept_there(error) from error
                    self._wait_to_reconnect(error, failures, watch)
                    failures += 1
        finally:
            self._returning.close()

    def slice(self, params: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
        """What the model finds on a slice now; see the request `slice`. Also while it is learning.

        Raises RunError while it cannot be asked, BadInputError, ConnectionLostError, CancelledError.
        """
        cohort = opened(params)
        needs = needs_of("slice", params, cohort)
        if self._is_waiting:
            raise RunError(
                _("The host '{host}' cannot be reached now, so the run '{run}' cannot label a slice.").format(
                    host=self._run.host, run=self._run.name
                )
            )
        here = self._here
        if here is None or not self._can_be_asked.is_set():
            raise not_learned_yet(self._run.name)
        self._send_for(needs.cases[0])
        watch.check()
        with self._asking:
            try:
                there = {**params, "cohort": self._session.files.path(self._run.area), "state": None}
                result = self._session.worker(watch).call("slice", there, watch)
            except SparseAnnotateError as error:
                raise on_host(self._session.host, error, here.text) from error
            found = self._session.files.contents(self._run.area, sorted(needs.outputs))
            places = {name: cohort.state_folder / name for name in found}
            self._session.files.fetch(self._run.area, found, places, self._run.files.parts / "slices", watch)
        answer: dict[str, Any] = here.value(result)
        return answer

    # --- learning -------------------------------------------------------------------------------------------------

    def _learned(self, watch: Watch) -> dict[str, Any]:
        # Opened again: the cohort may have changed while the connection was broken.
        self._run = RunOnHost(self._session, opened(self._params), self._run.name, self._returning)
        with self._run.held(watch):
            with self._sending:
                self._begin(watch)
            there = {**self._params, "cohort": self._session.files.path(self._run.area), "state": None, "live": True}
            problem: SparseAnnotateError | None = None
            with self._handing_on():
                try:
                    self._session.worker(watch).call("train", there, watch.saying(self._reported))
                except SparseAnnotateError as error:
                    problem = error
                    # It may be in its last step, which stores the run.
                    self._session.await_worker()
            if self._is_lost and not isinstance(problem, ConnectionLostError):
                problem = ssh_problem(self._run.host, (), was_connected=True)
            if isinstance(problem, (ConnectionLostError, BusyError)):
                raise problem
            if not self._session.files.holds(self._run.area):
                # A copy that was cancelled has ended the connection that held it.
                self._session.files.hold(self._run.area, Watch())
            self._run.await_unused()
            with self._run.saying_what_is_kept():
                self._run.bring_back(Watch(), everything=True, is_ended=True, without=LEFT_THERE)
                self._run.note_brought_back()
        run = self._run.folder
        if problem is not None and not (isinstance(problem, CancelledError) and run.is_finished):
            raise on_host(self._session.host, problem, self._text_here) from problem
        return {"run": run.name, **to_plain(run.card())}

    def _begin(self, watch: Watch) -> None:
        """Copy what it learns from; a run that is there is continued, unless it was deleted here."""

        def is_same(known: RunThere) -> bool:
            return not known.files

        cohort = self._run.cohort
        mark = self._mark(cohort)
        needs, copy, self._not_sent = self._copied(
            cohort, watch, lambda needs: self._run.begin(needs, watch, is_same, is_live=True)
        )
        self._note_sent(mark, needs, copy)

    @contextmanager
    def _handing_on(self) -> Iterator[None]:
        """Copy what is drawn, and the run, while it learns."""
        self._has_ended.clear()
        self._copying, self._is_lost, self._is_waiting = Watch(), False, False
        threads = [threading.Thread(target=work, daemon=True) for work in (self._hand_on, self._bring_back)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._can_be_asked.clear()
            self._has_ended.set()
            # What is being copied is continued the next time.
            self._copying.cancel()
            for thread in threads:
                thread.join()

    def _hand_on(self) -> None:
        seconds = _LOOK_SECONDS
        while not self._has_ended.wait(seconds):
            began = time.monotonic()
            try:
                with self._sending:
                    self._not_sent = self._send_what_is_new(self._copying)
                seconds = max(_LOOK_SECONDS, (time.monotonic() - began) / _SHARE_OF_TIME)
            except CancelledError:
                return
            except ConnectionLostError:
                # Nothing that is drawn would arrive any more: begin again, with the training.
                self._is_lost = True
                self._session.worker(Watch()).kill()
                return
            except (SparseAnnotateError, OSError) as error:
                self._not_sent, seconds = _sentence(error), _TRY_AGAIN_SECONDS

    def _bring_back(self) -> None:
        while not self._has_ended.wait(_BACK_SECONDS):
            try:
                self._run.bring_back(self._copying, everything=True, without=LEFT_THERE)
                self._not_brought_back = ""
            except (CancelledError, ConnectionLostError):
                continue  # it is brought back in the end
            except (SparseAnnotateError, OSError) as error:
                self._not_brought_back = _sentence(error)

    def _send_for(self, case: str) -> None:
        """Copy what has changed here before a slice of a case is labeled; also a case that is not there yet.

        Cancelling that slice does not end the copy: with it would end the connection, and the training.
        """
        is_further = case not in self._there
        # What is large is not waited for, unless it is this case.
        if not self._sending.acquire(timeout=-1 if is_further else _SHORT_COPY_SECONDS):
            return
        try:
            self._further |= {case} if is_further else set()
            problem = self._send_what_is_new(self._copying)
            if is_further and case not in self._there:
                raise BadInputError(problem)
        finally:
            self._further &= self._there
            self._sending.release()

    def _send_what_is_new(self, watch: Watch) -> str:
        """Copy what has changed here; returns what is wrong with cases that cannot be copied."""
        cohort = opened(self._params)
        mark = self._mark(cohort)
        if mark == self._sent and self._further <= self._there:
            return self._not_sent
        needs, copy, problem = self._copied(
            cohort, watch, lambda needs: send_copy(self._session, CohortFiles(cohort), self._run.area, needs, watch)
        )
        self._note_sent(mark, needs, copy)
        return problem

    def _copied(
        self, cohort: Cohort, watch: Watch, send: Callable[[Needs], CohortCopy]
    ) -> tuple[Needs, CohortCopy, str]:
        """Copy what it learns from, and what is wrong with cases that cannot be copied: the others are learned from."""
        names = self._cases(cohort)
        try:
            needs = _needs(cohort.select(names))
            return needs, send(needs), ""
        except (BadInputError, CohortError) as error:
            if self._here is None:
                raise  # at the start it is reported, as without a host
            problem = error.message
        usable = []
        for name in names:
            with suppress(BadInputError, CohortError):
                (case,) = cohort.select([name])
                CohortFiles(cohort).copy([name], False, (), (), (), watch.quiet(), is_whole=False)
                usable.append(case)
        require_cases([case.name for case in usable], cohort.name)
        needs = _needs(usable)
        return needs, send(needs), problem

    def _note_sent(self, mark: frozenset[FileStamp], needs: Needs, copy: CohortCopy) -> None:
        self._sent, self._there = mark, frozenset(needs.cases)
        self._here = TextHere(self._session.files.path(self._run.area), self._run.cohort.state_folder, copy.images)

    def _cases(self, cohort: Cohort) -> tuple[str, ...]:
        """The cases that it learns from now, and those that were asked for, as far as the cohort has them."""
        given = tuple(map(str, self._params.get("cases") or ()))
        if given and not self._there:
            cohort.select(given)  # at first, each of them must be there
        names = [*(given or cohort.annotated_cases()), *sorted(self._there | self._further)]
        names = [name for name in names if cohort.has_case(name)]
        require_cases(names, cohort.name)
        return tuple(names)

    def _mark(self, cohort: Cohort) -> frozenset[FileStamp]:
        """What tells whether a file has changed that it learns from, or may learn from when a slice is drawn."""
        given = tuple(map(str, self._params.get("cases") or ()))
        names = [*(given or (case.name for case in cohort.cases)), *self._further]
        paths = [cohort.folder / COHORT_FILE]
        for name in filter(cohort.has_case, names):
            paths += [*cohort.annotation_files(name), cohort.drawn_on_path(name), *cohort.channel_paths(name).values()]
        found = set()
        for path in paths:
            with suppress(OSError):  # most of them need not exist
                found.add(stamp_of(path))
        return frozenset(found)

    # --- what it says ---------------------------------------------------------------------------------------------

    def _text_here(self, text: str) -> str:
        return self._here.text(text) if self._here is not None else text

    def _reported(self, text: str) -> str:
        if not self._session.worker(Watch()).has_answered:
            return text  # it waits in a queue
        self._can_be_asked.set()
        message = _("on '{host}': {progress}").format(host=self._run.host, progress=self._text_here(text))
        problems = [f"({problem})" for problem in dict.fromkeys((self._not_sent, self._not_brought_back)) if problem]
        return joined(" ", [message, *problems]) if problems else message

    def _wait_to_reconnect(self, error: SparseAnnotateError, failures: int, watch: Watch) -> None:
        self._is_waiting = True
        seconds = _WAITS[min(failures, len(_WAITS) - 1)]
        message = _("'{host}' cannot be reached; what was learned is kept there. Trying again in {seconds:.0f} s.")
        if isinstance(error, BusyError):
            message = _("The run is still in use on '{host}'. Trying again in {seconds:.0f} s.")
        until = time.monotonic() + seconds
        with suppress(CancelledError):
            watch.step(0.0, message.format(host=self._run.host, seconds=seconds))
        while time.monotonic() < until and not watch.is_cancelled:
            time.sleep(0.1)
        if watch.is_cancelled:
            raise CancelledError(self._kept_sentence())

    def _kept_there(self, error: SparseAnnotateError) -> SparseAnnotateError:
        return RunError(joined(" ", [self._text_here(error.message), self._kept_sentence()]))

    def _kept_sentence(self) -> str:
        return _(
            "What the run '{run}' has learned is kept on the host '{host}'. Start learning again, under the same name, "
            "to continue it."
        ).format(run=self._run.name, host=self._run.host)


def _needs(cases: Iterable[Case]) -> Needs:
    return Needs(tuple(case.name for case in cases), is_whole=False)


def _sentence(error: SparseAnnotateError | OSError) -> str:
    """What to show of an error that does not end the training."""
    if isinstance(error, SparseAnnotateError):
        return error.message
    return _("A file cannot be read or written ({reason}).").format(reason=error)


def learns_while_drawing(params: Mapping[str, Any]) -> bool:
    """Whether a request `train` learns while slices are being drawn, or continues a run that does.

    Raises CohortError, RunError, BadInputError.
    """
    if params.get("live"):
        return True
    cohort, name = opened(params), str(params.get("run", ""))
    record = read_record(cohort.state_folder)
    known = record.runs.get(name) if record is not None else None
    run = RunFolder(cohort.run_folder(name))
    is_left_there = known is not None and known.is_live and not known.is_brought_back
    return is_left_there or (run.is_started and run.plan().is_live)
