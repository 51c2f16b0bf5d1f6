from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from SparseAnnotateLib.core import BadInputError, Plane, VolumeGeometry
from SparseAnnotateLib.core.planes import slice_centre_ras


@st.composite
def geometries(draw):
    """Any axis order, flip, oblique direction, anisotropic spacing and origin."""
    shape = draw(st.tuples(*[st.integers(2, 6)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.01, 20)] * 3))
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    order = list(draw(st.permutations(range(3))))
    flips = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = (rotation[:, order] * flips) @ np.diag(spacing)
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return VolumeGeometry.from_matrix(shape, matrix)


@given(geometries())
def test_to_itk_and_back_is_the_same_grid(geometry):
    spacing, origin, direction = geometry.to_itk()
    back = VolumeGeometry.from_itk(tuple(reversed(geometry.shape)), spacing, origin, direction)
    assert back.shape == geometry.shape
    np.testing.assert_allclose(back.matrix, geometry.matrix, atol=1e-9)
    assert back.resembles(geometry)


@given(geometries())
def test_itk_and_ras_name_the_same_point_with_opposite_first_two_signs(geometry):
    image = sitk.Image([int(n) for n in reversed(geometry.shape)], sitk.sitkUInt8)
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    point = image.TransformIndexToPhysicalPoint([1, 0, 1])
    ras = geometry.matrix @ [1, 0, 1, 1]
    np.testing.assert_allclose(point, [-ras[0], -ras[1], ras[2]], atol=1e-6)


@given(geometries())
def test_each_plane_has_its_own_array_axis(geometry):
    assert sorted(plane.array_axis(geometry) for plane in Plane) == [0, 1, 2]


@given(geometries())
def test_standard_order_points_superior_anterior_right_and_back_again_is_bit_exact(geometry):
    array = np.random.default_rng(0).integers(0, 255, (2, *geometry.shape))
    standard = geometry.to_standard_order(array)
    assert standard.shape[1:] == geometry.standard_shape
    np.testing.assert_array_equal(geometry.from_standard_order(standard), array)
    for axis in range(3):
        for index in (0, geometry.shape[axis] - 1):
            new_axis, new_index = geometry.to_standard_slice(axis, index)
            layer = geometry.to_standard_order(array)[0].take(new_index, axis=new_axis)
            assert sorted(layer.ravel()) == sorted(array[0].take(index, axis=axis).ravel())
    along = geometry.to_standard_order(np.moveaxis(np.indices(geometry.shape), 0, 0))
    first, last = along[:, 0, 0, 0], along[:, -1, 0, 0]
    ras = [geometry.matrix @ [*reversed(kji), 1] for kji in (first, last)]
    cosines = (ras[1] - ras[0])[:3] / np.linalg.norm((ras[1] - ras[0])[:3])
    assert cosines[2] > -1e-9


def test_axial_slices_of_a_sagittally_stored_volume_lie_along_its_second_axis():
    # i runs posterior, j inferior, k to the right: a sagittal acquisition.
    matrix = [[0, 0, 3, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
    geometry = VolumeGeometry.from_matrix((10, 20, 30), matrix)
    assert (Plane.SAGITTAL.array_axis(geometry), Plane.AXIAL.array_axis(geometry)) == (0, 1)
    assert Plane.CORONAL.array_axis(geometry) == 2
    assert geometry.spacing == (3.0, 1.0, 1.0)
    assert Plane.AXIAL.slice_count(geometry) == 20


def test_the_centre_of_a_slice_lies_on_it():
    geometry = VolumeGeometry.from_spacing((10, 20, 30), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0))
    np.testing.assert_allclose(slice_centre_ras(geometry, 0, 4), [5 + 14.5, 6 + 9.5, 7 + 8])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: VolumeGeometry((2, 3, 5), g.ijk_to_ras), "size"),
        (lambda g: VolumeGeometry.from_spacing(g.shape, (1, 1, 2)), "spacing"),
        (lambda g: VolumeGeometry.from_spacing(g.shape, origin_ras=(0, 0, 1)), "position"),
    ],
)
def test_a_differing_grid_is_described(change, words):
    geometry = VolumeGeometry.from_spacing((2, 3, 4))
    assert words in change(geometry).difference_from(geometry)
    assert geometry.difference_from(geometry) is None


@pytest.mark.parametrize(
    ("shape", "matrix", "words"),
    [
        ((4, 4), np.eye(4), "three axes"),
        ((4, 4, 0), np.eye(4), "three axes"),
        ((4, 4, 4), np.diag([1, 1, 0, 1]), "spacing must be positive"),
        ((4, 4, 4), [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "right angles"),
        ((4, 4, 4), np.full((4, 4), np.nan), "finite"),
    ],
)
def test_an_impossible_geometry_is_refused_in_words(shape, matrix, words):
    with pytest.raises(BadInputError, match=words):
        VolumeGeometry.from_matrix(shape, matrix)


def test_an_unknown_plane_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match="axial, coronal, sagittal"):
        Plane.named("oblique")


@pytest.mark.parametrize("noise", [0.0, 1e-7, -1e-7])
@pytest.mark.parametrize("turned", [(0, 1), (0, 2), (1, 2)])
def test_a_volume_turned_by_exactly_45_degrees_keeps_its_planes_whatever_the_rounding(turned, noise):
    first, second = turned
    matrix = np.eye(4)
    half = np.sqrt(0.5)
    matrix[[first, first, second, second], [first, second, first, second]] = half + noise, -half, half, half - noise
    geometry = VolumeGeometry.from_matrix((4, 5, 6), matrix)
    assert geometry.nearest_anatomical_axes() == (2, 1, 0)
