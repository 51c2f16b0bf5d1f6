"""How a request reports the cases that it could not do, after it has done the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from .cohort import Cohort
from .errors import BadInputError, SparseAnnotateError
from .messages import _, counted, joined
from .planes import Plane

NOT_LABELED = (
    _("{count} case was not labeled ({done} others were). {problems}"),
    _("{count} cases were not labeled ({done} others were). {problems}"),
)
NOT_RECOMMENDED = (
    _("{count} case was left out. Slices were recommended for {others}. {problems}"),
    _("{count} cases were left out. Slices were recommended for {others}. {problems}"),
)
NONE_RECOMMENDED = (
    _("No slices were recommended, because {count} case cannot be used. {problems}"),
    _("No slices were recommended, because {count} cases cannot be used. {problems}"),
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
    more: str = "",
) -> NoReturn:
    """Raise the error of the only case, or one that names those that failed.

    Args:
        failed: case to its error. done: how many others there are.
        sentences: for one and for several cases, with `{count}`, `{done}`, `{problems}`, and `{others}`, such as 'the
            other 2'.
        most: how many cases to name. separator: between them.
        shown: the results of the others, to be shown in spite of the error.
        more: a sentence to add.
    """
    if len(failed) == 1 and not done:
        raise next(iter(failed.values()))
    each = [
        _("'{case}': {problem}").format(case=name, problem=error.message) for name, error in list(failed.items())[:most]
    ]
    if len(failed) > most:
        each.append(_("and {count} more").format(count=len(failed) - most))
    others = counted(done, _("the other one"), _("the other {count}"))
    message = counted(len(failed), *sentences, done=done, others=others, problems=joined(separator, each))
    message = joined(" ", [message, more]) if more else message
    raise BadInputError(message) if shown is None else PartlyDoneError(message, shown)


def not_counted(cohort: Cohort, failed: Collection[str], planes: Collection[str | Plane], total: int | None) -> str:
    """A sentence on slices drawn on cases that were left out, which a budget of `total` slices does not count.

    '' without any, or without such a budget.
    """
    if total is None:
        return ""
    drawn, wanted = 0, {Plane.named(plane) for plane in planes}
    for name in failed:
        with suppress(SparseAnnotateError):
            drawn += sum(entry.plane in wanted for entry in cohort.ledger(name).decided)
    if not drawn:
        return ""
    return counted(
        drawn,
        _("{count} slice that is drawn there was not counted toward the budget of {total}."),
        _("{count} slices that are drawn there were not counted toward the budget of {total}."),
        total=total,
    )
