"""Results that are in the cohort already, as sources of a new answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import BadInputError, Cohort, SparseAnnotateError
from ..core.images import read_facts, read_labels, read_percent, require_facts
from ..core.messages import _, joined, listed
from ..core.origin import Origin, belongs_to
from ..core.structure_values import matched_values, names_from_facts
from ..core.voxel_values import label_counts
from ..interpolation.likeliest_labels import CERTAIN, LikeliestLabels
from ..interpolation.run_source import RunSource

FILL = "fill"
"""Names the stored fill of a case; other names are of runs, or of predictions that were imported."""

_USUAL_CONFIDENCE = 90  # percent, of results without a confidence


def earlier_results(cohort: Cohort, case: str, names: Sequence[str]) -> tuple[list[RunSource], list[str]]:
    """The stored results of a case as sources, and a sentence for each that cannot take part.

    A slice that a result was made from tells nothing of how good it is; slices drawn since do.

    Args:
        names: `FILL`, or those of runs or of imported predictions.
    """
    found: list[RunSource] = []
    problems: list[str] = []
    for name in names:
        title = _("earlier fill") if name == FILL else _("earlier result of '{run}'").format(run=name)
        try:
            found.append(_source(cohort, case, name, title))
        except SparseAnnotateError as error:
            problem = _("Filled without the {source}. {problem}")
            problems.append(problem.format(source=title, problem=error.message))
    return found, problems


def _renumbered(labels: np.ndarray, names: dict[int, str] | None, cohort: Cohort) -> np.ndarray:
    """Labels in the cohort's numbering, matched by name; files of earlier versions, without names, have it already.

    Raises BadInputError when a value belongs to another structure here.
    """
    theirs = {value: (names or cohort.labels).get(value, str(value)) for value in label_counts(labels)}
    value_of = matched_values(theirs, cohort.labels)
    clashing = [f"'{theirs[value]}'" for value, ours in value_of.items() if ours is None]
    if clashing:
        raise BadInputError(
            _("It has {structures}, whose label values belong to other structures now.").format(
                structures=listed(clashing, 5)
            )
        )
    if all(value == ours for value, ours in value_of.items()):
        return labels
    table = np.zeros(max(value_of) + 1, dtype=np.uint16)
    for value, ours in value_of.items():
        table[value] = ours or 0
    return table[labels]


def _source(cohort: Cohort, case: str, name: str, title: str) -> RunSource:
    path = cohort.fill_path(case) if name == FILL else cohort.prediction_path(name, case)
    if not path.is_file():
        raise BadInputError(_("The case '{case}' has none.").format(case=case))
    geometry = cohort.geometry(case)
    facts = read_facts(path)
    labels = read_labels(path, geometry)
    require_facts(path, facts)
    made = Origin.from_facts(facts)
    labels = _renumbered(labels, names_from_facts(facts), cohort)
    if made.image and made.image != cohort.image_since(case, path):
        raise BadInputError(_("It was made from another image."))
    confidence_path = (
        cohort.fill_confidence_path(case) if name == FILL else cohort.uncertainty_path(name, case, "confidence")
    )
    confidence = np.full(labels.shape, _USUAL_CONFIDENCE, dtype=np.uint8)
    if confidence_path.is_file() and belongs_to(confidence_path, path):
        confidence = read_percent(confidence_path, geometry)
    sure = (confidence.astype(np.uint16) * CERTAIN // 100).astype(labels.dtype)
    # What is not sure is background, or some other label.
    rest = np.where(labels > 0, CERTAIN - sure, 0).astype(labels.dtype)
    chances = LikeliestLabels(np.stack([labels, np.zeros_like(labels)]), np.stack([sure, rest]))
    drawn = frozenset(entry.key for entry in made.ledger().decided)
    return RunSource(
        name=joined(" ", [_("earlier"), name]),
        title=title,
        found=chances,
        values=frozenset(label_counts(labels)),
        # Of a result from elsewhere it is not known from which slices it was made.
        learned_here=not made.is_known,
        made_from=drawn,
        is_prediction=False,
    )
