"""Holding a case while it is drawn on, so that two people do not draw the same one at the same time."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from pathlib import Path

from .case_names import file_stem
from .errors import BusyError
from .folder_lock import FolderLock
from .messages import _
from .user_name import ensure_user_name

_DRAWING = ", drawing"
_LOCKS = "open"

_held: dict[str, tuple[_CaseLock, int]] = {}


class HeldElsewhereError(BusyError):
    """A case that is open in another process.

    Attributes:
        case: its name. holder: who draws there, in words.
    """

    def __init__(self, case: str, holder: str):
        super().__init__(
            _(
                "The case '{case}' is open elsewhere: {holder}. Open it again when it has been closed there, or choose "
                "another case."
            ).format(case=case, holder=holder)
        )
        self.case, self.holder = case, holder


class CaseHold:
    """A hold on one case of a cohort, from its opening to its closing. Several of one process hold it together.

    `enter` raises HeldElsewhereError, with the name of the user who holds the case elsewhere, and FileWriteError.
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
            try:
                lock.__enter__()
            except BusyError as error:
                raise HeldElsewhereError(self._case, lock.holder) from error
            _held[key] = lock, 1
        # Also when the object is forgotten.
        self._let_go = weakref.finalize(self, _leave, key)

    def leave(self) -> None:
        """Leave the case to others."""
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()


def holders_elsewhere(state_folder: str | Path, cases: Iterable[str]) -> dict[str, str]:
    """The cases that are open in other processes, each with who draws there, in words."""
    folder, found = Path(os.path.realpath(state_folder)), {}
    try:
        with os.scandir(folder / _LOCKS) as files:
            in_use = {file.name for file in files if file.stat().st_size}
    except OSError:
        return {}  # nobody has drawn there
    for case in cases:
        if f"{file_stem(case)}.lock" in in_use and str(folder / file_stem(case)) not in _held:
            holder = _CaseLock(folder, case).holder_elsewhere()
            if holder:
                found[case] = holder
    return found


class _CaseLock(FolderLock):
    def __init__(self, folder: Path, case: str):
        super().__init__(folder / _LOCKS, f"{ensure_user_name()}{_DRAWING}", name=f"{file_stem(case)}.lock")
        self.holder = ""

    def _holder_sentence(self, process: int, computer: str, purpose: str) -> str:
        return _("{user} is drawing there (process {process} on {computer})").format(
            user=purpose.removesuffix(_DRAWING), process=process, computer=computer
        )

    def _busy_sentence(self, holder: str) -> str:
        self.holder = holder
        return holder


def _leave(key: str) -> None:
    lock, count = _held.pop(key)
    if count > 1:
        _held[key] = lock, count - 1
    else:
        lock.__exit__()
