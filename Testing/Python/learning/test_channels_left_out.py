"""A channel that shows nothing of the drawn structures is left out of a training; one that may show some is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from monai_runner import labels_by_monai
from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, CancelledError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.exchange.monai_bundle import export_bundle
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.run_planning import plan_run, plan_to_train
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

SHAPE = (48, 40, 40)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE)
ROWS, COLUMNS = np.mgrid[:40, :40]
BODY = np.hypot(ROWS - 20, COLUMNS - 20) < 18
SETTINGS = TrainingSettings(**QUICK_TRAINING)


def disks(seed=0):
    """(K, J, I) uint8: a disk on each slice, somewhere else on each."""
    rng, found = np.random.default_rng(seed), []
    for _slice in range(SHAPE[0]):
        row, column = 20 + 9 * rng.uniform(-1, 1, 2)
        found.append(np.hypot(ROWS - row, COLUMNS - column) < 4)
    return np.array(found, dtype=np.uint8)


LABELS = disks()
RNG = np.random.default_rng(3)
SHOWN = (BODY * 100.0 + LABELS * 60.0 + RNG.normal(size=SHAPE) * 10).astype(np.float32)
NOISE = RNG.normal(size=SHAPE).astype(np.float32)


def cohort_of(folder, labels=LABELS, every=2, cases=("a",), dtype=np.float32, **channels):
    cohort = Cohort.create(folder, "disks", {1: "disk", 2: "other"}, channels=tuple(channels))
    for name in cases:
        paths = {}
        for channel, image in channels.items():
            paths[channel] = folder / "images" / f"{name} {channel}.nrrd"
            write_image(paths[channel], np.asarray(image, dtype=dtype), GEOMETRY)
        first, *further = paths
        cohort.add_case(name, paths[first], further={channel: paths[channel] for channel in further})
        drawn = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, range(0, SHAPE[0], every))
        cohort.save_annotation(name, drawn)
    return Cohort.open(folder)


def weights_of(cohort):
    return RunFolder(cohort.run_folder("r")).weights_path("3d").read_bytes()


@pytest.mark.parametrize("order", [("noise", "shown"), ("shown", "noise")])
def test_a_run_with_noise_beside_an_image_is_the_run_of_the_image_alone(tmp_path, order):
    images = {"shown": SHOWN, "noise": NOISE}
    both = cohort_of(tmp_path / "both", **{name: images[name] for name in order})
    alone = cohort_of(tmp_path / "alone", shown=SHOWN)
    for cohort in (both, alone):
        card = train(cohort, "r", SETTINGS)
        assert card.channels == ("shown",)
    assert weights_of(both) == weights_of(alone)
    predictors = [Predictor(cohort, "r", "cpu") for cohort in (both, alone)]
    assert np.array_equal(*(one.labels("a") for one in predictors))
    assert predictors[0].card.images == predictors[1].card.images
    assert predictors[0].image_facts("a") == predictors[1].image_facts("a")
    note = "The channel 'noise' is not used: on the drawn slices, it is the same at the structures as anywhere else."
    hint = f"To use it anyway, set the training setting 'channels' ('train --channels {' '.join(order)}')."
    assert f"{note} {hint}" in predictors[0].card.notes
    assert not any("is not used" in one for one in predictors[1].card.notes)


@pytest.mark.parametrize("recipe", ["2d", "self_training"])
def test_all_models_of_a_run_are_without_it(tmp_path, recipe):
    cohort = cohort_of(tmp_path / "c", noise=NOISE, shown=SHOWN)
    bare = tmp_path / "bare.nrrd"
    write_image(bare, SHOWN, GEOMETRY)
    write_image(tmp_path / "noise.nrrd", NOISE, GEOMETRY)
    cohort.add_case("bare", tmp_path / "noise.nrrd", further={"shown": bare})
    small = {**QUICK_TRAINING, "iterations": 2}
    train(cohort, "r", TrainingSettings(**small, recipe=recipe, patch_2d=(32, 32), batch_2d=2))
    labels = Predictor(cohort, "r", "cpu").labels("bare")
    write_image(tmp_path / "noise.nrrd", 1000 * NOISE[::-1], GEOMETRY)
    assert np.array_equal(Predictor(Cohort.open(cohort.folder), "r", "cpu").labels("bare"), labels)


def test_a_run_that_was_cancelled_is_resumed_to_the_same_result(tmp_path):
    once, twice = (cohort_of(tmp_path / name, shown=SHOWN, noise=NOISE) for name in ("once", "twice"))
    train(once, "r", SETTINGS)
    plan_run(twice, "r", SETTINGS)

    def stop(progress):
        if progress.metrics:
            raise CancelledError

    with pytest.raises(CancelledError):
        train(twice, "r", SETTINGS, watch=Watch(stop))
    assert not RunFolder(twice.run_folder("r")).is_finished
    assert train(twice, "r", SETTINGS).channels == ("shown",)
    assert weights_of(once) == weights_of(twice)


def test_the_channel_that_is_left_out_is_named_before_the_first_step(tmp_path):
    cohort, messages = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE), []

    def keep(progress):
        messages.append(progress.message)
        if progress.metrics:
            raise CancelledError

    with pytest.raises(CancelledError):
        train(cohort, "r", SETTINGS, watch=Watch(keep))
    assert "learning from 'shown', without 'noise'" in messages


def test_it_is_used_where_the_settings_name_it(tmp_path):
    cohort = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE)
    plan = plan_run(cohort, None, TrainingSettings(**QUICK_TRAINING, channels=("noise", "shown")))
    assert plan.channels == ("shown", "noise")
    assert not any("is not used" in note for note in plan.notes)
    only = plan_run(cohort, None, TrainingSettings(**QUICK_TRAINING, channels=("noise",)))
    assert (only.channels, only.image_channels) == (("noise",), 1)
    with pytest.raises(BadInputError, match="names 'T2', but the cohort 'disks' has the channels shown, noise"):
        plan_run(cohort, None, TrainingSettings(**QUICK_TRAINING, channels=("T2",)))
    with pytest.raises(BadInputError, match="must name at least one channel"):
        TrainingSettings(channels=())


def test_the_command_line_names_the_channels_to_use(tmp_path):
    cohort = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE)
    small = ["--patch", "16", "16", "32", "--batch", "1", "--device", "cpu"]
    main(["train", str(cohort.folder), "--run", "r", "--plan-only", "--channels", "shown", "noise", *small])
    plan = RunFolder(cohort.run_folder("r")).plan()
    assert (plan.channels, plan.settings.channels) == (("shown", "noise"),) * 2


def test_a_run_of_an_earlier_version_goes_on_with_all_its_channels(tmp_path):
    cohort = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE)
    everything = TrainingSettings(**QUICK_TRAINING, channels=("shown", "noise"))
    plan_run(cohort, "r", everything)
    file = cohort.run_folder("r") / "plan.json"
    content = json.loads(file.read_text())
    del content["settings"]["channels"]
    file.write_text(json.dumps(content))
    assert train(cohort, "r", SETTINGS).channels == ("shown", "noise")
    assert "channels" not in json.loads((cohort.run_folder("r") / "plan.json").read_text())["settings"]


def test_a_bundle_needs_only_the_channels_of_its_run(tmp_path):
    cohort = cohort_of(tmp_path / "c", noise=NOISE, shown=SHOWN)
    train(cohort, "r", SETTINGS)
    folder = export_bundle(cohort, "r", tmp_path / "bundle")
    content = json.loads((folder / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    assert content["channel_def"] == {"0": "shown"}
    write_image(tmp_path / "images/a.nii.gz", SHOWN, GEOMETRY)
    theirs, _own = labels_by_monai(folder, tmp_path / "images")
    undrawn = ~cohort.annotation("a").supervised_mask()
    assert (theirs == Predictor(cohort, "r", "cpu").labels("a"))[undrawn].mean() > 0.999


def test_a_case_may_lack_it_but_not_another_one(tmp_path):
    cohort = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE)
    cohort.add_case("b", cohort.image_path("a"))
    cohort.save_annotation("b", cohort.annotation("a"))
    assert plan_run(cohort, None, SETTINGS).channels == ("shown",)
    other = cohort_of(tmp_path / "d", noise=NOISE, shown=SHOWN)
    other.add_case("b", other.image_path("a"))
    other.save_annotation("b", other.annotation("a"))
    with pytest.raises(BadInputError, match="channel 'shown' is missing in 1 case: 'b'"):
        plan_run(other, None, SETTINGS)


SIGNS = np.where(np.arange(SHAPE[0]) // 2 % 2, 1.0, -1.0)[:, None, None]
BIAS = ndimage.gaussian_filter(RNG.normal(size=SHAPE), (0, 4, 4)) * 400
LATE = (np.arange(SHAPE[0]) >= 40)[:, None, None]
KEPT = {
    "a little brighter": (SHOWN, NOISE + 0.4 * LABELS),
    "another texture, no other mean": (SHOWN, NOISE * (1 + 0.7 * LABELS)),
    "brighter or darker, by slice": (SHOWN, NOISE + SIGNS * LABELS),
    "bright on a few slices only": (SHOWN, NOISE + 4.0 * LABELS * LATE),
    "what disturbs the other channel": (SHOWN + BIAS, BIAS + 3 * NOISE),
    "the same image again": (SHOWN, 2 * SHOWN + 5),
    "anatomy without the structure": (SHOWN, BODY + 0.3 * NOISE),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_may_show_something_is_kept(tmp_path, what):
    shown, other = KEPT[what]
    assert plan_run(cohort_of(tmp_path / "c", shown=shown, other=other), None, SETTINGS).channels == ("shown", "other")


def test_smooth_noise_is_left_out_too(tmp_path):
    smooth = ndimage.gaussian_filter(NOISE, (0, 2, 2))
    assert plan_run(cohort_of(tmp_path / "c", shown=SHOWN, other=smooth), None, SETTINGS).channels == ("shown",)


def test_noise_of_values_whose_squares_no_number_holds_is_left_out_too(tmp_path):
    cohort = cohort_of(tmp_path / "c", dtype=np.float64, shown=SHOWN, noise=NOISE.astype(np.float64) * 1e200)
    assert plan_run(cohort, None, SETTINGS).channels == ("shown",)


def test_it_is_kept_where_few_slices_say_little(tmp_path):
    cohort = cohort_of(tmp_path / "c", every=6, shown=SHOWN, noise=NOISE)
    assert plan_run(cohort, None, SETTINGS).channels == ("shown", "noise")


def test_it_is_kept_for_a_structure_of_which_little_is_drawn(tmp_path):
    labels = LABELS.copy()
    labels[10, 2:8, 15:25] = 2
    cohort = cohort_of(tmp_path / "c", labels, shown=SHOWN, noise=NOISE)
    assert plan_run(cohort, None, SETTINGS).channels == ("shown", "noise")


def test_slices_where_a_channel_is_blank_do_not_outweigh_those_where_it_shows_something(tmp_path):
    filled = (np.arange(SHAPE[0]) % 4 < 2)[:, None, None]
    seen = cohort_of(tmp_path / "seen", every=1, shown=SHOWN, other=filled * (NOISE + 0.1 * LABELS))
    assert plan_run(seen, None, SETTINGS).channels == ("shown", "other")
    noise = cohort_of(tmp_path / "noise", every=1, shown=SHOWN, other=filled * NOISE)
    assert plan_run(noise, None, SETTINGS).channels == ("shown",)


def test_all_channels_are_kept_where_none_shows_anything(tmp_path):
    more = np.random.default_rng(7).normal(size=SHAPE)
    cohort = cohort_of(tmp_path / "c", one=NOISE, other=more)
    assert plan_run(cohort, None, SETTINGS).channels == ("one", "other")


def test_a_model_that_learns_while_slices_are_drawn_sees_all_channels(tmp_path):
    # A structure that only the other channel shows may be drawn next.
    cohort = cohort_of(tmp_path / "c", shown=SHOWN, noise=NOISE)
    run = RunFolder(cohort.run_folder("r"))
    assert plan_to_train(cohort, run, SETTINGS, None, (), Watch(), is_live=True).channels == ("shown", "noise")


def test_many_cases_are_judged_together(tmp_path):
    cohort = cohort_of(tmp_path / "c", every=12, cases=tuple("abcdef"), shown=SHOWN, noise=NOISE)
    for number, name in enumerate("abcdef"):
        labels = disks(number)
        write_image(cohort.image_path(name), SHOWN + 60 * labels.astype(np.float32), GEOMETRY)
        drawn = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, range(0, SHAPE[0], 12))
        cohort.save_annotation(name, drawn)
    assert plan_run(cohort, None, SETTINGS).channels == ("shown",)
