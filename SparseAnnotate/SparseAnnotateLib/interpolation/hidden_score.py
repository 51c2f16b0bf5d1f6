"""How well a method filled one label on drawn slices that were hidden from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HiddenScore:
    """Agreement of one method's fill of one label with the hidden drawn slices.

    Attributes:
        method, label: how the structure was filled, and which.
        both: voxels that fill and drawing share. either: voxels of the fill plus voxels of the drawing.
        slices: hidden slices on which the label was drawn or filled.
        spacing_mm: mean distance of the drawn slices the hidden ones were filled from.
        far_both, far_either: the same counts with slices four gaps apart; 0 where too few slices are drawn.
    """

    method: str
    label: int
    both: int
    either: int
    slices: int
    spacing_mm: float
    far_both: int = 0
    far_either: int = 0

    @property
    def dice(self) -> float:
        """2 both / either, over all hidden slices together."""
        return 2.0 * self.both / self.either if self.either else 1.0
