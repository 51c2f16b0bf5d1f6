"""The colors of a cohort's structures, as they were last chosen in Slicer: kept in colors.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from .cohort import Cohort
from .errors import BadInputError, FileWriteError
from .strict_json import read_json, write_json

_FILE = "colors.json"
Color = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""


@dataclass(frozen=True)
class KnownColors:
    """The content of colors.json: structure to its color."""

    structures: dict[str, Color]
    format: Literal["SparseAnnotate colors"] = "SparseAnnotate colors"
    version: Literal[1] = 1


def known_colors(cohort: Cohort) -> dict[str, Color]:
    """The colors of structures that were drawn in Slicer. Raises BadInputError on a damaged file."""
    path = cohort.state_folder / _FILE
    return read_json(path, KnownColors).structures if path.is_file() else {}


def shown_color(color: Color) -> tuple[int, int, int]:
    """A color as a screen shows it, from 0 to 255: it stays the same when it is written with fewer digits."""
    red, green, blue = (round(255 * min(max(part, 0.0), 1.0)) for part in color)
    return red, green, blue


def note_colors(cohort: Cohort, colors: Mapping[str, Color], is_newer: Callable[[str, Color], bool]) -> bool:
    """Keep the colors of the cohort's structures; False where the folder cannot be written.

    Nothing else depends on them, so a damaged file is replaced.

    Args:
        is_newer: called with a structure and the color that is known of it; whether the one here replaces it.
    """
    known: dict[str, Color] = {}
    with suppress(BadInputError):
        known = known_colors(cohort)
    ours = set(cohort.labels.values())
    newer = {name for name, color in colors.items() if name not in known or is_newer(name, known[name])}
    found = known | {name: colors[name] for name in newer & ours}
    if found == known:
        return True
    try:
        write_json(cohort.state_folder / _FILE, KnownColors(found), checksum=False)
    except FileWriteError:
        return False
    return True
