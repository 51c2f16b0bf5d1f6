"""What is kept of an opened case with its node."""

from __future__ import annotations

import gc

from vtkmodules.vtkCommonCore import vtkWeakReference

from SparseAnnotateLib.core.case_state import CaseState


def test_the_case_of_a_volume_lives_and_ends_with_it_and_nothing_is_called_while_garbage_is_collected(mrml):
    """An observer of the node's deletion was: it had been cleared by then, and the process ended."""
    from SparseAnnotateLib.scene import opened_case
    from SparseAnnotateLib.scene.opened_case import OpenedCase, note_opened

    drawing = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    opened = OpenedCase("folder", "case", "image", "file", CaseState(), {})
    for number in range(20):
        volume = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
        identifier = volume.GetID()
        note_opened(volume, drawing, opened)
        assert not volume.HasObserver("DeleteEvent")
        if number % 2:  # an observer is only cleared as long as Python has held the node since it was added
            del volume
            gc.collect()
            volume = mrml.mrmlScene.GetNodeByID(identifier)
        assert opened_case(volume) is opened
        # In a circle of references, as in a window: Python clears what is in it before it deletes the node.
        circle = [volume]
        circle.append(circle)
        left = vtkWeakReference()
        left.Set(volume)
        mrml.mrmlScene.RemoveNode(volume)
        del volume, circle
        gc.collect()
        assert left.Get() is None
        other = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
        assert opened_case(other) is None
        mrml.mrmlScene.RemoveNode(other)
        del other
