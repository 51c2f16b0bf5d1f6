"""What a program may not open, as a sentence; for the edges: panel, logic, command line, worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BadInputError
from .messages import _


@contextmanager
def forbidden_files_named() -> Iterator[None]:
    """Raise BadInputError instead of a PermissionError. Also a decorator."""
    try:
        yield
    except PermissionError as error:
        raise BadInputError(
            _(
                "You have no permission to open '{path}'. Change its permissions and those of the folders it is in, or "
                "choose another one."
            ).format(path=error.filename or error)
        ) from error


def exists(path: str | Path) -> bool:
    """Whether there is a file, folder or link. Raises PermissionError when this may not be seen."""
    try:
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
