"""The settings of a training as data: stored with the run, and read when it is resumed or used.

Importable without torch, so that the panel and the command line know the choices and the defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from ..core import DEFAULT_DEVICE, BadInputError
from ..core.messages import _
from ..core.strict_json import LEFT_OUT_WHEN_EMPTY
from .loss import DEFAULT_LOSS, LOSSES
from .network import AUTO, DIVISOR, NETWORKS, base_networks
from .optimization import Initialization, Optimizer, PatchPlacing, PseudoLabelTarget, ScheduleKind, check_optimization

RECIPES = {
    "3d": "one 3D model on the drawn voxels.",
    "2d": "one 2D model on the slices of all planes.",
    "ensemble": "a 2D and a 3D model; their predictions along all planes and in 3D are averaged.",
    "self_training": "2D and 3D models, their pseudo-labels, and a final model that learns from those (Zheng 2020).",
}
Recipe = Literal["3d", "2d", "ensemble", "self_training"]
AxisLetter = Literal["S", "A", "R"]
_LARGEST_SEED = 2**63 - 1  # that PyTorch takes
_LARGEST_COUNT, _LARGEST_SIDE = 10**9, 1 << 16  # larger ones are typing errors
_LARGEST_NUMBER = 1e12  # a 'largest_gradient' for no limit, and weights of rare classes, may be far above a million


@dataclass(frozen=True)
class AugmentationSettings:
    """Random changes of patches.

    Attributes:
        flip: the axes to mirror along, of S, A, R; None: R, because bodies are about symmetric from left to right, or
            none where the names of structures distinguish sides. Mirroring along S or A gives impossible anatomy.
        right_angles: chance of a rotation by 90, 180 or 270 degrees, in planes with equal spacings and patch sides.
        affine: chance of a small rotation, scaling and shear.
        elastic: chance of an elastic deformation, together with the affine one.
        bias_field: chance of a smooth change of brightness, as caused by MR coils.
        intensity: chance of each change of brightness, contrast and noise.
        mixup: chance that two patches are mixed (Zhang 2018).
    """

    flip: tuple[AxisLetter, ...] | None = None
    right_angles: float = 0.0
    affine: float = 0.0
    elastic: float = 0.0
    bias_field: float = 0.0
    intensity: float = 0.5
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("right_angles", "affine", "elastic", "bias_field", "intensity", "mixup"):
            _check_share(f"augmentation.{name}", getattr(self, name))


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; 'auto' and None are replaced according to the cohort and the device when the run starts.

    Attributes:
        recipe: what to train, a name from RECIPES.
        network: network of 3D models, a name from `base_networks`; 'auto': a small one on a CPU.
        network_2d: the same for 2D models.
        network_final: network of the final model of 'self_training', a name from NETWORKS; 'auto': that of the 3D
            model. (Zheng 2020 has a Y-shaped DenseVoxNet, which made results worse in our measurements.)
        patch: patch size of 3D models in voxels (S, A, R); None: planned from the cohort and the device.
        patch_2d: patch size of 2D models in pixels; None: planned.
        batch: patches per step of 3D models; None: planned.
        batch_2d: patches per step of 2D models; None: planned.
        iterations: optimizer steps of each model, at most.
        iterations_2d: steps of the 2D model, at most; None: as many as `iterations`.
        iterations_final: steps of the final model, at most; None: as many as `iterations`.
        loss: a name from LOSSES.
        class_weights: weight of each class for the loss 'weighted_ce', background first; None: the rarer a class is in
            the drawn slices, the higher its weight.
        learning_rate: highest learning rate of the optimizer.
        weight_decay: of the optimizer; decoupled from the gradient with 'adamw', added to it with the others.
        optimizer: 'adamw', 'adam' or 'sgd'.
        optimizer_eps: the term that keeps 'adamw' and 'adam' from dividing by zero.
        momentum: of 'sgd'.
        nesterov: whether the momentum of 'sgd' is Nesterov's.
        initialization: of the weights of 3D models, the final one included: 'default' (as the network's library does
            it), 'gaussian' (mean 0, standard deviation 0.01: Yu 2017, Zheng 2020) or 'he' (He 2015).
        initialization_2d: the same for 2D models; None: as `initialization`.
        schedule: of the learning rate: 'hold' (warm up, hold, cool down), 'poly', 'cosine', or 'step' (multiplied by
            `step_factor` at each of `step_at`).
        schedule_2d: the same for 2D models; None: as `schedule`.
        poly_power: of the schedule 'poly'.
        step_at: steps after which the schedule 'step' changes the learning rate, in increasing order.
        step_factor: what the learning rate is multiplied by at each of them.
        warm_up: share of the steps over which the learning rate rises at the beginning.
        cool_down: with the schedule 'hold', share of the steps over which the learning rate falls to zero at the end.
        largest_gradient: the norm that gradients are clipped to.
        dropout: share of values dropped in the network while it learns; the uncertainty of a single model is sampled
            with it, too.
        fill_weight: how much a filled voxel counts beside a drawn one, times its confidence; 0: nothing is learned from
            fills. With more than 0, fill the cases first.
        foreground_share: share of patches placed on a voxel of a structure, each structure equally often.
        class_shares: in place of `foreground_share`, share of patches placed on each label value, 0 for the background
            of drawn slices (Zhang 2025, appendix G); None: not used. The final model uses `foreground_share`.
        undrawn_share: share of patches placed anywhere, drawn or not; the others lie on any drawn voxel.
        undrawn_only: place the `undrawn_share` on undrawn voxels only.
        patch_placing: 'around': a patch is placed at random around its voxel; 'on': its center is on the voxel, or as
            near to it as the border of the volume allows.
        auxiliary_weight: weight of the loss of the auxiliary output that DenseVoxNet has in training (Yu 2017; 0.33 in
            the code of its authors); 0: no such output. Other networks have none.
        mean_teacher: weight of the agreement with a moving average of the model on undrawn voxels (Tarvainen 2017).
        drawn_weight: how much a drawn voxel counts beside a pseudo-labeled one in the final model.
        pseudo_label_target: what the final model learns: 'mean', the mean probabilities of all sets of pseudo-labels;
            'sets', one set for each patch (Zheng 2020); 'auto': 'sets' for networks that see the mean, else 'mean'.
        random_share: with 'sets', share of the steps that fit a set chosen at random; the rest fit the nearest.
        augmentation: random changes of patches, see `AugmentationSettings`.
        normalisation: of each image's intensities: 'z_score', or 'percentile' (percentiles 0.5 and 99.5 become 0
            and 1). CT is scaled alike in all cases instead.
        validation_share: share of the drawn slices held out for validation; none with fewer than 20 drawn slices.
        validate_every: steps between two validations on held-out slices.
        patience: validations without progress before training cools down and stops early.
        checkpoint_every: steps between two checkpoints.
        seed: of everything random.
        device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
        precision: 'auto', 'fp32', or mixed: 'bf16', 'fp16'.
        channels_last: use the memory format with the channels last; None: on a GPU, where the first steps show that it
            is faster.
        compile: use torch.compile, which pays off in long trainings on GPUs; without a compiler it has no effect.
        channels: names of the channels that are learned from; None: all but those that show nothing of any structure on
            the drawn slices.
    """

    recipe: Recipe = "3d"
    network: str = AUTO
    network_2d: str = AUTO
    network_final: str = AUTO
    patch: tuple[int, int, int] | None = None
    patch_2d: tuple[int, int] | None = None
    batch: int | None = None
    batch_2d: int | None = None
    iterations: int = 600
    iterations_2d: int | None = None
    iterations_final: int | None = None
    loss: str = DEFAULT_LOSS
    class_weights: tuple[float, ...] | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    optimizer: Optimizer = "adamw"
    optimizer_eps: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = False
    initialization: Initialization = "default"
    initialization_2d: Initialization | None = None
    schedule: ScheduleKind = "hold"
    schedule_2d: ScheduleKind | None = None
    poly_power: float = 0.9
    step_at: tuple[int, ...] = ()
    step_factor: float = 0.1
    warm_up: float = 0.05
    cool_down: float = 0.5
    largest_gradient: float = 12.0
    dropout: float = 0.0
    fill_weight: float = 0.0
    foreground_share: float = 0.5
    class_shares: dict[int, float] | None = None
    undrawn_share: float = 0.0
    undrawn_only: bool = False
    patch_placing: PatchPlacing = "around"
    auxiliary_weight: float = 0.0
    mean_teacher: float = 0.0
    drawn_weight: float = 4.0
    pseudo_label_target: PseudoLabelTarget = "auto"
    random_share: float = 0.5
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    normalisation: Literal["z_score", "percentile"] = "z_score"
    validation_share: float = 0.1
    validate_every: int = 100
    patience: int = 4
    checkpoint_every: int = 50
    seed: int = 0
    device: str = DEFAULT_DEVICE
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | None = None
    compile: bool = False
    channels: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT_WHEN_EMPTY)

    def __post_init__(self) -> None:
        for name, value in ((one.name, getattr(self, one.name)) for one in fields(self)):
            _check_number(name, value)
        if self.recipe not in RECIPES:
            raise BadInputError(
                _("There is no recipe '{recipe}'; choose one of {recipes}.").format(
                    recipe=self.recipe, recipes=", ".join(RECIPES)
                )
            )
        for name in (self.network, self.network_2d):
            if name != AUTO and name not in base_networks():
                raise BadInputError(
                    _("There is no network '{name}'; choose one of auto, {networks}.").format(
                        name=name, networks=", ".join(base_networks())
                    )
                )
        if self.network_final != AUTO and self.network_final not in NETWORKS:
            raise BadInputError(
                _("There is no final network '{name}'; choose one of auto, {networks}.").format(
                    name=self.network_final, networks=", ".join(NETWORKS)
                )
            )
        LOSSES.named(self.loss)
        if self.class_weights is not None and min(self.class_weights, default=0.0) <= 0.0:
            raise BadInputError(_("Each of the 'class_weights' (the background first) must be more than 0."))
        for patch in (self.patch, self.patch_2d):
            if patch is not None:
                check_patch_sides(patch)
        counts = ("iterations", "batch", "batch_2d", "iterations_2d", "iterations_final")
        for name in (n for n in counts if getattr(self, n) is not None):
            if not 1 <= getattr(self, name) <= _LARGEST_COUNT:
                raise BadInputError(
                    _("'{name}' must be from 1 to {largest}, not {value}.").format(
                        name=name, largest=_LARGEST_COUNT, value=getattr(self, name)
                    )
                )
        for name in ("validate_every", "patience", "checkpoint_every"):  # a very large one means: never
            if getattr(self, name) < 1:
                raise BadInputError(
                    _("'{name}' must be at least 1, not {value}.").format(name=name, value=getattr(self, name))
                )
        shares = ("warm_up", "cool_down", "fill_weight", "foreground_share", "undrawn_share", "validation_share")
        for name in (*shares, "random_share"):
            _check_share(name, getattr(self, name))
        for value, share in (self.class_shares or {}).items():
            _check_share(f"class_shares.{value}", share)
        placed = sum(self.class_shares.values()) if self.class_shares is not None else self.foreground_share
        if placed + self.undrawn_share > 1.0 + 1e-9:
            raise BadInputError(
                _(
                    "The shares of patches on structures and anywhere add up to more than 1: {placed:g} + {undrawn:g}. "
                    "Lower 'foreground_share', 'class_shares' or 'undrawn_share'."
                ).format(placed=placed, undrawn=self.undrawn_share)
            )
        if not 0.0 <= self.dropout < 1.0:
            raise BadInputError(
                _("'dropout' is a share of at least 0 and less than 1, not {dropout:g}.").format(dropout=self.dropout)
            )
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise BadInputError(_("The learning rate must be positive, and the weight decay not negative."))
        if self.largest_gradient <= 0 or self.drawn_weight <= 0 or self.mean_teacher < 0:
            raise BadInputError(
                _("'largest_gradient' and 'drawn_weight' must be positive, and 'mean_teacher' not negative.")
            )
        check_optimization(self)
        if self.channels is not None and not self.channels:
            raise BadInputError(_("'channels' must name at least one channel; leave it out for all that are useful."))
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise BadInputError(
                _("The seed must be between 0 and {largest}, but is {seed}.").format(
                    largest=_LARGEST_SEED, seed=self.seed
                )
            )


def _check_number(name: str, value: object) -> None:
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise BadInputError(_("'{name}' must be a finite number, not {value}.").format(name=name, value=number))
        if isinstance(number, float) and number > _LARGEST_NUMBER:
            raise BadInputError(
                _("'{name}' must be at most {largest:.0f}, not {value:g}.").format(
                    name=name, largest=_LARGEST_NUMBER, value=number
                )
            )


def check_patch_sides(patch: tuple[int, ...]) -> None:
    """Raise BadInputError unless the sides of a patch can be halved four times, and are not too large."""
    if min(patch) < DIVISOR or any(n % DIVISOR for n in patch):
        raise BadInputError(
            _("Each side of the patch must be a multiple of {divisor} voxels, not {patch}.").format(
                divisor=DIVISOR, patch=list(patch)
            )
        )
    if max(patch) > _LARGEST_SIDE:
        raise BadInputError(
            _("Each side of the patch must be at most {largest} voxels, not {patch}.").format(
                largest=_LARGEST_SIDE, patch=list(patch)
            )
        )


def large_enough_patch(patch: tuple[int, ...]) -> tuple[int, ...]:
    """The patch, or the smallest larger one that is more than a single voxel after four halvings."""
    return patch if max(patch) > DIVISOR else (*patch[:-1], 2 * DIVISOR)


def check_patch(patch: tuple[int, ...]) -> None:
    """Raise BadInputError unless a patch can be halved four times with more than a single voxel left."""
    check_patch_sides(patch)
    if max(patch) == DIVISOR:
        raise BadInputError(
            _(
                "At least one side of the patch must be {smallest} voxels or more, because the network would reduce "
                "{patch} to a single voxel."
            ).format(smallest=2 * DIVISOR, patch=list(patch))
        )


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise BadInputError(_("'{name}' is a share between 0 and 1, not {value:g}.").format(name=name, value=value))
