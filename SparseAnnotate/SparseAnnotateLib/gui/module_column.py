"""The column of Slicer's window that contains the panel and scrolls it."""

from __future__ import annotations

import qt


def scroll_to(section) -> None:
    """Scroll until a section is visible; if it does not fit into the column, its title goes to the top."""
    area = _scroll_area(section)
    if area is None:
        return
    bar, view = area.verticalScrollBar(), area.viewport()
    top = section.mapTo(view, qt.QPoint(0, 0)).y()
    bottom = top + section.height
    if top < 0 or section.height > view.height:
        bar.setValue(bar.value + top)
    elif bottom > view.height:
        bar.setValue(bar.value + bottom - view.height)


def scroll_to_top(widget) -> None:
    """Scroll the column that contains a widget to its top."""
    area = _scroll_area(widget)
    if area is not None:
        area.verticalScrollBar().setValue(0)


def _scroll_area(widget):
    """The scroll area around a widget; None if there is none."""
    while widget is not None and not widget.inherits("QScrollArea"):
        widget = widget.parent()
    return widget
