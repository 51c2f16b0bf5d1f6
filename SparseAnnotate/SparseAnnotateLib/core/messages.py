"""Messages for users: English text that keeps its template, so that it can be translated later.

The library writes `_("There is no case '{name}'.").format(name=name)`, as Slicer's own modules do. The result is the
English sentence, a `str` that also keeps the template and the values. The command line prints the English text; the
panel, which alone knows the user's language, translates the template and fills in the values again. The worker sends
messages with their templates (`plain_message`, `message_from`). Text built from messages in other ways, for example
with an f-string, loses the template and stays English. Files and scenes store the English text only; while the program
runs, the message of a stored text is `remembered`.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

Translate = Callable[[str, str], str]
"""Translates (context, template); `slicer.i18n.translate` is one."""

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[^\W\d_]+")

_MOST_REMEMBERED = 10_000
_REMEMBERED: dict[str, Message] = {}


class Message(str):
    """An English sentence that can be translated.

    Attributes:
        context: where the template is written, as Qt's translation files name it: 'core.cohort'.
        template: the sentence with `{names}` in place of the values.
        values: what the names stand for: text, numbers, or messages again.
        parts: the messages that this one was joined from; otherwise empty.
    """

    context: str
    template: str
    values: Mapping[str, Any]
    parts: tuple[str, ...]

    def __new__(
        cls,
        text: str,
        context: str = "",
        template: str = "",
        values: Mapping[str, Any] | None = None,
        parts: Iterable[str] = (),
    ) -> Message:
        message = super().__new__(cls, text)
        message.context, message.template = context, template or str(text)
        message.values, message.parts = dict(values or {}), tuple(parts)
        return message

    def format(self, **values: Any) -> Message:  # type: ignore[override]
        """The message with the values filled in, by name only: positions may differ between languages."""
        return Message(self.template.format(**values), self.context, self.template, values)

    def __add__(self, other: str) -> Message:
        return joined("", (self, other))

    def __radd__(self, other: str) -> Message:
        return joined("", (other, self))

    def translated(self, translate: Translate) -> str:
        """The sentence in another language; in English when the translation does not fit the values."""
        if self.parts:
            return "".join(translated(part, translate) for part in self.parts)
        text = translate(self.context, self.template)
        if not self.values:
            return text
        try:
            return text.format(**{name: translated(value, translate) for name, value in self.values.items()})
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            return str(self)


def _(text: str) -> Message:
    """Mark a sentence for translation; `.format(name=...)` fills values in."""
    return Message(text, _context(sys._getframe(1).f_code.co_filename))


def counted(count: int, one: str, many: str, **values: Any) -> str:
    """`one` for a count of 1, otherwise `many`, with `{count}` and other values filled in: '1 volume', '2 volumes'."""
    return (one if count == 1 else many).format(count=count, **values)


def joined(separator: str, messages: Iterable[str]) -> Message:
    """Several messages one after another, each translated by itself."""
    parts: list[str] = []
    for message in map(remembered, messages):
        if parts and separator:
            parts.append(separator)
        parts += message.parts if isinstance(message, Message) and message.parts else (message,)
    return Message("".join(parts), parts=parts)


def capitalized(text: str) -> str:
    """A text that begins a sentence, such as the title of a series."""
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str], most: int) -> str:
    """The first of several names and how many more there are: 'a, b and 3 more'."""
    shown = joined(", ", names[:most])
    if len(names) <= most:
        return shown
    return _("{names} and {count} more").format(names=shown, count=len(names) - most)


def translated(value: Any, translate: Translate) -> Any:
    """A message in the language of `translate`; other values unchanged."""
    return value.translated(translate) if isinstance(value, Message) else value


def remember(message: Message) -> None:
    """Keep a sentence whose text alone is stored, for `remembered`."""
    if not is_sentence(message):
        return
    _REMEMBERED.pop(str(message), None)
    _REMEMBERED[str(message)] = message
    if len(_REMEMBERED) > _MOST_REMEMBERED:
        del _REMEMBERED[next(iter(_REMEMBERED))]


def remembered(text: str) -> str:
    """The message with this text, if one was stored or received while the program runs; otherwise the text."""
    return text if isinstance(text, Message) else _REMEMBERED.get(text, text)


def plain_message(message: str) -> Any:
    """A message as JSON values: plain text, a template with its values, or a list of parts."""
    if not isinstance(message, Message):
        return str(message)
    if message.parts:
        return {"parts": [plain_message(part) for part in message.parts]}
    values = {name: _plain_value(value) for name, value in message.values.items()}
    return {"text": str(message), "context": message.context, "template": message.template, "values": values}


def message_from(plain: Any) -> str:
    """The message that was converted by `plain_message`; other content as text."""
    if not isinstance(plain, dict):
        return str(plain)
    if "parts" in plain:
        return joined("", [message_from(part) for part in plain["parts"]])
    values = {
        name: value if isinstance(value, (int, float)) else message_from(value)
        for name, value in plain.get("values", {}).items()
    }
    return Message(str(plain.get("text", "")), str(plain.get("context", "")), str(plain.get("template", "")), values)


def is_sentence(message: Message) -> bool:
    """False for a single word, or text from values alone: a user may have given it as a name, say of a case."""
    return _own_word_count(message) >= 2


def _own_word_count(message: Any) -> int:
    """How many words of a message are the program's, not a user's."""
    if not isinstance(message, Message):
        return 0
    if message.parts:
        return sum(map(_own_word_count, message.parts))
    template = _PLACEHOLDER.sub(" ", message.template)
    return len(_WORD.findall(template)) + sum(map(_own_word_count, message.values.values()))


def _plain_value(value: Any) -> Any:
    if isinstance(value, (int, float)) and math.isfinite(value):
        return value
    return plain_message(value if isinstance(value, str) else str(value))


@cache
def _context(file: str) -> str:
    """The context as `slicer.i18n.getContext` names it, so that translations are found: 'core.cohort'."""
    name = os.path.splitext(os.path.basename(file))[0]
    return f"{os.path.basename(os.path.dirname(file))}.{name}"
