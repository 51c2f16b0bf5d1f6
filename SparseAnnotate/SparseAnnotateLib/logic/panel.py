"""The part of the logic that only the panel needs: watching the scene, and the state of the drawing."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import slicer

from .. import scene
from ..client import Job
from ..core import BadInputError, Effort, Plane, Progress, SliceState, SparseAnnotateError, VolumeGeometry
from ..core.messages import _
from ..runs.run_list import RunSummary
from ..selection import PlanSettings, SelectionSettings
from . import result_nodes
from .applying_results import ApplyingResults
from .case_channels import CaseChannels
from .correcting import Correcting
from .correction_report import CorrectionReport
from .dicom_export import DicomExport
from .environment import Environment
from .hosts import Hosts
from .live_learning import LiveLearning, SliceSuggestion
from .measuring import Measuring
from .modelling import Modelling
from .opened_cohort import CohortCase, OpenedCohort
from .recommending import Recommending
from .session import Session, Waiting
from .slice_starts import start_slice, starts_from_result
from .sources_of_voxels import SourcesOfVoxels, share_of_each
from .undoable_changes import UndoableChanges


class PanelLogic:
    """Created by `ConsoleLogic`, as its attribute `panel`.

    Attributes:
        channels: several volumes as one case.
        dicom: writes segmentations as DICOM SEG.
    """

    def __init__(
        self,
        session: Session,
        changes: UndoableChanges,
        applying: ApplyingResults,
        correcting: Correcting,
        recommending: Recommending,
        modelling: Modelling,
        learning: LiveLearning,
        opened: OpenedCohort,
        sources: SourcesOfVoxels,
        measuring: Measuring,
        environment: Environment,
        channels: CaseChannels,
        dicom: DicomExport,
        hosts: Hosts,
    ):
        self._session, self._changes, self._applying, self._correcting = session, changes, applying, correcting
        self._recommending = recommending
        self._modelling, self._learning, self._measuring = modelling, learning, measuring
        self._opened, self._sources = opened, sources
        self._environment = environment
        self.channels, self.dicom = channels, dicom
        self.hosts = hosts

    # --- the worker -----------------------------------------------------------------------------------------------

    @property
    def at_work(self) -> str | None:
        """The current job, for example 'train'; None if there is none."""
        return self._session.jobs.at_work

    @property
    def worker_is_asked(self) -> bool:
        """True while the worker processes a request and the scene is not needed before its result."""
        return self._session.jobs.is_waiting_for_worker

    @property
    def worker_is_running(self) -> bool:
        """True while the worker process exists; it is started when needed."""
        return self._session.jobs.is_running

    @property
    def worker_log(self) -> list[str]:
        """The last lines of the worker's log (stderr)."""
        return self._session.jobs.log

    def forget_calls(self) -> None:
        """Do not report the end of the current jobs any more, because the receiver is being deleted.

        What is being worked on in this process stops where it is: of a correction, the result keeps the voxels of the
        stroke only, and a result that is being applied is not applied.
        """
        self._opened.on_written = None
        try:
            self._correcting.stop_following()
        except SparseAnnotateError as error:
            logging.getLogger(__name__).warning(error.message)
        self._opened.leave()
        for jobs in (self._session.jobs, self._session.learning_jobs, self._session.host_jobs):
            jobs.abandon()

    def install_packages(self) -> None:
        """See `Environment.install_packages`."""
        self._environment.install_packages()

    # --- volumes --------------------------------------------------------------------------------------------------

    def volumes(self) -> list:
        """Volumes of the scene that can be drawn on; excludes the confidences of results."""
        return scene.volumes_to_draw_on()

    def show_volume(self, volume_node) -> None:
        """Show a volume in all slice views; views that showed another volume are rotated and fitted to it."""
        scene.show_volume(volume_node)

    def show_only_volume(self, volume_node, volume_nodes: Sequence) -> None:
        """Show the drawing and the latest result of one volume, and hide those of the other volumes."""
        scene.show_only_volume(volume_node, volume_nodes)

    def volumes_shown(self) -> list:
        """The volumes in the background of the slice views, each once."""
        return scene.volumes_shown()

    def watch_names(self, nodes: Sequence, on_renamed: Callable[[], None]) -> Callable[[], None]:
        """Call `on_renamed` whenever one of the nodes is renamed; returns a function that stops this."""
        return scene.watch_names(nodes, on_renamed)

    def watch_frames(self, volume_nodes: Sequence, on_changed: Callable[[], None]) -> Callable[[], None]:
        """Call `on_changed` whenever a volume shows another frame of a sequence; returns a function that stops this."""
        return scene.watch_frames(volume_nodes, on_changed)

    def watch_drawings_of_frames(self, volume_nodes: Sequence, on_changed: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_changed` with the name of a frame of a sequence whenever another Segment Editor than the panel's
        changes its drawing while no volume shows that frame; returns a function that stops this."""

        def check(node) -> None:
            frame = scene.drawings_of_frames(self.volumes()).get(node) if scene.is_in_other_editor(node) else ""
            if frame:
                on_changed(frame)

        stops = [
            scene.watch_segmentation(node, partial(check, node), lambda: None)
            for node in scene.drawings_of_frames(volume_nodes)
        ]

        def stop() -> None:
            for one in stops:
                one()

        return stop

    def frame_shown(self, volume_node) -> scene.Frame | None:
        """The frame of a sequence that a volume shows, which is a case of its own; None for any other volume."""
        return scene.frame_of(volume_node)

    def why_no_case(self, volume_node) -> str | None:
        """Why a volume of a cohort folder is not its case, because it shows a frame of a sequence; None if it is."""
        return scene.frame_problem(volume_node)

    def watch_layers(self, on_changed: Callable[[], None]) -> Callable[[], None]:
        """Call `on_changed` whenever a slice view shows another volume; returns a function that stops this."""
        return scene.watch_layers(on_changed)

    def place_markers(self, volume_node) -> None:
        """Show the markers of `showMarkers` only in the slice views that show the volume."""
        scene.place_markers(volume_node)

    def hide_markers(self) -> None:
        """Remove the lines of `showMarkers`."""
        scene.hide_markers()

    # --- the cohort folder ----------------------------------------------------------------------------------------

    def unopened_cases(self) -> list[CohortCase]:
        """The cases of an opened cohort folder that are not in the scene; none for a folder that was not opened."""
        return self._opened.unopened()

    def held_elsewhere(self) -> dict[str, str]:
        """The cases with slices to do that others have open, each with who draws there, in words."""
        return self._opened.held_elsewhere()

    def unopened_slices(self, cases: Sequence[CohortCase]) -> list[scene.WorklistItem]:
        """The slices to do of cases that have not been opened."""
        return [item for case in cases for item in scene.unopened_items(case.name, case.slices)]

    def in_order(self, items: Sequence[scene.WorklistItem]) -> list[scene.WorklistItem]:
        """Slices in the order of the worklist."""
        return scene.in_order(items)

    def watch_cohort(self, on_written: Callable[[], None]) -> None:
        """Call `on_written` whenever something has been written into the cohort folder, or could not be."""
        self._opened.on_written = on_written

    def keep_cohort(self) -> str:
        """Write into the cohort folder what has been drawn on its cases since; returns why that failed, or ''."""
        self._opened.update()
        return self._opened.problem

    def codes_problem(self) -> str:
        """Why the codes of structures were not written into the cohort folder with what was drawn; '' if they were."""
        return self._opened.codes_problem

    # --- recommending ---------------------------------------------------------------------------------------------

    def recommend(
        self,
        volume_nodes: Sequence,
        settings: SelectionSettings,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """The same as `recommendSlices`, with its settings as one value."""
        return self._recommending.recommend(volume_nodes, settings, Waiting(waitForCompletion, onDone, onProgress))

    def plan(
        self,
        volume_nodes: Sequence,
        settings: PlanSettings,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """The same as `planAnnotation`, with its settings as one value."""
        return self._recommending.plan(volume_nodes, settings, Waiting(waitForCompletion, onDone, onProgress))

    # --- the segmentation that is drawn in ------------------------------------------------------------------------

    def geometry_problem(self, volume_node, segmentation_node) -> str | None:
        """Why slices drawn or marked in a segmentation do not match the volume; None if they match."""
        problem = scene.geometry_problem(segmentation_node, volume_node)
        if problem:
            return problem
        try:
            scene.stored_ledger(segmentation_node, volume_node)
        except BadInputError as error:
            return error.message
        return None

    def marked_slice_count(self, segmentation_node) -> int:
        """How many slices have been marked as drawn or empty in a segmentation."""
        return scene.marked_slice_count(segmentation_node)

    def has_corrections(self, segmentation_node) -> bool:
        """True when something was corrected in results of a volume that is drawn on in this segmentation."""
        return scene.has_corrections(segmentation_node)

    def has_segments(self, volume_node) -> bool:
        """True if there is a segment to draw in."""
        segmentation = scene.annotated_segmentation(volume_node)
        return segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0

    def structures(self, volume_node) -> list[str]:
        """Names of the segments to draw in, each once."""
        segmentation = scene.annotated_segmentation(volume_node) if volume_node is not None else None
        return scene.structure_names(segmentation) if segmentation is not None else []

    def shared_structures(self, volume_node, result_node) -> list[str]:
        """Names of the segments that a result and the drawing of a volume share."""
        offered = scene.structure_names(result_node) if result_node is not None else []
        return [name for name in offered if name in self.structures(volume_node)]

    def apply(
        self,
        volume_node,
        result_node,
        structures: Sequence[str] | None,
        finished_too: bool = False,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
    ) -> list[str] | Job:
        """`applyFill` to some structures; those that seem to be finished are replaced only with `finished_too`."""
        waiting = Waiting(waitForCompletion, onDone)
        return self._applying.apply(volume_node, result_node, structures, finished_too, waiting)

    def add_segments_like(self, volume_node, other_volume_node) -> list[str]:
        """Add the segments of another volume that are missing in this one, empty; returns their names.

        Names, colours and terminology are the same, so that one model can be trained on both volumes.
        """
        other = scene.annotated_segmentation(other_volume_node)
        if other is None:
            raise BadInputError(
                _("'{volume}' has no segmentation to copy segments from.").format(volume=other_volume_node.GetName())
            )
        return scene.add_segments_like(scene.annotated_segmentation(volume_node, create=True), other)

    def segment_name(self, segmentation_node, segment_id: str) -> str:
        """Name of a segment; '' if it does not exist."""
        segment = (
            segmentation_node.GetSegmentation().GetSegment(segment_id) if segmentation_node and segment_id else None
        )
        return segment.GetName() if segment is not None else ""

    def segment_id(self, segmentation_node, name: str) -> str:
        """ID of the segment of this name; '' if it does not exist."""
        return segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name) if name else ""

    # --- corrections ----------------------------------------------------------------------------------------------

    def begin_correcting(
        self,
        volume_node,
        result_node,
        on_followed: Callable | None = None,
        on_painted: Callable[[], None] | None = None,
    ) -> None:
        """From now on, what is painted or erased in a result are corrections of it.

        `on_followed`: called with the CorrectionReport of a correction, or None and an error, when all of the result
        has followed; that happens from the event loop, the slices at hand first. None: before `take_strokes` returns.
        `on_painted`: calls `take_strokes`, when something was painted before the result has followed.
        """
        self._correcting.begin(volume_node, result_node, on_followed, on_painted)

    def read_for_correcting(
        self, volume_node, result_node, on_read: Callable, is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Read a result so that `begin_correcting` takes only a moment: a large one in pieces, from the event loop.

        `on_read`: called with an error, or None, when it has been read, for small volumes before this returns.
        `is_wanted`: asked before each piece; once it is False, no more is read.
        """
        self._correcting.read(volume_node, result_node, on_read, is_wanted)

    def is_following(self, volume_node) -> bool:
        """True while the result of a volume has not followed from all corrections."""
        return self._correcting.is_following(volume_node)

    def when_followed(self, volume_node, done: Callable) -> None:
        """Call `done` with None, or an error, when results of a volume have followed from all corrections."""
        self._correcting.when_followed(volume_node, done)

    def is_correcting(self, volume_node, result_node) -> bool:
        """True while what is painted or erased in a result are corrections of it."""
        return self._correcting.is_watching(volume_node, result_node)

    def end_correcting(self) -> None:
        """What is painted from now on are no corrections."""
        self._correcting.end()

    def take_strokes(
        self, volume_node, result_node, seconds: float, brush: scene.BrushPlace | None = None
    ) -> CorrectionReport | None:
        """Take what has been painted in a result since `begin_correcting` as corrections; None if nothing was.

        `brush`: where the last stroke ended, see `brush_over`.
        """
        return self._correcting.take_strokes(volume_node, result_node, seconds, brush)

    def confirm_under_brush(
        self, volume_node, result_node, brush: scene.BrushPlace, seconds: float
    ) -> CorrectionReport:
        """Say that what a result shows under the brush is right, see `brush_over`."""
        return self._correcting.confirm(volume_node, result_node, brush, seconds)

    def brush_over(self, result_node) -> scene.BrushPlace | None:
        """Where the brush of the Segment Editor is over a result that is being painted in; None if it is not."""
        if self._correcting.is_writing:
            return None
        return scene.brush_place(scene.segment_editor_node(), result_node)

    def can_undo_correction(self, volume_node) -> bool:
        """True if there is a correction to undo."""
        return self._correcting.can_undo(volume_node)

    def correction_count(self, volume_node) -> int:
        """How many corrections a volume has."""
        return self._correcting.count(volume_node)

    def corrections_mark(self, volume_node) -> str:
        """A text that changes with every correction of a volume, and differs between volumes; '' without any."""
        segmentation = scene.annotated_segmentation(volume_node)
        mark = scene.corrections_mark(segmentation) if segmentation is not None else ""
        return f"{volume_node.GetID()} {mark}" if mark else ""

    def slices_through(self, volume_node, place: Sequence[int]) -> dict[str, int]:
        """The slices through a voxel (K, J, I) of a volume: plane to index."""
        geometry = scene.geometry_of(volume_node)
        return {plane.value: int(place[plane.array_axis(geometry)]) for plane in Plane}

    def brush_for_correcting(self) -> Callable[[], None]:
        """Let the Segment Editor paint balls, and over all segments; returns a function that restores its settings."""
        return scene.brush_for_correcting(scene.segment_editor_node())

    def show_corrections(self, volume_node) -> None:
        """Outline the corrections of a volume in the slice views."""
        scene.show_corrections(volume_node, self._correcting.corrections(volume_node))

    def hide_corrections(self) -> None:
        """Remove the outlines of `show_corrections`."""
        scene.hide_corrections()

    def starts_from_result(self, start: str) -> bool:
        """Whether `start` initializes slices from a fill or a prediction."""
        return starts_from_result(start)

    def draw_as_corrected(self, volume_node, result_node, plane: str, index: int) -> None:
        """Copy a slice of a result into the drawing, to be marked as drawn."""
        start = scene.Start.FILL if scene.made_by(result_node) == scene.FILL else scene.Start.PREDICTION
        start_slice(self._changes, volume_node, Plane.named(plane), index, start)

    # --- the Segment Editor ---------------------------------------------------------------------------------------

    def segment_editor_node(self):
        """The node with the settings of the module's own Segment Editor."""
        return scene.segment_editor_node()

    def use_segment_editor(self, widget: Any | None) -> None:
        """Record changes in the undo history of this qMRMLSegmentEditorWidget; None: of no widget."""
        self._changes.segment_editor = widget

    def segment_editor_leaves(self) -> None:
        """Call this when the Segment Editor shows another segmentation, which clears its undo history."""
        self._changes.segment_editor_leaves()

    def can_undo(self, volume_node) -> bool:
        """True if the last change in the segmentation of this volume was made by the module."""
        return self._changes.can_undo(volume_node)

    def undo(self, volume_node) -> None:
        """Undo the last change of the module in the segmentation of this volume."""
        self._changes.undo(volume_node)
        self._opened.note_applied(volume_node)

    def watch_drawing(
        self, segmentation_node, on_voxels: Callable[[], None], on_segments: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `on_voxels` when voxels of a segmentation change, and `on_segments` when segments are added, removed or
        renamed; returns a function that stops this."""
        return scene.watch_segmentation(segmentation_node, on_voxels, on_segments)

    # --- slices ---------------------------------------------------------------------------------------------------

    def readable_worklist(
        self, volume_nodes: Sequence, earlier: scene.ReadableWorklist | None = None
    ) -> scene.ReadableWorklist:
        """The worklist of the volumes whose ledgers can be read, and the problems of the others.

        `earlier`: the one from before, of which what has not changed is taken.
        """
        return scene.readable_worklist(volume_nodes, earlier)

    def worklist_item(self, volume_node, plane: str, index: int) -> scene.WorklistItem:
        """A slice as an item of the worklist, whether or not it is in the ledger."""
        return scene.worklist_item(volume_node, Plane.named(plane), index)

    def mark(
        self,
        volume_node,
        plane: str,
        index: int,
        state: SliceState,
        seconds: float | None,
        structures: Sequence[str] | None = None,
    ) -> SliceState:
        """Mark a slice as drawn, empty, skipped or to do; returns its state: one without any label counts as empty.

        `structures`: names of the segments that it is marked for, None: all.
        """
        if state in (SliceState.SKIPPED, SliceState.TODO):
            found = scene.mark_slice(volume_node, Plane.named(plane), index, state, seconds)
            self._learning.update()
            self._opened.update()
            return found
        mark = scene.mark_empty if state is SliceState.EMPTY else scene.mark_decided
        found = mark(volume_node, Plane.named(plane), index, seconds, structures)
        self._learning.update(is_marked=True)
        self._opened.update(volume_node)
        self._correcting.slice_marked(volume_node)
        return found

    def slice_state(self, volume_node, plane: str, index: int) -> SliceState | None:
        """The state of a slice in the ledger; None if it is not in the ledger."""
        entry = scene.ledger_of(volume_node).entry(Plane.named(plane), index)
        return entry.state if entry is not None else None

    def slice_shown(self, volume_node, plane: str) -> int | None:
        """Index of the slice of a volume in the plane's slice view; None if it shows none."""
        return scene.slice_shown(volume_node, Plane.named(plane))

    def watch_views(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """Call `on_moved` whenever a slice view shows another slice; returns a function that stops this."""
        return scene.watch_slice_views(on_moved)

    def slice_masks(self, volume_node, plane: str, index: int) -> dict:
        """What is drawn on a slice: a (rows, columns) bool mask for each segment that has voxels there."""
        segmentation = scene.annotated_segmentation(volume_node)
        return (
            scene.slice_masks(segmentation, volume_node, Plane.named(plane), index) if segmentation is not None else {}
        )

    def grid(self, volume_node) -> VolumeGeometry:
        """The voxel grid of a volume, which decides where its slices lie."""
        return scene.geometry_of(volume_node)

    def slice_mark(self, volume_node, plane: str, index: int) -> int:
        """A checksum of what is drawn on a slice; 0 if nothing is drawn."""
        mark = 0
        for name, mask in sorted(self.slice_masks(volume_node, plane, index).items()):
            mark = zlib.crc32(mask.tobytes(), zlib.crc32(name.encode(), mark))
        return mark

    def changed_voxels(self, volume_node, plane: str, index: int, before: dict) -> int:
        """Number of voxels in which a slice differs from an earlier result of `slice_masks`."""
        now = self.slice_masks(volume_node, plane, index)
        nothing = False
        return sum(int((now.get(name, nothing) ^ before.get(name, nothing)).sum()) for name in {*now, *before})

    def effort(self, worklist: scene.ReadableWorklist, plane: str = "axial") -> Effort:
        """Slices and seconds spent on the volumes of a worklist, and saved; see `Effort.of`."""
        return worklist.effort(Plane.named(plane))

    # --- learning while slices are drawn --------------------------------------------------------------------------

    @property
    def is_learning(self) -> bool:
        """True from the start of the learning until its run has been stored."""
        return self._learning.is_learning

    def are_learned_from(self, volume_nodes: Sequence, active=None) -> bool:
        """See `LiveLearning.learns_from`."""
        return self._learning.learns_from(volume_nodes, active)

    def hand_on_drawn_slices(self) -> None:
        """Let the run that is learning know what has been drawn or corrected since, if anything has been."""
        self._learning.update()

    def is_suggestion_current(self, suggestion: SliceSuggestion) -> bool:
        """Whether the volume of a suggestion still shows the image that it was made for."""
        return self._learning.is_current(suggestion)

    # --- runs and results -----------------------------------------------------------------------------------------

    def run_summaries(self) -> list[RunSummary]:
        """The runs in the cohort folder with date, cases and Dice, oldest first."""
        return self._modelling.run_summaries()

    def run_notes(self, run_name: str) -> tuple[str, ...]:
        """Notes for the user on a trained run, as sentences."""
        return self._modelling.run_notes(run_name)

    def new_run_name(self) -> str:
        """An unused name for a run: 'run 1', 'run 2', ..."""
        return self._modelling.new_run_name()

    def has_metrics(self, run_name: str) -> bool:
        """True if a run has completed a step, so that `showCurves` has something to show."""
        return self._modelling.has_metrics(run_name)

    def image_difference(self, volume_node, run_name: str) -> str:
        """How a volume differs from those that a run has learned from, as a sentence; '' when it is like them."""
        return self._modelling.image_difference(volume_node, run_name)

    def latest_result(self, volume_node, of_run: bool | None = None):
        """The latest result of a volume in the scene, or the latest fill, or of a model; None if there is none."""
        return result_nodes.latest_result(volume_node, of_run)

    def show_only(self, result_node) -> None:
        """Show this result, and hide the other results of the same volume with their confidences."""
        for node in scene.results_of(scene.volume_of(result_node)):
            node.CreateDefaultDisplayNodes()  # where it was removed
            node.GetDisplayNode().SetVisibility(node is result_node)
            if node is not result_node and scene.confidence_of(node) is not None:
                scene.hide_confidence(scene.confidence_of(node))

    def provenance_is_current(self, volume_node) -> bool:
        """Whether what `showProvenance` shows of a volume is up to date; True when nothing is shown."""
        return self._sources.is_current(volume_node)

    def share_of_each_source(self, provenance) -> dict[str, float]:
        """Share of the labeled voxels by the name of their source, the most first."""
        return share_of_each(provenance)

    def discard(self, result_node) -> None:
        """Remove a result and its confidence; a drawing is never removed."""
        if scene.made_by(result_node) is None:
            raise BadInputError(
                _("'{name}' was not created by SparseAnnotate, so it is not removed here.").format(
                    name=result_node.GetName()
                )
            )
        confidence = scene.confidence_of(result_node)
        if confidence is not None:
            scene.hide_confidence(confidence)
            slicer.mrmlScene.RemoveNode(confidence)
        slicer.mrmlScene.RemoveNode(result_node)

    def hide_orphaned_overlays(self) -> None:
        """Remove the overlays of `showConfidence` from the slice views if their results no longer exist."""
        scene.hide_orphaned_overlays()
        scene.hide_provenance(only_orphans=True)

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
        """The same as `evaluate`, computed in the worker, with a table node: a Measurement."""
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._measuring.measure(result_node, reference_node, volume_node, waiting)

    def figures_of(self, result_node, reference_node) -> scene.StoredFigures | None:
        """The latest measures of this pair that `measure` has stored in the scene, also in an earlier session.

        None if the pair has not been measured, or one of the two has been changed since.
        """
        return scene.figures_of(result_node, reference_node)
