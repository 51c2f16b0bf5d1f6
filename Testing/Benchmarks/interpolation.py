"""Fills between drawn slices, side by side: batched IoU with the dense annotation, and seconds.

Axial slices at fixed intervals, densities 5, 10, 20 and 40 %, on every labelled set of the data folder. The measure
is that of Zhang et al. 2025, appendix E: the completed annotation (drawn and filled slices) against the dense one,
intersections and unions summed over the volumes of a set; over all labels together, and as the mean over labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmark_report import DATA, options_parser, report
from grow_from_seeds import GrowFromSeeds
from SparseAnnotateLib.core import Plane, SparseAnnotateError, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.images import read_geometry, read_image, read_labels
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation import AutoInterpolator, interpolator_named, pooled

DENSITIES = (0.05, 0.1, 0.2, 0.4)
PEERS = ("nearest", "signed distance", "morphological", "grow from seeds")
NEED_IMAGE = ("grow from seeds", "random_walk", "propagation")
METHODS = (*PEERS, "shape", "random_walk", "propagation", "auto")
TOO_MANY_LABELS = 100
SMALL_BODIES = 1000
MEASURED_FOR_AUTO = 20

Filler = Callable[[SparseAnnotation, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True)
class LabelledVolume:
    """Paths of one volume's dense labels and, where there is one, of its image."""

    labels: Path
    image: Path | None = None


@dataclass
class Score:
    """Sums over the volumes of a set: per label and, under 0, over all labels together."""

    both: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    either: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    seconds: float = 0.0

    def add(self, filled: np.ndarray, truth: np.ndarray, seconds: float) -> None:
        top = int(max(filled.max(), truth.max())) + 1
        both = np.bincount(truth[truth == filled].ravel(), minlength=top)
        either = np.bincount(truth.ravel(), minlength=top) + np.bincount(filled.ravel(), minlength=top) - both
        for label in np.flatnonzero(either[1:]) + 1:
            self.both[int(label)] += int(both[label])
            self.either[int(label)] += int(either[label])
        self.both[0] += int(((truth > 0) & (filled > 0)).sum())
        self.either[0] += int(((truth > 0) | (filled > 0)).sum())
        self.seconds += seconds

    def iou(self, label: int = 0) -> float:
        return self.both[label] / self.either[label]

    def mean_iou(self, at_least: int = 0) -> float:
        """Mean over labels; `at_least` leaves out labels with a smaller union, as the figures to beat do for EM."""
        return float(np.mean([self.iou(label) for label in self.either if label and self.either[label] >= at_least]))


def labelled_sets(root: Path) -> dict[str, list[LabelledVolume]]:
    """Every labelled set of the data folder."""
    hippocampi = sorted((root / "msd_hippocampus" / "labelsTr").glob("*.nii.gz"))
    lesions = sorted((root / "ms_lesions").glob("*/lesion_gold.nii.gz"))
    return {
        "hippocampus": [LabelledVolume(p, root / "msd_hippocampus" / "imagesTr" / p.name) for p in hippocampi],
        "spinal cord": _one(root / "spinal_cord", "t2_seg.nii.gz", "t2_image.nii.gz"),
        "MS lesions": [LabelledVolume(p, p.with_name("FLAIR.nii.gz")) for p in lesions],
        "H&N organs": [LabelledVolume(p) for p in sorted((root / "hn_ct_masks").glob("*_oars.nii.gz"))],
        "pulmonary artery": _one(root / "ct_heart", "heart_pulmonary_artery.nii.gz", "heart_ct.nii.gz"),
        "brain tumour": _one(root / "brain_tumour", "brain1_label.nrrd", "brain1_image.nrrd"),
        "EM bodies": _one(root / "em_fib25", "label_bodies.nii.gz", "image.nii.gz"),
        "EM interior": _one(root / "em_fib25", "label_interior.nii.gz", "image.nii.gz"),
    }


def _one(folder: Path, labels: str, image: str) -> list[LabelledVolume]:
    return [LabelledVolume(folder / labels, folder / image)] if (folder / labels).is_file() else []


def fixed_interval(depth: int, density: float, shift: float = 0.0) -> np.ndarray:
    """Slices centred in equal parts of the stack, as the figures to beat are taken.

    `shift`: by which part of their distance they are moved, between -0.5 and 0.5.
    """
    count = max(1, round(density * depth))
    return np.unique(np.floor((np.arange(count) + 0.5 + shift) * depth / count).astype(int))


def nearest(annotation: SparseAnnotation, image: np.ndarray | None) -> np.ndarray:
    """Every slice is a copy of the nearest drawn one."""
    labels = annotation.drawn_labels()
    ((axis, indices),) = annotation.drawn_by_axis().items()
    drawn = np.asarray(indices)
    for index in range(labels.shape[axis]):
        labels[slice_layer(axis, index)] = labels[slice_layer(axis, drawn[np.abs(drawn - index).argmin()])]
    return labels


def signed_distance(annotation: SparseAnnotation, image: np.ndarray | None) -> np.ndarray:
    """Raya & Udupa 1990, plainly: signed distances blended linearly, the highest wins, the end slices copied outwards.

    A label that is on one side only fades out half-way.
    """
    filled = nearest(annotation, image)
    ((axis, indices),) = annotation.drawn_by_axis().items()
    slices = np.moveaxis(filled, axis, 0)
    sampling = [s for a, s in enumerate(annotation.geometry.spacing) if a != axis]
    for before, after in pairwise(indices):
        if after - before < 2:
            continue
        one, two = slices[before].copy(), slices[after].copy()
        highest = np.full((after - before - 1, *one.shape), -np.inf, dtype=np.float32)
        winner = np.zeros(highest.shape, dtype=filled.dtype)
        for value in np.setdiff1d(np.union1d(one, two), 0):
            found = np.nonzero((one == value) | (two == value))
            box = tuple(slice(max(f.min() - 1, 0), f.max() + 2) for f in found)
            fields = [_plain_distance(layer[box] == value, sampling) for layer in (one, two)]
            present = [f for f in fields if f is not None]
            fields = [f if f is not None else np.full_like(present[0], -present[0].max()) for f in fields]
            for step in range(1, after - before):
                share = step / (after - before)
                blend = (1 - share) * fields[0] + share * fields[1]
                wins = blend > highest[step - 1][box]
                highest[step - 1][box][wins] = blend[wins]
                winner[step - 1][box][wins] = value
        winner[(highest <= 0) & ((one == 0) | (two == 0))] = 0
        slices[before + 1 : after] = winner
    return filled


def _plain_distance(mask: np.ndarray, sampling) -> np.ndarray | None:
    if not mask.any():
        return None
    half = 0.5 * min(sampling)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling)[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask, sampling) if not mask.all() else 0
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def fillers(
    name: str, annotations: Sequence[SparseAnnotation], images: Sequence[np.ndarray | None], steps: int, learned: dict
) -> tuple[Filler, dict[str, float]]:
    """A method ready to fill the volumes of a set, and the seconds it took to get ready.

    `auto` is chosen over the volumes of the set, as the request of the worker does; `propagation` learns on them, and
    keeps in `learned` what it has learned.
    """
    begin = time.monotonic()
    if name in ("nearest", "signed distance"):
        return {"nearest": nearest, "signed distance": signed_distance}[name], {}
    if name == "grow from seeds":
        return (lambda annotation, image: GrowFromSeeds(image, annotation)(None)), {}
    if name == "auto":
        method = AutoInterpolator()
        step = max(1, -(-len(annotations) // MEASURED_FOR_AUTO))
        chosen = list(zip(annotations, images, strict=True))[::step]
        method = method.with_evidence(pooled(s for a, i in chosen for s in method.measure(a, i)))
    elif name == "propagation":
        method = _learned(annotations, images, steps, learned)
    else:
        method = interpolator_named(name)
    ready = {"ready": time.monotonic() - begin}
    return lambda annotation, image: method.fill(annotation, image).labels, ready


def _learned(annotations, images, steps, learned: dict):
    from SparseAnnotateLib.learning.data.training_cases import normalise
    from SparseAnnotateLib.learning.propagation.learned_interpolator import PropagationInterpolator
    from SparseAnnotateLib.learning.propagation.slice_matcher import PropagationSettings, train_matcher

    # The images alone teach it, so one training serves all densities of a set.
    if "matcher" not in learned:
        axis = next(iter(annotations[0].drawn_by_axis()))
        volumes = [np.moveaxis(normalise(image, "percentile"), axis, 0) for image in images]
        learned["matcher"] = train_matcher(
            [lambda volume=volume: volume for volume in volumes], PropagationSettings(steps=steps)
        )
    return PropagationInterpolator(learned["matcher"])


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA), "help": "folder with the labelled sets"},
        sets={"nargs": "+", "help": "only these sets"},
        methods={"nargs": "+", "default": list(METHODS)},
        phases={
            "type": int,
            "default": 1,
            "help": "fill each volume so often, with its slices moved by parts of their distance, and add all up",
        },
        limit={"type": int, "default": 60, "help": "volumes of a set at most (default: 60; 0: all)"},
        steps={"type": int, "default": 100, "help": "in which propagation learns (default: 100)"},
        labels={"action": "store_true", "help": "also print the IoU of every label"},
    )


def main() -> None:
    options = parser().parse_args()
    rows, notes = [], []
    limit = 3 if options.quick else options.limit
    for title, volumes in labelled_sets(Path(options.data)).items():
        if not volumes or (options.sets and title not in options.sets):
            continue
        rows += _one_set(title, volumes[: limit or None], options, notes)
    notes += _verdict(rows)
    figures = [*(f"{d:.0%}" for d in DENSITIES), *(f"mean {d:.0%}" for d in DENSITIES), "s/volume", "ready s"]
    title = "Fill: batched IoU of all labels together, and mean over labels"
    report(title, ("set", "volumes", "method", *figures), rows, options, notes=notes)


def _one_set(title: str, volumes: Sequence[LabelledVolume], options, notes: list[str]) -> list[tuple]:
    truths = [(read_labels(v.labels, geometry), geometry) for v in volumes for geometry in [read_geometry(v.labels)]]
    images = [read_image(v.image)[0] if v.image else None for v in volumes]
    rows = []
    for name in options.methods:
        if images[0] is None and name in NEED_IMAGE:
            continue
        if name in ("propagation", "grow from seeds") and max(int(t.max()) for t, _ in truths) > TOO_MANY_LABELS:
            continue
        at_least = SMALL_BODIES if title == "EM bodies" else 0
        union, mean, seconds, ready, by_label, learned = [], [], 0.0, 0.0, [], {}
        for density in DENSITIES:
            score = Score()
            try:
                for shift in shifts(options.phases):
                    annotations = [_drawn(truth, geometry, density, shift) for truth, geometry in truths]
                    fill, took = fillers(name, annotations, images, options.steps, learned)
                    ready += took.get("ready", 0.0)
                    for annotation, image, (truth, _) in zip(annotations, images, truths, strict=True):
                        begin = time.monotonic()
                        filled = fill(annotation, image)
                        score.add(filled, truth, time.monotonic() - begin)
            except SparseAnnotateError as error:
                notes.append(f"{title}, {name}, {density:.0%}: {error}")
                union.append(float("nan"))
                mean.append(float("nan"))
                continue
            union.append(score.iou())
            mean.append(score.mean_iou(at_least))
            seconds = score.seconds / len(volumes) / options.phases
            by_label.append({label: round(score.iou(label), 3) for label in sorted(score.either) if label})
        rows.append((title, len(volumes), name, *union, *mean, seconds, ready))
        print(*(f"{v:.3f}" if isinstance(v, float) else v for v in rows[-1]), file=sys.stderr)
        if options.labels:
            notes.append(f"{title}, {name}, IoU by label, sparsest first: {json.dumps(by_label)}")
    return rows


def shifts(phases: int) -> list[float]:
    """By which parts of their distance the slices are moved; of one phase, not at all."""
    return [(phase + 0.5) / phases - 0.5 for phase in range(phases)]


def _drawn(truth: np.ndarray, geometry: VolumeGeometry, density: float, shift: float) -> SparseAnnotation:
    indices = fixed_interval(Plane.AXIAL.slice_count(geometry), density, shift)
    return SparseAnnotation.from_slices(truth, geometry, Plane.AXIAL, indices)


def _verdict(rows: Sequence[tuple]) -> list[str]:
    """How `auto` stands against the best of the peers, by set, in the mean over labels."""
    found = []
    by_set: dict[str, dict[str, tuple]] = defaultdict(dict)
    for row in rows:
        by_set[row[0]][row[2]] = row[3 + len(DENSITIES) : 3 + 2 * len(DENSITIES)]
    for title, figures in by_set.items():
        peers = [figures[name] for name in PEERS if name in figures]
        if "auto" in figures and peers:
            best = np.nanmax(np.array(peers, dtype=float), axis=0)
            gains = " ".join(f"{gain:+.3f}" for gain in np.array(figures["auto"]) - best)
            found.append(f"{title}: auto against the best peer, mean over labels: {gains}")
    return found


if __name__ == "__main__":
    main()
