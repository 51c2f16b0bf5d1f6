"""What is kept of an opened case with its node."""

from __future__ import annotations

import gc

from SparseAnnotateLib.core.case_state import CaseState


def test_the_case_of_a_volume_lives_and_ends_with_it_and_nothing_is_called_while_garbage_is_collected(mrml):
    """An observer of the node's deletion was: it had been cleared by then, and the process ended."""
    from SparseAnnotateLib.scene import opened_case
    from SparseAnnotateLib.scene.opened_case import OpenedCase, note_opened

    drawing = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    opened = OpenedCase("folder", "case", "image", "file", CaseState(), {})
    for _round in range(20):
        volume = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
        identifier = volume.GetID()
        note_opened(volume, drawing, opened)
        assert not volume.HasObserver("DeleteEvent")
        del volume
        gc.collect()
        volume = mrml.mrmlScene.GetNodeByID(identifier)
        assert opened_case(volume) is opened
        # In a circle of references, as in a window: Python clears what is in it before it deletes the node.
        circle = [volume]
        volume.circle = circle
        mrml.mrmlScene.RemoveNode(volume)
        del volume, circle
        gc.collect()
        other = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
        assert opened_case(other) is None
        mrml.mrmlScene.RemoveNode(other)
        del other
