"""The request for slices to draw: gathers features, uncertainty and drawing times, and applies a strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from typing import NoReturn

import numpy as np

from ..core import (
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    Ledger,
    LedgerEntry,
    Plane,
    SparseAnnotateError,
    Watch,
)
from ..core.atomic_files import expanded, require_writable
from ..core.drawn_on import changed_images_sentence
from ..core.errors import PartlyCancelledError
from ..core.failed_cases import (
    NO_PICTURE,
    NONE_RECOMMENDED,
    NOT_IN_PICTURE,
    not_counted,
    recommended_sentences,
    report_failed,
    slices_kept,
    with_slices_to_do,
)
from ..core.messages import _, joined
from ..selection import (
    FEATURES,
    STRATEGIES,
    CostModel,
    DrawingEffort,
    FeatureSettings,
    SelectionSettings,
    Volume,
    centred,
    check_seed,
    cohort_extents,
    cohort_slice_images,
    drawing_effort,
    recommend_slices,
    side_by_side,
    with_measured_seconds,
)
from .measured_times import learned_cost, readable_ledgers
from .packages import LEARNING_PACKAGES, require_packages

NO_FEATURES = "none"
_EFFORT_TERMS = ("contour_mm", "parts")


@dataclass(frozen=True)
class RecommendRequest(SelectionSettings):
    """Which slices to draw next.

    Attributes:
        picture: path of a picture of the recommended slices (PNG), if one is wanted; see `PictureRequest`.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    picture: str | None = None


@dataclass(frozen=True)
class PictureRequest(FeatureSettings):
    """A picture (PNG) of the drawn and recommended slices of the cohort; see `write_picture`.

    The default planes are those of the ledgers.
    """

    cohort: str
    path: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()


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
    """Recommend slices, enter them in the ledgers as 'to do', and return the worklist.

    Raises PartlyDoneError when an image of some cases is not the one that was drawn on, or cannot be read; the others
    have their slices then, and those cases keep the slices that were to do there.
    """
    cohort = Cohort.open(request.cohort, request.state)
    planes = list(dict.fromkeys(request.planes))
    strategy = STRATEGIES.named(request.strategy)
    check_seed(request.seed)
    if request.picture:
        require_writable(expanded(request.picture))
    uses_models = strategy.asks_models
    compares = strategy.compares_slices and not (uses_models and request.features == NO_FEATURES)
    if compares or not uses_models:
        FEATURES.named(request.features)
    names = [case.name for case in cohort.chosen(request.cases, with_an_image=True)]
    is_timed = request.budget.minutes is not None and request.budget.seconds_per_slice is None
    ledgers = readable_ledgers(cohort) if is_timed else {}
    steps = _Steps(watch, 2 + compares + uses_models + bool(request.picture))
    read = _shared_channels(cohort, names)[: None if compares else 1] if compares or uses_models else []
    volumes, failed = _usable_volumes(cohort, names, request.whole, read, steps.next())
    names = [volume.name for volume in volumes]
    watches = [steps.next() for _ in range(uses_models + compares)]

    def examined(volumes: Sequence[Volume]) -> Sequence[Volume]:
        if uses_models:
            volumes = _with_uncertainty(cohort, volumes, planes, request, ledgers, watches[0])
        if compares:
            features = cohort_features(cohort, names, planes, request, watches[-1])
            volumes = [replace(volume, features=features[volume.name]) for volume in volumes]
        return volumes

    worklist = recommend_slices(
        volumes,
        planes,
        request.budget,
        request.strategy,
        request.seed,
        steps.next(),
        timed=ledgers.values(),
        examined=examined,
    )
    cohort.save_recommended(worklist)
    if request.picture:
        shared = {f.name: getattr(request, f.name) for f in fields(PictureRequest) if f.name != "path"}
        shared["cases"] = tuple(names)
        if shared["features"] == NO_FEATURES:
            shared["features"] = FeatureSettings.features
        try:
            picture(PictureRequest(path=request.picture, **shared), steps.next())
        except CancelledError as error:
            raise PartlyCancelledError(
                _(
                    "Cancelled. The recommended slices are stored, but the picture was not written; 'sparse-annotate "
                    "picture' writes it."
                )
            ) from error
    found = recommended_list(worklist)
    if failed:
        kept = slices_kept(with_slices_to_do(cohort, failed))
        more = joined(" ", filter(None, [not_counted(cohort, failed, planes, request.budget.total), kept]))
        report_failed(failed, len(names), recommended_sentences(found), shown=found, more=more)
    return found


def picture(request: PictureRequest, watch: Watch) -> str:
    """Write the picture; returns its path.

    Raises PartlyDoneError when an image of some cases is not the one that was drawn on, or cannot be read; the picture
    shows the others then.
    """
    cohort = Cohort.open(request.cohort, request.state)
    names = [case.name for case in cohort.chosen(request.cases, with_an_image=True)]
    path = expanded(request.path)
    require_writable(path)
    steps = _Steps(watch, 2)
    read = _shared_channels(cohort, names)
    volumes, failed = _usable_volumes(cohort, names, request.whole, read, steps.next(), NO_PICTURE)
    names = [volume.name for volume in volumes]
    found = [e.plane for volume in volumes for e in volume.ledger.entries]
    planes = [Plane.named(name) for name in request.planes] or [plane for plane in Plane if plane in found]
    if not planes:
        raise BadInputError(
            _("Nothing is drawn or recommended yet, so there is nothing to show. Recommend slices first.")
        )
    features = cohort_features(cohort, names, planes, request, steps.next())
    from .selection_picture import write_picture

    todo = {v.name: [e for e in v.ledger.todo if e.plane in planes] for v in volumes}
    write_picture(path, volumes, planes, todo, features)
    if failed:
        report_failed(failed, len(names), NOT_IN_PICTURE, str(path))
    return str(path)


def recommended_list(worklist: dict[str, list[LedgerEntry]]) -> list[Recommended]:
    """A worklist by volume as one list in drawing order."""
    found = [
        Recommended(e.order, case, e.plane.value, e.index, e.score, e.reason)
        for case, entries in worklist.items()
        for e in entries
    ]
    return sorted(found, key=lambda r: r.order)


def cohort_features(
    cohort: Cohort, names: Sequence[str], planes: Sequence[Plane], settings: FeatureSettings, watch: Watch
) -> Mapping[str, Mapping[Plane, np.ndarray]]:
    """Features of every slice of the cases in these planes, by case and plane; (number of slices, D) float32 each."""
    features = FEATURES.named(settings.features)
    # Each channel that every case has, by itself.
    shared = _shared_channels(cohort, names)
    if features.is_learned:
        require_packages((*LEARNING_PACKAGES, "einops"), _("the features '{name}'").format(name=settings.features))
        from ..learning.features.learned_features import FeatureTraining, learned_features

        training = FeatureTraining(
            settings.from_scratch,
            settings.feature_steps,
            seed=settings.seed,
            device=settings.device,
            download_weights=settings.download_weights,
        )
        learned = learned_features(cohort, names, planes, settings.features, training, watch, shared)
        return _by_case(names, planes, centred([learned[name][plane] for name in names for plane in planes]))
    of_channels = []
    for place, channel in enumerate(shared):
        pictures = []
        for number, name in enumerate(names):
            part = watch.part(place * len(names) + number, len(shared) * len(names), f"'{name}': ")
            pictures.append(cohort_slice_images(cohort, name, planes, watch=part, channel=channel))
        of_channels.append(features.loaded()([p[plane] for p in pictures for plane in planes]))
    joined = of_channels[0] if len(shared) == 1 else side_by_side(of_channels)
    return _by_case(names, planes, joined)


def _by_case(names: Sequence[str], planes: Sequence[Plane], flat: list[np.ndarray]):
    by_case = [flat[n : n + len(planes)] for n in range(0, len(flat), len(planes))]
    return {name: dict(zip(planes, found, strict=True)) for name, found in zip(names, by_case, strict=True)}


def _usable_volumes(
    cohort: Cohort,
    names: Sequence[str],
    whole: bool,
    read: Sequence[str],
    watch: Watch,
    none: tuple[str, str] = NONE_RECOMMENDED,
) -> tuple[list[Volume], dict[str, SparseAnnotateError]]:
    """The volumes that slices can be recommended of, or shown, and the errors of the other cases.

    Args:
        read: the channels whose images are going to be read, the first one first; a case without them is left out.
        none: what to say when there is no such volume.

    Raises BadInputError when all cases have an error.
    """
    failed = cohort.images_not_drawn_on(names, watch)
    position, volumes = _positions(cohort), []
    for number, name in enumerate(names):
        if name in failed:
            continue
        watch.step(number / len(names), _("examining '{case}'").format(case=name))
        try:
            volume = _volume(cohort, name, whole, position[name])
            _require_readable(cohort, name, read)
            volumes.append(volume)
        except (CancelledError, FileWriteError):
            raise  # a folder that cannot be written is no fault of the case
        except SparseAnnotateError as error:
            # One case that cannot be read must not stop the others.
            failed[name] = error
    if names and not volumes:
        _report_all(cohort, failed, none)
    return volumes, failed


def _require_readable(cohort: Cohort, name: str, channels: Sequence[str]) -> None:
    """Read the images of these channels of a case, the first one first, unless they were read before.

    Raises BadInputError when one cannot be read.
    """
    if channels:
        cohort_extents(cohort, name)
    for channel in channels[1:]:
        if not cohort.voxel_fingerprint(name, [channel]):
            cohort.channel_image(name, channel, cohort.geometry(name))


def _shared_channels(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """The channels that every case has, the first one first; [''] where the images are no channels with names."""
    return [c for c in cohort.channels if all(c in cohort.channel_paths(name) for name in names)] or [""]


def _report_all(cohort: Cohort, failed: Mapping[str, SparseAnnotateError], sentences: tuple[str, str]) -> NoReturn:
    """Raise BadInputError when no case can be used; it names each kind of problem."""
    changes = cohort.image_changes(failed)
    if len(changes) == len(failed):
        raise BadInputError(changed_images_sentence(changes))
    kinds = [[name for name in failed if (name in changes) == is_change] for is_change in (True, False)]
    # Only the first ones are named.
    order = [name for names in zip_longest(*kinds) for name in names if name is not None]
    report_failed({name: failed[name] for name in order}, 0, sentences)


def _positions(cohort: Cohort) -> dict[str, int]:
    return {case.name: place for place, case in enumerate(cohort.cases)}


def _volume(cohort: Cohort, name: str, whole: bool, position: int) -> Volume:
    geometry = cohort.geometry(name)
    extents = geometry.whole_extents if whole else cohort_extents(cohort, name)
    return Volume(name, geometry, cohort.ledger(name), extents, position)


def _with_uncertainty(
    cohort: Cohort,
    volumes: Sequence[Volume],
    planes: Sequence[Plane],
    settings: SelectionSettings,
    ledgers: Mapping[str, Ledger],
    watch: Watch,
) -> list[Volume]:
    """The volumes with the uncertainty of their slices and, for a budget in minutes, the seconds each slice takes."""
    require_packages()
    from ..learning.prediction.uncertainty import UncertaintyEstimator

    estimator = UncertaintyEstimator(cohort, settings.runs, settings.samples, settings.seed, settings.device)
    cases = []
    for number, volume in enumerate(volumes):
        part = watch.part(number, len(volumes), f"'{volume.name}': ")
        cases.append(estimator.of_case(volume.name, planes, part))
    found = [replace(v, uncertainty=case.slices) for v, case in zip(volumes, cases, strict=True)]
    if settings.budget.minutes is None:
        return found
    efforts = {
        (v.name, plane): drawing_effort(case.labels, v.geometry, plane.array_axis(v.geometry))
        for v, case in zip(volumes, cases, strict=True)
        for plane in planes
    }
    cost = learned_cost(cohort, ledgers) if settings.budget.seconds_per_slice is None else None
    if cost is None:
        # Measured times count even where the labels of the timed slices cannot be read.
        budget = with_measured_seconds(settings.budget, ledgers.values())
        together = DrawingEffort(*(np.concatenate([getattr(e, n) for e in efforts.values()]) for n in _EFFORT_TERMS))
        cost = CostModel.assumed(together, budget.known_seconds_per_slice())
    return [replace(v, seconds={p: cost.seconds(efforts[(v.name, p)]) for p in planes}) for v in found]


class _Steps:
    """Divides the progress into equal steps."""

    def __init__(self, whole: Watch, count: int):
        self._whole, self._count, self._done = whole, count, 0

    def next(self) -> Watch:
        """The watch of the next step."""
        part = self._whole.part(self._done, self._count)
        self._done += 1
        return part
