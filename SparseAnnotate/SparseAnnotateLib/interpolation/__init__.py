"""Masks between drawn slices: interpolators behind one protocol, found by name in one registry."""

from . import shape  # noqa: F401  (registers itself)
from .interpolator import Fill, Interpolator, interpolator_descriptions, interpolator_named, register_interpolator

__all__ = ["Fill", "Interpolator", "interpolator_descriptions", "interpolator_named", "register_interpolator"]
