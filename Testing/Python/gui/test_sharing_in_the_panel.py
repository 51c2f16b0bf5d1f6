"""The step Share: nnU-Net's datasets and predictions, and MONAI bundles."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from dicom_made import write_series
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.core.dicom_headers import read_header
from SparseAnnotateLib.core.dicom_reading import read_segmentation, read_segmentation_header
from SparseAnnotateLib.core.images import read_labels, write_image

DATASET, PREDICTIONS, BUNDLE = "nnU-Net dataset", "nnU-Net predictions", "MONAI bundle"
SEGMENTATION = "DICOM SEG"


@pytest.fixture
def drawn(panel):
    """A ball with all recommended slices drawn, and the step Share unfolded."""
    panel.volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(panel.volume)
    panel.panel.open(panel.panel.share)
    return panel


def click(panel, button) -> None:
    assert button.enabled, button.toolTip
    button.click()
    panel.idle()


def choose(panel, shared: str, folder="") -> None:
    panel.ui.shareFormatSelector.setCurrentText(shared)
    panel.ui.shareFolderSelector.currentPath = str(folder)


def labels_of(panel, node):
    return panel.mrml.util.arrayFromSegmentBinaryLabelmap(
        node, node.GetSegmentation().GetSegmentIdBySegmentName("ball"), panel.volume
    )


def test_only_the_rows_that_a_format_needs_are_shown(panel):
    ui = panel.ui
    assert ui.shareSection.collapsed
    panel.panel.open(panel.panel.share)
    rows = {
        "Predictions": ui.sharePredictionsSelector,
        "New cohort": ui.shareCohortSelector,
        "Model": ui.shareRunSelector,
        "Name": ui.shareNameLineEdit,
        "Segmentation": ui.shareSegmentationSelector,
    }
    needed = {DATASET: {"New cohort"}, PREDICTIONS: {"Predictions", "Name"}, BUNDLE: {"Model", "Name"}}
    needed[SEGMENTATION] = {"Segmentation"}
    for shared, names in needed.items():
        choose(panel, shared)
        assert {name for name, widget in rows.items() if not widget.isHidden()} == names
        assert not ui.shareFolderSelector.isHidden()
    assert ui.shareExportButton.toolTip == "First load a volume, or check one in the list."
    choose(panel, BUNDLE)
    assert ui.shareExportButton.toolTip == "First train a model."
    choose(panel, PREDICTIONS)
    assert ui.shareNameLineEdit.placeholderText == "nnU-Net"
    assert ui.shareExportButton.toolTip == "Predictions of nnU-Net are only imported."
    assert ui.shareImportButton.toolTip == "First load a volume, or check one in the list."
    panel.add_ball()
    choose(panel, DATASET)
    assert ui.shareExportButton.toolTip == "Draw a slice and mark it as drawn first."


def test_what_is_missing_is_said_before_anything_is_written(drawn, monkeypatch):
    ui = drawn.ui
    monkeypatch.setattr(type(drawn.logic.session), "do", lambda *_given: pytest.fail("a job was started"))
    for shared, button, message in (
        (DATASET, ui.shareExportButton, "Select a folder for the dataset first, with a name like Dataset501_Liver."),
        (DATASET, ui.shareImportButton, "Select the folder of the nnU-Net dataset first."),
        (PREDICTIONS, ui.shareImportButton, "Select the folder of the nnU-Net dataset first."),
        (BUNDLE, ui.shareImportButton, "Select the folder of the bundle first."),
    ):
        choose(drawn, shared)
        click(drawn, button)
        assert drawn.message == message
    choose(drawn, DATASET, "Dataset501_Ball")
    click(drawn, ui.shareImportButton)
    assert drawn.message == "Select a new folder for the cohort first."
    choose(drawn, PREDICTIONS, "Dataset501_Ball")
    click(drawn, ui.shareImportButton)
    assert drawn.message == "Select the folder with the predictions first."


def test_a_dataset_is_written_predicted_and_read_again(drawn, tmp_path):
    ui, folder = drawn.ui, tmp_path / "Dataset501_Ball"
    choose(drawn, DATASET, tmp_path / "ball")
    click(drawn, ui.shareExportButton)
    assert drawn.message.startswith("nnU-Net finds datasets by names like 'Dataset501_cohort'; 'ball' is not one.")
    choose(drawn, DATASET, folder)
    click(drawn, ui.shareExportButton)
    assert drawn.message == f"Written: '{folder}' (1 volume)."
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "ball": 1, "ignore": 2}
    click(drawn, ui.shareExportButton)
    assert drawn.message.endswith("already contains a dataset; choose another folder.")

    # What nnU-Net would find: everything in the middle of the volume.
    cohort = drawn.logic.cohort()
    (case,) = cohort.cases
    (image,) = (folder / "imagesTr").iterdir()
    predicted = np.zeros(drawn.labels.shape, np.uint8)
    predicted[5:15, 5:15, 5:15] = 1
    (tmp_path / "predicted").mkdir()
    path = tmp_path / "predicted" / image.name.replace("_0000", "")
    write_image(path, predicted, cohort.geometry(case.name))
    choose(drawn, PREDICTIONS, folder)
    ui.sharePredictionsSelector.currentPath = str(tmp_path / "predicted")
    click(drawn, ui.shareImportButton)
    node = drawn.panel.result.node
    assert drawn.message == "New segmentation: 'ball nnU-Net'."
    assert node.GetName() == "ball nnU-Net"
    assert not ui.resultSection.collapsed
    known = drawn.logic.ledger(drawn.volume).indices(Plane.AXIAL)
    expected = predicted.copy()
    expected[known] = drawn.labels[known] > 0
    np.testing.assert_array_equal(labels_of(drawn, node), expected)
    stored = read_labels(cohort.prediction_path("nnU-Net", case.name), cohort.geometry(case.name))
    np.testing.assert_array_equal(stored, expected)
    # It is a result like others: it takes part in a fill, and can be applied.
    fill = drawn.logic.fillBetweenSlices(drawn.volume, earlier=["nnU-Net"])
    assert drawn.logic.fillReport(fill).summary
    path.unlink()
    click(drawn, ui.shareImportButton)
    assert "contains no prediction named like a case" in drawn.message

    # The dataset as a cohort of its own, which is opened.
    choose(drawn, DATASET, folder)
    ui.shareCohortSelector.currentPath = str(tmp_path / "of nnU-Net")
    click(drawn, ui.shareImportButton)
    drawn.until(lambda: "is now the cohort" in drawn.message)
    assert drawn.message == f"The dataset with 1 volume is now the cohort '{tmp_path / 'of nnU-Net'}'."
    assert ui.cohortFolderSelector.currentPath == str(tmp_path / "of nnU-Net")
    opened = next(node for node in drawn.panel.session.volumes if node is not drawn.volume)
    assert drawn.logic.ledger(opened).indices(Plane.AXIAL) == known
    click(drawn, ui.shareImportButton)
    assert "already" in drawn.message


def test_a_bundle_is_written_and_read_and_the_run_can_be_used(drawn, tmp_path):
    ui = drawn.ui
    ui.iterationsSpinBox.value = 2
    click(drawn, ui.trainButton)
    choose(drawn, BUNDLE, tmp_path / "my bundle")
    assert ui.shareRunSelector.currentText == "run 1"
    click(drawn, ui.shareExportButton)
    assert drawn.message == f"Written: '{tmp_path / 'my bundle'}'."
    assert (tmp_path / "my bundle" / "configs" / "inference.json").is_file()
    ui.shareNameLineEdit.text = "run 1"
    click(drawn, ui.shareImportButton)
    assert drawn.message == "The run 'run 1' already exists; choose another name."
    ui.shareNameLineEdit.text = ""
    click(drawn, ui.shareImportButton)
    assert drawn.message == "'my bundle' was imported. Click Run to segment a volume with it."
    assert drawn.logic.runs() == ["run 1", "my bundle"]
    assert drawn.panel.train.runs.chosen.name == "my bundle"
    click(drawn, ui.runButton)
    assert drawn.panel.result.node.GetName() == "ball my bundle"
    ui.strategySelector.setCurrentText("Uncertainty")
    ui.budgetKindSelector.setCurrentText("slices")
    ui.budgetSpinBox.value = 8
    click(drawn, ui.recommendButton)
    assert drawn.message == "The worklist contains 2 slices to draw."
    # Predictions of another tool must not be taken for those of a run.
    choose(drawn, PREDICTIONS, tmp_path)
    ui.sharePredictionsSelector.currentPath = str(tmp_path)
    ui.shareNameLineEdit.text = "run 1"
    (tmp_path / "dataset.json").write_text("{}")
    click(drawn, ui.shareImportButton)
    assert drawn.message == "'run 1' is a trained run of the cohort. Choose another name for the predictions."
    # A run that is deleted while it is selected is not replaced by another one unasked.
    choose(drawn, BUNDLE, tmp_path / "another")
    ui.shareRunSelector.setCurrentText("run 1")
    shutil.rmtree(drawn.logic.cohort().run_folder("run 1"))
    click(drawn, ui.shareExportButton)
    assert drawn.message == (
        "The run 'run 1' is not in the cohort folder any more, or cannot be used. Select another one."
    )
    assert not (tmp_path / "another").exists()
    assert ui.shareRunSelector.currentText == "my bundle"
    click(drawn, ui.shareExportButton)
    assert drawn.message == f"Written: '{tmp_path / 'another'}'."


def test_a_folder_that_is_no_bundle_is_a_sentence(drawn, tmp_path):
    choose(drawn, BUNDLE, tmp_path / "nothing")
    click(drawn, drawn.ui.shareImportButton)
    assert "is not a bundle that SparseAnnotate wrote" in drawn.message


def test_what_was_chosen_is_kept_with_the_scene(panel, tmp_path):
    ui = panel.ui
    choose(panel, PREDICTIONS, tmp_path)
    ui.sharePredictionsSelector.currentPath = str(tmp_path / "predicted")
    ui.shareNameLineEdit.text = "theirs"
    panel.widget.exit()
    ui.shareFolderSelector.currentPath = ui.sharePredictionsSelector.currentPath = ""
    panel.widget.enter()
    assert ui.shareFormatSelector.currentText == PREDICTIONS
    assert ui.shareFolderSelector.currentPath == str(tmp_path)
    assert ui.sharePredictionsSelector.currentPath == str(tmp_path / "predicted")
    assert ui.shareNameLineEdit.text == "theirs"


def test_a_segmentation_of_a_volume_from_dicom_is_written_for_its_series(drawn, tmp_path, monkeypatch):
    ui, volume = drawn.ui, drawn.volume
    choose(drawn, SEGMENTATION)
    assert ui.shareExportButton.toolTip == (
        "'ball' was not loaded from DICOM, so a DICOM segmentation has no series to refer to. Load it with Slicer's "
        "DICOM module."
    )
    assert "only exported here" in ui.shareImportButton.toolTip
    # As Slicer's DICOM module leaves a volume.
    voxels = drawn.mrml.util.arrayFromVolume(volume)
    headers = write_series(tmp_path / "in", voxels.astype(int), scene.geometry_of(volume), modality="MR")
    files = {read_header(str(path)).sop_uid: str(path) for path in (tmp_path / "in").iterdir()}
    database = SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(drawn.mrml, "dicomDatabase", database, raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(str(one.SOPInstanceUID) for one in headers))
    drawn.panel.session.refresh()
    click(drawn, ui.shareExportButton)
    assert drawn.message == "Select a folder for the DICOM file first."
    segmentation = drawn.logic.segmentationNode(volume)
    fill = drawn.logic.fillBetweenSlices(volume, "shape")
    drawn.panel.session.refresh()
    names = [ui.shareSegmentationSelector.itemText(place) for place in range(ui.shareSegmentationSelector.count)]
    assert names == [segmentation.GetName(), fill.GetName()]
    counts = []
    for place, node in ((0, segmentation), (1, fill), (0, segmentation)):
        if counts[1:]:  # the last time with what was applied
            drawn.logic.applyFill(volume, fill)
            drawn.panel.session.refresh()
        ui.shareSegmentationSelector.setCurrentIndex(place)
        choose(drawn, SEGMENTATION, tmp_path / "out")
        click(drawn, ui.shareExportButton)
        path = tmp_path / "out" / f"{node.GetName()}.dcm"
        assert drawn.message.startswith(f"Written: '{path}'."), drawn.message
        found = read_segmentation(read_segmentation_header(path), scene.geometry_of(volume)) > 0
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("ball")
        assert np.array_equal(found, drawn.mrml.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume) > 0)
        counts.append(int(found.sum()))
    assert counts[0] < counts[1] == counts[2]
    assert not list((drawn.logic.cohort().cache_folder / "dicom_segmentation").iterdir())
    # What the database has lost is said before anything is written.
    files.clear()
    click(drawn, ui.shareExportButton)
    assert "are not in Slicer's DICOM database" in drawn.message
