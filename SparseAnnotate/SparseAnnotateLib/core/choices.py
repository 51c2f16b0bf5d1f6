"""Members of an enumeration by their names, as people type them."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from .errors import BadInputError
from .messages import Message

E = TypeVar("E", bound=StrEnum)


def choice(kind: type[E], name: str, unknown: Message) -> E:
    """The member with that value, ignoring case and surrounding blanks.

    Raises BadInputError with the sentence `unknown`, which has the fields {name} and {names}, when there is none.
    """
    try:
        return kind(str(name).strip().lower())
    except ValueError:
        names = ", ".join(member.value for member in kind)
        raise BadInputError(unknown.format(name=name, names=names)) from None
