"""Results that are in the cohort already, as sources of a new answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import BadInputError, Cohort, SparseAnnotateError
from ..core.images import read_facts, read_labels, read_percent
from ..core.messages import _, joined
from ..core.origin import Origin
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


def _source(cohort: Cohort, case: str, name: str, title: str) -> RunSource:
    path = cohort.fill_path(case) if name == FILL else cohort.prediction_path(name, case)
    if not path.is_file():
        raise BadInputError(_("The case '{case}' has none.").format(case=case))
    geometry = cohort.geometry(case)
    labels, made = read_labels(path, geometry), Origin.from_facts(read_facts(path))
    if made.image and made.image != cohort.image_fingerprint(case):
        raise BadInputError(_("It was made from another image."))
    confidence_path = (
        cohort.fill_confidence_path(case) if name == FILL else cohort.uncertainty_path(name, case, "confidence")
    )
    confidence = np.full(labels.shape, _USUAL_CONFIDENCE, dtype=np.uint8)
    if confidence_path.is_file() and Origin.from_facts(read_facts(confidence_path)) == made:
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
        values=frozenset(np.unique(labels).tolist()) - {0},
        # Of a result from elsewhere it is not known from which slices it was made.
        learned_here=not made.is_known,
        made_from=drawn,
        is_prediction=False,
    )
