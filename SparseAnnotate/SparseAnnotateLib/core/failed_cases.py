"""How a request reports the cases that it could not do, after it has done the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from .cohort import Cohort
from .errors import BadInputError, SparseAnnotateError
from .messages import _, counted, joined, listed
from .planes import Plane

NAMED, NAMED_IN_LINES = 3, 20
"""How many cases a message names in its sentences, and in a line each."""

NOT_LABELED = (
    _("{count} case was not labeled (others labeled: {done}):\n{problems}"),
    _("{count} cases were not labeled (others labeled: {done}):\n{problems}"),
)
NOT_FILLED = (
    _("{count} case was not filled (others filled: {done}):\n{problems}"),
    _("{count} cases were not filled (others filled: {done}):\n{problems}"),
)
NOT_SENT = (
    _("{count} case was not sent to the host:\n{problems}"),
    _("{count} cases were not sent to the host:\n{problems}"),
)
NOT_RECOMMENDED = (
    _("{count} case was left out. Slices were recommended for {others}. {problems}"),
    _("{count} cases were left out. Slices were recommended for {others}. {problems}"),
)
NONE_MORE_RECOMMENDED = (
    _("{count} case was left out. No more slices were recommended for {others}. {problems}"),
    _("{count} cases were left out. No more slices were recommended for {others}. {problems}"),
)
NONE_RECOMMENDED = (
    _("No slices were recommended, because {count} case cannot be used. {problems}"),
    _("No slices were recommended, because {count} cases cannot be used. {problems}"),
)
NOT_DRAWN = (
    _("{count} case was not drawn (others drawn: {done}):\n{problems}"),
    _("{count} cases were not drawn (others drawn: {done}):\n{problems}"),
)
NOT_PLANNED = (
    _("{count} case was left out. The plan is for {others}. {problems}"),
    _("{count} cases were left out. The plan is for {others}. {problems}"),
)
NONE_PLANNED = (
    _("No plan was made, because {count} case cannot be used. {problems}"),
    _("No plan was made, because {count} cases cannot be used. {problems}"),
)
NOT_COMPARED = (
    _("{count} case was not compared (others compared: {done}):\n{problems}"),
    _("{count} cases were not compared (others compared: {done}):\n{problems}"),
)
NOT_IN_PICTURE = (
    _("{count} case was left out. The picture shows {others}. {problems}"),
    _("{count} cases were left out. The picture shows {others}. {problems}"),
)
NO_PICTURE = (
    _("No picture was written, because {count} case cannot be used. {problems}"),
    _("No picture was written, because {count} cases cannot be used. {problems}"),
)


class PartlyDoneError(BadInputError):
    """Some cases could not be done.

    Attributes:
        shown: the result of the others, as the request would have returned it. failed: the names of those cases, as far
            as they are known.
    """

    def __init__(self, message: str, shown: Any, failed: Iterable[str] = ()):
        super().__init__(message)
        self.shown = list(shown) if isinstance(shown, tuple) else shown
        self.failed = tuple(failed)


def report_failed(
    failed: Mapping[str, SparseAnnotateError],
    done: int,
    sentences: tuple[str, str],
    shown: Any = (),
    more: str = "",
    is_always_partly: bool = False,
    also_failed: Iterable[str] = (),
) -> NoReturn:
    """Raise the error of the only case, or one that names those that failed.

    Args:
        failed: case to its error. done: how many others there are.
        sentences: for one and for several cases, with `{count}`, `{done}`, `{problems}`, and `{others}`, such as 'the
            other 2'. If the problems are in lines of their own, more of them are named.
        shown: the result of the others, to be shown in spite of the error.
        more: a sentence to add.
        is_always_partly: something was done even if all cases failed.
        also_failed: cases that `more` names.
    """
    if len(failed) == 1 and not done and not is_always_partly:
        raise next(iter(failed.values()))
    in_lines = "\n" in sentences[0]
    most, separator = (NAMED_IN_LINES, "\n") if in_lines else (NAMED, " ")
    each = [
        _("'{case}': {problem}").format(case=name, problem=error.message) for name, error in list(failed.items())[:most]
    ]
    if len(failed) > most:
        rest = _("and {count} more") if in_lines else _("And {count} more.")
        each.append(rest.format(count=len(failed) - most))
    others = counted(done, _("the other one"), _("the other {count}"))
    message = counted(len(failed), *sentences, done=done, others=others, problems=joined(separator, each))
    message = joined(separator, [message, more]) if more else message
    is_partly = shown or done > 0
    raise PartlyDoneError(message, shown, [*failed, *also_failed]) if is_partly else BadInputError(message)


def recommended_sentences(found: Collection[Any]) -> tuple[str, str]:
    """The sentences for `report_failed` when these slices were recommended for the other cases: there may be none."""
    return NOT_RECOMMENDED if found else NONE_MORE_RECOMMENDED


def with_slices_to_do(cohort: Cohort, cases: Iterable[str]) -> list[str]:
    """Those of the cases whose ledgers can be read and have slices to do."""
    found = []
    for name in cases:
        with suppress(SparseAnnotateError):
            found += [name] if cohort.ledger(name).todo else []
    return found


def slices_kept(cases: Sequence[str]) -> str:
    """A sentence on cases that were left out, and whose earlier slices to do stay; '' without any."""
    if not cases:
        return ""
    return counted(
        len(cases),
        _("The case {cases} keeps its earlier slices to do."),
        _("The cases {cases} keep their earlier slices to do."),
        cases=listed([f"'{name}'" for name in cases], NAMED_IN_LINES),
    )


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
