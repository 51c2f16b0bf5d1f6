"""A run that is trained on a host: where its files are there, what is remembered of it here, and how it comes back."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..core import BadInputError, Cohort, RunError, SparseAnnotateError, Watch, WorkerError
from ..core.case_names import file_stem
from ..core.cohort_layout import CARD_FILE, PLAN_FILE
from ..core.errors import BusyError, FileWriteError
from ..core.messages import _, joined
from ..runs.run_folder import RunFolder
from .cohort_copy import CohortCopy, CohortFiles
from .cohort_record import RunThere, new_token, read_record, record_of, write_record
from .host_files import ChangedThereError, HostFiles, content_of
from .requests_there import HostSession, send_copy
from .where import Needs

_TOKEN, _BROUGHT_BACK = "token", "brought-back"
_LARGE_BYTES = 1 << 20
_UNUSED_SECONDS, _LOOK_SECONDS = 25.0, 0.2
_KEPT = (PLAN_FILE, CARD_FILE, "weights.safetensors")  # what a training writes again, and never removes

LEFT_THERE = ("labels",)
"""Folders of a run with arrays of what is learned from, while it is."""


class RunOnHost:
    """One run of a cohort on the host of a session, in an area of its own there.

    Args:
        name: of the run. returning: the connection that brings files back; by default the session's.

    Attributes:
        cohort, files: the cohort here, and its files. folder: of the run here. area: where it is there.
    """

    def __init__(self, session: HostSession, cohort: Cohort, name: str, returning: HostFiles | None = None):
        self.cohort, self.files = cohort, CohortFiles(cohort)
        self.folder = RunFolder(cohort.run_folder(name))
        self._session, self._returning = session, returning or session.files
        self._record = record_of(cohort.state_folder)
        self._remembering = threading.Lock()
        self.area = f"cohorts/{self._record.identity}/training-{file_stem(name)}"

    @property
    def name(self) -> str:
        """Of the run."""
        return self.folder.name

    @property
    def host(self) -> str:
        """The name of the host."""
        return self._session.host.name

    @property
    def remembered(self) -> RunThere | None:
        """What the cohort's folder remembers of the run; None: nothing."""
        return self._record.runs.get(self.name)

    @property
    def known(self) -> RunThere:
        """What is remembered of the run, or a beginning on this host."""
        return self.remembered or RunThere(self.host, "")

    @property
    def is_left_there(self) -> bool:
        """True when it was begun on this host, and what is there has not been brought back."""
        known = self.known
        return bool(known.token) and known.host == self.host and not known.is_brought_back

    def remember(self, change: Callable[[RunThere], RunThere | None]) -> None:
        """Change what the cohort's folder remembers of the run; None: nothing."""
        with self._remembering, self.cohort.locked("remembering a run on a host"):
            self._record = record_of(self.cohort.state_folder)
            self._record = self._record.with_run(self.name, change(self.known))
            write_record(self.cohort.state_folder, self._record)

    def _look_again(self) -> None:
        """Read again what is remembered: another process may have begun the run, or copied some of it back."""
        with self._remembering:
            self._record = record_of(self.cohort.state_folder)

    def require_ours(self, watch: Watch) -> bool:
        """Whether the run is there as this cohort's, and was not brought back; False when it is not there.

        A run of another copy of this cohort that was brought back there is out of date, and begins again.

        Raises RunError when it is being trained on another host, or there for another copy of this cohort.
        """
        known = self.remembered
        if known is not None and known.host != self.host and not known.is_brought_back:
            raise _trained_on(self.cohort, self.name, known.host)
        token = self._token_there(watch)
        if token is None:
            return False
        if known is None or token != known.token:
            if self._read(_BROUGHT_BACK, watch) is not None:
                return False
            raise RunError(
                _("Another copy of this cohort trains a run '{run}' on the host '{host}'. Choose another name.").format(
                    run=self.name, host=self.host
                )
            )
        # What was brought back is here; what is trained now is another training.
        return not known.is_brought_back

    # --- there ----------------------------------------------------------------------------------------------------

    def _token_there(self, watch: Watch) -> str | None:
        return self._read(_TOKEN, watch)

    def _read(self, name: str, watch: Watch) -> str | None:
        """A small file in the area there; None when it does not exist."""
        found = self._session.files.ask("read", watch, area=self.area, name=name)
        return None if found is None else base64.b64decode(found).decode()

    def _is_of_another_copy(self, known: RunThere, is_live: bool, watch: Watch) -> bool:
        """Whether what is there has been trained by another copy of this cohort, which has it.

        A copy that was made while a run learned knows its token; it has brought the run back in place of this one.
        """
        if self._token_there(watch) not in (None, known.token):
            return True
        return is_live and not known.is_brought_back and self._read(_BROUGHT_BACK, watch) is not None

    def _require_gone(self, known: RunThere, watch: Watch) -> None:
        """Raise RunError when a run that was given up is still on its host: what it has learned would be removed."""
        if known.host == self.host and self._token_there(watch) == known.token:
            raise RunError(
                _(
                    "The run '{run}' was given up, but is still on the host '{host}', perhaps with more than was "
                    "copied back. Choose another name, or remove what is there: 'sparse-annotate host clean {host} "
                    "--all'."
                ).format(run=self.name, host=self.host)
            )

    def take_back(self, watch: Watch) -> None:
        """Expect a run again that was given up, when it is still on its host and was not continued here."""
        known = self.remembered
        if known is None or not known.is_given_up or known.host != self.host:
            return
        here = {name: content.sha for name, content in self.files.run_files(self.name, watch).items()}
        is_newer_here = any(here.get(name) != sha for name, sha in known.files.items()) or (here and not known.files)
        if not is_newer_here and self._token_there(watch) == known.token:
            self.remember(lambda run: replace(run, is_brought_back=False, is_given_up=False))

    @contextmanager
    def held(self, watch: Watch) -> Iterator[None]:
        """Keep others away from the run there meanwhile. Raises BusyError."""
        self._session.files.hold(self.area, watch)
        try:
            yield
        finally:
            with suppress(SparseAnnotateError):
                self._session.files.release(self.area)

    def begin(
        self,
        needs: Needs,
        watch: Watch,
        is_same: Callable[[RunThere], bool],
        choice: str = "",
        inputs: str = "",
        is_live: bool = False,
    ) -> CohortCopy:
        """Copy what a training needs to the host, where the run is held, and remember that it is trained there.

        Args:
            is_same: whether a run that is there, but not here, is the one to be trained; otherwise it starts over.
            choice, inputs, is_live: see `RunThere`.

        Raises RunError when the run was continued both here and there, and as `require_ours`; BusyError when a process
        there still uses it; and what copying raises: the run can be begun again then.
        """
        self._look_again()
        self.require_ours(watch)
        known = self.remembered
        if known is not None and known.is_given_up and not (is_live and known.is_live):
            self._require_gone(known, watch)
        if known is not None and known.is_brought_back and not (is_live and known.is_live):
            known = None  # another training; what learns while slices are drawn is continued
        if known is not None and known.host != self.host:
            known = None
        if known is not None and not self.folder.path.is_dir() and not is_same(known):
            known = None  # the run was deleted here
        if known is not None and self._is_of_another_copy(known, is_live, watch):
            known = None
        folder = self.files.in_state(self.folder.path)
        run_files = self.files.run_files(self.name, watch)
        here = {name: content.sha for name, content in run_files.items()}
        came: dict[str, str] = {}
        if known is not None:
            # With what was put in place when a copy ended in the middle.
            came = {**known.files, **{name: sha for name, sha in known.arriving.items() if here.get(name) == sha}}
        is_newer_here = any(here.get(name) != sha for name, sha in came.items()) or (bool(here) and not came)
        there = self._shas_there() if known is not None else {}
        if is_newer_here and any(sha not in (came.get(name), here.get(name)) for name, sha in there.items()):
            raise RunError(
                _(
                    "The run '{run}' was continued both on this computer and on the host '{host}', each without the "
                    "other. Choose another name, or remove what is there: 'sparse-annotate host clean {host} --all'."
                ).format(run=self.name, host=self.host)
            )
        is_sent = is_newer_here or not there or (known is not None and bool(self._lost(there)))
        if known is None:
            self._empty([folder, "jobs", _BROUGHT_BACK, _TOKEN])
        else:
            # What is there, and not here, would be taken for a part of the run that is sent.
            left = [name for name in there if name not in here] if is_sent else []
            self._empty([*left, _BROUGHT_BACK, *([_TOKEN] if known.is_brought_back else [])])
        token = known.token if known is not None else new_token()
        if known is None or known.is_brought_back:
            # Copies of the cohort that were made since know the token. A new one is remembered before it is there: one
            # that is there and not known here would be that of another copy. Nothing is trained there before all is.
            token, before = new_token(), known or RunThere(self.host, "", is_brought_back=True, is_live=is_live)
            self.remember(lambda _known: replace(before, token=token))
        # Where the run is there already, it may be newer.
        further = {**(run_files if is_sent else {}), _TOKEN: content_of(token.encode())}
        copy = send_copy(self._session, self.files, self.area, needs, watch, further)
        started = RunThere(
            self.host,
            token,
            # What else is in the folder here is not removed because it is not there.
            here if is_sent else {name: sha for name, sha in here.items() if name in there},
            choice=choice or (known.choice if known is not None else ""),
            inputs=inputs,
            is_live=is_live,
        )
        self.remember(lambda _known: started)
        return copy

    def _shas_there(self) -> dict[str, str]:
        """The sha256 of the run's files there that come back, by path."""
        folder = self.files.in_state(self.folder.path)
        found = self._session.files.contents(self.area, [folder], [f"{folder}/{name}" for name in LEFT_THERE])
        return {name: sha for name, (_size, sha) in found.items()}

    def _empty(self, names: Sequence[str]) -> None:
        """Remove files there. Raises BusyError when a process there uses the run."""
        used = [self.files.in_state(self.folder.path)]
        if self._session.files.ask("empty", area=self.area, names=list(names), unless_used=used):
            raise BusyError(
                _(
                    "A process on the host '{host}' is still training the run '{run}'. Try again when it has ended: "
                    "after a broken connection, within a minute."
                ).format(host=self.host, run=self.name)
            )

    def await_unused(self, seconds: float = _UNUSED_SECONDS) -> None:
        """Wait until no process there uses the run: one that was cut off while it started ends after a while."""
        folder = self.files.in_state(self.folder.path)
        deadline = time.monotonic() + seconds
        with suppress(SparseAnnotateError):
            while self._session.files.ask("empty", area=self.area, names=[], unless_used=[folder]):
                if time.monotonic() > deadline:
                    return
                time.sleep(_LOOK_SECONDS)

    def note_brought_back(self) -> None:
        """Remember, here and there, that the run is here."""
        self.remember(lambda known: replace(known, is_brought_back=True))
        with suppress(SparseAnnotateError):
            self._session.files.ask("brought_back", area=self.area)

    # --- bringing back --------------------------------------------------------------------------------------------

    def bring_back(self, watch: Watch, everything: bool, is_ended: bool = False, without: Sequence[str] = ()) -> bool:
        """Bring new files of the run here; without `everything` only small ones. True when all have come.

        `without`: folders of the run that stay there, such as LEFT_THERE.

        Raises RunError when the run has been changed here, too; WorkerError when a file of a training that `is_ended`
        changes there meanwhile, or the run was removed there: what is here of it is then kept.
        """
        folder = self.files.in_state(self.folder.path)
        self._look_again()  # before looking there: what has come since is not missing there
        before, arrived = self.known.files, self.known.arriving
        now = self._returning.contents(self.area, [folder], [f"{folder}/{name}" for name in without])
        self._require_there(now)
        # What arrived when a copy ended in the middle, and is no longer there, is to be removed here, too.
        came = {name: sha for name, sha in arrived.items() if name not in now and self.files.sha(name) == sha}
        new = {}
        for name, (size, sha) in now.items():
            place = self.cohort.state_folder / name
            own = self.files.hashes.content(place).sha if place.is_file() else None
            # A card without the weights, which are large, would say that the run has finished here.
            if own == sha or (not everything and (size > _LARGE_BYTES or name.endswith(f"/{CARD_FILE}"))):
                continue
            if own is not None and (own == arrived.get(name) or self._has_come(name, own)):
                came[name] = own
            elif own is not None:
                raise RunError(
                    _(
                        "The run '{run}' was changed on this computer while it was trained on the host '{host}', so it "
                        "was not copied back ('{file}' differs). Train again under another name."
                    ).format(run=self.name, host=self.host, file=name)
                )
            new[name] = (size, sha)
        # Not to be lost when the copy ends in the middle: what is there is then known to be from the host.
        arriving = {name: str(sha) for name, (_size, sha) in new.items()}
        self.remember(lambda run: replace(run, files={**run.files, **came}, arriving=arriving))
        if everything:
            self._forget_removed(set(now), {**before, **came})
        self._forget_parts({sha for _size, sha in new.values()})
        is_whole = self._fetch(new, watch, is_ended)
        placed = {name: sha for name, sha in arriving.items() if self.files.sha(name) == sha}
        self.remember(lambda run: replace(run, files={**run.files, **placed}, arriving={}))
        self.files.hashes.keep()
        return is_whole

    def _has_come(self, name: str, sha: str) -> bool:
        """Whether a file here was copied back, perhaps by another process in the meantime."""
        if sha == self.known.files.get(name):
            return True
        self._look_again()
        return sha in (self.known.files.get(name), self.known.arriving.get(name))

    def _lost(self, there: Mapping[str, object]) -> list[str]:
        """Files that are here and no longer there, although no training removes them: the copy here is the only one."""
        names = [name for name in self.known.files if name.endswith(_KEPT) and name not in there]
        return [name for name in names if self.files.sha(name)]

    def _require_there(self, there: Mapping[str, object]) -> None:
        if lost := self._lost(there):
            raise WorkerError(
                _(
                    "Files of the run '{run}' have been removed on the host '{host}', such as '{file}'. What was "
                    "copied back before is kept on this computer. Train it again under the same name to continue from "
                    "that."
                ).format(run=self.name, host=self.host, file=min(lost))
            )

    @property
    def _parts(self) -> Path:
        """Where files of this run are until they have arrived as a whole."""
        return self.files.parts / self.area.rpartition("/")[2]

    def _forget_parts(self, wanted: set[str]) -> None:
        """Remove what has arrived in part of files that have changed there since: nobody will ask for the rest."""
        for path in self._parts.iterdir() if self._parts.is_dir() else ():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _fetch(self, new: Mapping[str, tuple[int, str]], watch: Watch, is_ended: bool) -> bool:
        """Put new files in place, the cards last: with them, a model and a run are finished."""
        cards = {name for name in new if name.endswith(f"/{CARD_FILE}")}
        own_card = self.files.in_state(self.folder.card_path)
        for names in (sorted(new.keys() - cards), sorted(cards - {own_card}), sorted(cards & {own_card})):
            wanted = {name: new[name] for name in names}
            if wanted:
                self._returning.fetch_parts(self.area, wanted, self._parts, watch)
                targets = {name: self.cohort.state_folder / name for name in names}
                try:
                    self._returning.put_in_place(wanted, targets, self._parts)
                except ChangedThereError:
                    # It grows while it is trained: the next time. Cards wait until what they describe is here.
                    if is_ended:
                        raise
                    return False
        return True

    def _forget_removed(self, there: set[str], known: Mapping[str, str]) -> None:
        """Remove files here that came from the host and are no longer there; those that were changed here stay."""
        for name in sorted(known.keys() - there):
            place = self.cohort.state_folder / name
            if place.is_file() and self.files.hashes.content(place).sha == known[name]:
                place.unlink()
                for folder in place.parents:
                    if folder == self.folder.path:
                        break
                    with suppress(OSError):
                        folder.rmdir()
        gone = known.keys() - there
        self.remember(lambda run: replace(run, files={n: s for n, s in run.files.items() if n not in gone}))

    @contextmanager
    def saying_what_is_kept(self) -> Iterator[None]:
        """Says in errors of the folder here that nothing is lost."""
        try:
            yield
        except (FileWriteError, BusyError) as error:
            remark = _(
                "The run '{run}' is kept on the host '{host}'. Train it again under the same name to copy it here."
            ).format(run=self.name, host=self.host)
            raise type(error)(joined(" ", [error.message, remark])) from error


def require_here(cohort: Cohort, run: str) -> None:
    """Raise RunError when a run that is to be trained here learns on a host while slices are drawn, or is left there.

    What both had learned could not become one. A job there ends by itself, and can be continued here.
    """
    record = read_record(cohort.state_folder)
    known = record.runs.get(run) if record is not None else None
    if known is not None and known.is_live and not known.is_brought_back:
        raise _trained_on(cohort, run, known.host)


def give_up(cohort: Cohort, run: str, host: str) -> str:
    """Let a run continue elsewhere when its host is gone for good, from what was copied back; returns a sentence.

    Should the host come back, what has been learned there and here is not mixed, and neither is lost; see `begin`.

    Raises BadInputError when the run is not left on this host, or the record is damaged; BusyError, FileWriteError.
    """
    with cohort.locked("remembering a run on a host"):
        record = read_record(cohort.state_folder)
        known = record.runs.get(run) if record is not None else None
        if record is None or known is None or known.host != host or known.is_brought_back:
            raise BadInputError(
                _("No run '{run}' of the cohort '{cohort}' is left on the host '{host}'.").format(
                    run=run, cohort=cohort.name, host=host
                )
            )
        here = replace(known, is_brought_back=True, is_given_up=True, cancel_wanted=False)
        write_record(cohort.state_folder, record.with_run(run, here))
    if not RunFolder(cohort.run_folder(run)).is_started:
        return _("The run '{run}' is no longer expected from '{host}'. Nothing of it had been copied back.").format(
            run=run, host=host
        )
    return _(
        "The run '{run}' is no longer expected from '{host}'. It can be continued on this computer or on another host, "
        "from what was copied back."
    ).format(run=run, host=host)


def _trained_on(cohort: Cohort, run: str, host: str) -> RunError:
    state = f' --state "{cohort.state_folder}"' if cohort.state_folder != cohort.folder else ""
    command = f'sparse-annotate host forget {host} "{cohort.folder}"{state} --run "{run}"'
    return RunError(
        _(
            "The run '{run}' is being trained on the host '{host}', or was left there. Compute on this host to "
            "reconnect to it, or choose another name. If the host is gone for good, this lets you continue what was "
            "copied back: '{command}'."
        ).format(run=run, host=host, command=command)
    )


def runs_there(state_folder: Path) -> dict[str, str]:
    """The runs of a cohort that are trained on a host and have not been brought back: run to host.

    Raises BadInputError when the cohort's record is damaged.
    """
    record = read_record(state_folder)
    known = record.runs.items() if record is not None else ()
    return {name: run.host for name, run in known if not run.is_brought_back}
