"""CT is in Hounsfield units: all cases of a cohort are scaled alike, and as the run has learned it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_runner import labels_by_monai
from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.core import BadInputError, CancelledError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.strict_json import read_json
from SparseAnnotateLib.learning.data.training_cases import normalise, normalised_image
from SparseAnnotateLib.learning.exchange.monai_bundle import export_bundle, import_bundle
from SparseAnnotateLib.learning.exchange.nnunet import export_nnunet_dataset, import_nnunet_dataset
from SparseAnnotateLib.learning.prediction.image_predictor import ImagePredictor
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.propagation.learned_interpolator import trained_propagation
from SparseAnnotateLib.learning.propagation.slice_matcher import PropagationSettings
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.run_planning import plan_run
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.ct_scale import CtScale
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.selection import cohort_slice_images

SHAPE = (16, 20, 36)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 2.0))
LABELS = ball(SHAPE, 6.0)


def ct_image(seed: int, air: float = 0.0) -> np.ndarray:
    """Tissue of 40 and a ball of 240 Hounsfield units; the last share of the columns is air."""
    image = np.random.default_rng(seed).normal(40.0, 15.0, SHAPE) + 200.0 * LABELS
    image[:, :, SHAPE[2] - int(air * SHAPE[2]) :] = -1000.0
    return np.round(image).astype(np.int16)


def made(folder, channels=(), modalities=None) -> Cohort:
    """Two cases, the second with much air beside the ball; the first one is drawn."""
    cohort = Cohort.create(folder, "balls", {2: "ball"}, channels=channels, modalities=modalities)
    for number, (name, air) in enumerate((("drawn", 0.0), ("bare", 0.3))):
        further = {}
        if len(channels) > 1:
            scan = np.random.default_rng(9 + number).normal(size=SHAPE) * 10 * (number + 1) - 90.0 * LABELS
            further = {channels[1]: folder.parent / f"{folder.name} {name}.nrrd"}
            write_image(further[channels[1]], scan.astype(np.float32), GEOMETRY)
        cohort.add_case(name, ct_image(number, air), GEOMETRY, further=further)
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(2 * LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
    return cohort


@pytest.fixture
def ct_cohort(tmp_path):
    return made(tmp_path / "cohort", modalities={"": "CT"})


def test_the_scale_is_that_of_the_drawn_structures_of_all_cases(ct_cohort):
    bare = SparseAnnotation.from_slices(2 * LABELS, GEOMETRY, Plane.AXIAL, [7, 8])
    ct_cohort.save_annotation("bare", bare)
    plan = new_plan(ct_cohort, TrainingSettings(**QUICK_TRAINING), ["drawn", "bare"])
    drawn = ct_cohort.annotation("drawn").drawn_labels() > 0
    values = np.concatenate([ct_image(0)[drawn], ct_image(1, 0.3)[bare.drawn_labels() > 0]])
    low, high = np.percentile(values, (0.5, 99.5))
    scale, inside = plan.ct[""], np.clip(values, low, high)
    assert (scale.mean, scale.deviation) == pytest.approx((inside.mean(), inside.std()), abs=1e-3)
    # At least 200 HU wide: the ball is more uniform than that.
    assert (scale.low, scale.high) == pytest.approx(((low + high) / 2 - 100, (low + high) / 2 + 100), abs=1e-3)


def test_planning_shows_which_case_is_read_and_can_be_cancelled(ct_cohort):
    ct_cohort.save_annotation("bare", ct_cohort.annotation("drawn"))
    settings, said = TrainingSettings(**QUICK_TRAINING), []
    plan_run(ct_cohort, None, settings, watch=Watch(lambda progress: said.append(progress.message)))
    assert said[-2:] == ["reading 'drawn'", "reading 'bare'"]
    assert set(said[:-2]) == {"checking the image of 'drawn'", "checking the image of 'bare'"}
    watch = Watch(lambda _progress: watch.cancel())
    with pytest.raises(CancelledError):
        plan_run(ct_cohort, None, settings, watch=watch)


def test_a_wide_range_of_values_is_the_window_itself(tmp_path):
    cohort = Cohort.create(tmp_path / "c", "c", {1: "bone"}, modalities={"": "CT"})
    image = np.linspace(-800, 1200, LABELS.size).reshape(SHAPE).astype(np.float32)
    cohort.add_case("a", image, GEOMETRY)
    whole = np.ones(SHAPE, np.uint8)
    cohort.save_annotation("a", SparseAnnotation.from_slices(whole, GEOMETRY, Plane.AXIAL, range(SHAPE[0])))
    scale = new_plan(cohort, TrainingSettings(**QUICK_TRAINING), ["a"]).ct[""]
    assert (scale.low, scale.high) == pytest.approx((-790.0, 1190.0), abs=1.0)


def test_the_same_tissue_has_the_same_value_in_all_cases(ct_cohort):
    scale = CtScale(-160.0, 240.0, 40.0, 50.0)
    tissue = np.array(
        [normalised_image(ct_cohort, n, "z_score", (), {"": scale})[:, :, 2:6] for n in ("drawn", "bare")]
    )
    expected = [
        GEOMETRY.to_standard_order((0.9 * image.clip(-160, 240) + 0.1 * image.clip(-1024, 3071) - 40.0) / 50.0)
        for image in (ct_image(0), ct_image(1, 0.3))
    ]
    np.testing.assert_allclose(tissue.astype(np.float32), np.array(expected)[:, :, :, 2:6], atol=5e-3)
    alone = [normalised_image(ct_cohort, name, "z_score").astype(np.float32) for name in ("drawn", "bare")]
    low = [image[:, :, -4:].mean() - image[:, :, :4].mean() for image in alone]
    assert abs(low[0] - low[1]) > 0.5  # each by itself


def test_a_tenth_of_what_lies_outside_of_the_window_remains():
    scale = CtScale(-160.0, 240.0, 40.0, 50.0)
    values = np.array([40, 240, 1240, -160, -1160, -32768, 32767], dtype=np.int16)
    expected = [0.0, 4.0, 6.0, -4.0, -4.0 - 86.4 / 50, -4.0 - 86.4 / 50, 4.0 + 283.1 / 50]
    np.testing.assert_allclose(scale.of(values), expected, rtol=1e-5)


def test_a_run_keeps_its_scale_when_more_is_drawn(ct_cohort):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 30})
    card = train(ct_cohort, "r", settings, ["drawn"])
    plan = RunFolder(ct_cohort.run_folder("r")).plan()
    assert card.ct == plan.ct
    assert set(card.ct) == {""}
    before = Predictor(ct_cohort, "r", "cpu").labels("bare")
    image = ImagePredictor(RunFolder(ct_cohort.run_folder("r")), device="cpu").predict(ct_image(1, 0.3), GEOMETRY)
    np.testing.assert_array_equal(image.labels, before)
    # Without the modality a new run has none, and the old one predicts as it did.
    ct_cohort.use_modalities({"": ""})
    again = Cohort.open(ct_cohort.folder)
    np.testing.assert_array_equal(Predictor(again, "r", "cpu").labels("bare"), before)
    assert new_plan(again, settings, ["drawn"]).ct == {}


def test_a_run_of_ct_refuses_images_that_are_known_to_be_something_else(ct_cohort):
    train(ct_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 2}), ["drawn"])
    ct_cohort.use_modalities({"": "MR"})
    with pytest.raises(BadInputError, match="scales the image as CT, in Hounsfield units, and in the cohort .* is MR"):
        Predictor(Cohort.open(ct_cohort.folder), "r", "cpu").labels("bare")


def test_a_ct_with_values_that_are_no_numbers_is_refused():
    image = ct_image(0).astype(np.float32)
    image[0, 0, 0] = np.nan
    with pytest.raises(BadInputError, match="NaN"):
        normalise(image, "z_score", CtScale(-100.0, 200.0, 40.0, 50.0))


def test_cards_of_runs_that_know_no_ct_are_as_before(tmp_path):
    cohort = made(tmp_path / "cohort")
    train(cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 2}), ["drawn"])
    path = cohort.run_folder("r") / "model_card.json"
    path = path if path.is_file() else next(cohort.run_folder("r").glob("*card*.json"))
    assert "ct" not in json.loads(path.read_text())
    assert read_json(path, RunCard).ct == {}


def test_images_that_are_no_ct_are_refused_with_their_values(ct_cohort):
    scaled = (np.random.default_rng(0).random(SHAPE) * 0.5 + 5000).astype(np.float32)
    ct_cohort.add_case("scaled", scaled, GEOMETRY)
    with pytest.raises(BadInputError, match="image of case 'scaled' cannot be used. Its values lie between 5000"):
        normalised_image(ct_cohort, "scaled", "z_score", (), {"": CtScale(-160.0, 240.0, 40.0, 50.0)})
    ct_cohort.add_case("parts", np.random.default_rng(0).random(SHAPE), GEOMETRY)
    with pytest.raises(BadInputError, match="image of case 'parts' cannot be used. Its values lie between"):
        normalised_image(ct_cohort, "parts", "z_score", (), {"": CtScale(-160.0, 240.0, 40.0, 50.0)})
    with pytest.raises(BadInputError, match="window 5 to 5"):
        CtScale(5.0, 5.0, 0.0, 1.0)


def test_pictures_of_slices_have_the_same_grey_for_the_same_tissue(ct_cohort, tmp_path):
    def brightness(cohort):
        return [float(cohort_slice_images(cohort, n, [Plane.AXIAL])[Plane.AXIAL][8, 3, 2]) for n in ("drawn", "bare")]

    found = brightness(ct_cohort)
    assert found[0] == pytest.approx(0.52, abs=0.01)  # 40 HU between -1000 and 1000
    assert found[1] == pytest.approx(found[0], abs=0.01)
    alone = brightness(made(tmp_path / "plain"))
    assert abs(alone[0] - alone[1]) > 0.1


def test_propagation_sees_all_cases_alike(ct_cohort):
    method = trained_propagation(ct_cohort, ["drawn"], PropagationSettings(steps=2, device="cpu"))
    annotation = ct_cohort.annotation("drawn")
    from SparseAnnotateLib.interpolation.label_fields import DrawnSlices

    found = method.prepared(annotation, DrawnSlices.of(annotation), ct_image(1, 0.3)).image
    np.testing.assert_allclose(found.astype(np.float32), (ct_image(1, 0.3).clip(-1000, 1000) + 1000) / 2000, atol=1e-3)


def test_nnunet_is_told_which_channel_is_ct(ct_cohort, tmp_path):
    folder = export_nnunet_dataset(ct_cohort, tmp_path / "Dataset007_Balls", ["drawn", "bare"], Watch())
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "CT"}
    again, _warnings = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    assert (again.channels, again.modalities) == ((), {"": "CT"})
    both = made(tmp_path / "both", ("venous", "MR"), {"venous": "CT"})
    folder = export_nnunet_dataset(both, tmp_path / "Dataset008_Balls", ["drawn"], Watch())
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "CT", "1": "MR"}
    again, _warnings = import_nnunet_dataset(folder, tmp_path / "third", Watch())
    assert again.modalities == {"CT": "CT"}


@pytest.mark.parametrize(
    ("channels", "normalisation"), [((), "z_score"), (("CT", "MR"), "z_score"), (("CT", "MR"), "percentile")]
)
def test_monai_s_own_runner_scales_ct_as_the_run_does(tmp_path, channels, normalisation):
    cohort = made(tmp_path / "cohort", channels, None if channels else {"": "CT"})
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 30, "normalisation": normalisation})
    card = train(cohort, "r", settings, ["drawn"])
    assert set(card.ct) == {channels[0] if channels else ""}
    folder = export_bundle(cohort, "r", tmp_path / "bundle")
    for place, channel in enumerate(channels or ("",)):
        image = cohort.channel_image("bare", channel, GEOMETRY)
        ending = f"_{place:04d}" if channels else ""
        write_image(tmp_path / f"images/bare{ending}.nii.gz", image, GEOMETRY)
    theirs, own = labels_by_monai(folder, tmp_path / "images")
    assert own.difference_from(GEOMETRY) is None
    ours = Predictor(cohort, "r", "cpu").labels("bare")
    assert (theirs == ours).mean() > 0.999
    assert set(np.unique(ours)) == {0, 2}
    assert import_bundle(cohort, folder, "again").ct == card.ct
