"""Training on a host: a job there, which outlives this computer's connection, and whose run comes back here."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import CancelledError, RunError, SparseAnnotateError, Watch, WorkerError
from ..core.case_names import file_stem
from ..core.messages import _, joined
from ..core.strict_json import from_plain, to_plain
from ..runs.job_states import JobState, SubmittedJob
from ..runs.run_folder import RunFolder
from .cohort_copy import CohortFiles
from .cohort_record import RunThere, new_token, read_record, record_of, write_record
from .host_files import content_of
from .requests_there import HostSession, on_host, opened, send_copy
from .ssh_errors import ConnectionLostError
from .where import Needs, training_cases

_TOKEN = "token"
_ASK_SECONDS = (1.0, 5.0)  # at first, and after a while
_FIRST_SECONDS = 60.0
_METRICS_SECONDS = 10.0
_CHECKPOINT_SECONDS = 600.0
_SOON_SECONDS = 3.0
_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
_CANCEL_SECONDS = 900.0
_LARGE_BYTES = 1 << 20


class TrainingThere:
    """One training of a cohort on the host of a session.

    Args:
        is_leaving: True once this process is about to end: the job then goes on, and a later request finds it.
    """

    def __init__(self, session: HostSession, params: Mapping[str, Any], is_leaving: Callable[[], bool]):
        self._session, self._params, self._is_leaving = session, params, is_leaving
        self._cohort = opened(params)
        self._files = CohortFiles(self._cohort)
        self._run = RunFolder(self._cohort.run_folder(str(params.get("run", ""))))
        self._record = record_of(self._cohort.state_folder)
        self._area = f"cohorts/{self._record.identity}/training-{file_stem(self._run.name)}"

    @property
    def _host(self) -> str:
        return self._session.host.name

    def train(self, watch: Watch) -> dict[str, Any]:
        """Train there, or go on with a training that was begun there; returns the run's name with its card.

        Raises CopyingNotAllowedError, RunError, WorkerError, CancelledError and what the training itself raises.
        """
        self._run.require_unfinished()
        job = self._found(watch)
        if job is None:
            job = self._submitted(watch)
        state = self._followed(job, watch)
        self._bring_back(watch if not watch.is_cancelled else Watch(), everything=True)
        if state.state == "cancelled" or watch.is_cancelled:
            raise CancelledError(_("Cancelled. The last checkpoint was kept."))
        if state.state == "failed":
            reason = state.message or _("It gave no reason; its log is '{log}'.").format(log=state.log)
            raise RunError(
                _("The training of '{run}' on the host '{host}' failed. {reason}").format(
                    run=self._run.name, host=self._host, reason=reason
                )
            )
        card = self._run.card()
        self._remember(lambda known: replace(known, is_brought_back=True))
        with suppress(SparseAnnotateError):
            self._session.files.ask("brought_back", area=self._area)
        return {"run": self._run.name, **to_plain(card)}

    # --- finding and submitting -----------------------------------------------------------------------------------

    def _found(self, watch: Watch) -> str | None:
        """The job that trains the run, or has trained it and was not brought back; None when there is none."""
        known = self._record.runs.get(self._run.name)
        if known is not None and known.host != self._host and not known.is_brought_back:
            raise RunError(
                _(
                    "The run '{run}' is being trained on the host '{host}'. Compute on this host to reconnect to it, "
                    "or choose another name."
                ).format(run=self._run.name, host=known.host)
            )
        token = self._session.files.ask("read", watch, area=self._area, name=_TOKEN)
        if token is None:
            return None
        if known is None or base64.b64decode(token).decode() != known.token:
            raise RunError(
                _("Another copy of this cohort trains a run '{run}' on the host '{host}'. Choose another name.").format(
                    run=self._run.name, host=self._host
                )
            )
        states = [state for state in self._states(watch) if state.what == "train" and state.run == self._run.name]
        if states and (states[-1].is_live or states[-1].state == "finished"):
            return states[-1].id
        return None

    def _submitted(self, watch: Watch) -> str:
        """Copy what the training needs, and submit it; returns the job."""
        cases = training_cases(self._params, self._cohort)
        self._session.identity(self._files, cases)
        known = self._record.runs.get(self._run.name)
        token = known.token if known is not None and known.host == self._host else new_token()
        run_files = self._files.run_files(self._run.name, watch)
        sent = {name: content.sha for name, content in run_files.items()}
        if known is not None and known.host == self._host and sent == known.files:
            run_files = {}  # there they may be newer
        further = {**run_files, _TOKEN: content_of(token.encode())}
        self._session.files.hold(self._area, watch)
        try:
            needs = Needs(cases, with_fills=True, is_whole=False)
            send_copy(self._session, self._files, self._area, needs, watch.stage((1.0, 20.0), 0), further)
            self._remember(lambda _known: RunThere(self._host, token, sent))
            request = {name: value for name, value in self._params.items() if name not in ("cohort", "state", "live")}
            asked = {"cohort": self._session.files.path(self._area), "what": "train", "request": request}
            answer = self._ask("submit", {**asked, **self._session.host.job}, watch)
            job: SubmittedJob = from_plain(answer, SubmittedJob, _("the answer of the host"))
        finally:
            with suppress(SparseAnnotateError):
                self._session.files.release(self._area)
        watch.step(0.0, job.message or _("submitted"))
        return job.id

    def _states(self, watch: Watch | None, *ids: str) -> list[JobState]:
        params = {"cohort": self._session.files.path(self._area), "ids": list(ids)}
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
                    checkpointed = now if everything else checkpointed
                    with suppress(WorkerError):  # a file that is being written
                        self._bring_back(Watch(), everything)
            except ConnectionLostError as error:
                if is_cancelling or not error.may_return:
                    raise self._still_there(error) from error
                self._wait_to_reconnect(error, failures, last, watch)
                failures += 1
                continue
            if not state.is_live:
                return state
            last = state.fraction
            if not watch.is_cancelled:
                with suppress(CancelledError):
                    watch.step(last, self._progress(state), state.seconds_left, **_figures(state))
            is_late = now - begun > _FIRST_SECONDS and not is_cancelling
            self._pause(_ASK_SECONDS[is_late], watch if not is_cancelling else None)
            if watch.is_cancelled and not is_cancelling:
                self._leave_if_asked()
                is_cancelling = True
                self._ask("cancel_jobs", {"cohort": self._session.files.path(self._area), "ids": [job]}, None)
                begun = now
            if is_cancelling and now - begun > _CANCEL_SECONDS:
                return replace(state, state="cancelled")

    def _progress(self, state: JobState) -> str:
        if state.state == "waiting":
            where = _("Slurm's queue") if state.engine == "slurm" else _("the host")
            return _("on '{host}': waiting in {where}").format(host=self._host, where=where)
        return _("on '{host}': {progress}").format(host=self._host, progress=state.progress or _("starting"))

    def _wait_to_reconnect(self, error: ConnectionLostError, failures: int, last: float, watch: Watch) -> None:
        seconds = _WAITS[min(failures, len(_WAITS) - 1)]
        message = _("The training continues on '{host}', which cannot be reached. Trying again in {seconds:.0f} s.")
        with suppress(CancelledError):
            watch.step(last, message.format(host=self._host, seconds=seconds))
        self._pause(seconds, watch)
        if watch.is_cancelled:
            self._leave_if_asked()
            raise self._still_there(error)

    def _still_there(self, error: ConnectionLostError) -> WorkerError:
        remark = _("The training of '{run}' continues there. Train it again under the same name to reconnect.")
        return WorkerError(joined(" ", [error.message, remark.format(run=self._run.name)]))

    def _leave_if_asked(self) -> None:
        if self._is_leaving():
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

    # --- bringing back --------------------------------------------------------------------------------------------

    def _bring_back(self, watch: Watch, everything: bool) -> None:
        """Bring new files of the run here; without `everything` only small ones.

        Raises RunError when the run has been changed here, too.
        """
        folder = self._files.in_state(self._run.path)
        now = self._session.files.contents(self._area, [folder])
        known = self._known().files
        new = {}
        for name, (size, sha) in now.items():
            place = self._cohort.state_folder / name
            own = self._files.hashes.content(place).sha if place.is_file() else None
            if own == sha or (not everything and size > _LARGE_BYTES):
                continue
            if own is not None and own != known.get(name):
                raise RunError(
                    _(
                        "The run '{run}' was changed on this computer while it was trained on the host '{host}', so it "
                        "was not copied back ('{file}' differs). Train again under another name."
                    ).format(run=self._run.name, host=self._host, file=name)
                )
            new[name] = (size, sha)
        if everything:
            self._forget_removed(set(now), known)
        places = {name: self._cohort.state_folder / name for name in new}
        # Not to be lost when the copy ends in the middle: what is there is then known to be from the host.
        arriving = {name: str(sha) for name, (_size, sha) in new.items()}
        card = self._files.in_state(self._run.card_path)
        for names in (sorted(new.keys() - {card}), sorted(new.keys() & {card})):
            # The card last: with it, a run is finished.
            if names:
                self._session.files.fetch(self._area, {n: new[n] for n in names}, places, self._files.parts, watch)
                kept = {n: arriving[n] for n in names}
                self._remember(lambda known, kept=kept: replace(known, files={**known.files, **kept}))  # type: ignore[misc]
        self._files.hashes.keep()

    def _forget_removed(self, there: set[str], known: Mapping[str, str]) -> None:
        """Remove files here that came from the host and are no longer there; those that were changed here stay."""
        for name in sorted(known.keys() - there):
            place = self._cohort.state_folder / name
            if place.is_file() and self._files.hashes.content(place).sha == known[name]:
                place.unlink()
                for folder in place.parents:
                    if folder == self._run.path:
                        break
                    with suppress(OSError):
                        folder.rmdir()
        gone = known.keys() - there
        self._remember(lambda run: replace(run, files={n: s for n, s in run.files.items() if n not in gone}))

    def _known(self) -> RunThere:
        return self._record.runs.get(self._run.name) or RunThere(self._host, "")

    def _remember(self, change: Callable[[RunThere], RunThere]) -> None:
        """Change what the cohort's folder remembers of the run."""
        with self._cohort.locked("remembering a run on a host"):
            self._record = record_of(self._cohort.state_folder)
            self._record = self._record.with_run(self._run.name, change(self._known()))
            write_record(self._cohort.state_folder, self._record)


def runs_there(state_folder: Path) -> dict[str, str]:
    """The runs of a cohort that are trained on a host and have not been brought back: run to host.

    Raises BadInputError when the cohort's record is damaged.
    """
    record = read_record(state_folder)
    known = record.runs.items() if record is not None else ()
    return {name: run.host for name, run in known if not run.is_brought_back}


def _figures(state: JobState) -> dict[str, float]:
    names = ("loss", "validation_dice")
    return {n: float(v) for n, v in (state.metrics or {}).items() if n in names and isinstance(v, (int, float))}
