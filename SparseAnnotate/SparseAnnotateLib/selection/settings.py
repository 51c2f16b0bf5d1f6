"""How slices are chosen, as a person or a script sets it: one value for panel, console, command line and worker."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import Plane
from .budget import Budget
from .slice_features import DEFAULT_FEATURES
from .strategy import DEFAULT_STRATEGY


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """How slices are compared.

    Attributes:
        features: what slices are compared by; 'none': with the strategy 'uncertainty', not at all.
        from_scratch: the autoencoder without VGG-19's weights.
        download_weights: VGG-19's weights may be downloaded when this computer has no copy of them.
        feature_steps: in which features are learned.
        seed: of everything random.
        device: that features are learned on and models run on: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
        whole: slices in the air around the body count, too.
    """

    features: str = DEFAULT_FEATURES
    from_scratch: bool = False
    download_weights: bool = False
    feature_steps: int = 1000
    seed: int = 0
    device: str = "auto"
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class SelectionSettings(FeatureSettings):
    """Which slices to choose, and how.

    Attributes:
        budget: how many. planes: in which planes. strategy: by which strategy.
        runs: the models that the strategy 'uncertainty' asks.
        samples: how many predictions are sampled of a single model.
    """

    budget: Budget
    planes: tuple[Plane, ...] = (Plane.AXIAL,)
    strategy: str = DEFAULT_STRATEGY
    runs: tuple[str, ...] = ()
    samples: int = 8
