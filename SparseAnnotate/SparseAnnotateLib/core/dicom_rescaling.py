"""How the stored values of DICOM images become those of a volume."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .dicom_files import numbers_of, value_of
from .messages import _


def rescaling_of(source: Any) -> tuple[float, float]:
    """Slope and intercept in a header, or in a functional group of it; NaN for one that is no single finite number."""
    return _number(source, "RescaleSlope", 1.0), _number(source, "RescaleIntercept", 0.0)


def has_rescaling(source: Any) -> bool:
    """Whether a header, or a functional group of it, says how stored values are rescaled."""
    return bool(value_of(source, "RescaleSlope") or value_of(source, "RescaleIntercept"))


def unusable_rescaling(slope: float, intercept: float) -> str:
    """Why values cannot be rescaled so, as a sentence; '' when they can."""
    if slope and math.isfinite(slope) and math.isfinite(intercept):
        return ""
    return _("its header has a rescale slope of 0, or a rescale slope or intercept that is not a usable number.")


def rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """slope * values + intercept: whole numbers where all of them are, otherwise float32."""
    if (slope, intercept) == (1.0, 0.0):
        return values
    if values.dtype.kind not in "iu" or not (slope.is_integer() and intercept.is_integer()):
        return (values * slope + intercept).astype(np.float32)
    bounds = [int(bound) * int(slope) + int(intercept) for bound in (values.min(initial=0), values.max(initial=0))]
    for kind in (np.int32, np.int64):
        if np.iinfo(kind).min <= min(bounds) and max(bounds) <= np.iinfo(kind).max and abs(slope) < 1 << 62:
            return (values.astype(np.int64) * int(slope) + int(intercept)).astype(kind)
    return (values * slope + intercept).astype(np.float32)


def _number(source: Any, keyword: str, default: float) -> float:
    if not value_of(source, keyword):
        return default
    found = numbers_of(source, keyword)
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else math.nan
