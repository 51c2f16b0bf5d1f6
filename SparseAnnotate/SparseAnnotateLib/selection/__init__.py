"""Which slices to draw: strategies behind one protocol, found by name in one registry."""

from .body_extent import body_extents
from .budget import SCOPES, Budget, Per, Scope
from .cohort_slices import cached_array, cohort_extents, cohort_slice_images
from .coverage import coverage, greedy_cover, unit_rows
from .drawing_cost import CostModel, DrawingEffort, drawing_effort
from .plane_advice import advised_plane, self_similarity
from .planner import Advice, AnnotationPlan, plan_annotation
from .recommend import Volume, recommend_slices, with_measured_seconds
from .settings import DEFAULT_DENSITY, FeatureSettings, PlanSettings, SelectionSettings
from .slice_features import DEFAULT_FEATURES, FEATURES, FeatureEntry, centred, intensity_features, side_by_side
from .stack import Stack
from .stopping import StoppingHint, stopping_hint
from .strategies.intervals import FixedInterval
from .strategy import (
    DEFAULT_STRATEGY,
    NEXT_ROUND_STRATEGY,
    STRATEGIES,
    RankedSlice,
    Strategy,
    StrategyEntry,
    check_seed,
    strategy_named,
)

__all__ = [
    "DEFAULT_DENSITY",
    "DEFAULT_FEATURES",
    "DEFAULT_STRATEGY",
    "FEATURES",
    "NEXT_ROUND_STRATEGY",
    "SCOPES",
    "STRATEGIES",
    "Advice",
    "AnnotationPlan",
    "Budget",
    "CostModel",
    "DrawingEffort",
    "FeatureEntry",
    "FeatureSettings",
    "FixedInterval",
    "Per",
    "PlanSettings",
    "RankedSlice",
    "Scope",
    "SelectionSettings",
    "Stack",
    "StoppingHint",
    "Strategy",
    "StrategyEntry",
    "Volume",
    "advised_plane",
    "body_extents",
    "cached_array",
    "centred",
    "check_seed",
    "cohort_extents",
    "cohort_slice_images",
    "coverage",
    "drawing_effort",
    "greedy_cover",
    "intensity_features",
    "plan_annotation",
    "recommend_slices",
    "self_similarity",
    "side_by_side",
    "stopping_hint",
    "strategy_named",
    "unit_rows",
    "with_measured_seconds",
]
