"""Networks, data, augmentation, schedule, weights, devices, prediction: each by itself."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    RunError,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.core.strict_json import from_plain, to_plain
from SparseAnnotateLib.learning.data.augmentation import Augmentation
from SparseAnnotateLib.learning.data.patches import Patch, PatchSampler, Placing
from SparseAnnotateLib.learning.data.training_cases import normalise, normalised_image, training_cases
from SparseAnnotateLib.learning.devices import chosen_device, named_device, smoke_test
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.prediction.volume_prediction import predicted_classes
from SparseAnnotateLib.learning.training.patch_planning import planned_patch, planned_patch_and_batch
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.schedule import Schedule
from SparseAnnotateLib.learning.weights import load_checkpoint, load_weights, save_checkpoint, save_weights
from SparseAnnotateLib.runs import AugmentationSettings, NetworkShape, TrainingSettings, base_networks


@pytest.mark.parametrize("name", sorted(base_networks()))
def test_every_network_maps_an_image_to_logits_and_learns(name):
    for patch in ((32, 64, 32), (64, 32)):
        network = build_network(name, NetworkShape(4, patch))
        logits = network(torch.randn(1, 1, *patch))
        assert logits.shape == (1, 4, *patch)
        logits.square().mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert len(gradients) > 0.7 * len(list(network.parameters()))
        assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", sorted(base_networks()))
def test_weights_of_every_network_are_saved_once_and_loaded(name, tmp_path):
    shape = NetworkShape(3, (32, 64, 32))
    saved, loaded = build_network(name, shape), build_network(name, shape)
    save_weights(tmp_path / "w.safetensors", saved)
    parameters = sum(p.numel() for p in saved.parameters()) + sum(b.numel() for b in saved.buffers())
    assert (tmp_path / "w.safetensors").stat().st_size < parameters * 4 * 1.1 + 200_000
    load_weights(tmp_path / "w.safetensors", loaded)
    for n, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[n], tensor), n


def test_an_unknown_network_is_refused():
    with pytest.raises(BadInputError, match="There is no network 'resnet'"):
        build_network("resnet", NetworkShape(2, (32, 32, 32)))
    with pytest.raises(BadInputError, match="There is no network 'resnet'"):
        TrainingSettings(network="resnet")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"patch": (20, 16, 16)}, "multiple of 16"),
        ({"patch": (8, 16, 16)}, "multiple of 16"),
        ({"iterations": 0}, "'iterations' must be from 1 to 1000000000, not 0"),
        ({"batch": 0}, "'batch' must be from 1 to 1000000000, not 0"),
        ({"iterations": 10**25}, "'iterations' must be from 1 to 1000000000, not 1000"),
        ({"learning_rate": 1e30}, "'learning_rate' must be at most 1000000000000, not 1e"),
        ({"patience": 0}, "'patience' must be at least 1, not 0"),
        ({"patch": (16, 16, 16 * 10**20)}, "at most 65536 voxels"),
        ({"validation_share": 1.5}, "'validation_share' is a share"),
        ({"learning_rate": 0.0}, "learning rate must be positive"),
        ({"seed": -1}, "The seed must be between 0 and"),
        ({"seed": 2**63}, "The seed must be between 0 and"),
        ({"learning_rate": float("nan")}, "'learning_rate' must be a finite number, not nan"),
        ({"mean_teacher": float("nan")}, "'mean_teacher' must be a finite number, not nan"),
        ({"mean_teacher": float("inf")}, "'mean_teacher' must be a finite number, not inf"),
        ({"class_weights": (1.0, float("nan"))}, "'class_weights' must be a finite number, not nan"),
    ],
)
def test_impossible_settings_are_refused(wrong, words):
    with pytest.raises(BadInputError, match=words):
        TrainingSettings(**wrong)


@pytest.mark.parametrize(
    "large",
    [
        {"largest_gradient": 1e9},  # limits none
        {"class_weights": (1.0, 2e7)},  # inverse shares of voxels
        {"patience": 10**10, "validate_every": 10**10, "checkpoint_every": 10**10},  # never
    ],
)
def test_settings_that_are_meant_to_be_large_are_accepted_and_runs_with_them_can_be_read(large):
    settings = TrainingSettings(**large)
    assert from_plain(to_plain(settings), TrainingSettings, "settings") == settings


def test_normalising_makes_ten_thousandfold_scales_alike():
    image = noisy_image(ball())
    small, large = (normalise((image * scale).astype(np.float32), "z_score") for scale in (1.0, 1e4))
    assert small.dtype == np.float16
    assert float(small.astype(np.float32).mean()) == pytest.approx(0, abs=1e-2)
    assert float(small.astype(np.float32).std()) == pytest.approx(1, abs=1e-2)
    np.testing.assert_allclose(small, large, atol=2e-2)
    percentile = normalise(image, "percentile").astype(np.float32)
    assert np.percentile(percentile, 50) == pytest.approx(0.2, abs=0.3)
    with pytest.raises(BadInputError, match="The image is uniform"):
        normalise(np.full((3, 3, 3), 7), "z_score")


def test_a_normalised_image_is_kept_and_made_again_when_the_file_changes(ball_cohort):
    first = np.array(normalised_image(ball_cohort, "ball_0", "z_score"))
    assert np.array_equal(first, normalised_image(ball_cohort, "ball_0", "z_score"))
    image, geometry = ball_cohort.image("ball_0")
    ball_cohort.add_case("ball_0", image[::-1].copy(), geometry)
    assert not np.array_equal(first, normalised_image(ball_cohort, "ball_0", "z_score"))


def cases_of(cohort, tmp_path, share=0.0):
    names = cohort.annotated_cases()
    return training_cases(
        cohort,
        names,
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=share,
        seed=0,
        folder=tmp_path / "labels",
        watch=Watch(),
    )


def test_patches_show_image_and_drawn_labels_where_they_lie(tmp_path, ball_cohort):
    cases = cases_of(ball_cohort, tmp_path)
    sampler = PatchSampler(cases, (16, 16, 16), Placing(0.5), seed=3)
    foreground = 0
    for iteration in range(10):
        for patch in (p.arrays for p in sampler.patches(iteration, range(2))):
            assert patch["image"].shape == patch["label"].shape == patch["supervised"].shape == (1, 16, 16, 16)
            case, box = where_it_lies(patch["image"][0], cases)
            expected = np.zeros(case.image.shape, bool)
            for layer in case.slices:
                expected[slice_layer(*layer)] = True
            np.testing.assert_array_equal(patch["supervised"][0], expected[box])
            np.testing.assert_array_equal(patch["label"][0], case.labels[box])
            assert patch["supervised"].any()
            foreground += bool(patch["label"][patch["supervised"]].any())
    assert foreground >= 10


def where_it_lies(patch, cases):
    """The case and box that a patch was cut from."""
    for case in cases:
        image = np.float32(case.image)
        for start in np.argwhere(image == patch[0, 0, 0]):
            box = tuple(slice(s, s + n) for s, n in zip(start, patch.shape, strict=True))
            if image[box].shape == patch.shape and np.array_equal(image[box], patch):
                return case, box
    raise AssertionError("the patch is not part of any image")


def test_the_patches_of_an_iteration_are_the_same_whenever_they_are_asked_for(tmp_path, ball_cohort):
    sampler = PatchSampler(cases_of(ball_cohort, tmp_path), (16, 16, 16), Placing(0.5), seed=3)
    augmentation = Augmentation(AugmentationSettings(), "SAR", (16, 16, 16), (1, 1, 1), seed=3)
    once, other, again = (augmentation(sampler.patches(n, range(2)), n, range(2)) for n in (7, 8, 7))
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not torch.equal(once["image"], other["image"])
    assert once["supervised"].dtype == torch.bool


def test_mirroring_moves_image_label_and_mask_together():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (1, 16, 16, 16)).astype(np.uint8)
    arrays = {"image": label.astype(np.float32) * 100, "label": label, "supervised": label > 0}
    augmentation = Augmentation(AugmentationSettings(), "SAR", (16, 16, 16), (1, 1, 1), seed=0)
    for iteration in range(8):
        batch = augmentation([Patch(arrays, (0, 1, 2), "a")], iteration, [0])
        assert torch.equal(batch["label"] > 0, batch["supervised"])
        image = batch["image"][batch["label"] == 2].mean()
        assert image > batch["image"][batch["label"] == 1].mean() > batch["image"][batch["label"] == 0].mean()


def test_patches_of_a_volume_smaller_than_the_patch_are_padded_and_the_padding_is_not_supervised(tmp_path, ball_cohort):
    case = cases_of(ball_cohort, tmp_path)[0]
    patch = PatchSampler([case], (64, 64, 64), Placing(1.0), seed=0).patches(0, [0])[0].arrays
    supervised = len(case.slices) * 28 * 32
    assert patch["supervised"].sum() == supervised
    assert patch["label"].sum() == sum(case.labels[slice_layer(*s)].astype(int).sum() for s in case.slices)


def test_held_out_slices_are_never_learned_from(tmp_path, ball_cohort):
    labels = ball()
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    ball_cohort.save_annotation("ball_0", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(24)))
    cases = cases_of(ball_cohort, tmp_path, share=0.2)
    held_out = [(c.name, s) for c in cases for s in c.held_out]
    assert len(held_out) == 6
    for case in cases:
        assert not set(case.held_out) & set(case.slices)
        patch = PatchSampler([case], (64, 64, 64), Placing(0.0), seed=0).patches(0, [0])[0].arrays
        assert patch["supervised"].sum() == len(case.slices) * 28 * 32


def test_the_only_slice_that_shows_a_structure_is_never_held_out(tmp_path):
    labels = ball()
    labels[3, 2:6, 2:6], labels[20:22, 2:6, 2:6] = 2, 3
    geometry = VolumeGeometry.from_spacing(labels.shape)
    cohort = Cohort.create(tmp_path / "c", "c", {1: "ball", 2: "on one slice", 3: "on two slices"})
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(24)))
    for seed in range(10):
        (case,) = training_cases(
            cohort,
            ["a"],
            {1: 1, 2: 2, 3: 3},
            normalisation="z_score",
            validation_share=0.5,
            seed=seed,
            folder=tmp_path / str(seed),
            watch=Watch(),
        )
        assert len(case.held_out) == 12
        assert set(case.by_class) == {1, 2, 3}


def test_drawn_slices_of_a_flipped_volume_are_learned_where_they_are(tmp_path, ball_cohort):
    labels = ball(centre=(6, 13, 16))
    flipped = VolumeGeometry.from_matrix(labels.shape, np.diag([-1.0, 1.0, -2.0, 1.0]))
    ball_cohort.add_case("flipped", noisy_image(labels), flipped)
    ball_cohort.save_annotation("flipped", SparseAnnotation.from_slices(labels, flipped, Plane.AXIAL, [6]))
    case = next(c for c in cases_of(ball_cohort, tmp_path) if c.name == "flipped")
    assert case.slices == ((0, 17),)
    np.testing.assert_array_equal(case.labels[17], labels[6][:, ::-1])
    assert case.image[17][case.labels[17] == 1].mean() > 1.0


def test_the_schedule_warms_up_holds_and_cools_down_to_zero():
    schedule = Schedule(100, warm_up=10, cool_down=30, patience=2)
    rates = [schedule.rate(n) for n in range(100)]
    assert rates[0] == 0.1
    assert rates[10:70] == [1.0] * 60
    assert (np.diff(rates[70:]) < 0).all()
    assert 0 < rates[-1] < 0.05
    assert not schedule.stopped_early


def test_no_progress_begins_the_cool_down_early():
    schedule = Schedule(1000, warm_up=10, cool_down=50, patience=2)
    for iteration, score in ((100, 0.5), (200, 0.8), (300, 0.8), (400, 0.8005)):
        schedule.validated(iteration, score)
    assert schedule.end == 450
    assert schedule.stopped_early
    again = Schedule(1000, 10, 50, 2)
    again.restore(schedule.state())
    assert [again.rate(n) for n in range(450)] == [schedule.rate(n) for n in range(450)]


def test_weights_come_back_and_do_not_go_into_another_network(tmp_path):
    network = build_network("unet_small", NetworkShape(3, (32, 32, 32)))
    save_weights(tmp_path / "w.safetensors", network)
    again = build_network("unet_small", NetworkShape(3, (32, 32, 32)))
    load_weights(tmp_path / "w.safetensors", again)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    for other in (
        build_network("unet_small", NetworkShape(4, (32, 32, 32))),
        build_network("segresnet", NetworkShape(3, (32, 32, 32))),
    ):
        with pytest.raises(RunError, match="made for another network"):
            load_weights(tmp_path / "w.safetensors", other)


def test_a_damaged_or_missing_checkpoint_is_reported(tmp_path):
    network = build_network("unet_small", NetworkShape(2, (32, 32, 32)))
    optimizer = torch.optim.AdamW(network.parameters())
    path = tmp_path / "c.safetensors"
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(path, network, optimizer)
    save_checkpoint(path, network, optimizer, {"iteration": 0})
    assert load_checkpoint(path, network, optimizer) == {"iteration": 0}
    save_checkpoint(path, network, optimizer, {"iteration": 3})
    with pytest.raises(RunError, match="not a checkpoint of SparseAnnotate"):
        load_checkpoint(path, network, optimizer)
    network(torch.randn(1, 1, 16, 16, 32)).sum().backward()
    optimizer.step()
    save_checkpoint(path, network, optimizer, {"iteration": 3})
    assert load_checkpoint(path, network, optimizer) == {"iteration": 3}
    other = torch.optim.AdamW(network.parameters(), amsgrad=True)
    network(torch.randn(1, 1, 16, 16, 32)).sum().backward()
    other.step()
    save_checkpoint(path, network, other, {"iteration": 3})
    with pytest.raises(RunError, match="made by another version"):
        load_checkpoint(path, network, optimizer)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="missing, damaged or cut off"):
        load_checkpoint(path, network, optimizer)


def test_the_cpu_passes_the_smoke_test_and_a_device_that_is_not_there_does_not():
    assert smoke_test("cpu").works
    report = smoke_test("cuda:77")
    assert not report.works
    assert "cuda:77' cannot be used" in report.message
    with pytest.raises(BadInputError, match="Choose another device"):
        chosen_device("cuda:77")
    assert chosen_device("auto").works


@pytest.mark.parametrize("wanted", ["cuda", "CUDA", "cuda:9", "gpu", "GPU:1", "mps"])
def test_a_device_that_does_not_work_is_refused_with_those_that_do(wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadInputError) as refused:
        chosen_device(wanted)
    assert re.fullmatch(
        r"'(cuda|mps)(:\d)?' cannot be used \(PyTorch reports: [^.]*\)\. Choose another device: 'cpu' can be used "
        r"here, or 'auto' for the best one\. \(Devices are named auto, cpu, cuda, cuda:1 for the second GPU, or mps "
        r"for an Apple GPU\.\)",
        str(refused.value),
    )


@pytest.mark.parametrize("wanted", ["", " ", "tpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "cuda:1:2", "xpu"])
def test_a_word_that_is_no_device_is_refused_in_one_sentence(wanted):
    with pytest.raises(BadInputError) as refused:
        chosen_device(wanted)
    assert str(refused.value).startswith(f"There is no device '{wanted}'. Choose another device: 'cpu'")
    assert len(str(refused.value)) < 250


def test_devices_are_understood_as_people_write_them(monkeypatch):
    assert [named_device(word) for word in ("auto", "CPU", " cpu ", "cpu:0", "Cuda", "cuda:01", "MPS", "mps:0")] == [
        *("auto", "cpu", "cpu", "cpu", "cuda", "cuda:1", "mps", "mps")
    ]
    assert named_device("gpu:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert named_device("GPU") == "mps"
    report = chosen_device("CPU")
    assert (report.device, report.works) == ("cpu", True)
    assert report.message.startswith("'CPU' was resolved to 'cpu'. 'cpu' (")


def test_a_graphics_card_that_is_not_there_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert named_device("cuda:1") == "cuda:1"
    with pytest.raises(BadInputError, match="no device 'cuda:9': PyTorch finds 2 GPUs here, numbered from 0"):
        named_device("cuda:9")


def test_a_plan_says_what_was_made_of_the_device_that_was_asked_for(ball_cohort):
    plans = [new_plan(ball_cohort, TrainingSettings(device=word), ["ball_0", "ball_1"]) for word in ("cpu", "CPU")]
    assert [plan.device for plan in plans] == ["cpu", "cpu"]
    assert not any(" means " in note for note in plans[0].notes)
    assert plans[1].notes[0].startswith("'CPU' was resolved to 'cpu'.")


def test_a_patch_too_small_for_the_network_is_enlarged_and_this_is_in_the_notes(ball_cohort):
    settings = TrainingSettings(device="cpu", recipe="ensemble", patch=(16, 16, 16), patch_2d=(16, 16))
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    assert {model.role: model.patch for model in plan.models} == {"2d": (16, 32), "3d": (16, 16, 32)}
    assert "Patches are 16 x 16 x 32 instead of 16 x 16 x 16, which the network would reduce to a single voxel." in (
        plan.notes
    )
    assert any(note.startswith("Patches are 16 x 32 instead of 16 x 16,") for note in plan.notes)


def test_planned_patches_are_multiples_of_16_within_the_limit_and_shorten_the_longest_millimetres_first():
    assert planned_patch([(40, 50, 35)], (1, 1, 1), 10**9) == (48, 48, 32)
    patch = planned_patch([(512, 512, 30)], (1.0, 1.0, 5.0), 64 * 64 * 32)
    # Thick slices: about as many millimetres in each direction.
    assert patch == (80, 96, 16)
    assert np.prod(planned_patch([(300, 512, 512)], (1, 1, 1), 48**3)) <= 48**3
    assert planned_patch([(2, 2, 2)], (1, 1, 1), 1) == (16, 16, 32)
    patch, batch = planned_patch_and_batch([(300, 512, 512)], (1, 1, 1), "unet_small", "cpu", 2)
    assert batch in (1, 2)
    assert np.prod(patch) <= 48**3


def model_of(network, patch=(16, 16, 16), precision="fp32"):
    return TrainedModel("3d", network, patch, 2, "cpu", precision)


class Threshold(torch.nn.Module):
    """A network that knows the answer: class 1 where the image is above zero."""

    def forward(self, x):
        return torch.cat([-x, x], dim=1)


@pytest.mark.parametrize("shape", [(40, 33, 20), (7, 50, 18), (100, 16, 16)])
def test_prediction_covers_every_voxel_of_any_shape_in_slabs(shape, monkeypatch):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    expected = image > 0
    np.testing.assert_array_equal(predicted_classes(model_of(Threshold()), image), expected)
    monkeypatch.setattr("SparseAnnotateLib.learning.prediction.limits.LOGIT_BYTES", shape[1] * shape[2] * 2 * 4 * 40)
    np.testing.assert_array_equal(predicted_classes(model_of(Threshold()), image), expected)


def test_windows_that_show_nothing_are_background_without_asking_the_network():
    class Certain(torch.nn.Module):
        def forward(self, x):
            return torch.cat([-torch.ones_like(x), torch.ones_like(x)], dim=1)

    image = np.full((48, 16, 16), -0.6, np.float16)
    image[40:] += np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float16)
    classes = predicted_classes(model_of(Certain()), image)
    assert not classes[:20].any()
    assert classes[40:].all()


def test_prediction_can_be_cancelled_between_windows():
    watch = Watch()
    windows = []

    class Slow(Threshold):
        def forward(self, x):
            windows.append(x)
            watch.cancel()
            return super().forward(x)

    with pytest.raises(CancelledError):
        predicted_classes(model_of(Slow()), np.random.default_rng(0).normal(size=(64, 64, 64)), watch)
    assert len(windows) == 1


def test_a_window_that_is_no_number_in_low_precision_is_computed_again_in_fp32():
    class Fragile(torch.nn.Module):
        def forward(self, x):
            scale = float("nan") if torch.is_autocast_enabled("cpu") else 1.0
            return torch.cat([-x, x], dim=1) * scale

    image = np.random.default_rng(0).normal(size=(20, 20, 40)).astype(np.float16)
    classes = predicted_classes(model_of(Fragile(), (16, 16, 32), "bf16"), image)
    np.testing.assert_array_equal(classes, image > 0)


def test_the_classifier_of_the_default_network_sees_how_bright_the_image_is():
    """Without its own channel a window looks the same when everything in it is brighter."""
    torch.manual_seed(0)
    image = torch.randn(1, 1, 32, 32, 32)
    for network, differs in (("unet_small", True), ("basic_unet_small", False)):
        built = build_network(network, NetworkShape(2, (32, 32, 32))).eval()
        with torch.inference_mode():
            change = (built(image + 3.0) - built(image))[..., 8:24, 8:24, 8:24].mean((2, 3, 4)).abs().max()
        assert bool(change > 0.1) is differs, network


def test_the_default_networks_have_no_phases():
    """What is alike on neighbouring slices is predicted alike, unlike by transposed convolutions."""
    image = torch.zeros(1, 1, 64, 64, 64)
    image[..., 20:44] = 1.0  # the same on all slices

    def flicker(network: str) -> float:
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            with torch.inference_mode():
                slices = build_network(network, NetworkShape(2, (64, 64, 64))).eval()(image)[0, :, 16:48]
            jumps = (2 * slices[:, 1:-1] - slices[:, :-2] - slices[:, 2:]).abs().mean()
            found.append(float(jumps / slices.std()))
        return sum(found) / len(found)

    assert flicker("unet_small") < 0.2 * flicker("basic_unet_small")


def test_a_single_scan_has_a_network_that_keeps_how_bright_its_parts_are(ball_cohort):
    settings = TrainingSettings(recipe="self_training", device="cpu")
    for names in (["ball_0"], ["ball_0", "ball_1"]):  # the other volume will be segmented, too
        plan = new_plan(ball_cohort, settings, names)
        assert [model.network for model in plan.models] == ["unet_small"] * 3
    ball_cohort.file = replace(ball_cohort.file, cases=ball_cohort.file.cases[:1])
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    assert [model.network for model in plan.models] == ["unet_small", "unet_small_one_scan", "unet_small_one_scan"]
    named = new_plan(ball_cohort, replace(settings, network="unet_small"), ["ball_0"])
    assert [model.network for model in named.models] == ["unet_small"] * 3
    network = build_network("unet_small_one_scan", NetworkShape(2, (32, 32, 32)))
    assert {m.num_groups for m in network.modules() if isinstance(m, torch.nn.GroupNorm)} == {8}
