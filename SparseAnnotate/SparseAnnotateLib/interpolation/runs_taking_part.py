"""The runs that take part in an answer: their shares, the structures that they add, and what to know of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..core import SparseAnnotation, Watch
from ..core.messages import _, listed
from ..core.voxel_values import label_counts
from .chance_filling import ChanceSource
from .disagreement import Disagreement
from .drawn_stack import Gap
from .interpolator import Fill
from .label_fields import DrawnSlices
from .label_gaps import LabelGap
from .mixing import MIXTURE, Evidence, Shares
from .run_source import UNKNOWN_DICE, RunSource

_NARROWER = 0.55  # of the error across the gap of a hidden slice, about what is left across the gap itself
_MOST_UNPROVEN = 1 / 3  # share of a run that no drawn slice can be held against
_MOST_SEEN = 1 / 2  # its share where it differs from the fill as much beside drawn slices as elsewhere
_UNLIKE, _ALIKE = 0.3, 0.7  # Dice between it and the fill: no share up to the first, all of it from the second on
_MOST_NAMED = 8
NOTHING_COMPARED: Mapping[str, Disagreement] = MappingProxyType({})
NO_SHARES: Mapping[str, Mapping[int, float]] = MappingProxyType({})
NOT_DRAWN: str = _("drawn slices without it")
"""The name of `NotDrawn` among the sources of a mixture."""


class RunsTakingPart:
    """Runs beside the drawn slices of one volume.

    Args:
        runs: the runs by the name of their source. annotation: the drawn slices.
        only: of the labels that the slices do not show, those that the runs may add; None: all that they find.

    Raises BadInputError when a run has predicted another volume.
    """

    def __init__(
        self, runs: Mapping[str, RunSource], annotation: SparseAnnotation, only: Collection[int] | None = None
    ):
        self._annotation, self._runs = annotation, dict(runs)
        self._agreements = {name: run.agreement(annotation) for name, run in runs.items()}
        self._shown = set(annotation.label_values()) if runs else set()
        self._only = only

    def sources(self, earlier: Mapping[str, Mapping[int, float]] = NO_SHARES) -> dict[str, RunSource]:
        """The runs with their reliability on the drawn slices, or with the far shares that they had `earlier`."""
        return {
            name: replace(run, far_shares=earlier[name]) if name in earlier else run.rated(self._agreements[name])
            for name, run in self._runs.items()
        }

    def compared(
        self,
        sources: Mapping[str, ChanceSource],
        shares: Mapping[int, Shares],
        known: Evidence,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch,
    ) -> dict[str, Disagreement]:
        """How far the fill and a run differ, for each run where the error of one of the two is not measured.

        That of a run is not where it has learned from all drawn slices, and that of the fill where no slice can be
        hidden. The latter follows from the difference only where the run's Dice on held-out slices is known.
        """
        found = {}
        is_fill_unknown = not known.scores(shares)
        wanted = {n: r for n, r in self._runs.items() if r.is_unproven or (is_fill_unknown and r.is_proven)}
        for number, (name, run) in enumerate(wanted.items()):
            found[name] = Disagreement(sources, shares, run)
            found[name].measure(annotation, image, watch.part(number, len(wanted)))
        return found

    def beside(self) -> dict[str, NotDrawn]:
        """The further source that the labels need which the runs add; none without any."""
        return {NOT_DRAWN: NotDrawn()} if self.added() else {}

    def added(self) -> dict[int, int]:
        """Labels that the runs add, the smallest in the volume first: voxels found of each on the drawn slices."""
        sizes: dict[int, int] = {}
        for run in self._runs.values():
            for value, size in run.sizes.items():
                sizes[value] = max(size, sizes.get(value, 0))
        left_out = self._shown.union(*(self._twins(name) for name in self._runs))
        wanted = [v for v in sorted(sizes, key=lambda v: sizes[v]) if v not in left_out]
        if self._only is not None:
            wanted = [value for value in wanted if value in self._only]
        return {value: max(agreement.size(value) for agreement in self._agreements.values()) for value in wanted}

    def _twins(self, name: str) -> dict[int, int]:
        """Labels that a run finds in the place of a drawn one that it does not know, and that one."""
        run = self._runs[name]
        twins = {value: self._agreements[name].twin(value) for value in run.sizes if value not in self._shown}
        return {value: other for value, other in twins.items() if other is not None and other not in run.values}

    def shares(
        self, value: int, known: Evidence, own: Shares, compared: Mapping[str, Disagreement] = NOTHING_COMPARED
    ) -> dict[str, float]:
        """A label's shares with those of the runs.

        Mixtures with a run cannot be tried on hidden slices: across the wide gap there, drawn slices tell too little.
        So a run's share follows from the errors of both, as if they were independent: inverse to their squares.
        That of the drawn slices is measured across twice the gap, and taken to be smaller across the gap itself. Where
        no slice can be hidden, as with two drawn slices, it is a usual one, or what the run's error leaves of how much
        the two differ, if that is larger.
        Of a label that no drawn slice shows the methods know nothing: beside the run there is only the chance that it
        is not there, see `NotDrawn`.

        Args:
            known: of the methods, on hidden slices. own: their shares.
            compared: see `compared`. Runs in it get at most a third, or up to a half where most of the difference is
                there beside drawn slices: that what grows away from them is not their error is an assumption. Runs
                that are little like the fill get less.
        """
        error, is_measured = 1.0 - UNKNOWN_DICE, True
        shares: dict[str, float] = {NOT_DRAWN: 1.0}
        if value in self._shown:
            shares = dict(own)
            scores = [s for s in known.scores({value: own}) if (s.method, s.label) == (MIXTURE, value)]
            is_measured = bool(scores)
            error = _NARROWER * (1.0 - scores[0].dice) if scores else error
        for name, run in self._runs.items():
            share = 0.0
            if value in run.values:
                of_run = 1.0 - run.dice_by(self._agreements[name], value)
                of_fill = error
                if not is_measured and run.is_proven and name in compared:
                    # What is wrong on drawn slices is the run's error, however good it is on others.
                    here, slices = self._agreements[name].dice(value)
                    least = 1.0 - here if slices else 0.0
                    of_fill = max(error, compared[name].error_of_fill(value, max(of_run, least)))
                share = _best_share(of_fill, of_run)
                if run.is_unproven and value in self._shown:
                    share = self._unproven_share(name, value, error, compared.get(name), share)
            shares = {other: s * (1 - share) for other, s in shares.items()} | {name: share}
        return shares

    def _unproven_share(
        self, name: str, value: int, error: float, differing: Disagreement | None, usual: float
    ) -> float:
        """Of a run that no drawn slice can be held against. `usual`: its share if its Dice were the usual one.

        Where it and the fill could not be compared, it counts for what it has learned from other volumes: a run of one
        or two slices of this volume alone has learned nothing that the fill does not know. So does one that hardly has
        a voxel in common with the fill: then at least one of them is useless.
        """
        dice, slices = self._agreements[name].dice(value)
        errors = differing.errors(value, error, 1.0 - dice if slices else 0.0) if differing is not None else None
        elsewhere = self._runs[name].elsewhere
        if differing is None or errors is None:
            return min(usual, _MOST_UNPROVEN * elsewhere)
        most = max(_MOST_UNPROVEN, _MOST_SEEN * differing.beside(value))
        alike = min(max((differing.likeness(value) - _UNLIKE) / (_ALIKE - _UNLIKE), 0.0), 1.0)
        return min(_best_share(*errors), most * max(alike, elsewhere))

    def alone(self, values: Collection[int]) -> Fill:
        """Labels that no drawn slice says anything about, each as the most reliable run that has it finds it."""
        owner: dict[str, list[int]] = {}
        for value in values:
            having = [name for name, run in self._runs.items() if value in run.sizes]
            best = max(having, key=lambda name: self._runs[name].usual_dice)
            owner.setdefault(best, []).append(value)
        fill: Fill | None = None
        shares: dict[int, Shares] = {}
        for name, owned in owner.items():
            one = self._runs[name].alone(owned, self._annotation.labels.dtype)
            shares |= {value: {name: 1.0} for value in owned}
            fill = one if fill is None else _both(fill, one)
        if fill is None:
            raise ValueError("no run has any of these labels")
        return replace(fill, methods=dict.fromkeys(shares, MIXTURE), shares=shares)

    def notes(self) -> list[str]:
        """What to know of the runs and of the structures that they add."""
        added = list(self.added())
        unseen = [value for value in added if not self._annotation.is_decided_somewhere(value)]
        notes: list[str] = []
        for source, run in self._runs.items():
            agreement = self._agreements[source]
            notes += run.notes
            if taken := [value for value in unseen if value in run.sizes]:
                notes.append(
                    _("No drawn slice says anything about {structures}: taken from the {source} alone.").format(
                        structures=self._listed(taken), source=run.title
                    )
                )
            for value, other in self._twins(source).items():
                notes.append(
                    _(
                        "The {source} has {structure} where {drawn} is drawn, which it does not know: left out. If "
                        "they are the same structure, give it one name."
                    ).format(source=run.title, structure=self._quoted(value), drawn=self._quoted(other))
                )
            if contradicted := [value for value in added if value not in unseen and agreement.contradicted(value)]:
                notes.append(
                    _(
                        "The {source} has structures on drawn slices that show none of them, so it counts less for "
                        "these: {structures}. Where such a slice does not speak for one of them, mark it again "
                        "without that structure."
                    ).format(source=run.title, structures=self._listed(contradicted))
                )
            unknown = [value for value in sorted(self._shown) if value not in run.values]
            if unknown and run.is_prediction:
                notes.append(
                    _("The {source} does not know {structures}: filled without it.").format(
                        source=run.title, structures=self._listed(unknown)
                    )
                )
            if run.learned_here and run.is_prediction:
                if run.dice is None:
                    sentence = _(
                        "The {source} has learned from slices of this volume, and none were held out: its share "
                        "follows from how much it differs from the fill, and is {most:.0f} % at most. Where they "
                        "cannot be compared, it follows from how much the run has learned from other volumes."
                    ).format(source=run.title, most=100 * _MOST_SEEN)
                else:
                    sentence = _(
                        "The {source} has learned from slices of this volume, so that predicting them well is no "
                        "evidence: its share follows from its Dice on slices that it has not seen ({dice:.2f})."
                    ).format(source=run.title, dice=run.dice)
                notes.append(sentence)
        return notes

    def _listed(self, values: Sequence[int]) -> str:
        return listed([self._quoted(value) for value in values], _MOST_NAMED)

    def _quoted(self, value: int) -> str:
        return f"'{self._annotation.names.get(value, value)}'"


class NotDrawn:
    """A source for labels that no drawn slice shows: they are nowhere."""

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> None:
        """See `ChanceSource`."""

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: None, watch: Watch) -> np.ndarray:
        """See `ChanceSource`."""
        return np.zeros(place.inside.shape, dtype=np.float32)

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> None:
        """See `ChanceSource`."""


def _best_share(error: float, error_of_run: float) -> float:
    """The share of a run in a mixture of two, if their errors are independent."""
    return error**2 / max(error**2 + error_of_run**2, 1e-9)


def _both(first: Fill, second: Fill) -> Fill:
    """Labels of either; where both have one, that of fewer voxels."""
    labels = first.labels.astype(np.promote_types(first.labels.dtype, second.labels.dtype), copy=False)
    sizes = label_counts(first.labels) | label_counts(second.labels)
    size = np.full(max(sizes, default=0) + 1, np.iinfo(np.int64).max)
    size[list(sizes)] = list(sizes.values())
    for layer in range(len(labels)):
        ours, theirs = labels[layer], second.labels[layer]
        np.copyto(ours, theirs, where=size[theirs] < size[ours])
    return replace(first, labels=labels, confidence=np.minimum(first.confidence, second.confidence))
