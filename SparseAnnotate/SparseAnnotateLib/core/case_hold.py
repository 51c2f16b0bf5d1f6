"""Holding a case while it is drawn on, so that two people do not draw the same one at the same time."""

from __future__ import annotations

from pathlib import Path

from .case_names import file_stem
from .folder_lock import FolderLock
from .messages import _
from .user_name import ensure_user_name


class CaseHold(FolderLock):
    """A lock on one case of a cohort, from its opening to its closing; see `FolderLock`.

    Raises BusyError, with the name of the user who holds the case, and FileWriteError.
    """

    def __init__(self, state_folder: str | Path, case: str):
        super().__init__(Path(state_folder) / "open", f"{ensure_user_name()}, drawing", name=f"{file_stem(case)}.lock")
        self._case = case

    def _busy_sentence(self, holder: str) -> str:
        return _(
            "The case '{case}' is open elsewhere ({holder}). Open it again when it has been closed there, or choose "
            "another case."
        ).format(case=self._case, holder=holder)
