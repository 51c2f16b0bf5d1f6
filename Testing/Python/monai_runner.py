"""MONAI's own program for bundles, which knows nothing of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.core.images import read_image


def labels_by_monai(bundle: Path, images: Path) -> tuple[np.ndarray, VolumeGeometry]:
    """The labels (K, J, I), and their grid, that MONAI's runner gives the only case in a folder of images."""
    configs = bundle / "configs"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs / "inference.json")]
    command += ["--meta_file", str(configs / "metadata.json")]
    done = subprocess.run(
        [*command, "--bundle_root", str(bundle), "--dataset_dir", str(images)],
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = (bundle / "predictions").iterdir()
    return read_image(path)
