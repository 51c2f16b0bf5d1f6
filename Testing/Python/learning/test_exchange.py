"""nnU-Net's raw data sets with their ignore label, and MONAI bundles that MONAI's own runner executes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_image, read_labels, write_image
from SparseAnnotateLib.core.nnunet import export_nnunet_dataset, import_nnunet_dataset, import_nnunet_predictions
from SparseAnnotateLib.learning import TrainingSettings
from SparseAnnotateLib.learning.monai_bundle import export_bundle, import_bundle
from SparseAnnotateLib.learning.prediction import Predictor
from SparseAnnotateLib.learning.training import train


@pytest.fixture
def oblique_cohort(tmp_path):
    """A case with labels 3 and 7 drawn on coronal slices of an oblique, flipped, anisotropic volume, and a bare one."""
    labels = 3 * ball() + 4 * ball(radius=4.0)
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]]) @ np.diag([1.0, 1.0, 2.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, (10.0, -20.0, 30.0)
    geometry = VolumeGeometry.from_matrix(labels.shape, matrix)
    cohort = Cohort.create(tmp_path / "cohort", "oblique", {3: "shell", 7: "kernel", 9: "never drawn"})
    for name in ("drawn", "bare"):
        cohort.add_case(name, noisy_image(labels), geometry)
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(labels, geometry, Plane.CORONAL, [2, 9, 14, 20]))
    return cohort


def test_a_cohort_goes_to_nnunet_and_comes_back_the_same(oblique_cohort, tmp_path):
    folder = export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_Oblique", ["drawn", "bare"], Watch())
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "shell": 1, "kernel": 2, "ignore": 3}
    assert content["numTraining"] == 1
    assert content["channel_names"] == {"0": "image"}
    annotation = oblique_cohort.annotation("drawn")
    labels = read_labels(folder / "labelsTr" / "drawn.nii.gz", annotation.geometry)
    drawn = annotation.supervised_mask()
    assert (labels[~drawn] == 3).all()
    np.testing.assert_array_equal(labels[drawn], np.array([0, 0, 0, 1, 0, 0, 0, 2])[annotation.labels[drawn]])
    image, geometry = read_image(folder / "imagesTs" / "bare_0000.nii.gz")
    assert geometry.difference_from(annotation.geometry) is None
    np.testing.assert_array_equal(image, oblique_cohort.image("bare")[0])

    again, warnings = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    assert warnings == []
    assert again.labels == {1: "shell", 2: "kernel"}
    back = again.annotation("drawn")
    np.testing.assert_array_equal(back.supervised_mask(), drawn)
    np.testing.assert_array_equal(back.drawn_labels() > 0, annotation.drawn_labels() > 0)
    assert back.ledger.indices(Plane.CORONAL) == [2, 9, 14, 20]
    assert not again.ledger("bare").decided


def test_nnunet_s_predictions_come_back_with_the_cohort_s_values_and_what_was_drawn(oblique_cohort, tmp_path):
    folder = export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_Oblique", ["drawn", "bare"], Watch())
    geometry = oblique_cohort.geometry("bare")
    wrong = np.full(geometry.shape, 2, np.uint8)
    for name in ("drawn", "bare"):
        write_image(tmp_path / "out" / f"{name}.nii.gz", wrong, geometry)
    names = import_nnunet_predictions(oblique_cohort, tmp_path / "out", folder, "nnU-Net", Watch())
    assert names == ["drawn", "bare"]
    bare, drawn = (read_labels(oblique_cohort.prediction_path("nnU-Net", n), geometry) for n in ("bare", "drawn"))
    assert (bare == 7).all()
    annotation = oblique_cohort.annotation("drawn")
    mask = annotation.supervised_mask()
    np.testing.assert_array_equal(drawn[mask], annotation.labels[mask])
    with pytest.raises(BadInputError, match="holds no prediction named like a case"):
        import_nnunet_predictions(oblique_cohort, tmp_path, folder, "nnU-Net", Watch())


def test_dense_labels_become_references_and_scribbles_are_said(tmp_path):
    folder = tmp_path / "Dataset007_Theirs"
    geometry = VolumeGeometry.from_spacing((24, 28, 32))
    scribbled = np.full((24, 28, 32), 2, np.uint8)
    scribbled[5] = ball()[5]
    scribbled[9, 3:5, 3:5] = 1
    for name, labels in (("dense", ball()), ("scribbled", scribbled)):
        write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", noisy_image(ball()), geometry)
        write_image(folder / "labelsTr" / f"{name}.nii.gz", labels, geometry)
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1, "ignore": 2}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": 2, "file_ending": ".nii.gz"}))
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert cohort.has_reference("dense")
    assert not cohort.ledger("dense").decided
    assert not cohort.has_reference("scribbled")
    assert cohort.ledger("scribbled").indices(Plane.AXIAL) == [5]
    assert len(warnings) == 1
    assert "'scribbled': 4 labelled voxels do not lie on a fully labelled slice" in warnings[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, "has 2 channels"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "labels that are regions"),
        ({"labels": None}, "is not a raw data set of nnU-Net v2"),
    ],
)
def test_data_sets_that_cannot_be_taken_over_are_refused(tmp_path, change, words):
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content | change))
    with pytest.raises(BadInputError, match=words):
        import_nnunet_dataset(tmp_path, tmp_path / "ours", Watch())
    with pytest.raises(BadInputError, match="is not a raw data set"):
        import_nnunet_dataset(tmp_path / "nothing", tmp_path / "ours", Watch())


def test_a_bad_export_is_refused_in_words(oblique_cohort, tmp_path):
    with pytest.raises(BadInputError, match="names like 'Dataset501_oblique'; 'mine' is not one"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "mine", ["drawn"], Watch())
    with pytest.raises(BadInputError, match="nothing that nnU-Net could learn"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["bare"], Watch())
    export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["drawn"], Watch())
    with pytest.raises(BadInputError, match="already holds a data set"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["drawn"], Watch())


@pytest.mark.parametrize("normalisation", ["z_score", "percentile"])
def test_monai_s_own_runner_executes_a_bundle_and_says_what_we_say(oblique_cohort, tmp_path, normalisation):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 30, "normalisation": normalisation})
    train(oblique_cohort, "r", settings, ["drawn"])
    folder = export_bundle(oblique_cohort, "r", tmp_path / "bundle")
    images = tmp_path / "images"
    image, geometry = oblique_cohort.image("bare")
    write_image(images / "bare.nii.gz", image, geometry)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(folder / "configs" / "inference.json")]
    command += ["--meta_file", str(folder / "configs" / "metadata.json")]
    result = subprocess.run(
        [*command, "--bundle_root", str(folder), "--dataset_dir", str(images)],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    theirs, own = read_image(folder / "predictions" / "bare_seg.nii.gz")
    assert own.difference_from(geometry) is None
    ours = Predictor(oblique_cohort, "r", "cpu").labels("bare")
    assert set(np.unique(theirs)) <= {0, 3, 7}
    # Bits of the last digit may decide where two classes are equally likely.
    assert (theirs == ours).mean() > 0.999
    assert len(np.unique(ours)) > 1


def test_a_bundle_comes_back_as_a_run(oblique_cohort, tmp_path):
    train(oblique_cohort, "r", TrainingSettings(**QUICK_TRAINING), ["drawn"])
    folder = export_bundle(oblique_cohort, "r", tmp_path / "bundle")
    import_bundle(oblique_cohort, folder, "again")
    one, other = (Predictor(oblique_cohort, name, "cpu").labels("bare") for name in ("r", "again"))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(BadInputError, match="There is a run 'again' already"):
        import_bundle(oblique_cohort, folder, "again")
    with pytest.raises(BadInputError, match="already is a bundle"):
        export_bundle(oblique_cohort, "r", folder)
    (folder / "configs" / "sparse_annotate.json").unlink()
    with pytest.raises(BadInputError, match="is not a bundle that SparseAnnotate wrote"):
        import_bundle(oblique_cohort, folder, "third")


def test_a_run_without_a_3d_model_makes_no_bundle(oblique_cohort, tmp_path):
    train(oblique_cohort, "flat", TrainingSettings(**QUICK_TRAINING, recipe="2d", patch_2d=(32, 32)), ["drawn"])
    with pytest.raises(BadInputError, match="has no 3D model"):
        export_bundle(oblique_cohort, "flat", tmp_path / "bundle")
