"""How much a person has to draw on each slice, by what the slice is initialized from: added path length.

A session draws 20 slices of a volume from the reference. The first is the middle one, and each further one is in the
middle of the widest gap that is left. Before each slice is drawn, its added path length is measured from nothing, from
the nearest drawn slice, and from the fill of what is drawn so far; the fill is updated after each slice, as in the
panel. The added path length is the number of contour pixels that are missing, over all structures; it is given as a
share of all contour pixels on these slices, so 'from nothing' is 1.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmark_report import DATA, options_parser, report
from interpolation import labelled_sets
from SparseAnnotateLib.core import Plane, SparseAnnotation
from SparseAnnotateLib.core.images import read_image, read_labels
from SparseAnnotateLib.core.metrics import added_path_length
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation import AutoInterpolator, FinishedFill, finished_fill

PARTS = {"2 to 5": slice(1, 5), "6 to 10": slice(5, 10), "11 to 20": slice(10, 20)}
SETS = ("spinal cord", "MS lesions", "pulmonary artery", "EM interior")


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA)},
        slices={"type": int, "default": 20},
        plane={"default": "axial"},
    )


def main() -> None:
    options = parser().parse_args()
    plane, slices = Plane.named(options.plane), 4 if options.quick else options.slices
    rows = []
    for title, volumes in labelled_sets(Path(options.data)).items():
        if title not in SETS:
            continue
        for number, volume in enumerate(volumes[:1] if options.quick else volumes, start=1):
            if volume.image is None:
                continue
            image, geometry = read_image(volume.image)
            labels = read_labels(volume.labels, geometry)
            path = _session(labels, image, geometry, plane, slices)
            name = title if len(volumes) == 1 else f"{title}, volume {number}"
            for part, places in PARTS.items():
                of_part = path[places].sum(axis=0)
                if of_part[0]:
                    rows.append((name, part, int(of_part[0]), *(of_part[1:] / of_part[0]).tolist()))
    columns = ("volume", "slices", "contour pixels", "from the nearest slice", "from the fill")
    report(f"Added path length as a share of 'from nothing', {plane.value} slices", columns, rows, options)


def _session(labels: np.ndarray, image: np.ndarray, geometry, plane: Plane, slices: int) -> np.ndarray:
    """(slices, 3) int: added path length of each slice from nothing, from the nearest slice and from the fill."""
    axis = plane.array_axis(geometry)
    drawn: list[int] = []
    path = np.zeros((slices, 3), dtype=np.int64)
    fill: FinishedFill | None = None
    for number, index in enumerate(_order(labels, axis, slices)):
        truth = labels[slice_layer(axis, index)]
        nearest, filled = np.zeros_like(truth), np.zeros_like(truth)
        if drawn:
            nearest = labels[slice_layer(axis, min(drawn, key=lambda other: abs(other - index)))]
            annotation = SparseAnnotation.from_slices(labels, geometry, plane, drawn)
            fill = finished_fill(AutoInterpolator(), annotation, lambda: image, {}, previous=fill)
            filled = fill.fill.labels[slice_layer(axis, index)].copy()
        for value in np.unique(truth[truth > 0]).tolist():
            befores = (np.zeros(truth.shape, dtype=bool), nearest == value, filled == value)
            path[number] += [added_path_length(before, truth == value) for before in befores]
        drawn.append(index)
    return path


def _order(labels: np.ndarray, axis: int, slices: int) -> list[int]:
    """The slices that show a structure, from the middle of the widest gap that is left."""
    shown = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
    first, last = int(shown[0]), int(shown[-1])
    order = [(first + last) // 2]
    while len(order) < min(slices, last - first + 1):
        places = sorted({first - 1, *order, last + 1})
        gaps = [(after - before, -before) for before, after in pairwise(places)]
        width, start = max(gaps)
        order.append(-start + width // 2)
    return order


if __name__ == "__main__":
    main()
