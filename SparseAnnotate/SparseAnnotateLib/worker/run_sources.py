"""Probabilities of a trained run for the cases that are filled with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.messages import _, listed
from ..interpolation.likeliest_labels import LikeliestLabels
from ..interpolation.run_source import RunSource

if TYPE_CHECKING:
    from ..learning.prediction.clean_up import CleanUp
    from ..learning.prediction.predictor import Predictor


class RunSources:
    """A run as a source for each case of a fill.

    Args:
        predictor, name: the run. clean_up: of its predictions; None: the default.
        uncertainty: also write its uncertainty, see `Predictor.write`.
        is_needed: True where a case that it cannot predict is an error.

    Attributes:
        mark: changes with how the run predicts. writes_uncertainty: see above.
        further_names: label value to name of the run's structures that the cohort does not know.

    Raises BadInputError when the run has no structure of the cohort.
    """

    def __init__(
        self,
        cohort: Cohort,
        predictor: Predictor,
        name: str,
        clean_up: CleanUp | None = None,
        uncertainty: bool = False,
        is_needed: bool = False,
    ):
        self._predictor, self._name, self._clean_up = predictor, name, clean_up
        self.writes_uncertainty, self._is_needed = uncertainty, is_needed
        self.mark = f"{predictor.ways} {clean_up}"
        card = predictor.card
        by_name = {name: value for value, name in cohort.labels.items()}
        # By name: a label may have been given another name, or another value, since.
        self._value_of = {
            value: by_name.get(structure, value if value not in cohort.labels else None)
            for value, structure in card.label_names.items()
        }
        self.further_names = {
            value: structure
            for value, structure in card.label_names.items()
            if structure not in by_name and value not in cohort.labels
        }
        self._known = frozenset(value for value in self._value_of.values() if value is not None)
        if not self._known:
            names = [f"'{structure}'" for structure in card.label_names.values()]
            raise BadInputError(
                _(
                    "The run '{run}' knows {theirs}, and none of them is a structure of the cohort ({ours}). "
                    "Give the structures the same names, or choose another run."
                ).format(
                    run=name,
                    theirs=listed(names, 5),
                    ours=listed([f"'{structure}'" for structure in by_name], 5),
                )
            )

    def of(self, name: str, watch: Watch) -> tuple[list[RunSource], list[str]]:
        """The run as a source for a case, and sentences about it; no source, with the reason, when it cannot predict.

        The prediction is kept on disk, so that a case is predicted once for each run.
        """
        part = watch.part(0, 1, _("'{case}', by the run: ").format(case=name))
        try:
            *_kept, notes = self._predictor.keep_likeliest(name, part, self.writes_uncertainty)
            found, more = self._predictor.likeliest(name, part, self._clean_up)
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            if self._is_needed:
                raise
            # The case is filled without the run.
            problem = _("Filled without the run '{run}'. {problem}")
            return [], [problem.format(run=self._name, problem=error.message)]
        card = self._predictor.card
        same = all(value == ours for value, ours in self._value_of.items())
        known = found if same else _renumbered(found, self._value_of)
        notes = tuple(dict.fromkeys([*notes, *more, *self._left_out()]))
        own, title = _("run {name}").format(name=self._name), _("run '{name}'").format(name=self._name)
        source = RunSource(own, title, known, self._known, name in card.cases, card.validation_dice, notes)
        return [source], []

    def _left_out(self) -> list[str]:
        """A sentence when a label of the run is that of another structure here."""
        names = self._predictor.card.label_names
        clashing = [f"'{names[value]}'" for value, ours in self._value_of.items() if ours is None]
        if not clashing:
            return []
        return [
            _(
                "The run '{run}' knows {structures}, which the cohort does not have, and their label values belong to "
                "other structures here: left out. Give the structures the same names to use them."
            ).format(run=self._name, structures=listed(clashing, 5))
        ]


def _renumbered(found: LikeliestLabels, value_of: Mapping[int, int | None]) -> LikeliestLabels:
    """With other label values; structures that have none count as background."""
    table = np.zeros(max(value_of) + 1, dtype=np.uint16)
    for value, ours in value_of.items():
        table[value] = ours or 0
    dtype = np.uint8 if table.max() < 256 else np.uint16
    labels, chances = np.empty(found.labels.shape, dtype=dtype), np.empty(found.labels.shape, dtype=dtype)
    # Layer by layer, because of their memory.
    for place in np.ndindex(found.labels.shape[:2]):
        labels[place] = table[found.labels[place]]
        chances[place] = np.where((found.labels[place] > 0) & (labels[place] == 0), 0, found.chances[place])
    return LikeliestLabels(labels, chances)
