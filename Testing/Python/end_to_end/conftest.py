from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from corrected_scene import INDICES
from followed_strokes import EventLoop, Followed, at_once
from small_volumes import ball, noisy_image
from SparseAnnotateLib.client import jobs


@pytest.fixture
def logic(mrml, tmp_path):
    """The scripting interface, in the embedded scene."""
    from SparseAnnotate import SparseAnnotateLogic

    logic = SparseAnnotateLogic()
    logic.cohortFolder = tmp_path / "cohort"
    yield logic
    logic.close()


@pytest.fixture
def drawn(mrml, logic):
    """A volume with a ball and a box, three slices of which are drawn; and its fill."""
    labels = ball(radius=9.0)
    labels[:, 2:6, 2:8] = 2
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    segmentation = logic.segmentationNode(volume)
    for name, value in (("ball", 1), ("box", 2)):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        mask = np.zeros_like(labels)
        mask[list(INDICES)] = labels[list(INDICES)] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, volume)
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    return volume, labels, logic.fillBetweenSlices(volume, "shape")


@pytest.fixture
def disc(drawn):
    """A disc on a slice that is not drawn, in the background."""
    mask = np.zeros(drawn[1].shape, bool)
    mask[8, 19:23, 20:24] = True
    return mask


@pytest.fixture
def loop(monkeypatch):
    # One piece at a time.
    moments = iter(0.02 * number for number in range(10**6))
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    return EventLoop()


@pytest.fixture
def follower(mrml, tmp_path, loop):
    """The scripting interface with an event loop of its own."""
    from SparseAnnotateLib.logic import ConsoleLogic

    found = ConsoleLogic(lambda: None, lambda: None, loop.waiting.append)
    found.cohortFolder = tmp_path / "followed"
    return found


@pytest.fixture
def followed(follower, loop, drawn):
    volume, _, node = drawn
    return Followed(follower, loop, volume, node)


@pytest.fixture
def expected(mrml, logic, drawn, disc):
    return at_once(mrml, logic, drawn, disc)


@pytest.fixture
def slice_views(mrml):
    """Nodes of the three slice views. They outlive the closing of a scene, so the new ones are removed afterwards."""
    names = ("Red", "Yellow", "Green")
    missing = [name for name in names if mrml.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") is None]
    added = [mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode") for _name in missing]
    for node, name in zip(added, missing, strict=True):
        node.SetLayoutName(name)
    yield
    for node in added:
        mrml.mrmlScene.RemoveNode(node)
