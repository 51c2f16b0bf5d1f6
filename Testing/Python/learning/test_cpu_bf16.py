"""bf16 in training on a CPU: thin inputs are computed in fp32, and gradients are tried before they are used."""

import copy

import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.sliding_windows import autocast
from SparseAnnotateLib.learning.training import training_precision
from SparseAnnotateLib.learning.training.cpu_bf16 import compute_thin_inputs_in_fp32, gradients_are_sound
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder


class Losses:
    """The loss of a network on one batch, by precision; `wrong` changes the gradients of bf16."""

    def __init__(self, network, patch, wrong=None):
        self.network, self.wrong, self.calls = network, wrong, 0
        self.image = torch.randn(2, 1, *patch, generator=torch.Generator().manual_seed(0))

    def __call__(self, precision: str) -> torch.Tensor:
        with autocast("cpu", precision):
            loss = self.network(self.image).float().square().mean()
        if precision == "bf16" and self.wrong is not None:
            self.calls += 1
            loss = self.wrong(loss, self.calls)
        return loss


def network_of(patch):
    torch.manual_seed(0)
    return build_network("unet_small", NetworkShape(3, patch))


@pytest.mark.parametrize("patch", [(32, 48, 32), (16, 32, 32), (32, 32, 32)])
def test_gradients_are_sound_once_thin_inputs_are_computed_in_fp32(patch):
    network = network_of(patch)
    compute_thin_inputs_in_fp32(network)
    assert gradients_are_sound(Losses(network, patch), network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_thin_inputs_are_computed_in_fp32_and_others_are_not():
    network = network_of((32, 48, 32))
    compute_thin_inputs_in_fp32(network)
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.update({name: (min(inputs[0].shape[2:]), output.dtype)})

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(note(name))
    with torch.inference_mode(), autocast("cpu", "bf16"):
        network(torch.randn(1, 1, 32, 48, 32))
    assert {dtype for thin, dtype in seen.values() if thin <= 2} == {torch.float32}
    assert {dtype for thin, dtype in seen.values() if thin > 2} == {torch.bfloat16}


def test_weights_copies_and_results_in_fp32_stay_as_they_were():
    network = network_of((32, 32, 32))
    before, image = copy.deepcopy(network), torch.randn(1, 1, 32, 32, 32)
    compute_thin_inputs_in_fp32(network)
    assert network.state_dict().keys() == before.state_dict().keys()
    again = copy.deepcopy(network)
    with torch.inference_mode():
        assert torch.equal(network(image), before(image))
        for parameter in again.parameters():
            parameter.zero_()
        assert not again(image).any()  # a copy has weights of its own
        assert torch.equal(network(image), before(image))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda loss, call: loss * torch.nan,
        lambda loss, call: -loss,
        lambda loss, call: loss * (1.0 + 0.01 * call),  # not the same each time
    ],
)
def test_wrong_gradients_are_found(wrong):
    network = network_of((32, 32, 32))
    compute_thin_inputs_in_fp32(network)
    assert not gradients_are_sound(Losses(network, (32, 32, 32), wrong), network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("is_sound", [False, True])
def test_a_training_uses_bf16_only_where_it_has_proved_right(ball_cohort, monkeypatch, is_sound):
    tried = []

    def found(loss_in, parameters):
        # The losses of both precisions are those of one batch, and trying them changes nothing.
        tried.append([float(loss_in(precision).detach()) for precision in ("fp32", "bf16", "fp32")])
        return is_sound

    monkeypatch.setattr(f"{training_precision.__name__}.gradients_are_sound", found)
    card = train(ball_cohort, "r", TrainingSettings(**QUICK_TRAINING | {"precision": "bf16"}))
    ((exact, rounded, again),) = tried
    assert exact == again
    assert exact == pytest.approx(rounded, rel=0.05)
    assert card.precision == ("bf16" if is_sound else "fp32")
    notes = [note for note in card.notes if "wrong gradients" in note]
    assert len(notes) == (not is_sound)
    losses = [m["loss"] for m in RunFolder(ball_cohort.run_folder("r")).metrics() if "loss" in m]
    assert losses[0] == pytest.approx(rounded if is_sound else exact, rel=1e-6)
