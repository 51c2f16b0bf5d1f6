"""A volume's segmentation and ledger as sparse annotation, and its place in a cohort."""

from __future__ import annotations

import re
import uuid
from collections.abc import Generator, Sequence

import numpy as np
import slicer

from ..core import BadInputError, Cohort, Ledger, SparseAnnotation
from .ledger_store import stored_ledger
from .segment_editing import voxel_stamp
from .segmentation_nodes import geometry_problem, labels_of, segment_names
from .volume_nodes import geometry_of, require_scalar_volume

_CASE_ATTRIBUTE = "SparseAnnotate.Case"
_SEGMENTATION_ROLE = "SparseAnnotate.Segmentation"
_EXPORTED_ATTRIBUTE = "SparseAnnotate.Exported"
# Times of changes are counted anew in every process, and attributes are saved with the scene.
_PROCESS = uuid.uuid4().hex


def annotated_segmentation(volume_node, create: bool = False):
    """The segmentation in which slices of the volume are drawn; the volume node refers to it.

    Returns None when there is none yet, or, with `create`, makes one. A segmentation that merely lies on the volume is
    never taken by itself: it may be a reference or a result. See `use_segmentation`.
    """
    require_scalar_volume(volume_node)
    node = volume_node.GetNodeReference(_SEGMENTATION_ROLE)
    if node is not None and _lies_on_another_volume(node, volume_node):
        node = None
    if node is not None or not create:
        return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume_node.GetName()} annotation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    use_segmentation(volume_node, node)
    return node


def _lies_on_another_volume(segmentation_node, volume_node) -> bool:
    """True for the segmentation of a volume's original: cloning a volume copies its references."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    other = segmentation_node.GetNodeReference(role)
    return (
        other is not None
        and other is not volume_node
        and other.GetNodeReference(_SEGMENTATION_ROLE) is segmentation_node
    )


def use_segmentation(volume_node, segmentation_node) -> None:
    """Draw slices of the volume in this segmentation from now on.

    Raises BadInputError when the segmentation has another voxel grid than the volume.
    """
    require_scalar_volume(volume_node)
    problem = geometry_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    stored_ledger(segmentation_node).check_fits(
        geometry_of(volume_node), f"The ledger of '{segmentation_node.GetName()}'"
    )
    volume_node.SetNodeReferenceID(_SEGMENTATION_ROLE, segmentation_node.GetID())


def annotation_of(
    volume_node,
    segmentation_node,
    values: dict[str, int] | None = None,
    winners: Sequence[str] | None = None,
) -> SparseAnnotation:
    """The sparse annotation of a volume; `values` gives the label of each segment name (1, 2, ... by default).

    Raises BadInputError when there is no segmentation or segment, the grids differ, or segments overlap on drawn
    slices and `winners` does not say which counts.
    """
    if segmentation_node is None:
        raise BadInputError(
            f"Nothing has been drawn on the volume '{volume_node.GetName()}' yet. Recommend slices, draw them in a "
            "segmentation, and mark them as drawn."
        )
    geometry, ledger = geometry_of(volume_node), stored_ledger(segmentation_node)
    ledger.check_fits(geometry, f"The ledger of '{segmentation_node.GetName()}'")
    values = values or label_values(segmentation_node)
    # Only what is on drawn slices counts, so only there can an overlap do harm.
    nothing = slicer.util.arrayFromVolume(volume_node)
    where = SparseAnnotation(nothing, ledger, geometry).supervised_mask()
    return SparseAnnotation(labels_of(segmentation_node, volume_node, values, winners, where), ledger, geometry)


def label_values(segmentation_node) -> dict[str, int]:
    """Label value of each segment name: 1, 2, ... in the order of the segments."""
    return {name: value for value, name in enumerate(segment_names(segmentation_node), start=1)}


def position_in_scene(volume_node) -> int:
    """Place of a volume among the volumes of the scene, from 0."""
    return slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode").index(volume_node)


def case_of(volume_node) -> str:
    """Name of the volume's case in any cohort: the node's name and a mark of its own, kept in the node."""
    name = volume_node.GetAttribute(_CASE_ATTRIBUTE)
    # A clone has its original's attributes, and comes after it in the scene.
    if name and _first_with(name) is volume_node:
        return name
    plain = re.sub(r"[^\w .+()-]", "_", volume_node.GetName()).strip(" .")
    plain = re.sub(r"\.\.+", ".", plain)
    plain = plain if plain and re.match(r"\w", plain) else f"volume {plain}".strip()
    # Cohort folders outlive scenes: 'T1' of one patient must never meet 'T1' of another.
    name = f"{plain} {uuid.uuid4().hex[:8]}"
    volume_node.SetAttribute(_CASE_ATTRIBUTE, name)
    return name


def _first_with(name: str):
    """The first volume of the scene that goes by the name of this case."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if node.GetAttribute(_CASE_ATTRIBUTE) == name), None)


def exporting_case(
    cohort: Cohort, volume_node, segmentation_node, values: dict[str, int] | None
) -> Generator[float, None, str]:
    """Write a volume, and its drawn slices if it has any, into a cohort, piece by piece; returns the case's name.

    Yields shares of what is being written. What has not changed since it was last written is not written again.
    """
    name = case_of(volume_node)
    geometry = geometry_of(volume_node)
    stamp = f"{_PROCESS}|{cohort.folder}|{volume_node.GetImageData().GetMTime()}|{hash(geometry)}"
    if volume_node.GetAttribute(_EXPORTED_ATTRIBUTE) != stamp or not cohort.has_case(name):
        yield from cohort.adding_case(name, slicer.util.arrayFromVolume(volume_node), geometry)
        volume_node.SetAttribute(_EXPORTED_ATTRIBUTE, stamp)
    if segmentation_node is not None:
        ledger = stored_ledger(segmentation_node)
        drawn = f"{stamp}|{voxel_stamp(segmentation_node)}|{sorted((values or {}).items())}"
        if segmentation_node.GetAttribute(_EXPORTED_ATTRIBUTE) != drawn or cohort.ledger(name) != ledger:
            yield from cohort.saving_annotation(name, annotation_of(volume_node, segmentation_node, values))
            segmentation_node.SetAttribute(_EXPORTED_ATTRIBUTE, drawn)
    elif cohort.ledger(name).decided:
        # Whatever was drawn and exported before has been taken back.
        nothing = np.zeros(geometry.shape, dtype=np.uint8)
        yield from cohort.saving_annotation(name, SparseAnnotation(nothing, Ledger(), geometry))
    return name
