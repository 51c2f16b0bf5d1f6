"""Settings under *Advanced*, and filling all volumes at once."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.runs.run_list import RunSummary

RUN = RunSummary("r", is_finished=True, changed=datetime(2026, 1, 1))


def test_more_settings_reach_the_training_and_the_run(panel, monkeypatch):
    panel.add_ball()
    panel.recommend()
    volume = panel.panel.session.volume
    panel.draw_all(volume)
    asked = {}
    logic = panel.panel.train.logic
    monkeypatch.setattr(type(logic), "train", lambda self, *given, **more: asked.update(train=given))
    monkeypatch.setattr(type(logic), "segment", lambda self, *given, **more: asked.update(segment=more))
    panel.ui.patchLineEdit.text = "32 x 48 x 48"
    panel.ui.fillWeightSpinBox.value = 0.4
    panel.ui.meanTeacherSpinBox.value = 0.2
    panel.ui.iterationsSpinBox.value = 7
    panel.ui.networkSelector.setCurrentText("SegResNet")
    panel.ui.lossSelector.setCurrentText("Tversky")
    panel.ui.trainButton.click()
    names = {name: asked["train"][2].pop(name) for name in ("network", "loss")}
    assert names == {"network": "segresnet", "loss": "tversky"}
    assert asked["train"][2] == {"iterations": 7, "patch": [32, 48, 48], "fill_weight": 0.4, "mean_teacher": 0.2}
    panel.panel.train._training = None
    panel.ui.flipsCheckBox.checked = True
    panel.ui.largestComponentCheckBox.checked = True
    panel.ui.smoothingSpinBox.value = 1.5
    panel.ui.keepStrayPiecesCheckBox.checked = True
    monkeypatch.setattr(type(panel.panel.train.runs), "chosen", property(lambda _: RUN))
    panel.panel.train.run([volume])
    monkeypatch.undo()
    found = asked["segment"]
    assert (found["flips"], found["largestComponent"], found["smoothing"]) == (True, True, 1.5)
    assert found["keepStrayPieces"] is True


@pytest.mark.parametrize("text", ["32", "32 48", "a b c", "32 48 -48", "1.5 2 3"])
def test_a_patch_that_is_no_size_is_a_sentence(panel, text):
    volume = panel.add_ball()
    panel.recommend()
    panel.draw_all(volume)
    panel.ui.patchLineEdit.text = text
    panel.ui.trainButton.click()
    assert panel.message == f"The size of the patch is three whole numbers, such as 64 96 96, not '{text}'."
    assert not panel.logic.isBusy


def test_all_volumes_are_filled_and_one_that_cannot_be_is_named(panel):
    first = panel.add_ball("first")
    labels = ball()
    others = []
    for number, name in enumerate(("second", "third", "not drawn")):
        node = panel.mrml.util.addVolumeFromArray(noisy_image(labels, number), np.diag([-1.0, 1.0, 2.0, 1.0]), name)
        others.append(node)
    panel.idle()
    panel.ui.allVolumesButton.click()
    for volume in (first, *others[:2]):
        segmentation = panel.logic.segmentationNode(volume)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        drawn = np.zeros_like(labels)
        drawn[[8, 12, 16]] = labels[[8, 12, 16]]
        panel.mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "ball", volume)
        for index in (8, 12, 16):
            panel.logic.markDrawn(volume, "axial", index)
    # Two segments of one name: this one cannot be filled.
    panel.logic.segmentationNode(others[0]).GetSegmentation().AddEmptySegment("again", "ball")
    panel.panel.refresh()
    panel.ui.fillAllButton.click()
    panel.until(lambda: "2 volumes were filled." in panel.message)
    assert "'second': " in panel.message
    assert panel.message_is == "note"
    results = [panel.logic.panel.latest_result(node) is not None for node in (first, *others)]
    assert results == [True, False, True, False]
