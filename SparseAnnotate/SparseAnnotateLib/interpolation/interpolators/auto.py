"""The answer: all sources together, each with the share that it has earned on hidden drawn slices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from ...core import BadInputError, CancelledError, Plane, SparseAnnotateError, SparseAnnotation, Watch
from ...core.messages import _
from ..chance_filling import ChanceInterpolator, ChanceSource, LearnsFirst
from ..drawn_stack import Gap
from ..interpolator import (
    INTERPOLATORS,
    Fill,
    IncrementalInterpolator,
    Interpolator,
    InterpolatorEntry,
    SeesOneChannel,
    auto_methods,
    interpolator_named,
    method_label,
    undemanding_method,
)
from ..label_fields import DrawnSlices
from ..label_gaps import LabelGap
from ..leave_one_out import Round, evidence_of, rounds
from ..mixing import MIXTURE, Evidence, Shares, always_failed, pooled
from ..run_source import RunSource
from ..runs_taking_part import RunsTakingPart
from ..source_failures import SourceFailedError, failure_message

Sources = dict[str, ChanceSource]
_T = TypeVar("_T")
_SLICES_CHANGED = 0.25


class AutoInterpolator:
    """Mixes the probabilities of several methods, for each label with the shares that predict hidden slices best.

    Args:
        methods: the methods to mix, by name or as objects, the simplest first; by default `auto_methods`. Those that
            give no probabilities take part with their labels.
        evidence: leave-one-out of these methods measured before, for example on a whole cohort; None: it is measured
            on the annotation that is filled.
        runs: trained runs and earlier results that take part, with their probabilities of the volume that is filled.
        only: of the labels that the drawn slices do not show, those that the runs may add; None: all that they find.
    """

    needs_image = False
    uses_image = True

    def __init__(
        self,
        methods: Sequence[str] | dict[str, Interpolator] | None = None,
        evidence: Sequence[Evidence] | None = None,
        runs: Sequence[RunSource] = (),
        only: Collection[int] | None = None,
    ):
        if methods is None:
            methods = auto_methods()
        if not methods:
            raise BadInputError(_("There is no fill method to choose from; name at least one."))
        if not isinstance(methods, dict):
            methods = {name: interpolator_named(name) for name in methods}
        self._methods = methods
        self._evidence = evidence
        self._only = only
        # No method has such a name.
        self._runs: dict[str, RunSource] = {run.name: run for run in runs}
        self._has_seen = False

    def with_runs(self, runs: Sequence[RunSource]) -> AutoInterpolator:
        """The same methods and evidence, with runs."""
        other = copy(self)
        other._runs = {run.name: run for run in runs}
        return other

    def with_evidence(self, evidence: Sequence[Evidence]) -> AutoInterpolator:
        """The same methods, with evidence that was measured before."""
        other = copy(self)
        other._evidence = evidence
        return other

    def seeing(self, annotation: SparseAnnotation, image: np.ndarray | None) -> AutoInterpolator:
        """See `SeesOneChannel`."""
        other = copy(self)
        other._methods = {name: _seeing(method, annotation, image) for name, method in self._methods.items()}
        other._has_seen = True
        return other

    def finding(self, values: Iterable[int]) -> AutoInterpolator:
        """See `FindsMore`."""
        other = copy(self)
        other._only = tuple(values)
        return other

    def found_elsewhere(self, annotation: SparseAnnotation) -> dict[int, int]:
        """See `FindsMore`; the smallest in the volume first."""
        return RunsTakingPart(self._runs, annotation, self._only).added()

    def unseen(self, annotation: SparseAnnotation, values: Iterable[int]) -> Fill:
        """See `FindsMore`."""
        return RunsTakingPart(self._runs, annotation).alone(set(values))

    def notes(self, annotation: SparseAnnotation, left_out: Collection[str] = ()) -> list[str]:
        """See `FindsMore`."""
        return RunsTakingPart(_but(self._runs, left_out), annotation).notes()

    def measure(
        self, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
    ) -> list[Evidence]:
        """Leave-one-out of the methods on one annotation; nothing with fewer than three drawn slices of a plane.

        A method that fails takes no part, and is named in the evidence.
        """
        if not self._has_seen:
            return self.seeing(annotation, image).measure(annotation, image, watch)
        watch = watch or Watch()
        found: list[Evidence] = []
        groups = annotation.structure_groups()
        for number, (values, decided) in enumerate(groups):
            part = watch.part(number, len(groups), _("trying the fill on hidden slices: "))
            every = list(rounds(decided))
            for place, one in enumerate(every):
                found.append(_only(self._tried(one, decided, image, part.part(place, len(every))), values))
        return pooled(found)

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`; without an image, methods that need it are left out, as are sources that fail."""
        annotation.require_drawn("the volume")
        if not self._has_seen:
            return self.seeing(annotation, image).fill(annotation, image, watch)
        watch = watch or Watch()
        try:
            return self._filled(annotation, image, watch)
        except SourceFailedError as error:
            if error.source not in self._methods and error.source not in self._runs:
                raise  # there is nothing to leave out
            if not _but(self._methods, [error.source]):
                raise
            fill = self._without([error.source]).fill(annotation, image, watch)
            sentence = _without(error.source, error.message)
            return replace(
                fill, warnings=(sentence, *fill.warnings), left_out={error.source: sentence, **fill.left_out}
            )

    def _filled(self, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch) -> Fill:
        evidence = self._evidence
        if evidence is None:
            evidence = self.measure(annotation, image, watch.part(0, 2))
        sources, problems = self._sources(annotation, image, watch.part(1, 2).part(0, 2), always_failed(evidence))
        warnings = tuple(problems.values())
        known = next((e for e in evidence if e.sources == tuple(sources)), Evidence(tuple(sources)))
        runs = RunsTakingPart(self._runs, annotation, self._only)
        added = runs.added()
        shares = known.shares([*annotation.label_values(), *added])
        rated: dict[str, RunSource] = {}
        if self._runs:
            compared = runs.compared(sources, shares, known, annotation, image, watch.part(1, 2).part(1, 2).quiet())
            shares = {value: runs.shares(value, known, own, compared) for value, own in shares.items()}
            rated = runs.sources()
            sources |= {**rated, **runs.beside()}
            annotation = _with_room_for(annotation, added)
        drawn_here = {value: own for value, own in shares.items() if value not in added}
        fill = self._mixed(sources, shares, annotation, image, watch.part(1, 2).part(1, 2))
        return replace(
            fill,
            warnings=tuple(dict.fromkeys((*warnings, *fill.warnings))),
            methods=dict.fromkeys(shares, MIXTURE),
            shares=shares,
            far_shares={name: run.far_shares for name, run in rated.items()},
            left_out=problems,
            scores=tuple(score for score in known.scores(drawn_here) if score.label not in added),
            measured_on=_slice_count(annotation),
        )

    def refill(
        self,
        previous: Fill,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        changed: Iterable[tuple[Plane, int]],
        watch: Watch | None = None,
    ) -> Fill:
        """Update a fill after some slices have changed, with the shares of the previous one.

        Sources that were left out of it stay so. Everything is measured and filled again, by all of them, where a label
        is new, a method gives no probabilities, nothing had been measured, or the number of drawn slices has changed by
        a quarter since.
        """
        kept = self._without(previous.left_out)
        names = {name for shares in previous.shares.values() for name in shares}
        soft: Sources = {name: m for name, m in kept._usable(image).items() if isinstance(m, ChanceSource)}
        runs = RunsTakingPart(kept._runs, annotation, self._only)
        soft |= {**runs.sources(previous.far_shares), **runs.beside()}
        added, shown = set(runs.added()), set(annotation.label_values())
        if set(soft) != names or not shown | added <= set(previous.shares):
            return self.fill(annotation, image, watch)
        if kept._runs and set(previous.shares) - shown != added - shown:
            return self.fill(annotation, image, watch)  # what the runs may add has changed
        annotation = _with_room_for(annotation, added)
        if previous.labels.dtype != annotation.labels.dtype:
            return self.fill(annotation, image, watch)
        drawn, before = _slice_count(annotation), previous.measured_on
        if not previous.scores or abs(drawn - before) > _SLICES_CHANGED * before:
            return self.fill(annotation, image, watch)
        (only,) = list(soft.values())[:1]
        mixture = only if len(soft) == 1 else ChanceInterpolator(soft, previous.shares)
        if not isinstance(mixture, IncrementalInterpolator):
            return self.fill(annotation, image, watch)
        try:
            fill = mixture.refill(previous, annotation, image, changed, watch)
        except SourceFailedError:
            return self.fill(annotation, image, watch)
        return replace(
            fill,
            warnings=tuple(dict.fromkeys((*previous.left_out.values(), *fill.warnings))),
            methods=previous.methods,
            shares=previous.shares,
            far_shares=previous.far_shares,
            left_out=previous.left_out,
            scores=previous.scores,
            measured_on=before,
            is_updated=True,
        )

    def _without(self, sources: Collection[str]) -> AutoInterpolator:
        others = copy(self)
        others._methods, others._runs = _but(self._methods, sources), _but(self._runs, sources)
        return others

    def _mixed(
        self,
        sources: Sources,
        shares: Mapping[int, Shares],
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch,
    ) -> Fill:
        (name,) = list(sources)[:1]
        if len(sources) == 1 and isinstance(self._methods.get(name), ChanceSource):
            return self._methods[name].fill(annotation, image, watch)
        return ChanceInterpolator(sources, shares).fill(annotation, image, watch)

    def _tried(self, one: Round, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch) -> Evidence:
        """Leave-one-out of one round by the methods that do not fail, with a sentence for each that failed."""
        sources, problems = self._sources(one.rest, image, watch.part(0, 2), whole=annotation)
        while True:
            try:
                return replace(evidence_of(sources, one, annotation, image, watch.part(1, 2)), failed=problems)
            except SourceFailedError as error:
                del sources[error.source]
                problems[error.source] = _without(error.source, error.message)

    def _sources(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch,
        failed: Mapping[str, str] = MappingProxyType({}),
        whole: SparseAnnotation | None = None,
    ) -> tuple[Sources, dict[str, str]]:
        """The methods as sources for an annotation, and a sentence for each that failed.

        `whole`: with the hidden slices, so that the image is learned from along the same axis as for the fill.
        Those in `failed`, with their sentences, failed on all hidden slices: a method may not decide the fill for want
        of any evidence against it, so they are not asked, unless there is no other.
        Raises the last one's error when all fail.
        """
        usable = self._usable(image)
        problems = {name: sentence for name, sentence in failed.items() if name in usable}
        if len(problems) == len(usable):
            problems = {}
        usable = {name: method for name, method in usable.items() if name not in problems}
        found: Sources = {}
        failure: SparseAnnotateError | MemoryError | None = None
        for number, (name, method) in enumerate(usable.items()):
            try:
                if isinstance(method, ChanceSource):
                    if isinstance(method, LearnsFirst) and image is not None:
                        method.learn(whole or annotation, image, watch.part(number, len(usable)))
                    found[name] = method
                else:
                    found[name] = _LabelSource(method.fill(annotation, image, watch.part(number, len(usable))))
            except CancelledError:
                raise
            except (SparseAnnotateError, MemoryError) as error:
                failure = error
                problems[name] = _without(name, failure_message(error))
        if not found and failure is not None:
            raise failure
        return found, problems

    def _usable(self, image: np.ndarray | None) -> dict[str, Interpolator]:
        usable = {name: m for name, m in self._methods.items() if image is not None or not m.needs_image}
        if not usable:
            names = ", ".join(method_label(name) for name in self._methods)
            raise BadInputError(
                _("The chosen fill methods need the image, and there is none: {names}. Use the {other} method.").format(
                    names=names, other=undemanding_method()
                )
            )
        return usable


def _seeing(method: Interpolator, annotation: SparseAnnotation, image: np.ndarray | None) -> Interpolator:
    if not isinstance(method, SeesOneChannel):
        return method
    try:
        return method.seeing(annotation, image)
    except (SparseAnnotateError, MemoryError):
        return method  # it fails again when it is used, and is then left out with a sentence


def _without(name: str, problem: str) -> str:
    """A sentence on a source that failed; `name`: of a method, or of a run, as in "run 'first'"."""
    label = method_label(name)
    source = label if "'" in label else f"'{label}'"
    return _("Filled without {source}, which failed. {problem}").format(source=source, problem=problem)


def _but(every: Mapping[str, _T], names: Collection[str]) -> dict[str, _T]:
    return {name: one for name, one in every.items() if name not in names}


def _with_room_for(annotation: SparseAnnotation, values: Collection[int]) -> SparseAnnotation:
    """The annotation, with a dtype of its labels that holds these, too."""
    dtype = np.promote_types(annotation.labels.dtype, np.min_scalar_type(max(values, default=0)))
    if dtype == annotation.labels.dtype:
        return annotation
    return replace(annotation, labels=annotation.labels.astype(dtype))


class _LabelSource:
    """A method that gives no probabilities: certain where its fill shows the label."""

    def __init__(self, fill: Fill):
        self._labels = fill.labels

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> np.ndarray:
        """See `ChanceSource`."""
        return drawn.main.moved(self._labels)

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: np.ndarray, watch: Watch) -> np.ndarray:
        """See `ChanceSource`."""
        shown: np.ndarray = prepared[place.gap.first : place.gap.stop][place.part] == place.value
        return shown.astype(np.float32)

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> None:
        """See `ChanceSource`."""


def _slice_count(annotation: SparseAnnotation) -> int:
    return sum(len(indices) for indices in annotation.drawn_by_axis().values())


def _only(evidence: Evidence, values: Sequence[int]) -> Evidence:
    """Evidence of some labels only."""
    return replace(
        evidence,
        counts={v: counts for v, counts in evidence.counts.items() if v in values},
        slices={v: count for v, count in evidence.slices.items() if v in values},
        spacing_mm={v: spacing for v, spacing in evidence.spacing_mm.items() if v in values},
    )


INTERPOLATORS.add(
    InterpolatorEntry(
        name="auto",
        label=_("Automatic"),
        description=_("Mixes several methods, each with the share that it has earned on hidden drawn slices."),
        make=AutoInterpolator,
        chooses=True,
        order=1,
    )
)
