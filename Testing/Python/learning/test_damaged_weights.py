"""Weights, checkpoints, pseudo-labels and cached images with a flipped bit."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import RunError
from SparseAnnotateLib.learning.data.training_cases import normalised_image, normalised_image_path
from SparseAnnotateLib.learning.training.pseudo_labels import read_pseudo_labels
from SparseAnnotateLib.learning.training.run_planning import plan_run
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.learning.weights import load_checkpoint, load_weights, save_checkpoint, save_weights
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def test_no_flipped_bit_of_weights_is_believed(tmp_path):
    path, right = tmp_path / "w.safetensors", network()
    save_weights(path, right)
    content = path.read_bytes()
    untouched = torch.nn.Linear(2, 1)
    load_weights(path, untouched)
    assert torch.equal(untouched.weight, right.weight)
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        found = torch.nn.Linear(2, 1)
        with contextlib.suppress(RunError):
            load_weights(path, found)
            assert all(torch.equal(a, b) for a, b in zip(found.parameters(), right.parameters(), strict=True)), bit


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_flipped_bit_of_a_checkpoint_is_believed(tmp_path, data):
    path, model = tmp_path / "c.safetensors", network()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model, optimizer, {"iteration": 3, "note": '\'"checksum":"00000000"\''})
    content = path.read_bytes()
    other = torch.nn.Linear(2, 1)
    assert load_checkpoint(path, other, torch.optim.AdamW(other.parameters()))["iteration"] == 3
    path.write_bytes(flipped(content, data.draw(st.integers(0, 8 * len(content) - 1))))
    other = torch.nn.Linear(2, 1)
    with contextlib.suppress(RunError):
        assert load_checkpoint(path, other, torch.optim.AdamW(other.parameters()))["iteration"] == 3
        assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))


def test_weights_of_others_and_older_ones_without_a_checksum_are_loaded(tmp_path):
    path, right = tmp_path / "w.safetensors", network()
    save_file(right.state_dict(), path)
    found = torch.nn.Linear(2, 1)
    load_weights(path, found)
    assert torch.equal(found.weight, right.weight)
    save_weights(path, right)
    assert torch.equal(load_file(path)["weight"], right.weight)


def test_no_flipped_bit_of_pseudo_labels_is_believed(tmp_path):
    run = RunFolder(tmp_path / "run")
    path = run.pseudo_labels_path("a")
    path.parent.mkdir(parents=True)
    sets = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)
    np.savez_compressed(path, sets=sets, sure=sets + 1, views=np.array(["axial"]))
    content = path.read_bytes()
    np.testing.assert_array_equal(read_pseudo_labels(run, "a")[0], sets)
    for bit in range(0, 8 * len(content), 3):
        path.write_bytes(flipped(content, bit))
        with contextlib.suppress(RunError):
            found, sure, views = read_pseudo_labels(run, "a")
            np.testing.assert_array_equal(found, sets)
            np.testing.assert_array_equal(sure, sets + 1)
            assert views == ("axial",)
    path.write_bytes(content[:-30])
    with pytest.raises(RunError, match="cannot be read"):
        read_pseudo_labels(run, "a")


def test_a_damaged_image_in_the_cache_is_made_again(ball_cohort):
    right = np.array(normalised_image(ball_cohort, "ball_0", "z_score"))
    path = normalised_image_path(ball_cohort, "ball_0", "z_score")
    path.write_bytes(flipped(path.read_bytes(), 8 * 5000))
    assert np.array_equal(normalised_image(ball_cohort, "ball_0", "z_score"), right)


def test_a_plan_to_edit_has_no_checksum_and_one_that_is_trained_by_has(ball_cohort):
    settings = TrainingSettings(**QUICK_TRAINING)
    plan_run(ball_cohort, "r", settings)
    path = RunFolder(ball_cohort.run_folder("r")).plan_path
    text = path.read_text()
    assert "checksum" not in text
    path.write_text(text.replace('"iterations": 6', '"iterations": 4'))
    # One bit of difference, and it counts.
    card = train(ball_cohort, "r")
    assert card.last.iterations == 4
    trained_by = path.read_bytes()
    assert b'"checksum": "' in trained_by
    path.write_bytes(trained_by.replace(b'"iterations": 4', b'"iterations": 5', 1))
    with pytest.raises(RunError, match="a single flipped bit in line"):
        RunFolder(ball_cohort.run_folder("r")).plan()
