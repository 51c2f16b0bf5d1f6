"""Measuring results against a reference, and the slices and time spent on drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import scene
from ..core import BadInputError, CaseFigures, Effort, LabelFigures, Ledger, Plane, Progress, compare_labels
from ..core.messages import _
from ..core.slab_writing import written_in_slabs
from .session import Session, Waiting


@dataclass(frozen=True)
class Measurement:
    """The measures of a result, and the table node that shows them.

    `batchedIou`: of each structure over the `volumes` whose results were made as this one and have been measured; see
    `core.metrics.batched_iou`. Empty for a segmentation that is not a result.
    """

    figures: CaseFigures
    names: dict[int, str]
    tableNode: Any
    volumes: int = 0
    batchedIou: dict[str, float] = field(default_factory=dict)


class Measuring:
    """Compares segmentations in the worker."""

    def __init__(self, session: Session):
        self._session = session

    def measure(self, result_node, reference_node, volume_node, waiting: Waiting):
        """The same as `evaluate`, computed in the worker, with a table node: a Measurement."""
        values = _common_labels(result_node, reference_node)
        geometry = scene.geometry_of(volume_node)
        folder = self._session.cohort().cache_folder / "measured"
        paths = {"result": folder / "result.nrrd", "reference": folder / "reference.nrrd"}

        def prepare():
            for what, node in (("result", result_node), ("reference", reference_node)):
                yield Progress(0.0, _("writing '{name}'").format(name=node.GetName()))
                labels = scene.labels_of(node, volume_node, values)
                for _step in written_in_slabs(paths[what], labels, geometry, compress=True):
                    yield None
            return {**{what: str(path) for what, path in paths.items()}, "labels": list(values.values())}

        def finish(answer):
            for path in paths.values():
                path.unlink(missing_ok=True)
            figures = CaseFigures(
                volume_node.GetName(),
                tuple(LabelFigures.from_plain(row) for row in answer["labels"]),
                tuple(answer["absent"]),
                answer["rand_f_score"],
            )
            names = {value: name for name, value in values.items()}
            table = scene.new_figures_table(
                f"{result_node.GetName()} measured", figures, names, result_node, reference_node
            )
            return Measurement(figures, names, table, *scene.batched_iou(result_node))

        return self._session.do("compare", prepare(), finish, waiting)


def evaluate(result_node, reference_node, volume_node) -> CaseFigures:
    """Compare two segmentations of a volume in this process: see `ConsoleLogic.evaluate`."""
    values = _common_labels(result_node, reference_node)
    result = scene.labels_of(result_node, volume_node, values)
    reference = scene.labels_of(reference_node, volume_node, values)
    geometry = scene.geometry_of(volume_node)
    return compare_labels(volume_node.GetName(), result, reference, geometry, list(values.values()))


def effort_of(volume_nodes: Sequence, plane: Plane, ledgers: Sequence[Ledger] | None = None) -> Effort:
    """Slices and seconds spent on the volumes, and saved; see `Effort.of`. `ledgers`: of the volumes, if at hand."""
    if ledgers is None:
        ledgers = [scene.ledger_of(node) for node in volume_nodes]
    geometries = [scene.geometry_of(node) for node in volume_nodes]
    return Effort.of(zip(ledgers, geometries, strict=True), plane)


def _common_labels(result_node, reference_node) -> dict[str, int]:
    """Label value of each segment of the two; segments that only the result has are measured, too.

    Raises BadInputError if they have no segment in common.
    """
    names = scene.segment_names(reference_node)
    offered = scene.segment_names(result_node)
    values = {name: value for value, name in enumerate(dict.fromkeys([*names, *offered]), start=1)}
    if not set(names) & set(offered):
        raise BadInputError(
            _(
                "'{result}' and '{reference}' have no segment of the same name, so there is nothing to compare. Give "
                "the segments the same names."
            ).format(result=result_node.GetName(), reference=reference_node.GetName())
        )
    return values
