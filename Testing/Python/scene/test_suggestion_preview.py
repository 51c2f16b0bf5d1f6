"""A suggestion for a slice, shown over it in a segmentation of its own."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import Plane

OBLIQUE = np.array([[0.0, -0.6, 1.6, 5.0], [0.9, 0.0, 0.0, -7.0], [0.0, 0.8, 1.2, 3.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def volume(mrml):
    return mrml.util.addVolumeFromArray(np.zeros((5, 6, 7), np.int16), OBLIQUE, "scan")


def previews(mrml):
    nodes = mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute("SparseAnnotate.SuggestionPreview")]


@pytest.mark.parametrize("plane", list(Plane))
def test_it_lies_on_its_slice_of_an_oblique_volume_and_changes_no_drawing(mrml, volume, plane):
    drawing = scene.annotated_segmentation(volume, create=True)
    for name in ("one", "two"):
        drawing.GetSegmentation().AddEmptySegment(name, name)
    stamp = scene.voxel_stamp(drawing)
    axis = plane.array_axis(scene.geometry_of(volume))
    shape = [n for a, n in enumerate((5, 6, 7)) if a != axis]
    one, two = np.zeros((2, *shape), bool)
    one[1:3, 2:4], two[3, 1] = True, True
    # Overlaps are shown as they are suggested.
    two[1, 2] = True
    scene.show_suggestion(volume, plane, 2, {"one": one, "two": two, "three": one})
    (node,) = previews(mrml)
    assert scene.segment_names(node) == ["one", "two"]
    for name, mask in (("one", one), ("two", two)):
        found = mrml.util.arrayFromSegmentBinaryLabelmap(node, name, volume)
        np.testing.assert_array_equal(np.take(found, 2, axis=axis) > 0, mask)
        assert found.sum() == mask.sum()
    assert scene.voxel_stamp(drawing) == stamp
    scene.show_suggestion(volume, plane, 1, {"one": two})
    (again,) = previews(mrml)
    assert again is node
    assert scene.segment_names(node) == ["one"]
    scene.hide_suggestion()
    assert not previews(mrml)


def test_nothing_is_suggested_where_nothing_is_drawn_in_or_found(mrml, volume):
    scene.show_suggestion(volume, Plane.AXIAL, 2, {})
    (node,) = previews(mrml)
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    scene.hide_suggestion()
    scene.hide_suggestion()
