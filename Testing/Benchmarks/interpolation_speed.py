"""How long a fill takes on a large volume, side by side: 512 x 512 x 300 voxels, 10 organs, every tenth slice drawn.

Measured once with organs of realistic sizes, and once with ten labels that each cover the whole slice. After the fill,
one slice is changed, and only the gaps beside it are filled again. The image is float32, as in the panel, or int16, as
in a file. Processor seconds are those of this process; other programs change them less than seconds. ITK's
morphological filter runs on the same volume in a process of its own; its time includes the start of that process, which
is also measured alone, on a tiny volume.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from benchmark_report import options_parser, report
from SparseAnnotateLib.core import Plane, SparseAnnotateError, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.interpolation import MorphologicalInterpolator, interpolator_named
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        limit={"type": float, "default": 300.0, "help": "seconds for ITK's filter"},
        dtype={"choices": ["float32", "int16"], "default": "float32", "help": "of the image (default: float32)"},
    )


def main() -> None:
    options = parser().parse_args()
    shape = (60, 128, 128) if options.quick else (300, 512, 512)
    rows, notes = [], []
    starting = _timed(_fill, MorphologicalInterpolator(), _annotated(_one_voxel()))[0][0]
    notes.append(f"Starting the process of ITK's filter: {starting:.2f} s")
    for title, labels in (("10 organs", organs(shape)), ("10 labels over the whole slice", bands(shape))):
        annotation = _annotated(labels)
        shapes = ShapeInterpolator()
        (seconds, busy), fill = min((_timed(_fill, shapes, annotation) for _ in range(3)), key=lambda timed: timed[0])
        rows.append((title, "shape", seconds, busy, 1.0, _agreement(fill, labels)))
        middle = annotation.ledger.indices(Plane.AXIAL)[len(labels) // 20]
        changed = [(Plane.AXIAL, middle)]
        again, busy = min(_timed(shapes.refill, fill, annotation, None, changed)[0] for _ in range(3))
        rows.append((title, "shape, two gaps again", again, busy, again / seconds, _agreement(fill, labels)))
        image = noisy(labels, options.dtype)
        (took, busy), walked = _timed(_fill, interpolator_named("random_walk"), annotation, image)
        rows.append((title, "random_walk", took, busy, took / seconds, _agreement(walked, labels)))
        mixing = interpolator_named("auto")
        (took, busy), mixed = _timed(_fill, mixing, annotation, image)
        rows.append((title, "auto", took, busy, took / seconds, _agreement(mixed, labels)))
        again, busy = min(_timed(mixing.refill, mixed, annotation, image, changed)[0] for _ in range(3))
        rows.append((title, "auto, two gaps again", again, busy, again / seconds, _agreement(mixed, labels)))
        del image, walked, mixed
        try:
            (took, _busy), filled = _timed(_fill, MorphologicalInterpolator(options.limit), annotation)
            rows.append((title, "morphological", took, "", took / seconds, _agreement(filled, labels)))
        except SparseAnnotateError as error:
            notes.append(f"{title}: {error}")
    notes.append(f"Peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    size = " x ".join(map(str, reversed(shape)))
    columns = ("labels", "method", "seconds", "processor seconds", "times shape", "voxels as in truth")
    report(f"Speed of fills, {size} voxels, every tenth slice drawn", columns, rows, options, notes=notes)


def noisy(labels: np.ndarray, dtype: str) -> np.ndarray:
    """(K, J, I): an image in which each label is 20 brighter than the one before it, with noise of 5."""
    rng, image = np.random.default_rng(0), np.empty(labels.shape, dtype)
    for layer, shown in zip(image, labels, strict=True):
        layer[...] = 20.0 * shown + rng.normal(scale=5, size=shown.shape)
    return image


def organs(shape: tuple[int, int, int]) -> np.ndarray:
    """(K, J, I) uint8: ten ellipsoids of different sizes."""
    labels = np.zeros(shape, np.uint8)
    rng = np.random.default_rng(0)
    for value in range(1, 11):
        centre = [rng.uniform(0.25, 0.75) * n for n in shape]
        radii = [rng.uniform(0.2, 0.5) * shape[0], *(rng.uniform(0.08, 0.2) * n for n in shape[1:])]
        box = tuple(
            slice(max(int(c - r), 0), min(int(c + r) + 1, n)) for c, r, n in zip(centre, radii, shape, strict=True)
        )
        grid = np.ogrid[box]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        labels[box][inside] = value
    return labels


def bands(shape: tuple[int, int, int]) -> np.ndarray:
    """(K, J, I) uint8: ten wavy bands that each cross the whole slice."""
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    wave = 2 * np.sin(j * 12.8 / shape[1]) + np.sin(k * 10.0 / shape[0])
    return ((i * 10.0 / shape[2] + wave) % 10).astype(np.uint8) + 1


def _one_voxel() -> np.ndarray:
    labels = np.zeros((11, 8, 8), np.uint8)
    labels[[0, 10], 4, 4] = 1
    return labels


def _annotated(labels: np.ndarray) -> SparseAnnotation:
    geometry = VolumeGeometry.from_spacing(labels.shape)
    return SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(0, len(labels), 10))


def _fill(method, annotation: SparseAnnotation, image: np.ndarray | None = None):
    return method.fill(annotation, image)


def _agreement(fill, labels: np.ndarray) -> float:
    return float((fill.labels == labels).mean())


def _timed(action, *given):
    """Seconds and processor seconds, and what the action returns."""
    begin, busy = time.perf_counter(), time.process_time()
    result = action(*given)
    return (time.perf_counter() - begin, time.process_time() - busy), result


if __name__ == "__main__":
    main()
