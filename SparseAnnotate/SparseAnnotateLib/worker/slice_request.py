"""The request that labels one slice with a run, also with one that is still learning in this process."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import (
    DEFAULT_DEVICE,
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    SparseAnnotateError,
    VolumeGeometry,
    Watch,
)
from ..core.images import write_image
from ..core.messages import _, counted, joined, listed
from ..core.structure_values import class_values, names_as_facts
from ..runs.ct_scale import CtScale
from ..runs.drawing_record import DrawingRecord, LiveQuality
from ..runs.live_settings import LIVE_RECIPES, not_learned_yet
from ..runs.run_folder import RunFolder
from .packages import require_packages


@dataclass(frozen=True)
class SliceRequest:
    """Label one slice of a case with a run of a single model, which may be learning in this process.

    Attributes:
        plane: 'axial', 'coronal' or 'sagittal'. index: of the slice along the plane's array axis, from 0.
    """

    cohort: str
    run: str
    case: str
    plane: str
    index: int
    state: str | None = None
    device: str = DEFAULT_DEVICE


@dataclass(frozen=True)
class SliceAnswer:
    """What a run finds on one slice.

    Attributes:
        path: an image of this slice alone, with label values of the cohort. labels: the label value and the name of
            each structure that the run knows.
        steps: that the model had taken.
        dice: mean Dice of the model on the last slices of this plane, before it learned from them; None when there was
            none. slices: how many these were.
        summary: how good it has been, as a sentence.
        source: what a drawing that begins with it comes from, in a few words: the run, or also slices drawn nearby.
    """

    case: str
    plane: str
    index: int
    path: str
    steps: int
    dice: float | None
    slices: int
    summary: str
    labels: list[dict[str, Any]] = field(default_factory=list)
    source: str = ""


def label_slice(request: SliceRequest, watch: Watch) -> SliceAnswer:
    """Label the slice; corrections on it are kept.

    Raises:
        BadInputError: there is no such slice or case, or the run has several models.
        RunError: the run has not learned anything yet, or its files cannot be used.
    """
    require_packages()
    from ..learning.data.training_cases import normalised_image
    from ..learning.prediction.slice_prediction import slice_classes

    cohort, plane = Cohort.open(request.cohort, request.state), Plane.named(request.plane)
    geometry = cohort.geometry(request.case)
    axis = plane.array_axis(geometry)
    if not 0 <= request.index < geometry.shape[axis]:
        raise BadInputError(
            _("'{case}' has no {plane} slice {index}: its slices are 0 to {last}.").format(
                case=request.case, plane=plane.value, index=request.index, last=geometry.shape[axis] - 1
            )
        )
    found = _found_model(cohort, request)
    image = normalised_image(cohort, request.case, found.normalisation, found.channels, found.ct, watch)
    standard = geometry.to_standard_slice(axis, request.index)
    without = found.record.better_without(request.case, plane).intersection(found.names.values())
    classes = slice_classes(found.model, image, *standard, watch)
    own = class_values(found.classes, found.names, cohort.labels)
    values = zip(own, found.classes, strict=True)
    taken = {c: value for c, (value, theirs) in enumerate(values, 1) if value and found.names[theirs] in without}
    source, taken_now = _expected_by_others(cohort, request.case, taken, image, standard, watch)
    if taken_now:
        classes = _taking(taken_now, source, classes)
    table = np.array([0, *(value or 0 for value in own)], dtype=np.uint16)
    labels = geometry.from_standard_order(np.expand_dims(table[classes], standard[0]))
    labels = np.ascontiguousarray(labels.astype(np.uint8) if table.max() < 256 else labels)
    structures = {value: found.names[theirs] for value, theirs in zip(own, found.classes, strict=True) if value}
    labels = _with_corrections(cohort, request, axis, labels)
    path = cohort.slice_path(request.run, request.case, plane.value, request.index)
    write_image(path, labels, _geometry_of_slice(geometry, axis, request.index), facts=names_as_facts(structures))
    quality = found.record.quality(request.case, plane)
    others = {found.names[found.classes[c - 1]] for c in taken_now}
    return SliceAnswer(
        request.case,
        plane.value,
        request.index,
        str(path),
        found.steps,
        quality.dice if quality is not None else None,
        quality.slices if quality is not None else 0,
        joined(" ", [quality_sentence(quality), *_without_model(others)]),
        [{"label": value, "name": name} for value, name in structures.items()],
        f"{request.run} and slices nearby" if others else request.run,
    )


def quality_sentence(quality: LiveQuality | None) -> str:
    """How good the answers of a model that learns have been."""
    if quality is None:
        return _("How good it is will be measured on the next slice that you draw.")
    return counted(
        quality.slices,
        _("On the last slice you drew, before it learned from it, its Dice was {dice:.2f}."),
        _("On the last {count} slices you drew, before it learned from them, its mean Dice was {dice:.2f}."),
        dice=quality.dice,
    )


def _without_model(names: Collection[str]) -> list[str]:
    if not names:
        return []
    return [
        _("Filled from the slices drawn nearby, which lately needed less correction than the model: {names}.").format(
            names=listed([f"'{name}'" for name in sorted(names)], 3)
        )
    ]


def _expected_by_others(
    cohort: Cohort, case: str, wanted: Mapping[int, int], image: np.ndarray, place: tuple[int, int], watch: Watch
) -> tuple[np.ndarray, list[int]]:
    """(rows, columns) those of the wanted classes that the drawn slices nearby expect; and those that they know of.

    `wanted`: class to label value of the cohort. None is known where these slices cannot be read, or not be used.
    """
    from ..learning.data.expected_classes import ExpectedClasses

    nothing: tuple[np.ndarray, list[int]] = np.zeros(()), []
    if not wanted:
        return nothing
    try:
        expected = ExpectedClasses(cohort.annotation(case), list(wanted.values()), image)
        found, known = expected.on(*place, range(1, len(wanted) + 1), watch)
    except CancelledError:
        raise
    except (SparseAnnotateError, MemoryError) as error:
        # What the model finds is offered.
        logging.getLogger(__name__).warning(str(error))
        return nothing
    classes = np.array([0, *wanted])
    return classes[found], [int(classes[number]) for number in known]


def _taking(wanted: Sequence[int], source: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(rows, columns) classes, of which the wanted ones are as in another source."""
    result = np.where(np.isin(classes, wanted), 0, classes).astype(classes.dtype)
    taken = np.isin(source, wanted)
    result[taken] = source[taken]
    return result


@dataclass(frozen=True, eq=False)
class _FoundModel:
    model: Any
    classes: tuple[int, ...]
    names: dict[int, str]
    normalisation: str
    channels: tuple[str, ...]
    ct: Mapping[str, CtScale]
    steps: int
    record: DrawingRecord


def _found_model(cohort: Cohort, request: SliceRequest) -> _FoundModel:
    """The model as it is now, when it is learning in this process; otherwise as it was stored."""
    from ..learning.devices import chosen_device
    from ..learning.prediction.run_models import loaded_models
    from ..learning.training.live_models import live_model

    run = RunFolder(cohort.run_folder(request.run))
    live = live_model(run.path)
    if live is not None:
        now = live.now()
        if now is None:
            raise not_learned_yet(run.name)
        plan = now.plan
        return _FoundModel(
            now.model,
            plan.classes,
            plan.label_names,
            plan.settings.normalisation,
            plan.channels,
            plan.ct,
            now.steps,
            live.record,
        )
    card = run.card()
    if [model.plan.role for model in card.models] not in [[role] for role in LIVE_RECIPES]:
        raise BadInputError(
            _(
                "A single slice is labeled by runs of one 2D or 3D model only; '{run}' has the models {models}. Label "
                "the whole volume with it."
            ).format(run=run.name, models=", ".join(model.plan.role for model in card.models))
        )
    model = loaded_models(run, card, chosen_device(request.device).device)[0]
    names, record = card.label_names, DrawingRecord(run.path)
    how = card.normalisation, card.channels, card.ct
    return _FoundModel(model, card.classes, names, *how, card.last.iterations, record)


def _with_corrections(cohort: Cohort, request: SliceRequest, axis: int, labels: np.ndarray) -> np.ndarray:
    """Labels of one slice, (K, J, I) with a single layer, as the corrections on it say."""
    corrections = cohort.corrections(request.case)
    if corrections is None:
        return labels
    cohort.require_images_drawn_on([request.case])
    if max(stroke.value for stroke in corrections.strokes) > np.iinfo(labels.dtype).max:
        labels = labels.astype(np.uint16)
    layer = slice(request.index, request.index + 1)
    region = tuple(layer if a == axis else slice(0, n) for a, n in enumerate(corrections.shape))
    for value in sorted({stroke.value for stroke in corrections.strokes}):
        said = corrections.of(value, region)
        labels[(said < 0) & (labels == value)] = 0
        labels[said > 0] = value
    return labels


def _geometry_of_slice(geometry: VolumeGeometry, axis: int, index: int) -> VolumeGeometry:
    shape = tuple(1 if a == axis else n for a, n in enumerate(geometry.shape))
    place = np.zeros(4)
    place[2 - axis], place[3] = index, 1.0
    matrix = geometry.matrix.copy()
    matrix[:, 3] = geometry.matrix @ place
    return VolumeGeometry.from_matrix(shape, matrix)
