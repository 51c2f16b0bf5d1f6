"""Packages that a machine without a network is given: wheels or unpacked packages in a folder. Needs no package."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

THERE = ("torch", "numpy", "scipy")  # expected on the machine: torch with the build that fits its GPU
CARRIED = ("monai", "SimpleITK", "einops", "safetensors")
HOW_TO_CARRY = f"""\
Packages: {", ".join(THERE)} must be installed, torch (2.8 or newer) in the build that fits the GPU.
It also needs {", ".join(CARRIED)}, and nothing else. Where these are not installed, fetch them on
a machine with a network and bring the folder along:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 \\
        --dest FOLDER {" ".join(CARRIED)}
    Testing/run bench gpu --carried FOLDER

A folder into which they were installed (pip install --no-deps --target FOLDER ...) works as well.
"""


def put_on_path(folders: Sequence[str], unpacked: Path) -> list[str]:
    """Make what lies in `folders` importable: wheels are unpacked into `unpacked`. Returns what to add to sys.path.

    Raises FileNotFoundError when a folder does not exist.
    """
    paths = []
    for name in folders:
        folder = Path(name).resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder '{name}' of carried packages.")
        wheels = sorted(folder.glob("*.whl"))
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
        paths.append(str(unpacked if wheels else folder))
    sys.path[:0] = paths
    importlib.invalidate_caches()
    return paths


def missing_packages() -> list[str]:
    """Which of the needed packages cannot be found; nothing is imported."""
    return [name for name in (*THERE, *CARRIED) if importlib.util.find_spec(name) is None]
