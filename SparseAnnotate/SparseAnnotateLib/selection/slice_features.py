"""The registry of slice features, and the principal components that need no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.messages import _
from ..core.registry import Entry, Need, Registry

DEFAULT_FEATURES = "intensity"
_COMPONENTS = 64
_FITTED_ON_AT_MOST = 20000


@dataclass(frozen=True, kw_only=True)
class FeatureEntry(Entry):
    """Features as users choose them.

    Without `Need.TORCH` in `needs`, `make` takes for each stack (number of slices, size, size) pictures and returns
    for each (number of slices, D) float32, as `intensity_features` does. With it, `make` takes `from_scratch`,
    `pretrained` and `download` (see `learning.features.slice_encoders`) and returns the network that learns them.

    Attributes:
        has_weights: True when they build on pretrained weights, which must be downloaded or left out.
    """

    has_weights: bool = False

    @property
    def is_learned(self) -> bool:
        """True when a network learns them on the slices."""
        return Need.TORCH in self.needs


FEATURES: Registry[FeatureEntry] = Registry(
    _("There are no slice features '{name}'; choose one of {names}."), f"{__package__}.features"
)


def intensity_features(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Principal components of all slices of all stacks together.

    Args:
        pictures: for each stack (number of slices, size, size), from `slice_images`.

    Returns:
        for each stack (number of slices, D) float32, D at most 64. The mean over all slices is subtracted: the mean
        picture has the features 0.
    """
    # A picture without contrast shows nothing and must not count as the opposite of the mean.
    constant = np.concatenate([np.ptp(p.reshape(len(p), -1), axis=1) == 0 for p in pictures])
    rows = np.concatenate([p.reshape(len(p), -1) for p in pictures]).astype(np.float32)
    components = principal_components(rows, _COMPONENTS)
    components[constant] = 0.0
    return np.split(components, np.cumsum([len(p) for p in pictures])[:-1])


def centred(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Learned features (number of slices, D) of several stacks, minus the mean over all of them.

    The features that networks compute have a large common part, which makes all cosines close to 1. Slices without
    contrast have the features 0 and keep them.
    """
    shown: list[np.ndarray] = [np.any(f, axis=1) for f in features]
    rows = np.concatenate([f[s] for f, s in zip(features, shown, strict=True)])
    mean = rows.mean(axis=0) if len(rows) else 0.0
    return [np.where(s[:, None], f - mean, 0.0).astype(np.float32) for f, s in zip(features, shown, strict=True)]


def side_by_side(of_channels: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The features of several channels, for each stack (number of slices, D) each, as those of the slices.

    Slices that the first channel shows without contrast have the features 0, whatever the others show: slices are drawn
    in the first channel.
    """
    shown = [np.any(found, axis=1, keepdims=True) for found in of_channels[0]]
    together = [np.concatenate(parts, axis=1) for parts in zip(*of_channels, strict=True)]
    return [np.where(is_shown, found, 0).astype(np.float32) for is_shown, found in zip(shown, together, strict=True)]


def principal_components(rows: np.ndarray, count: int) -> np.ndarray:
    """Scores of (N, D) float32 rows on their first principal components, (N, at most `count`) float32.

    The sign of each component is fixed: its largest weight is positive.
    """
    fitted = rows[:: -(-len(rows) // _FITTED_ON_AT_MOST)]
    mean = fitted.mean(axis=0)
    centred = fitted - mean
    if len(centred) < centred.shape[1]:
        _values, directions = np.linalg.eigh(centred @ centred.T)
        basis = centred.T @ directions
        lengths = np.linalg.norm(basis, axis=0)
        basis = basis[:, lengths > 1e-4 * max(float(lengths.max()), 1e-30)]
        basis /= np.linalg.norm(basis, axis=0)
    else:
        _values, basis = np.linalg.eigh(centred.T @ centred)
    basis = basis[:, ::-1][:, :count]
    strongest = np.abs(basis).argmax(axis=0)
    basis = basis * np.where(basis[strongest, np.arange(basis.shape[1])] < 0, -1.0, 1.0)
    scores = (rows - mean) @ basis.astype(np.float32)
    if not scores.shape[1]:
        return np.zeros((len(rows), 1), dtype=np.float32)
    return np.ascontiguousarray(scores, dtype=np.float32)
