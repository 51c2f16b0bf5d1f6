"""How messages call files and folders that a user gives, where paths often name the patient: by numbers.

The shell may have written a path for a pattern, so a path that is given is not one that was typed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import BadInputError
from .messages import _, capitalized


@dataclass(frozen=True)
class GivenPath(os.PathLike[str]):
    """A file or folder that a user gives, as messages call it.

    Attributes:
        number: its number, from 1, among all `count` files and folders that are given, or that patterns stand for.
        is_of_pattern: some of them are of a pattern.
    """

    path: str
    number: int = 1
    count: int = 1
    is_of_pattern: bool = False

    def __fspath__(self) -> str:
        return self.path

    @property
    def shown(self) -> str:
        """What messages call it, for example 'number 3 of the 50 files and folders given'."""
        if self.count == 1:
            return _("the folder given") if os.path.isdir(self.path) else _("the file given")
        return _("number {number} of {given}").format(number=self.number, given=shown_given([self] * self.count))

    def called(self, kind: str) -> str:
        """The same for a file, with its kind."""
        if self.count == 1:
            return _("the {kind} given").format(kind=kind)
        return _("the {kind} that is {shown}").format(kind=kind, shown=self.shown)


def does_not_exist(given: GivenPath) -> BadInputError:
    """That a path stands for nothing: it is shown, unless it is one of several."""
    shown = given.shown
    if given.count == 1:
        shown = _("the file or folder '{path}'").format(path=given.path)
    return BadInputError(_("{path} does not exist.").format(path=capitalized(shown)))


def shown_given(given: Sequence[GivenPath]) -> str:
    """All files and folders that a user gives, as messages call them."""
    if len(given) == 1:
        return given[0].shown
    found = _("the {count} files and folders given").format(count=len(given))
    return _("{given} (those of a pattern by name)").format(given=found) if given[0].is_of_pattern else found
