"""Masks between drawn slices: interpolators behind one protocol, found by name in one registry."""

from . import auto, morphological, random_walk, shape  # noqa: F401  (register themselves)
from .auto import AUTO_METHODS, AutoInterpolator
from .filling import FinishedFill, finished_fill, usable_image
from .hidden_score import HiddenScore
from .interpolator import (
    Fill,
    IncrementalInterpolator,
    Interpolator,
    interpolator_descriptions,
    interpolator_named,
    register_interpolator,
    register_interpolator_from,
)
from .leave_one_out import pooled
from .morphological import TIME_LIMIT, MorphologicalInterpolator

# Needs torch, so it is only imported where it is used: in the worker.
register_interpolator_from(
    "SparseAnnotateLib.learning.propagation.interpolator:PropagationInterpolator",
    "propagation",
    "Learns on the images how slices go on, and carries the drawn labels along.",
)

__all__ = [
    "AUTO_METHODS",
    "TIME_LIMIT",
    "AutoInterpolator",
    "Fill",
    "FinishedFill",
    "HiddenScore",
    "IncrementalInterpolator",
    "Interpolator",
    "MorphologicalInterpolator",
    "finished_fill",
    "interpolator_descriptions",
    "interpolator_named",
    "pooled",
    "register_interpolator",
    "usable_image",
]
