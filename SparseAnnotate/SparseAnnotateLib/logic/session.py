"""What every part of the logic stands on: the cohort folder, the ledgers in the scene, and the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer

from .. import scene
from ..client import Steps, WorkerJobs
from ..core import BadInputError, Cohort, Ledger, Plane, Progress
from ..core.cohort import COHORT_FILE


class SessionLogic:
    """The cohort folder that volumes, drawn slices and runs are written to, and the worker that works on it.

    Args:
        newTransport: makes the connection to a worker for calls that do not wait.
        later: calls a function from the event loop, soon; without it, what is done in this process is done at once.
    """

    def __init__(self, newTransport: Callable, later: Callable | None = None):
        self._cohortFolder: Path | None = None
        self._jobs = WorkerJobs(newTransport, while_waiting=lambda: slicer.app.processEvents(), later=later)

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
        return scene.stored_ledger(segmentation, volumeNode) if segmentation is not None else Ledger()

    def worklistItem(self, volumeNode, plane: str, index: int) -> scene.WorklistItem:
        """A slice as an item of the worklist, whether or not the ledger names it."""
        return scene.worklist_item(volumeNode, Plane.named(plane), index)

    def worklist(self, volumeNodes: Sequence) -> list[scene.WorklistItem]:
        """All slices in the ledgers of the volumes, in the order of the worklist."""
        return scene.worklist_of(volumeNodes)

    def volumes(self) -> list:
        """Volumes of the scene that can be drawn on; confidences of results are none."""
        return [node for node in scene.volumes_of_scene() if not scene.is_confidence(node)]

    @property
    def isBusy(self) -> bool:
        """True while a call that was not waited for is being worked on."""
        return self._jobs.is_busy

    @property
    def atWork(self) -> str | None:
        """What is being worked on, for example 'train'; None when nothing is."""
        return self._jobs.at_work

    @property
    def workerIsAsked(self) -> bool:
        """True while the worker is at a call, and nothing more is needed of the scene before its result."""
        return self._jobs.is_asked

    @property
    def workerIsRunning(self) -> bool:
        """True while the worker process is there; it is started when it is needed."""
        return self._jobs.is_running

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

    def forgetCalls(self) -> None:
        """Tell nobody any more how a call ends that is being worked on: who waits for it goes."""
        self._jobs.forget()

    def _do(self, method, prepare, finish, waitForCompletion, onDone, onProgress, name=""):
        """A job of this logic: see WorkerJobs.start."""
        if waitForCompletion:
            return self._jobs.run(method, prepare, finish, onProgress)
        return self._jobs.start(method, prepare, finish, onDone, onProgress, name)

    def _exporting(self, volumeNodes: Sequence, **parameters: Any) -> Steps:
        """Write volumes and drawn slices into the cohort folder; returns the parameters of a request for them."""
        cases = [scene.case_of(node) for node in volumeNodes]
        yield from self._exportingLabels(volumeNodes)
        return {"cohort": str(self.cohortFolder), "cases": cases, **parameters}

    def _exportingLabels(self, volumeNodes: Sequence) -> Steps:
        """Write volumes and drawn slices into the cohort folder; returns the label value of each segment name."""
        cohort = self.cohort()
        drawn = {node.GetID(): scene.annotated_segmentation(node) for node in volumeNodes if self.ledger(node).decided}
        values = cohort.add_labels([name for node in drawn.values() for name in scene.segment_names(node)])
        for number, node in enumerate(volumeNodes):
            if node.GetScene() is None:
                raise BadInputError(f"The volume '{node.GetName()}' was removed from the scene in the meantime.")
            segmentation = drawn.get(node.GetID())
            segmentation = segmentation if segmentation is not None and segmentation.GetScene() is not None else None
            told = Progress(0.0, f"writing '{node.GetName()}' ({number + 1} of {len(volumeNodes)})")
            for _ in scene.exporting_case(cohort, node, segmentation, values):
                yield told
        return values

    def _exportingFills(self, volumeNodes: Sequence) -> Steps:
        """Write the fills that are in the scene into the cohort folder, where they are those of what is drawn now."""
        cohort = self.cohort()
        values = {name: value for value, name in cohort.labels.items()}
        for node in volumeNodes:
            yield Progress(0.0, f"writing the fill of '{node.GetName()}'")
            segmentation = scene.annotated_segmentation(node)
            annotation = scene.annotation_of(
                node, segmentation, {n: values[n] for n in scene.segment_names(segmentation)}
            )
            for _ in scene.exporting_fill(cohort, node, annotation, values):
                yield None

    def _originNow(self, volumeNode):
        """What a result for this volume that is made now is made from."""
        segmentation = scene.annotated_segmentation(volumeNode)
        if segmentation is None or not self.ledger(volumeNode).decided:
            return scene.origin_now(volumeNode, None, {})
        names = {value: name for name, value in scene.label_values(segmentation).items()}
        return scene.origin_now(volumeNode, scene.annotation_of(volumeNode, segmentation), names)

    def _newResult(self, volumeNode, segmentation, madeBy: str, labels, values: dict[str, int], origin):
        if volumeNode.GetScene() is None:
            raise BadInputError(
                f"The volume '{volumeNode.GetName()}' was removed in the meantime; its result is kept in the folder."
            )
        name = slicer.mrmlScene.GenerateUniqueName(f"{volumeNode.GetName()} {madeBy}")
        names = {value: segment for segment, value in values.items()}
        node = scene.new_segmentation(name, labels, names, volumeNode, like=segmentation)
        scene.name_result(node, madeBy)
        scene.note_origin(node, origin)
        return node
