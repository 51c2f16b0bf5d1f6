"""The panel beside its worker: killed, missing, in another window, and while the window has to stay responsive."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest


def test_a_killed_worker_is_reported_its_log_can_be_copied_and_it_starts_again(panel):
    ui = panel.ui
    panel.draw_one_slice_for_a_long_training()
    ui.trainButton.click()
    panel.until(lambda: "step" in panel.job)
    assert "busy: train" in ui.workerLabel.text
    panel.logic.session.jobs.clients[0].transport.process.kill()
    panel.idle()
    assert "The worker process ended during 'train' (crashed or was killed)" in panel.message
    assert "resume the run from its last checkpoint" in panel.message
    assert "not running" in ui.workerLabel.text
    assert ui.trainButton.text == "Train"
    assert panel.panel.train.runs.chosen.name == "run 1"
    ui.continueButton.click()
    panel.until(lambda: "step" in panel.job)
    ui.cancelButton.click()
    panel.idle()
    assert panel.message.startswith("Cancelled.")
    panel.logic.session.jobs.clients[0].log.append("the last word")
    panel.panel.refresh()
    ui.copyLogButton.click()
    assert "the last word" in panel.mrml.app.clipboard().text()
    ui.restartButton.click()
    panel.until(lambda: not panel.logic.panel.worker_is_running)
    ui.environmentButton.click()
    panel.until(lambda: "torch" in ui.versionsLabel.text)
    assert "CPU" in [ui.deviceSelector.itemText(n) for n in range(ui.deviceSelector.count)]


def test_slicer_without_torch_says_what_to_install(panel, monkeypatch):
    from SparseAnnotateLib.gui.qprocess_transport import QProcessTransport

    without = (
        "import runpy\n"
        "from importlib import metadata\n"
        "found = metadata.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'monai', 'safetensors'):\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.version = version\n"
        "runpy.run_module('SparseAnnotateLib.worker', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", without]
    monkeypatch.setattr(panel.logic.session.jobs._client, "_new_transport", lambda: QProcessTransport(command))
    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    ui.trainButton.click()
    panel.idle()
    assert "not installed: torch, monai, safetensors" in panel.message
    assert "press 'Install packages'" in panel.message
    ui.fillButton.click()
    panel.idle()
    assert "shows the fill" in panel.message
    ui.environmentButton.click()
    panel.until(lambda: "Recommending and filling work" in ui.environmentLabel.text)
    panel.panel.open(panel.panel.data)
    assert ui.environmentSection.text == "Environment: packages are missing"


def test_installing_without_a_network_is_reported_and_the_panel_stays_usable(panel, monkeypatch):
    import subprocess
    import types

    packaging = types.ModuleType("slicer.packaging")

    def refuse(*arguments, **options):
        raise subprocess.CalledProcessError(1, ["pip"], "could not find a version; is there a network?")

    packaging.pip_ensure, packaging.load_requirements = refuse, lambda path: []
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(panel.mrml, "packaging", packaging, raising=False)
    panel.ui.installButton.click()
    assert "were not installed" in panel.message
    assert panel.ui.installButton.enabled


def test_a_worker_that_cannot_be_started_is_reported(panel, tmp_path):
    ui = panel.ui
    ui.pythonSelector.currentPath = str(tmp_path / "no python")
    try:
        ui.environmentButton.click()
        panel.idle()
        assert "no python' does not exist" in panel.message
    finally:
        ui.pythonSelector.currentPath = ""
    ui.environmentButton.click()
    panel.until(lambda: "torch" in ui.versionsLabel.text)


def test_two_windows_on_one_folder_do_not_disturb_each_other(panel):
    """The other window is another logic with a worker of its own, on the same folder."""
    from SparseAnnotate import SparseAnnotateLogic

    volume = panel.draw_one_slice_for_a_long_training()
    panel.ui.trainButton.click()
    panel.until(lambda: "step" in panel.job)
    other = SparseAnnotateLogic()
    other.cohortFolder = panel.logic.cohortFolder
    assert other.runs() == ["run 1"]
    ended = []
    other.train([volume], "run 1", waitForCompletion=False, onDone=lambda result, error: ended.append(error))
    panel.until(lambda: ended)
    assert "run 1" in str(ended[0])
    assert "is in use" in str(ended[0])
    assert panel.logic.isBusy
    other.train([volume], "", {"iterations": 2}, waitForCompletion=False, onDone=lambda *end: ended.append(end))
    panel.until(lambda: len(ended) == 2)
    assert ended[1] == ("run 2", None)
    panel.ui.trainButton.click()
    panel.idle()
    assert [run.name for run in panel.logic.panel.run_summaries()] == ["run 1", "run 2"]
    assert panel.ui.runTable.rowCount == 2
    other.close()
    panel.until(lambda: not other.panel.worker_is_running)


def test_five_hundred_volumes_are_listed_found_and_recommended(panel):
    ui = panel.ui
    voxels = np.random.default_rng(0).integers(0, 100, (8, 9, 10)).astype(np.int16)
    for number in range(500):
        panel.mrml.util.addVolumeFromArray(voxels, name=f"scan {number:03d}")
    panel.idle()
    assert ui.volumeList.count == 500
    ui.volumeFilter.text = "scan 12"
    assert sum(not ui.volumeList.item(row).isHidden() for row in range(500)) == 10
    ui.volumeFilter.text = ""
    ui.allVolumesButton.click()
    assert len(panel.panel.session.volumes) == 500
    gaps = panel_gaps(panel, lambda _: panel.recommend(25.0))
    assert panel.message == "The worklist contains 1000 slices to draw."
    panel.until(lambda: ui.worklistTable.item(999, 1) is not None)
    assert ui.worklistTable.item(999, 1).text() == "scan 499"
    assert len(gaps) > 5
    ui.nextButton.click()
    assert panel.panel.draw.table.chosen() == panel.items[1]


def panel_gaps(panel, action) -> np.ndarray:
    """Seconds between the ticks of a timer of 20 ms while `action(ticks)` is done.

    Time in which other processes had the cores is left out, where the system tells it.
    """
    from PySide6 import QtCore

    ticks = []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic() - seconds_without_core()))
    timer.start(20)
    action(ticks)
    timer.stop()
    return np.diff(ticks)


def seconds_without_core() -> float:
    """How long this thread could have run and was not let."""
    statistics = Path("/proc/thread-self/schedstat")
    return int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0


def test_the_window_stays_responsive_while_a_training_runs(panel, warm_workers):
    warm_workers.start()
    panel.draw_one_slice_for_a_long_training()

    def train_for_a_while(ticks):
        panel.ui.trainButton.click()
        panel.until(lambda: "step 5" in panel.job or "step 6" in panel.job or "step 7" in panel.job)
        enough = len(ticks) + 100
        panel.until(lambda: len(ticks) > enough)
        panel.ui.trainButton.click()
        panel.idle()

    gaps = panel_gaps(panel, train_for_a_while)
    assert panel.message.startswith("Cancelled.")
    assert len(gaps) > 50
    # Room for a machine that is busy with the training itself.
    assert gaps.max() < 1.0


def test_the_panel_says_nothing_to_anybody_after_it_has_gone(panel):
    panel.draw_one_slice_for_a_long_training()
    panel.ui.trainButton.click()
    panel.until(lambda: "step" in panel.job)
    said = []
    panel.panel.session.say = lambda *text: said.append(text)
    panel.widget.cleanup()
    panel.until(lambda: not any(client.is_running for client in panel.logic.session.jobs.clients))
    assert said == []


def test_a_training_that_ends_while_another_module_is_shown_is_reported_on_return(panel):
    panel.draw_one_slice_for_a_long_training()
    panel.ui.iterationsSpinBox.value = 2
    panel.ui.trainButton.click()
    panel.until(lambda: panel.logic.session.jobs._open.call is not None)
    panel.widget.exit()
    panel.until(lambda: not panel.logic.isBusy)
    panel.widget.enter()
    assert "'run 1' is trained" in panel.message
    assert panel.panel.train.runs.chosen.name == "run 1"


def test_slices_recommended_while_another_module_is_shown_are_gone_to_on_return(panel):
    panel.add_ball()
    panel.ui.recommendButton.click()
    panel.widget.exit()
    panel.until(lambda: not panel.logic.isBusy)
    assert panel.items == []
    panel.widget.enter()
    assert len(panel.items) == 2
    panel.until(lambda: panel.panel.draw.table.chosen() == panel.items[0])


def test_a_training_may_outlive_the_scene(panel, embedded):
    from SlicerStandIn import questions

    panel.draw_one_slice_for_a_long_training()
    panel.ui.iterationsSpinBox.value = 10
    panel.ui.trainButton.click()
    panel.until(lambda: panel.logic.session.jobs._open.call is not None)
    questions.answers.append(True)
    folder = panel.logic.cohortFolder
    embedded.clear_scene()
    assert "Continue it in the background" in questions.asked[0]
    assert panel.logic.isBusy
    panel.idle()
    assert f"'run 1' is trained. It is in the folder '{folder}'." == panel.message
    panel.ui.cohortFolderSelector.currentPath = str(folder)
    assert [run.name for run in panel.logic.panel.run_summaries() if run.is_finished] == ["run 1"]


def test_a_second_job_is_refused_and_the_first_one_stays_in_sight(panel):
    panel.draw_one_slice_for_a_long_training()
    panel.ui.trainButton.click()
    panel.until(lambda: "step" in panel.job)
    session = panel.panel.session
    actions = (
        panel.panel.fill.fill,
        panel.panel.recommend.recommend,
        lambda: panel.panel.train._begin("run 2", {}, None),
    )
    for action in actions:
        session.attempt(action)
        assert "Another task is running" in panel.message
        assert panel.ui.trainButton.text == "Cancel"
        assert not panel.ui.jobFrame.isHidden()
    panel.ui.trainButton.click()
    panel.idle()
    assert panel.message.startswith("Cancelled.")


OTHER_PYTHON = """#!/bin/sh
if [ -n "$PYTHONHOME$PYTHONPATH$PYTHONNOUSERSITE$LD_LIBRARY_PATH" ]; then
    echo "Fatal Python error: init_fs_encoding: failed to get the Python codec" >&2
    exit 1
fi
exec "{python}" "$@"
"""


@pytest.mark.skipif(os.name == "nt", reason="the other Python is a shell script")
@pytest.mark.parametrize("is_waited_for", [True, False])
def test_another_python_can_be_the_worker_although_slicer_has_an_environment_of_its_own(
    panel, tmp_path, monkeypatch, is_waited_for
):
    other = tmp_path / "other" / "python"
    other.parent.mkdir()
    other.write_text(OTHER_PYTHON.format(python=sys.executable))
    other.chmod(0o755)
    assert os.environ["PYTHONHOME"]
    try:
        panel.ui.pythonSelector.currentPath = str(other)
        if is_waited_for:
            assert panel.logic.environment()["packages"]["torch"]
            panel.logic.close()
        else:
            panel.ui.environmentButton.click()
            panel.until(lambda: "torch" in panel.ui.versionsLabel.text)
    finally:
        panel.ui.pythonSelector.currentPath = ""
