"""Several channels in the formats of other programs: nnU-Net's raw datasets and MONAI bundles."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_runner import labels_by_monai
from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.exchange.monai_bundle import export_bundle, import_bundle
from SparseAnnotateLib.learning.exchange.nnunet import export_nnunet_dataset, import_nnunet_dataset
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

SHAPE = (16, 20, 36)
GEOMETRY = VolumeGeometry.from_itk(
    SHAPE[::-1], (1.0, 1.0, 2.0), (3.0, -7.0, 5.0), (0.96, 0.28, 0, -0.28, 0.96, 0, 0, 0, 1)
)
LABELS = ball(SHAPE, 6.0)


@pytest.fixture
def two_channels(tmp_path):
    rng = np.random.default_rng(5)
    cohort = Cohort.create(tmp_path / "cohort", "balls", {2: "ball"}, channels=("FLAIR", "T1"))
    for name in ("drawn", "bare"):
        images = [(rng.normal(size=SHAPE) * 10 + scale * LABELS).astype(np.float32) for scale in (60.0, -90.0)]
        write_image(tmp_path / f"{name} T1.nrrd", images[1], GEOMETRY)
        cohort.add_case(name, images[0], GEOMETRY, further={"T1": tmp_path / f"{name} T1.nrrd"})
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(2 * LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
    return cohort


def test_a_raw_dataset_has_all_channels_both_ways(two_channels, tmp_path):
    folder = export_nnunet_dataset(two_channels, tmp_path / "Dataset007_Balls", ["drawn", "bare"], Watch())
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "FLAIR", "1": "T1"}
    assert {path.name for path in (folder / "imagesTs").iterdir()} == {"bare_0000.nii.gz", "bare_0001.nii.gz"}
    again, warnings = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    assert warnings == []
    assert again.channels == ("FLAIR", "T1")
    for name in ("drawn", "bare"):
        for channel in again.channels:
            found = again.channel_image(name, channel, again.geometry(name))
            assert np.array_equal(found, two_channels.channel_image(name, channel, GEOMETRY))
    assert np.array_equal(again.annotation("drawn").labels > 0, two_channels.annotation("drawn").labels > 0)
    (folder / "imagesTr/drawn_0001.nii.gz").unlink()
    third, warnings = import_nnunet_dataset(folder, tmp_path / "third", Watch())
    assert warnings == ["'drawn' has no image of the channel 'T1'."]
    assert list(third.channel_paths("drawn")) == ["FLAIR"]
    with pytest.raises(BadInputError, match="channel 'T1' is missing in 1 case: 'drawn'"):
        export_nnunet_dataset(third, tmp_path / "Dataset008_Balls", ["drawn", "bare"], Watch())
    other = VolumeGeometry.from_spacing((4, 5, 6))
    write_image(folder / "imagesTr/drawn_0001.nii.gz", np.zeros((4, 5, 6), np.float32), other)
    with pytest.raises(BadInputError, match="does not lie on the grid of the first channel"):
        import_nnunet_dataset(folder, tmp_path / "fourth", Watch())
    assert not (tmp_path / "fourth").exists()


@pytest.mark.parametrize("normalisation", ["z_score", "percentile"])
def test_monai_s_own_runner_sees_all_channels_of_a_bundle(two_channels, tmp_path, normalisation):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 30, "normalisation": normalisation})
    train(two_channels, "r", settings, ["drawn"])
    folder = export_bundle(two_channels, "r", tmp_path / "bundle")
    content = json.loads((folder / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    assert (content["num_channels"], content["channel_def"]) == (2, {"0": "FLAIR", "1": "T1"})
    for place, channel in enumerate(two_channels.channels):
        image = two_channels.channel_image("bare", channel, GEOMETRY)
        write_image(tmp_path / f"images/bare_{place:04d}.nii.gz", image, GEOMETRY)
    theirs, own = labels_by_monai(folder, tmp_path / "images")
    assert own.difference_from(GEOMETRY) is None
    ours = Predictor(two_channels, "r", "cpu").labels("bare")
    assert (theirs == ours).mean() > 0.999
    assert set(np.unique(ours)) == {0, 2}
    import_bundle(two_channels, folder, "again")
    assert np.array_equal(Predictor(two_channels, "again", "cpu").labels("bare"), ours)
