"""Which slices to draw: strategies behind one protocol, found by name in one registry."""

from . import core_set, intervals, random_choice, representative  # noqa: F401  (each registers its strategies)
from .body_extent import body_extents
from .budget import SCOPES, Budget, Scope
from .cohort_slices import cohort_extents, cohort_slice_images
from .coverage import coverage, greedy_cover, unit_rows
from .recommend import DEFAULT_STRATEGY, Volume, recommend_slices
from .slice_features import DEFAULT_FEATURES, FEATURES, check_features, intensity_features
from .strategy import RankedSlice, Stack, Strategy, register_strategy, strategy_descriptions, strategy_named

__all__ = [
    "DEFAULT_FEATURES",
    "DEFAULT_STRATEGY",
    "FEATURES",
    "SCOPES",
    "Budget",
    "RankedSlice",
    "Scope",
    "Stack",
    "Strategy",
    "Volume",
    "body_extents",
    "check_features",
    "cohort_extents",
    "cohort_slice_images",
    "coverage",
    "greedy_cover",
    "intensity_features",
    "recommend_slices",
    "register_strategy",
    "strategy_descriptions",
    "strategy_named",
    "unit_rows",
]
