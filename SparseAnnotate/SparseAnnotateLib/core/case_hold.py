"""Holding a case while it is drawn on, so that two people do not draw the same one at the same time."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from .case_names import file_stem
from .folder_lock import FolderLock
from .messages import _
from .user_name import ensure_user_name

_held: dict[str, tuple[_CaseLock, int]] = {}


class CaseHold:
    """A hold on one case of a cohort, from its opening to its closing. Several of one process hold it together.

    `enter` raises BusyError, with the name of the user who holds the case elsewhere, and FileWriteError.
    """

    def __init__(self, state_folder: str | Path, case: str):
        self._folder, self._case = Path(os.path.realpath(state_folder)), case
        self._let_go: weakref.finalize[[str], CaseHold] | None = None

    def enter(self) -> None:
        """Hold the case, unless this object does already."""
        if self._let_go is not None:
            return
        key = str(self._folder / file_stem(self._case))
        if key in _held:
            lock, count = _held[key]
            _held[key] = lock, count + 1
        else:
            lock = _CaseLock(self._folder, self._case)
            lock.__enter__()
            _held[key] = lock, 1
        # Also when the object is forgotten.
        self._let_go = weakref.finalize(self, _leave, key)

    def leave(self) -> None:
        """Leave the case to others."""
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()


class _CaseLock(FolderLock):
    def __init__(self, folder: Path, case: str):
        super().__init__(folder / "open", f"{ensure_user_name()}, drawing", name=f"{file_stem(case)}.lock")
        self._case = case

    def _busy_sentence(self, holder: str) -> str:
        return _(
            "The case '{case}' is open elsewhere ({holder}). Open it again when it has been closed there, or choose "
            "another case."
        ).format(case=self._case, holder=holder)


def _leave(key: str) -> None:
    lock, count = _held.pop(key)
    if count > 1:
        _held[key] = lock, count - 1
    else:
        lock.__exit__()
