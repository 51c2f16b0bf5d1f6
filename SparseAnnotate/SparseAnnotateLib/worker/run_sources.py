"""Probabilities of a trained run for the cases that are filled with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, SparseAnnotation, Watch
from ..core.messages import _, listed
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
        self._cohort, self._predictor, self._name, self._clean_up = cohort, predictor, name, clean_up
        self.writes_uncertainty, self._is_needed = uncertainty, is_needed
        self.mark = f"{predictor.ways} {clean_up}"
        self.further_names = predictor.further_names
        self._known = frozenset(predictor.label_names)
        theirs = list(predictor.card.label_names.values())
        if not set(theirs).intersection(cohort.labels.values()) and not self.further_names:
            raise BadInputError(
                _(
                    "The run '{run}' knows {theirs}, and none of them is a structure of the cohort ({ours}). "
                    "Give the structures the same names, or choose another run."
                ).format(
                    run=name,
                    theirs=listed([f"'{structure}'" for structure in theirs], 5),
                    ours=listed([f"'{structure}'" for structure in cohort.labels.values()], 5),
                )
            )

    def of(self, name: str, watch: Watch) -> tuple[list[RunSource], list[str]]:
        """The run as a source for a case, and sentences about it; no source, with the reason, when it cannot predict.

        The prediction is kept on disk, so that a case is predicted once for each run.
        """
        part = watch.part(0, 1, _("by the run: "))
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
        # Drawn without a name: whether it is the run's structure of that value is not known.
        annotation = self._cohort.annotation(name)
        unnamed = {v for v in annotation.label_values() if v in self.further_names}
        notes = tuple(dict.fromkeys([*notes, *more, *self._left_out(unnamed)]))
        title = _("run '{name}'").format(name=self._name)
        card, learned_here = self._predictor.card, self._predictor.has_learned_from(name)
        elsewhere = self._learned_elsewhere(annotation) if learned_here else 1.0
        source = RunSource(
            title, title, found, self._known - unnamed, learned_here, card.validation_dice, notes, elsewhere=elsewhere
        )
        return [source], []

    def updated(self, source: RunSource, annotation: SparseAnnotation) -> RunSource:
        """A source from `of`, after other slices of its case have been drawn."""
        elsewhere = self._learned_elsewhere(annotation) if source.learned_here else 1.0
        return source if elsewhere == source.elsewhere else replace(source, elsewhere=elsewhere)

    def _learned_elsewhere(self, annotation: SparseAnnotation) -> float:
        """The part of the slices that the run has learned from that are of other cases than this one.

        Slices that were drawn after it was trained count as learned from. Those that were cleared since then are not
        counted, so a run of this case alone is known by its list of cases.
        """
        card = self._predictor.card
        learned = card.slices if len(card.cases) > 1 else 0
        own = sum(len(indices) for indices in annotation.drawn_by_axis().values())
        return max(0.0, 1.0 - own / learned) if learned else 0.0

    def _left_out(self, unnamed: Collection[int]) -> list[str]:
        """A sentence when a label of the run is that of another structure here, or of one without a name."""
        clashing = [*self._predictor.clashing, *(self.further_names[value] for value in sorted(unnamed))]
        if not clashing:
            return []
        return [
            _(
                "The run '{run}' knows {structures}, which the cohort does not have, and their label values belong to "
                "other structures here: left out. Give the structures the same names to use them."
            ).format(run=self._name, structures=listed([f"'{name}'" for name in clashing], 5))
        ]
