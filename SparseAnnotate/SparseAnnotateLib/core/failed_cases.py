"""How a request reports the cases that it could not do, after it has done the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import BadInputError, SparseAnnotateError
from .messages import _, counted, joined

NOT_LABELED = (
    _("{count} case was not labeled ({done} others were). {problems}"),
    _("{count} cases were not labeled ({done} others were). {problems}"),
)
NOT_RECOMMENDED = (
    _("{count} case was left out; slices of the others ({done}) are recommended. {problems}"),
    _("{count} cases were left out; slices of the others ({done}) are recommended. {problems}"),
)


class PartlyDoneError(BadInputError):
    """Some cases could not be done; `shown` holds the results of the others."""

    def __init__(self, message: str, shown: Sequence[Any]):
        super().__init__(message)
        self.shown = list(shown)


def report_failed(
    failed: Mapping[str, SparseAnnotateError],
    done: int,
    sentences: tuple[str, str] = NOT_LABELED,
    most: int = 3,
    separator: str = " ",
    shown: Sequence[Any] | None = None,
) -> NoReturn:
    """Raise the error of the only case, or one that names those that failed.

    Args:
        failed: case to its error. done: how many others there are.
        sentences: for one and for several cases, with `{count}`, `{done}` and `{problems}`.
        most: how many cases to name. separator: between them.
        shown: the results of the others, to be shown in spite of the error.
    """
    if len(failed) == 1 and not done:
        raise next(iter(failed.values()))
    each = [
        _("'{case}': {problem}").format(case=name, problem=error.message) for name, error in list(failed.items())[:most]
    ]
    if len(failed) > most:
        each.append(_("and {count} more").format(count=len(failed) - most))
    message = counted(len(failed), *sentences, done=done, problems=joined(separator, each))
    raise BadInputError(message) if shown is None else PartlyDoneError(message, shown)
