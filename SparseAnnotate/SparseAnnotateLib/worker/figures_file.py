"""The figures of `evaluate` as a CSV file, for spreadsheets and statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import write_text

if TYPE_CHECKING:
    from .evaluate_request import Evaluation

OF_STRUCTURE = (
    "dice",
    "undrawn_dice",
    "iou",
    "surface_dice",
    "hd95_mm",
    "hausdorff_mm",
    "average_boundary_mm",
    "volume_ml",
    "reference_volume_ml",
)
_OF_CASE = ("hvsmr_score", "rand_f_score", "slices_drawn", "density")


def write_figures(path: Path, results: Sequence[Evaluation]) -> None:
    """Write one row for each case and structure, atomically.

    A structure that neither the result nor the reference of a case has gets a row without figures, as do figures that
    were not asked for; an infinite distance is 'inf'. Raises FileWriteError.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["case", "structure", "label", *OF_STRUCTURE, *_OF_CASE])
    for result in results:
        of_case = [_cell(getattr(result, name)) for name in _OF_CASE]
        for figures in result.labels:
            of_structure = [figures.get(name) for name in OF_STRUCTURE]
            rows.writerow([result.case, figures["name"], figures["label"], *map(_cell, of_structure), *of_case])
        for name in result.absent:
            rows.writerow([result.case, name, "", *("" for _ in OF_STRUCTURE), *of_case])
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    return "" if value is None else value
