"""Cards of trained models and finished runs, stored beside the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..core.image_fingerprint import joined_fingerprint
from ..core.strict_json import LEFT_OUT_WHEN_EMPTY
from .ct_scale import CtScale
from .learned_images import LearnedImages
from .plan import RUN_FORMAT, ModelPlan


def distinct_orders(marks: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """`length` of these in every order, each order once although some are equal."""
    if length == 0:
        yield ()
        return
    for first in dict.fromkeys(marks):
        rest = list(marks)
        rest.remove(first)
        for further in distinct_orders(rest, length - 1):
            yield first, *further


@dataclass(frozen=True)
class ModelCard:
    """What a trained model is, beside its weights.

    Attributes:
        plan: what it is built from. iterations, stopped_early, seconds, loss: how its training went (loss: mean of
            the last 50 steps).
        validation_dice: mean Dice on held-out drawn slices, or None when none were held out.
        precision: that training ended with.
    """

    plan: ModelPlan
    iterations: int
    stopped_early: bool
    seconds: float
    loss: float
    validation_dice: float | None
    precision: str


@dataclass(frozen=True)
class RunCard:
    """What a finished run is.

    Attributes:
        models: all models of the run. classes, label_names, normalisation: what prediction needs.
        flip: axes that patches were mirrored along; prediction may mirror along them, too.
        view_dice: Dice of each view of the base models on held-out drawn slices; empty when none were held out.
        view_weights: of each view in the average; empty: the default weights.
        seconds: of training, from the first step to the last.
        validation_dice: of the last model on held-out drawn slices, so inside the drawn range of the cases; of an
            ensemble, that of the average. None when none were held out, or for an ensemble of an earlier version.
        corrected_dice: the same as if everything that the last model labels beyond the drawn range, away from what is
            drawn, were false; None when that is unknown, as for an ensemble.
        unsupported: label value to the share of what the last model labels so that lies there, in a sample of windows.
        is_live: True for a run that was trained while slices were being drawn: its `validation_dice` is that of the
            last slices, as the model predicted them before it learned from them.
        slices: drawn slices learned from. cases: annotated cases. image_marks: fingerprints of their images, by which
            they are known under another name, too; none for a run that was trained before this was recorded.
            voxel_marks: the same of their voxels, for images that were saved again.
        images: what the images it learned from are like; None for a run that was trained before this was recorded.
        clear_surroundings: True when some image has uniform surroundings and no drawn structure reaches into them, so
            that predictions there are left out.
        channels: those that the networks see, in their order; none for images without names.
        ct: how each channel that is CT is scaled, by its name, '' for images without names; the others are as
            `normalisation` says.
        trained: when its training ended, in UTC, such as '2026-05-04T11:07:30+00:00'; '' for a run that was trained
            before this was recorded.
        seed, device, precision, versions: for repeating the training. notes: what the user should know.
    """

    models: tuple[ModelCard, ...]
    classes: tuple[int, ...]
    label_names: dict[int, str]
    normalisation: Literal["z_score", "percentile"]
    flip: tuple[str, ...]
    view_dice: dict[str, float]
    view_weights: dict[str, float]
    seconds: float
    validation_dice: float | None
    slices: int
    cases: tuple[str, ...]
    seed: int
    device: str
    precision: str
    clear_surroundings: bool = False
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    corrected_dice: float | None = None
    unsupported: dict[int, float] = field(default_factory=dict)
    is_live: bool = False
    images: LearnedImages | None = None
    format: Literal["SparseAnnotate model"] = "SparseAnnotate model"
    version: int = RUN_FORMAT
    channels: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    ct: dict[str, CtScale] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    image_marks: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    voxel_marks: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    trained: str = field(default="", metadata=LEFT_OUT_WHEN_EMPTY)

    def has_learned_from(
        self, case: str, marks: Callable[[], Sequence[str]], voxels: Callable[[], Sequence[str]] = tuple
    ) -> bool:
        """Whether drawn slices of a case were learned from, so that predicting them is no evidence.

        A case with the name of one that was learned from counts as that one: its image may have been written again.
        Under another name it is known by its images, whatever their order and names as channels are now.

        Args:
            marks: gives the fingerprints of its channels' images; called only when they are needed.
            voxels: the same of their voxels; none when they are not known.
        """
        if case in self.cases:
            return True
        return self._are_among(self.image_marks, marks) or self._are_among(self.voxel_marks, voxels)

    def _are_among(self, known: Sequence[str], marks: Callable[[], Sequence[str]]) -> bool:
        """Whether the images of a case are, in any order, those of one that was learned from."""
        if not known:
            return False
        names, wanted = self.channels or ("",), frozenset(known)
        # Channels that share one file, as those of a 4D image do, are in one order only.
        in_any_order = distinct_orders(marks(), len(names))
        return any(joined_fingerprint(list(zip(names, own, strict=True))) in wanted for own in in_any_order)

    @property
    def class_count(self) -> int:
        """Output channels of every model, background included."""
        return len(self.classes) + 1

    @property
    def image_channels(self) -> int:
        """Input channels of every model."""
        return max(1, len(self.channels))

    @property
    def last(self) -> ModelCard:
        """The model trained last."""
        return self.models[-1]

    @property
    def label_table(self) -> np.ndarray:
        """(classes + 1,) uint8 or uint16: the label value of each class index, 0 for the background."""
        values = [0, *self.classes]
        return np.array(values, dtype=np.uint8 if max(values) < 256 else np.uint16)
