"""What a cohort's folder remembers of its copies on hosts: its identity, and the runs that are trained there."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core.strict_json import read_json, write_json

RECORD_FILE = "elsewhere.json"


@dataclass(frozen=True)
class RunThere:
    """A run that is trained on a host.

    Attributes:
        host: which. token: also in the run's folder there, so that no other copy of this cohort takes it for its own.
        files: of the run's folder that were copied back, by path, with their sha256.
        is_brought_back: True once the finished run is here.
        arriving: as `files`, of those that were being put in place; they may be here or not.
        choice, inputs: fingerprints of what was chosen for the training, and of what it was made from.
        cancel_wanted: it was cancelled, and the host has not been told yet.
        is_live: it learns while slices are drawn, and is no job there.
        is_given_up: its host seemed to be gone for good, and what had been copied back counts as all of it.
    """

    host: str
    token: str
    files: dict[str, str] = field(default_factory=dict)
    is_brought_back: bool = False
    arriving: dict[str, str] = field(default_factory=dict)
    choice: str = ""
    inputs: str = ""
    cancel_wanted: bool = False
    is_live: bool = False
    is_given_up: bool = False


@dataclass(frozen=True)
class CohortRecord:
    """The content of elsewhere.json.

    Attributes:
        identity: of the cohort, 32 hexadecimal digits made at random. runs: by name.
    """

    identity: str
    runs: dict[str, RunThere] = field(default_factory=dict)
    format: Literal["SparseAnnotate copies"] = "SparseAnnotate copies"
    version: Literal[1] = 1

    def with_run(self, name: str, run: RunThere | None) -> CohortRecord:
        """The record with a run; None removes it."""
        runs = {other: value for other, value in self.runs.items() if other != name}
        return replace(self, runs=runs if run is None else {**runs, name: run})


def read_record(state_folder: Path) -> CohortRecord | None:
    """The record in a state folder; None when there is none yet. Raises BadInputError when it is damaged."""
    path = state_folder / RECORD_FILE
    return read_json(path, CohortRecord) if path.is_file() else None


def record_of(state_folder: Path) -> CohortRecord:
    """The record in a state folder, made when there is none. Raises BadInputError, FileWriteError."""
    record = read_record(state_folder)
    if record is None:
        record = CohortRecord(uuid.uuid4().hex)
        write_record(state_folder, record)
    return record


def write_record(state_folder: Path, record: CohortRecord) -> None:
    """Store a record. Raises FileWriteError."""
    write_json(state_folder / RECORD_FILE, record)


def new_token() -> str:
    """A token for a run that begins on a host."""
    return uuid.uuid4().hex
