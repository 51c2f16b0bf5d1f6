"""Settings for training while slices are being drawn. Importable without torch."""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import BadInputError, RunError
from ..core.messages import _
from .presets import NEVER
from .settings import TrainingSettings

LIVE_RECIPES = ("2d", "3d")
"""What can be trained while slices are being drawn: one model."""

LIVE_PRESET = "quick_2d"
"""The default: its steps are short, and it labels a slice in far less than a second on a CPU, too."""

MOST_LIVE_STEPS = 1_000_000
"""Far more than a person waits for: such a training ends when it is stopped."""

_WARM_UP_STEPS = 20
_CHECKPOINT_EVERY = 500  # a checkpoint is also saved whenever a slice has been drawn


def live_settings(settings: TrainingSettings) -> TrainingSettings:
    """The same settings for a training that goes on while slices are being drawn, until it is stopped.

    The learning rate is constant after a few steps, and all drawn slices are learned from: each has been predicted
    before it was learned from, which tells how good the model is, so none is held out.

    Raises BadInputError for a recipe of several models, where fills are learned from, which would be out of date, and
    for weights of classes, of which there may be more later.
    """
    if settings.recipe not in LIVE_RECIPES:
        raise BadInputError(
            _(
                "Learning while you draw trains one model: its recipe is one of {recipes}, not '{recipe}'. Use the "
                "preset 'quick' or 'quick_2d', and train several models when the slices are drawn."
            ).format(recipes=", ".join(f"'{name}'" for name in LIVE_RECIPES), recipe=settings.recipe)
        )
    if settings.fill_weight > 0:
        raise BadInputError(
            _(
                "Learning while you draw learns from drawn slices alone, because a fill is out of date after the next "
                "slice. Set 'fill_weight' to 0."
            )
        )
    if settings.class_weights is not None:
        raise BadInputError(
            _(
                "Learning while you draw cannot use 'class_weights', because structures may be added. Leave them out: "
                "then they follow from what is drawn."
            )
        )
    return replace(
        settings,
        iterations=MOST_LIVE_STEPS,
        iterations_2d=None,
        schedule="hold",
        schedule_2d=None,
        warm_up=_WARM_UP_STEPS / MOST_LIVE_STEPS,
        cool_down=0.0,
        validation_share=0.0,
        patience=NEVER,
        checkpoint_every=_CHECKPOINT_EVERY,
    )


def not_learned_yet(run_name: str) -> RunError:
    """What to raise when a run is asked that has only just begun to learn."""
    return RunError(_("The run '{run}' has not learned anything yet. Ask again in a few seconds.").format(run=run_name))
