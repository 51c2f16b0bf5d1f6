"""Speed and memory of slice recommendation: one large volume from its voxels, 10,000 slices from their features.

The lazy greedy selection and the plain one, which recomputes every gain for each choice, are timed in the same run.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from benchmark_report import options_parser, report
from SparseAnnotateLib.core import Ledger, Plane, VolumeGeometry
from SparseAnnotateLib.selection import (
    Budget,
    Scope,
    Stack,
    Volume,
    intensity_features,
    recommend_slices,
    strategy_named,
    unit_rows,
)
from SparseAnnotateLib.selection.slice_images import slice_images

COLUMNS = ("what", "slices", "seconds", "beside it", "ratio", "peak MiB of the process so far")


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        shape={"type": int, "nargs": 3, "default": [300, 512, 512], "help": "of the volume (K, J, I)"},
        slices={"type": int, "default": 10000, "help": "of the cohort"},
    )


def main() -> None:
    options = parser().parse_args()
    shape, count = ((60, 128, 128), 1000) if options.quick else (tuple(options.shape), options.slices)
    rows = [_large_volume(shape)]
    features = _features(count)
    rows += [_cohort("representative", features), _cohort("core_set", features)]
    rows.append(_lazy_beside_plain(features[: min(1500, count)]))
    report("Speed of recommending", COLUMNS, rows, options, seeds=[0])


def _large_volume(shape: tuple[int, int, int]) -> tuple:
    """Rank every slice, starting from the voxels: pictures, principal components, greedy coverage."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 30, shape).astype(np.int16)
    image += (300 * np.sin(np.arange(shape[0]) / 9)).astype(np.int16)[:, None, None]
    image[:, : shape[1] // 4] -= 400
    geometry = VolumeGeometry.from_spacing(shape, (1.0, 0.7, 0.7))
    volume = Volume.of_image("large", image, geometry, Ledger(), whole=True)
    start = time.monotonic()
    pictures = slice_images(image, geometry, [Plane.AXIAL])[Plane.AXIAL]
    features = intensity_features([pictures])[0]
    known = Volume("large", geometry, Ledger(), volume.extents, features={Plane.AXIAL: features})
    found = recommend_slices([known], [Plane.AXIAL], Budget(density=1.0), "representative")
    seconds = time.monotonic() - start
    return " x ".join(map(str, shape)) + ", intensity, all slices", len(found["large"]), seconds, "", "", _peak()


def _features(count: int) -> np.ndarray:
    """Features like those of a cohort with 100 slices per volume: similar neighboring slices and similar volumes."""
    rng = np.random.default_rng(0)
    volumes = -(-count // 100)
    course = rng.normal(size=(100, 64)).cumsum(axis=0)
    return np.concatenate([course + rng.normal(0, 2, 64) + rng.normal(0, 0.3, (100, 64)) for _ in range(volumes)])[
        :count
    ].astype(np.float32)


def _ranked(name: str, features: np.ndarray) -> int:
    stacks = [
        Stack(f"v{n}", Plane.AXIAL, len(part), 0, len(part) - 1, n, features=part)
        for n, part in enumerate(np.split(features, range(100, len(features), 100)))
    ]
    return len(strategy_named(name).rank(stacks, Budget(density=1.0, scope=Scope.COHORT)))


def _cohort(name: str, features: np.ndarray) -> tuple:
    start = time.monotonic()
    count = _ranked(name, features)
    return f"{name} over the cohort, all slices", count, time.monotonic() - start, "", "", _peak()


def _lazy_beside_plain(features: np.ndarray) -> tuple:
    start = time.monotonic()
    _ranked("representative", features)
    lazy = time.monotonic() - start
    start = time.monotonic()
    units = unit_rows(features)
    similarity = np.maximum(units @ units.T, 0.0)
    cover = np.zeros(len(units))
    left = np.ones(len(units), dtype=bool)
    for _ in range(len(units)):
        gains = np.where(left, np.maximum(similarity - cover, 0.0).sum(axis=1), -1.0)
        chosen = int(np.argmax(gains))
        left[chosen] = False
        cover = np.maximum(cover, similarity[chosen])
    plain = time.monotonic() - start
    return "lazy greedy, beside plain greedy", len(features), lazy, plain, plain / lazy, _peak()


def _peak() -> float:
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
