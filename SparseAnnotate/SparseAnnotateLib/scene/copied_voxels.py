"""Copies of voxels for nodes, made in pieces."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import vtk
from vtk.util import numpy_support

from ..core.pieces import slabs


def copying_voxels(array: np.ndarray) -> Generator[None, None, vtk.vtkDataArray]:
    """A copy of a (K, J, I) array as the scalars of an image of its own size."""
    scalars = numpy_support.create_vtk_array(numpy_support.get_vtk_array_type(array.dtype))
    scalars.SetNumberOfComponents(1)
    scalars.SetNumberOfTuples(array.size)
    target = numpy_support.vtk_to_numpy(scalars).reshape(array.shape)
    for slab in slabs(array.shape, array.itemsize):
        target[slab] = array[slab]
        yield
    return scalars
