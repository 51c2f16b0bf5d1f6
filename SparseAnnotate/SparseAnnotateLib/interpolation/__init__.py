"""Masks between drawn slices: interpolators behind one protocol, found by name in one registry."""

from . import auto, morphological, random_walk, shape  # noqa: F401  (register themselves)
from .auto import AUTO_METHODS, AutoInterpolator
from .findings import fill_summary, fill_warnings
from .interpolator import Fill, Interpolator, interpolator_descriptions, interpolator_named, register_interpolator
from .leave_one_out import HiddenScore, pooled
from .morphological import MorphologicalInterpolator

__all__ = [
    "AUTO_METHODS",
    "AutoInterpolator",
    "Fill",
    "HiddenScore",
    "Interpolator",
    "MorphologicalInterpolator",
    "fill_summary",
    "fill_warnings",
    "interpolator_descriptions",
    "interpolator_named",
    "pooled",
    "register_interpolator",
]
