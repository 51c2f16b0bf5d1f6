"""Settings for choosing slices, shared by the panel, the console, the command line and the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core import DEFAULT_DEVICE, Plane
from .budget import Budget
from .planner import DEFAULT_DIMENSIONS
from .slice_features import DEFAULT_FEATURES
from .strategy import DEFAULT_STRATEGY

DEFAULT_DENSITY = 0.1
"""The panel's budget before the user has set one: a tenth of the slices. Console and command line ask for a budget."""


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """How slices are compared.

    Attributes:
        features: name of the slice features; 'none', with the strategy 'uncertainty' only: slices are not compared.
        from_scratch: train a small autoencoder without the weights of VGG-19.
        download_weights: the weights of VGG-19 may be downloaded if this computer has no copy of them.
        feature_steps: training steps of learned features.
        seed: random seed.
        device: for learning features and running models: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
        whole: include slices in the air around the body.
    """

    features: str = DEFAULT_FEATURES
    from_scratch: bool = False
    download_weights: bool = False
    feature_steps: int = 1000
    seed: int = 0
    device: str = DEFAULT_DEVICE
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class SelectionSettings(FeatureSettings):
    """Which slices to choose, and how.

    Attributes:
        budget: how many slices. planes: in which planes. strategy: name of the strategy.
        runs: the trained models whose uncertainty the strategy 'uncertainty' uses.
        samples: number of predictions sampled from a single model.
    """

    budget: Budget
    planes: tuple[Plane, ...] = (Plane.AXIAL,)
    strategy: str = DEFAULT_STRATEGY
    runs: tuple[str, ...] = ()
    samples: int = 8


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What a plan is made for; see `plan_annotation`.

    Attributes:
        budget: how much can be drawn. planes: which ones to choose from.
        dimensions: of the model to train. target: how well the structure stands out; None: not known.
    """

    budget: Budget
    planes: tuple[Plane, ...] = tuple(Plane)
    dimensions: Literal[2, 3] = DEFAULT_DIMENSIONS
    target: Literal["clear", "subtle"] | None = None
