"""A trained run, or an earlier result, as a source of an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..core import BadInputError, Plane, SparseAnnotation, Watch
from ..core.messages import _
from ..core.voxel_values import label_counts
from .drawn_stack import Gap, PlaneBox
from .interpolator import Fill
from .label_fields import DrawnSlices
from .label_gaps import LabelGap
from .likeliest_labels import CERTAIN, LikeliestLabels
from .run_agreement import RunAgreement

UNKNOWN_DICE = 0.7
"""Of a source that could not be measured."""

_PRIOR_SLICES = 4
_FAR_SHARE = 0.9
_USELESS, _GOOD = 0.3, 0.7  # Dice


@dataclass(frozen=True, eq=False)
class RunSource:
    """The probabilities that a run, or an earlier result, gives to the voxels of one volume.

    Attributes:
        name: in shares, such as "run 'first'". title: in sentences, such as "run 'first'" or 'earlier fill'.
        found: its probabilities on the volume's grid, with the cohort's label values.
        values: the labels that it knows.
        learned_here: True when it has learned from this volume's own slices, so that predicting them is no evidence.
        dice: its Dice on held-out slices, of all structures together; None when it is not known.
        notes: what the user should know of its prediction.
        made_from: the drawn slices that an earlier result was made from: these are no evidence for it.
        is_prediction: True for a run. An earlier result tells no more far from drawn slices than near them.
        elsewhere: the part of the drawn slices it has learned from that are of other volumes, from 0 to 1.
        far_shares: its share of each label far from drawn slices, as `rated` finds them.
    """

    name: str
    title: str
    found: LikeliestLabels
    values: Collection[int]
    learned_here: bool
    dice: float | None = None
    notes: tuple[str, ...] = ()
    made_from: frozenset[tuple[Plane, int]] = frozenset()
    is_prediction: bool = True
    elsewhere: float = 1.0
    far_shares: Mapping[int, float] = field(default_factory=dict)
    _last_agreement: RunAgreement | None = field(default=None, init=False, repr=False)

    @cached_property
    def sizes(self) -> dict[int, int]:
        """How many voxels it finds of each label that it finds at all; the smallest first, whatever its number."""
        counts = {v: count for v, count in label_counts(self.found.labels[0]).items() if v in self.values}
        occurrences = Counter(counts.values())
        same = {count for count, number in occurrences.items() if number > 1}

        def key(value: int) -> tuple[int, int]:
            # Of the same size: the one found first.
            return counts[value], int(np.argmax(self.found.labels[0] == value)) if counts[value] in same else 0

        return {value: counts[value] for value in sorted(counts, key=key)}

    def agreement(self, annotation: SparseAnnotation) -> RunAgreement:
        """How it agrees with what is drawn. Raises BadInputError when it has predicted another volume."""
        if self._last_agreement is None or self._last_agreement.annotation is not annotation:
            self._check(annotation)
            found = RunAgreement.of(self.found.labels[0], annotation, self.made_from)
            object.__setattr__(self, "_last_agreement", found)
            return found
        return self._last_agreement

    @property
    def is_unproven(self) -> bool:
        """True for a run that has learned from this volume, and of which no held-out slice says how good it is."""
        return self.is_prediction and self.learned_here and self.dice is None

    @property
    def is_proven(self) -> bool:
        """True for a run whose Dice on held-out slices is known."""
        return self.is_prediction and self.dice is not None

    @property
    def usual_dice(self) -> float:
        """Its Dice on held-out slices, or what is assumed where that is not known."""
        return UNKNOWN_DICE if self.dice is None else self.dice

    def alone(self, values: Collection[int], dtype: np.dtype) -> Fill:
        """What it finds of some labels, of at least this dtype, with the chance of being right as the confidence."""
        labels, chances = self.found.labels, self.found.chances
        wanted = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
        wanted[[value for value in values if value < len(wanted)]] = True
        own = np.zeros(labels.shape[1:], dtype=np.promote_types(dtype, labels.dtype))
        confidence = np.empty(own.shape, dtype=np.uint8)
        # Layer by layer, because of their memory.
        for layer in range(len(own)):
            is_wanted = wanted[labels[:, layer]]
            own[layer] = np.where(is_wanted[0], labels[0, layer], 0)
            sure = np.where(is_wanted[1], CERTAIN - chances[1, layer].astype(np.int64), CERTAIN)
            sure = np.where(is_wanted[0], chances[0, layer], sure)
            confidence[layer] = np.clip(sure * 100 // CERTAIN, 1, 99)
        return Fill(own, confidence)

    def far_share(self, value: int) -> float:
        """See `FarSource`: .9 for a good run, 0 for one that predicts the drawn slices badly.

        One that no slice can be held against gets the part of it that it has learned from other volumes: of this
        volume it knows nothing that is not drawn.
        """
        found = self.far_shares.get(value)
        return self._far_share_at(self.usual_dice) if found is None else found

    def _far_share_at(self, dice: float) -> float:
        if not self.is_prediction:
            return 0.0
        most = _FAR_SHARE * (self.elsewhere if self.is_unproven else 1.0)
        return most * min(max((dice - _USELESS) / (_GOOD - _USELESS), 0.0), 1.0)

    def rated(self, agreement: RunAgreement) -> RunSource:
        """The same with the shares that follow from its reliability on an annotation."""
        values = {*agreement.annotation.label_values(), *self.sizes}
        return replace(self, far_shares={v: self._far_share_at(self.dice_by(agreement, v)) for v in values})

    def dice_by(self, agreement: RunAgreement, value: int) -> float:
        """How well it predicts a label: on the drawn slices that decide it, unless it has learned from them.

        Few slices tell little: its Dice on held-out slices counts as much as four of them. Of slices that it has
        learned from only failures are evidence.
        """
        usual = self.usual_dice
        dice, slices = agreement.dice(value)
        measured = (dice * slices + usual * _PRIOR_SLICES) / (slices + _PRIOR_SLICES)
        return min(measured, usual) if self.learned_here else measured

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> LikeliestLabels:
        """See `ChanceSource`."""
        self._check(annotation)
        return self.found.moved(drawn.main.axis)

    def _check(self, annotation: SparseAnnotation) -> None:
        if self.found.labels.shape[1:] != annotation.geometry.shape:
            raise BadInputError(
                _("The prediction has shape {found}, but the annotation has shape {shape}.").format(
                    found=self.found.labels.shape[1:], shape=annotation.geometry.shape
                )
            )

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: LikeliestLabels, watch: Watch) -> np.ndarray:
        """See `ChanceSource`."""
        first = place.gap.first
        slices = slice(first + place.slices.start, first + place.slices.stop)
        return prepared.chance_of(place.value, (slices, *place.box))

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> None:
        """See `ChanceSource`."""

    def reach(self, gap: Gap, prepared: LikeliestLabels) -> dict[int, tuple[slice, PlaneBox]]:
        """Where in a gap the run finds each label: slices of the gap, and rows and columns."""
        from scipy import ndimage  # here, because Slicer reads this file at every start

        boxes = ndimage.find_objects(np.ascontiguousarray(prepared.labels[0, gap.first : gap.stop]))
        found = {value: box for value, box in enumerate(boxes, start=1) if box is not None and value in self.values}
        return {value: (box[0], (box[1], box[2])) for value, box in found.items()}
