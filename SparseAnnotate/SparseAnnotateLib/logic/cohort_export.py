"""Writing volumes and what is drawn on them into the cohort folder, piece by piece, for the worker to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import scene
from ..client import Steps
from ..core import BadInputError, Progress
from .session import Session


class CohortExport:
    """Writes what is in the scene into the session's cohort folder."""

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
        decided = [node for node in volume_nodes if scene.ledger_of(node).decided]
        drawn = {node.GetID(): scene.annotated_segmentation(node) for node in decided}
        values = cohort.add_labels([name for node in drawn.values() for name in scene.segment_names(node)])
        for number, node in enumerate(volume_nodes):
            if node.GetScene() is None:
                raise BadInputError(f"The volume '{node.GetName()}' was removed from the scene in the meantime.")
            segmentation = drawn.get(node.GetID())
            segmentation = segmentation if segmentation is not None and segmentation.GetScene() is not None else None
            told = Progress(0.0, f"writing '{node.GetName()}' ({number + 1} of {len(volume_nodes)})")
            if before_each is not None:
                before_each(node)
                yield told
            for _ in scene.exporting_case(cohort, node, segmentation, values):
                yield told
        return values

    def fills(self, volume_nodes: Sequence) -> Steps:
        """Write the fills that are in the scene, where they are those of what is drawn now."""
        cohort = self._session.cohort()
        values = {name: value for value, name in cohort.labels.items()}
        for node in volume_nodes:
            yield Progress(0.0, f"writing the fill of '{node.GetName()}'")
            segmentation = scene.annotated_segmentation(node)
            annotation = scene.annotation_of(
                node, segmentation, {n: values[n] for n in scene.segment_names(segmentation)}
            )
            for _ in scene.exporting_fill(cohort, node, annotation, values):
                yield None
