"""The process that runs ITK's filter: `python -m ...morphological_process DRAWN.npy FILLED.npy AXIS`.

The arrays are (n, rows, columns) uint16 labels, 0 where nothing is drawn. The result is written completely or not
at all. The process ends when its standard input is closed.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np

NO_FILTER = 3


def main(source: str, target: str, axis: str) -> int:
    """Fill `source` into `target` along an ITK axis (-1: all); returns the exit code."""
    filter_class = _filter_class()
    if filter_class is None:
        return NO_FILTER
    import vtk
    from vtk.util import numpy_support

    labels = np.load(source, allow_pickle=False)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(labels.shape))
    scalars = numpy_support.numpy_to_vtk(labels.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_SHORT)
    image.GetPointData().SetScalars(scalars)
    interpolate = filter_class()
    interpolate.SetInputData(image)
    interpolate.SetAxis(int(axis))
    interpolate.Update()
    filled = numpy_support.vtk_to_numpy(interpolate.GetOutput().GetPointData().GetScalars()).reshape(labels.shape)
    with open(f"{target}.part", "wb") as file:
        np.save(file, filled)
    os.replace(f"{target}.part", target)
    return 0


def _end_with_input() -> None:
    """End when the parent process closes the input, or has ended."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _filter_class() -> Any:
    """vtkITK's class, from Slicer or from its libraries without the application; None when neither is there."""
    try:
        from vtkITK import vtkITKMorphologicalContourInterpolator as found
    except ImportError:
        try:
            from slicer_core.vtkITK import vtkITKMorphologicalContourInterpolator as found
        except ImportError:
            return None
    return found


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.exit(main(*sys.argv[1:]))
