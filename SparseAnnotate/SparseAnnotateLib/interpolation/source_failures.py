"""Sources that fail while they are asked, so that a mixture can do without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ..core import CancelledError, SparseAnnotateError
from ..core.messages import _


class SourceFailedError(SparseAnnotateError):
    """One of several sources failed, after it seemed usable; the others may do without it.

    Attributes:
        source: its name.
    """

    def __init__(self, source: str, message: str):
        super().__init__(message)
        self.source = source


@contextmanager
def failing_alone(name: str, sources: Collection[str]) -> Iterator[None]:
    """Raise SourceFailedError for what a source raises, and for memory that it cannot have, if there are others."""
    try:
        yield
    except CancelledError:
        raise
    except (SparseAnnotateError, MemoryError) as error:
        if len(sources) < 2:
            raise
        raise SourceFailedError(name, failure_message(error)) from error


def failure_message(error: SparseAnnotateError | MemoryError) -> str:
    """Why a source failed, as a sentence."""
    return error.message if isinstance(error, SparseAnnotateError) else _("There was not enough memory for it.")
