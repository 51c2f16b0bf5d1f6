"""Files to which a command writes its result: whether they are those of an earlier command after an error."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ..core.errors import SparseAnnotateError
from ..core.file_stamp import FileStamp, stamp_of
from ..core.messages import _, joined

OPTIONS = ("csv", "out", "path", "picture")


class NamedOutputs:
    """The files that a command is asked to write, as they are before it begins.

    Attributes:
        paths: of those that the user has named.
    """

    def __init__(self, options: Namespace):
        given = [getattr(options, name, None) for name in OPTIONS]
        self.paths = [Path(os.path.abspath(os.path.expanduser(path))) for path in given if path]
        self._before = {path: _stamp(path) for path in self.paths or _default_paths(options)}

    def unchanged_sentence(self) -> str:
        """Which of the files are still those that were there before; '' when none is."""
        sentences = [
            _("The file '{path}' was not changed: it is from an earlier command.").format(path=path)
            for path, stamp in self._before.items()
            if stamp is not None and _stamp(path) == stamp
        ]
        return joined(" ", sentences) if sentences else ""


def _default_paths(options: Namespace) -> list[Path]:
    """Where the result goes if the user names no file: for commands with a file in the cohort folder."""
    default_output: Callable[[Namespace], Path] | None = getattr(options, "default_output", None)
    if default_output is None:
        return []
    try:
        return [default_output(options)]
    except (SparseAnnotateError, OSError):  # the command reports it
        return []


def _stamp(path: Path) -> FileStamp | None:
    """None without such a file, and where it cannot be found out, as in a folder without rights."""
    try:
        return stamp_of(path) if path.is_file() else None
    except OSError:
        return None
