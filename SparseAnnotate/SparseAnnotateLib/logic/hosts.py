"""Computing on other computers: which one is used, setting one up, checking and cleaning it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import BadInputError
from ..core.cohort_file import COHORT_FILE
from ..core.decathlon import DATASET_FILE
from ..core.messages import _, counted, joined
from ..remote.cohort_record import read_record, record_of
from ..remote.hosts import allow_copying, host_named, known_hosts
from ..remote.run_on_host import runs_there
from .session import Session, Waiting


class Hosts:
    """The hosts that were set up, and the one that the session computes on."""

    def __init__(self, session: Session):
        self._session = session

    def names(self) -> list[str]:
        """Names of the hosts that were set up. Raises BadInputError when their file is damaged."""
        return [host.name for host in known_hosts()]

    def use(self, name: str, allows_copying: bool = False) -> None:
        """Compute on a host, '' for this computer; see `ConsoleLogic.useHost`."""
        if self._session.jobs.is_busy:
            raise BadInputError(_("Another task is running. Wait until it has finished, or cancel it."))
        if self._session.learning_jobs.is_busy and name != self._session.host:
            raise BadInputError(
                _("A model is learning while you draw. Stop it first; it can be continued on the other computer then.")
            )
        if name:
            host_named(name)
            if allows_copying:
                self.allow(name)
        self._session.use_host(name)

    def is_allowed(self, name: str) -> bool:
        """True when the user has allowed copying the session's cohort to a host."""
        record = read_record(self._state_folder)
        return record is not None and record.identity in host_named(name).cohorts

    @property
    def _state_folder(self) -> Path:
        """Where the cohort's record is; see `read_cohort_file`."""
        folder = self._session.cohort_folder
        is_decathlon = (folder / DATASET_FILE).is_file() and not (folder / COHORT_FILE).is_file()
        return folder / "SparseAnnotate" if is_decathlon else folder

    def allow(self, name: str) -> None:
        """Remember that the session's cohort may be copied to a host. Raises FileWriteError."""
        allow_copying(name, record_of(self._state_folder).identity)

    def question(self, name: str) -> str:
        """What to ask before the session's cohort is copied to a host for the first time."""
        host = host_named(name)
        return joined(
            " ",
            [
                _("Compute on '{host}'?").format(host=name),
                _(
                    "Images, the names of cases and structures, and what is drawn will be copied to the folder "
                    "'{folder}' there, as far as each task needs them. Names of files and people, and DICOM headers, "
                    "will not. You are asked once for this cohort folder and host."
                ).format(folder=host.folder),
            ],
        )

    def runs_there(self) -> dict[str, str]:
        """The runs that are being trained on a host, or were and are not here yet: run to host."""
        return runs_there(self._state_folder)

    def add(self, name: str, prefix: str, python: str, folder: str, as_is: bool | None, waiting: Waiting) -> Any:
        """Set a host up: see `ConsoleLogic.addHost`."""
        params: dict[str, Any] = {"name": name, "as_is": as_is}
        given = (("prefix", prefix), ("python", python), ("folder", folder))
        params |= {key: value for key, value in given if value}
        return self._session.do_on_hosts("add_host", params, waiting)

    def check(self, name: str, waiting: Waiting) -> Any:
        """Check a host: see `ConsoleLogic.checkHost`."""
        return self._session.do_on_hosts("check_host", {"name": name}, waiting)

    def clean(self, name: str, everything: bool, waiting: Waiting) -> Any:
        """Remove what is on a host: see `ConsoleLogic.cleanHost`."""
        return self._session.do_on_hosts("clean_host", {"name": name, "everything": everything}, waiting)

    def cancel(self) -> None:
        """Stop what is done on a host: see `ConsoleLogic.cancelHost`."""
        self._session.host_jobs.cancel()


def report_sentence(report: dict[str, Any]) -> str:
    """What a check of a host has found, in sentences."""
    used = sum(report["used"].values())
    sentences = [
        report["message"],
        _("'{host}': round trip {time:.0f} ms, {used:.1f} MB used, {free:.0f} GB free, copies with {program}.").format(
            host=report["host"]["name"],
            time=report["round_trip"],
            used=used / 1e6,
            free=report["free"] / 1e9,
            program=report["copies_with"],
        ),
    ]
    cohorts = len(report["host"]["cohorts"])
    if cohorts:
        sentences.append(counted(cohorts, _("{count} cohort may be copied."), _("{count} cohorts may be copied.")))
    return joined(" ", [sentence for sentence in sentences if sentence])
