"""nnU-Net on the slices that a configuration of `learning` has drawn, for as long as all of that one's models took."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

from learning_cohorts import Split
from learning_measures import dice_of_labels
from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.learning.exchange.nnunet import export_nnunet_dataset
from SparseAnnotateLib.learning.exchange.nnunet_predictions import import_nnunet_predictions

PACKAGES = (
    ["torch==2.13.0"],
    ["--no-deps", "nnunetv2==2.8.1", "dynamic-network-architectures==0.4.4", "acvl-utils==0.2.6"],
    ["--no-deps", "batchgenerators==0.25.5", "batchgeneratorsv2==0.3.6"],
    ["SimpleITK", "nibabel", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "tqdm", "tifffile", "blosc2"],
    ["matplotlib", "seaborn", "connected-components-3d", "pillow", "threadpoolctl"],
)


def nnunet_figures(split: Split, work: Path, environments: Path, seconds: float, seed: int, threads: int) -> dict:
    """Train nnU-Net on the drawn slices of a split and test it; the fields of a line of results that are its own."""
    cohort, folder = split.cohort, work.absolute() / "nnunet" / "Dataset501_Peer"
    python = _environment(environments.absolute() / "nnunet_environment")
    shutil.rmtree(folder.parent, ignore_errors=True)
    export_nnunet_dataset(cohort, folder, split.training, Watch())
    images, out = folder.parent / "test_images", folder.parent / "predictions"
    for case in split.test:
        image, geometry = cohort.image(case)
        write_image(images / f"{case}_0000.nii.gz", image, geometry)
    program = Path(__file__).with_name("nnunet_peer.py")
    command = [python, program, folder, images, out, "--seconds", seconds, "--seed", seed, "--threads", threads]
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)
    import_nnunet_predictions(cohort, out, folder, "nnunet", Watch())
    found = []
    for case in split.test:
        labels = read_labels(cohort.prediction_path("nnunet", case), cohort.geometry(case))
        counted = ~cohort.annotation(case).supervised_mask()
        found.append(dice_of_labels(labels, cohort.reference(case), counted, tuple(cohort.labels)))
    figures = json.loads((out / "run.json").read_text())
    return {
        "dice": {"nnU-Net": float(np.mean(found))},
        "labels": {"nnU-Net": np.mean(found, axis=0).tolist()},
        "cases": {"nnU-Net": found},
        "seconds": {"nnU-Net": figures["seconds"]},
        "nnU-Net": figures,
    }


def _environment(folder: Path) -> Path:
    """The Python of an environment with nnU-Net and without torchvision, created when it does not exist."""
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        for packages in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        (folder / "installed").touch()
    return python
