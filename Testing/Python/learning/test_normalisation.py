"""Images as networks see them: padding and extreme units leave what is shown as it would be without them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, CancelledError, Watch
from SparseAnnotateLib.learning.data import training_cases as data
from SparseAnnotateLib.learning.data.training_cases import normalise, training_cases

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


def prepared(cohort, folder, watch):
    """Both balls as training data."""
    how = {"normalisation": "z_score", "validation_share": 0.0, "seed": 0}
    return training_cases(cohort, ["ball_0", "ball_1"], {1: 1, 2: 2}, folder=folder, watch=watch, **how)


def test_preparing_is_shown_case_by_case_and_can_be_cancelled_before_each_image(ball_cohort, tmp_path):
    shown = []

    def report(progress):
        shown.append((progress.fraction, progress.message))
        if progress.message == "preparing 'ball_1', 2 of 2":
            watch.cancel()

    watch = Watch(report)
    with pytest.raises(CancelledError):
        prepared(ball_cohort, tmp_path, watch)
    assert shown == [
        (0.0, "reading the drawn slices of 'ball_0', 1 of 2"),
        (0.25, "reading the drawn slices of 'ball_1', 2 of 2"),
        (0.5, "preparing 'ball_0', 1 of 2"),
        (0.75, "preparing 'ball_1', 2 of 2"),
    ]
    assert len(list((ball_cohort.cache_folder / "normalised").iterdir())) == 1


@pytest.mark.parametrize("during", ["Intensities", "NormalizeIntensity", "require_finite"])
def test_cancelling_within_an_image_takes_effect_at_its_next_step(ball_cohort, tmp_path, monkeypatch, during):
    watch, whole = Watch(), getattr(data, during)

    def cancelling(value):
        watch.cancel()
        return value

    if during == "Intensities":
        monkeypatch.setattr(data.Intensities, "of", staticmethod(lambda image, of=whole.of: cancelling(of(image))))
        monkeypatch.setattr(data, "NormalizeIntensity", lambda: pytest.fail("went on after the cancellation"))
    else:
        monkeypatch.setattr(data, during, lambda *values: cancelling(whole(*values)))
    with pytest.raises(CancelledError):
        prepared(ball_cohort, tmp_path, watch)
    assert not (ball_cohort.cache_folder / "normalised").exists()
