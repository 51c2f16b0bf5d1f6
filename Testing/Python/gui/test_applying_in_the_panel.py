"""A result is applied in pieces: the panel holds what must not be clicked meanwhile, and survives all else."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def filled(panel, monkeypatch):
    """A volume with a fill that can be applied, in many pieces."""
    from SparseAnnotateLib.core import pieces

    panel.volume = panel.add_ball()
    panel.recommend(20.0)
    panel.draw_all(panel.volume)
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.fillButton.click()
    panel.idle()
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    panel.before = drawn(panel)
    return panel


def drawn(panel) -> np.ndarray:
    segmentation = panel.logic.segmentationNode(panel.volume)
    return panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", panel.volume)


def test_while_a_result_is_applied_it_can_neither_be_applied_again_nor_removed(filled):
    ui = filled.ui
    assert ui.applyButton.enabled
    ui.applyButton.click()
    np.testing.assert_array_equal(drawn(filled), filled.before)
    for button in (ui.applyButton, ui.discardButton, ui.undoButton):
        assert not button.enabled
    assert ui.applyButton.toolTip == "The result is being applied."
    ui.applyButton.click()
    filled.applied()
    assert filled.message.startswith("Applied to your segmentation")
    assert drawn(filled).sum() > filled.before.sum()
    for button in (ui.applyButton, ui.discardButton, ui.undoButton):
        assert button.enabled
    ui.undoButton.click()
    np.testing.assert_array_equal(drawn(filled), filled.before)
    assert not ui.undoButton.enabled


def test_another_module_is_shown_while_a_result_is_applied(filled):
    filled.ui.applyButton.click()
    filled.widget.exit()
    filled.applied()
    assert drawn(filled).sum() > filled.before.sum()
    filled.widget.enter()
    filled.idle()
    assert filled.ui.applyButton.enabled
    assert filled.message.startswith("Applied to your segmentation")


def test_why_nothing_was_applied_is_said_when_the_module_is_shown_again(filled):
    result = filled.panel.result.node
    filled.ui.applyButton.click()
    filled.widget.exit()
    filled.mrml.mrmlScene.RemoveNode(result)
    filled.applied()
    filled.widget.enter()
    filled.idle()
    assert "was removed from the scene, so nothing was applied" in filled.message


def test_the_scene_is_closed_while_a_result_is_applied(filled, embedded):
    filled.ui.applyButton.click()
    embedded.clear_scene()
    filled.applied()
    filled.idle()
    assert not filled.mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not filled.ui.applyButton.enabled


def test_a_result_that_is_removed_while_it_is_applied_changes_nothing(filled):
    filled.ui.applyButton.click()
    filled.mrml.mrmlScene.RemoveNode(filled.panel.result.node)
    filled.applied()
    assert "was removed from the scene, so nothing was applied" in filled.message
    np.testing.assert_array_equal(drawn(filled), filled.before)
