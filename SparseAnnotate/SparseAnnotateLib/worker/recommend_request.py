"""The request for slices to draw: features, models' uncertainty and measured seconds gathered, a strategy asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..core import BadInputError, Cohort, Ledger, LedgerEntry, Plane, SparseAnnotateError, Watch
from ..selection import (
    DEFAULT_FEATURES,
    DEFAULT_STRATEGY,
    Budget,
    CostModel,
    DrawingEffort,
    Scope,
    Volume,
    centred,
    check_features,
    check_recommendation,
    cohort_extents,
    cohort_slice_images,
    drawing_effort,
    intensity_features,
    recommend_slices,
    strategy_named,
    with_measured_seconds,
)
from .packages import LEARNING_PACKAGES, require_packages

NO_FEATURES = "none"
_LOG = logging.getLogger(__name__)
_EFFORT_TERMS = ("contour_mm", "parts")


@dataclass(frozen=True)
class RecommendRequest:
    """Which slices to draw next.

    Attributes:
        density, every, per_volume, total, minutes, more: the budget, one of them; see `Budget`, as for
            seconds_per_slice, scope, minimum and maximum.
        features: what slices are compared by; 'none': with the strategy 'uncertainty', not at all.
        from_scratch, download_weights, feature_steps: how features are learned; see `FeatureTraining`.
        runs: the models that the strategy 'uncertainty' asks; samples: how often it asks a single one.
        whole: air around the body may be drawn, too.
        picture: where to write a picture of the choice (PNG), if anywhere; see `PictureRequest`.
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
    more: int | None = None
    seconds_per_slice: float | None = None
    scope: str = "plane"
    minimum: int | None = None
    maximum: int | None = None
    strategy: str | None = None
    features: str = DEFAULT_FEATURES
    from_scratch: bool = False
    download_weights: bool = False
    feature_steps: int = 1000
    runs: tuple[str, ...] = ()
    samples: int = 8
    seed: int = 0
    device: str = "auto"
    whole: bool = False
    picture: str | None = None

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
            self.more,
        )


@dataclass(frozen=True)
class PictureRequest:
    """A picture (PNG) of what is drawn and recommended in the cohort; see `write_picture`.

    Without planes: those of the ledgers. The other fields are those of `RecommendRequest`.
    """

    cohort: str
    path: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()
    features: str = DEFAULT_FEATURES
    from_scratch: bool = False
    download_weights: bool = False
    feature_steps: int = 1000
    seed: int = 0
    device: str = "auto"
    whole: bool = False


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
    budget = with_cohort_seconds(request.budget(), cohort)
    planes = list(dict.fromkeys(Plane.named(name) for name in request.planes))
    needs = strategy_named(request.strategy or DEFAULT_STRATEGY, request.seed).needs
    asks_models = "uncertainty" in needs
    compares = "features" in needs or (asks_models and request.features != NO_FEATURES)
    if compares or not asks_models:
        check_features(request.features)
    names = [case.name for case in cohort.select(request.cases)]
    steps = _Steps(watch, 2 + compares + asks_models + bool(request.picture))
    volumes = _volumes(cohort, names, request.whole, steps.next())
    # Before hours of work, not after them.
    check_recommendation(volumes, planes, budget, request.strategy, request.seed)
    if asks_models:
        volumes = _with_uncertainty(cohort, volumes, planes, request, steps.next())
    if compares:
        features = cohort_features(cohort, names, planes, request, steps.next())
        volumes = [replace(volume, features=features[volume.name]) for volume in volumes]
    worklist = recommend_slices(volumes, planes, budget, request.strategy, request.seed, steps.next())
    cohort.save_recommended(worklist)
    if request.picture:
        shared = {f.name: getattr(request, f.name) for f in fields(PictureRequest) if f.name != "path"}
        if shared["features"] == NO_FEATURES:
            shared["features"] = DEFAULT_FEATURES
        picture(PictureRequest(path=request.picture, **shared), steps.next())
    return recommended_list(worklist)


def with_cohort_seconds(budget: Budget, cohort: Cohort) -> Budget:
    """The budget with what slices have taken in the whole cohort; see `with_measured_seconds`."""
    return with_measured_seconds(budget, _usable_ledgers(cohort))


def _usable_ledgers(cohort: Cohort) -> Iterator[Ledger]:
    """The ledgers of all cases; one that is damaged must not stop what was asked for of other cases."""
    for case in cohort.cases:
        try:
            yield cohort.ledger(case.name)
        except SparseAnnotateError as error:
            _LOG.warning(f"The times of case '{case.name}' are left out. {error}")


def picture(request: PictureRequest, watch: Watch) -> str:
    """Write the picture; returns its path."""
    cohort = Cohort.open(request.cohort, request.state)
    names = [case.name for case in cohort.select(request.cases)]
    steps = _Steps(watch, 2)
    volumes = _volumes(cohort, names, request.whole, steps.next())
    found = [e.plane for volume in volumes for e in volume.ledger.entries]
    planes = [Plane.named(name) for name in request.planes] or [plane for plane in Plane if plane in found]
    if not planes:
        raise BadInputError("Nothing is drawn or recommended yet, so there is nothing to show. Recommend slices first.")
    features = cohort_features(cohort, names, planes, request, steps.next())
    from .selection_picture import write_picture

    todo = {v.name: [e for e in v.ledger.todo if e.plane in planes] for v in volumes}
    write_picture(request.path, volumes, planes, todo, features)
    return request.path


def recommended_list(worklist: dict[str, list[LedgerEntry]]) -> list[Recommended]:
    """A worklist by volume as one list in drawing order."""
    found = [
        Recommended(e.order, case, e.plane.value, e.index, e.score, e.reason)
        for case, entries in worklist.items()
        for e in entries
    ]
    return sorted(found, key=lambda r: r.order)


def cohort_features(
    cohort: Cohort, names: Sequence[str], planes: Sequence[Plane], request, watch: Watch
) -> Mapping[str, Mapping[Plane, np.ndarray]]:
    """Features of every slice of the cases in these planes, by case and plane; (number of slices, D) float32 each."""
    check_features(request.features)
    if request.features != DEFAULT_FEATURES:
        require_packages((*LEARNING_PACKAGES, "einops"), f"The features '{request.features}'")
        from ..learning.features.learned_features import FeatureTraining, learned_features

        training = FeatureTraining(
            request.from_scratch,
            request.feature_steps,
            seed=request.seed,
            device=request.device,
            download_weights=request.download_weights,
        )
        learned = learned_features(cohort, names, planes, request.features, training, watch)
        return _by_case(names, planes, centred([learned[name][plane] for name in names for plane in planes]))
    pictures = []
    for number, name in enumerate(names):
        part = Watch.part_of(watch, number, len(names), f"'{name}': ")
        pictures.append(cohort_slice_images(cohort, name, planes, watch=part))
    return _by_case(names, planes, intensity_features([p[plane] for p in pictures for plane in planes]))


def _by_case(names: Sequence[str], planes: Sequence[Plane], flat: list[np.ndarray]):
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


def _with_uncertainty(
    cohort: Cohort, volumes: Sequence[Volume], planes: Sequence[Plane], request: RecommendRequest, watch: Watch
) -> list[Volume]:
    """The volumes with what the runs say of their slices and, for a budget in minutes, what each will take."""
    require_packages()
    from ..learning.prediction.uncertainty import UncertaintyEstimator

    estimator = UncertaintyEstimator(cohort, request.runs, request.samples, request.seed, request.device)
    cases = []
    for number, volume in enumerate(volumes):
        part = Watch.part_of(watch, number, len(volumes), f"'{volume.name}': ")
        cases.append(estimator.of_case(volume.name, planes, part))
    found = [replace(v, uncertainty=case.slices) for v, case in zip(volumes, cases, strict=True)]
    if request.minutes is None:
        return found
    efforts = {
        (v.name, plane): drawing_effort(case.labels, v.geometry, plane.array_axis(v.geometry))
        for v, case in zip(volumes, cases, strict=True)
        for plane in planes
    }
    cost = learned_cost(cohort) if request.seconds_per_slice is None else None
    if cost is None:
        together = DrawingEffort(*(np.concatenate([getattr(e, n) for e in efforts.values()]) for n in _EFFORT_TERMS))
        cost = CostModel.assumed(together, request.seconds_per_slice)
    return [replace(v, seconds={p: cost.seconds(efforts[(v.name, p)]) for p in planes}) for v in found]


def learned_cost(cohort: Cohort) -> CostModel | None:
    """What slices cost, from the seconds a person has spent on drawn ones; None when no slice was timed."""
    contours, parts, seconds = [], [], []
    for case in cohort.cases:
        try:
            timed = [e for e in cohort.ledger(case.name).decided if e.seconds > 0]
            if not timed:
                continue
            annotation = cohort.annotation(case.name)
        except SparseAnnotateError as error:
            _LOG.warning(f"The times of case '{case.name}' are left out. {error}")
            continue
        for entry in timed:
            axis = entry.plane.array_axis(annotation.geometry)
            effort = drawing_effort(annotation.labels, annotation.geometry, axis, [entry.index])
            contours.append(effort.contour_mm[0])
            parts.append(effort.parts[0])
            seconds.append(entry.seconds)
    return CostModel.learned(DrawingEffort(np.array(contours), np.array(parts)), np.array(seconds))


class _Steps:
    """Gives each of several equal steps its part of the progress."""

    def __init__(self, whole: Watch, count: int):
        self._whole, self._count, self._done = whole, count, 0

    def next(self) -> Watch:
        """The watch of the next step."""
        part = Watch.part_of(self._whole, self._done, self._count)
        self._done += 1
        return part
