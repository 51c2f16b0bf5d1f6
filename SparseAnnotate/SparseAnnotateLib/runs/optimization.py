"""Optimizer, initialization, schedule and placing of patches as settings: the choices, and whether they can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ..core import BadInputError
from ..core.messages import _

if TYPE_CHECKING:
    from .settings import TrainingSettings

Optimizer = Literal["adamw", "adam", "sgd"]
Initialization = Literal["default", "gaussian", "he"]
ScheduleKind = Literal["hold", "poly", "cosine", "step"]
PatchPlacing = Literal["around", "on"]
PseudoLabelTarget = Literal["auto", "mean", "sets"]

_CHOICES = {
    "optimizer": get_args(Optimizer),
    "initialization": get_args(Initialization),
    "initialization_2d": (*get_args(Initialization), None),
    "schedule": get_args(ScheduleKind),
    "schedule_2d": (*get_args(ScheduleKind), None),
    "patch_placing": get_args(PatchPlacing),
    "pseudo_label_target": get_args(PseudoLabelTarget),
}


def check_optimization(settings: TrainingSettings) -> None:
    """Raise BadInputError for an impossible optimizer, initialization, schedule, placing or auxiliary weight."""
    for name, choices in _CHOICES.items():
        value = getattr(settings, name)
        if value not in choices:
            raise BadInputError(
                _("'{name}' cannot be '{value}'; choose one of {choices}.").format(
                    name=name, value=value, choices=", ".join(str(choice) for choice in choices if choice is not None)
                )
            )
    for name in ("optimizer_eps", "poly_power"):
        if getattr(settings, name) <= 0:
            raise BadInputError(
                _("'{name}' must be more than 0, not {value:g}.").format(name=name, value=getattr(settings, name))
            )
    if not 0.0 <= settings.momentum < 1.0:
        raise BadInputError(
            _("'momentum' must be at least 0 and less than 1, not {momentum:g}.").format(momentum=settings.momentum)
        )
    if settings.nesterov and (settings.optimizer != "sgd" or settings.momentum == 0):
        raise BadInputError(
            _("'nesterov' needs the optimizer 'sgd' and a 'momentum' of more than 0. Change these or switch it off.")
        )
    if settings.auxiliary_weight < 0:
        raise BadInputError(
            _("'auxiliary_weight' must not be negative, but is {weight:g}.").format(weight=settings.auxiliary_weight)
        )
    _check_steps(settings)


def _check_steps(settings: TrainingSettings) -> None:
    if "step" in (settings.schedule, settings.schedule_2d) and not settings.step_at:
        raise BadInputError(
            _("The schedule 'step' needs 'step_at': the steps after which the learning rate changes, such as [10000].")
        )
    if any(later <= earlier for earlier, later in zip((0, *settings.step_at), settings.step_at, strict=False)):
        raise BadInputError(
            _("The steps in 'step_at' must be at least 1 and in increasing order, not {steps}.").format(
                steps=list(settings.step_at)
            )
        )
    if not 0.0 < settings.step_factor <= 1.0:
        raise BadInputError(
            _("'step_factor' must be more than 0 and at most 1, not {factor:g}.").format(factor=settings.step_factor)
        )
