"""Segmentations that Slicer's own code has written are imported as drawn slices."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Cohort, VolumeGeometry, Watch
from SparseAnnotateLib.worker.import_drawn_request import ImportDrawnRequest, import_drawn

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def saved(slicer, path, **segments: np.ndarray) -> None:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(GEOMETRY.matrix.ravel())
    for name, mask in segments.items():
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*reversed(mask.shape))
        image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
        image.SetImageToWorldMatrix(matrix)
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def test_segments_are_matched_by_name_and_a_cropped_file_is_put_in_its_place(mrml, tmp_path):
    cohort = Cohort.create(tmp_path / "co", "co", {1: "kernel", 2: "shell"})
    cohort.add_case("s1", noisy_image(ball()), GEOMETRY)
    outer, inner = np.zeros((2, *GEOMETRY.shape), dtype=bool)
    for index in (8, 12, 15):
        outer[index], inner[index] = ball()[index] > 0, ball(radius=4.0)[index] > 0
    saved(mrml, tmp_path / "s1.seg.nrrd", shell=outer & ~inner, kernel=inner)
    request = ImportDrawnRequest(str(cohort.folder), (str(tmp_path / "s1.seg.nrrd"),))
    (row,) = import_drawn(request, Watch())
    assert (row.slices, row.structures) == ("axial 8 12 15", ["kernel", "shell"])
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), np.where(inner, 1, np.where(outer, 2, 0)))
    saved(mrml, tmp_path / "s1.seg.nrrd", shell=outer, kernel=inner)
    with pytest.raises(BadInputError, match=r"The segments of '.*' overlap"):
        import_drawn(request, Watch())
