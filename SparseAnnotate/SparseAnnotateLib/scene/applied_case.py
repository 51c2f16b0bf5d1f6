"""What was applied to an opened case: written into its cohort folder, and shown again when the case is opened."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TypeVar

import numpy as np

from ..core import BadInputError, Cohort, SparseAnnotation
from ..core.applied_segmentation import AppliedSegmentation
from ..core.messages import _
from .annotations import annotated_segmentation
from .applied_labels import AppliedValues
from .labels_in_pieces import collecting_labels
from .last_applied import has_applied, packing_applied, store_applied
from .node_stamps import voxel_stamp
from .opened_case import opened_case, require_same_image
from .provenance import computing_provenance, note_source
from .segmentation_layers import segment_ids

Result = TypeVar("Result")

_WRITTEN_ATTRIBUTE = "SparseAnnotate.WrittenApplied"


def is_applied_to_write(volume_node) -> bool:
    """Whether a result was applied to an opened volume, and its drawing was not written as it is now."""
    drawing = annotated_segmentation(volume_node)
    if drawing is None or opened_case(volume_node) is None or not has_applied(drawing):
        return False
    return volume_node.GetAttribute(_WRITTEN_ATTRIBUTE) != _stamp(drawing)


def exporting_applied(cohort: Cohort, volume_node) -> Iterator[float]:
    """Write all that an opened volume's drawing shows, and where it comes from, into its cohort, step by step.

    What is drawn must have been written before, see `exporting_case`. Nothing is written when the drawing changes
    meanwhile: it still is to be written then.

    Raises BadInputError when the image is no longer that of the case, or segments overlap.
    """
    opened, drawing = opened_case(volume_node), annotated_segmentation(volume_node)
    if opened is None or drawing is None:
        return
    require_same_image(volume_node, opened, cohort)
    stamp, segmentation = _stamp(drawing), drawing.GetSegmentation()
    values = {
        segmentation.GetSegment(one).GetName(): opened.structures[one]
        for one in segment_ids(drawing)
        if opened.structures.get(one)
    }
    yield 0.0
    try:
        labels = yield from _without_result(collecting_labels(drawing, volume_node, values))
    except BadInputError as error:
        text = _("Of '{volume}', only the drawn slices were written into the cohort folder. {problem}")
        raise BadInputError(text.format(volume=volume_node.GetName(), problem=error.message)) from error
    provenance = yield from _without_result(computing_provenance(volume_node))
    if labels is None or _stamp(drawing) != stamp:
        return
    names = {value: name for name, value in values.items()}
    yield from AppliedSegmentation(labels, names, provenance, cohort.origin(opened.case)).writing(cohort, opened.case)
    volume_node.SetAttribute(_WRITTEN_ATTRIBUTE, stamp)


def drawing_with_applied(
    applied: AppliedSegmentation, annotation: SparseAnnotation, names: Mapping[int, str]
) -> tuple[np.ndarray, list[str]]:
    """What a case's drawing shows: the drawn slices, and off them what was applied or painted.

    Args:
        names: of the structures that there are segments for.

    Returns:
        Labels, (K, J, I), and sentences on what is left out.
    """
    labels = applied.labels
    notes: list[str] = []
    gone = [name for value, name in applied.names.items() if value not in names]
    if gone:
        labels = np.where(np.isin(labels, list(names)), labels, 0).astype(labels.dtype)
        notes.append(
            _("The cohort no longer has the structures {names}, which were applied to the case.").format(
                names=", ".join(f"'{name}'" for name in gone)
            )
        )
    shown = labels.astype(np.promote_types(labels.dtype, annotation.labels.dtype))
    annotation.restore_drawn(shown)
    return shown, notes


def noting_applied(volume_node, drawing, applied: AppliedSegmentation, values: Mapping[str, int]) -> Iterator[None]:
    """Store in the drawing of a case that is being opened what was applied to it, step by step.

    `values`: segment ID to label value.
    """
    labels, found = yield from applied.finding_results()
    segment_of = {value: identifier for identifier, value in values.items()}
    parts = {part: (segment_of[value], name) for part, (value, name) in found.items() if value in segment_of}
    if not parts:
        return
    sources: dict[str, list[str]] = {}
    for identifier, name in parts.values():
        sources.setdefault(identifier, []).append(name)
    others = {part: name for part, (identifier, name) in parts.items() if name != sources[identifier][0]}
    wanted = AppliedValues(labels, {part: identifier for part, (identifier, _name) in parts.items()}, others)
    packed = yield from packing_applied(drawing, volume_node, wanted, sources, {})
    store_applied(drawing, volume_node, packed, {identifier: names[0] for identifier, names in sources.items()})
    for identifier, names in sources.items():
        note_source(drawing, identifier, *names)
    volume_node.SetAttribute(_WRITTEN_ATTRIBUTE, _stamp(drawing))


def _without_result(steps: Generator[None, None, Result]) -> Generator[float, None, Result]:
    """Steps that report a share of nothing, with their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield 0.0


def _stamp(drawing) -> str:
    return f"{drawing.GetID()} {voxel_stamp(drawing)}"
