"""Requests that are done on a host: the cohort goes there by content, and results come back if they still belong."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..core import BadInputError, BusyError, CancelledError, Cohort, Plane, SparseAnnotateError, Watch, WorkerError
from ..core.added_corrections import not_followed_sentence
from ..core.failed_cases import (
    NONE_RECOMMENDED,
    NOT_FILLED,
    NOT_LABELED,
    NOT_SENT,
    PartlyDoneError,
    not_counted,
    recommended_sentences,
    report_failed,
    slices_kept,
    with_slices_to_do,
)
from ..core.ledger import LedgerEntry
from ..core.messages import _, counted, joined, listed
from ..core.strict_json import from_plain
from .cohort_copy import CohortCopy, CohortFiles
from .cohort_record import record_of
from .host_connection import HostConnection
from .host_files import HostFiles
from .hosts import Host, allow_copying, host_named
from .library_there import send_library, worker_there
from .ssh_errors import ConnectionLostError
from .where import Needs, needs_of, require_images

_STAGES = (1.0, 8.0, 1.0)  # of a request: copying there, work, copying back
_NAMED = 5
_LAST_STEP_SECONDS = 60.0

AFTER_THE_OTHERS = "curves"
"""A request that no worker answers while it does another one, and that it refuses without its fields."""


_CASE_BY_CASE: Mapping[str, Callable[[Collection[Any]], tuple[str, str]]] = {
    "recommend": recommended_sentences,
    "fill": lambda _rows: NOT_FILLED,
    "predict": lambda _rows: NOT_LABELED,
}
"""Requests of which one case must not stop the others, and how those are reported."""


class CopyingNotAllowedError(BadInputError):
    """The user has not been asked yet whether a cohort may be copied to a host."""


class ChangedHereError(BadInputError):
    """Results of a host were not copied back, because their cases were changed here meanwhile."""


class HostSession:
    """The connections to one host, for as long as it is used.

    Args:
        is_allowed: the user allows copying the cohorts that are used; it is remembered.
    """

    def __init__(self, host: Host, is_allowed: bool = False):
        self.host, self.is_allowed = host, is_allowed
        self.files = HostFiles(host)
        self._starting = threading.RLock()
        self._library = ""
        self._worker: HostConnection | None = None
        self._job_worker: HostConnection | None = None

    def worker(self, watch: Watch) -> HostConnection:
        """The worker for requests, started with the host's prefix."""
        with self._starting:
            if self._worker is None:
                self._worker = worker_there(self.files, self._library_folder(watch), self.host.prefix)
            return self._worker

    def await_worker(self) -> None:
        """Wait until the worker for requests does nothing more: one that was cancelled may still be in its last step.

        One that takes long is ended.
        """
        worker = self._worker
        if worker is None or not worker.is_running:
            return
        timer = threading.Timer(_LAST_STEP_SECONDS, worker.close)
        timer.daemon = True
        timer.start()
        with suppress(SparseAnnotateError):
            # Those that wait are answered one after another: this one is refused once those before it have ended.
            worker.call(AFTER_THE_OTHERS, {})
        timer.cancel()

    def job_worker(self, watch: Watch) -> HostConnection:
        """The worker for requests about jobs, which needs no GPU and waits in no queue."""
        if not self.host.prefix:
            return self.worker(watch)
        with self._starting:
            if self._job_worker is None:
                self._job_worker = worker_there(self.files, self._library_folder(watch), "")
            return self._job_worker

    def _library_folder(self, watch: Watch) -> str:
        if not self._library:
            self._library = send_library(self.files, watch)
        return self._library

    def identity(self, files: CohortFiles, cases: Iterable[str]) -> str:
        """The identity of a cohort that may be copied. Raises CopyingNotAllowedError."""
        identity = record_of(files.cohort.state_folder).identity
        if identity in host_named(self.host.name).cohorts:
            return identity
        if not self.is_allowed:
            raise CopyingNotAllowedError(first_use_sentence(self.host, files, tuple(cases)))
        allow_copying(self.host.name, identity)
        return identity

    def close(self) -> None:
        """End the connections."""
        for connection in (self._worker, self._job_worker):
            if connection is not None:
                connection.close()
        self.files.close()


def first_use_sentence(host: Host, files: CohortFiles, cases: Sequence[str]) -> str:
    """What the first use of a host by a cohort would copy, and how to allow it."""
    return _(
        "Nothing of this cohort has been copied to the host '{host}' yet. This would copy to the folder '{folder}' "
        "there: {images} ({size:.1f} MB), the names of the cases and structures, and what was drawn. Headers of images "
        "that say more than how voxels lie in space, DICOM headers, names of files, and names of users and computers "
        "are not copied. To allow it for this cohort and host, add '--allow-copying', or choose the host again under "
        "'Compute on'."
    ).format(
        host=host.name,
        folder=host.folder,
        images=counted(len(cases), _("the image of {count} case"), _("the images of {count} cases")),
        size=files.size_of_images(cases) / 1e6,
    )


def opened(params: Any) -> Cohort:
    """The cohort of a request. Raises CohortError, BadInputError."""
    if not isinstance(params, dict) or not isinstance(params.get("cohort"), str):
        raise BadInputError(_("The request names no cohort."))
    return Cohort.open(params["cohort"], params.get("state"))


def on_host(host: Host, error: SparseAnnotateError, told: Callable[[str], str] = str) -> SparseAnnotateError:
    """An error that was reported there, with the name of the host; `told`: what to do with its sentences."""
    message = told(error.message)
    if isinstance(error, (CancelledError, ConnectionLostError)):
        return error
    if host.name not in message:
        message = _("On '{host}': {problem}").format(host=host.name, problem=message)
    if message == error.message:
        return error
    if isinstance(error, PartlyDoneError):
        return PartlyDoneError(message, error.shown, error.failed)
    return BusyError(message) if isinstance(error, BusyError) else WorkerError(message)


def answer_there(session: HostSession, method: str, params: Any, watch: Watch) -> Any:
    """Do a request on the host of a session; its result names files here.

    Raises CopyingNotAllowedError, BusyError, ConnectionLostError, CancelledError and what the request itself raises.
    """
    if method not in _CASE_BY_CASE:
        return _answer_there(session, method, params, watch)
    cohort, failed = opened(params), dict[str, SparseAnnotateError]()
    names = _cases_there(session, method, params, cohort, failed, watch.quiet())
    others = [name for name in names if name not in failed]
    if not failed:
        return _answer_there(session, method, params, watch)
    if not others:
        return report_failed(failed, 0, _sentences_of_none(method))
    more: list[str] = []
    also: tuple[str, ...] = ()
    try:
        rows = _answer_there(session, method, {**params, "cases": others}, watch)
    except PartlyDoneError as error:
        rows, more, also = error.shown, [error.message], error.failed
        others = [name for name in others if name not in also]
    except (CancelledError, ConnectionLostError, CopyingNotAllowedError):
        raise
    except SparseAnnotateError as error:
        _report_none_done(method, failed, others, error)
    if method == "recommend":
        total = (params.get("budget") or {}).get("total")
        kept = slices_kept(with_slices_to_do(cohort, failed))
        more = [*more, *filter(None, [not_counted(cohort, failed, params.get("planes", ()), total), kept])]
    sentences = _CASE_BY_CASE[method](rows)
    return report_failed(failed, len(others), sentences, shown=rows, more=joined(" ", more), also_failed=also)


def _sentences_of_none(method: str) -> tuple[str, str]:
    """How a request is reported that has done no case."""
    return NONE_RECOMMENDED if method == "recommend" else _CASE_BY_CASE[method](())


def _report_none_done(
    method: str, failed: Mapping[str, SparseAnnotateError], sent: Sequence[str], error: SparseAnnotateError
) -> NoReturn:
    """Raise the error of the cases that were sent to a host together with those of cases that could not be sent."""
    if len(sent) == 1 and not isinstance(error, (BusyError, ChangedHereError)):
        report_failed({**failed, sent[0]: error}, 0, _sentences_of_none(method))
    report_failed(failed, 0, NOT_SENT, more=error.message, is_always_partly=True)


def _cases_there(
    session: HostSession,
    method: str,
    params: Any,
    cohort: Cohort,
    failed: dict[str, SparseAnnotateError],
    watch: Watch,
) -> tuple[str, ...]:
    """The cases that a host has to do one after another; `failed` gets the errors of those that cannot go there."""
    if method == "fill" and not params.get("cases"):
        names = tuple(cohort.annotated_cases(failed=failed))
    else:
        names = needs_of(method, params, cohort).cases
    if method == "recommend":
        failed |= cohort.images_not_drawn_on(names, watch)
        cohort.annotated_cases([name for name in names if name not in failed], failed)
    elif failed and not params.get("model_only") and len(cohort.image_changes(names, watch)) == len(names):
        failed |= cohort.images_not_drawn_on(names, watch)
    else:
        require_images(method, params, cohort, names, watch)
    files, others = CohortFiles(cohort), [name for name in names if name not in failed]
    if others:
        session.identity(files, names)
    failed |= files.not_to_send(others, watch)
    return names


def correct_there(session: HostSession, params: Any, here: Callable[[Any], Any], watch: Watch) -> Any:
    """Store a correction here, and have the host of a session find out what follows from it in the stored result.

    Once it is stored, what goes wrong is a note of the result, not an error.

    `here`: does such a request on this computer. Raises CopyingNotAllowedError, before anything is stored, what storing
    raises, and CancelledError.
    """
    cohort = opened(params)
    needs = needs_of("correct", params, cohort)
    if not any((cohort.state_folder / path).is_file() for path in needs.outputs):
        return here(params)  # nothing can follow
    session.identity(CohortFiles(cohort), needs.cases)
    stored = here({**params, "only": "store"})
    watch.check()
    try:
        follow = {**params, "only": "follow", "last": stored["corrections"]}
        followed = answer_there(session, "correct", follow, watch)
    except CancelledError:
        raise
    except ChangedHereError:
        sentence = _("'{case}' was changed here while '{host}' worked on it. The next result will have the correction.")
        followed = {"notes": [not_followed_sentence(sentence.format(case=stored["case"], host=session.host.name))]}
    except SparseAnnotateError as error:
        again = _("To try again, repeat the command: nothing is stored twice.")
        followed = {"notes": [not_followed_sentence(f"{again} {error.message}")]}
    return {**stored, **followed, "notes": [*stored["notes"], *followed["notes"]]}


def _answer_there(session: HostSession, method: str, params: Any, watch: Watch) -> Any:
    if method == "environment":
        with _naming(session.host, str):
            return session.worker(watch).call(method, params, watch)
    cohort = opened(params)
    files, needs = CohortFiles(cohort), needs_of(method, params, cohort)
    require_images(method, params, cohort, needs.cases, watch.quiet())
    area = f"cohorts/{session.identity(files, needs.cases)}/copy"
    sending, working, fetching = (watch.stage(_STAGES, number) for number in range(3))
    picture = params.get("picture")
    if picture:
        raise BadInputError(
            _("A picture of the slices cannot be made on a host. Leave it out, and make it with 'picture' afterwards.")
        )
    session.files.hold(area, watch)
    partly: PartlyDoneError | None = None
    try:
        copy = send_copy(session, files, area, needs, sending)
        told = TextHere(session.files.path(area), cohort.state_folder, copy.images)
        # A file that the request has not written again is not its result.
        there = {**params, "cohort": session.files.path(area), "state": None}
        try:
            with _naming(session.host, told.text):
                result = session.worker(working).call(method, there, working)
        except PartlyDoneError as error:
            partly, result = error, error.shown
        except SparseAnnotateError:
            session.await_worker()
            if session.files.holds(area):
                # Some cases may have been done before.
                with suppress(SparseAnnotateError):
                    _bring_back(session, files, area, needs, copy, Watch())
            raise
        changed = _bring_back(session, files, area, needs, copy, fetching)
    finally:
        with suppress(SparseAnnotateError):
            session.files.release(area)
    if method == "recommend":
        # Of those that could not be done there, what was recommended earlier stays.
        done = [name for name in needs.cases if partly is None or name not in partly.failed]
        _enter_recommended(cohort, result, copy, done)
    if changed:
        raise ChangedHereError(_changed_sentence(session.host, changed))
    if partly is not None:
        raise PartlyDoneError(partly.message, told.value(partly.shown), partly.failed)
    return told.value(result)


def send_copy(
    session: HostSession,
    files: CohortFiles,
    area: str,
    needs: Needs,
    watch: Watch,
    further: Mapping[str, Any] | None = None,
) -> CohortCopy:
    """Make an area on the host hold what a request needs; `further`: contents that go there, too."""
    quiet = watch.quiet()
    copy = files.copy(
        needs.cases, needs.with_fills, needs.runs, needs.predictions, needs.outputs, quiet, is_whole=needs.is_whole
    )
    contents = {**copy.files, **(further or {})}
    own = [*copy.own, *(further or {})]
    if copy.marks:
        # Before anything there can find these images as those of a case.
        images = {name: contents[name] for name in copy.marks}
        session.files.send(area, images, (), own, watch)
        session.files.ask("mark", area=area, marks=copy.marks)
    session.files.send(area, contents, copy.absent, own, watch)
    return copy


def _bring_back(
    session: HostSession, files: CohortFiles, area: str, needs: Needs, copy: CohortCopy, watch: Watch
) -> list[str]:
    """Bring the files here that a request has written; returns the cases that have changed here meanwhile."""
    now = session.files.contents(area, sorted(needs.outputs))
    made = {n: found for n, found in now.items() if n not in copy.files or copy.files[n].sha != found[1]}
    new = {name: found for name, found in made.items() if files.sha(name) != found[1]}
    session.files.fetch_parts(area, new, files.parts, watch)
    # Also those whose result is the same as before: it may not be that of what is here now.
    cases = sorted({needs.outputs[name] for name in made} - {""})
    for case in cases:
        files.inputs(case)  # read them before others have to wait
    changed, places = [], {}
    with files.cohort.locked("copying results from a host"):
        for case in ["", *cases]:
            own = [name for name in new if needs.outputs[name] == case]
            is_same = all(files.sha(name) == copy.before[name] for name in own)
            if is_same and (not case or files.inputs(case) == copy.inputs.get(case)):
                places.update({name: files.cohort.state_folder / name for name in own})
            else:
                changed.append(case)
        session.files.put_in_place({name: new[name] for name in places}, places, files.parts)
    for _size, sha in new.values():
        with suppress(OSError):
            (files.parts / sha).unlink()
    files.hashes.keep()
    if "" in changed:
        raise BadInputError(
            _("What '{host}' made was not copied back, because it was made here, too, meanwhile. Try again.").format(
                host=session.host.name
            )
        )
    return changed


@dataclass(frozen=True)
class _RecommendedThere:
    """A slice as the request `recommend` lists it."""

    order: int
    case: str
    plane: Plane
    index: int
    score: float
    reason: str


def _enter_recommended(cohort: Cohort, rows: Any, copy: CohortCopy, cases: Iterable[str]) -> None:
    """Enter what a host has recommended for cases in the ledgers here; what was decided meanwhile stays.

    Raises BadInputError when images have changed meanwhile.
    """
    images = [str(path) for path in copy.images.values()]
    files = CohortFiles(cohort)
    for case, before in copy.inputs.items():
        now = files.inputs(case)
        if any(now.get(path) != before.get(path) for path in images):
            raise BadInputError(
                _("The image of the case '{case}' was changed here meanwhile. Recommend again.").format(case=case)
            )
    worklist: dict[str, list[LedgerEntry]] = {case: [] for case in cases}
    for row in from_plain(rows, list[_RecommendedThere], _("the answer of the host")):
        entry = LedgerEntry(row.plane, row.index, order=row.order, score=row.score, reason=row.reason)
        worklist[row.case].append(entry)
    cohort.save_recommended(worklist)


def _changed_sentence(host: Host, cases: Sequence[str]) -> str:
    return counted(
        len(cases),
        _(
            "The case {cases} was changed here while '{host}' worked on it, so its result was not copied back. Try "
            "again; results of other cases are here."
        ),
        _(
            "{count} cases were changed here while '{host}' worked on them ({cases}), so their results were not copied "
            "back. Try again for these; results of other cases are here."
        ),
        host=host.name,
        cases=listed([f"'{name}'" for name in cases], _NAMED),
    )


class TextHere:
    """Results and sentences of a host, with the files of an area there named as here.

    Args:
        there: the area's path there. here: the folder that has its files here. images: those that are elsewhere here.
    """

    def __init__(self, there: str, here: Path, images: Mapping[str, Path] | None = None):
        self._there, self._here = there, here
        self._images = sorted((images or {}).items(), key=lambda item: -len(item[0]))

    def text(self, text: str) -> str:
        """A text with paths as here."""
        if self._there not in text:
            return text
        for place, path in self._images:
            text = text.replace(f"{self._there}/{place}", str(path))
        if text.startswith(f"{self._there}/") and not re.search(r"['\"\n]", text):
            return str(self._here / text[len(self._there) + 1 :])  # nothing but a path
        text = text.replace(f"{self._there}/", f"{self._here}{os.sep}")
        return re.sub(re.escape(self._there) + r"(?![\w-])", lambda _found: str(self._here), text)

    def value(self, value: Any) -> Any:
        """A result, as plain values, with paths as here."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {name: self.value(item) for name, item in value.items()}
        return value


class _naming:
    """Names the host in errors that were reported there."""

    def __init__(self, host: Host, told: Callable[[str], str]):
        self._host, self._told = host, told

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, SparseAnnotateError):
            named = on_host(self._host, error, self._told)
            if named is not error:
                raise named from error
