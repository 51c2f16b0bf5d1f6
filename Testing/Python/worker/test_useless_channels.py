"""A channel that tells nothing does no harm: to fills, answers from a fill and a run, and corrections."""

from __future__ import annotations

import numpy as np

from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.correct_request import CorrectRequest, correct

SHAPE = (24, 28, 32)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE)
MIDDLES = 14 + 5 * np.sin(np.arange(SHAPE[0]) / 3.0)
LABELS = np.concatenate([ball((1, 28, 32), 6.0, (0, middle, 16)) for middle in MIDDLES])
RNG = np.random.default_rng(4)
IMAGES = {
    "shown": (100.0 * LABELS + 20.0 * RNG.normal(size=SHAPE)).astype(np.float32),
    "noise": RNG.normal(size=SHAPE).astype(np.float32),
}
DRAWN = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 24, 6))
UNDRAWN = ~DRAWN.supervised_mask()


def dice(path) -> float:
    found = read_labels(path, GEOMETRY) > 0
    both = np.count_nonzero(found & (LABELS > 0) & UNDRAWN)
    return 2 * both / (np.count_nonzero(found & UNDRAWN) + np.count_nonzero((LABELS > 0) & UNDRAWN))


def results(folder, *channels: str) -> dict[str, float]:
    """Dice of the undrawn voxels of the fill, of the answer from it and a run, and of the fill after a correction."""
    cohort = Cohort.create(folder / "-".join(channels), "tubes", {1: "tube"}, channels=channels)
    for name in channels:
        write_image(folder / f"{name}.nrrd", IMAGES[name], GEOMETRY)
    further = {name: folder / f"{name}.nrrd" for name in channels[1:]}
    cohort.add_case("case", folder / f"{channels[0]}.nrrd", further=further)
    cohort.save_annotation("case", DRAWN)
    common = {"cohort": str(cohort.folder), "cases": ("case",)}
    requests.fill(requests.FillRequest(**common), Watch())
    found = {"fill": dice(cohort.fill_path("case"))}
    settings = TrainingSettings(recipe="3d", **QUICK_TRAINING)
    requests.train(requests.TrainRequest(cohort=str(cohort.folder), run="run", settings=settings), Watch())
    requests.fill(requests.FillRequest(run="run", **common), Watch())
    found["answer"] = dice(cohort.fill_path("case"))
    requests.fill(requests.FillRequest(method="shape", **common), Watch())
    at = tuple((GEOMETRY.matrix @ [16, MIDDLES[11], 11, 1])[:3])
    correct(CorrectRequest(str(cohort.folder), "case", "tube", at, radius=3.0), Watch())
    return found | {"correction": dice(cohort.fill_path("case"))}


def test_noise_beside_an_image_does_no_harm(tmp_path):
    alone, both = results(tmp_path, "shown"), results(tmp_path, "noise", "shown")
    assert min(alone.values()) > 0.8
    for what, least in alone.items():
        assert both[what] > least - 0.005, what
    assert (both["fill"], both["correction"]) == (alone["fill"], alone["correction"])
