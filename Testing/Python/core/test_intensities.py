"""Padding far outside of what an image shows must not take its range, and ordinary images must stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core.intensities import Intensities

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
SHOWN = noisy_image(ball())


def padded(value, image=SHOWN, dtype=np.float64, rows=6, other=None) -> np.ndarray:
    image = image.astype(dtype)
    image[:, :rows] = value
    if other is not None:
        image[:, -rows:] = other
    return image


@pytest.mark.parametrize(
    "image",
    [
        SHOWN,
        SHOWN.astype(np.int16),
        ball(),
        np.where(ball() > 0, 400, 0).astype(np.uint16),
        np.where(ball() > 0, SHOWN + 700, 0),  # stripped of all around it
        np.clip(10 * SHOWN, -1024, 3071).astype(np.int16),  # CT
        padded(-2000, np.clip(10 * SHOWN, -1024, 3071), np.int16),  # as scanners pad it
        np.where(np.arange(SHOWN.shape[2]) > 27, 1000, np.abs(SHOWN) % 20).astype(np.int16),  # a bright even object
        np.exp(SHOWN / 20),  # PET: a few voxels are a hundred times as bright as most
    ],
)
def test_ordinary_images_come_out_as_they_are(image):
    found = Intensities.of(image)
    assert (found.is_clipped, found.is_scaled) == (False, False)
    np.testing.assert_array_equal(found.of_part(image), image.astype(np.float32))


@pytest.mark.parametrize(
    ("image", "is_shown"),
    [
        (padded(1e300), SHOWN),
        (padded(-3.4028235e38, dtype=np.float32), SHOWN),
        (padded(3e38, dtype=np.float32, other=-3e38), SHOWN),
        (padded(1.7e308, other=-1.7e308), SHOWN),
        (padded(-32768, dtype=np.int16), SHOWN),
        (padded(-32768, dtype=np.int16, other=32767), SHOWN),
        (padded(65535, np.abs(10 * SHOWN), np.uint16), np.abs(10 * SHOWN)),
        (padded(-9999), SHOWN),
        (padded(1e30, rows=25), SHOWN),  # padding may be most of the image
        (np.where(np.arange(SHOWN.size).reshape(SHOWN.shape) == 777, 1e30, SHOWN), SHOWN),  # or a single voxel
    ],
)
def test_padding_is_drawn_near_and_what_is_shown_stays(image, is_shown):
    found = Intensities.of(image)
    got = found.of_part(image)
    kept = (image == is_shown) | (image == is_shown.astype(image.dtype))
    assert found.is_clipped
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[kept], image.astype(np.float64)[kept].astype(np.float32))
    width = float(np.ptp(is_shown))
    assert got.max() <= is_shown.max() + 0.25 * width + 1
    assert got.min() >= is_shown.min() - 0.25 * width - 1
    outside = got[~kept]
    assert ((outside < got[kept].min()) | (outside > got[kept].max())).all()


@pytest.mark.parametrize(
    "image",
    [
        SHOWN.astype(np.float64) * 1e-20,
        SHOWN.astype(np.float64) * 1e-200,
        SHOWN.astype(np.float64) * 1e35,
        SHOWN.astype(np.float64) * 1e300,
        SHOWN.astype(np.float64) + 1e12,
        (SHOWN * 1000).astype(np.int64) + 2**59,
    ],
)
def test_what_float32_cannot_hold_is_scaled_to_0_and_1_before(image):
    found = Intensities.of(image)
    wanted = (image - image.min()) / np.ptp(image)
    assert found.is_scaled
    np.testing.assert_allclose(found.of_part(image), wanted, atol=1e-3)
    np.testing.assert_array_equal(found.of_part(image[3:5]), found.of_part(image)[3:5])


def test_padding_that_was_interpolated_is_drawn_near_too():
    image = padded(-3e38, dtype=np.float32)
    image[:, 6], image[:, 7] = -1e38, -5e29
    got = Intensities.of(image).of_part(image)
    np.testing.assert_array_equal(got[:, 8:], SHOWN[:, 8:])
    assert got.min() > -200


@pytest.mark.parametrize("value", [0, 7, -1e300, 1e-300])
def test_a_constant_image_stays_constant(value):
    image = np.full((3, 4, 5), value, np.float64)
    assert np.ptp(Intensities.of(image).of_part(image)) == 0


VALUES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)


@given(arrays.arrays(np.float64, st.tuples(*[st.integers(1, 4)] * 3), elements=VALUES))
def test_any_finite_image_gives_finite_float32_in_the_same_order(image):
    got = Intensities.of(image).of_part(image)
    assert got.shape == image.shape
    assert np.isfinite(got).all()
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(got.ravel()[order].astype(np.float64)) >= 0).all()


@given(arrays.arrays(st.sampled_from([np.int16, np.uint16, np.uint8, np.int64, np.bool_]), (3, 4, 5)))
def test_any_whole_numbers_give_finite_float32(image):
    assert np.isfinite(Intensities.of(image).of_part(image)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_background_that_fades_to_nothing_is_no_reason_to_leave_the_body_out(dtype):
    """As smoothed templates have it: most different values are tiny, and the body is far outside of their range."""
    distance = np.linalg.norm(np.indices((40, 44, 48)) - np.array([20, 22, 24])[:, None, None, None], axis=0)
    noise = np.random.default_rng(0).random(distance.shape)
    image = np.where(distance < 12, 0.6 + 0.3 * noise, np.exp(-4.0 * (distance - 12)) * (0.5 + noise)).astype(dtype)
    found = Intensities.of(image)
    assert not found.is_clipped
    assert (found.low, found.high) == (float(image.min()), float(image.max()))
    from SparseAnnotateLib.selection.body_extent import body_extents

    assert body_extents(image) == ((8, 32), (10, 34), (12, 36))
