"""Filling between drawn slices: interpolators with one protocol, found by name in one registry."""

from .filling import FinishedFill, finished_fill, usable_image
from .hidden_score import HiddenScore
from .interpolator import (
    DEFAULT_METHOD,
    INTERPOLATORS,
    Fill,
    IncrementalInterpolator,
    Interpolator,
    InterpolatorEntry,
    auto_methods,
    choosing_methods,
    interpolator_named,
    methods_with,
)
from .interpolators.auto import AutoInterpolator
from .interpolators.morphological import TIME_LIMIT, MorphologicalInterpolator
from .mixing import Evidence, pooled

__all__ = [
    "DEFAULT_METHOD",
    "INTERPOLATORS",
    "TIME_LIMIT",
    "AutoInterpolator",
    "Evidence",
    "Fill",
    "FinishedFill",
    "HiddenScore",
    "IncrementalInterpolator",
    "Interpolator",
    "InterpolatorEntry",
    "MorphologicalInterpolator",
    "auto_methods",
    "choosing_methods",
    "finished_fill",
    "interpolator_named",
    "methods_with",
    "pooled",
    "usable_image",
]
