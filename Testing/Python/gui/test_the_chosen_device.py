"""The device chosen under Environment counts for every request that takes one."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.client.worker_client import WorkerClient
from SparseAnnotateLib.core import Progress, WorkerError
from SparseAnnotateLib.core.progress import STEP
from SparseAnnotateLib.runs.run_list import RunSummary
from SparseAnnotateLib.worker.requests import METHODS

TAKE_A_DEVICE = {name for name, (request, _answer) in METHODS.items() if "device" in {f.name for f in fields(request)}}
NOT_IN_THE_PANEL = {"picture", "predict_files", "label_image"}
"""The console writes pictures; files are labeled on the command line, also on a host, image by image."""


@pytest.fixture
def sent(panel, monkeypatch):
    """Every request that is sent to a worker, with its parameters; all but those of learning while drawing fail."""
    found = []

    def request(self, method, params, on_progress=None, on_done=None):
        found.append((method, params, on_progress))
        if method == "train" and params.get("live"):
            return SimpleNamespace(is_done=True, on_progress=None)
        raise WorkerError("not now")

    monkeypatch.setattr(WorkerClient, "request", request)
    return found


def test_every_request_that_takes_a_device_gets_the_chosen_one(panel, sent, monkeypatch):
    ui, volume = panel.ui, panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    runs = [
        RunSummary("ready", is_finished=True, changed=datetime(2026, 1, 2)),
        RunSummary("stopped", is_finished=False, changed=datetime(2026, 1, 1)),
    ]
    monkeypatch.setattr(type(panel.logic.panel), "run_summaries", lambda self: runs)
    panel.panel.environment.show_devices(["cpu", "cuda:7"])
    ui.deviceSelector.setCurrentText("GPU (cuda:7)")
    panel.panel.refresh()

    def click(button):
        assert button.enabled, button.toolTip
        button.click()
        panel.idle()

    panel.panel.train._run_chosen("stopped")
    click(ui.continueButton)
    click(ui.trainButton)
    panel.panel.train._run_chosen("ready")
    for strategy in ("Representative", "Core set", "Uncertainty"):
        ui.strategySelector.setCurrentText(strategy)
        click(ui.recommendButton)
    for button in (
        *(ui.suggestPlanButton, ui.fillButton, ui.fillAllButton, ui.estimateButton),
        *(ui.runButton, ui.runAllButton, ui.nextSlicesButton),
    ):
        click(button)
    reference = panel.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "reference")
    reference.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    reference.GetSegmentation().AddEmptySegment("ball", "ball")
    panel.mrml.util.updateSegmentBinaryLabelmapFromArray(ball().astype(np.uint8), reference, "ball", volume)
    panel.idle()
    ui.measuredSelector.setCurrentNode(panel.logic.segmentationNode(volume))
    ui.referenceSelector.setCurrentNode(reference)
    click(ui.measureButton)
    panel.logic.markToDo(volume, "axial", panel.items[0].index)
    panel.panel.draw.table.choose(0)
    ui.learnCheckBox.checked = True
    panel.until(lambda: sent[-1][1].get("live"))
    sent[-1][2](Progress(0.0, "learning", metrics={STEP: 100.0}))
    panel.until(lambda: sent[-1][0] == "slice")

    without = [(method, params) for method, params, _ in sent if method in TAKE_A_DEVICE]
    assert [(method, params.get("device")) for method, params in without if params.get("device") != "cuda:7"] == []
    assert {method for method, _params in without} == TAKE_A_DEVICE - NOT_IN_THE_PANEL
    assert "compare" in {method for method, *_ in sent}, "measuring takes no device"


def test_the_console_hands_the_device_on_to_the_picture_too(panel, sent, tmp_path):
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.logic.writeSlicePicture([volume], tmp_path / "slices.png", device="cuda:7", waitForCompletion=False)
    panel.until(lambda: bool(sent))
    assert (sent[-1][0], sent[-1][1]["device"]) == ("picture", "cuda:7")
