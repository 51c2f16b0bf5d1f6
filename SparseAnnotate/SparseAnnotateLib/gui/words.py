"""Texts of the library in the language of Slicer's user interface."""

from __future__ import annotations

from slicer.i18n import tr as _
from slicer.i18n import translate

from ..core import messages


def in_users_language(message: str) -> str:
    """A message of the library, also if it was read from a file or the scene, in the language of the user interface."""
    return messages.translated(messages.remembered(message), translate)


def translated(word: str) -> str:
    """A plane, a slice's state, or what a slice was initialized from, in the user's language."""
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
    return known.get(word) or in_users_language(word)
