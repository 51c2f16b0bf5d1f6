"""Whether a text, such as the path of a folder, names the patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_PARTS = re.compile(r"[\^=,;\s\-\\]+")
_SIGNS = re.compile(r"[^\w\s]|_")
_SHORTEST_NAME = 3  # letters of a name, or characters of an ID, that can be recognized within a longer word


def words_of_patient(names: Iterable[str], patient_id: str, identifiers: Iterable[str]) -> frozenset[str]:
    """The words by which `names_one_of` recognizes a patient.

    Args:
        names: as in DICOM, several joined by backslashes. identifiers: other numbers and dates, in the same way.
    """
    words = {word.casefold() for name in names for word in _PARTS.split(name)}
    words = {word for word in words if len(word) > 1 or not word.isascii()}
    for text in identifiers:
        found = {part.strip().casefold() for part in text.split("\\")}
        days = {f"{day[6:]}{day[4:6]}{day[:4]}" for day in found if len(day) == 8 and day.isdecimal()}
        # A short number is in many a path.
        words |= {one for one in found | days if len(one) >= _SHORTEST_NAME}
    own = {patient_id.casefold(), patient_id.casefold().lstrip("0")}
    return frozenset((words | own) - {""})


def names_one_of(text: str, names: Iterable[str]) -> bool:
    """True when one of the names is in a text, also within a word; short names only as a word of their own.

    Upper and lower case, umlauts, accents and signs between letters make no difference.
    """
    text = _spellings(text)
    words = set(re.split(r"[^\w]+|_", text))
    joined = _SIGNS.sub("", text)
    spellings = {spelling for name in names for spelling in _spellings(name).split()}
    return any(_is_in(name, text, joined, words) for name in spellings)


def _is_in(name: str, text: str, joined: str, words: set[str]) -> bool:
    plain = _SIGNS.sub("", name)
    if not name.isascii() and not any(unicodedata.combining(c) or (c.isalpha() and c.upper() != c) for c in name):
        return name in text  # scripts without capital letters write names without spaces, a character or two each
    return (name in text or plain in joined) if len(plain) >= _SHORTEST_NAME else name in words


def _spellings(text: str) -> str:
    """A text in small letters, and the same with umlauts as they are often written in file names."""
    text = unicodedata.normalize("NFKC", text).casefold()
    two_letters = text.translate(_UMLAUTS)
    without_accents = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return f"{text} {two_letters} {without_accents}"
