"""The colors of a cohort's structures, as they were last shown in Slicer: kept in colors.json."""

from __future__ import annotations

from collections.abc import Mapping
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


def note_colors(cohort: Cohort, colors: Mapping[str, Color]) -> None:
    """Keep the colors of the cohort's structures, in place of earlier ones, where the folder can be written.

    Nothing else depends on them, so a damaged file is replaced.
    """
    known: dict[str, Color] = {}
    with suppress(BadInputError):
        known = known_colors(cohort)
    ours = set(cohort.labels.values())
    found = known | {name: color for name, color in colors.items() if name in ours}
    if found != known:
        with suppress(FileWriteError):
            write_json(cohort.state_folder / _FILE, KnownColors(found), checksum=False)
