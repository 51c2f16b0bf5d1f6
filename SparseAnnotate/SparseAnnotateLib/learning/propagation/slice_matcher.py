"""A network that finds every pixel of a slice in another slice, trained on the slices alone.

Sources: Yeung et al. 2021, 'Sli2Vol' (affinity in a local window between encoded slices, learned by reconstructing one
slice from another; the encoder sees edges, because it would just match grey values); Wu et al. 2022 (scheduled
sampling: some slices are reconstructed from reconstructions, as labels will be); Zhang et al. 2025, appendix F (K
random slices of a volume, so that it learns larger gaps, too).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet
from torch import nn
from torch.nn import functional

from ...core import DEFAULT_DEVICE, BadInputError, RemainingTime, RunError, Watch
from ...core.messages import _
from ..devices import Shortage, chosen_device, within_memory

_EDGE_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 3), (3, 0), (3, 3), (3, -3))
_SHARPNESS = 20.0


@dataclass(frozen=True)
class PropagationSettings:
    """How slices are matched, and how that is learned.

    Attributes:
        steps, batch: of AdamW. patch: side of the squares it learns from, in pixels.
        slices: K, random slices of a volume in a chain. span: how many slices a chain covers at most.
        radius: half the side of the window in which a pixel is searched, in pixels.
        channels: of the features that are compared. seed: of everything random. device: as in TrainingSettings.
    """

    steps: int = 100
    batch: int = 4
    patch: int = 64
    slices: int = 3
    span: int = 8
    radius: int = 4
    channels: int = 32
    seed: int = 0
    device: str = DEFAULT_DEVICE

    def __post_init__(self):
        for name in ("steps", "batch", "radius", "channels"):
            if getattr(self, name) < 1:
                raise BadInputError(
                    _("'{name}' must be at least 1, not {value}.").format(name=name, value=getattr(self, name))
                )
        if self.slices < 2 or self.span < self.slices:
            raise BadInputError(
                _("A chain needs at least 2 slices, and its span must be at least its number of slices.")
            )


class SliceMatcher(nn.Module):
    """Encodes slices with the first three stages of a ResNet-18, at full resolution, and compares them by window."""

    def __init__(self, channels: int = 32, radius: int = 4):
        super().__init__()
        self.radius = radius
        stages = ResNet(
            "basic",
            layers=[2, 2, 2, 2],
            block_inplanes=[channels, 2 * channels, 4 * channels, 8],
            spatial_dims=2,
            n_input_channels=len(_EDGE_STEPS),
            conv1_t_size=3,
            conv1_t_stride=1,
            no_max_pool=True,
            feed_forward=False,
            norm=("group", {"num_groups": 8}),
        )
        self.stem = nn.Sequential(stages.conv1, stages.bn1, stages.act)
        self.stages = nn.ModuleList([stages.layer1, stages.layer2, stages.layer3])
        self.joints = nn.ModuleList([nn.Conv2d(channels * 2**n, channels, 1) for n in range(3)])

    def encode(self, slices: torch.Tensor) -> torch.Tensor:
        """(N, 1, rows, columns) slices between 0 and 1 as (N, channels, rows, columns) features of unit length."""
        found = self.stem(_edge_profile(slices))
        levels = []
        for stage, joint in zip(self.stages, self.joints, strict=True):
            found = stage(found)
            levels.append(functional.interpolate(joint(found), slices.shape[2:], mode="bilinear", align_corners=False))
        return functional.normalize(sum(levels[1:], levels[0]), dim=1)

    def affinity(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """(N, window, rows, columns): how much each pixel of the target comes from each place of its window.

        Args:
            target, source: (N, channels, rows, columns) features.
        """
        inside = functional.pad(torch.ones_like(source[:, :1]), [self.radius] * 4)
        padded = functional.pad(source, [self.radius] * 4)
        rows, columns = target.shape[2:]
        scores = [
            (target * padded[:, :, r : r + rows, c : c + columns])
            .sum(1)
            .masked_fill(inside[:, 0, r : r + rows, c : c + columns] == 0, -1e4)
            for r in range(2 * self.radius + 1)
            for c in range(2 * self.radius + 1)
        ]
        return torch.softmax(torch.stack(scores, 1) * _SHARPNESS, dim=1)

    def carried(self, affinity: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(N, V, rows, columns) values of the source, propagated to the target by the affinity."""
        padded = functional.pad(values, [self.radius] * 4)
        rows, columns = values.shape[2:]
        result = torch.zeros_like(values)
        side = 2 * self.radius + 1
        for number in range(side * side):
            r, c = divmod(number, side)
            result = result + affinity[:, number : number + 1] * padded[:, :, r : r + rows, c : c + columns]
        return result


def _edge_profile(slices: torch.Tensor) -> torch.Tensor:
    """(N, steps, rows, columns): differences with neighbours, which a change of brightness does not affect."""
    reach = 3
    padded = functional.pad(slices, [reach] * 4, mode="replicate")
    rows, columns = slices.shape[2:]
    found = [
        padded[:, 0, reach + r : reach + r + rows, reach + c : reach + c + columns]
        - padded[:, 0, reach - r : reach - r + rows, reach - c : reach - c + columns]
        for r, c in _EDGE_STEPS
    ]
    profile = torch.stack(found, 1)
    return profile / (profile.flatten(1).std(dim=1)[:, None, None, None] + 1e-3)


def train_matcher(
    volumes: Sequence[Callable[[], np.ndarray]], settings: PropagationSettings, watch: Watch | None = None
) -> SliceMatcher:
    """A matcher that has learned from volumes, without any label.

    Args:
        volumes: functions that give a volume, (slices, rows, columns) floating point between 0 and 1; it may be mapped
            from disk.

    Raises:
        BadInputError: no volume has two slices. CancelledError: cancelled; what was learned is lost.
    """
    watch = watch or Watch()
    usable = [volume for volume in volumes if len(volume()) >= 2]
    if not usable:
        raise BadInputError(_("No volume has two slices, so matching slices cannot be learned."))
    training = _MatcherTraining(settings, chosen_device(settings.device).device, watch)
    remaining = RemainingTime(settings.steps)
    for step in range(settings.steps):
        rng = np.random.default_rng([settings.seed, 0x51CE, step])
        chains = _chains(usable, settings, rng)
        # Wu 2022: more and more slices are reconstructed from a reconstruction.
        from_reconstruction = rng.random(settings.slices) < 0.5 * step / settings.steps
        loss = training.step(step, torch.from_numpy(chains), from_reconstruction)
        message = _("learning to match slices, step {step} of {count} on {device}").format(
            step=step + 1, count=settings.steps, device=training.device
        )
        watch.step((step + 1) / settings.steps, message, remaining.after(step + 1), loss=loss)
    return training.matcher.eval()


class _MatcherTraining:
    """A matcher in training, with what AdamW knows; in smaller parts, then on the CPU, when memory runs out."""

    def __init__(self, settings: PropagationSettings, device: str, watch: Watch):
        self._settings, self._watch = settings, watch
        self._parts, self._done = 1, 0
        torch.manual_seed(settings.seed)
        self._build(device)

    def _build(self, device: str) -> None:
        settings, self.device = self._settings, device
        self.matcher = SliceMatcher(settings.channels, settings.radius).to(device).train()
        self._optimizer = torch.optim.AdamW(self.matcher.parameters(), lr=1e-3, weight_decay=1e-4)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, 1e-3, total_steps=settings.steps + 1)

    def step(self, number: int, chains: torch.Tensor, from_reconstruction: np.ndarray) -> float:
        """One step of AdamW; returns the loss. Arguments as of `_chain_loss`. Raises RunError without memory."""
        self._done = number
        loss = within_memory(lambda: self._gradient(chains, from_reconstruction), self._reduce)
        nn.utils.clip_grad_norm_(self.matcher.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        return loss

    def _gradient(self, chains: torch.Tensor, from_reconstruction: np.ndarray) -> float:
        """Leaves the gradient of the loss, the sum over parts of the batch, and returns the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in chains.chunk(self._parts):
            loss = _chain_loss(self.matcher, part.to(self.device), from_reconstruction) * (len(part) / len(chains))
            loss.backward()
            losses.append(loss.detach())
        return float(sum(losses[1:], losses[0]))

    def _reduce(self, shortage: Shortage) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        device = self.device
        if shortage == "memory" and self._parts < self._settings.batch:
            self._parts *= 2
            template = _("Memory ran out on '{device}': matching slices is learned in smaller parts.")
        elif device != "cpu":
            self._move_to_cpu()
            template = _("'{device}' cannot be used to learn to match slices: it continues on the CPU, which is slow.")
        else:
            raise RunError(_("There is too little memory to learn to match slices. Close other programs."))
        note = template.format(device=device)
        logging.getLogger(__name__).warning(note)
        self._watch.step(self._done / self._settings.steps, note)

    def _move_to_cpu(self) -> None:
        weights, moments, rate = self.matcher.state_dict(), self._optimizer.state_dict(), self._schedule.state_dict()
        self._build("cpu")
        self.matcher.load_state_dict(weights)
        self._optimizer.load_state_dict(moments)
        self._schedule.load_state_dict(rate)


def _chain_loss(matcher: SliceMatcher, chains: torch.Tensor, from_reconstruction: np.ndarray) -> torch.Tensor:
    """Error of every slice of the chains reconstructed from the one before, going up and going down.

    Args:
        chains: (N, K, rows, columns). from_reconstruction: (K,) bool, whether a slice is taken as reconstructed itself.
    """
    count, length = chains.shape[:2]
    features = matcher.encode(chains.flatten(0, 1)[:, None]).unflatten(0, (count, length))
    losses = []
    for order in (range(length), range(length - 1, -1, -1)):
        known = chains[:, order[0], None]
        for before, here in pairwise(order):
            made = matcher.carried(matcher.affinity(features[:, here], features[:, before]), known)
            truth = chains[:, here, None]
            losses.append(functional.smooth_l1_loss(made, truth, beta=0.05))
            known = made if from_reconstruction[here] else truth
    return torch.stack(losses).mean()


def _chains(volumes, settings: PropagationSettings, rng: np.random.Generator) -> np.ndarray:
    """(N, K, rows, columns) float32: squares out of K random slices of a random volume, in order."""
    found = []
    for _square in range(settings.batch):
        volume = volumes[int(rng.integers(len(volumes)))]()
        first = int(rng.integers(max(len(volume) - settings.span, 0) + 1))
        window = np.arange(first, min(first + settings.span, len(volume)))
        chosen = np.sort(rng.choice(window, settings.slices, replace=len(window) < settings.slices))
        corner = [int(rng.integers(max(n - settings.patch, 0) + 1)) for n in volume.shape[1:]]
        square = tuple(slice(c, c + settings.patch) for c in corner)
        chain = np.stack([np.asarray(volume[i][square], dtype=np.float32) for i in chosen])
        missing = [(0, 0), *((0, settings.patch - n) for n in chain.shape[1:])]
        found.append(np.pad(chain, missing, mode="edge"))
    return np.stack(found)
