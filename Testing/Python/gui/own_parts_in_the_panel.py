"""Run by `end_to_end/test_own_parts.py`, where somebody's own parts are known; not collected by itself."""

from __future__ import annotations

import numpy as np


def test_the_panel_offers_them_and_fills(panel):
    for selector, label in (
        (panel.ui.strategySelector, "Late"),
        (panel.ui.fillMethodSelector, "Drawn only"),
        (panel.ui.networkSelector, "One layer"),
        (panel.ui.lossSelector, "Wrong share"),
    ):
        assert label in [selector.itemText(n) for n in range(selector.count)]
    panel.ui.strategySelector.setCurrentText("Late")
    panel.ui.fillMethodSelector.setCurrentText("Drawn only")
    volume = panel.add_ball()
    panel.recommend(10.0)
    panel.draw_all(volume)
    panel.ui.fillButton.click()
    panel.idle()
    fill = panel.panel.result.node
    filled = panel.mrml.util.arrayFromSegmentBinaryLabelmap(fill, "ball", volume)
    drawn = [item.index for item in panel.items]
    assert not np.delete(filled, drawn, axis=0).any()
    assert panel.logic.fillMethods()["drawn_only"] == "Leaves all other slices empty."


def test_the_console_trains_with_them_in_the_worker(panel):
    volume = panel.add_ball()
    worklist = panel.logic.recommendSlices([volume], strategy="late", total=4)
    segmentation = panel.logic.segmentationNode(volume)
    identifier = segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    drawn = np.zeros_like(panel.labels)
    for item in worklist:
        drawn[item.index] = panel.labels[item.index]
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, identifier, volume)
    for item in worklist:
        panel.logic.markDrawn(volume, item.plane, item.index)
    settings = {"network": "one_layer", "loss": "wrong_share", "iterations": 2, "patch": [16, 16, 32], "batch": 1}
    run = panel.logic.train([volume], settings=settings, device="cpu")
    assert panel.logic.runs() == [run]
