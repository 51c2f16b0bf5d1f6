"""Files that the user has named for a result: whether they are those of an earlier command after an error."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from ..core.file_stamp import FileStamp, stamp_of
from ..core.messages import _, joined

OPTIONS = ("csv", "out", "path", "picture")


class NamedOutputs:
    """The files that a command is asked to write, as they are before it begins."""

    def __init__(self, options: Namespace):
        given = [getattr(options, name, None) for name in OPTIONS]
        self.paths = [Path(os.path.abspath(os.path.expanduser(path))) for path in given if path]
        self._before = {path: _stamp(path) for path in self.paths}

    def unchanged_sentence(self) -> str:
        """Which of the files are still those that were there before; '' when none is."""
        sentences = [
            _("The file '{path}' was not changed: it is from an earlier command.").format(path=path)
            for path, stamp in self._before.items()
            if stamp is not None and _stamp(path) == stamp
        ]
        return joined(" ", sentences) if sentences else ""


def _stamp(path: Path) -> FileStamp | None:
    """None without such a file, and where it cannot be found out, as in a folder without rights."""
    try:
        return stamp_of(path) if path.is_file() else None
    except OSError:
        return None
