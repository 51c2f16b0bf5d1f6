"""Training on a host: a job there, which outlives this computer's connection, and whose run comes back here."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..core import CancelledError, RunError, SparseAnnotateError, Watch, WorkerError
from ..core.errors import BusyError, FileWriteError
from ..core.messages import _, joined
from ..core.strict_json import from_plain, to_plain
from ..runs.job_states import JobState, SubmittedJob
from .cohort_record import RunThere
from .requests_there import HostSession, on_host, opened
from .run_on_host import RunOnHost
from .ssh_errors import ConnectionLostError
from .where import Needs, require_images, training_cases

_ASK_SECONDS = (1.0, 5.0)  # at first, and after a while
_FIRST_SECONDS = 60.0
_METRICS_SECONDS = 10.0
_CHECKPOINT_SECONDS = 600.0
_SOON_SECONDS = 3.0
_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
_CANCEL_SECONDS = 900.0
_LOOK_SECONDS = 0.1
_OWN_FIELDS = ("cohort", "state", "run", "live")


class TrainingThere:
    """One training of a cohort on the host of a session.

    Args:
        is_leaving: True once this process is about to end: the job then goes on, and a later request finds it.
    """

    def __init__(self, session: HostSession, params: Mapping[str, Any], is_leaving: Callable[[], bool]):
        self._session, self._params, self._is_leaving = session, params, is_leaving
        self._on_host = RunOnHost(session, opened(params), str(params.get("run", "")))
        self._cohort, self._run = self._on_host.cohort, self._on_host.folder
        self._wants_cancel = threading.Event()
        self._has_ended = threading.Event()

    @property
    def _host(self) -> str:
        return self._session.host.name

    def train(self, watch: Watch) -> dict[str, Any]:
        """Train there, or go on with a training that was begun there; returns the run's name with its card.

        Raises CopyingNotAllowedError, RunError, WorkerError, CancelledError and what the training itself raises.
        """
        if not self._on_host.is_left_there:
            self._run.require_unfinished()
        threading.Thread(target=self._await_cancel, args=(watch,), daemon=True).start()
        try:
            return self._trained(watch)
        finally:
            self._has_ended.set()

    def _trained(self, watch: Watch) -> dict[str, Any]:
        self._on_host.take_back(watch)
        if self._on_host.known.cancel_wanted:
            self._wants_cancel.set()
        job = self._found(watch)
        if job is None:
            self._run.require_unfinished()
            self._wants_cancel.clear()
            self._remember_cancel(False)
            job = self._submitted(watch)
        state = self._followed(job, watch)
        with self._on_host.saying_what_is_kept():
            self._on_host.bring_back(watch if not watch.is_cancelled else Watch(), everything=True, is_ended=True)
        if self._wants_cancel.is_set():
            self._forget_cancel()
        if state.state == "cancelled" or watch.is_cancelled:
            raise CancelledError(_("Cancelled. The last checkpoint was kept."))
        if state.state == "failed":
            reason = state.message or _("It gave no reason; its log on that host is '{log}'.").format(log=state.log)
            raise RunError(
                _("The training of '{run}' on the host '{host}' failed. {reason}").format(
                    run=self._run.name, host=self._host, reason=reason
                )
            )
        card = self._run.card()
        with self._on_host.saying_what_is_kept():
            self._on_host.note_brought_back()
        return {"run": self._run.name, **to_plain(card)}

    def _await_cancel(self, watch: Watch) -> None:
        """Keep that the training is to be cancelled, until the host has been told; leaving is no cancelling."""
        while not self._has_ended.wait(_LOOK_SECONDS):
            if watch.is_cancelled:
                if not self._is_leaving():
                    self._wants_cancel.set()
                    with suppress(SparseAnnotateError):
                        self._remember_cancel(True)
                return

    def _remember_cancel(self, is_wanted: bool) -> None:
        known = self._on_host.remembered
        if known is not None and known.host == self._host and known.cancel_wanted != is_wanted:
            self._on_host.remember(lambda run: replace(run, cancel_wanted=is_wanted))

    def _forget_cancel(self) -> None:
        with suppress(BusyError):  # it is of no use for a job that has ended, and a new one forgets it
            self._remember_cancel(False)

    # --- finding and submitting -----------------------------------------------------------------------------------

    def _found(self, watch: Watch) -> str | None:
        """The job that trains the run, or has trained it and was not brought back; None when there is none."""
        if not self._on_host.require_ours(watch):
            return None
        states = [state for state in self._states(watch) if state.what == "train" and state.run == self._run.name]
        if not states or not (states[-1].is_live or states[-1].state == "finished"):
            return None
        chosen = self._choice()
        known = self._on_host.known
        is_other = bool(chosen and known.choice and chosen != known.choice)
        if is_other or not (self._run.path.is_dir() or self._is_same(known, watch)):
            raise RunError(
                _(
                    "A run '{run}' is being trained or was trained on the host '{host}' with other settings, cases or "
                    "drawn slices, and has not been copied back. Train it with the same ones to reconnect, or choose "
                    "another name."
                ).format(run=self._run.name, host=self._host)
            )
        return states[-1].id

    def _choice(self) -> str:
        """A fingerprint of what was chosen for the training; '' when a run is only to go on."""
        chosen = {name: value for name, value in self._params.items() if name not in _OWN_FIELDS and value}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest() if chosen else ""

    def _inputs(self, watch: Watch) -> str:
        """A fingerprint of what the training is made from."""
        found = {case: self._on_host.files.inputs(case, watch) for case in training_cases(self._params, self._cohort)}
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def _is_same(self, known: RunThere, watch: Watch) -> bool:
        return (known.choice, known.inputs) == (self._choice(), self._inputs(watch))

    def _submitted(self, watch: Watch) -> str:
        """Copy what the training needs, and submit it; returns the job."""
        cases = training_cases(self._params, self._cohort)
        require_images("train", self._params, self._cohort, cases, watch.quiet())
        self._session.identity(self._on_host.files, cases)
        needs = Needs(cases, with_fills=True, is_whole=False)
        request = {name: value for name, value in self._params.items() if name not in ("cohort", "state", "live")}
        asked = {"cohort": self._session.files.path(self._on_host.area), "what": "train", "request": request}

        def is_same(known: RunThere) -> bool:
            return self._is_same(known, watch)

        choice, inputs = self._choice(), self._inputs(watch)
        with self._on_host.held(watch):
            self._on_host.begin(needs, watch.stage((1.0, 20.0), 0), is_same, choice, inputs)
            answer = self._ask("submit", {**asked, **self._session.host.submission}, watch)
        job: SubmittedJob = from_plain(answer, SubmittedJob, _("the answer of the host"))
        watch.step(0.0, self._told(job.message or _("submitted")))
        return job.id

    def _states(self, watch: Watch | None, *ids: str) -> list[JobState]:
        params = {"cohort": self._session.files.path(self._on_host.area), "ids": list(ids)}
        found: list[JobState] = from_plain(
            self._ask("jobs", params, watch), list[JobState], _("the answer of the host")
        )
        return found

    def _ask(self, method: str, params: Mapping[str, Any], watch: Watch | None) -> Any:
        try:
            return self._session.job_worker(watch or Watch()).call(method, params, watch)
        except ConnectionLostError:
            raise
        except SparseAnnotateError as error:
            raise on_host(self._session.host, error) from error

    # --- following ------------------------------------------------------------------------------------------------

    def _followed(self, job: str, watch: Watch) -> JobState:
        """The state of a job at its end. A connection that breaks is made again."""
        begun = time.monotonic()
        # Soon after the start, so that the run is in the list here when this process ends.
        fetched, checkpointed = begun - _METRICS_SECONDS + _SOON_SECONDS, begun
        is_cancelling = False
        last = 0.0
        failures = 0
        while True:
            now = time.monotonic()
            try:
                # A cancelled request must not cancel the question whether the job has ended.
                (state,) = self._states(None, job)
                failures = 0
                if state.is_live and now - fetched > _METRICS_SECONDS:
                    fetched = now
                    everything = now - checkpointed > _CHECKPOINT_SECONDS
                    with suppress(CancelledError, BusyError):  # another process changes the folder here: the next time
                        self._on_host.bring_back(watch.quiet() if not is_cancelling else Watch(), everything)
                        checkpointed = now if everything else checkpointed
            except ConnectionLostError as error:
                if is_cancelling or self._wants_cancel.is_set() or not error.may_return:
                    raise self._still_there(error) from error
                self._wait_to_reconnect(error, failures, last, watch)
                failures += 1
                continue
            except (FileWriteError, WorkerError) as error:
                raise self._still_there(error) from error
            except RunError as error:
                raise RunError(joined(" ", [error.message, _("The training continues there.")])) from error
            if not state.is_live:
                return state
            last = state.fraction
            if not watch.is_cancelled:
                with suppress(CancelledError):
                    watch.step(last, self._progress(state), state.seconds_left, **_figures(state))
            is_late = now - begun > _FIRST_SECONDS and not is_cancelling
            if not self._wants_cancel.is_set():
                self._pause(_ASK_SECONDS[is_late], watch if not is_cancelling else None)
            elif is_cancelling:
                self._pause(_ASK_SECONDS[0], None)
            if (watch.is_cancelled or self._wants_cancel.is_set()) and not is_cancelling:
                self._leave_if_asked()
                is_cancelling = True
                self._tell_to_cancel(job, last, watch)
                begun = now
            if is_cancelling and now - begun > _CANCEL_SECONDS:
                return replace(state, state="cancelled")

    def _tell_to_cancel(self, job: str, last: float, watch: Watch) -> None:
        with suppress(CancelledError):
            watch.step(last, _("cancelling on '{host}'").format(host=self._host))
        try:
            self._ask("cancel_jobs", {"cohort": self._session.files.path(self._on_host.area), "ids": [job]}, None)
        except WorkerError as error:
            raise self._still_there(error) from error
        self._forget_cancel()
        if self._is_leaving():
            raise CancelledError(_("Cancelled on '{host}'.").format(host=self._host))

    def _progress(self, state: JobState) -> str:
        if state.state == "waiting":
            return self._told(_("waiting in Slurm's queue") if state.engine == "slurm" else _("waiting to start"))
        return self._told(state.progress or _("starting"))

    def _told(self, text: str) -> str:
        return _("on '{host}': {progress}").format(host=self._host, progress=text)

    def _wait_to_reconnect(self, error: ConnectionLostError, failures: int, last: float, watch: Watch) -> None:
        seconds = _WAITS[min(failures, len(_WAITS) - 1)]
        message = _("The training continues on '{host}', which cannot be reached. Trying again in {seconds:.0f} s.")
        with suppress(CancelledError):
            watch.step(last, message.format(host=self._host, seconds=seconds))
        self._pause(seconds, watch)
        if watch.is_cancelled:
            self._leave_if_asked()
            raise self._still_there(error)

    def _still_there(self, error: SparseAnnotateError) -> WorkerError:
        remark = _("The training of '{run}' continues there. Train it again under the same name to reconnect.")
        if self._wants_cancel.is_set():
            with suppress(SparseAnnotateError):
                self._remember_cancel(True)
            remark = _(
                "The training of '{run}' could not be cancelled and may continue there. Train it again under the same "
                "name: this cancels it as soon as the host can be reached."
            )
        return WorkerError(joined(" ", [error.message, remark.format(run=self._run.name)]))

    def _leave_if_asked(self) -> None:
        if self._is_leaving() and not self._wants_cancel.is_set():
            raise CancelledError(
                _(
                    "The training of '{run}' continues on '{host}'. Train it again under the same name to reconnect."
                ).format(run=self._run.name, host=self._host)
            )

    @staticmethod
    def _pause(seconds: float, watch: Watch | None) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (watch is not None and watch.is_cancelled):
            time.sleep(0.1)


def _figures(state: JobState) -> dict[str, float]:
    names = ("loss", "validation_dice")
    return {n: float(v) for n, v in (state.metrics or {}).items() if n in names and isinstance(v, (int, float))}
