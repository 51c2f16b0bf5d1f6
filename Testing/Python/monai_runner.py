"""MONAI's own program for bundles, which knows nothing of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.core.images import read_image


def labels_by_monai(bundle: Path, images: Path, in_own_process: bool = False) -> tuple[np.ndarray, VolumeGeometry]:
    """The labels (K, J, I), and their grid, that MONAI's runner gives the only case in a folder of images.

    Args:
        in_own_process: run it as users do, in a process that has imported nothing of this project. Otherwise in this
            one, which is quicker, with a bundle that names nothing of this project.
    """
    files = {name: str(bundle / "configs" / f"{name}.json") for name in ("inference", "metadata")}
    given = {"config_file": files["inference"], "meta_file": files["metadata"]}
    given |= {"bundle_root": str(bundle), "dataset_dir": str(images)}
    if in_own_process:
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", *options],
            capture_output=True,
            text=True,
            timeout=800,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        from monai.bundle import run

        assert not [name for name in files.values() if "SparseAnnotateLib" in Path(name).read_text()]
        run(**given)
    (path,) = (bundle / "predictions").iterdir()
    return read_image(path)
