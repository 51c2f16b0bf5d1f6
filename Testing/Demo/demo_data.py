"""Real MR volumes with reference segmentations, loaded into the scene for the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, Cohort


@dataclass(frozen=True)
class DemoCase:
    """A volume node and the segmentation node that a person would draw, given enough time."""

    name: str
    volume: Any
    reference: Any


def mni152_case(resolution_mm: int) -> list[DemoCase]:
    """The MNI152 T1 template (symmetric, 2009a) with its grey- and white-matter maps, as nilearn ships them.

    A voxel belongs to the tissue whose map is the higher one there, when that is above one half.
    """
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=resolution_mm)
    grey, white = (
        _kji(load(resolution=resolution_mm))
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    labels = np.zeros(grey.shape, dtype=np.uint8)
    labels[(grey > 0.5) & (grey >= white)] = 1
    labels[(white > 0.5) & (white > grey)] = 2
    array = _kji(image).astype(np.float32)
    return [_case("MNI152", array, image.affine, labels, {1: "grey matter", 2: "white matter"})]


def decathlon_cases(folder: str | Path, count: int) -> list[DemoCase]:
    """The first `count` cases with reference labels of a cohort folder (the Decathlon format, or our own)."""
    cohort = Cohort.open(folder)
    names = [case.name for case in cohort.cases if case.reference][:count]
    if not names:
        raise BadInputError(f"No case of '{folder}' has reference labels, which the demo draws from.")
    cases = []
    for name in names:
        image, geometry = cohort.image(name)
        cases.append(_case(name, image, geometry.matrix, cohort.reference(name), cohort.labels))
    return cases


def _case(name: str, image: np.ndarray, ijk_to_ras: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> DemoCase:
    volume = slicer.util.addVolumeFromArray(image, ijk_to_ras, name)
    reference = scene.new_segmentation(f"{name} reference", labels, names, volume)
    reference.GetDisplayNode().SetVisibility(False)
    return DemoCase(name, volume, reference)


def _kji(image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image.dataobj).transpose(2, 1, 0))
