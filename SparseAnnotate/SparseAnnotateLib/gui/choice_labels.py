"""Combo boxes that offer the parts of a registry: they show labels and explain them; the scene stores names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import qt

from ..core.registry import Entry
from .words import in_users_language

E = TypeVar("E", bound=Entry)


def explain(selector, parts: Mapping[str, E]) -> None:
    """Explain each part in the tooltip of a combo box."""
    selector.toolTip = "\n".join(
        f"{in_users_language(part.label)}: {in_users_language(part.description)}" for part in parts.values()
    )


def show_labels(selector, parts: Mapping[str, E]) -> None:
    """Show the labels of parts in a combo box that is bound to a choice of their names, in the same order."""
    for number, part in enumerate(parts.values()):
        selector.setItemText(number, in_users_language(part.label))
        selector.setItemData(number, in_users_language(part.description), qt.Qt.ToolTipRole)


def chosen_part(selector, parts: Mapping[str, E]) -> E | None:
    """The selected part of a combo box; None while it is empty."""
    number = selector.currentIndex
    return list(parts.values())[number] if 0 <= number < len(parts) else None


def choose(selector, parts: Mapping[str, E], name: str) -> None:
    """Select the part of this name in a combo box."""
    selector.setCurrentIndex(list(parts).index(name))
