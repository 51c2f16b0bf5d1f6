"""The smallest patches of each network, and plans for little memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.training import patch_planning, planning
from SparseAnnotateLib.learning.training.memory_reduction import reduced
from SparseAnnotateLib.learning.training.patch_planning import planned_patch_and_batch, planned_slices_and_batch
from SparseAnnotateLib.learning.training.planning import new_plan, strides_and_kernels
from SparseAnnotateLib.runs import NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.network import NETWORKS

SETTINGS = TrainingSettings(**QUICK_TRAINING)
TINY = [(3, 5, 4)]


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_is_trained_on_the_smallest_patch_that_is_planned_for_it(name, dimensions, monkeypatch):
    entry = NETWORKS[name]
    monkeypatch.setattr(patch_planning, "usable_memory_bytes", lambda _: 0)
    if dimensions == 2:
        patch, batch = planned_slices_and_batch(TINY, (0, 1, 2), name, "cuda:0", 2, entry.patch_step)
    else:
        patch, batch = planned_patch_and_batch(TINY, (1.0, 1.0, 1.0), name, "cuda:0", 2, entry.patch_step)
    assert batch == 1
    smallest = entry.smallest_patch(dimensions)
    assert sorted(patch) >= sorted(smallest)
    for sides in {patch, smallest}:
        strides, kernels = strides_and_kernels(sides, (1.0,) * dimensions)
        network = build_network(name, NetworkShape(3, sides, strides, kernels)).train()
        image = torch.randn(1, 4 if entry.takes_pseudo_label else 1, *sides)
        logits = network(image)
        assert logits.shape == (1, 3, *sides)
        logits.square().mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("patch", [(32, 32), (32, 32, 32)], ids=str)
def test_a_patch_too_small_for_swin_unetr_is_refused_with_the_smallest_one(patch):
    smallest = "32 x 64" if len(patch) == 2 else "32 x 32 x 64"
    with pytest.raises(BadInputError, match=f"'swin_unetr' needs patches of at least {smallest} voxels; it would"):
        build_network("swin_unetr", NetworkShape(2, patch))


def test_it_is_refused_before_anything_of_the_run_is_written(ball_cohort):
    from SparseAnnotateLib.learning.training.training_run import train

    settings = replace(SETTINGS, network="swin_unetr", patch=(32, 32, 32))
    with pytest.raises(BadInputError, match="needs patches of at least 32 x 32 x 64 voxels"):
        train(ball_cohort, "r", settings)
    assert ball_cohort.runs() == []


def test_a_patch_is_never_reduced_below_the_smallest_one(ball_cohort):
    model = new_plan(ball_cohort, replace(SETTINGS, network="swin_unetr", patch=(64, 64, 64), batch=1), ["ball_0"])
    model = model.models[0]
    while (found := reduced(model, "cuda:0", "cuda:0")).device != "cpu":
        model = found.model
        assert sorted(model.patch) >= [32, 32, 64]
    assert sorted(model.patch) == [32, 32, 64]


def test_slices_fit_the_memory_of_the_device_too(monkeypatch):
    def planned(gigabytes, network="basic_unet", device="cuda:0"):
        monkeypatch.setattr(patch_planning, "usable_memory_bytes", lambda _: int(gigabytes * 2**30))
        (height, width), batch = planned_slices_and_batch([(300, 512, 512)], (0, 1, 2), network, device, 2)
        assert height == width
        needed = batch * height * width * NETWORKS[network].bytes_in(2)
        return height, batch, needed / 2**30

    assert planned(40)[:2] == (512, 8)
    for gigabytes in (0.3, 1, 3, 6, 12):
        side, batch, needed = planned(gigabytes)
        assert needed <= gigabytes
        assert batch >= 2
        assert side % 16 == 0
    assert planned(1)[0] < planned(3)[0] <= 512
    assert planned(0)[:2] == (32, 1)
    assert planned(4, "basic_unet_small", "cpu")[:2] == (128, 2)  # as ever


def test_2d_models_that_need_more_for_a_pixel_get_fewer(monkeypatch):
    monkeypatch.setattr(patch_planning, "usable_memory_bytes", lambda _: 3 * 2**30)
    plans = {
        name: planned_slices_and_batch([(300, 512, 512)], (0,), name, "cuda:0", 2) for name in ("unet", "dense_vox_net")
    }
    pixels = {name: batch * side[0] * side[1] for name, (side, batch) in plans.items()}
    entry = NETWORKS["dense_vox_net"]
    assert entry.bytes_in(2) > entry.bytes_in(3)
    assert pixels["dense_vox_net"] * entry.bytes_in(2) <= 3 * 2**30
    assert pixels["dense_vox_net"] < pixels["unet"]


def test_many_structures_need_memory_of_their_own(monkeypatch):
    monkeypatch.setattr(patch_planning, "usable_memory_bytes", lambda device: 2**30)
    patches = [planned_patch_and_batch([(300, 512, 512)], (1, 1, 1), "unet", "cuda:0", count)[0] for count in (3, 118)]
    assert np.prod(patches[1]) < 0.6 * np.prod(patches[0])


def test_a_gpu_with_1_gb_free_gets_patches_that_fit_and_is_warned_of_those_that_do_not(ball_cohort, monkeypatch):
    for module in (planning, patch_planning):
        monkeypatch.setattr(module, "usable_memory_bytes", lambda _: 1 << 30, raising=False)
    monkeypatch.setattr(planning, "chosen_device", lambda _: patch_planning_report("cuda:0"))
    monkeypatch.setattr(planning, "training_precision", lambda *_: "bf16")

    def plan(**changes):
        return new_plan(ball_cohort, TrainingSettings(recipe="ensemble", device="cuda:0", **changes), ["ball_0"])

    found = plan()
    for model in found.models:
        assert model.batch * np.prod(model.patch) * NETWORKS[model.network].bytes_per_voxel <= 1 << 30
    assert not any("GB free" in note for note in found.notes)
    [note] = [note for note in plan(patch=(96, 96, 96), batch=2).notes if "GB free" in note]
    assert note.startswith(
        "The '3d' model (unet, 2 patches of 96 x 96 x 96 voxels) needs about 5.5 GB of memory, and 'cuda:0' has "
        "1.1 GB free."
    )


def patch_planning_report(device):
    from SparseAnnotateLib.learning.devices import DeviceReport

    return DeviceReport(device, "Card", True, "")
