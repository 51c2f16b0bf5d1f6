"""The request for slices to draw: features, models' uncertainty and measured seconds gathered, a strategy asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core import Cohort, LedgerEntry, Plane, Watch
from ..selection import (
    DEFAULT_FEATURES,
    DEFAULT_STRATEGY,
    Budget,
    Scope,
    Volume,
    check_features,
    cohort_extents,
    cohort_slice_images,
    intensity_features,
    recommend_slices,
    strategy_named,
)

_FEATURES_SHARE = 10  # of 10 parts of the progress, all but the last go into looking at images


@dataclass(frozen=True)
class RecommendRequest:
    """Which slices to draw next.

    One of density, every, per_volume, total, minutes is the budget, spread as scope, minimum and maximum say (see
    `Budget`). whole: air around the body may be drawn, too. features: what slices are compared by.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    planes: tuple[str, ...] = ("axial",)
    density: float | None = None
    every: int | None = None
    per_volume: int | None = None
    total: int | None = None
    minutes: float | None = None
    seconds_per_slice: float | None = None
    scope: str = "plane"
    minimum: int | None = None
    maximum: int | None = None
    strategy: str | None = None
    features: str = DEFAULT_FEATURES
    seed: int = 0
    whole: bool = False

    def budget(self) -> Budget:
        """The budget asked for. Raises BadInputError when it is none."""
        return Budget(
            self.density,
            self.every,
            self.per_volume,
            self.total,
            self.minutes,
            Scope.named(self.scope),
            self.minimum,
            self.maximum,
            self.seconds_per_slice,
        )


@dataclass(frozen=True)
class Recommended:
    """One slice of the worklist."""

    order: int
    case: str
    plane: str
    index: int
    score: float
    reason: str


def recommend(request: RecommendRequest, watch: Watch) -> list[Recommended]:
    """Recommend slices, put them into the ledgers as to do, and return the worklist."""
    cohort = Cohort.open(request.cohort, request.state)
    budget = request.budget()
    planes = [Plane.named(name) for name in request.planes]
    needs = strategy_named(request.strategy or DEFAULT_STRATEGY, request.seed).needs
    check_features(request.features)
    names = [case.name for case in cohort.select(request.cases)]
    volumes = _volumes(cohort, names, request.whole, Watch.part_of(watch, 0, _FEATURES_SHARE))
    if "features" in needs:
        features = cohort_features(cohort, names, planes, request.features, watch)
        volumes = [replace(volume, features=features[volume.name]) for volume in volumes]
    watch.step(1 - 1 / _FEATURES_SHARE, "choosing slices")
    worklist = recommend_slices(volumes, planes, budget, request.strategy, request.seed)
    cohort.save_recommended(worklist)
    return recommended_list(worklist)


def recommended_list(worklist: dict[str, list[LedgerEntry]]) -> list[Recommended]:
    """A worklist by volume as one list in drawing order."""
    found = [
        Recommended(e.order, case, e.plane.value, e.index, e.score, e.reason)
        for case, entries in worklist.items()
        for e in entries
    ]
    return sorted(found, key=lambda r: r.order)


def cohort_features(
    cohort: Cohort, names: Sequence[str], planes: Sequence[Plane], kind: str, watch: Watch
) -> Mapping[str, Mapping[Plane, np.ndarray]]:
    """Features of every slice of the cases in these planes, by case and plane; (number of slices, D) float32 each."""
    del kind
    pictures = []
    for number, name in enumerate(names):
        part = Watch.part_of(watch, number, len(names), f"'{name}': ")
        pictures.append(cohort_slice_images(cohort, name, planes, watch=part))
    flat = intensity_features([p[plane] for p in pictures for plane in planes])
    by_case = [flat[n : n + len(planes)] for n in range(0, len(flat), len(planes))]
    return {name: dict(zip(planes, found, strict=True)) for name, found in zip(names, by_case, strict=True)}


def _volumes(cohort: Cohort, names: Sequence[str], whole: bool, watch: Watch) -> list[Volume]:
    position = {case.name: place for place, case in enumerate(cohort.cases)}
    volumes = []
    for number, name in enumerate(names):
        watch.step(number / len(names), f"looking at '{name}'")
        geometry = cohort.geometry(name)
        extents = geometry.whole_extents if whole else cohort_extents(cohort, name)
        volumes.append(Volume(name, geometry, cohort.ledger(name), extents, position[name]))
    return volumes
