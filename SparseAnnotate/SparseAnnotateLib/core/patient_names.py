"""Whether a text, such as the path of a folder, names the patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_SHORTEST_NAME = 3  # letters of a name, or characters of an ID, that can be recognized within a longer word


def words_of_patient(name: str, patient_id: str) -> frozenset[str]:
    """The words by which `names_one_of` recognizes a patient: the parts of a name as in DICOM, and the ID."""
    words = {word.casefold() for word in re.split(r"[\^=,;\s]+", name) if len(word) > 1}
    return frozenset(words | ({patient_id.casefold()} if patient_id else set()))


def names_one_of(text: str, names: Iterable[str]) -> bool:
    """True when one of the names is in a text, also within a word; short names only as a word of their own.

    Upper and lower case, umlauts and accents make no difference.
    """
    text = _spellings(text)
    words = set(re.split(r"[^\w]+|_", text))
    spellings = {spelling for name in names for spelling in _spellings(name).split()}
    return any(name in text if len(name) >= _SHORTEST_NAME else name in words for name in spellings)


def _spellings(text: str) -> str:
    """A text in small letters, and the same with umlauts as they are often written in file names."""
    text = unicodedata.normalize("NFKC", text).casefold()
    two_letters = text.translate(_UMLAUTS)
    without_accents = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return f"{text} {two_letters} {without_accents}"
