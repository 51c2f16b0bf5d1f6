"""Figures of a result as a table node, which Slicer shows, saves, and exports."""

from __future__ import annotations

from collections.abc import Mapping

import slicer
import vtk

from ..core import CaseFigures

_COLUMNS = {
    "Dice": "dice",
    "HD95 (mm)": "hd95_mm",
    "Hausdorff (mm)": "hausdorff_mm",
    "Average boundary distance (mm)": "average_boundary_mm",
    "Volume (ml)": "volume_ml",
    "Reference volume (ml)": "reference_volume_ml",
}


def new_figures_table(name: str, figures: CaseFigures, names: Mapping[int, str]):
    """A table node with one row for each structure.

    Args:
        names: label value to segment name.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table = vtk.vtkTable()
    structures = vtk.vtkStringArray()
    structures.SetName("Structure")
    for row in figures.labels:
        structures.InsertNextValue(names.get(row.label, str(row.label)))
    table.AddColumn(structures)
    for title, field in _COLUMNS.items():
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for row in figures.labels:
            column.InsertNextValue(float(getattr(row, field)))
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    return node
