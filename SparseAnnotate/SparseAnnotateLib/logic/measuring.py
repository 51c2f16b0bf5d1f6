"""How good a result is, and what drawing has cost and spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import scene
from ..core import BadInputError, CaseFigures, Effort, LabelFigures, Plane, Progress, compare_labels
from ..core.slab_writing import written_in_slabs
from .session import SessionLogic


@dataclass(frozen=True)
class Measurement:
    """Figures of a result, and the table node that shows them."""

    figures: CaseFigures
    names: dict[int, str]
    tableNode: Any


class MeasuringLogic(SessionLogic):
    """Comparing with a reference, and counting the effort."""

    def evaluate(self, resultNode, referenceNode, volumeNode) -> CaseFigures:
        """Compare two segmentations of a volume, segment by segment of the same name: Dice, distances (mm), volumes."""
        values = self._common(resultNode, referenceNode)
        result = scene.labels_of(resultNode, volumeNode, values)
        reference = scene.labels_of(referenceNode, volumeNode, values)
        geometry = scene.geometry_of(volumeNode)
        return compare_labels(volumeNode.GetName(), result, reference, geometry, list(values.values()))

    def measure(
        self,
        resultNode,
        referenceNode,
        volumeNode,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `evaluate` says, computed in the worker, with a table node: a Measurement."""
        values = self._common(resultNode, referenceNode)
        geometry = scene.geometry_of(volumeNode)
        folder = self.cohort().cache_folder / "measured"
        paths = {"result": folder / "result.nrrd", "reference": folder / "reference.nrrd"}

        def prepare():
            for what, node in (("result", resultNode), ("reference", referenceNode)):
                yield Progress(0.0, f"writing '{node.GetName()}'")
                labels = scene.labels_of(node, volumeNode, values)
                for _ in written_in_slabs(paths[what], labels, geometry, compress=True):
                    yield None
            return {**{what: str(path) for what, path in paths.items()}, "labels": list(values.values())}

        def finish(answer):
            for path in paths.values():
                path.unlink(missing_ok=True)
            figures = CaseFigures(
                volumeNode.GetName(),
                tuple(LabelFigures.from_plain(row) for row in answer["labels"]),
                tuple(answer["absent"]),
            )
            names = {value: name for name, value in values.items()}
            table = scene.new_figures_table(
                f"{resultNode.GetName()} measured", figures, names, resultNode, referenceNode
            )
            return Measurement(figures, names, table)

        return self._do("compare", prepare(), finish, waitForCompletion, onDone, onProgress)

    def figuresOf(self, resultNode, referenceNode) -> scene.StoredFigures | None:
        """The newest figures of this pair that `measure` has put into the scene, also in an earlier session.

        None when it has not been measured, or one of the two has been changed since.
        """
        return scene.figures_of(resultNode, referenceNode)

    def effort(self, volumeNodes: Sequence, plane: str = "axial") -> Effort:
        """Slices and seconds spent on the volumes, and what is saved; see `Effort.of`."""
        ledgers = ((self.ledger(node), scene.geometry_of(node)) for node in volumeNodes)
        return Effort.of(ledgers, Plane.named(plane))

    @staticmethod
    def _common(resultNode, referenceNode) -> dict[str, int]:
        """Label value of each segment of either of them: one that is only in the result is measured, too.

        Raises BadInputError when they have no segment in common.
        """
        names = scene.segment_names(referenceNode)
        offered = scene.segment_names(resultNode)
        values = {name: value for value, name in enumerate(dict.fromkeys([*names, *offered]), start=1)}
        if not set(names) & set(offered):
            raise BadInputError(
                f"'{resultNode.GetName()}' and '{referenceNode.GetName()}' have no segment of the same name, so there "
                "is nothing to compare. Name the segments alike."
            )
        return values
