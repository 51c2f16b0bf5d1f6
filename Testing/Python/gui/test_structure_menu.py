"""The menus in the panel that choose structures: for marking slices, and for applying results."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core import Plane


@pytest.fixture
def two_structures(panel):
    """A ball, and a cube that is painted on the same slices, of which three are marked."""
    volume = panel.add_ball()
    panel.recommend(25.0)
    for name in ("ball", "cube"):
        panel.add_segment(volume, name)
    for _ in range(3):
        index = panel.panel.draw.table.chosen().index
        panel.paint(index)
        paint_cube(panel, volume, index)
        panel.ui.drawnButton.click()
    return volume


def paint_cube(panel, volume, index: int) -> None:
    segmentation = panel.logic.segmentationNode(volume)
    cube = panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "cube", volume).copy()
    cube[index, 2:6, 2:6] = 1
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(cube, segmentation, "cube", volume)


def uncheck(button, name: str) -> None:
    (action,) = [action for action in button.menu().actions() if action.text == name]
    action.trigger()


def voxels(panel, volume, name: str) -> np.ndarray:
    return panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), name, volume).copy()


def test_slices_are_marked_for_the_checked_structures(panel, two_structures):
    ui, volume = panel.ui, two_structures
    assert ui.markedForButton.text == "all structures"
    assert all(e.structures == ("ball", "cube") for e in panel.logic.ledger(volume).decided)
    uncheck(ui.markedForButton, "cube")
    assert ui.markedForButton.text == "1 of 2 structures"
    index = panel.panel.draw.table.chosen().index
    panel.paint(index)
    ui.drawnButton.click()
    assert panel.logic.ledger(volume).entry(Plane.AXIAL, index).structures == ("ball",)
    uncheck(ui.markedForButton, "ball")
    assert ui.markedForButton.text == "no structure"
    index = panel.panel.draw.table.chosen().index
    ui.drawnButton.click()
    assert "No structure is chosen" in panel.message
    assert not panel.logic.ledger(volume).is_decided(Plane.AXIAL, index)


def test_with_one_structure_there_is_nothing_to_choose(panel):
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.add_segment(volume)
    panel.idle()
    assert not panel.ui.markedForButton.enabled
    assert "nothing to choose" in panel.ui.markedForButton.toolTip


def test_a_fill_is_applied_to_the_checked_structures_only(panel, two_structures):
    ui, volume = panel.ui, two_structures
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.fillButton.click()
    panel.idle()
    before = {name: voxels(panel, volume, name) for name in ("ball", "cube")}
    uncheck(ui.resultStructuresButton, "ball")
    ui.applyButton.click()
    panel.applied()
    np.testing.assert_array_equal(voxels(panel, volume, "ball"), before["ball"])
    assert voxels(panel, volume, "cube").sum() > before["cube"].sum()
    uncheck(ui.resultStructuresButton, "ball")
    assert ui.resultStructuresButton.text == "all structures"
    ui.applyButton.click()
    panel.applied()
    assert voxels(panel, volume, "ball").sum() > before["ball"].sum()
