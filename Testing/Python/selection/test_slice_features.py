"""Pictures and features of slices, and their place in the cohort's cache."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk

from SparseAnnotateLib.core import Cohort, Plane, VolumeGeometry
from SparseAnnotateLib.core.array_files import save_array
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.selection import centred, cohort_extents, cohort_slice_images, cohort_slices, intensity_features
from SparseAnnotateLib.selection.slice_features import principal_components
from SparseAnnotateLib.selection.slice_images import slice_images


def smooth_image(shape, seed=0):
    rng = np.random.default_rng(seed)
    waves = [np.sin(np.linspace(0, rng.uniform(2, 6), n) + rng.uniform(0, 6)) for n in shape]
    return (100 * waves[0][:, None, None] * waves[1][:, None] * waves[2] + np.arange(shape[2])).astype(np.float32)


def axial_pictures(image):
    return slice_images(image, VolumeGeometry.from_spacing(image.shape), [Plane.AXIAL])[Plane.AXIAL]


def test_a_slice_becomes_the_average_of_its_parts_between_0_and_1():
    image = np.zeros((4, 8, 8), np.int16)
    image[1, :4, :] = 1000
    pictures = slice_images(image, VolumeGeometry.from_spacing(image.shape), [Plane.AXIAL], size=4)[Plane.AXIAL]
    assert pictures.shape == (4, 4, 4)
    np.testing.assert_array_equal(pictures[1], [[1] * 4] * 2 + [[0] * 4] * 2)
    assert not pictures[[0, 2, 3]].any()


def test_any_axis_order_and_direction_gives_the_same_pictures():
    standard = smooth_image((20, 24, 28))
    expected = slice_images(standard, VolumeGeometry.from_spacing(standard.shape))
    for order in permutations(range(3)):
        for flips in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1)):
            image = np.transpose(standard, order)[tuple(slice(None, None, f) for f in flips)]
            matrix = np.zeros((4, 4))
            for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
                matrix[2 - source, 2 - axis] = flip
            matrix[3, 3] = 1
            geometry = VolumeGeometry.from_matrix(image.shape, matrix)
            for plane, pictures in slice_images(image, geometry).items():
                axis = plane.array_axis(geometry)
                wanted = expected[plane][::-1] if flips[axis] < 0 else expected[plane]
                np.testing.assert_allclose(pictures, wanted, atol=2e-3)


def test_thick_large_and_small_volumes_of_one_object_look_alike():
    large = smooth_image((40, 96, 96))
    small = large.reshape(40, 48, 2, 48, 2).mean(axis=(2, 4))
    pictures = [
        slice_images(i, VolumeGeometry.from_spacing(i.shape), [Plane.AXIAL])[Plane.AXIAL] for i in (large, small)
    ]
    np.testing.assert_allclose(pictures[0].astype(float), pictures[1].astype(float), atol=0.02)
    features = intensity_features([*pictures, pictures[0][::2]])
    assert [len(f) for f in features] == [40, 40, 20]
    lengths = np.linalg.norm(features[0], axis=1)
    assert np.linalg.norm(features[0] - features[1], axis=1).max() < 0.2 * lengths.mean()


@pytest.mark.parametrize("image", [np.zeros((5, 6, 7)), np.full((5, 6, 7), 3, np.uint8), np.ones((1, 1, 1))])
def test_constant_images_have_features_that_are_zero(image):
    pictures = slice_images(image, VolumeGeometry.from_spacing(image.shape))
    assert all(not p.any() for p in pictures.values())
    assert not any(f.any() for f in intensity_features(list(pictures.values())))


def test_a_slice_without_contrast_has_no_features_among_slices_that_have_some():
    pictures = slice_images(smooth_image((9, 20, 20)), VolumeGeometry.from_spacing((9, 20, 20)), [Plane.AXIAL])[
        Plane.AXIAL
    ]
    pictures[3] = 0.5
    features = intensity_features([pictures])[0]
    assert not features[3].any()
    assert np.abs(np.delete(features, 3, axis=0)).max(axis=1).min() > 0


def test_one_far_voxel_does_not_hide_all_others():
    image = smooth_image((9, 20, 20))
    image[0, 0, 0] = 1e9
    pictures = axial_pictures(image)
    assert np.ptp(pictures[5]) > 0.3


@pytest.mark.parametrize("shape", [(200, 12), (8, 100)])
def test_principal_components_are_those_of_a_singular_value_decomposition(shape):
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.arange(1, shape[1] + 1)
    found = principal_components(rows, 5)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(u * s)[:, :5], rtol=1e-2, atol=1e-2)


def test_learned_features_are_centred_over_all_slices_that_show_something():
    first, second = np.array([[5.0, 1.0], [0.0, 0.0]]), np.array([[7.0, 3.0]])
    found = centred([first, second])
    np.testing.assert_array_equal(found[0], [[-1, -1], [0, 0]])
    np.testing.assert_array_equal(found[1], [[1, 1]])
    assert not centred([np.zeros((3, 2))])[0].any()


@pytest.fixture
def cohort(tmp_path):
    image = smooth_image((12, 20, 24))
    write_image(tmp_path / "image.nrrd", image, VolumeGeometry.from_spacing(image.shape))
    cohort = Cohort.create(tmp_path / "cohort", "c")
    cohort.add_case("a", tmp_path / "image.nrrd")
    return cohort


def cached(cohort):
    return sorted(p for p in cohort.cache_folder.rglob("*") if p.is_file())


def test_pictures_are_kept_by_the_content_of_the_image(cohort, monkeypatch, tmp_path):
    first = cohort_slice_images(cohort, "a")
    # The same content under another name and time is found again; a change of the content is seen.
    (tmp_path / "image.nrrd").rename(tmp_path / "moved.nrrd")
    cohort.add_case("b", tmp_path / "moved.nrrd")
    with monkeypatch.context() as patched:
        patched.setattr(cohort_slices, "slice_images", None)
        np.testing.assert_array_equal(cohort_slice_images(cohort, "b")[Plane.CORONAL], first[Plane.CORONAL])
    write_image(tmp_path / "moved.nrrd", smooth_image((12, 20, 24), 5), VolumeGeometry.from_spacing((12, 20, 24)))
    assert not np.array_equal(cohort_slice_images(cohort, "b")[Plane.CORONAL], first[Plane.CORONAL])


def test_what_another_version_has_cached_is_not_read(cohort, monkeypatch):
    first = cohort_slice_images(cohort, "a", [Plane.AXIAL])[Plane.AXIAL]
    files = [p for p in cached(cohort) if p.suffix == ".npy"]
    save_array(files[0], np.zeros_like(first))
    assert not cohort_slice_images(cohort, "a", [Plane.AXIAL])[Plane.AXIAL].any()
    monkeypatch.setattr(cohort_slices, "CACHE_VERSION", cohort_slices.CACHE_VERSION + 1)
    np.testing.assert_array_equal(cohort_slice_images(cohort, "a", [Plane.AXIAL])[Plane.AXIAL], first)


@pytest.mark.parametrize("damage", [b"", b"not an array", "shape", "nan"])
def test_a_damaged_cache_is_made_again(cohort, damage):
    first = cohort_slice_images(cohort, "a", [Plane.AXIAL])[Plane.AXIAL]
    extents = cohort_extents(cohort, "a")
    for path in cached(cohort):
        if path.suffix == ".npy" and damage == "shape":
            np.save(path, first[:5])
        elif path.suffix == ".npy" and damage == "nan":
            np.save(path, np.full_like(first, np.nan))
        else:
            path.write_bytes(damage if isinstance(damage, bytes) else b"{}")
    np.testing.assert_array_equal(cohort_slice_images(cohort, "a", [Plane.AXIAL])[Plane.AXIAL], first)
    assert cohort_extents(cohort, "a") == extents


def test_a_header_with_its_voxels_in_another_file_is_marked_by_both(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(smooth_image((6, 8, 10))), str(tmp_path / "image.mhd"))
    cohort = Cohort.create(tmp_path / "cohort", "c")
    cohort.add_case("a", tmp_path / "image.mhd")
    before = cohort.image_fingerprint("a")
    raw = (tmp_path / "image.raw").rename(tmp_path / "voxels.bin")
    header = tmp_path / "image.mhd"
    header.write_text(header.read_text().replace("image.raw", "voxels.bin"))
    assert cohort.image_fingerprint("a") != before
    before = cohort.image_fingerprint("a")
    raw.write_bytes(raw.read_bytes()[::-1])
    assert cohort.image_fingerprint("a") != before
