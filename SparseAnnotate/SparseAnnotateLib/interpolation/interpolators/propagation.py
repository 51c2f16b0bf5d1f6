"""Learned filling; the interpolator itself needs torch and runs in the worker only."""

from __future__ import annotations

from ...core.messages import _
from ...core.registry import Need
from ..interpolator import INTERPOLATORS, InterpolatorEntry

INTERPOLATORS.add(
    InterpolatorEntry(
        name="propagation",
        label=_("Propagation"),
        description=_(
            "Learns from the images how neighboring slices correspond, and propagates the drawn labels accordingly."
        ),
        make="SparseAnnotateLib.learning.propagation.learned_interpolator:PropagationInterpolator",
        needs=frozenset({Need.IMAGE, Need.TORCH}),
        options=("steps", "device"),
        learn="SparseAnnotateLib.learning.propagation.learned_interpolator:propagation_for_cohort",
        order=5,
    )
)
