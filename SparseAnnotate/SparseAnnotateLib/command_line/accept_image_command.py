"""`accept-image`: let what was drawn belong to the images that are there now."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.drawn_on import AcceptedImage
from ..core.messages import counted
from .shared_options import cohort_command
from .terminal_output import show_line, show_table


def add_accept_image(commands) -> None:
    text = "accept images that have changed since they were drawn on, if what was drawn fits them as well"
    cohort_command(commands, "accept-image", text, show_accepted)


def show_accepted(rows: Sequence[AcceptedImage]) -> None:
    if rows:
        show_table(rows)
        show_line(
            counted(
                len(rows),
                "Accepted {count} image: what was drawn on this case counts as drawn on it now. Results that were made "
                "from the earlier image are out of date.",
                "Accepted {count} images: what was drawn on these cases counts as drawn on them now. Results that were "
                "made from the earlier images are out of date.",
            )
        )
    else:
        show_line("No image differs from the one that was drawn on.")
