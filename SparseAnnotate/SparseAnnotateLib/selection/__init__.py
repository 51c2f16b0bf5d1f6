"""Which slices to draw: strategies behind one protocol, found by name in one registry."""

from . import intervals, random_choice  # noqa: F401  (each registers its strategies)
from .body_extent import body_extents
from .recommend import DEFAULT_STRATEGY, Volume, recommend_slices
from .strategy import Budget, RankedSlice, Stack, Strategy, register_strategy, strategy_descriptions, strategy_named

__all__ = [
    "DEFAULT_STRATEGY",
    "Budget",
    "RankedSlice",
    "Stack",
    "Strategy",
    "Volume",
    "body_extents",
    "recommend_slices",
    "register_strategy",
    "strategy_descriptions",
    "strategy_named",
]
