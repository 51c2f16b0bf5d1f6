"""Probabilities of a trained run for the cases that are filled with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.messages import _, listed
from ..interpolation import INTERPOLATORS
from ..interpolation.likeliest_labels import LikeliestLabels
from ..interpolation.run_source import RunSource
from .packages import require_packages

if TYPE_CHECKING:
    from .fill_request import FillRequest


class RunSources:
    """A run as a source for each case of a fill.

    Raises BadInputError when the fill method takes no run, or the run has no structure of the cohort; RunError when it
    cannot be used.
    """

    def __init__(self, cohort: Cohort, request: FillRequest):
        if not INTERPOLATORS.named(request.method).chooses:
            raise BadInputError(
                _("Only the fill method 'auto' takes a run, not '{method}'.").format(method=request.method)
            )
        require_packages()
        from ..learning.prediction.predictor import Predictor

        self._cohort, self._name = cohort, request.run
        self._predictor = Predictor(cohort, request.run, request.device)
        card = self._predictor.card
        self._card = card
        by_name = {name: value for value, name in cohort.labels.items()}
        # By name: a label may have been given another name, or another value, since.
        self._value_of = {
            value: by_name.get(name, value if value not in cohort.labels else None)
            for value, name in card.label_names.items()
        }
        known = {value for value in self._value_of.values() if value is not None}
        if not known:
            names = [f"'{name}'" for name in card.label_names.values()]
            raise BadInputError(
                _(
                    "The run '{run}' knows {theirs}, and none of them is a structure of the cohort ({ours}). "
                    "Give the structures the same names, or choose another run."
                ).format(
                    run=request.run,
                    theirs=listed(names, 5),
                    ours=listed([f"'{name}'" for name in by_name], 5),
                )
            )
        self._known = frozenset(known)
        self._failed: dict[str, str] = {}
        self._last: tuple[str, list[RunSource]] = ("", [])  # only one, because of its memory

    def predict(self, names: Sequence[str], watch: Watch) -> None:
        """Predict the cases, unless they have been predicted by this run before; they are kept on disk."""
        for number, name in enumerate(names):
            part = watch.part(number, len(names), _("'{case}', by the run: ").format(case=name))
            try:
                self._predictor.keep_likeliest(name, part)
            except CancelledError:
                raise
            except SparseAnnotateError as error:
                # The case is filled without the run.
                self._failed[name] = error.message

    def problem_of(self, name: str) -> list[str]:
        """A sentence when the run could not predict a case."""
        if name not in self._failed:
            return []
        return [_("Filled without the run '{run}'. {problem}").format(run=self._name, problem=self._failed[name])]

    def of(self, name: str) -> list[RunSource]:
        """The run as a source for a case."""
        if name in self._failed:
            return []
        if self._last[0] == name:
            return self._last[1]
        found, notes = self._predictor.likeliest(name)
        table = np.zeros(max([int(found.labels.max()), *self._value_of]) + 1, dtype=np.uint16)
        for value, ours in self._value_of.items():
            table[value] = ours or 0
        dtype = np.uint8 if table.max() < 256 else np.uint16
        labels = table.astype(dtype)[found.labels]
        # Structures that the cohort does not know count as background.
        chances = np.where((found.labels > 0) & (labels == 0), 0, found.chances).astype(dtype)
        card = self._card
        here = name in card.cases
        known = LikeliestLabels(labels, chances)
        source = RunSource(self._name, known, self._known, here, card.validation_dice, notes)
        self._last = (name, [source])
        return self._last[1]
