"""Opening a case of a cohort folder in the scene: its image, what is drawn, its references and results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..core import BusyError, Cohort, CohortError, Ledger, SparseAnnotateError, SparseAnnotation, VolumeGeometry
from ..core.applied_segmentation import AppliedSegmentation
from ..core.case_state import CaseState
from ..core.corrections import Corrections
from ..core.dicom_source import known_codes
from ..core.drawn_on import changed_images_sentence
from ..core.image_fingerprint import joined_fingerprint
from ..core.images import read_facts, read_labels, read_percent
from ..core.messages import _
from ..core.origin import Origin, belongs_to, stale_sentence
from ..core.structure_colors import known_colors
from ..core.structure_values import names_from_facts
from .annotations import use_segmentation
from .applied_case import drawing_with_applied, noting_applied
from .channel_references import channels_checksum
from .channel_volumes import set_channels
from .confidence import new_confidence
from .corrections_store import store_corrections
from .ledger_store import store_ledger
from .modality import modality_of
from .new_segmentations import new_segmentation
from .node_names import savable
from .opened_case import OpenedCase, note_opened
from .results import FILL, origin_now, set_made_by, set_method, store_origin
from .segment_looks import keep_looks, looks_of, present_segments
from .segmentation_layers import segment_ids
from .segmentation_nodes import segment_names
from .undecided_store import store_undecided
from .volume_nodes import vtk_matrix

_ATTEMPTS = 3


@dataclass(eq=False)
class OpenedNodes:
    """What was opened of a case.

    Attributes:
        volume: the node of its image. drawing: the segmentation to draw in. reference: its reference, or None.
        results: made from what is drawn now. channels: the nodes of the further channels by name.
        notes: on what was not opened, as sentences.
    """

    volume: Any = None
    drawing: Any = None
    reference: Any = None
    results: list = field(default_factory=list)
    channels: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def opening_case(cohort: Cohort, case: str, nodes: OpenedNodes) -> Iterator[None]:
    """Open a case step by step; `nodes` has what has been opened so far.

    Raises BadInputError or CohortError when image or annotation cannot be read; then nothing stays in the scene.
    """
    try:
        yield from _opening(cohort, case, nodes)
    except BaseException:
        for node in (*nodes.results, nodes.reference, nodes.drawing, *nodes.channels.values(), nodes.volume):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        raise


def _opening(cohort: Cohort, case: str, nodes: OpenedNodes) -> Iterator[None]:
    marks = cohort.image_marks(case)
    file = joined_fingerprint(list(marks.items()))
    array, geometry = cohort.image(case)
    if cohort.image_fingerprint(case) != file:
        raise BusyError(_("The image of the case '{case}' is being replaced. Open it again.").format(case=case))
    yield
    first = next(iter(marks.values()))
    for _step in cohort.keeping_voxels(case, array, first):  # saving what is drawn needs not read them then
        yield
    change = cohort.image_change(case)
    if change is not None:
        nodes.notes.append(changed_images_sentence({case: change}))
    for _attempt in range(_ATTEMPTS):
        state, labels = CaseState.of(cohort, case), cohort.labels
        annotation, corrections = cohort.annotation(case, on_any_image=True), cohort.corrections(case)
        if CaseState.of(cohort, case) == state:
            break
    else:
        raise BusyError(
            _("The case '{case}' is being changed by another process. Open it when that has finished.").format(
                case=case
            )
        )
    yield
    names = with_unnamed(labels, annotation.label_values())
    nodes.volume = _volume_node(case, array, geometry.matrix)
    yield
    for channel in cohort.channels[1:]:
        if channel in cohort.channel_paths(case):
            yield from _noting(nodes, partial(_open_channel, nodes, cohort, case, channel, geometry))
            if channel in nodes.channels:
                shown = slicer.util.arrayFromVolume(nodes.channels[channel])
                for _step in cohort.keeping_voxels(case, shown, marks[channel], channel):
                    yield
        else:
            nodes.notes.append(
                _("The case '{case}' has no image of the channel '{channel}'.").format(case=case, channel=channel)
            )
    if cohort.channels:
        set_channels(nodes.volume, {cohort.channels[0]: nodes.volume, **nodes.channels}, cohort.channels)
    in_scene = _with_structures(annotation, tuple(names.values()))
    # What was corrected is not part of the drawing.
    drawn = replace(in_scene, corrections=None)
    applied = _applied_to(nodes, cohort, case)
    yield
    if applied is None:
        shown = drawn.drawn_labels()
    else:
        shown, notes = drawing_with_applied(applied, drawn, names)
        nodes.notes += notes
    yield
    nodes.drawing = _drawing(nodes.volume, in_scene, shown, names, corrections)
    # Each has a file of its own, and a damaged one is no reason to leave out the other.
    yield from _noting(nodes, lambda: present_segments(nodes.drawing, known_codes(cohort), {}))
    yield from _noting(nodes, lambda: present_segments(nodes.drawing, {}, known_colors(cohort)))
    keep_looks(nodes.drawing, looks_of(nodes.drawing))
    if applied is not None:
        yield from noting_applied(nodes.volume, nodes.drawing, applied, _values_of(nodes.drawing, names))
    gone = {n for entry in annotation.ledger.entries for n in entry.structures or ()} - set(names.values())
    if gone:
        nodes.notes.append(
            _(
                "The case '{case}' has slices that were marked for structures that the cohort does not have: {names}."
            ).format(case=case, names=", ".join(sorted(gone)))
        )
    yield
    if cohort.has_reference(case):
        yield from _noting(nodes, partial(_open_reference, nodes, cohort, case))
    results = {FILL: (cohort.fill_path(case), cohort.fill_confidence_path(case))}
    for run in cohort.runs():
        results[run] = cohort.prediction_path(run, case), cohort.uncertainty_path(run, case, "confidence")
    for made_by, (path, confidence) in results.items():
        if path.is_file():
            yield from _noting(nodes, partial(_open_result, nodes, cohort, case, annotation, made_by, path, confidence))
    # Last, so that nothing is written of a case that is being opened.
    identifiers = _values_of(nodes.drawing, names)
    opened = OpenedCase(
        os.path.realpath(cohort.folder),
        case,
        channels_checksum(nodes.volume),
        file,
        state,
        identifiers,
        cohort.voxel_fingerprint(case, read=False),
    )
    note_opened(nodes.volume, nodes.drawing, opened)


def _noting(nodes: OpenedNodes, open_it: Callable[[], None]) -> Iterator[None]:
    """Open something without which the case can be drawn on, too: an error becomes a note."""
    try:
        open_it()
    except SparseAnnotateError as error:
        nodes.notes.append(error.message)
    yield


def _open_channel(nodes: OpenedNodes, cohort: Cohort, case: str, channel: str, geometry: VolumeGeometry) -> None:
    array = cohort.channel_image(case, channel, geometry)
    nodes.channels[channel] = _volume_node(f"{case} {channel}", array, geometry.matrix)


def _volume_node(name: str, array: np.ndarray, ijk_to_ras: np.ndarray):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", savable(name))
    node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    slicer.util.updateVolumeFromArray(node, array)
    return node


def _values_of(drawing, names: Mapping[int, str]) -> dict[str, int]:
    """The label value of each segment ID of the segmentation that `_drawing` has made."""
    return dict(zip(segment_ids(drawing), names, strict=True))


def _applied_to(nodes: OpenedNodes, cohort: Cohort, case: str) -> AppliedSegmentation | None:
    """What was applied to a case; None, with a note, when it cannot be used, or belongs to another image."""
    try:
        applied = AppliedSegmentation.read(cohort, case)
    except SparseAnnotateError as error:
        nodes.notes.append(error.message)
        return None
    if applied is not None and applied.origin.image != cohort.image_since(case, cohort.applied_path(case)):
        changes = {case: _("the image file has changed since")}
        nodes.notes.append(stale_sentence(_("applied segmentation"), changes, _("It was not opened.")))
        return None
    return applied


def _drawing(
    volume_node,
    annotation: SparseAnnotation,
    shown: np.ndarray,
    names: Mapping[int, str],
    corrections: Corrections | None,
):
    """The segmentation to draw in, with a segment for each structure of the cohort, and these labels, (K, J, I)."""
    name = _("{volume} annotation").format(volume=volume_node.GetName())
    node = new_segmentation(str(name), shown, dict(names), volume_node)
    use_segmentation(volume_node, node)
    if annotation.ledger.entries:
        store_ledger(node, volume_node, annotation.ledger)
    if corrections is not None:
        store_corrections(node, volume_node, corrections, {name: value for value, name in names.items()})
    store_undecided(node, volume_node, annotation.undecided)
    return node


def _with_structures(annotation: SparseAnnotation, names: tuple[str, ...]) -> SparseAnnotation:
    """The same, with the names of all structures where slices were decided for all: not for those added later."""
    entries = (
        replace(entry, structures=names) if entry.state.is_decided and entry.structures is None and names else entry
        for entry in annotation.ledger.entries
    )
    return replace(annotation, ledger=Ledger(tuple(entries)))


def with_unnamed(names: Mapping[int, str], values: list[int]) -> dict[int, str]:
    """The names of all values: a value without a name is its own name. Raises CohortError if another one has it."""
    unnamed = {value: str(value) for value in values if value not in names}
    for value, name in unnamed.items():
        if name in names.values():
            raise CohortError(
                _(
                    "The label {value} has no name, and another one is named '{value}'. Name the label in the cohort."
                ).format(value=value)
            )
    return {**names, **unnamed}


def _open_reference(nodes: OpenedNodes, cohort: Cohort, case: str) -> None:
    labels = cohort.reference(case)
    found = [value for value in np.unique(labels).tolist() if value]
    name = _("{volume} reference").format(volume=nodes.volume.GetName())
    names = with_unnamed(cohort.labels, found)
    nodes.reference = new_segmentation(str(name), labels, names, nodes.volume, like=nodes.drawing)
    nodes.reference.GetDisplayNode().SetVisibility(False)


def _open_result(
    nodes: OpenedNodes,
    cohort: Cohort,
    case: str,
    annotation: SparseAnnotation,
    made_by: str,
    path: Path,
    confidence_path: Path,
) -> None:
    """Open a fill or a prediction that was made from what is drawn now; of an older one, a note says so."""
    facts = read_facts(path)
    run = "" if made_by == FILL else made_by
    changes = Origin.from_facts(facts).changes(cohort.origin(case, annotation, run=run, since=path))
    if changes:
        what = _("fill") if not run else _("prediction by '{run}'").format(run=run)
        nodes.notes.append(stale_sentence(what, {case: changes}, _("It was not opened.")))
        return
    geometry = annotation.geometry
    labels = read_labels(path, geometry)
    found = [value for value in np.unique(labels).tolist() if value]
    names = with_unnamed(names_from_facts(facts) or cohort.labels, found)
    name = slicer.mrmlScene.GenerateUniqueName(f"{nodes.volume.GetName()} {made_by}")
    node = new_segmentation(name, labels, names, nodes.volume, like=nodes.drawing)
    set_made_by(node, made_by)
    set_method(node, Origin.from_facts(facts).method)
    own = with_unnamed(cohort.labels, annotation.label_values())
    in_scene = _with_structures(annotation, tuple(segment_names(nodes.drawing)))
    origin = origin_now(nodes.volume, in_scene, own)
    store_origin(node, origin.with_modality(modality_of(nodes.volume), facts))
    nodes.results.append(node)
    if confidence_path.is_file() and not belongs_to(confidence_path, path):
        text = _("The confidence of '{result}' belongs to another result and was not opened. Fill or predict again.")
        nodes.notes.append(text.format(result=name))
    elif confidence_path.is_file():
        new_confidence(node, nodes.volume, read_percent(confidence_path, geometry))
