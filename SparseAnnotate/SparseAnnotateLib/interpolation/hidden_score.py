"""How well a source filled one label on drawn slices that were hidden from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HiddenScore:
    """Agreement of one source's fill of one label with the hidden drawn slices.

    Attributes:
        method, label: how the structure was filled, and which.
        both: voxels that fill and drawing share. either: voxels of the fill plus voxels of the drawing.
        slices: hidden slices on which the label was drawn or filled.
        spacing_mm: mean distance of the drawn slices the hidden ones were filled from.
    """

    method: str
    label: int
    both: int
    either: int
    slices: int
    spacing_mm: float

    @property
    def dice(self) -> float:
        """2 both / either, over all hidden slices together."""
        return 2.0 * self.both / self.either if self.either else 1.0
