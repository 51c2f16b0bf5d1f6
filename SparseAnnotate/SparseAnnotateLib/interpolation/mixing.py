"""How much each source of an answer counts for each structure, learned from drawn slices that were hidden from them.

Choosing one source fails where few slices are drawn: what is best across the gap of a hidden slice, twice as wide, need
not be best across the gap itself. The best mixture changes much less with the gap, and a mixture is often better than
each of its sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from .hidden_score import HiddenScore

MIXTURE = "auto"
_MOST_MIXTURES = 70
_PRIOR_SLICES = 12
_ALIKE = 0.003  # Dice: mixtures that differ by about this much count together, as their mean
# Dice by which a mixture must be better, for each whole share that it moves away from the usual one; and how much more
# where no mixture predicts the hidden slices, so that differences mean little.
_UNUSUAL, _HOPELESS = 0.006, 0.05
_FEW = 24  # hidden slices; with so many it must be better by twice as much
# Far from drawn slices, and where nothing could be hidden, the image tells more than shapes.
_USUAL = {"shape": 0.0, "random_walk": 1.0}
_USUAL_OTHERS = 0.5
# What remains of the share of a source that follows the image, against the others, in a gap half as wide as those that
# the shares were learned in: the error of shapes falls faster with the gap. Measured on the sets of the benchmark
# `interpolation`, where a tenth to a half gives about the same; with few hidden slices it is applied in part.
_FOLLOW_THE_IMAGE = ("random_walk", "propagation")
_IN_NARROWER_GAPS = 0.3

Shares = Mapping[str, float]
"""The share of each source in a mixture; together 1."""


def mixtures(count: int) -> np.ndarray:
    """(mixtures, sources) float32: the shares that are tried, in equal steps, as fine as their number allows."""
    if count == 1:
        return np.ones((1, 1), dtype=np.float32)
    parts = 10
    while parts > 2 and _number_of(parts, count) > _MOST_MIXTURES:
        parts -= 1
    bars = combinations(range(parts + count - 1), count - 1)
    found = [np.diff([-1, *places, parts + count - 1]) - 1 for places in bars]
    return np.array(found, dtype=np.float32) / parts


def _number_of(parts: int, count: int) -> int:
    number = 1
    for n in range(1, count):
        number = number * (parts + n) // n
    return number


def usual_shares(sources: Sequence[str]) -> np.ndarray:
    """(sources,) float: the shares to use when no drawn slice could be hidden."""
    weights = np.array([_USUAL.get(name, _USUAL_OTHERS) for name in sources])
    if not weights.any():
        weights = np.ones(len(sources))
    shares: np.ndarray = weights / weights.sum()
    return shares


@dataclass(frozen=True, eq=False)
class Evidence:
    """How well the mixtures of some sources predict hidden drawn slices.

    Attributes:
        sources: their names.
        counts: label to (mixtures, 2) float: voxels shared by prediction and drawing, and voxels of both together.
        slices: label to the number of hidden slices that show it, in the drawing or in a prediction.
        spacing_mm: label to the sum, over these slices, of the distance between the drawn slices beside them.
        failed: further sources, which failed on these slices, and why.
    """

    sources: tuple[str, ...]
    counts: Mapping[int, np.ndarray] = field(default_factory=dict)
    slices: Mapping[int, int] = field(default_factory=dict)
    spacing_mm: Mapping[int, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Evidence) -> Evidence:
        """Both together; they must be of the same sources."""
        values = {*self.counts, *other.counts}
        none = np.zeros((len(mixtures(len(self.sources))), 2))
        return Evidence(
            self.sources,
            {v: self.counts.get(v, none) + other.counts.get(v, none) for v in values},
            {v: self.slices.get(v, 0) + other.slices.get(v, 0) for v in values},
            {v: self.spacing_mm.get(v, 0.0) + other.spacing_mm.get(v, 0.0) for v in values},
            {**other.failed, **self.failed},
        )

    def shares(self, values: Sequence[int]) -> dict[int, Shares]:
        """The best mixture for each label.

        Labels on few or no hidden slices follow all labels together, which count as much as twelve slices; and without
        any evidence the usual shares are taken. The further a mixture is from these, and the fewer slices were
        hidden, the better it must be: what is best across the wide gap of a hidden slice need not be it elsewhere.
        In the gaps themselves, half as wide, shapes get more than across those.
        """
        tried, usual = mixtures(len(self.sources)), usual_shares(self.sources)
        unusual = 0.5 * np.abs(tried - usual).sum(1)
        seen = sum(self.slices.values())
        found: dict[int, Shares] = {}
        # Labels count by their slices, however large they are; sorted, so that their order changes nothing.
        each = {v: counts * (self.slices[v] / max(counts[:, 1].max(), 1.0)) for v, counts in self.counts.items()}
        together = (
            np.sort(np.array(list(each.values())), axis=0).sum(0) * (_PRIOR_SLICES / max(seen, 1)) if each else None
        )
        for value in values:
            if together is None:
                found[value] = dict(zip(self.sources, usual.tolist(), strict=True))
                continue
            counted = together + each.get(value, 0.0)
            dice = 2.0 * counted[:, 0] / np.maximum(counted[:, 1], 1e-9)
            cost = (_UNUSUAL + _HOPELESS * (1.0 - dice.max()) ** 4) * (1.0 + _FEW / max(seen, 1))
            merit = dice - cost * unusual
            alike = np.exp((merit - merit.max()) / _ALIKE)
            best = alike @ tried / alike.sum() * self._in_narrower_gaps(seen)
            found[value] = dict(zip(self.sources, (best / best.sum()).tolist(), strict=True))
        return found

    def _in_narrower_gaps(self, seen: int) -> np.ndarray:
        """(sources,) float: by what to multiply their shares, after `seen` hidden slices of all labels."""
        kept = _IN_NARROWER_GAPS ** (seen / (seen + _FEW))
        return np.array([kept if name in _FOLLOW_THE_IMAGE else 1.0 for name in self.sources])

    def scores(self, chosen: Mapping[int, Shares]) -> list[HiddenScore]:
        """How well each source alone, and the chosen mixture, predicts each label.

        Of a mixture with further sources, which were not tried, that of these alone, in the same proportions.
        """
        tried, found = mixtures(len(self.sources)), []
        alone = {name: np.eye(len(self.sources))[n] for n, name in enumerate(self.sources)}
        for value, counts in self.counts.items():
            if not self.slices[value]:
                continue
            ways = dict(alone)
            own = np.array([chosen.get(value, {}).get(name, 0.0) for name in self.sources])
            if own.any():
                ways[MIXTURE] = own / own.sum()
            for name, shares in ways.items():
                both, either = counts[int(np.abs(tried - shares).sum(1).argmin())]
                spacing = self.spacing_mm[value] / self.slices[value]
                found.append(HiddenScore(name, value, int(both), int(either), self.slices[value], spacing))
        return found


def always_failed(evidence: Sequence[Evidence]) -> dict[str, str]:
    """The sources that failed whenever slices were hidden from them, and why: nothing is known about them."""
    worked = {name for one in evidence for name in one.sources}
    return {name: why for one in evidence for name, why in one.failed.items() if name not in worked}


def pooled(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The evidence of several volumes as one for each group of sources."""
    found: dict[tuple[str, ...], Evidence] = {}
    for one in evidence:
        found[one.sources] = found[one.sources] + one if one.sources in found else one
    return list(found.values())
