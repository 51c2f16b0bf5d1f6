"""The answer for each of several cases: from the drawn slices, and from a trained run if one takes part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import BadInputError, Cohort, SparseAnnotateError, SparseAnnotation, Watch
from ..core.channels import fill_without_channels, missing_channels, stacked
from ..core.images import write_image
from ..core.messages import _
from ..core.origin import run_fingerprint, together
from ..core.registry import Need, imported
from ..core.structure_values import names_as_facts
from ..interpolation import (
    INTERPOLATORS,
    AutoInterpolator,
    Evidence,
    FinishedFill,
    IncrementalInterpolator,
    Interpolator,
    finished_fill,
    pooled,
    usable_image,
)
from ..interpolation.run_source import RunSource
from .earlier_results import earlier_results
from .packages import require_packages
from .run_sources import RunSources

if TYPE_CHECKING:
    from .fill_request import FillRequest

_MOST_MEASURED = 20
# The last fill of a single case, with the run and the earlier results that took part and sentences about these, for
# filling only the gaps beside a new slice; no more than one, because of its memory.
_last: dict[tuple[Any, ...], tuple[FinishedFill, list[RunSource], list[str]]] = {}


@dataclass(frozen=True, eq=False)
class Answer:
    """What is best known of a case.

    Attributes:
        done: labels, confidence, summary and warnings. annotation: what it was made from.
        facts: its origin, for its files.
    """

    done: FinishedFill
    annotation: SparseAnnotation
    facts: Mapping[str, str]

    def with_labels(self, labels: np.ndarray) -> Answer:
        """The same with other labels, (K, J, I)."""
        fill = replace(self.done.fill, labels=labels)
        return replace(self, done=replace(self.done, fill=fill))

    def write(self, path: Path, confidence_path: Path) -> None:
        """Write labels and confidence."""
        geometry, fill = self.annotation.geometry, self.done.fill
        facts = {**self.facts, **together(fill.labels, fill.confidence)}
        write_image(confidence_path, fill.confidence, geometry, facts=facts)
        write_image(path, fill.labels, geometry, facts={**facts, **names_as_facts(self.annotation.names)})

    def labels(self) -> list[dict[str, Any]]:
        """For each label its name, the share of each source, and the leave-one-out Dice, as in `FillResult.labels`."""
        fill, names = self.done.fill, self.annotation.names
        return [
            {
                "label": value,
                "name": names.get(value, str(value)),
                "method": chosen,
                "shares": {method: round(share, 3) for method, share in fill.shares.get(value, {}).items()},
                "hidden_dice": {s.method: s.dice for s in fill.scores if s.label == value},
            }
            for value, chosen in fill.methods.items()
        ]


class Answers:
    """Answers for cases with drawn slices: the one way for fills, and for running a model on drawn volumes.

    Args:
        cohort, request: see `FillRequest`; its `cases` and `run` are those of the other arguments.
        names: the cases. runs: the run that takes part. watch: for everything; learning and measuring are done here.

    Attributes:
        watch: for making the answers, one after another.

    Raises BadInputError when the method cannot be used.
    """

    def __init__(
        self, cohort: Cohort, request: FillRequest, names: Sequence[str], runs: RunSources | None, watch: Watch
    ):
        self._cohort, self._request, self._runs = cohort, request, runs
        self._is_only_one = request.cases == tuple(names) and len(names) == 1
        chooses = INTERPOLATORS.named(request.method).chooses
        wanted = request.methods if chooses else (request.method,)
        # What learns from the images of a cohort scales them as the cohort says.
        self._learns = any(INTERPOLATORS.named(name).learn for name in wanted)
        parts = [
            part
            for part, is_wanted in (
                ("learn", self._learns),
                ("measure", chooses and len(names) > 1),
                ("fill", True),
            )
            if is_wanted
        ]
        watches = {part: watch.part(number, len(parts)) for number, part in enumerate(parts)}
        self.watch = watches["fill"]
        methods = {name: _made(name, request, cohort, names, watches.get("learn")) for name in wanted}
        self._method: Interpolator = methods[request.method] if not chooses else AutoInterpolator(methods)
        # A single case is measured when it is filled, unless its last fill is only updated.
        if isinstance(self._method, AutoInterpolator) and "measure" in watches:
            self._method = self._method.with_evidence(_measured(cohort, names, self._method, watches["measure"]))

    def of(self, name: str, watch: Watch) -> Answer:
        """The answer for a case.

        Raises BadInputError when the case cannot be filled. A run that cannot predict it is left out, with a warning.
        """
        cohort, request, runs = self._cohort, self._request, self._runs
        annotation = cohort.annotation(name)
        annotation.require_drawn(name)
        names, run = cohort.labels, request.run
        cohort.voxel_fingerprint(name)  # for comparing the result when the image has been saved again
        # Taken before the work, so that changes during it are noticed later.
        facts = cohort.origin(name, annotation, method=request.method, run=run).facts(self._learns)
        # The fill depends on the image: when its voxels have changed, the last fill cannot be reused.
        content = run_fingerprint(cohort.run_folder(run)) if run else ""
        image = cohort.image_fingerprint(name)
        structures = tuple(sorted(cohort.labels.items()))
        ways = (request.method, request.methods, request.beyond, request.earlier, run, content, structures)
        scale = self._learns and tuple(map(cohort.is_ct, cohort.channels or ("",)))
        key = (str(cohort.folder), request.state, name, image, scale, *ways, runs.mark if runs is not None else "")
        previous, found, problems = _last.pop(key, (None, None, []))
        _last.clear()
        method: Interpolator = self._method
        if isinstance(method, AutoInterpolator) and (runs is not None or request.earlier):
            if runs is not None:
                annotation = annotation.with_more_names(runs.further_names)
                names = {**runs.further_names, **names}
            if not found or (runs is not None and runs.writes_uncertainty):
                found, problems = self._sources(name, watch.part(0, 2))
                watch = watch.part(1, 2)
            elif runs is not None:
                found = [runs.updated(source, annotation) for source in found]
            method = method.with_runs(found)
        image_of = partial(image_of_case, cohort, name)
        done = finished_fill(method, annotation, image_of, names, watch, previous, request.beyond)
        if self._is_only_one and isinstance(method, IncrementalInterpolator) and not request.earlier and not problems:
            _last[key] = (done, found or [], problems)
        missing = fill_without_channels(name, missing_channels(list(cohort.channel_paths(name)), cohort.channels))
        return Answer(replace(done, warnings=(*missing, *problems, *done.warnings)), annotation, facts)

    def _sources(self, name: str, watch: Watch) -> tuple[list[RunSource], list[str]]:
        """The run and the earlier results as sources for a case, and why some take no part."""
        earlier, problems = earlier_results(self._cohort, name, self._request.earlier)
        if self._runs is None:
            return earlier, problems
        by_run, why = self._runs.of(name, watch)
        return [*by_run, *earlier], [*why, *problems]


def with_readable_drawings(
    cohort: Cohort, names: Sequence[str], failed: dict[str, SparseAnnotateError] | None = None
) -> list[str]:
    """Those of these cases whose drawn slices can be read; `failed` gets the errors of the others."""
    found = []
    for name in names:
        try:
            cohort.annotation(name)
            found.append(name)
        except SparseAnnotateError as error:
            if failed is not None:
                failed[name] = error
    return found


def require_choosing(method: str) -> None:
    """Raise BadInputError when a fill method takes no run."""
    if not INTERPOLATORS.named(method).chooses:
        sentence = _("Only the fill method 'auto' takes a run or an earlier result, not '{method}'.")
        raise BadInputError(sentence.format(method=method))


def _made(name: str, request: FillRequest, cohort: Cohort, names: Sequence[str], watch: Watch | None) -> Interpolator:
    if not request.time_limit > 0:
        raise BadInputError(
            _("The time limit must be more than 0 seconds, not {seconds:g}.").format(seconds=request.time_limit)
        )
    entry = INTERPOLATORS.named(name)
    if entry.chooses:
        raise BadInputError(_("'{method}' chooses from other methods and cannot be one of them.").format(method=name))
    if Need.TORCH in entry.needs:
        require_packages(purpose=_("the fill method '{method}'").format(method=name))
    options = {option: getattr(request, option) for option in entry.options}
    if entry.learn is not None:
        return imported(entry.learn)(cohort, names, watch, **options)
    return entry.loaded()(**options)


def _measured(cohort: Cohort, names: Sequence[str], method: AutoInterpolator, watch: Watch) -> list[Evidence]:
    """Leave-one-out over some of the cases, spread evenly over the list."""
    step = max(1, -(-len(names) // _MOST_MEASURED))
    chosen = names[::step]
    evidence: list[Evidence] = []
    for number, name in enumerate(chosen):
        image = usable_image(method, partial(image_of_case, cohort, name))[0]
        part = watch.part(number, len(chosen), f"'{name}': ")
        evidence += method.measure(cohort.annotation(name), image, part)
    return pooled(evidence)


def image_of_case(cohort: Cohort, name: str) -> np.ndarray:
    """(K, J, I), or, where there are several channels, (C, K, J, I) of those that the case has.

    Raises BadInputError when one of them cannot be used.
    """
    image, geometry = cohort.image(name)
    further = list(cohort.channel_paths(name))[1:]
    if not further:
        return image
    return stacked([image, *(cohort.channel_image(name, channel, geometry) for channel in further)])
