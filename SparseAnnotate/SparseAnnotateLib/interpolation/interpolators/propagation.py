"""Learned filling; the interpolator itself needs torch and runs in the worker only."""

from __future__ import annotations

from ...core.registry import Need
from ..interpolator import INTERPOLATORS, InterpolatorEntry

INTERPOLATORS.add(
    InterpolatorEntry(
        name="propagation",
        label="Propagation",
        description="Learns on the images how slices go on, and carries the drawn labels along.",
        make="SparseAnnotateLib.learning.propagation.interpolator:PropagationInterpolator",
        needs=frozenset({Need.IMAGE, Need.TORCH}),
        options=("steps", "device"),
        learn="SparseAnnotateLib.learning.propagation.interpolator:propagation_for_cohort",
        order=5,
    )
)
