"""What only the panel needs of the logic: watching the scene, and showing the state of what is drawn."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import slicer

from .. import scene
from ..core import BadInputError, Effort, Plane, Progress, SliceState
from ..runs.run_list import RunSummary
from ..selection import SelectionSettings
from . import result_nodes
from .environment import Environment
from .measuring import Measuring, effort_of
from .modelling import Modelling
from .recommending import Recommending
from .session import Session, Waiting
from .undoable_changes import UndoableChanges


class PanelLogic:
    """Put together by the logic, whose `panel` it is."""

    def __init__(
        self,
        session: Session,
        changes: UndoableChanges,
        recommending: Recommending,
        modelling: Modelling,
        measuring: Measuring,
        environment: Environment,
    ):
        self._session, self._changes, self._recommending = session, changes, recommending
        self._modelling, self._measuring, self._environment = modelling, measuring, environment

    # --- the worker -----------------------------------------------------------------------------------------------

    @property
    def at_work(self) -> str | None:
        """What is being worked on, for example 'train'; None when nothing is."""
        return self._session.jobs.at_work

    @property
    def worker_is_asked(self) -> bool:
        """True while the worker is at a call, and nothing more is needed of the scene before its result."""
        return self._session.jobs.is_waiting_for_worker

    @property
    def worker_is_running(self) -> bool:
        """True while the worker process is there; it is started when it is needed."""
        return self._session.jobs.is_running

    @property
    def worker_log(self) -> list[str]:
        """The worker's last words on stderr."""
        return self._session.jobs.log

    def forget_calls(self) -> None:
        """Tell nobody any more how a call ends that is being worked on: who waits for it goes."""
        self._session.jobs.forget()

    def install_packages(self) -> None:
        """See `Environment.install_packages`."""
        self._environment.install_packages()

    # --- volumes --------------------------------------------------------------------------------------------------

    def volumes(self) -> list:
        """Volumes of the scene that can be drawn on; confidences of results are none."""
        return [node for node in scene.volumes_of_scene() if not scene.is_confidence(node)]

    def show_volume(self, volume_node) -> None:
        """Show a volume in all slice views; those that showed another one are turned and fitted to it."""
        scene.show_volume(volume_node)

    def show_only_volume(self, volume_node, volume_nodes: Sequence) -> None:
        """Show what was drawn in one volume, and its newest result, and nothing of the other volumes."""
        scene.show_only_volume(volume_node, volume_nodes)

    def volumes_shown(self) -> list:
        """The volumes in the background of the slice views, each once."""
        return scene.volumes_shown()

    def watch_names(self, nodes: Sequence, on_renamed: Callable[[], None]) -> Callable[[], None]:
        """Call `on_renamed` whenever one of the nodes is given another name; returns a function that ends it."""
        return scene.watch_names(nodes, on_renamed)

    def watch_layers(self, on_changed: Callable[[], None]) -> Callable[[], None]:
        """Call `on_changed` whenever a slice view shows another volume; returns a function that ends it."""
        return scene.watch_layers(on_changed)

    def place_markers(self, volume_node) -> None:
        """Let the markers of `showMarkers` be seen only in the slice views that show the volume."""
        scene.place_markers(volume_node)

    def hide_markers(self) -> None:
        """Take the lines of `showMarkers` away."""
        scene.hide_markers()

    # --- recommending ---------------------------------------------------------------------------------------------

    def recommend(
        self,
        volume_nodes: Sequence,
        settings: SelectionSettings,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `recommendSlices` does, with its choices as one value."""
        return self._recommending.recommend(volume_nodes, settings, Waiting(waitForCompletion, onDone, onProgress))

    # --- the segmentation that is drawn in ------------------------------------------------------------------------

    def geometry_problem(self, volume_node, segmentation_node) -> str | None:
        """Why slices painted or marked in a segmentation are not slices of the volume; None when they are."""
        problem = scene.geometry_problem(segmentation_node, volume_node)
        if problem:
            return problem
        try:
            scene.stored_ledger(segmentation_node, volume_node)
        except BadInputError as error:
            return str(error)
        return None

    def marked_slice_count(self, segmentation_node) -> int:
        """How many slices have been marked as drawn or empty in a segmentation."""
        return scene.marked_slice_count(segmentation_node)

    def has_segments(self, volume_node) -> bool:
        """True when there is a segment to draw in."""
        segmentation = scene.annotated_segmentation(volume_node)
        return segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0

    def add_segments_like(self, volume_node, other_volume_node) -> list[str]:
        """Add to a volume's segmentation the segments of another volume's that it lacks, empty; returns their names.

        Names, colours and terminology are the same, so that one model learns them from both volumes.
        """
        other = scene.annotated_segmentation(other_volume_node)
        if other is None:
            raise BadInputError(f"'{other_volume_node.GetName()}' has no segmentation that is drawn in.")
        return scene.add_segments_like(scene.annotated_segmentation(volume_node, create=True), other)

    def segment_name(self, segmentation_node, segment_id: str) -> str:
        """Name of a segment; '' when there is none."""
        segment = (
            segmentation_node.GetSegmentation().GetSegment(segment_id) if segmentation_node and segment_id else None
        )
        return segment.GetName() if segment is not None else ""

    def segment_id(self, segmentation_node, name: str) -> str:
        """ID of the segment of that name; '' when there is none."""
        return segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name) if name else ""

    # --- the Segment Editor ---------------------------------------------------------------------------------------

    def segment_editor_node(self):
        """The node that holds the settings of the module's own Segment Editor."""
        return scene.segment_editor_node()

    def use_segment_editor(self, widget: Any | None) -> None:
        """Make changes of what this qMRMLSegmentEditorWidget shows steps of its undo; None: of none any more."""
        self._changes.segment_editor = widget

    def segment_editor_leaves(self) -> None:
        """Call it when the Segment Editor goes to another segmentation: it forgets the steps of the one before."""
        self._changes.segment_editor_leaves()

    def can_undo(self, volume_node) -> bool:
        """True when the module has changed the segmentation of this volume, and nobody has since."""
        return self._changes.can_undo(volume_node)

    def watch_drawing(
        self, segmentation_node, on_voxels: Callable[[], None], on_segments: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `on_voxels` whenever voxels of a segmentation change, `on_segments` when segments come, go or are named
        anew; returns a function that ends it."""
        return scene.watch_segmentation(segmentation_node, on_voxels, on_segments)

    # --- slices ---------------------------------------------------------------------------------------------------

    def readable_worklist(self, volume_nodes: Sequence) -> scene.ReadableWorklist:
        """The worklist of the volumes whose ledgers can be read, and what is wrong with the others."""
        return scene.readable_worklist(volume_nodes)

    def worklist_item(self, volume_node, plane: str, index: int) -> scene.WorklistItem:
        """A slice as an item of the worklist, whether or not the ledger names it."""
        return scene.worklist_item(volume_node, Plane.named(plane), index)

    def mark(self, volume_node, plane: str, index: int, state: SliceState, seconds: float | None) -> SliceState:
        """Mark a slice as drawn, empty or skipped; returns its state: one without any label counts as empty."""
        if state is SliceState.SKIPPED:
            return scene.mark_slice(volume_node, Plane.named(plane), index, state, seconds)
        mark = scene.mark_empty if state is SliceState.EMPTY else scene.mark_decided
        return mark(volume_node, Plane.named(plane), index, seconds)

    def slice_state(self, volume_node, plane: str, index: int) -> SliceState | None:
        """What the ledger says of a slice; None when it does not name it."""
        entry = scene.ledger_of(volume_node).entry(Plane.named(plane), index)
        return entry.state if entry is not None else None

    def slice_shown(self, volume_node, plane: str) -> int | None:
        """Index of the slice of a volume that the plane's slice view shows; None when it shows none."""
        return scene.slice_shown(volume_node, Plane.named(plane))

    def watch_views(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """Call `on_moved` whenever a slice view shows another slice; returns a function that ends it."""
        return scene.watch_slice_views(on_moved)

    def slice_masks(self, volume_node, plane: str, index: int) -> dict:
        """What is drawn on a slice: a (rows, columns) bool mask for each segment that has voxels there."""
        segmentation = scene.annotated_segmentation(volume_node)
        return (
            scene.slice_masks(segmentation, volume_node, Plane.named(plane), index) if segmentation is not None else {}
        )

    def slice_mark(self, volume_node, plane: str, index: int) -> int:
        """A number that changes with what is drawn on a slice; 0 when nothing is."""
        mark = 0
        for name, mask in sorted(self.slice_masks(volume_node, plane, index).items()):
            mark = zlib.crc32(mask.tobytes(), zlib.crc32(name.encode(), mark))
        return mark

    def changed_voxels(self, volume_node, plane: str, index: int, before: dict) -> int:
        """In how many voxels a slice differs from what `slice_masks` said before."""
        now = self.slice_masks(volume_node, plane, index)
        nothing = False
        return sum(int((now.get(name, nothing) ^ before.get(name, nothing)).sum()) for name in {*now, *before})

    def effort(self, volume_nodes: Sequence, plane: str = "axial") -> Effort:
        """Slices and seconds spent on the volumes, and what is saved; see `Effort.of`."""
        return effort_of(volume_nodes, Plane.named(plane))

    # --- runs and results -----------------------------------------------------------------------------------------

    def run_summaries(self) -> list[RunSummary]:
        """The runs in the cohort folder with date, cases and Dice, oldest first."""
        return self._modelling.run_summaries()

    def run_notes(self, run_name: str) -> tuple[str, ...]:
        """What the user should know about a trained run, as sentences."""
        return self._modelling.run_notes(run_name)

    def new_run_name(self) -> str:
        """A name that no run has yet: 'run 1', 'run 2', ..."""
        return self._modelling.new_run_name()

    def has_metrics(self, run_name: str) -> bool:
        """True when a run has made a step, so that `showCurves` has something to show."""
        return self._modelling.has_metrics(run_name)

    def latest_result(self, volume_node, of_run: bool):
        """The newest fill of a volume (or, with `of_run`, a model's newest result) in the scene; None without any."""
        return result_nodes.latest_result(volume_node, of_run)

    def show_only(self, result_node) -> None:
        """Show this result, and hide the other results of the same volume with their confidences."""
        for node in scene.results_of(scene.volume_of(result_node)):
            node.GetDisplayNode().SetVisibility(node is result_node)
            if node is not result_node and scene.confidence_of(node) is not None:
                scene.hide_confidence(scene.confidence_of(node))

    def discard(self, result_node) -> None:
        """Remove a result that is not wanted, with its confidence; what was drawn is never removed."""
        if scene.made_by(result_node) is None:
            raise BadInputError(f"'{result_node.GetName()}' is no result of SparseAnnotate, so it is not removed here.")
        confidence = scene.confidence_of(result_node)
        if confidence is not None:
            scene.hide_confidence(confidence)
            slicer.mrmlScene.RemoveNode(confidence)
        slicer.mrmlScene.RemoveNode(result_node)

    def hide_orphaned_overlays(self) -> None:
        """Take away from the slice views what `showConfidence` laid over them for results that are gone."""
        scene.hide_orphaned_overlays()

    # --- measuring ------------------------------------------------------------------------------------------------

    def measure(
        self,
        result_node,
        reference_node,
        volume_node,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `evaluate` says, computed in the worker, with a table node: a Measurement."""
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._measuring.measure(result_node, reference_node, volume_node, waiting)

    def figures_of(self, result_node, reference_node) -> scene.StoredFigures | None:
        """The newest figures of this pair that `measure` has put into the scene, also in an earlier session.

        None when it has not been measured, or one of the two has been changed since.
        """
        return scene.figures_of(result_node, reference_node)
