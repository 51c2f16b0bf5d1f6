"""Images padded with absurd values are looked at as if they were not padded."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from sparse_fills import axial, bent_tube, filled
from SparseAnnotateLib.core import Ledger, Plane, VolumeGeometry, metrics
from SparseAnnotateLib.selection import Budget, Volume, recommend_slices
from SparseAnnotateLib.selection.body_extent import body_extents
from SparseAnnotateLib.selection.slice_images import slice_images

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
TUBE = bent_tube(swing=8.0)
IMAGE = noisy_image(TUBE)


def unusual(kind: str, image: np.ndarray) -> np.ndarray:
    image = image.astype(np.float64)
    value = {"1e300": 1e300, "-3.4e38": -3.4028235e38, "1e30": 1e30, "int16": -32768, "uint16": 65535}.get(kind)
    if value is not None:
        image[:, :, -10:] = value
    if kind == "int16":
        return image.astype(np.int16)
    if kind == "uint16":
        return np.where(image == value, value, np.abs(image) + 50).astype(np.uint16)
    return {"tiny": image * 1e-20, "offset": image + 1e7, "far offset": image + 1e11}.get(kind, image)


KINDS = ["1e300", "-3.4e38", "1e30", "int16", "uint16", "tiny", "offset", "far offset"]


@pytest.mark.parametrize("method", ["random_walk", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_fill_is_as_good_as_without_padding(kind, method):
    drawn = [0, 5, 10, 15, 20]
    plain, fill = (filled(axial(TUBE, drawn), method, image) for image in (IMAGE, unusual(kind, IMAGE)))
    np.testing.assert_array_equal(fill.labels[drawn], TUBE[drawn])
    scores = [metrics.dice(found.labels > 0, TUBE > 0) for found in (plain, fill)]
    assert scores[0] > 0.9
    assert scores[1] > scores[0] - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_slices_are_recommended_and_compared_as_without_padding(kind):
    labels = ball((24, 40, 40), 8)
    image = noisy_image(labels)
    odd = unusual(kind, image)
    geometry = VolumeGeometry.from_spacing(image.shape)
    volume = Volume.of_image("odd", odd, geometry, Ledger())
    assert body_extents(odd) == body_extents(image)  # also where the padding is brighter than the body
    assert len(recommend_slices([volume], [Plane.AXIAL], Budget(per_volume=4))["odd"]) == 4
    for plane, pictures in slice_images(odd, geometry).items():
        assert np.isfinite(pictures).all()
        assert np.ptp(pictures[:, 8:24, :18].astype(float)) > 0.3, plane


def test_a_constant_image_leaves_the_fill_to_the_shapes():
    drawn = [0, 5, 10, 15, 20]
    for value in (0.0, 7.0, 1e300):
        fill = filled(axial(TUBE, drawn), "random_walk", np.full(TUBE.shape, value))
        np.testing.assert_array_equal(fill.labels[drawn], TUBE[drawn])
        assert metrics.dice(fill.labels > 0, TUBE > 0) > 0.7
