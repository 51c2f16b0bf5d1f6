"""The uncertainty of trained models for each slice: sampled dropout of one model, or the variance of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...core import BadInputError, Cohort, Plane, VolumeGeometry, Watch
from ...core.messages import _, counted
from ...core.planes import slice_layer
from ...runs.cards import RunCard
from ...runs.run_folder import RunFolder
from ...selection import SelectionSettings, check_seed
from ..data.training_cases import normalised_image
from ..devices import chosen_device
from .run_models import loaded_models
from .slabs import computed_slabs
from .trained_model import TrainedModel
from .volume_prediction import VolumePrediction, class_dtype, most_likely

_INJECTED_DROPOUT = 0.2
_FAR_PIXELS = 10.0
_SLAB_SHARE = 0.25  # logits, probabilities and two sums of them exist at the same time


@dataclass(frozen=True, eq=False)
class CaseUncertainty:
    """The uncertainty and the prediction of one volume.

    Attributes:
        slices: for each plane (number of slices,) float, the uncertain area of each slice in mm², voxels far from
            the predicted boundaries counting more.
        labels: (K, J, I) uint8 or uint16, their joint prediction.
    """

    slices: Mapping[Plane, np.ndarray]
    labels: np.ndarray


class UncertaintyEstimator:
    """One or several finished runs, loaded once, for any number of volumes.

    With one run of one model: the entropy of the mean of `samples` predictions, each with different values dropped
    (MC-dropout, Gal and Ghahramani 2016), as a share of the maximum entropy. A run that learned without
    dropout has it injected afterwards (Ledda et al. 2023). With one run of 2D and 3D models: the entropy of the mean of
    their predictions along each plane and in 3D. With several runs: the variance of their predictions, mean over the
    classes (Yang et al. 2017), as a share of its maximum.

    A slice's value is the sum over its voxels, weighted by their distance to the predicted boundaries in the slice
    (Gorriz et al. 2017), up to 10 pixels: uncertainty far from any boundary is more than a slight difference in
    outlining.

    Raises:
        BadInputError: no run, fewer than two samples, runs with different labels, a device that does not work.
        RunError: a run that is not finished, or damaged.
    """

    def __init__(
        self,
        cohort: Cohort,
        run_names: Sequence[str],
        samples: int = SelectionSettings.samples,
        seed: int = SelectionSettings.seed,
        device: str = SelectionSettings.device,
    ):
        if not run_names:
            raise BadInputError(
                _(
                    "The strategy 'uncertainty' needs trained models, but none is named. Train one and name its run, "
                    "or choose another strategy."
                )
            )
        check_seed(seed)
        self._cohort, self._samples, self._seed = cohort, samples, seed
        self._folders = [RunFolder(cohort.run_folder(name)) for name in dict.fromkeys(run_names)]
        self._cards = [folder.card() for folder in self._folders]
        # Views of one run that may disagree, instead of samples: 2D models give one for each plane.
        self._heterogeneous = len(self._folders) == 1 and any(m.plan.role == "2d" for m in self._cards[0].models)
        if len(self._folders) == 1 and not self._heterogeneous and samples < 2:
            raise BadInputError(
                _("The uncertainty of one run needs at least 2 samples, not {samples}.").format(samples=samples)
            )
        for folder, card in zip(self._folders, self._cards, strict=True):
            if _structures(card) != _structures(self._cards[0]):
                raise BadInputError(
                    _(
                        "The runs '{first}' and '{second}' have learned different labels, so their predictions cannot "
                        "be compared. Choose runs that were trained on the same structures."
                    ).format(first=self._folders[0].name, second=folder.name)
                )
        self._device = chosen_device(device).device
        self._models = [self._loaded(f, c) for f, c in zip(self._folders, self._cards, strict=True)]
        if len({models[0].device for models in self._models}) > 1:  # only some of the runs fit on the GPU
            self._models = [[model.on_cpu() for model in models] for models in self._models]
        self._device = self._models[0][0].device

    def of_case(self, name: str, planes: Sequence[Plane], watch: Watch | None = None) -> CaseUncertainty:
        """The uncertainty of every slice of a case in these planes."""
        geometry = self._cohort.geometry(name)
        uncertainty, classes = self._volume(name, watch or Watch())
        uncertainty = geometry.from_standard_order(uncertainty)
        labels = geometry.from_standard_order(self._cards[0].label_table[classes])
        slices = {plane: _weighted_areas(uncertainty, labels, geometry, plane.array_axis(geometry)) for plane in planes}
        return CaseUncertainty(slices, labels)

    def _loaded(self, folder: RunFolder, card: RunCard) -> list[TrainedModel]:
        dropout = 0.0
        if len(self._folders) == 1 and not self._heterogeneous:
            # An imported run has no plan.
            dropout = (folder.plan().settings.dropout if folder.is_started else 0.0) or _INJECTED_DROPOUT
        models = loaded_models(folder, card, self._device, dropout)
        if dropout > 0:
            for model in models:
                for module in model.network.modules():
                    if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                        module.train()
        return models

    def _volume(self, name: str, watch: Watch) -> tuple[np.ndarray, np.ndarray]:
        """Uncertainty (S, A, R) float16, 0 to 1, and classes (S, A, R)."""
        quiet = watch.quiet()
        volumes = []
        for models, card in zip(self._models, self._cards, strict=True):
            image = normalised_image(self._cohort, name, card.normalisation, card.channels, card.ct, quiet)
            volumes.append(VolumePrediction(models, image, quiet, card.view_weights or None, _SLAB_SHARE))
        uncertainty = np.zeros(image.shape[-3:], dtype=np.float16)
        classes: np.ndarray = np.zeros(image.shape[-3:], dtype=class_dtype(volumes[0].class_count))
        count = volumes[0].slice_count

        def slab(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            part = watch.stage([start, stop - start, count - stop], 1)
            joint, moments = self._slab(volumes, start, stop, part)
            share = moments.variance_share() if len(volumes) > 1 else moments.entropy_share()
            return share.to(torch.float16).cpu().numpy(), most_likely(joint)

        for start, stop, found in computed_slabs(volumes, slab):
            uncertainty[start:stop], classes[start:stop] = found
        return uncertainty, classes

    def _slab(
        self, volumes: list[VolumePrediction], start: int, stop: int, watch: Watch
    ) -> tuple[torch.Tensor, _Moments]:
        """The joint prediction of a slab, and the moments of the single ones."""
        moments = _Moments()
        if self._heterogeneous:
            watch.step(
                0.0,
                _("predicting {views} on {device}").format(
                    views=counted(len(volumes[0].view_names), _("{count} view"), _("{count} views")),
                    device=self._device,
                ),
            )
            joint, views = volumes[0].joint_and_views(start, stop)
            for view in views.values():
                moments.add(view)
            return joint, moments
        passes = volumes if len(volumes) > 1 else volumes * self._samples
        for number, volume in enumerate(passes):
            watch.step(
                number / len(passes),
                _("prediction {number} of {count} on {device}").format(
                    number=number + 1, count=len(passes), device=self._device
                ),
            )
            torch.manual_seed((self._seed * 1009 + number) * 1_000_003 + start)
            moments.add(volume.probabilities(start, stop))
        return moments.total, moments


class _Moments:
    """Sums over predictions of the same voxels, (classes, S, A, R) float32 each."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: tuple[torch.Tensor, torch.Tensor] | None = None

    def add(self, probabilities: torch.Tensor) -> None:
        self.count += 1
        if self._sums is None:
            self._sums = probabilities, probabilities.square()
        else:
            self._sums[0].add_(probabilities)
            self._sums[1].addcmul_(probabilities, probabilities)

    @property
    def total(self) -> torch.Tensor:
        """The sum of the predictions; ValueError when there is none."""
        return self._sums_of_all()[0]

    def _sums_of_all(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self._sums is None:
            raise ValueError("no prediction has been added")
        return self._sums

    def entropy_share(self) -> torch.Tensor:
        """Entropy of the mean prediction, 0 to 1."""
        mean = self.total / self.count
        return -torch.xlogy(mean, mean).sum(0) / math.log(len(mean))

    def variance_share(self) -> torch.Tensor:
        """Variance of the predictions, mean over the classes; 1 stands for the maximum, a variance of 1/4."""
        total, squares = self._sums_of_all()
        mean = total / self.count
        return (squares / self.count - mean.square()).clamp_min_(0.0).mean(0) * 4.0


def _structures(card: RunCard) -> list[tuple[int, str | None]]:
    """Label value and name of each structure: an imported run may have other structures under the same values."""
    return [(value, card.label_names.get(value)) for value in card.classes]


def _weighted_areas(uncertainty: np.ndarray, labels: np.ndarray, geometry: VolumeGeometry, axis: int) -> np.ndarray:
    """(number of slices,) float, mm²; see `CaseUncertainty`."""
    from scipy import ndimage

    spacing = [s for a, s in enumerate(geometry.spacing) if a != axis]
    pixel, relative = spacing[0] * spacing[1], [s / min(spacing) for s in spacing]
    areas = []
    for index in range(labels.shape[axis]):
        layer, unsure = labels[slice_layer(axis, index)], uncertainty[slice_layer(axis, index)].astype(np.float32)
        if unsure.any():
            unsure *= _distance_weights(layer, relative, ndimage)
        areas.append(float(unsure.sum()) * pixel)
    return np.array(areas)


def _distance_weights(layer: np.ndarray, spacing: list[float], ndimage) -> np.ndarray:
    """Distance of each pixel to the nearest boundary between labels, 0 to 1 at `_FAR_PIXELS`; 1 without a boundary."""
    inside = np.ones(layer.shape, dtype=bool)
    for axis in range(2):
        differs = np.diff(layer.astype(np.int32), axis=axis) != 0
        along = [slice(None)] * 2
        along[axis] = slice(None, -1)
        inside[tuple(along)] &= ~differs
        along[axis] = slice(1, None)
        inside[tuple(along)] &= ~differs
    if inside.all():
        return np.ones(layer.shape, dtype=np.float32)
    # A pixel beside a boundary has the distance 1 to it, one farther in 2, and so on.
    distance = ndimage.distance_transform_edt(inside, sampling=spacing) + 1.0
    return np.minimum(distance / _FAR_PIXELS, 1.0).astype(np.float32)
