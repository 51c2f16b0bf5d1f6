"""What every part of the logic stands on: the cohort folder, the ledgers in the scene, and the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer

from .. import scene
from ..core import BadInputError, Cohort, Ledger
from ..core.cohort import COHORT_FILE
from ..worker import WorkerJobs


class SessionLogic:
    """The cohort folder that volumes, drawn slices and runs are written to, and the worker that works on it.

    Args:
        newTransport: makes the connection to a worker for calls that do not wait.
    """

    def __init__(self, newTransport: Callable):
        self._cohortFolder: Path | None = None
        self._jobs = WorkerJobs(newTransport, while_waiting=lambda: slicer.app.processEvents())

    @property
    def cohortFolder(self) -> Path:
        """Folder that volumes, drawn slices and trained runs are written to for training."""
        return self._cohortFolder or Path(slicer.app.defaultScenePath) / "SparseAnnotate"

    @cohortFolder.setter
    def cohortFolder(self, folder: str | Path) -> None:
        # Absolute, because the worker has another working directory than Slicer.
        self._cohortFolder = Path(folder).expanduser().absolute() if str(folder).strip() else None

    def cohort(self) -> Cohort:
        """The cohort in `cohortFolder`; made when it is not there yet."""
        folder = self.cohortFolder
        return Cohort.open(folder) if (folder / COHORT_FILE).is_file() else Cohort.create(folder, folder.name)

    def runs(self) -> list[str]:
        """Names of the runs in the cohort folder, oldest first."""
        return self.cohort().runs() if (self.cohortFolder / COHORT_FILE).is_file() else []

    def ledger(self, volumeNode) -> Ledger:
        """What is recommended, drawn, empty and skipped in a volume."""
        segmentation = scene.annotated_segmentation(volumeNode)
        return scene.stored_ledger(segmentation) if segmentation is not None else Ledger()

    def worklist(self, volumeNodes: Sequence) -> list[scene.WorklistItem]:
        """All slices in the ledgers of the volumes, in the order of the worklist."""
        return scene.worklist_of(volumeNodes)

    @property
    def isBusy(self) -> bool:
        """True while a request that was not waited for is being worked on."""
        return self._jobs.is_busy

    @property
    def workerLog(self) -> list[str]:
        """The worker's last words on stderr."""
        return self._jobs.log

    def cancel(self) -> None:
        """Stop what is being worked on; a training keeps its last checkpoint."""
        self._jobs.cancel()

    def close(self) -> None:
        """End the worker process; a training at work saves its checkpoint."""
        self._jobs.close()

    def _request(self, method, params, finish, waitForCompletion, onDone, onProgress):
        if waitForCompletion:
            return finish(self._jobs.wait_for(method, params, onProgress))
        return self._jobs.start(method, params, finish, onDone, onProgress)

    def _export(self, volumeNodes: Sequence) -> dict[str, int]:
        """Write volumes and drawn slices into the cohort folder; returns the label value of each segment name."""
        cohort = self.cohort()
        segmentations = {node.GetID(): scene.annotated_segmentation(node) for node in volumeNodes}
        drawn = [s for s in segmentations.values() if s is not None and scene.stored_ledger(s).decided]
        values = cohort.add_labels([name for node in drawn for name in scene.segment_names(node)])
        for node in volumeNodes:
            segmentation = segmentations[node.GetID()]
            scene.export_case(cohort, node, segmentation if segmentation in drawn else None, values)
        return values

    def _exported(self, volumeNodes: Sequence) -> dict[str, Any]:
        """The volumes written into the cohort folder, as the beginning of a request."""
        self._export(volumeNodes)
        return {"cohort": str(self.cohortFolder), "cases": [scene.case_of(node) for node in volumeNodes]}

    def _newResult(self, volumeNode, segmentation, what: str, labels, values: dict[str, int]):
        if volumeNode.GetScene() is None:
            raise BadInputError(
                f"The volume '{volumeNode.GetName()}' was removed in the meantime; its result is kept in the folder."
            )
        name = slicer.mrmlScene.GenerateUniqueName(f"{volumeNode.GetName()} {what}")
        names = {value: segment for segment, value in values.items()}
        return scene.new_segmentation(name, labels, names, volumeNode, like=segmentation)
