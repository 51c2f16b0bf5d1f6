"""What a run will do: models, patches, strides and kernels from the cohort's shapes and spacings and the memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core import DEFAULT_DEVICE, BadInputError, Cohort, Watch
from ...core.messages import _
from ...runs.network import AUTO, DIVISOR, NETWORKS
from ...runs.plan import ModelPlan, RunPlan, require_cases
from ...runs.settings import TrainingSettings, large_enough_patch
from ..data.ct_statistics import CtStatistics
from ..data.image_channels import require_channels
from ..devices import chosen_device, release_cached_memory, training_precision
from ..prediction.model_building import network_shape
from .channel_choice import ChannelChoice
from .drawn_structures import DrawnStructures, UnknownInCases
from .memory_need import require_memory
from .patch_planning import memory_note, planned_network, planned_patch_and_batch, planned_slices_and_batch
from .plan_notes import cohort_notes, mirrored_axes, patch_note, plane_notes

_THICK = 3.0  # from this ratio of spacings on, a plane's slices are too distorted to learn from
_LEVELS = 5
_MODELS = {"3d": ("3d",), "2d": ("2d",), "ensemble": ("2d", "3d"), "self_training": ("2d", "3d", "final")}


def new_plan(
    cohort: Cohort,
    settings: TrainingSettings,
    names: Sequence[str],
    undrawn: Sequence[str] = (),
    watch: Watch | None = None,
    leaves_out: bool = True,
) -> RunPlan:
    """The plan of a new run.

    Args:
        names: cases to learn from; each must have a drawn slice.
        undrawn: cases whose pseudo-labels the final model may learn from.
        watch: shows which case is being read, and cancels in between.
        leaves_out: whether channels that show nothing are left out; not if structures may be added, which they show.

    Raises:
        BadInputError: nothing drawn, only empty slices, or settings that do not fit the cohort, the device or the
            memory.
        CancelledError: cancelled.
    """
    require_cases(names, cohort.name)
    asked = settings.channels if leaves_out or settings.channels is not None else cohort.channels
    choice = ChannelChoice(cohort, asked, names)
    require_channels(cohort, names, choice.needed)
    fingerprints, shapes, spacings, drawn_axes, slices = {}, [], [], set(), 0
    drawn, unknown, ct = DrawnStructures(), UnknownInCases(), CtStatistics(cohort)
    for name in names:
        if watch is not None and (ct.reads_images or choice.reads_images):
            watch.step(0.0, _("reading '{name}'").format(name=name))
        annotation = cohort.annotation(name)
        annotation.require_drawn(name)
        fingerprints[name] = annotation.fingerprint()
        drawn.add(name, annotation)
        unknown.add(name, annotation)
        ct.add(name, annotation)
        choice.add(name, annotation)
        shapes.append(annotation.geometry.standard_shape)
        spacings.append(annotation.geometry.standard_spacing)
        for axis, indices in annotation.drawn_by_axis().items():
            slices += len(indices)
            drawn_axes.update({annotation.geometry.to_standard_slice(axis, i)[0] for i in indices})
    if not drawn.values:
        raise BadInputError(
            _(
                "All drawn slices are empty, so there is no structure to learn. Draw the structure on at least "
                "one slice."
            )
        )
    classes = drawn.values
    _check_classes(settings, classes)
    channels = choice.channels(classes)
    require_channels(cohort, names, channels)
    chosen = chosen_device(settings.device)
    release_cached_memory()
    spacing = tuple(np.median(np.array(spacings), axis=0).tolist())
    # The device is worth a note only when it is not the one asked for.
    as_asked = settings.device == chosen.device or (settings.device == DEFAULT_DEVICE and chosen.device != "cpu")
    notes = [] if as_asked else [chosen.message]
    notes += cohort_notes(cohort, classes, slices, dict(zip(names, spacings, strict=True)))
    notes += drawn.notes(cohort.labels)
    notes += unknown.notes()
    notes += choice.notes(channels)
    names_of = {value: cohort.labels.get(value, f"label {value}") for value in classes}
    flip, sides = mirrored_axes(settings.augmentation.flip, names_of.values())
    notes += sides
    models, of_one_scan = [], len(cohort.cases) == 1
    for role in _MODELS[settings.recipe]:
        if role == "2d":
            planes = usable_planes(spacing, drawn_axes, of_one_scan)
            notes += plane_notes(planes, spacing, of_one_scan)
            models.append(_planned_2d_model(settings, shapes, planes, chosen.device, len(classes) + 1))
        else:
            place = chosen.device, len(classes) + 1
            models.append(_planned_3d_model(role, settings, shapes, spacing, *place, of_one_scan))
    _check_auxiliary(settings, models)
    for model in models:
        # Before anything is written: a run of these settings could not be trained.
        NETWORKS[model.network].check_shape(network_shape(model, len(classes) + 1, max(1, len(channels))))
    notes += filter(None, (memory_note(model, chosen.device, len(classes) + 1) for model in models))
    notes += [patch_note(patch) for patch in (settings.patch, settings.patch_2d) if patch and max(patch) == DIVISOR]
    plan = RunPlan(
        settings=settings,
        models=tuple(models),
        device=chosen.device,
        precision=training_precision(settings.precision, chosen.device),
        spacing=spacing,
        flip=flip,
        classes=classes,
        label_names=names_of,
        cases=fingerprints,
        undrawn_cases=tuple(undrawn) if settings.recipe == "self_training" else (),
        notes=tuple(notes),
        channels=channels,
        ct=ct.scales(channels),
    )
    require_memory(plan)
    return plan


def usable_planes(spacing: Sequence[float], drawn_axes: set[int], of_one_scan: bool = False) -> tuple[int, ...]:
    """Axes of (S, A, R) whose slices suit a 2D model: those with similar in-plane spacings, and those drawn on.

    Of one scan only those drawn on: slices of the other planes show a few supervised lines each, and without those of
    other scans a model learns next to nothing from them (benchmark `learning`, spinal cord: Dice .32 and .25).
    """
    if of_one_scan:
        return tuple(sorted(drawn_axes))
    planes = []
    for axis in range(3):
        within = [s for a, s in enumerate(spacing) if a != axis]
        if max(within) < _THICK * min(within) or axis in drawn_axes:
            planes.append(axis)
    return tuple(planes)


def strides_and_kernels(
    patch: Sequence[int], spacing: Sequence[float]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides and kernels of each level: voxels first become about isotropic, then all axes are halved together.

    An axis is halved while at least 4 voxels remain and its voxels are not twice as long as the shortest; its kernel
    size is 1 as long as they are (after Isensee 2021).
    """
    sizes, lengths = list(patch), list(spacing)
    strides, kernels = [], []
    for level in range(_LEVELS):
        if level:
            shortest = min((s for s, n in zip(lengths, sizes, strict=True) if n >= 8), default=None)
            stride = (
                tuple(2 if n >= 8 and s < 2 * shortest else 1 for n, s in zip(sizes, lengths, strict=True))
                if shortest
                else (1,) * len(sizes)
            )
            if max(stride) == 1:
                break
            sizes = [n // s for n, s in zip(sizes, stride, strict=True)]
            lengths = [s * t for s, t in zip(lengths, stride, strict=True)]
            strides.append(stride)
        else:
            strides.append((1,) * len(sizes))
        kernels.append(tuple(1 if s >= 2 * min(lengths) else 3 for s in lengths))
    return tuple(strides), tuple(kernels)


def _planned_3d_model(
    role, settings: TrainingSettings, shapes, spacing, device: str, class_count: int, of_one_scan: bool
) -> ModelPlan:
    network = planned_network(settings.network, device, of_one_scan)
    if role == "final":
        network = planned_final_network(settings, device, of_one_scan)
    step = NETWORKS.named(network).patch_step
    planned, batch = planned_patch_and_batch(shapes, spacing, network, device, class_count, step)
    patch = large_enough_patch(settings.patch or planned)
    iterations = settings.iterations_final if role == "final" else None
    strides, kernels = strides_and_kernels(patch, spacing)
    return ModelPlan(
        role=role,
        network=network,
        patch=tuple(patch),
        batch=settings.batch or batch,
        iterations=iterations or settings.iterations,
        strides=strides,
        kernels=kernels,
    )


def planned_final_network(settings: TrainingSettings, device: str, of_one_scan: bool = False) -> str:
    """The network that 'auto' stands for in the final model; see TrainingSettings."""
    if settings.network_final != AUTO:
        return settings.network_final
    return planned_network(settings.network, device, of_one_scan)


def _planned_2d_model(
    settings: TrainingSettings, shapes, planes: tuple[int, ...], device: str, class_count: int
) -> ModelPlan:
    network = planned_network(settings.network_2d, device)
    step = NETWORKS.named(network).patch_step
    planned, batch = planned_slices_and_batch(shapes, planes, network, device, class_count, step)
    patch = large_enough_patch(settings.patch_2d or planned)
    strides, kernels = strides_and_kernels(patch, (1.0, 1.0))
    return ModelPlan(
        role="2d",
        network=network,
        patch=tuple(patch),
        batch=settings.batch_2d or batch,
        iterations=settings.iterations_2d or settings.iterations,
        planes=planes,
        strides=strides,
        kernels=kernels,
    )


def _check_classes(settings: TrainingSettings, classes: tuple[int, ...]) -> None:
    if settings.class_weights is not None and len(settings.class_weights) != len(classes) + 1:
        raise BadInputError(
            _(
                "'class_weights' needs {needed} values (the background first, then one for each structure), not "
                "{given}."
            ).format(needed=len(classes) + 1, given=len(settings.class_weights))
        )
    unknown = sorted(set(settings.class_shares or ()) - {0, *classes})
    if unknown:
        raise BadInputError(
            _("'class_shares' includes label {label}, which is not on any drawn slice.").format(label=unknown[0])
        )


def _check_auxiliary(settings: TrainingSettings, models: Sequence[ModelPlan]) -> None:
    if settings.auxiliary_weight > 0 and not any(NETWORKS.named(model.network).has_auxiliary for model in models):
        raise BadInputError(
            _(
                "'auxiliary_weight' is {weight:g}, but no network of this training ({networks}) has an auxiliary "
                "output. Choose one that has ({able}), or set 'auxiliary_weight' to 0."
            ).format(
                weight=settings.auxiliary_weight,
                networks=", ".join(model.network for model in models),
                able=", ".join(name for name, entry in NETWORKS.items() if entry.has_auxiliary),
            )
        )
