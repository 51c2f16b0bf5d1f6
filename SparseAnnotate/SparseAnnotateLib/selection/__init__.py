"""Which slices to draw: strategies behind one protocol, found by name in one registry."""

from . import core_set, intervals, random_choice, representative, uncertainty  # noqa: F401  (each registers its strategies)
from .body_extent import body_extents
from .budget import SCOPES, Budget, Scope
from .cohort_slices import cached_array, cohort_extents, cohort_slice_images
from .coverage import coverage, greedy_cover, unit_rows
from .drawing_cost import CostModel, DrawingEffort, drawing_effort
from .plane_advice import advised_plane, self_similarity
from .planner import DEFAULT_DIMENSIONS, Advice, AnnotationPlan, plan_annotation
from .recommend import DEFAULT_STRATEGY, Volume, recommend_slices, with_measured_seconds
from .settings import FeatureSettings, SelectionSettings
from .slice_features import DEFAULT_FEATURES, FEATURES, centred, check_features, intensity_features
from .stack import Stack
from .stopping import StoppingHint, stopping_hint
from .strategy import RankedSlice, Strategy, check_seed, register_strategy, strategy_descriptions, strategy_named

__all__ = [
    "DEFAULT_DIMENSIONS",
    "DEFAULT_FEATURES",
    "DEFAULT_STRATEGY",
    "FEATURES",
    "SCOPES",
    "Advice",
    "AnnotationPlan",
    "Budget",
    "CostModel",
    "DrawingEffort",
    "FeatureSettings",
    "RankedSlice",
    "Scope",
    "SelectionSettings",
    "Stack",
    "StoppingHint",
    "Strategy",
    "Volume",
    "advised_plane",
    "body_extents",
    "cached_array",
    "centred",
    "check_features",
    "check_seed",
    "cohort_extents",
    "cohort_slice_images",
    "coverage",
    "drawing_effort",
    "greedy_cover",
    "intensity_features",
    "plan_annotation",
    "recommend_slices",
    "register_strategy",
    "self_similarity",
    "stopping_hint",
    "strategy_descriptions",
    "strategy_named",
    "unit_rows",
    "with_measured_seconds",
]
