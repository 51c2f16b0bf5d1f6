"""Writing volumes and drawn slices into the cohort folder, step by step, for the worker to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import scene
from ..client import Steps
from ..core import BadInputError, Progress
from ..core.messages import _
from .session import Session


class CohortExport:
    """Writes data from the scene into the cohort folder of the session."""

    def __init__(self, session: Session):
        self._session = session

    def request(
        self, volume_nodes: Sequence, before_each: Callable[[Any], None] | None = None, **parameters: Any
    ) -> Steps:
        """Write volumes and drawn slices; returns the parameters of a request for them.

        `before_each` is called with each volume before it is written: what is drawn while it is being written may or
        may not be in the file.
        """
        cases = [scene.case_of(node) for node in volume_nodes]
        yield from self.labels(volume_nodes, before_each)
        return {"cohort": str(self._session.cohort_folder), "cases": cases, **parameters}

    def labels(self, volume_nodes: Sequence, before_each: Callable[[Any], None] | None = None) -> Steps:
        """Write volumes and drawn slices, as `request` does; returns the label value of each segment name."""
        cohort = self._session.cohort()
        drawn = {node.GetID(): scene.annotated_segmentation(node) for node in volume_nodes if _has_knowledge(node)}
        values = cohort.add_labels([name for node in drawn.values() for name in scene.segment_names(node)])
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
                before_each(node)
                yield progress
            for _step in scene.exporting_case(cohort, node, segmentation, values):
                yield progress
        return values

    def fills(self, volume_nodes: Sequence) -> Steps:
        """Write the fills in the scene that are up to date with the drawn slices."""
        cohort = self._session.cohort()
        values = {name: value for value, name in cohort.labels.items()}
        for node in volume_nodes:
            yield Progress(0.0, _("writing the fill of '{volume}'").format(volume=node.GetName()))
            segmentation = scene.annotated_segmentation(node)
            annotation = scene.annotation_of(
                node, segmentation, {n: values[n] for n in scene.segment_names(segmentation)}
            )
            for _step in scene.exporting_fill(cohort, node, annotation, values):
                yield None


def _has_knowledge(volume_node) -> bool:
    """True when slices of a volume have been drawn, or something in it was corrected."""
    segmentation = scene.annotated_segmentation(volume_node)
    if segmentation is None:
        return False
    return bool(scene.ledger_of(volume_node).decided) or scene.has_corrections(segmentation)
