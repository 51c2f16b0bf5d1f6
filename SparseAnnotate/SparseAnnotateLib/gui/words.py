"""The project's words in the language of the window."""

from __future__ import annotations

from slicer.i18n import tr as _
from slicer.i18n import translate

from ..core import messages


def in_users_language(message: str) -> str:
    """A message of the library in the language of the window; other text as it is."""
    return messages.translated(message, translate)


def said(word: str) -> str:
    """A plane, a slice's state, or what was started from, in the user's language; other words stay as they are."""
    known = {
        "axial": _("axial"),
        "coronal": _("coronal"),
        "sagittal": _("sagittal"),
        "to do": _("to do"),
        "drawn": _("drawn"),
        "empty": _("empty"),
        "skipped": _("skipped"),
        "fill": _("fill"),
    }
    return known.get(word, word)
