"""Every control of the panel: where what is chosen in it arrives, as the worker process itself understands it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import recording_worker
from small_volumes import ball, noisy_image
from SparseAnnotateLib import client, scene
from SparseAnnotateLib.runs.run_list import RunSummary

UI = Path(__file__).resolve().parents[3] / "SparseAnnotate" / "Resources" / "UI" / "SparseAnnotate.ui"
HOLD_A_CHOICE = {
    *("QCheckBox", "QComboBox", "QDoubleSpinBox", "QLineEdit", "QListWidget", "QSpinBox", "QToolButton"),
    *("ctkPathLineEdit", "ctkSliderWidget", "ctkComboBox", "qMRMLNodeComboBox", "QRadioButton", "QSlider"),
}
DEVICE, CASES, FOLDER, SHARED = "cuda:7", "the cases", "the cohort folder", "the shared folder"
RUNS = ["early", "late", "stopped"]


@dataclass(frozen=True)
class Arrival:
    """Where a choice arrives: in the request of a method, under a path of names, with this value."""

    method: str
    path: str
    value: Any


def training(path: str, value: Any) -> tuple[Arrival, ...]:
    return tuple(Arrival(method, f"settings.{path}", value) for method in ("train", "plan_training"))


def recommending(path: str, value: Any) -> tuple[Arrival, ...]:
    return (Arrival("recommend", path, value),)


def predicting(path: str, value: Any) -> tuple[Arrival, ...]:
    return (Arrival("predict", path, value),)


WITH_A_DEVICE = ("recommend", "plan_training", "train", "fill", "predict")

ARRIVE: dict[str, tuple[Arrival, ...]] = {
    "axialCheckBox": recommending("planes", ["sagittal"]),
    "coronalCheckBox": recommending("planes", ["sagittal"]),
    "sagittalCheckBox": recommending("planes", ["sagittal"]),
    "volumeList": tuple(Arrival(method, "cases", CASES) for method in ("recommend", "predict", "plan")),
    "budgetSpinBox": (*recommending("budget.total", 11), Arrival("plan", "budget.total", 11)),
    "budgetKindSelector": (*recommending("budget.density", None), Arrival("plan", "budget.total", 11)),
    "strategySelector": recommending("strategy", "uncertainty"),
    "modelsButton": recommending("runs", ["early", "late"]),
    "scopeSelector": recommending("budget.scope", "cohort"),
    "minimumSpinBox": recommending("budget.minimum", 2),
    "maximumSpinBox": recommending("budget.maximum", 9),
    "featuresSelector": recommending("features", "autoencoder"),
    "fromScratchCheckBox": recommending("from_scratch", True),
    "downloadWeightsCheckBox": recommending("download_weights", True),
    "wholeVolumeCheckBox": recommending("whole", True),
    "samplesSpinBox": recommending("samples", 13),
    "planDimensionsSelector": (Arrival("plan", "dimensions", 2),),
    "planTargetSelector": (Arrival("plan", "target", "subtle"),),
    "fillMethodSelector": (Arrival("fill", "method", "morphological"),),
    "beyondSpinBox": (Arrival("fill", "beyond", 3),),
    "fillRunSelector": (Arrival("fill", "run", "late"),),
    "presetSelector": training("recipe", "ensemble"),
    "iterationsSpinBox": training("iterations", 7),
    "networkSelector": training("network", "segresnet"),
    "lossSelector": training("loss", "tversky"),
    "patchLineEdit": training("patch", [32, 48, 64]),
    "fillWeightSpinBox": training("fill_weight", 0.4),
    "meanTeacherSpinBox": training("mean_teacher", 0.2),
    "flipsCheckBox": predicting("flips", True),
    "largestComponentCheckBox": predicting("largest_component", True),
    "smoothingSpinBox": predicting("smoothing", 1.5),
    "keepStrayPiecesCheckBox": predicting("stray_pieces", False),
    "deviceSelector": tuple(Arrival(method, "device", DEVICE) for method in WITH_A_DEVICE),
    "cohortFolderSelector": tuple(Arrival(method, "cohort", FOLDER) for method in ("plan", *WITH_A_DEVICE)),
    "learnCheckBox": (Arrival("train", "live", True),),
    "shareFormatSelector": (Arrival("export_nnunet", "cases", CASES),),
    "shareFolderSelector": (Arrival("export_nnunet", "folder", SHARED),),
}
"""Controls whose choice is in a request. For a method with several requests, one of them has the value."""

ELSEWHERE = {
    "volumeFilter": "which rows of the list are shown",
    "casesSelector": "which case Open opens (test_cohort_in_the_panel)",
    "segmentationSelector": "which node is drawn in (test_bad_input)",
    "finishedTooCheckBox": "what Apply may replace in the scene (test_bad_input)",
    "markedForButton": "structures in the ledger (test_structure_menu)",
    "correctCheckBox": "what strokes mean (test_correcting_in_the_panel)",
    "undoCorrectionButton": "an action",
    "clearCorrectionsButton": "an action",
    "dismissButton": "an action",
    "shownChannelSelector": "what the views show (test_channels_in_the_panel)",
    "markersCheckBox": "what the views show (test_drawing)",
    "startSelector": "what a slice begins with (test_drawing)",
    "confidenceCheckBox": "what the views show (test_whole_job)",
    "provenanceCheckBox": "what the views show (test_provenance_in_the_panel)",
    "resultStructuresButton": "what Apply changes (test_structure_menu)",
    "measuredSelector": "which nodes are compared (test_whole_job)",
    "referenceSelector": "which nodes are compared (test_whole_job)",
    "sharePredictionsSelector": "what is imported (test_sharing_in_the_panel)",
    "shareCohortSelector": "what is imported (test_sharing_in_the_panel)",
    "shareRunSelector": "what is exported (test_sharing_in_the_panel)",
    "shareSegmentationSelector": "what is exported (test_dicom_in_the_scene)",
    "shareNameLineEdit": "what an import is called (test_sharing_in_the_panel)",
    "hostSelector": "where the worker is (test_computing_elsewhere)",
    "hostEdit": "which host is added (test_computing_elsewhere)",
    "prefixEdit": "which host is added (test_computing_elsewhere)",
    "pythonSelector": "which program the worker is (test_computing_elsewhere)",
}
"""Controls whose choice is in no request, and what it is for."""


def controls() -> set[str]:
    """The controls of the .ui file that hold a choice."""
    widgets = ElementTree.parse(UI).iter("widget")
    return {widget.get("name", "") for widget in widgets if widget.get("class") in HOLD_A_CHOICE}


def test_each_control_is_known_to_arrive_somewhere():
    assert sorted(controls()) == sorted([*ARRIVE, *ELSEWHERE])


@pytest.fixture
def requests(panel, monkeypatch, tmp_path):
    """What the worker processes are asked, newest last."""
    from SparseAnnotateLib.gui import qprocess_transport

    path = tmp_path / "requests.txt"
    command = [sys.executable, recording_worker.__file__, str(path)]
    for module in (client, client.subprocess_transport, qprocess_transport):
        monkeypatch.setattr(module, "worker_command", lambda *_given, **_more: command)
    return lambda: recording_worker.recorded(path)


@pytest.fixture
def two_drawn(panel, qt, monkeypatch):
    """Two checked volumes with drawn slices, and runs."""
    labels = ball()
    drawn = np.zeros_like(labels)
    drawn[[8, 12, 16]] = labels[[8, 12, 16]]
    nodes = []
    for number, name in enumerate(("first", "second", "unchecked")):
        image = noisy_image(labels, number)
        nodes.append(panel.mrml.util.addVolumeFromArray(image, np.diag([-1.0, 1.0, 2.0, 1.0]), name))
    panel.idle()
    for node in nodes[:2]:
        segmentation = panel.logic.segmentationNode(node)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        panel.mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "ball", node)
        for index in (8, 12, 16):
            panel.logic.markDrawn(node, "axial", index)
    runs = [RunSummary(name, name != "stopped", datetime(2026, 1, day + 1)) for day, name in enumerate(RUNS)]
    monkeypatch.setattr(type(panel.logic.panel), "run_summaries", lambda self: list(runs))
    panel.panel.environment.show_devices(["cpu", DEVICE])
    for row in range(panel.ui.volumeList.count):
        item = panel.ui.volumeList.item(row)
        item.setCheckState(qt.Qt.Checked)
    panel.panel.refresh()
    panel.idle()
    return nodes[:2]


def value_at(request: dict, path: str):
    for name in path.split("."):
        request = request[name]
    return request


def click(panel, *buttons) -> None:
    for button in buttons:
        assert button.enabled, button.toolTip
        button.click()
        panel.idle()


def click_all(panel) -> None:
    """Click all that asks a worker."""
    ui = panel.ui
    click(panel, ui.suggestPlanButton, ui.recommendButton)
    ui.volumeList.setCurrentRow(0)  # recommending may have gone to another
    panel.idle()
    click(panel, ui.fillButton, ui.fillAllButton, ui.estimateButton)
    click(panel, ui.trainButton)
    panel.panel.train._run_chosen("late")
    click(panel, ui.runButton, ui.runAllButton)


def arrived(requests: list[tuple[str, dict]], arrival: Arrival, meant: dict[str, Any]) -> bool:
    wanted = meant.get(arrival.value, arrival.value) if isinstance(arrival.value, str) else arrival.value
    return wanted in [value_at(request, arrival.path) for method, request in requests if method == arrival.method]


def test_what_is_chosen_in_each_control_arrives(panel, qt, two_drawn, requests, tmp_path):
    from SlicerStandIn import questions

    ui, texts = panel.ui, {FOLDER: str(tmp_path / "other"), SHARED: str(tmp_path / "Dataset501_Balls")}
    meant = {**texts, CASES: [scene.case_of(node) for node in two_drawn]}
    click_all(panel)
    before = requests()
    assert before
    as_it_is = [
        name for name, arrivals in ARRIVE.items() if any(arrived(before, arrival, meant) for arrival in arrivals)
    ]
    assert as_it_is == [], "what arrives anyway shows nothing"

    ui.cohortFolderSelector.currentPath = texts[FOLDER]
    ui.deviceSelector.setCurrentText(f"GPU ({DEVICE})")
    ui.volumeList.item(2).setCheckState(qt.Qt.Unchecked)
    for box, is_on in (("axialCheckBox", False), ("coronalCheckBox", False), ("sagittalCheckBox", True)):
        getattr(ui, box).checked = is_on
    for selector, text in (
        ("budgetKindSelector", "slices"),
        ("strategySelector", "Uncertainty"),
        ("scopeSelector", "Whole cohort"),
        ("featuresSelector", "Autoencoder"),
        ("planDimensionsSelector", "2D model"),
        ("planTargetSelector", "subtle"),
        ("presetSelector", "Balanced"),
        ("networkSelector", "SegResNet"),
        ("lossSelector", "Tversky"),
        ("fillRunSelector", "late"),
    ):
        getattr(ui, selector).setCurrentText(text)
        assert getattr(ui, selector).currentText == text
    for spin_box, value in (
        ("budgetSpinBox", 11),
        ("minimumSpinBox", 2),
        ("maximumSpinBox", 9),
        ("samplesSpinBox", 13),
        ("beyondSpinBox", 3),
        ("iterationsSpinBox", 7),
        ("fillWeightSpinBox", 0.4),
        ("meanTeacherSpinBox", 0.2),
        ("smoothingSpinBox", 1.5),
    ):
        getattr(ui, spin_box).value = value
    ui.patchLineEdit.text = "32 48 64"
    for name in ("flips", "largestComponent", "keepStrayPieces", "wholeVolume", "downloadWeights"):
        getattr(ui, f"{name}CheckBox").checked = True
    panel.panel.refresh()
    for action in panel.panel.recommend._models._actions:
        action.checked = action.text in ("early", "late")
    panel.idle()
    questions.answers.append(True)  # the weights may be downloaded
    click_all(panel)
    ui.fillMethodSelector.setCurrentText("Morphological (ITK)")
    ui.fromScratchCheckBox.checked = True
    click(panel, ui.fillAllButton, ui.recommendButton)
    ui.shareFormatSelector.setCurrentText("nnU-Net dataset")
    ui.shareFolderSelector.currentPath = texts[SHARED]
    click(panel, ui.shareExportButton)
    ui.learnCheckBox.checked = True
    panel.until(lambda: not ui.learnCheckBox.checked)

    after = requests()[len(before) :]
    lost = {
        name: [arrival for arrival in arrivals if not arrived(after, arrival, meant)]
        for name, arrivals in ARRIVE.items()
    }
    assert {name: arrivals for name, arrivals in lost.items() if arrivals} == {}
    # The device and the folder are in all of them.
    assert {request["device"] for _method, request in after if "device" in request} == {DEVICE}
    assert {request["cohort"] for _method, request in after if "cohort" in request} == {texts[FOLDER]}


def test_the_model_selected_in_the_table_recommends_the_next_slices(panel, two_drawn, requests):
    panel.panel.train._run_chosen("early")
    panel.ui.budgetSpinBox.value = 30.0
    click(panel, panel.ui.nextSlicesButton)
    ((method, request),) = requests()
    assert (method, request["runs"], request["strategy"]) == ("recommend", ["early"], "uncertainty")
    assert request["budget"]["more"] == round(0.3 * 3 * 24), "a share of all slices"


def test_network_and_patch_are_those_of_the_models_that_a_preset_trains(panel, two_drawn, requests):
    ui = panel.ui
    ui.networkSelector.setCurrentText("SegResNet")
    ui.patchLineEdit.text = "32 48 64"
    assert ui.patchLineEdit.enabled
    ui.presetSelector.setCurrentText("Quick, 2D")
    assert not ui.patchLineEdit.enabled
    assert ui.patchLineEdit.toolTip == "Only for a preset with a 3D model."
    click(panel, ui.trainButton)
    ((_method, request),) = requests()
    settings = request["settings"]
    found = {name: settings[name] for name in ("recipe", "network", "network_2d", "patch")}
    assert found == {"recipe": "2d", "network": "auto", "network_2d": "segresnet", "patch": None}


def test_all_volumes_are_filled_with_what_was_chosen_when_it_was_clicked(panel, two_drawn, requests):
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.fillAllButton.click()
    panel.ui.fillMethodSelector.setCurrentText("Morphological (ITK)")
    panel.panel.environment.session.parameters.device = DEVICE
    panel.until(lambda: len(requests()) == 2)
    panel.idle()
    assert [(method, request["method"], request["device"]) for method, request in requests()] == [
        ("fill", "shape", "auto"),
        ("fill", "shape", "auto"),
    ]
