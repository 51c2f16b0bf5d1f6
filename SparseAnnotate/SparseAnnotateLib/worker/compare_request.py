"""The request that compares two label files of one volume, as the panel's Measure section does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core import CaseFigures, Watch, compare_labels
from ..core.images import read_geometry, read_labels
from ..core.messages import _


@dataclass(frozen=True)
class CompareRequest:
    """Compare two label files on the same grid.

    Attributes:
        result, reference: paths.
        labels: the label values to compare, of both; by default all values found in either file.
    """

    result: str
    reference: str
    labels: tuple[int, ...] = ()


def compare(request: CompareRequest, watch: Watch) -> CaseFigures:
    """Dice, distances (mm) and volumes (ml) of each label. Raises BadInputError when a file cannot be used."""
    geometry = read_geometry(request.reference)
    reference = read_labels(request.reference, geometry)
    watch.step(0.2, _("measuring"))
    result = read_labels(request.result, geometry)
    return compare_labels(Path(request.result).stem, result, reference, geometry, list(request.labels) or None)
