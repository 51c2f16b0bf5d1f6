"""`accept-image`: let what was drawn belong to the images that are there now."""

from __future__ import annotations

from collections.abc import Sequence

from ..worker.accept_image_request import AcceptedImage
from .shared_options import cohort_command
from .terminal_output import show_line, show_table


def add_accept_image(commands) -> None:
    text = "accept images that have changed since they were drawn on, if what was drawn fits them as well"
    cohort_command(commands, "accept-image", text, show_accepted)


def show_accepted(rows: Sequence[AcceptedImage]) -> None:
    if rows:
        show_table(rows)
    else:
        show_line("No image differs from the one that was drawn on.")
