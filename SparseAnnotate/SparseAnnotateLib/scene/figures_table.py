"""Figures of a result as a table node, which Slicer shows, saves, and exports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from ..core import CaseFigures, metrics
from .node_names import savable
from .node_stamps import voxel_stamp
from .results import made_by, volume_of

_RESULT_ROLE, _REFERENCE_ROLE = "SparseAnnotate.Measured", "SparseAnnotate.Reference"
_STALE_ATTRIBUTE, _MEAN_ATTRIBUTE = "SparseAnnotate.ChangedSince", "SparseAnnotate.MeanDice"
# Stamps of the measured segmentations, by table node. Not saved, as they mean nothing once a scene is reopened.
_measured: dict[Any, str] = {}
_INTERSECTION, _UNION = "Intersection (voxels)", "Union (voxels)"
_COLUMNS = {
    "Dice": "dice",
    "IoU": "iou",
    "HD95 (mm)": "hd95_mm",
    "Hausdorff (mm)": "hausdorff_mm",
    "Average boundary distance (mm)": "average_boundary_mm",
    "Volume (ml)": "volume_ml",
    "Reference volume (ml)": "reference_volume_ml",
    _INTERSECTION: "intersection_voxels",
    _UNION: "union_voxels",
}
# Of all structures together, the same in every row.
_WHOLE_COLUMNS = {"HVSMR overall score": "hvsmr_score", "Adapted Rand F-score": "rand_f_score"}


@dataclass(frozen=True)
class StoredFigures:
    """Figures as a table node holds them: structures, and for each the figures by column; the mean Dice if known."""

    table_node: Any
    structures: tuple[str, ...]
    columns: Mapping[str, tuple[float, ...]]
    mean_dice: float | None


def new_figures_table(name: str, figures: CaseFigures, names: Mapping[int, str], result_node=None, reference_node=None):
    """A table node with one row for each structure.

    Args:
        names: label value to segment name.
        result_node, reference_node: the segmentations that were compared; see `figures_of`.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", savable(name))
    table = vtk.vtkTable()
    structures = vtk.vtkStringArray()
    structures.SetName("Structure")
    for row in figures.labels:
        structures.InsertNextValue(names.get(row.label, str(row.label)))
    table.AddColumn(structures)
    columns = {title: [getattr(row, field) for row in figures.labels] for title, field in _COLUMNS.items()}
    for title, field in _WHOLE_COLUMNS.items():
        columns[title] = [getattr(figures, field)] * len(figures.labels)
    for title, values in columns.items():
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(math.nan if value is None else float(value))
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    if figures.dice is not None:
        node.SetAttribute(_MEAN_ATTRIBUTE, repr(float(figures.dice)))
    if result_node is not None and reference_node is not None:
        node.SetNodeReferenceID(_RESULT_ROLE, result_node.GetID())
        node.SetNodeReferenceID(_REFERENCE_ROLE, reference_node.GetID())
        _measured[node] = _stamp(result_node, reference_node)
    return node


def figures_of(result_node, reference_node) -> StoredFigures | None:
    """The newest figures of a pair of segmentations in the scene.

    None when the pair has not been measured, or one of the two has been changed since. A change made in an earlier
    session of Slicer is noticed only if this function was called in that session after the change.
    """
    node = _newest_tables().get((result_node, reference_node))
    if node is None or not _is_current(node, result_node, reference_node):
        return None
    table, mean = node.GetTable(), node.GetAttribute(_MEAN_ATTRIBUTE)
    rows = range(table.GetNumberOfRows())
    names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    shown = [name for name in (*_COLUMNS, *_WHOLE_COLUMNS) if name in names]
    columns = {name: tuple(_number(table.GetValueByName(row, name)) for row in rows) for name in shown}
    structures = tuple(table.GetValueByName(row, "Structure").ToString() for row in rows)
    return StoredFigures(node, structures, columns, float(mean) if mean else None)


def batched_iou(result_node) -> tuple[int, dict[str, float]]:
    """IoU of each structure over all measured volumes whose results were made as this one: by a fill, or by one run.

    Returns how many volumes these are, and the IoU by structure; see `core.metrics.batched_iou`. A volume counts once,
    with its newest measures, and not if its result or reference has been changed since. (0, {}) for a segmentation
    that is not a result.
    """
    kind, newest = made_by(result_node), {}
    for (result, reference), node in _newest_tables().items():
        is_alike = kind is not None and made_by(result) == kind
        # Tables of an earlier version have no counts.
        if is_alike and node.GetTable().GetColumnByName(_UNION) and _is_current(node, result, reference):
            newest[volume_of(result) or result] = node.GetTable()
    counts: dict[str, list[tuple[int, int]]] = {}
    for table in newest.values():
        for row in range(table.GetNumberOfRows()):
            both, either = (_number(table.GetValueByName(row, column)) for column in (_INTERSECTION, _UNION))
            if math.isfinite(both) and math.isfinite(either):
                structure = table.GetValueByName(row, "Structure").ToString()
                counts.setdefault(structure, []).append((round(both), round(either)))
    return len(newest), {structure: metrics.batched_iou(found) for structure, found in counts.items()}


def _newest_tables() -> dict[tuple[Any, Any], Any]:
    """The newest table node of each pair of a result and a reference that are in the scene."""
    found: dict[tuple[Any, Any], Any] = {}
    for table in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        pair = table.GetNodeReference(_RESULT_ROLE), table.GetNodeReference(_REFERENCE_ROLE)
        if all(pair):
            found.pop(pair, None)
            found[pair] = table
    return found


def _is_current(node, result_node, reference_node) -> bool:
    for removed in [table for table in _measured if table.GetScene() is None]:
        del _measured[removed]
    now = _stamp(result_node, reference_node)
    # Figures loaded with a scene belong to the segmentations as they were loaded with it.
    if _measured.setdefault(node, now) != now:
        node.SetAttribute(_STALE_ATTRIBUTE, "1")
    return node.GetAttribute(_STALE_ATTRIBUTE) is None


def _stamp(*segmentation_nodes) -> str:
    return str([voxel_stamp(node) for node in segmentation_nodes])


def _number(value) -> float:
    if value.IsNumeric():
        return float(value.ToDouble())
    # In a table loaded from a file, infinity is text.
    try:
        return float(value.ToString())
    except ValueError:
        return float("nan")
