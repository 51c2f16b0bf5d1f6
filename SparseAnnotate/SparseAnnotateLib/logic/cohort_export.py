"""Writing volumes and drawn slices into the cohort folder, step by step, for the worker to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import scene
from ..client import Steps
from ..core import BadInputError, Cohort, Progress
from ..core.messages import _
from .session import Session
from .structure_looks import StructureLooks

_WAIT_SECONDS = 10.0


class CohortExport:
    """Writes data from the scene into the cohort folder of the session.

    Several jobs may want to write at the same time, in pieces from the event loop. Then each first brings the one to
    its end that has begun: files that are half written are never left to another job.
    """

    def __init__(self, session: Session):
        self._session = session
        self._under_way: _Writing | None = None
        self._looks = StructureLooks()

    @property
    def codes_problem(self) -> str:
        """See `StructureLooks.codes_problem`."""
        return self._looks.codes_problem

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._looks = StructureLooks()

    def request(
        self, volume_nodes: Sequence, before_each: Callable[[Any], Iterator[None]] | None = None, **parameters: Any
    ) -> Steps:
        """Write volumes and drawn slices; returns the parameters of a request for them.

        `before_each` makes the steps that come before each volume is written: what is drawn while it is being written
        may or may not be in the file.
        """
        cases = scene.cases_of(volume_nodes)
        yield from self.labels(volume_nodes, before_each)
        return {"cohort": str(self._session.cohort_folder), "cases": cases, **parameters}

    def labels(
        self,
        volume_nodes: Sequence,
        before_each: Callable[[Any], Iterator[None]] | None = None,
        cohort: Cohort | None = None,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> Steps:
        """Write volumes and drawn slices, as `request` does; returns the label value of each segment name.

        Args:
            cohort: None: that of the session. wait_seconds: for another process that writes into it.
        """
        while self._under_way is not None:
            for _step in self._under_way:
                yield None
        values: dict[str, int] = {}
        steps = self._write(cohort, volume_nodes, before_each, values, wait_seconds)
        writing = self._under_way = _Writing(steps, self._ended)
        try:
            yield from writing
        finally:
            writing.close()
        if writing.error is not None:
            raise writing.error
        return values

    def _ended(self) -> None:
        self._under_way = None

    def _write(
        self,
        cohort: Cohort | None,
        volume_nodes: Sequence,
        before_each: Callable[[Any], Iterator[None]] | None,
        values: dict[str, int],
        wait_seconds: float,
    ) -> Iterator[Progress]:
        """Write volumes and drawn slices; the label value of each segment name is entered into `values`."""
        cohort = self._session.cohort() if cohort is None else cohort
        drawn = {node.GetID(): scene.annotated_segmentation(node) for node in volume_nodes if _has_knowledge(node)}
        drawings = [(node, drawn[node.GetID()]) for node in volume_nodes if node.GetID() in drawn]
        values |= cohort.add_labels([name for pair in drawings for name in scene.names_to_add(*pair)])
        for number, node in enumerate(volume_nodes):
            if node.GetScene() is None:
                raise BadInputError(
                    _("The volume '{volume}' was removed from the scene before it could be written.").format(
                        volume=node.GetName()
                    )
                )
            segmentation = drawn.get(node.GetID())
            segmentation = segmentation if segmentation is not None and segmentation.GetScene() is not None else None
            progress = Progress(
                0.0,
                _("writing '{volume}' ({number} of {count})").format(
                    volume=node.GetName(), number=number + 1, count=len(volume_nodes)
                ),
            )
            if before_each is not None:
                for _step in before_each(node):
                    yield progress
            for _step in scene.exporting_case(cohort, node, segmentation, values, wait_seconds):
                yield progress
            if segmentation is not None:
                self._looks.note(cohort, segmentation)

    def fills(self, volume_nodes: Sequence) -> Steps:
        """Write the fills in the scene that are up to date with the drawn slices."""
        cohort = self._session.cohort()
        for node in volume_nodes:
            values = {name: value for value, name in cohort.labels.items()} | scene.unnamed_values(node, cohort)
            yield Progress(0.0, _("writing the fill of '{volume}'").format(volume=node.GetName()))
            segmentation = scene.annotated_segmentation(node)
            missing = [name for name in scene.segment_names(segmentation) if name not in values]
            if missing:
                raise BadInputError(
                    _("The segment '{segment}' of '{volume}' is not in the cohort yet. Try again.").format(
                        segment=missing[0], volume=node.GetName()
                    )
                )
            annotation = yield from scene.reading_annotation(
                node, segmentation, {n: values[n] for n in scene.segment_names(segmentation)}
            )
            for _step in scene.exporting_fill(cohort, node, annotation, values):
                yield None


class _Writing:
    """One writing into the cohort folder: whoever iterates over it brings it further, until it has ended.

    Attributes:
        error: with which it has ended, for the job that wanted it.
    """

    def __init__(self, steps: Iterator[Progress], on_end: Callable[[], None]):
        self._steps, self._on_end = steps, on_end
        self._has_ended = False
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Progress]:
        while not self._has_ended:
            try:
                step = next(self._steps)
            except StopIteration:
                self._end()
            except Exception as error:  # raised again by the job that wanted it
                self.error = error
                self._end()
            else:
                yield step

    def close(self) -> None:
        """Stop it, if it has not ended."""
        if not self._has_ended:
            self._steps.close()  # type: ignore[attr-defined]
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._on_end()


def _has_knowledge(volume_node) -> bool:
    """True when slices of a volume have been drawn, or something in it was corrected; or it was opened from a cohort.

    What is written of an opened volume is always all of it: slices may have been cleared, too.
    """
    segmentation = scene.annotated_segmentation(volume_node)
    if segmentation is None:
        return False
    if scene.opened_case(volume_node) is not None:
        return bool(scene.structure_names(segmentation))
    return bool(scene.ledger_of(volume_node).decided) or scene.has_corrections(segmentation)
