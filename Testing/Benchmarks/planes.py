"""The advice on the plane against the truth: self-similarity of the image, and Dice of the fill, in each plane.

For each volume and density the slices are drawn in each plane in turn, at three phases, and filled between. The advice
is right when the plane it names is the one whose fill is best; what it costs is the Dice it falls short of that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmark_report import DATA, options_parser, report
from selection import VOLUMES, fill_dice
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.images import read_image, read_labels
from SparseAnnotateLib.selection import advised_plane, self_similarity
from SparseAnnotateLib.selection.slice_images import slice_images

DENSITIES = (0.05, 0.1, 0.2)
PHASES = (1 / 6, 1 / 2, 5 / 6)
COLUMNS = (
    "data",
    "density",
    *(f"similarity {p}" for p in Plane),
    *(f"Dice {p}" for p in Plane),
    "advised",
    "best",
    "short by",
)


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA), "help": "folder with msd_hippocampus and the larger volumes"},
        cases={"type": int, "default": 40, "help": "hippocampi"},
    )


def main() -> None:
    options = parser().parse_args()
    rows = []
    for density in DENSITIES[1:2] if options.quick else DENSITIES:
        for title, (image, label) in VOLUMES.items():
            if (Path(options.data) / image).is_file():
                volume = read_image(Path(options.data) / image)
                labels = read_labels(Path(options.data) / label, volume[1])
                rows.append(_row(title, density, [(*volume, labels)]))
        cohort = Cohort.open(Path(options.data) / "msd_hippocampus")
        cases = [case.name for case in cohort.cases if case.reference][: 4 if options.quick else options.cases]
        volumes = [(*cohort.image(name), cohort.reference(name)) for name in cases]
        rows.append(_row(f"{len(cases)} hippocampi", density, volumes))
    right = [row for row in rows if row[-3] == row[-2]]
    notes = [
        f"The advised plane was the best one in {len(right)} of {len(rows)} rows; it fell short by "
        f"{np.mean([row[-1] for row in rows]):.3f} Dice on average, and by {max(row[-1] for row in rows):.3f} at most. "
        f"The worst plane falls short by {np.mean([max(row[5:8]) - min(row[5:8]) for row in rows]):.3f} on average."
    ]
    report("Advice on the plane", COLUMNS, rows, options, notes=notes)


def _row(title: str, density: float, volumes: list[tuple[np.ndarray, VolumeGeometry, np.ndarray]]) -> tuple:
    similar = {plane: [] for plane in Plane}
    true = {plane: [] for plane in Plane}
    for image, geometry, labels in volumes:
        for plane, value in self_similarity(slice_images(image, geometry), density).items():
            similar[plane].append(value)
        for plane in Plane:
            true[plane].append(
                np.mean([fill_dice(_drawn(labels, geometry, plane, density, u), labels) for u in PHASES])
            )
    similarity = {plane: float(np.nanmean(values)) for plane, values in similar.items()}
    dice = {plane: float(np.mean(values)) for plane, values in true.items()}
    advised, _ = advised_plane(similarity)
    best = max(dice, key=lambda plane: dice[plane])
    return title, density, *similarity.values(), *dice.values(), str(advised), str(best), dice[best] - dice[advised]


def _drawn(
    labels: np.ndarray, geometry: VolumeGeometry, plane: Plane, density: float, phase: float
) -> SparseAnnotation:
    total = plane.slice_count(geometry)
    count = max(1, round(density * total))
    indices = sorted({min(int((i + phase) * total / count), total - 1) for i in range(count)})
    return SparseAnnotation.from_slices(labels, geometry, plane, indices)


if __name__ == "__main__":
    main()
