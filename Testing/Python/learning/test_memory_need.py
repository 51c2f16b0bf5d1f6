"""A network too large for the memory is refused before anything of it is allocated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.prediction.model_building import network_to_train
from SparseAnnotateLib.learning.training import memory_need
from SparseAnnotateLib.learning.training.memory_need import least_training_bytes
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

GB = 10**9


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes are free, of the computer or of a GPU: `free(cpu=..., cuda=...)`."""

    def of(cpu: int, cuda: int = 0):
        found = {"cpu": cpu, "cuda": cuda}
        monkeypatch.setattr(memory_need, "free_memory_bytes", lambda device: found[device.partition(":")[0]])

    of(16 * GB)
    return of


def planned(cohort, **chosen):
    return new_plan(cohort, TrainingSettings(**{**QUICK_TRAINING, **chosen}), ["a"])


@pytest.mark.parametrize("network", ["swin_unetr", "unet", "unet_small_one_scan", "dynunet", "unetr", "dense_vox_net"])
def test_a_3d_network_that_cannot_fit_is_refused_with_what_it_needs(tiny_cohort, free, network):
    words = (
        rf"The '3d' model \({network}, 2 patches of 640 x 640 x 640 voxels\) needs at least [\d.]+ GB of memory in "
        r"training, and 16\.0 GB are free on 'cpu'\. Choose smaller patches, fewer patches per step or a smaller "
        "network"
    )
    with pytest.raises(BadInputError, match=words):
        planned(tiny_cohort, network=network, patch=(640, 640, 640))


@pytest.mark.parametrize("network", ["swin_unetr", "unet_small", "dynunet"])
def test_a_2d_network_that_cannot_fit_is_refused(tiny_cohort, free, network):
    settings = {"recipe": "ensemble", "network_2d": network, "patch_2d": (16384, 16384), "batch_2d": 8}
    with pytest.raises(BadInputError, match=rf"The '2d' model \({network}, 8 patches of 16384 x 16384 voxels\)"):
        planned(tiny_cohort, **settings)


@pytest.mark.parametrize("network", ["swin_unetr", "unet_small", "dynunet"])
def test_what_a_step_needs_at_least_is_what_its_layers_keep_and_the_weights(tiny_cohort, network):
    patch = (32, 32, 64) if network == "swin_unetr" else (16, 16, 32)
    plan = planned(tiny_cohort, network=network, patch=patch, batch=1)
    state = torch.random.get_rng_state()
    needed = least_training_bytes(plan.models[0], plan)
    assert torch.equal(torch.random.get_rng_state(), state)
    built = network_to_train(plan.models[0], plan).train()
    weights = [tensor.data_ptr() for tensor in (*built.parameters(), *built.buffers())]
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        built(torch.zeros(1, 1, *patch))
    real = sum(storage.nbytes() for storage in kept.values()) + 8 * sum(p.numel() for p in built.parameters())
    assert needed == pytest.approx(real, rel=0.02)
    twice = least_training_bytes(replace(plan.models[0], batch=2), plan)
    assert twice - needed == pytest.approx(real - 8 * sum(p.numel() for p in built.parameters()), rel=0.02)


def test_the_memory_decides_and_not_the_rough_estimate(tiny_cohort, free):
    plan = planned(tiny_cohort)
    needed = least_training_bytes(plan.models[0], plan)
    free(needed)
    assert planned(tiny_cohort).models == plan.models
    free(needed - 1)
    with pytest.raises(BadInputError, match="needs at least 0.0 GB"):
        planned(tiny_cohort)


def test_on_a_gpu_a_single_patch_counts_and_the_larger_memory(tiny_cohort, free, pretended):
    gpu = pretended()
    chosen = {"network": "unet_small", "patch": (32, 32, 32), "device": gpu.device}
    plan = planned(tiny_cohort, batch=1, **chosen)
    needed = least_training_bytes(plan.models[0], plan)
    for memory in ({"cpu": needed, "cuda": 1}, {"cpu": 1, "cuda": needed}):
        free(**memory)
        assert planned(tiny_cohort, batch=4, **chosen).models[0].batch == 4
    free(cpu=needed - 1, cuda=needed - 1)
    with pytest.raises(BadInputError, match=r"\(unet_small, 1 patch of 32 x 32 x 32 voxels\)"):
        planned(tiny_cohort, batch=4, **chosen)


def test_a_plan_that_was_edited_is_checked_when_it_is_trained(tiny_cohort, free):
    train(tiny_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 1}))
    folder = RunFolder(tiny_cohort.run_folder("edited"))
    plan = RunFolder(tiny_cohort.run_folder("r")).plan()
    folder.path.mkdir()
    folder.write_plan(plan.with_model(replace(plan.models[0], patch=(640, 640, 640))), to_edit=True)
    # Its settings stay as they are, so other advice is given than for a new run.
    with pytest.raises(BadInputError, match="640 x 640 x 640 voxels.*free on 'cpu'. Close .* train under another name"):
        train(tiny_cohort, "edited")


def test_a_network_that_needs_values_is_planned_without_the_check(tiny_cohort, free, monkeypatch):
    class NeedsValues(torch.nn.Conv3d):
        def forward(self, image):
            return super().forward(image) * float(image.mean())

    def made(_model, plan):
        return NeedsValues(1, plan.class_count, 1)

    monkeypatch.setattr(memory_need, "network_to_train", made)
    assert planned(tiny_cohort, patch=(640, 640, 640)).models[0].patch == (640, 640, 640)


def test_the_command_line_says_so_and_makes_no_run(tiny_cohort, capsys, free):
    words = ["train", tiny_cohort.folder, "--run", "big", "--network", "swin_unetr", "--patch", 640, 640, 640]
    assert main([*map(str, words), "--device", "cpu"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "(swin_unetr, 2 patches of 640 x 640 x 640 voxels) needs at least" in said
    assert not RunFolder(tiny_cohort.run_folder("big")).is_started
