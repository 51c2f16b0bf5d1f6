"""Images as networks see them: padding and extreme units leave what is shown as it would be without them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.data.training_cases import normalise

IMAGE = noisy_image(ball())


def quietly(image, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return normalise(image, kind)


@pytest.mark.parametrize("kind", ["z_score", "percentile"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_ordinary_images_are_normalised_as_they_are(kind, dtype):
    from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles

    image = IMAGE.astype(dtype)
    plain = {"z_score": NormalizeIntensity(), "percentile": ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0)}[kind]
    wanted = np.asarray(plain(image.astype(np.float32)[None])[0]).astype(np.float16)
    np.testing.assert_array_equal(quietly(image, kind), wanted)


@pytest.mark.parametrize("kind", ["z_score", "percentile"])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1e300, np.float64), (-3.4028235e38, np.float32), (3.4e38, np.float32), (-32768, np.int16), (-9999, np.float32)],
)
def test_padding_does_not_take_the_range_of_what_is_shown(kind, value, dtype):
    image = IMAGE.astype(dtype)
    image[:, :5] = value
    found, plain = quietly(image, kind).astype(float), quietly(IMAGE, kind).astype(float)
    assert np.isfinite(found).all()
    inside = (slice(None), slice(5, None))
    assert 0.5 < found[inside].std() / plain[inside].std() < 2.0
    np.testing.assert_allclose(np.corrcoef(found[inside].ravel(), plain[inside].ravel())[0, 1], 1.0, atol=1e-3)


@pytest.mark.parametrize("kind", ["z_score", "percentile"])
@pytest.mark.parametrize("factor", [1e-20, 1e-200, 1e35, 1e250])
def test_extreme_units_do_not_matter(kind, factor):
    found = quietly(IMAGE.astype(np.float64) * factor, kind).astype(float)
    np.testing.assert_allclose(found, quietly(IMAGE, kind).astype(float), atol=5e-3)


@pytest.mark.parametrize("offset", [1e7, 1e11, -1e11])
def test_a_large_offset_does_not_matter(offset):
    found = quietly(IMAGE.astype(np.float64) + offset, "z_score").astype(float)
    np.testing.assert_allclose(found, quietly(IMAGE, "z_score").astype(float), atol=5e-3)


def test_an_image_that_is_nearly_one_grey_value_everywhere_is_scaled_by_its_range():
    image = np.zeros((20, 30, 30), np.float32)
    image[5, 5, 5:25] = 30000.0
    found = quietly(image, "percentile")
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e300])
def test_a_constant_image_is_refused(value):
    with pytest.raises(BadInputError, match="The image is uniform"):
        quietly(np.full((4, 5, 6), value), "z_score")
