import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from SparseAnnotateLib.interpolation.geodesic import geodesic_odds


def shortest_ways(image, seeds):
    """(n, rows, columns): the same distances by Dijkstra's algorithm, the length of a step being .003."""
    number = np.arange(image.size).reshape(image.shape)
    found = []
    ways = [(0, 0, 1), (0, 1, 0), *((1, down, right) for down, right in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)))]
    for way in ways:
        start = tuple(slice(max(-w, 0), n - max(w, 0)) for w, n in zip(way, image.shape, strict=True))
        to = tuple(slice(max(w, 0), n - max(-w, 0)) for w, n in zip(way, image.shape, strict=True))
        cost = np.abs(image[to] - image[start]) + 0.003
        found.append((cost.ravel(), number[start].ravel(), number[to].ravel()))
    cost, one, two = (np.concatenate(parts) for parts in zip(*found, strict=True))
    graph = coo_array((cost, (one, two)), shape=(image.size, image.size)).tocsr()
    away = dijkstra(graph, directed=False, indices=number[seeds], min_only=True)
    return away.reshape(image.shape)


def drawn_ends(shape, mask):
    inside, outside = np.zeros((2, *shape), bool)
    inside[0], outside[0] = mask, ~mask
    outside[-1] = True
    return inside, outside


def test_odds_are_those_of_the_shortest_ways():
    rng = np.random.default_rng(0)
    image = rng.random((7, 16, 14)).astype(np.float32) * 0.05
    image[:, 4:12, 3:10] += 0.6
    mask = np.zeros(image.shape[1:], bool)
    mask[5:10, 4:8] = True
    inside, outside = drawn_ends(image.shape, mask)
    odds = geodesic_odds(image, inside, outside)
    exact = np.log((shortest_ways(image, outside) + 1e-3) / (shortest_ways(image, inside) + 1e-3))
    assert odds.shape == image.shape
    assert odds.dtype == np.float32
    # Ways that turn more than the sweeps follow are rare.
    assert np.mean(np.abs(odds - exact) < 0.2) > 0.95
    assert np.mean((odds > 0) == (exact > 0)) > 0.98


def test_inside_and_outside_are_alike():
    image = np.random.default_rng(1).random((5, 12, 9)).astype(np.float32)
    inside, outside = drawn_ends(image.shape, image[0] > 0.5)
    np.testing.assert_allclose(geodesic_odds(image, inside, outside), -geodesic_odds(image, outside, inside), atol=1e-5)


@pytest.mark.parametrize("flipped", [0, 1, 2])
def test_flipping_the_image_flips_the_odds(flipped):
    image = np.random.default_rng(2).random((5, 12, 9)).astype(np.float32) * 0.1
    image[:, 3:8, 2:6] += 0.5
    mask = np.zeros(image.shape[1:], bool)
    mask[3:8, 2:6] = True
    parts = drawn_ends(image.shape, mask)
    odds = geodesic_odds(image, *parts)
    again = np.flip(geodesic_odds(*(np.flip(a, flipped) for a in (image, *parts))), flipped)
    assert np.mean((odds > 0) == (again > 0)) > 0.99


@pytest.mark.parametrize("shape", [(4, 180, 100), (3, 301, 257), (2, 1, 20_000), (1, 150, 150)])
def test_large_slices_are_computed_on_coarser_pixels(shape):
    """A bright bar in the dark is found again, and nothing beside it."""
    image = np.zeros(shape, np.float32)
    image[..., shape[2] // 4 : shape[2] // 2] = 0.8
    mask = image[0] > 0
    inside, outside = np.zeros((2, *shape), bool)
    inside[0], outside[0] = mask, ~mask
    odds = geodesic_odds(image, inside, outside)
    assert odds.shape == shape
    assert np.isfinite(odds).all()
    assert np.mean((odds > 0) == (image > 0)) > 0.97


@pytest.mark.parametrize("width", [1, 2, 3])
def test_thin_structures_are_found_in_large_slices_as_in_small_ones(width):
    for side in (100, 260, 400):
        image = np.zeros((3, side, side), np.float32)
        image[:, 10:-10, side // 2 : side // 2 + width] = 0.8
        mask = image[0] > 0
        inside, outside = np.zeros((2, *image.shape), bool)
        inside[[0, 2]], outside[[0, 2]] = mask, ~mask
        odds = geodesic_odds(image, inside, outside)
        assert (odds[1][mask] > 0.5).all()
        assert np.mean(odds[1][~mask] < 0) > 0.97


def test_without_known_voxels_of_either_kind():
    image = np.random.default_rng(3).random((3, 8, 8)).astype(np.float32)
    nothing, everything = np.zeros(image.shape, bool), np.ones(image.shape, bool)
    np.testing.assert_allclose(geodesic_odds(image, nothing, nothing), 0)
    assert (geodesic_odds(image, nothing, everything) < 0).all()
    assert (geodesic_odds(image, everything, nothing) > 0).all()
