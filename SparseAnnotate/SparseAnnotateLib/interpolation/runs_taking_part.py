"""The runs that take part in an answer: their shares, the structures that they add, and what to know of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..core import SparseAnnotation
from ..core.messages import _, counted, listed
from .interpolator import Fill
from .mixing import MIXTURE, Evidence, Shares
from .run_source import UNKNOWN_DICE, RunSource

_NARROWER = 0.55  # of the error across the gap of a hidden slice, about what is left across the gap itself
_MOST_NAMED = 8


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

    def sources(self) -> dict[str, RunSource]:
        """The runs with their reliability on the drawn slices."""
        return {name: run.rated(self._agreements[name]) for name, run in self._runs.items()}

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

    def shares(self, value: int, known: Evidence, own: Shares) -> dict[str, float]:
        """A label's shares with those of the runs.

        Mixtures with a run cannot be tried on hidden slices: across the wide gap there, drawn slices tell too little.
        So a run's share follows from the errors of both, as if they were independent: inverse to their squares.
        That of the drawn slices is measured across twice the gap, and taken to be smaller across the gap itself.

        Args:
            known: of the methods, on hidden slices. own: their shares.
        """
        shares = dict(own)
        scores = [s for s in known.scores({value: own}) if (s.method, s.label) == (MIXTURE, value)]
        error = _NARROWER * (1.0 - scores[0].dice) if scores else 1.0 - UNKNOWN_DICE
        for name, run in self._runs.items():
            share = 0.0
            if value in run.values:
                own_error = 1.0 - run.dice_by(self._agreements[name], value)
                share = error**2 / max(error**2 + own_error**2, 1e-9)
            shares = {other: s * (1 - share) for other, s in shares.items()} | {name: share}
        return shares

    def alone(self, values: Collection[int]) -> Fill:
        """Labels that no drawn slice says anything about, as the run that knows most of them finds them."""
        name, run = max(self._runs.items(), key=lambda item: len(set(values).intersection(item[1].sizes)))
        fill = run.alone(values, self._annotation.labels.dtype)
        names = listed([self._quoted(value) for value in run.sizes if value in values], _MOST_NAMED)
        note = _("No drawn slice says anything about {structures}: taken from the {source} alone.").format(
            structures=names, source=run.title
        )
        shares: dict[int, Shares] = {value: {name: 1.0} for value in values}
        return replace(fill, methods=dict.fromkeys(values, MIXTURE), shares=shares, warnings=(*run.notes, note))

    def notes(self, added: Sequence[int]) -> list[str]:
        """What to know of the runs; `added`: the labels that they add."""
        notes: list[str] = []
        for source, run in self._runs.items():
            notes += run.notes
            for value, other in self._twins(source).items():
                notes.append(
                    _(
                        "The {source} has {structure} where {drawn} is drawn, which it does not know: left out. If "
                        "they are the same structure, give it one name."
                    ).format(source=run.title, structure=self._quoted(value), drawn=self._quoted(other))
                )
            for value in added:
                count = self._agreements[source].contradicted(value)
                if count:
                    notes.append(_contradiction(run.title, self._quoted(value), count))
            unknown = [self._quoted(value) for value in sorted(self._shown) if value not in run.values]
            if unknown:
                notes.append(
                    _("The {source} does not know {structures}: filled without it.").format(
                        source=run.title, structures=listed(unknown, _MOST_NAMED)
                    )
                )
            if run.learned_here and run.is_prediction:
                notes.append(
                    _(
                        "The {source} has learned from slices of this volume, so that predicting them is no "
                        "evidence: its share follows from its Dice on slices that it has not seen ({dice})."
                    ).format(source=run.title, dice=_("unknown") if run.dice is None else f"{run.dice:.2f}")
                )
        return notes

    def _quoted(self, value: int) -> str:
        return f"'{self._annotation.names.get(value, value)}'"


def _contradiction(source: str, structure: str, count: int) -> str:
    return counted(
        count,
        _(
            "The {source} has {structure} on {count} drawn slice that shows none, so it counts less. Where the "
            "slice does not speak for {structure}, mark it again without that structure."
        ),
        _(
            "The {source} has {structure} on {count} drawn slices that show none, so it counts less. Where the "
            "slices do not speak for {structure}, mark them again without that structure."
        ),
        source=source,
        structure=structure,
    )
