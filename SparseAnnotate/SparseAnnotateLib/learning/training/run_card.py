"""The card of a run at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

from ... import __version__
from ...runs.cards import ModelCard, RunCard
from ...runs.learned_images import LearnedImages
from ...runs.plan import RunPlan
from .beyond_drawn_range import LabelledBeyond


def new_run_card(
    plan: RunPlan,
    models: Sequence[ModelCard],
    *,
    slices: int,
    beyond: LabelledBeyond | None = None,
    view_dice: Mapping[str, float] | None = None,
    view_weights: Mapping[str, float] | None = None,
    average_dice: float | None = None,
    clear_surroundings: bool = False,
    images: LearnedImages | None = None,
) -> RunCard:
    """The card of a run with these models, which has learned from so many drawn `slices`; see `RunCard`.

    `average_dice`: of the average of all views on held-out slices, which is the result of an ensemble.
    `beyond`: what its last model labels beyond the drawn range; None when that was not looked at. `images`: what the
    images of its cases are like.
    """
    settings = plan.settings
    is_ensemble = settings.recipe == "ensemble"
    dice = average_dice if is_ensemble else models[-1].validation_dice
    names = [plan.label_names.get(value, str(value)) for value in plan.classes]
    return RunCard(
        models=tuple(models),
        classes=plan.classes,
        label_names=plan.label_names,
        normalisation=settings.normalisation,
        flip=plan.flip,
        view_dice=dict(view_dice or {}),
        view_weights=dict(view_weights or {}),
        seconds=round(sum(card.seconds for card in models), 1),
        validation_dice=dice,
        slices=slices,
        cases=tuple(plan.cases),
        image_marks=tuple(sorted({plan.images[name] for name in plan.cases if name in plan.images})),
        voxel_marks=tuple(sorted({plan.voxels[name] for name in plan.cases if name in plan.voxels})),
        channels=plan.channels,
        ct=plan.ct,
        clear_surroundings=clear_surroundings,
        seed=settings.seed,
        device=plan.device,
        precision=models[-1].precision,
        is_live=plan.is_live,
        images=images,
        notes=(*plan.notes, *beyond.notes(names)) if beyond else plan.notes,
        versions=_versions(),
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        # What the average labels beyond the drawn range is not known, only what its last model does.
        corrected_dice=beyond.corrected(dice) if beyond and dice is not None and not is_ensemble else None,
        unsupported=dict(zip(plan.classes, beyond.shares()[1:], strict=True)) if beyond else {},
    )


def _versions() -> dict[str, str]:
    return {"sparse-annotate": __version__, **{n: metadata.version(n) for n in ("torch", "monai", "numpy")}}
