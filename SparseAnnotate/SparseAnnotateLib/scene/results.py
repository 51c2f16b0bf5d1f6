"""Results of filling and of trained models: segmentation nodes that record what they were made by and from."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import slicer

from ..core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry
from ..core.messages import _, listed
from ..core.modalities import CT
from ..core.origin import Origin, finding_together
from ..core.pieces import result_of
from ..core.planes import slice_layer
from ..core.slab_writing import written_in_slabs
from ..core.strict_json import parse_json, to_text
from ..core.voxel_values import values_in
from .annotations import annotated_among, annotated_segmentation
from .channel_references import channels_checksum
from .confidence import confidence_of, hide_confidence
from .corrections_store import corrections_mark
from .kept_results import KeptResults
from .modality import modality_of
from .node_stamps import node_times
from .opened_case import opened_case
from .segmentation_nodes import labels_of
from .sequence_frames import frame_of
from .volume_cases import case_of
from .volume_nodes import geometry_of

FILL = "fill"
_MADE_BY_ATTRIBUTE = "SparseAnnotate.MadeBy"
_SELF_ROLE = "SparseAnnotate.OwnResult"
_ORIGIN_ATTRIBUTE = "SparseAnnotate.MadeFrom"
_REPORT_ATTRIBUTE = "SparseAnnotate.Report"
_METHOD_ATTRIBUTE = "SparseAnnotate.Method"
_MAX_NAMED = 6


@dataclass(frozen=True)
class ResultOrigin:
    """What a result was made from.

    Attributes:
        frame: the frame of a sequence, as text; '' for a volume that does not belong to a sequence.
        image: a checksum of the image's voxels; '' when it is not known.
        slices: 'plane index' to a checksum of what was drawn on a decided slice. Slices are counted from inferior,
            posterior and left, so that it does not matter how Slicer stores the volume.
        segments: name to ID of each segment of the drawing.
        corrections: the mark of the corrections that it has taken in, see `corrections_mark`.
        modality: what the image was, such as CT, '?' where that is not known; '' if the result does not depend on it.
    """

    frame: str = ""
    image: str = ""
    slices: dict[str, int] = field(default_factory=dict)
    segments: dict[str, str] = field(default_factory=dict)
    corrections: str = ""
    modality: str = ""

    def with_modality(self, modality: str, facts: Mapping[str, str]) -> ResultOrigin:
        """With what the image was, '' if not known, if the facts in the result's file say that it depends on that."""
        return replace(self, modality=modality or "?") if Origin.from_facts(facts).scale else self


def set_made_by(result_node, made_by: str) -> None:
    """Record what made a result: FILL, or the name of a run."""
    result_node.SetAttribute(_MADE_BY_ATTRIBUTE, made_by)
    result_node.SetNodeReferenceID(_SELF_ROLE, result_node.GetID())


def made_by(node) -> str | None:
    """What made a result: FILL, or the name of a run; None for a segmentation that is not a result.

    A copy of a result that the user has made is none: it is the user's own.
    """
    # Copying copies attributes and references. Results of earlier versions do not refer to themselves.
    is_copy = node.GetNodeReferenceID(_SELF_ROLE) not in (None, node.GetID())
    return None if is_copy else node.GetAttribute(_MADE_BY_ATTRIBUTE)


def set_method(result_node, method: str) -> None:
    """Record how a fill was made: the name of the method, and of the run that took part."""
    result_node.SetAttribute(_METHOD_ATTRIBUTE, method)


def method_of(result_node) -> str:
    """How a fill was made; '' when it is not known."""
    return result_node.GetAttribute(_METHOD_ATTRIBUTE) or ""


def origin_now(volume_node, annotation: SparseAnnotation | None, names: Mapping[int, str]) -> ResultOrigin:
    """The origin of a result that is made now; `names` gives the segment name of each label value of the annotation."""
    return result_of(finding_origin(volume_node, annotation, names))


def finding_origin(
    volume_node, annotation: SparseAnnotation | None, names: Mapping[int, str]
) -> Generator[None, None, ResultOrigin]:
    """`origin_now` in pieces: the image and the segments are those of the first one."""
    frame, segmentation = frame_of(volume_node), annotated_segmentation(volume_node)
    segments, corrections = {}, ""
    if segmentation is not None:
        found, corrections = segmentation.GetSegmentation(), corrections_mark(segmentation)
        segments = {name: found.GetSegmentIdBySegmentName(name) for name in names.values()}
    image = channels_checksum(volume_node)
    yield
    checksums = (yield from _finding_slice_checksums(annotation, names)) if annotation else {}
    return ResultOrigin(str(frame) if frame else "", image, checksums, segments, corrections)


def store_origin(result_node, origin: ResultOrigin) -> None:
    """Store in a result's node what it was made from."""
    result_node.SetAttribute(_ORIGIN_ATTRIBUTE, to_text(origin))


def store_report(result_node, report: str) -> None:
    """Store the report on a result, as JSON text, in its node."""
    result_node.SetAttribute(_REPORT_ATTRIBUTE, report)


def stored_report(result_node) -> str:
    """The report that `store_report` stored; '' when there is none."""
    return result_node.GetAttribute(_REPORT_ATTRIBUTE) or ""


def require_current(result_node, volume_node, segmentation_node, names: Sequence[str]) -> None:
    """Raise BadInputError when the image has changed since a result was made, or the names now mean other segments.

    `segmentation_node`: the drawing; None when there is none yet.
    """
    result, volume = result_node.GetName(), volume_node.GetName()
    if modality_has_changed(result_node, volume_node):
        changed = (
            _("'{volume}' counts as CT now, which it did not when '{result}' was made. {remedy}")
            if modality_of(volume_node) == CT
            else _("'{volume}' does not count as CT any more, as it did when '{result}' was made. {remedy}")
        )
        remedy = _(
            "Fill between slices again or, if the change was a mistake, choose what the volume is under Channels."
        )
        raise BadInputError(changed.format(volume=volume, result=result, remedy=remedy))
    if image_has_changed(result_node, origin_now(volume_node, None, {})):
        raise BadInputError(
            _(
                "The image '{volume}' has changed since '{result}' was made. Fill between slices or run the model "
                "again."
            ).format(volume=volume, result=result)
        )
    renamed = _renamed_since(result_node, segmentation_node, names)
    if renamed:
        names = ", ".join(f"'{name}'" for name in renamed)
        raise BadInputError(
            _(
                "Segments have been renamed since '{result}' was made, so these names now belong to other segments: "
                "{names}. Fill between slices or run the model again."
            ).format(result=result, names=names)
        )


def image_has_changed(result_node, now: ResultOrigin) -> bool:
    """True when the volume's voxels have changed since the result was made."""
    origin = _origin_of(result_node)
    return origin is not None and bool(origin.image) and origin.image != now.image


def modality_has_changed(result_node, volume_node) -> bool:
    """True when the image has become CT, or is not any more, since a result was made that depends on that."""
    origin = _origin_of(result_node)
    if origin is None or not origin.modality:
        return False
    return (origin.modality == CT) != (modality_of(volume_node) == CT)


def _renamed_since(result_node, segmentation_node, names: Sequence[str]) -> list[str]:
    """Those of the names that now belong to other segments than when the result was made."""
    if segmentation_node is None:
        return []
    origin, segmentation = _origin_of(result_node), segmentation_node.GetSegmentation()
    before = origin.segments if origin is not None else {}
    return [
        name
        for name in names
        if before.get(name) not in (None, segmentation.GetSegmentIdBySegmentName(name))
        and segmentation.GetSegment(before[name]) is not None
    ]


def drawn_since(result_node, volume_node, now: ResultOrigin) -> str:
    """The slices drawn or changed since the result was made, as text; '' when there are none, or it is not known."""
    origin = _origin_of(result_node)
    if origin is None:
        return ""
    keys = [key for key in {**origin.slices, **now.slices} if origin.slices.get(key) != now.slices.get(key)]
    geometry = geometry_of(volume_node)
    return listed([_as_stored(key, geometry) for key in keys], _MAX_NAMED)


def corrected_since(result_node, volume_node) -> bool:
    """True when the corrections of the volume are not those that the result has taken in."""
    origin, segmentation = _origin_of(result_node), annotated_segmentation(volume_node)
    if origin is None or segmentation is None:
        return False
    return origin.corrections != corrections_mark(segmentation)


def note_corrections(result_node, volume_node) -> None:
    """Store in a result's node that it has taken in all corrections of the volume."""
    origin, segmentation = _origin_of(result_node), annotated_segmentation(volume_node)
    if origin is not None and segmentation is not None:
        store_origin(result_node, replace(origin, corrections=corrections_mark(segmentation)))


def results_of(volume_node) -> list:
    """All results in the scene for a volume, and for the frame that it shows, oldest first."""
    frame = frame_of(volume_node)
    shown = str(frame) if frame else ""
    # Where a volume was removed, its results do not refer to it any more, though they have not changed.
    found = [node for node in _results_in_scene() if volume_of(node) is volume_node]
    if not shown:
        return found
    origins = [(node, _origin_of(node)) for node in found]
    return [node for node, origin in origins if origin is None or origin.frame == shown]


_PLACES: KeptResults[list[int]] = KeptResults()  # not the nodes, which would outlive their scene


def _results_in_scene() -> list:
    """The results for all volumes; looked for again when any segmentation has changed."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    places = _PLACES.of(
        None, node_times(nodes), lambda: [place for place, node in enumerate(nodes) if made_by(node) is not None]
    )
    return [nodes[place] for place in places]


def exporting_fill(cohort: Cohort, volume_node, annotation: SparseAnnotation, values: Mapping[str, int]) -> Iterator:
    """Write the newest fill of a volume into a cohort, step by step, unless the image or the drawing has changed.

    Args:
        annotation: as written into the cohort. values: label value of each segment name, in the cohort.
    """
    names = {value: name for name, value in values.items()}
    now, case = (yield from finding_origin(volume_node, annotation, names)), case_of(volume_node)
    fills = [node for node in results_of(volume_node) if made_by(node) == FILL and confidence_of(node) is not None]
    if not fills or drawn_since(fills[-1], volume_node, now) or image_has_changed(fills[-1], now):
        return
    if modality_has_changed(fills[-1], volume_node) or corrected_since(fills[-1], volume_node):
        return
    confidence = confidence_of(fills[-1])
    # Slicer may store it in another orientation than the volume when a scene is opened.
    percent = annotation.geometry.with_same_voxels(slicer.util.arrayFromVolume(confidence), geometry_of(confidence))
    if percent is None:
        return
    # The folder may say 'all structures' where an opened volume names them.
    origin = _origin_of(fills[-1])
    found = cohort.origin(case, annotation if opened_case(volume_node) is None else None)
    facts = found.facts(with_scale=origin is not None and bool(origin.modality))
    labels = labels_of(fills[-1], volume_node, dict(values))
    facts |= yield from finding_together(labels, percent)
    for path, array in ((cohort.fill_confidence_path(case), percent), (cohort.fill_path(case), labels)):
        yield from written_in_slabs(path, array, annotation.geometry, compress=True, facts=facts)


def volume_of(segmentation_node):
    """The volume a segmentation lies on; None when it has been removed."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation_node.GetNodeReference(role)


def show_only_volume(volume_node, volume_nodes: Sequence) -> None:
    """Show the annotation and the newest result of one volume; hide those of the others and their confidence overlays.

    The scans of a cohort overlap in space, so that what was drawn on one would be visible over the next.
    """
    wanted = {annotated_segmentation(volume_node), *results_of(volume_node)[-1:]} if volume_node is not None else set()
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if _shows(node) or node in wanted]
    known = set(volume_nodes)
    # Not through their reference geometry: a segmentation may have been made on another volume of the same grid.
    drawn = wanted | annotated_among(volume_nodes, nodes)
    for node in nodes:
        if node not in drawn and (made_by(node) is None or volume_of(node) not in known):
            continue
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(node in wanted)
        confidence = confidence_of(node)
        if confidence is not None and node not in wanted:
            hide_confidence(confidence)


def _shows(segmentation_node) -> bool:
    """Whether a segmentation is shown, or may have its confidence over the slices."""
    display = segmentation_node.GetDisplayNode()
    return (display is not None and bool(display.GetVisibility())) or confidence_of(segmentation_node) is not None


def _origin_of(result_node) -> ResultOrigin | None:
    text = result_node.GetAttribute(_ORIGIN_ATTRIBUTE)
    source = _("the origin of the result '{result}'").format(result=result_node.GetName())
    return parse_json(text, ResultOrigin, source) if text else None


def _finding_slice_checksums(
    annotation: SparseAnnotation, names: Mapping[int, str]
) -> Generator[None, None, dict[str, int]]:
    """A checksum of what is drawn on each decided slice, which does not depend on the label values; slice by slice."""
    checksums: dict[str, int] = {}
    geometry = annotation.geometry
    labels = geometry.to_standard_order(annotation.labels)
    for entry in annotation.ledger.decided:
        place, index = geometry.to_standard_slice(entry.plane.array_axis(geometry), entry.index)
        layer, checksum = labels[slice_layer(place, index)], 0
        values = [value for value in values_in(layer) if value]
        for name, value in sorted((names.get(value, str(value)), value) for value in values):
            checksum = zlib.crc32(np.packbits(layer == value).tobytes(), zlib.crc32(name.encode(), checksum))
        # Not what is unknown on it: that grows with every segment that is added.
        for name in sorted(entry.structures or ()):
            checksum = zlib.crc32(f"decided: {name}".encode(), checksum)
        checksums[f"{entry.plane.value} {index}"] = checksum
        yield
    return checksums


def _as_stored(key: str, geometry: VolumeGeometry) -> str:
    """Plane and index in the volume of a slice that is counted from inferior, posterior or left."""
    plane, index = key.split(" ")
    axis = Plane.named(plane).array_axis(geometry)
    return f"{plane} {geometry.to_standard_slice(axis, int(index))[1]}"
