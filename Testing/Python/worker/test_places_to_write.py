"""A folder that nothing can be written to is noticed before the work, and nothing stays of a refused request."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import FileWriteError, Ledger, SparseAnnotateError, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.atomic_files import require_writable, require_writable_place
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.exchange import monai_bundle, nnunet
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import create_request
from SparseAnnotateLib.worker.write_segmentation_request import WriteSegmentationRequest, write_dicom_segmentation

GEOMETRY = VolumeGeometry.from_spacing((4, 5, 6), (1.0, 1.0, 1.0))


@pytest.fixture
def nowhere(tmp_path):
    """A path below a file."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "Dataset501_balls"


def refused(capsys, *arguments) -> bool:
    assert main([str(argument) for argument in arguments]) == 1
    return "Dataset501_balls' cannot be written" in capsys.readouterr().err


def test_a_raw_dataset_is_not_prepared_for_a_folder_that_cannot_be_written(ball_cohort, nowhere, capsys, monkeypatch):
    monkeypatch.setattr(nnunet, "_drawn", None)
    assert refused(capsys, "export-nnunet", ball_cohort.folder, "--folder", nowhere)


def test_a_raw_dataset_is_not_read_for_a_cohort_that_cannot_be_written(ball_cohort, nowhere, capsys, monkeypatch):
    raw = ball_cohort.folder.parent / "Dataset502_raw"
    assert main(["export-nnunet", str(ball_cohort.folder), "--folder", str(raw)]) == 0
    monkeypatch.setattr(nnunet, "_case", None)
    assert refused(capsys, "import-nnunet", nowhere, "--folder", raw)
    assert refused(capsys, "import-nnunet", raw.parent / "new", "--folder", raw, "--state", nowhere)
    assert not (raw.parent / "new").exists()


def test_scans_are_not_checked_for_a_cohort_that_cannot_be_written(nowhere, tmp_path, capsys, monkeypatch):
    write_image(tmp_path / "a.nrrd", np.ones(GEOMETRY.shape, np.float32), GEOMETRY)
    monkeypatch.setattr(create_request, "_check_files", None)
    assert refused(capsys, "create", nowhere, tmp_path / "a.nrrd")


def test_a_bundle_is_not_prepared_for_a_folder_that_cannot_be_written(ball_cohort, nowhere, monkeypatch):
    train(ball_cohort, "r", TrainingSettings(recipe="3d", **{**QUICK_TRAINING, "iterations": 1}))
    monkeypatch.setattr(monai_bundle, "_all_weights", None)
    with pytest.raises(FileWriteError, match="Dataset501_balls' cannot be written"):
        monai_bundle.export_bundle(ball_cohort, "r", nowhere)


def test_nothing_stays_of_the_try(tmp_path):
    require_writable_place(tmp_path / "new" / "deeper")
    require_writable(tmp_path / "new" / "deeper" / "figures.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_segmentation_leaves_no_folder(tmp_path):
    write_image(tmp_path / "a.nrrd", np.ones(GEOMETRY.shape, np.float32), GEOMETRY)
    out = tmp_path / "left" / "over" / "x.dcm"
    request = WriteSegmentationRequest(str(out), "v", (str(tmp_path / "a.nrrd"),), str(tmp_path / "labels"), 0, ())
    with pytest.raises(SparseAnnotateError):
        write_dicom_segmentation(request, Watch())
    assert not (tmp_path / "left").exists()


def test_a_refused_export_leaves_no_folder(tiny_cohort, tmp_path, capsys):
    folder, geometry = tmp_path / "Dataset501_balls", tiny_cohort.geometry("a")
    tiny_cohort.save_annotation("a", SparseAnnotation(np.zeros(geometry.shape, np.uint8), Ledger(), geometry))
    assert main(["export-nnunet", str(tiny_cohort.folder), "--folder", str(folder)]) == 1
    assert "No structure has been drawn" in capsys.readouterr().err
    assert not folder.exists()
