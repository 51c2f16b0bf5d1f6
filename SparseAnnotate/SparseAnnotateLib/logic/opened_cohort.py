"""Cases of a cohort folder in the scene: opened when they are gone to, and written back as slices are marked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from .. import scene
from ..client import EXPORT, Job, Steps
from ..core import BadInputError, BusyError, Cohort, FileWriteError, Progress, SparseAnnotateError
from ..core.case_hold import CaseHold
from ..core.messages import _
from ..core.slow_imports import importing
from .cohort_export import CohortExport
from .session import Session, Waiting

AT_FIRST = 5
"""So many cases are opened with a cohort; the others are opened when they are gone to."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CohortCase:
    """A case of the cohort folder.

    Attributes:
        name: of the case. volumeNode: its volume; None while it has not been opened.
        drawn, toDo: how many of its slices are drawn or empty, and to do.
        problem: why its ledger cannot be read, as a message; '' if it can.
    """

    name: str
    volumeNode: Any
    drawn: int
    toDo: int
    problem: str = ""


class OpenedCohort:
    """Opens cases of the cohort folder, and keeps that folder as the scene is.

    Attributes:
        notes: on what was not opened last, as sentences.
        problem: why what was drawn could not be written into the folder, as a message; '' if it could.
        on_written: called whenever it has been written, or could not be.
    """

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export
        self._holds: dict[str, CaseHold] = {}
        self._written: dict[str, str] = {}
        self._changed: set[str] = set()
        self._job: Job | None = None
        self._counts: dict[Path, tuple[tuple[int, int], CohortCase]] = {}
        self.notes: list[str] = []
        self.problem = ""
        self.on_written: Callable[[], None] | None = None

    def open(self, folder: str | Path, cases: Sequence[str] | None, count: int, waiting: Waiting):
        """See `ConsoleLogic.openCohort`."""
        cohort = Cohort.open(folder)
        if not cohort.cases:
            raise BadInputError(
                _("The cohort '{cohort}' has no cases yet. Add images to it with 'sparse-annotate create'.").format(
                    cohort=cohort.name
                )
            )
        self._session.use_cohort_folder(cohort.folder)
        if cases is None:
            opened = self._volumes()
            unopened = [case.name for case in cohort.cases if case.name not in opened]
            names = unopened[: max(0, count - len(opened))]
        else:
            names = [cohort.case(name).name for name in cases]

        def finish(_nothing: Any) -> list:
            return list(self._volumes().values())

        return self._session.do(None, self._opening(cohort, names, is_one=False), finish, waiting, "open")

    def open_case(self, name: str, waiting: Waiting):
        """See `ConsoleLogic.openCase`."""
        cohort = self._session.cohort()
        name = cohort.case(name).name

        def finish(_nothing: Any):
            return self._volumes()[name]

        return self._session.do(None, self._opening(cohort, [name], is_one=True), finish, waiting, "open")

    def cases(self) -> list[CohortCase]:
        """All cases of the cohort folder; none if it is not a cohort."""
        if not self._session.has_cohort:
            return []
        cohort, opened = self._session.cohort(), self._volumes()
        return [self._case(cohort, case.name, opened.get(case.name)) for case in cohort.cases]

    def unopened(self) -> list[CohortCase]:
        """The cases of an opened cohort folder that are not in the scene; none of a folder that was not opened."""
        opened = self._volumes()
        if not opened or not self._session.has_cohort:
            return []
        cohort = self._session.cohort()
        return [self._case(cohort, case.name, None) for case in cohort.cases if case.name not in opened]

    def update(self, volume_node=None, is_waiting: bool = False) -> None:
        """Write into the folder what has been drawn in opened volumes since.

        Args:
            volume_node: a volume on which a slice has just been marked, perhaps once more, after it was changed.
            is_waiting: return when it has been written, and raise the error if it could not be; otherwise, return
                immediately, and keep the error as `problem`.
        """
        if volume_node is not None:
            self._changed.add(volume_node.GetID())
        volumes = self._volumes()
        self._release({node.GetID() for node in volumes.values()})
        if self._job is not None and not is_waiting:
            return
        pending = [node for node in volumes.values() if self._is_pending(node)]
        if not pending:
            return
        marks = {node.GetID(): scene.drawing_mark(node) for node in pending}
        self._changed.difference_update(marks)

        def steps() -> Steps:
            cohort = self._session.cohort()
            for node in pending:
                self._hold(cohort, node)
            yield from self._export.labels(pending)

        def ended(_result: Any, error: SparseAnnotateError | None) -> None:
            if not is_waiting:
                self._job = None
            # The ledgers may have taken in what others have recommended.
            self._written |= {
                node.GetID(): scene.drawing_mark(node) if error is None else marks[node.GetID()]
                for node in pending
                if node.GetScene() is not None
            }
            self.problem = error.message if error is not None else ""
            if not is_waiting and error is not None:
                _LOG.warning(error.message)
                slicer.util.showStatusMessage(str(error.message), 10000)
            elif not is_waiting:
                self.update()
            if self.on_written is not None:
                self.on_written()

        if is_waiting:
            try:
                self._session.jobs.run(None, steps(), lambda _nothing: None)
            except SparseAnnotateError as error:
                ended(None, error)
                raise
            ended(None, None)
            return
        job = self._session.jobs.start(None, steps(), lambda _nothing: None, ended, name=EXPORT)
        self._job = None if job.is_done else job

    def forget_scene(self) -> None:
        """The scene is being closed: others may draw on its cases from now on."""
        self._release(set())
        self._written.clear()
        self._changed.clear()
        self.problem = ""

    def _volumes(self) -> dict[str, Any]:
        """The opened volumes of the cohort folder by the name of their case."""
        return scene.opened_volumes(str(self._session.cohort_folder))

    def _is_pending(self, node) -> bool:
        key = node.GetID()
        if key in self._changed:
            return True
        if key not in self._written:
            # The scene was loaded: whether it agrees with the folder is found out by writing.
            return True
        return self._written[key] != scene.drawing_mark(node)

    def _opening(self, cohort: Cohort, names: Sequence[str], is_one: bool) -> Steps:
        self.notes = []
        yield from importing("SimpleITK")
        opened = self._volumes()
        for number, name in enumerate(names):
            if name in opened:
                continue
            yield Progress(number / len(names), _("opening '{case}'").format(case=name))
            hold = CaseHold(cohort.state_folder, name)
            nodes = scene.OpenedNodes()
            try:
                self._enter(hold, name)
                yield from scene.opening_case(cohort, name, nodes)
            except SparseAnnotateError as error:
                hold.__exit__()
                if is_one:
                    raise
                # One case that cannot be opened must not keep the others from being opened.
                self.notes.append(error.message)
                continue
            except BaseException:
                hold.__exit__()
                raise
            self.notes += nodes.notes
            self._holds[nodes.volume.GetID()] = hold
            self._written[nodes.volume.GetID()] = scene.drawing_mark(nodes.volume)

    def _enter(self, hold: CaseHold, name: str) -> None:
        """Hold a case; where the folder cannot be written, it can be looked at all the same."""
        try:
            hold.__enter__()
        except BusyError:
            raise
        except FileWriteError as error:
            self.notes.append(
                _("The case '{case}' can be looked at, but what is drawn on it cannot be stored. {problem}").format(
                    case=name, problem=error.message
                )
            )

    def _hold(self, cohort: Cohort, node) -> None:
        """Hold the case of a volume that was loaded with a scene. Raises BusyError when it is open elsewhere."""
        if node.GetID() in self._holds:
            return
        hold = CaseHold(cohort.state_folder, scene.case_of(node))
        hold.__enter__()
        self._holds[node.GetID()] = hold

    def _release(self, kept: set[str]) -> None:
        for key in [key for key in self._holds if key not in kept]:
            self._holds.pop(key).__exit__()
            self._written.pop(key, None)

    def _case(self, cohort: Cohort, name: str, node) -> CohortCase:
        if node is not None:
            try:
                ledger = scene.ledger_of(node)
            except SparseAnnotateError as error:
                return CohortCase(name, node, 0, 0, error.message)
            return CohortCase(name, node, len(ledger.decided), len(ledger.todo))
        path = cohort.annotation_files(name)[0]
        try:
            status = path.stat()
        except OSError:
            return CohortCase(name, None, 0, 0)
        stamp, known = (status.st_mtime_ns, status.st_size), self._counts.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            ledger = cohort.ledger(name)
            found = CohortCase(name, None, len(ledger.decided), len(ledger.todo))
        except SparseAnnotateError as error:
            found = CohortCase(name, None, 0, 0, error.message)
        self._counts[path] = (stamp, found)
        return found
