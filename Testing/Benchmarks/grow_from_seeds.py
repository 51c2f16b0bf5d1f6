"""Slicer's effect 'Grow from seeds' for the benchmarks: its filter is in slicer-core."""

from __future__ import annotations

import numpy as np

from SparseAnnotateLib.core import SparseAnnotation
from SparseAnnotateLib.core.corrections import Stroke


class GrowFromSeeds:
    """Slicer's effect: all labels and the background compete from the drawn slices and the clicks."""

    def __init__(self, image: np.ndarray, annotation: SparseAnnotation):
        self._shape, self._spacing = image.shape, annotation.geometry.spacing[::-1]
        drawn = annotation.supervised_mask()
        self._seeds = np.where(drawn, annotation.labels.astype(np.int16) + 1, 0).astype(np.int16)
        self._image = image.astype(np.float32)

    def __call__(self, stroke: Stroke | None) -> np.ndarray:
        from slicer_core.vtkSlicerSegmentationsModuleLogic import vtkImageGrowCutSegment
        from vtkmodules.util.numpy_support import vtk_to_numpy

        if stroke is not None:
            self._seeds.reshape(-1)[stroke.voxels] = stroke.value + 1 if stroke.is_in else 1
        grow = vtkImageGrowCutSegment()
        grow.SetIntensityVolume(self._vtk(self._image))
        grow.SetSeedLabelVolume(self._vtk(self._seeds))
        grow.Update()
        found = vtk_to_numpy(grow.GetOutput().GetPointData().GetScalars()).reshape(self._shape)
        labels: np.ndarray = np.maximum(found.astype(np.int32) - 1, 0)
        return labels

    def _vtk(self, array: np.ndarray):
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonDataModel import vtkImageData

        data = vtkImageData()
        data.SetDimensions(*self._shape[::-1])
        data.SetSpacing(*self._spacing)
        data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
        return data
