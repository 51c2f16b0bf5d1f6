"""Cases of a cohort folder in the scene: opened when they are gone to, and written back as slices are marked."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from .. import scene
from ..client import EXPORT, Job, Steps
from ..core import BadInputError, BusyError, Cohort, FileWriteError, LedgerEntry, Progress, SparseAnnotateError
from ..core.case_hold import CaseHold, HeldElsewhereError, holders_elsewhere
from ..core.drawn_on import AcceptedImage
from ..core.messages import _, joined, listed
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from .cohort_export import CohortExport
from .session import Session, Waiting

AT_FIRST = 5
"""So many cases are opened with a cohort; the others are opened when they are gone to."""

_RETRY_SECONDS, _RETRY_LATER_SECONDS, _WAITING_SECONDS = 5.0, 30.0, 10.0
_MOST_NAMED = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CohortCase:
    """A case of the cohort folder.

    Attributes:
        name: of the case. volumeNode: its volume; None while it has not been opened.
        drawn, toDo: how many of its slices are drawn or empty, and to do.
        problem: why its ledger cannot be read, or is that of a frame that its volume shows, as a message; '' if it can.
        slices: those to do of a case that has not been opened.
    """

    name: str
    volumeNode: Any
    drawn: int
    toDo: int
    problem: str = ""
    slices: tuple[LedgerEntry, ...] = ()


class OpenedCohort:
    """Opens cases of cohort folders, and keeps these folders as the scene is.

    Attributes:
        notes: on what was not opened last, as sentences.
        problem: why what was drawn could not be written into a folder, as a message; '' if it could.
        on_written: called whenever something has been written, or could not be.
        why_unchanged: sentences on the structures of a volume that a result which was applied did not change.
    """

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export
        self._holds: dict[str, CaseHold] = {}
        self._written: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._changed: set[str] = set()
        self._applied: set[str] = set()
        self.why_unchanged: Callable[[Any], Sequence[str]] = lambda _volume_node: ()
        self._job: Job | None = None
        self._scene = 0  # counts the scenes that were closed
        self._retry_at = 0.0
        self._folder: Path | None = None  # that was opened last, perhaps without any of its cases
        self._ledgers: dict[tuple[str, str], Path] = {}
        self._counts: dict[Path, tuple[tuple[int, int], CohortCase]] = {}
        self.notes: list[str] = []
        self.on_written: Callable[[], None] | None = None

    @property
    def problem(self) -> str:
        return next(iter(self._problems.values()), "")

    @property
    def codes_problem(self) -> str:
        """See `CohortExport.codes_problem`."""
        return self._export.codes_problem

    def open(self, folder: str | Path, cases: Sequence[str] | None, count: int, waiting: Waiting):
        """See `ConsoleLogic.openCohort`."""
        self._require_idle()
        cohort = Cohort.open(os.path.realpath(Path(folder).expanduser()))
        if not cohort.cases:
            raise BadInputError(
                _("The cohort '{cohort}' has no cases yet. Add images to it with 'sparse-annotate add'.").format(
                    cohort=cohort.name
                )
            )
        self._release_removed()
        self._session.use_cohort_folder(cohort.folder)
        if cases is None:
            opened = self._volumes()
            names = [case.name for case in cohort.cases if case.name not in opened]
            # One that cannot be opened is replaced by the next one.
            wanted = max(0, count - len(opened))
        else:
            wanted = len(cases)
            names = list(dict.fromkeys(cohort.case(name).name for name in cases))

        def finish(_nothing: Any) -> list:
            return list(self._volumes().values())

        return self._session.do(None, self._opening_cohort(cohort, names, wanted), finish, waiting, "open")

    def open_case(self, name: str, waiting: Waiting):
        """See `ConsoleLogic.openCase`."""
        self._require_idle()
        cohort = self._session.cohort()
        name = cohort.case(name).name
        self._release_removed()

        def finish(_nothing: Any):
            return self._volumes()[name]

        return self._session.do(None, self._opening(cohort, [name], 1, is_one=True), finish, waiting, "open")

    def cases(self) -> list[CohortCase]:
        """All cases of the cohort folder; none if it is not a cohort."""
        if not self._session.has_cohort:
            return []
        cohort, opened = self._session.cohort(), self._volumes()
        return [self._case(cohort, case.name, opened.get(case.name)) for case in cohort.cases]

    def unopened(self) -> list[CohortCase]:
        """The cases of an opened cohort folder that are not in the scene; none of a folder that was not opened."""
        opened = self._volumes()
        was_opened = bool(opened) or self._folder == self._session.cohort_folder
        if not was_opened or not self._session.has_cohort:
            return []
        cohort = self._session.cohort()
        return [self._case(cohort, case.name, None) for case in cohort.cases if case.name not in opened]

    def held_elsewhere(self) -> dict[str, str]:
        """The cases of the cohort folder that others have open and that have slices to do, and who has them open."""
        names = [case.name for case in self.unopened() if case.toDo]
        return holders_elsewhere(self._session.cohort().state_folder, names) if names else {}

    def accept_images(self, cases: Sequence[str] | None, waiting: Waiting):
        """See `ConsoleLogic.acceptImages`."""
        params = {"cohort": str(self._session.cohort_folder), "cases": list(cases or ())}

        def finish(rows: Any) -> list[AcceptedImage]:
            return from_plain(rows, list[AcceptedImage], _("the worker's answer"))

        return self._session.do("accept_image", params, finish, waiting)

    def note_applied(self, volume_node) -> None:
        """A result was applied to a volume, or that was undone: `update` writes all of its drawing if it was opened."""
        if volume_node.GetScene() is not None and scene.is_applied_to_write(volume_node):
            self._applied.add(volume_node.GetID())

    def update(self, volume_node=None, is_waiting: bool = False) -> None:
        """Write into their folders what has been drawn in opened volumes since, whatever cohort folder is selected.

        Args:
            volume_node: a volume on which a slice has just been marked, perhaps once more, after it was changed.
            is_waiting: return when it has been written, and raise the error of `volume_node`, or of any volume, if it
                could not be; otherwise, return immediately, and keep the error as `problem`.
        """
        if volume_node is not None:
            self._changed.add(volume_node.GetID())
        volumes = self._release_removed()
        if self._job is not None and not is_waiting:
            return
        if time.monotonic() < self._retry_at and not is_waiting and volume_node is None:
            return
        pending = [node for node in volumes.values() if self._is_pending(node)]
        if not pending:
            return
        steps = self._writing(pending, _WAITING_SECONDS if is_waiting else 0.0)
        if is_waiting:
            self._session.jobs.run(None, steps, lambda _nothing: None)
            own = self._problems.get(volume_node.GetID()) if volume_node is not None else None
            problem = own or (self.problem if volume_node is None else "")
            if problem:
                raise BadInputError(problem)
            return

        def ended(_result: Any, error: SparseAnnotateError | None) -> None:
            self._job = None
            if error is not None:
                _LOG.warning(error.message)
            if self.problem:
                slicer.util.showStatusMessage(str(self.problem), 10000)
            if self.on_written is not None:
                self.on_written()

        job = self._session.jobs.start(None, steps, lambda _nothing: None, ended, name=EXPORT)
        self._job = None if job.is_done else job

    def leave(self) -> None:
        """The panel or the scene is being closed: write what is not written yet, and leave the cases to others."""
        try:
            # What was painted since a result was applied, too.
            self._applied |= {key for key, node in scene.opened_volumes().items() if scene.is_applied_to_write(node)}
            self.update(is_waiting=True)
        except Exception as error:
            _LOG.warning(str(error))
        finally:
            self._scene += 1
            self._release(set())

    def forget_scene(self) -> None:
        """The scene is being closed: what is drawn is written, and others may draw on its cases from now on."""
        if self._session.jobs.at_work == "open":
            self._session.jobs.cancel()
        self.leave()
        self._folder = None
        self._written.clear()
        self._changed.clear()
        self._applied.clear()
        self._problems.clear()
        self._export.forget_scene()

    def _require_idle(self) -> None:
        if self._session.jobs.is_busy:
            raise BusyError(_("Another task is running. Wait until it has finished, or cancel it."))

    def _volumes(self) -> dict[str, Any]:
        """The opened volumes of the cohort folder by the name of their case."""
        nodes = scene.opened_volumes(str(self._session.cohort_folder)).values()
        found = ((scene.opened_case(node), node) for node in nodes)
        return {opened.case: node for opened, node in found if opened is not None}

    def _is_pending(self, node) -> bool:
        # A volume that is not known was loaded with a scene: whether it agrees with the folder, writing shows.
        key = node.GetID()
        if key in self._applied:
            return True
        return key in self._changed or key in self._problems or self._written.get(key) != scene.drawing_mark(node)

    def _writing(self, pending: Sequence, wait_seconds: float) -> Steps:
        """Write volume by volume: one that cannot be written does not keep the others from it."""
        number, until = self._scene, time.monotonic() + wait_seconds
        for node in pending:
            opened = scene.opened_case(node) if self._scene == number and node.GetScene() is not None else None
            if opened is None:
                continue
            key = node.GetID()
            was_changed = key in self._changed
            self._changed.discard(key)
            try:
                cohort = Cohort.open(opened.folder)
                self._hold(cohort, node, opened.case)
                left = max(0.0, until - time.monotonic())
                yield from self._export.labels([node], cohort=cohort, wait_seconds=left)
                if was_changed and cohort.image_change(opened.case) is not None:
                    # Who marks a slice has seen the image, also when nothing else is to be written.
                    opened = scene.opened_case(node) or opened  # its file may have been saved again
                    cohort.accept_image(opened.case, wait_seconds=left, image=opened.file, channels=None)
                if key in self._applied:
                    yield from self._writing_applied(cohort, node)
                    if not scene.is_applied_to_write(node):
                        self._applied.discard(key)
            except Exception as error:
                if not isinstance(error, SparseAnnotateError):
                    _LOG.exception("What was drawn could not be written.")
                # Tried again, when it may have become possible.
                problem = error.message if isinstance(error, SparseAnnotateError) else repr(error)
                if self._problems.get(key) != problem:
                    _LOG.warning(problem)
                self._problems[key] = problem
                is_soon = isinstance(error, (BusyError, FileWriteError))
                self._retry_at = time.monotonic() + (_RETRY_SECONDS if is_soon else _RETRY_LATER_SECONDS)
                if was_changed:
                    self._changed.add(key)
            else:
                self._problems.pop(key, None)
                self._written[key] = scene.written_mark(node)

    def _writing_applied(self, cohort: Cohort, node) -> Steps:
        try:
            for _step in scene.exporting_applied(cohort, node):
                yield None
        except BadInputError as error:
            # A structure that the result did not change may now overlap one that it did.
            raise BadInputError(joined(" ", [error.message, *self.why_unchanged(node)])) from error

    def _opening_cohort(self, cohort: Cohort, names: Sequence[str], wanted: int) -> Steps:
        """Read the worklists of all cases one after the other, and open some."""
        number = self._scene
        for case in cohort.cases:
            self._case(cohort, case.name, None)
            yield None
        if self._scene == number:
            self._folder = Path(cohort.folder)
        yield from self._opening(cohort, names, wanted)

    def _opening(self, cohort: Cohort, names: Sequence[str], wanted: int, is_one: bool = False) -> Steps:
        """Open cases in turn until so many are open as wanted; `is_one`: raise the error of one that cannot be."""
        self.notes = []
        yield from importing("SimpleITK")
        opened, number_of_scene, done, held = self._volumes(), self._scene, 0, []
        for name in names:
            if self._scene != number_of_scene or done == wanted:
                break
            if name in opened:
                problem = scene.frame_problem(opened[name])
                self.notes += [problem] if problem is not None else []
                done += 1
                continue
            yield Progress(done / wanted, _("opening '{case}'").format(case=name))
            hold = CaseHold(cohort.state_folder, name)
            nodes = scene.OpenedNodes()
            try:
                self._enter(hold, name)
                yield from scene.opening_case(cohort, name, nodes)
            except HeldElsewhereError as error:
                if is_one:
                    raise
                held.append(error)
                continue
            except SparseAnnotateError as error:
                hold.leave()
                if is_one:
                    raise
                # One case that cannot be opened must not keep the others from being opened.
                self.notes.append(error.message)
                continue
            except BaseException:
                hold.leave()
                raise
            self.notes += nodes.notes
            self._holds[nodes.volume.GetID()] = hold
            self._written[nodes.volume.GetID()] = scene.drawing_mark(nodes.volume)
            done += 1
        self.notes = [*_held_notes(held), *self.notes]

    def _enter(self, hold: CaseHold, name: str) -> None:
        """Hold a case; where the folder cannot be written, it can be looked at all the same."""
        try:
            hold.enter()
        except FileWriteError as error:
            self.notes.append(
                _("The case '{case}' can be looked at, but what is drawn on it cannot be stored. {problem}").format(
                    case=name, problem=error.message
                )
            )

    def _hold(self, cohort: Cohort, node, case: str) -> None:
        """Hold the case of a volume, if that is not so yet. Raises BusyError when it is open elsewhere."""
        hold = self._holds.setdefault(node.GetID(), CaseHold(cohort.state_folder, case))
        hold.enter()

    def _release_removed(self) -> dict[str, Any]:
        """Leave the cases whose volumes have been removed to others; returns the opened volumes of all folders."""
        volumes = scene.opened_volumes()
        self._release(set(volumes))
        return volumes

    def _release(self, kept: set[str]) -> None:
        for key in [key for key in self._holds if key not in kept]:
            self._holds.pop(key).leave()
        for known in (self._written, self._problems):
            for key in [key for key in known if key not in kept]:
                known.pop(key)
        self._changed &= kept
        self._applied &= kept

    def _case(self, cohort: Cohort, name: str, node) -> CohortCase:
        if node is not None:
            problem = scene.frame_problem(node)
            if problem is not None:
                return CohortCase(name, node, 0, 0, problem)
            try:
                ledger = scene.ledger_of(node)
            except SparseAnnotateError as error:
                return CohortCase(name, node, 0, 0, error.message)
            return CohortCase(name, node, len(ledger.decided), len(ledger.todo))
        place = str(cohort.state_folder), name
        path = self._ledgers.get(place) or self._ledgers.setdefault(place, cohort.annotation_files(name)[0])
        try:
            status = path.stat()
        except OSError:
            return CohortCase(name, None, 0, 0)
        stamp, known = (status.st_mtime_ns, status.st_size), self._counts.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            ledger = cohort.ledger(name)
            found = CohortCase(name, None, len(ledger.decided), len(ledger.todo), slices=tuple(ledger.todo))
        except SparseAnnotateError as error:
            found = CohortCase(name, None, 0, 0, error.message)
        self._counts[path] = (stamp, found)
        return found


def _held_notes(held: Sequence[HeldElsewhereError]) -> list[str]:
    """A sentence for each person who has cases open, with these cases."""
    cases: dict[str, list[HeldElsewhereError]] = {}
    for error in held:
        cases.setdefault(error.holder, []).append(error)
    notes = []
    for holder, found in cases.items():
        if len(found) == 1:
            notes.append(found[0].message)
            continue
        names = listed([f"'{error.case}'" for error in found], _MOST_NAMED)
        notes.append(
            _(
                "The cases {cases} are open elsewhere: {holder}. Open them again when they have been closed there, or "
                "choose other cases."
            ).format(cases=names, holder=holder)
        )
    return notes
