"""Whether preparing patches keeps the device waiting, and what predicting a large volume takes.

Steps: training on real data, patches cut, changed and sent to the device as in a run, against steps on one batch that
lies on the device already. The two take turns in blocks, so that a busy machine slows both alike. On a CPU the threads
that prepare patches share the cores with the network.

Prediction: a volume of 512 x 512 x --slices by one 3D model, in a process of its own, whose peak memory is reported.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmark_report import options_parser, report
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.learning.data.training_cases import training_cases
from SparseAnnotateLib.learning.devices import chosen_device, prediction_precision
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.prediction.volume_prediction import predicted_classes
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.patch_planning import planned_network
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.runs import AugmentationSettings, NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

BLOCK = 5
SHAPE = (128, 160, 160)
FEW = AugmentationSettings()
MANY = AugmentationSettings(right_angles=0.3, affine=0.3, elastic=0.1, bias_field=0.15)


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        device={"default": "auto"},
        blocks={"type": int, "default": 6, "help": f"of {BLOCK} steps each"},
        slices={"type": int, "default": 300, "help": "of the predicted volume"},
        parts={"nargs": "+", "default": ["steps", "prediction"]},
    )


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--predict":
        print(json.dumps(_prediction(*sys.argv[2:])))
        return
    options = parser().parse_args()
    device = chosen_device(options.device).device
    rows, notes = [], []
    if "steps" in options.parts:
        for name, augmentation in (("few changes", FEW), ("all changes", MANY)):
            for recipe in ("3d", "2d"):
                settings = TrainingSettings(recipe=recipe, augmentation=augmentation, device=device, iterations=10_000)
                fixed, real = step_seconds(settings, 1 if options.quick else options.blocks)
                rows.append((f"{recipe}, {name}", device, fixed, real, real / fixed))
    if "prediction" in options.parts:
        slices = 32 if options.quick else options.slices
        command = [sys.executable, __file__, "--predict", device, str(slices)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        notes.append(
            f"Prediction of 512 x 512 x {slices} on {device}: {found['seconds']:.0f} s, "
            f"{found['gigabytes']:.1f} GB at most ({found['before']:.1f} GB of it before it began), patch "
            f"{found['patch']}, {found['network']}."
        )
    report(
        "Learning: seconds a step, on a batch that is there against batches from real data",
        ("what", "device", "fixed batch", "real data", "ratio"),
        rows,
        options,
        seeds=[0],
        notes=notes,
    )


def step_seconds(settings: TrainingSettings, blocks: int, shape: tuple[int, int, int] = SHAPE) -> tuple[float, float]:
    """Median seconds of a step on a fixed batch, and on real data: volumes of this shape, `blocks` of BLOCK steps."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = ball_cohort(Path(folder) / "cohort", shape)
        names = [case.name for case in cohort.cases]
        plan = new_plan(cohort, settings, names)
        run = RunFolder(cohort.run_folder("r"))
        cases = training_cases(
            cohort,
            names,
            {value: index for index, value in enumerate(plan.classes, start=1)},
            normalisation="z_score",
            validation_share=0.0,
            seed=0,
            folder=run.labels_folder,
            watch=Watch(),
        )
        objective = SupervisedObjective(plan, cases, Ranks())
        trainer = Trainer(run, plan, plan.models[0], objective, Ranks(), Watch(), lambda *_: None)
        batches = trainer._batches()
        batch = {key: tensor.to(plan.device) for key, tensor in batches.take(0).items()}
        times: dict[str, list[float]] = {"fixed": [], "real": []}
        number = 1
        for _ in range(blocks + 1):
            for kind, found in times.items():
                for _ in range(BLOCK):
                    start = time.perf_counter()
                    if kind == "real":
                        trainer._step(batches.take(number))
                        number += 1
                    else:
                        trainer._step(dict(batch))
                    trainer.iteration += 1
                    found.append(time.perf_counter() - start)
        batches.close()
        # The first block warms up.
        fixed, real = (float(np.median(found[BLOCK:])) for found in times.values())
        return fixed, real


def ball_cohort(folder: Path, shape: tuple[int, int, int] = SHAPE, count: int = 4, apart: int = 10) -> Cohort:
    """`count` volumes with a ball and its core in noise, one axial slice drawn of each `apart`."""
    cohort = Cohort.create(folder, "balls", {1: "ball", 2: "core"})
    geometry = VolumeGeometry.from_spacing(shape)
    radius = min(shape) / 4
    for number in range(count):
        rng = np.random.default_rng(number)
        centre = np.array(shape) / 2 + rng.uniform(-0.15, 0.15, 3) * min(shape)
        distance = np.linalg.norm(np.indices(shape) - centre[:, None, None, None], axis=0)
        labels = (distance < radius).astype(np.uint8) + (distance < radius / 2)
        image = (100 * labels + 20 * rng.normal(size=labels.shape)).astype(np.float32)
        cohort.add_case(f"case {number}", image, geometry)
        drawn = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(apart // 2, shape[0], apart))
        cohort.save_annotation(f"case {number}", drawn)
    return cohort


def _prediction(device: str, slices: str) -> dict:
    """Seconds and peak memory of predicting a large volume."""
    network = planned_network("auto", device)
    patch = (48, 48, 48) if device == "cpu" else (128, 128, 128)
    before = peak_gigabytes()
    seconds, _ = predict_large(large_model(network, patch, device), large_image(int(slices)))
    peak = peak_gigabytes()
    if device.startswith("cuda"):
        peak += torch.cuda.max_memory_allocated() / 1e9
    return {"seconds": seconds, "gigabytes": peak, "before": before, "patch": list(patch), "network": network}


def large_model(network: str, patch: tuple[int, ...], device: str, flip: tuple[int, ...] = ()) -> TrainedModel:
    """A 3D model of three classes with random weights, the same ones at each call."""
    torch.manual_seed(0)
    built = build_network(network, NetworkShape(3, patch)).to(device).eval()
    return TrainedModel("3d", built, patch, 3, device, prediction_precision(device), flip=flip)


def large_image(slices: int, side: int = 512) -> np.ndarray:
    """A normalized image (slices, side, side) float16 of noise."""
    return np.random.default_rng(0).normal(size=(slices, side, side)).astype(np.float16)


def predict_large(model: TrainedModel, image: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds that predicting an image takes, and its classes."""
    start = time.monotonic()
    classes = predicted_classes(model, image)
    return time.monotonic() - start, classes


def peak_gigabytes() -> float:
    """The most memory that this process has had; 0 on systems that do not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
