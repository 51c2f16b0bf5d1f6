"""A volume's segmentation and ledger as a sparse annotation, and its case in a cohort."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import slicer

from ..core import (
    BadInputError,
    BusyError,
    Cohort,
    Ledger,
    Plane,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
)
from ..core.annotation import DecidedSlices
from ..core.case_state import with_changes_elsewhere
from ..core.corrections import Corrections
from ..core.file_stamp import stamp_of
from ..core.messages import _, joined
from ..core.pieces import result_of
from ..core.slab_writing import written_in_slabs
from .channel_references import channel_names, further_channels
from .channel_volumes import channel_image_of, channels_stamp
from .corrections_store import corrections_mark, corrections_of, knows_of_corrections
from .labels_in_pieces import collecting_labels
from .ledger_store import ledger_text, store_ledger, stored_ledger
from .modality import modality_of
from .node_names import savable
from .node_stamps import drawing_stamp, voxel_stamp
from .opened_case import (
    OpenedCase,
    frame_problem,
    note_agreement,
    opened_case,
    require_all_structures,
    require_same_image,
)
from .segmentation_layers import segment_ids
from .segmentation_nodes import geometry_problem, labels_of, segment_names, structure_names
from .sequence_frames import Frame, frame_of
from .undecided_store import undecided_mark, undecided_of
from .volume_cases import case_of
from .volume_nodes import geometry_of, require_scalar_volume

_ATTEMPTS = 2
_SEGMENTATION_ROLE = "SparseAnnotate.Segmentation"
_SELF_ROLE = "SparseAnnotate.Self"
_FRAME_ATTRIBUTE = "SparseAnnotate.Frame"
_EXPORTED_ATTRIBUTE = "SparseAnnotate.Exported"
_EXPORTED_DRAWING_ATTRIBUTE = "SparseAnnotate.ExportedDrawing"
_EXPORTED_CORRECTIONS_ATTRIBUTE = "SparseAnnotate.ExportedCorrections"
_WRITTEN_ATTRIBUTE = "SparseAnnotate.WrittenDrawing"
# Modification times restart in every process, but attributes are saved with the scene.
_PROCESS = uuid.uuid4().hex


def annotated_segmentation(volume_node, create: bool = False):
    """The segmentation in which slices of the volume are drawn; the volume node refers to it.

    When there is none yet, returns None, or creates one with `create`. Other segmentations on the volume are never
    chosen automatically, because they may be references or results; see `use_segmentation`. Each frame of a sequence
    has its own segmentation.
    """
    require_scalar_volume(volume_node)
    frame = frame_of(volume_node)
    node = _owner(volume_node, frame).GetNodeReference(_role(frame))
    if node is not None and frame is None and _is_clone(volume_node, node):
        node = None
    if node is not None or not create:
        return node
    name = (
        f"{volume_node.GetName()} annotation" if frame is None else f"{volume_node.GetName()} {frame.value} annotation"
    )
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", savable(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    use_segmentation(volume_node, node)
    return node


def annotated_among(volume_nodes: Iterable, segmentation_nodes: Iterable) -> set:
    """Those of some segmentations in which slices of the volumes are drawn, also of frames that are not shown."""
    among = set(segmentation_nodes)
    found: set = set()
    for node in volume_nodes:
        frame = frame_of(node)
        if frame is not None:
            found |= {node.GetNodeReference(_SEGMENTATION_ROLE), *_drawings_of_frames(frame.sequence)}
        elif node.GetNodeReference(_SEGMENTATION_ROLE) in among:  # of hundreds of volumes, few
            found.add(annotated_segmentation(node))
    return among & found


def drawings_of_frames(volume_nodes: Iterable) -> dict:
    """The segmentations in which frames of sequences are drawn: node to the name of a frame that no volume shows now.

    '' for a frame that is shown, and for a segmentation that itself shows the frames of a sequence.
    """
    frames = [frame for frame in map(frame_of, volume_nodes) if frame is not None]
    shown = [frame.sequence.GetNodeReference(_role(frame)) for frame in frames]
    drawings = dict.fromkeys(node for frame in frames for node in _drawings_of_frames(frame.sequence))
    return {
        node: "" if node in shown or frame_of(node) is not None else node.GetAttribute(_FRAME_ATTRIBUTE) or ""
        for node in drawings
        if node is not None
    }


def _drawings_of_frames(sequence) -> list:
    """The segmentations in which the frames of a sequence are drawn."""
    roles = [sequence.GetNthNodeReferenceRole(number) for number in range(sequence.GetNumberOfNodeReferenceRoles())]
    return [sequence.GetNodeReference(role) for role in roles if role.startswith(f"{_SEGMENTATION_ROLE}.")]


def _owner(volume_node, frame: Frame | None):
    """The node that refers to the drawing: for a frame the sequence, as several volume nodes may show the frame."""
    return volume_node if frame is None else frame.sequence


def _role(frame: Frame | None) -> str:
    return _SEGMENTATION_ROLE if frame is None else f"{_SEGMENTATION_ROLE}.{frame.key}"


def _is_clone(volume_node, segmentation_node) -> bool:
    """True for a clone of the volume that the segmentation was chosen for: cloning copies a node's references."""
    chosen_for = volume_node.GetNodeReferenceID(_SELF_ROLE)
    if chosen_for:
        return chosen_for != volume_node.GetID()
    # Scenes of the first version.
    other = segmentation_node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    return (
        other is not None
        and other is not volume_node
        and other.GetNodeReference(_SEGMENTATION_ROLE) is segmentation_node
    )


def use_segmentation(volume_node, segmentation_node) -> None:
    """Draw slices of the volume in this segmentation from now on. Several volumes on one grid may share it.

    Raises BadInputError when it is stored as surfaces, its voxel grid differs from the volume's, or slices of another
    frame of a sequence have been marked in it.
    """
    require_scalar_volume(volume_node)
    problem = geometry_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    ledger = stored_ledger(segmentation_node, volume_node)
    frame, drawn_on = frame_of(volume_node), segmentation_node.GetAttribute(_FRAME_ATTRIBUTE) or ""
    shown = str(frame) if frame else ""
    # A drawing from before the volume became part of a sequence may be chosen for the frame it belongs to.
    is_its_own = volume_node.GetNodeReference(_SEGMENTATION_ROLE) is segmentation_node
    if ledger.decided and drawn_on != shown and (drawn_on or not is_its_own):
        raise BadInputError(_other_frame_sentence(segmentation_node, volume_node, drawn_on, shown))
    ledger.check_fits(
        geometry_of(volume_node), _("The ledger of '{segmentation}'").format(segmentation=segmentation_node.GetName())
    )
    if frame is not None:
        segmentation_node.SetAttribute(_FRAME_ATTRIBUTE, shown)
    else:
        segmentation_node.RemoveAttribute(_FRAME_ATTRIBUTE)
        volume_node.SetNodeReferenceID(_SELF_ROLE, volume_node.GetID())
    _owner(volume_node, frame).SetNodeReferenceID(_role(frame), segmentation_node.GetID())


def _other_frame_sentence(segmentation_node, volume_node, drawn_on: str, shown: str) -> str:
    """Why a segmentation drawn on one frame cannot be used for another; '' stands for a volume without a sequence."""
    if not shown:
        text = _(
            "The segmentation '{segmentation}' has marked slices of the {drawn_on}, but '{volume}' does not belong to "
            "a sequence. Choose another segmentation, or the volume that shows this frame."
        )
    elif not drawn_on:
        text = _(
            "The segmentation '{segmentation}' has marked slices of a volume that does not belong to a sequence, but "
            "'{volume}' shows the {shown}. Choose another segmentation, or the volume that it was drawn on."
        )
    else:
        text = _(
            "The segmentation '{segmentation}' has marked slices of the {drawn_on}, but '{volume}' shows the {shown}. "
            "Choose another segmentation, or show the frame that it was drawn on."
        )
    return text.format(
        segmentation=segmentation_node.GetName(), volume=volume_node.GetName(), drawn_on=drawn_on, shown=shown
    )


def ledger_of(volume_node) -> Ledger:
    """The ledger of a volume: its recommended, drawn, empty and skipped slices."""
    segmentation = annotated_segmentation(volume_node)
    return stored_ledger(segmentation, volume_node) if segmentation is not None else Ledger()


def ledger_stamp(volume_node) -> tuple | None:
    """A value that changes with all that `ledger_of` reads, and with the volume's grid.

    None for frames of a sequence, and while a node does not report its changes: then the ledger must be read again.
    """
    if volume_node.GetDisableModifiedEvent() or frame_of(volume_node) is not None:
        return None
    segmentation = volume_node.GetNodeReference(_SEGMENTATION_ROLE)
    if segmentation is None:
        image = volume_node.GetImageData()
        return (volume_node.GetMTime(), image.GetMTime()) if image is not None else None
    # Without this reference another volume decides whether it is a clone.
    return drawing_stamp(segmentation, volume_node) if volume_node.GetNodeReferenceID(_SELF_ROLE) else None


def annotation_of(
    volume_node,
    segmentation_node,
    values: dict[str, int] | None = None,
    winners: Sequence[str] | None = None,
) -> SparseAnnotation:
    """The sparse annotation of a volume, with its corrections.

    `values` gives the label of each segment name (1, 2, ... by default).

    Raises BadInputError when there is no segmentation or segment, the grids differ, or segments overlap on drawn
    slices and `winners` does not say which one wins.
    """
    return result_of(reading_annotation(volume_node, segmentation_node, values, winners))


def reading_annotation(
    volume_node,
    segmentation_node,
    values: dict[str, int] | None = None,
    winners: Sequence[str] | None = None,
) -> Generator[None, None, SparseAnnotation]:
    """`annotation_of` in pieces; it is read once more when it was changed between two of them."""
    for _attempt in range(_ATTEMPTS):
        before = _drawing_state(segmentation_node)
        found = yield from _reading_once(volume_node, segmentation_node, values, winners)
        if _drawing_state(segmentation_node) == before:
            return found
    return result_of(_reading_once(volume_node, segmentation_node, values, winners))


def _drawing_state(segmentation_node) -> tuple:
    """A value that changes whenever something changes that an annotation is made from."""
    if segmentation_node is None:
        return ()
    marks = corrections_mark(segmentation_node), undecided_mark(segmentation_node)
    return ledger_text(segmentation_node), *marks, voxel_stamp(segmentation_node), structure_names(segmentation_node)


def _reading_once(
    volume_node, segmentation_node, values: dict[str, int] | None, winners: Sequence[str] | None
) -> Generator[None, None, SparseAnnotation]:
    """The annotation, in pieces; without meaning when something was changed between two of them."""
    if segmentation_node is None:
        frame = frame_of(volume_node)
        advice = _("Recommend slices, draw them in a segmentation, and mark them as drawn.")
        nothing = (
            _("The {frame} has no drawn slices yet.").format(frame=str(frame))
            if frame
            else _("Nothing has been drawn on '{volume}' yet.").format(volume=volume_node.GetName())
        )
        raise BadInputError(joined(" ", [nothing, advice]))
    problem = geometry_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    geometry, ledger = geometry_of(volume_node), stored_ledger(segmentation_node, volume_node)
    ledger.check_fits(geometry, _("The ledger of '{segmentation}'").format(segmentation=segmentation_node.GetName()))
    values = values or label_values(segmentation_node)
    # Only decided slices are used, so overlaps elsewhere do not matter.
    where = DecidedSlices(ledger, geometry)
    counting = _where_decided(ledger, geometry, values)
    labels = yield from collecting_labels(segmentation_node, volume_node, values, winners, where, counting)
    if labels is None:
        labels = labels_of(segmentation_node, volume_node, values, winners, where, counting=counting)
    names = {value: name for name, value in values.items()}
    corrections = corrections_of(segmentation_node, volume_node, values)
    undecided = undecided_of(segmentation_node, volume_node, labels)
    return SparseAnnotation(labels, ledger, geometry, undecided, names, corrections, is_own=True)


def _where_decided(ledger: Ledger, geometry: VolumeGeometry, names: Iterable[str]) -> dict[str, dict[int, list[int]]]:
    """For each structure that some decided slices say nothing about, the slices that decide it, by array axis."""
    found = {}
    for name in names:
        deciding = Ledger(tuple(e for e in ledger.decided if e.structures is None or name in e.structures))
        if len(deciding.entries) < len(ledger.decided):
            found[name] = {plane.array_axis(geometry): deciding.indices(plane) for plane in Plane}
    return found


def label_values(segmentation_node) -> dict[str, int]:
    """Label value of each segment name: 1, 2, ... in the order of the segments."""
    return {name: value for value, name in enumerate(segment_names(segmentation_node), start=1)}


def position_in_scene(volume_node) -> int:
    """Place of a volume among the volumes of the scene, from 0."""
    return slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode").index(volume_node)


def _exporting_corrections(
    cohort: Cohort, volume_node, corrections: Corrections | None, are_known: bool
) -> Iterator[float]:
    """Write the corrections of a case into the cohort step by step, unless they are the same there.

    Those that were made elsewhere stay as long as the scene knows of none (`are_known`), and has written none.
    """
    name = case_of(volume_node)
    mark = f"{cohort.folder}|{name}"
    if not are_known and volume_node.GetAttribute(_EXPORTED_CORRECTIONS_ATTRIBUTE) != mark:
        return
    try:
        stored = cohort.corrections(name)
    except SparseAnnotateError:  # damaged, or of a structure that is not there any more: replaced
        is_same = False
    else:
        is_same = (stored.strokes if stored else ()) == (corrections.strokes if corrections else ())
    if not is_same:
        yield from cohort.saving_corrections(name, corrections)
    volume_node.SetAttribute(_EXPORTED_CORRECTIONS_ATTRIBUTE, mark)


def knowledge_mark(volume_node) -> str:
    """A text that changes whenever a slice of a volume is marked or cleared, or something in it is corrected."""
    segmentation = annotated_segmentation(volume_node)
    if segmentation is None:
        return ""
    decided = stored_ledger(segmentation, volume_node).decided
    marked = sorted((entry.key, entry.state.value, entry.structures or ()) for entry in decided)
    return f"{segmentation.GetID()} {marked} {corrections_mark(segmentation)}"


def drawing_mark(volume_node) -> str:
    """A text that changes whenever a slice of an opened volume is recommended, marked or cleared, or is corrected."""
    # Not `annotated_segmentation`, which looks for sequences: this is asked of hundreds of volumes with every click.
    segmentation = volume_node.GetNodeReference(_SEGMENTATION_ROLE)
    return f"{ledger_text(segmentation)} {corrections_mark(segmentation)}" if segmentation is not None else ""


def written_mark(volume_node) -> str:
    """The `drawing_mark` of what was written of an opened volume last."""
    return volume_node.GetAttribute(_WRITTEN_ATTRIBUTE) or ""


def names_to_add(volume_node, segmentation_node) -> list[str]:
    """The names of segments that a cohort needs label values for before what is drawn is written into it."""
    names, opened = segment_names(segmentation_node), opened_case(volume_node)
    if opened is None:
        return names
    # Values of the structures of an opened volume are found when it is written, as each may have another name.
    return []


def image_stamp(volume_node) -> str:
    """A text that changes with the voxels and the grid of a volume, and with the frame that it shows."""
    own = f"{case_of(volume_node)}|{volume_node.GetImageData().GetMTime()}|{hash(geometry_of(volume_node))}"
    further = channels_stamp(volume_node)
    return f"{own}|{further}" if further else own


def is_exported(cohort: Cohort, volume_node) -> bool:
    """Whether the image of a volume as it is now has been written into a cohort, and its files are still those."""
    opened = opened_case(volume_node)
    if opened is not None:
        return opened.folder == os.path.realpath(cohort.folder) and cohort.has_case(opened.case)
    stamp = _export_stamp(cohort, volume_node)
    return volume_node.GetAttribute(_EXPORTED_ATTRIBUTE) == f"{stamp}|{_files_stamp(cohort, volume_node)}"


def _export_stamp(cohort: Cohort, volume_node) -> str:
    return f"{_PROCESS}|{cohort.folder}|{image_stamp(volume_node)}"


def _files_stamp(cohort: Cohort, volume_node) -> str:
    """A text that changes when the files of the images that were written of a volume are replaced or removed."""
    name = case_of(volume_node)
    if not cohort.has_case(name):
        return "none"
    first, *_others = paths = cohort.channel_paths(name)
    written = [first, *(channel for channel in further_channels(volume_node) if channel in paths)]
    try:
        return str([stamp_of(paths[channel]) for channel in written])
    except OSError:
        return "missing"


def exporting_case(
    cohort: Cohort, volume_node, segmentation_node, values: dict[str, int] | None, wait_seconds: float = 10.0
) -> Generator[float, None, str]:
    """Write a volume, and its drawn slices if it has any, into a cohort step by step; returns the case's name.

    Yields the share written of each file. Data that has not changed since it was last written is not written again.
    Of a volume that was opened from this cohort, the image is never written, and its ledger also gets the slices that
    others have recommended there since.

    Raises BadInputError when such a volume's image has changed, structures or slices of it would be lost, or its case
    was changed elsewhere; BusyError when another process works in its folder for longer than `wait_seconds`.
    """
    opened = opened_case(volume_node)
    if opened is not None:
        return (yield from _exporting_opened(cohort, volume_node, opened, wait_seconds))
    name = case_of(volume_node)
    geometry = geometry_of(volume_node)
    stamp = _export_stamp(cohort, volume_node)
    if not is_exported(cohort, volume_node):
        names = channel_names(volume_node)
        cohort.use_channels(names)
        kinds = {next(iter(names), ""): modality_of(volume_node)}
        kinds |= {channel: modality_of(node) for channel, node in further_channels(volume_node).items()}
        cohort.note_modalities(name, kinds)
        further = {}
        for channel in further_channels(volume_node):
            further[channel] = cohort.path_for_channel(name, channel)
            yield from written_in_slabs(further[channel], channel_image_of(volume_node, channel), geometry)
        # Channels that were added in the cohort folder, and of which the scene does not know.
        kept = [channel for channel in cohort.channels[1:] if channel not in names]
        array = slicer.util.arrayFromVolume(volume_node)
        yield from cohort.adding_case(name, array, geometry, further=further, kept=kept)
        # What is drawn in the scene belongs to the image in the scene.
        cohort.forget_image(name)
        volume_node.SetAttribute(_EXPORTED_ATTRIBUTE, f"{stamp}|{_files_stamp(cohort, volume_node)}")
    exported = volume_node.GetAttribute(_EXPORTED_ATTRIBUTE)
    if segmentation_node is not None:
        ledger = stored_ledger(segmentation_node, volume_node)
        drawn = (
            f"{exported}|{segmentation_node.GetID()}|{voxel_stamp(segmentation_node)}|{sorted((values or {}).items())}"
        )
        if volume_node.GetAttribute(_EXPORTED_DRAWING_ATTRIBUTE) != drawn or cohort.ledger(name) != ledger:
            annotation = yield from _yielding(0.0, reading_annotation(volume_node, segmentation_node, values))
            yield 0.0
            if not is_exported(cohort, volume_node):
                raise BusyError(
                    _("The image of '{volume}' was changed while it was being written to '{path}'. Try again.").format(
                        volume=volume_node.GetName(), path=cohort.image_path(name)
                    )
                )
            yield from cohort.saving_annotation(name, annotation, slicer.util.arrayFromVolume(volume_node))
            volume_node.SetAttribute(_EXPORTED_DRAWING_ATTRIBUTE, drawn)
        found = corrections_of(segmentation_node, volume_node, values or label_values(segmentation_node))
        yield from _exporting_corrections(cohort, volume_node, found, knows_of_corrections(segmentation_node))
    else:
        yield from _exporting_corrections(cohort, volume_node, None, False)
        if cohort.ledger(name).decided:
            # Slices that were exported before are no longer drawn.
            nothing = np.zeros(geometry.shape, dtype=np.uint8)
            yield from cohort.saving_annotation(name, SparseAnnotation(nothing, Ledger(), geometry))
    return name


def _yielding(share: float, steps: Generator[None, None, SparseAnnotation]) -> Generator[float, None, SparseAnnotation]:
    """The result of steps, with a share after each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: SparseAnnotation = end.value
            return found
        yield share


def _exporting_opened(
    cohort: Cohort, volume_node, opened: OpenedCase, wait_seconds: float
) -> Generator[float, None, str]:
    """Write what is drawn on an opened volume back into its cohort; see `exporting_case`."""
    if opened.folder != os.path.realpath(cohort.folder):
        raise BadInputError(
            _(
                "The volume '{volume}' belongs to the cohort in '{folder}', not to the one in '{other}'. Choose that "
                "cohort folder, or work on a clone of the volume, which is a case of its own."
            ).format(volume=volume_node.GetName(), folder=opened.folder, other=cohort.folder)
        )
    problem = frame_problem(volume_node)
    if problem is not None:
        raise BadInputError(problem)
    segmentation = annotated_segmentation(volume_node)
    if segmentation is None:
        raise BadInputError(
            _(
                "The segmentation that was drawn in on '{volume}' is no longer in the scene. What the cohort folder "
                "has of it is kept. Open the case again."
            ).format(volume=volume_node.GetName())
        )
    named = segment_names(segmentation) if segment_ids(segmentation) else []
    by_id = dict(zip(segment_ids(segmentation), named, strict=True))
    known = {name: value for value, name in cohort.labels.items()}
    # A label without a name is shown by its value.
    known |= {by_id[one]: v for one, v in opened.structures.items() if one in by_id and v not in cohort.labels}
    new = [name for name in named if name not in known]
    if new:
        # Before the cohort gets names that another one has already.
        require_all_structures(volume_node, opened, by_id, cohort, stored_ledger(segmentation, volume_node))
        known |= cohort.add_labels(new, wait_seconds)
    wanted = {name: known[name] for name in named}
    drawn = f"{_PROCESS}|{cohort.folder}|{segmentation.GetID()}|{voxel_stamp(segmentation)}|{sorted(wanted.items())}"

    def now() -> tuple[SparseAnnotation | None, Corrections | None]:
        require_same_image(volume_node, opened, cohort)
        own = stored_ledger(segmentation, volume_node)
        require_all_structures(volume_node, opened, by_id, cohort, own)
        ledger = with_changes_elsewhere(opened.case, own, opened.agreed, cohort)
        if ledger != own:
            store_ledger(segmentation, volume_node, ledger)
        # What changes from now on is written the next time.
        volume_node.SetAttribute(_WRITTEN_ATTRIBUTE, drawing_mark(volume_node))
        theirs = cohort.ledger(opened.case)
        ledger = _as_in_folder(ledger, theirs, named, set(opened.structures) == set(by_id))
        corrections = corrections_of(segmentation, volume_node, wanted) if wanted else None
        if not knows_of_corrections(segmentation):
            corrections = cohort.corrections(opened.case)
        if volume_node.GetAttribute(_EXPORTED_DRAWING_ATTRIBUTE) == drawn and theirs == ledger:
            return None, corrections
        if wanted:
            annotation = replace(annotation_of(volume_node, segmentation, wanted), ledger=ledger, corrections=None)
        else:
            nothing = np.zeros(geometry_of(volume_node).shape, dtype=np.uint8)
            annotation = SparseAnnotation(nothing, ledger, geometry_of(volume_node))
        # The grid of the file, whose last digits Slicer may not keep.
        annotation = replace(annotation, geometry=cohort.geometry(opened.case))
        if theirs == ledger:  # otherwise, reading a large volume would be in vain
            stored = replace(cohort.annotation(opened.case, on_any_image=True), corrections=None)
            if _is_same(annotation, stored):
                return None, corrections
        return annotation, corrections

    def agree() -> None:
        note_agreement(volume_node, segmentation, cohort, {one: wanted[name] for one, name in by_id.items()})

    # An image that was saved again is compared by its voxels: here in pieces, so that it is known in `now`.
    yield from cohort.finding_voxel_marks(opened.case, unless=opened.file)
    yield from cohort.saving_case(opened.case, now, agree, wait_seconds)
    volume_node.SetAttribute(_EXPORTED_DRAWING_ATTRIBUTE, drawn)
    return opened.case


def _as_in_folder(ledger: Ledger, theirs: Ledger, names: list[str], are_all_as_opened: bool) -> Ledger:
    """A ledger as the folder writes it: 'all structures' where it says so, and names that no segment has.

    Args:
        names: of all segments. are_all_as_opened: whether these are the structures that the case was opened with.
    """
    entries = []
    for entry in ledger.entries:
        before, structures = theirs.entry(entry.plane, entry.index), entry.structures
        if before is not None and structures is not None and entry.state is before.state:
            if before.structures is None:
                if are_all_as_opened and set(structures) == set(names):
                    structures = None
            else:
                gone = [name for name in before.structures if name not in names]
                kept = [name for name in before.structures if name in structures or name in gone]
                structures = (*kept, *(name for name in structures if name not in kept))
        entries.append(replace(entry, structures=structures))
    return Ledger(tuple(entries))


def _is_same(one: SparseAnnotation, other: SparseAnnotation) -> bool:
    """Whether two annotations of a case with the same ledger say the same."""
    nothing = np.zeros(0, dtype=bool)
    undecided, others = (nothing if a.undecided is None else a.undecided for a in (one, other))
    return np.array_equal(undecided, others) and np.array_equal(one.drawn_labels(), other.drawn_labels())
