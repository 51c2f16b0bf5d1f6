"""How soon the answer follows from a stroke: in the slice at hand, and in the whole region around it.

A ball of noise whose right half the answer lacks, and strokes in it that reach as far as any can: the region around
them has about 128 x 128 x 64 voxels, the largest that comes in one part. *Slice* is `slice_answer`; *region* is
`correcting`, from the stroke to the last piece; *of it busy*: the processor time, which says the same on a machine that
others use, too; *longest piece* is the longest time for which a window would stand
still. *Agree*: voxels that change in the slice at first and in the end, as a share of those that change in either.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

from benchmark_report import options_parser, report
from SparseAnnotateLib.core import Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.interpolation.correcting import correcting, slice_answer, slice_at_hand

SHAPE, SPACING = (96, 256, 256), (1.2, 1.0, 1.0)
CENTRE, RADIUS = (48, 128, 128), 50.0


def parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, repeats={"type": int, "default": 5})


def main() -> None:
    options = parser().parse_args()
    repeats = 1 if options.quick else options.repeats
    truth = _inside(CENTRE, RADIUS).astype(np.uint8)
    image = (100.0 * truth + np.random.default_rng(0).normal(0, 20, SHAPE)).astype(np.float32)
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING)
    annotation = SparseAnnotation.from_slices(truth, geometry, Plane.AXIAL, [4, 92])
    lacking, spilling = truth.copy(), truth.copy()
    lacking[:, :, 100:] = 0
    spilling[:, 40:90, 60:200] = 1
    strokes = {
        "a disc in one slice, is": (lacking, (40, 128, 125), True, True),
        "a ball, is": (lacking, (40, 128, 125), False, True),
        "a ball, is not": (spilling, (40, 65, 90), False, False),
    }
    rows = []
    for name, (start, place, is_flat, is_in) in strokes.items():
        annotation.restore_drawn(start)
        mask = _inside(place, 8.0, is_flat)
        stroke = Stroke.of(mask, 1, is_in)
        so_far = replace(annotation, corrections=Corrections(SHAPE, (stroke,)))
        rows.append((name, *_measured(start, image, so_far, stroke, mask, repeats)))
    columns = ("stroke", "voxels of the region", "slice s", "region s", "of it busy s", "longest piece s", "agree")
    report("From a stroke to the answer in the slice at hand, and in the region", columns, rows, options, seeds=[0])


def _measured(
    start: np.ndarray,
    image: np.ndarray,
    annotation: SparseAnnotation,
    stroke: Stroke,
    mask: np.ndarray,
    repeats: int,
) -> tuple[float, ...]:
    """Voxels of the region; the medians of slice, region, busy and longest piece; and the agreement."""
    times: list[tuple[float, ...]] = []
    for _repeat in range(repeats):
        labels, confidence = start.copy(), np.full(SHAPE, 80, np.uint8)
        begin = time.perf_counter()
        part = slice_answer(labels, confidence, image, annotation, stroke, *slice_at_hand(stroke, annotation))
        ends = [time.perf_counter()]
        busy = time.process_time()
        pieces = correcting(labels, confidence, image, annotation, stroke)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                region = end.value.region
                break
            finally:
                ends.append(time.perf_counter())
        busy = time.process_time() - busy
        times.append((ends[0] - begin, ends[-1] - ends[0], busy, float(np.diff(ends).max())))
    apart = ~mask[part.region]
    first, last = ((found != start[part.region]) & apart for found in (part.labels, labels[part.region]))
    agree = np.count_nonzero(first & last) / max(1, np.count_nonzero(first | last))
    size = int(np.prod([side.stop - side.start for side in region]))
    return size, *(statistics.median(column) for column in zip(*times, strict=True)), float(agree)


def _inside(place: tuple[int, int, int], radius: float, is_flat: bool = False) -> np.ndarray:
    """bool: voxels within a radius (mm) of a voxel; `is_flat`: in its slice only."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    across = (k - place[0]) * SPACING[0] if not is_flat else (k != place[0]) * 1e6
    inside: np.ndarray = across**2 + (j - place[1]) ** 2 + (i - place[2]) ** 2 <= radius**2
    return inside


if __name__ == "__main__":
    main()
