"""Features of slices learned on the cohort's own slices: trained once, kept in the cohort's cache."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...core import BadInputError, Cohort, Plane, RemainingTime, RunError, Watch
from ...core.case_names import file_stem
from ...core.messages import _
from ...selection import FeatureSettings, cached_array, centred, check_seed, cohort_slice_images, side_by_side
from ..devices import Shortage, chosen_device, within_memory
from ..weights import load_weights, save_weights
from .slice_encoders import SliceEncoder, build_encoder

_VERSION = 1  # part of every name in the cache: features learned by another version are not used
_SLICES_OF_CHANNELS = "shown by the first"  # which ones are learned from where there are several, in these names, too
_LEARNED_FROM_AT_MOST = 8192
_ENCODED_TOGETHER = 64
_WARM_UP = 0.1
_PREPARING, _TRAINING = 0.2, 0.8  # where in the progress these end


@dataclass(frozen=True)
class FeatureTraining:
    """How features are learned.

    Attributes:
        from_scratch: the autoencoder without VGG-19's weights.
        download_weights: whether these weights may be downloaded when this computer has no copy of them.
        steps, batch: of AdamW. seed: of everything random. device: as in TrainingSettings.
    """

    from_scratch: bool = FeatureSettings.from_scratch
    steps: int = FeatureSettings.feature_steps
    batch: int = 64
    seed: int = FeatureSettings.seed
    device: str = FeatureSettings.device
    download_weights: bool = FeatureSettings.download_weights

    def __post_init__(self):
        check_seed(self.seed)
        if self.steps < 1 or self.batch < 1:
            raise BadInputError(
                _(
                    "Learning features needs at least one step (not {steps}) with at least one slice (not {batch})."
                ).format(steps=self.steps, batch=self.batch)
            )


def learned_features(
    cohort: Cohort,
    names: Sequence[str],
    planes: Sequence[Plane],
    kind: str,
    training: FeatureTraining | None = None,
    watch: Watch | None = None,
    channels: Sequence[str] = ("",),
) -> Mapping[str, Mapping[Plane, np.ndarray]]:
    """Features of every slice of the cases, by case and plane, (number of slices, D) float32.

    The network learns from slices of all three planes of these cases (Zheng et al. 2020). Slices without contrast
    have the features 0. Of several channels each is a picture of its own: the same network sees all of them, and the
    features of each, with the mean over all slices subtracted, stand `side_by_side`, (number of slices, D * channels).

    Args:
        channels: that all of the cases have; '' is the first one.

    Raises:
        BadInputError: no pretrained weights, no usable device, or only slices without contrast.
        CancelledError: cancelled; what was learned so far is lost.
    """
    training, watch = training or FeatureTraining(), watch or Watch()
    encoder = _Encoder(cohort, names, kind, training, watch, channels)
    of_channels: list[list[np.ndarray]] = [[] for _channel in channels]
    for number, name in enumerate(names):
        for found, channel in zip(of_channels, channels, strict=True):
            of_kind = "-".join(filter(None, [kind, encoder.key, file_stem(channel) if channel else ""]))
            for plane in planes:
                compute = _computation(encoder, name, plane, channel)
                found.append(cached_array(cohort, of_kind, name, plane, compute))
        # Reported only now, because the network may have been trained for the first one.
        watch.step(
            _TRAINING + (1 - _TRAINING) * (number + 1) / len(names),
            _("computing the features of '{case}'").format(case=name),
        )
    flat = of_channels[0]
    if len(channels) > 1:
        flat = side_by_side([centred(found) for found in of_channels])
    each = iter(flat)
    return {name: {plane: next(each) for plane in planes} for name in names}


def _computation(encoder: _Encoder, name: str, plane: Plane, channel: str) -> Callable[[], np.ndarray]:
    return lambda: encoder.features(name, plane, channel)


class _Encoder:
    """The trained network, trained or loaded when the first slice needs it."""

    def __init__(
        self,
        cohort: Cohort,
        names: Sequence[str],
        kind: str,
        training: FeatureTraining,
        watch: Watch,
        channels: Sequence[str],
    ):
        self._cohort, self._kind, self._channels = cohort, kind, channels
        self._training, self._watch = training, watch
        self._network: SliceEncoder | None = None
        # Ordered by content, so that names and order of the images make no difference.
        by_mark = sorted({cohort.image_fingerprint(name): name for name in names}.items())
        marks, self._names = [mark for mark, _ in by_mark], [name for _, name in by_mark]
        facts = (_VERSION, kind, training.from_scratch, training.steps, training.batch, training.seed, *marks)
        of_ct = [channel for channel in channels if cohort.is_ct(channel)]
        facts = (*facts, "CT", *filter(None, of_ct)) if of_ct else facts
        facts = (*facts, tuple(channels), _SLICES_OF_CHANNELS) if len(channels) > 1 else facts
        self.key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        self.device = "cpu"
        self._size, self._together = 0, _ENCODED_TOGETHER

    def features(self, name: str, plane: Plane, channel: str) -> np.ndarray:
        """(number of slices, D) float32 of one case, plane and channel."""
        if self._network is None:
            self._network = self._trained_network()
        pictures = self._pictures(name, [plane], channel)
        found: list[torch.Tensor] = []
        while (done := sum(len(part) for part in found)) < len(pictures):
            self._watch.check()
            found.append(within_memory(partial(self._encoded, pictures[done:]), self._encode_less))
        features = torch.cat(found).numpy()
        features[_without_contrast(pictures)] = 0.0
        return features

    @torch.no_grad()
    def _encoded(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features of the first pictures, as many as are encoded together, on the CPU."""
        if self._network is None:
            raise ValueError("pictures are encoded before there is a network")
        part = pictures[: self._together].to(self.device)
        return self._network.encode(self._network.prepared(part)).float().cpu()

    def _encode_less(self, shortage: Shortage) -> None:
        if shortage == "memory" and self._together > 1:
            self._together //= 2
            return
        self._use_cpu(shortage)
        if self._network is not None:
            self._network = self._network.to("cpu")

    def _use_cpu(self, shortage: Shortage) -> None:
        if self.device == "cpu":
            raise RunError(_("There is too little memory to learn features of slices. Close other programs."))
        note = _("'{device}' cannot be used for features of slices: they are computed on the CPU, which is slow.")
        logging.getLogger(__name__).warning(note.format(device=self.device))
        self.device = "cpu"

    def _trained_network(self) -> SliceEncoder:
        self.device = chosen_device(self._training.device).device
        path = self._cohort.cache_folder / "encoders" / f"{self._kind}-{self.key}.safetensors"
        network = self._loaded(path)
        if network is None:
            network = within_memory(self._newly_trained, self._use_cpu)
            save_weights(path, network)
        self._size = network.size
        return network.eval()

    def _newly_trained(self) -> SliceEncoder:
        torch.manual_seed(self._training.seed)
        asked = self._training
        network = build_encoder(self._kind, asked.from_scratch, download=asked.download_weights).to(self.device)
        self._size = network.size
        self._train(network)
        return network

    def _loaded(self, path: Path) -> SliceEncoder | None:
        if not path.is_file():
            return None
        network = build_encoder(self._kind, self._training.from_scratch, pretrained=False)
        try:
            load_weights(path, network)
        except RunError:
            path.unlink()
            return None
        return network.to(self.device)

    def _pictures(self, name: str, planes: Sequence[Plane], channel: str) -> torch.Tensor:
        """(N, 1, size, size) float32."""
        by_plane = cohort_slice_images(self._cohort, name, planes, self._size, channel=channel)
        return torch.from_numpy(np.concatenate([by_plane[p] for p in planes]).astype(np.float32))[:, None]

    def _learned_from(self, network: SliceEncoder) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and their prepared form, on the CPU: some of each case, so that all of them fit into memory."""
        each = max(1, _LEARNED_FROM_AT_MOST // len(self._names))
        pictures, prepared = [], []
        for number, name in enumerate(self._names):
            self._watch.step(
                _PREPARING * number / len(self._names), _("preparing the slices of '{case}'").format(case=name)
            )
            of_channels = [self._pictures(name, list(Plane), channel) for channel in self._channels]
            # Where the first channel is blank, the others have noise at best.
            is_blank = _without_contrast(of_channels[0])
            own = torch.cat([found[~(is_blank | _without_contrast(found))] for found in of_channels])
            order = np.random.default_rng([self._training.seed, number]).permutation(len(own))[:each]
            pictures.append(own[order])
            for part in pictures[-1].split(_ENCODED_TOGETHER):
                self._watch.check()
                prepared.append(network.prepared(part.to(self.device)).cpu())
        if not sum(len(p) for p in pictures):
            raise BadInputError(_("All slices are uniform, so there is nothing to learn from."))
        return torch.cat(pictures), torch.cat(prepared)

    def _train(self, network: SliceEncoder) -> None:
        network.eval()
        pictures, prepared = self._learned_from(network)
        network.train()
        steps = self._training.steps
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=network.learning_rate)
        remaining = RemainingTime(steps)
        for step in range(steps):
            rng = np.random.default_rng([self._training.seed, 0xFEA7, step])
            torch.manual_seed(self._training.seed * 1_000_003 + step)
            chosen = rng.integers(len(pictures), size=min(self._training.batch, len(pictures)))
            warm_up = min(1.0, (step + 1) / max(1.0, _WARM_UP * steps))
            for group in optimizer.param_groups:
                group["lr"] = network.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            loss = network.loss(prepared[chosen].to(self.device), pictures[chosen].to(self.device))
            loss.backward()
            optimizer.step()
            fraction = _PREPARING + (_TRAINING - _PREPARING) * (step + 1) / steps
            message = _("learning features, step {step} of {count} on {device}").format(
                step=step + 1, count=steps, device=self.device
            )
            self._watch.step(fraction, message, remaining.after(step + 1), loss=float(loss.detach()))


def _without_contrast(pictures: torch.Tensor) -> np.ndarray:
    flat = pictures.flatten(1)
    return (flat.amax(dim=1) == flat.amin(dim=1)).numpy()
