"""Which slices to draw: strategies behind one protocol, found by name in one registry."""

from . import intervals, random_choice  # noqa: F401  (each registers its strategies)
from .body_extent import body_extents
from .recommend import Volume, default_strategy, recommend_slices
from .strategy import Budget, RankedSlice, Stack, Strategy, register_strategy, strategy_descriptions, strategy_named

__all__ = [
    "Budget",
    "RankedSlice",
    "Stack",
    "Strategy",
    "Volume",
    "body_extents",
    "default_strategy",
    "recommend_slices",
    "register_strategy",
    "strategy_descriptions",
    "strategy_named",
]
