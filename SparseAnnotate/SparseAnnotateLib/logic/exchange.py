"""Exchanging data and models with nnU-Net and MONAI: in the worker, through the cohort folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import scene
from ..core import BadInputError, Exchanged, Progress
from ..core.messages import _
from ..core.slab_reading import reading_labels
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from ..core.voxel_values import label_counts
from .cohort_export import CohortExport
from .fills import FillReport, store_report
from .result_nodes import noting_origin, showing_result
from .session import Session, Waiting


class Exchange:
    """Writes what is in the scene, or a run, for other tools, and takes in what they have made."""

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export

    def export_nnunet(self, volume_nodes: Sequence, folder: str | Path, waiting: Waiting):
        """Write volumes and drawn slices as a raw nnU-Net dataset: see `ConsoleLogic.exportNnunet`."""
        _require_volumes(volume_nodes)
        prepare = self._export.request(volume_nodes, folder=_absolute(folder))
        return self._session.do("export_nnunet", prepare, _exchanged, waiting)

    def import_nnunet(self, folder: str | Path, cohort_folder: str | Path, waiting: Waiting):
        """Make a cohort of a raw nnU-Net dataset: see `ConsoleLogic.importNnunet`."""
        params = {"cohort": _absolute(cohort_folder), "folder": _absolute(folder)}
        return self._session.do("import_nnunet", params, _exchanged, waiting)

    def import_nnunet_predictions(
        self,
        volume_nodes: Sequence,
        folder: str | Path,
        predictions_folder: str | Path,
        run_name: str,
        waiting: Waiting,
    ):
        """Show nnU-Net's predictions as results: see `ConsoleLogic.importNnunetPredictions`."""
        _require_volumes(volume_nodes)
        nodes = dict(zip(scene.cases_of(volume_nodes), volume_nodes, strict=True))
        origins: dict[str, scene.ResultOrigin] = {}
        prepare = self._export.request(
            volume_nodes,
            before_each=lambda node: noting_origin(node, origins),
            folder=_absolute(folder),
            predictions=_absolute(predictions_folder),
            run=run_name,
        )

        def finish(answer):
            found, cohort, results = _exchanged(answer), self._session.cohort(), []
            yield from importing("SimpleITK")
            for case in found.cases:
                node = nodes[case]
                if node.GetScene() is None:
                    continue
                yield Progress(1.0, _("showing the result of '{volume}'").format(volume=node.GetName()))
                labels = yield from reading_labels(cohort.prediction_path(run_name, case), scene.geometry_of(node))
                occurring = label_counts(labels)
                yield None
                names = scene.with_unnamed(cohort.labels, list(occurring))
                values = {name: value for value, name in names.items() if value in occurring}
                drawing = scene.annotated_segmentation(node)
                made = labels, values, origins[node.GetID()]
                results.append((yield from showing_result(node, drawing, run_name, *made)))
                store_report(results[-1], FillReport("", found.warnings))
                yield None
            return results

        return self._session.do("import_nnunet", prepare, finish, waiting)

    def export_bundle(self, run_name: str, folder: str | Path, waiting: Waiting):
        """Write a run's 3D model as a MONAI bundle: see `ConsoleLogic.exportBundle`."""
        params = {"cohort": str(self._session.cohort().folder), "run": run_name, "folder": _absolute(folder)}
        return self._session.do("export_bundle", params, _exchanged, waiting)

    def import_bundle(self, folder: str | Path, run_name: str, waiting: Waiting):
        """Import a MONAI bundle as a run, and return its name: see `ConsoleLogic.importBundle`."""
        path = _absolute(folder)
        run = run_name or Path(path).name
        params = {"cohort": str(self._session.cohort().folder), "run": run, "folder": path}
        return self._session.do("import_bundle", params, lambda _answer: run, waiting)


def _exchanged(answer: Any) -> Exchanged:
    return from_plain(answer, Exchanged, _("the worker's answer"))


def _absolute(folder: str | Path) -> str:
    """An absolute path, because the worker's working directory differs from Slicer's.

    Raises BadInputError for an empty one.
    """
    if not str(folder).strip():
        raise BadInputError(_("No folder is given. Choose one."))
    return str(Path(folder).expanduser().absolute())


def _require_volumes(volume_nodes: Sequence) -> None:
    """Raise BadInputError without a volume: to the worker, no case means all cases of the folder."""
    if not volume_nodes:
        raise BadInputError(_("No volume is given. Load one, or check one in the list."))
