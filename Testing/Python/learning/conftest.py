"""Fixtures for the tests of the benchmark of GPUs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.core.images import write_image

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def one_step_is_timed(request, monkeypatch):
    """Before a training one step of each model is timed, in place of four; not so in the tests of the estimate."""
    if not request.module.__name__.endswith("test_planning"):
        monkeypatch.setattr("SparseAnnotateLib.learning.training.step_timing._STEPS", 0)


_timed: dict[tuple[object, ...], object] = {}


@pytest.fixture(autouse=True)
def a_model_is_timed_once(request, monkeypatch):
    """Models that are alike are timed once on the CPU, in whichever test comes first; on a GPU, which may be a pretend
    one whose memory runs out, and in the tests of the estimate each time."""
    from SparseAnnotateLib.learning.training import estimate

    measure = estimate._measured_within_memory

    def remembered(model, plan, watch):
        way = estimate.network_to_train, estimate.StepTimer.seconds  # which tests replace
        facts = repr((model, plan.settings, plan.precision, plan.class_count, plan.image_channels, plan.models))
        kind = (*way, facts)
        found = _timed.get(kind) or measure(model, plan, watch)
        if found is not None:
            _timed[kind] = found
        return found

    def measured(model, plan, watch):
        watch.check()
        return remembered(model, plan, watch) if plan.device == "cpu" else measure(model, plan, watch)

    is_about_timing = request.module.__name__.endswith(("test_planning", "test_training_steps"))
    if not is_about_timing and not {"pretended", "gpu"} & set(request.fixturenames):
        monkeypatch.setattr(estimate, "_measured_within_memory", measured)


@pytest.fixture
def parts(monkeypatch):
    """Makes `gpu_parts` importable."""
    monkeypatch.syspath_prepend(str(PROJECT / "Testing" / "Benchmarks"))


@pytest.fixture
def small_hippocampi(tmp_path):
    """A data folder with nine small volumes in place of the hippocampi."""
    folder = tmp_path / "data" / "msd_hippocampus"
    training = []
    for number in range(9):
        labels = ball((20, 24, 22), 7.0) + ball((20, 24, 22), 3.0)
        geometry = VolumeGeometry.from_spacing(labels.shape)
        write_image(folder / "imagesTr" / f"h_{number}.nii.gz", noisy_image(labels, number), geometry)
        write_image(folder / "labelsTr" / f"h_{number}.nii.gz", labels, geometry)
        paths = (f"./{kind}/h_{number}.nii.gz" for kind in ("imagesTr", "labelsTr"))
        training.append(dict(zip(("image", "label"), paths, strict=True)))
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    content = {"name": "Hippocampus", "labels": labels, "training": training, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder.parent
