"""Which drawn slices are held out."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.learning.data.held_out_slices import held_out_slices
from SparseAnnotateLib.learning.data.training_cases import TrainingCase
from SparseAnnotateLib.learning.training.validation import affordable_slices


def slices_of(*sizes):
    """Slices by number with voxels of each class, given for each class."""
    return dict(enumerate(np.array(sizes).T))


@pytest.mark.parametrize("seed", range(20))
def test_small_and_large_slices_are_held_out_alike(seed):
    """Of 39 slices, a third of which show nothing, three are held out: not two or three of those without anything."""
    sizes = slices_of([max(0, n - 12) for n in range(39)])
    held_out = held_out_slices(sizes, 0.1, seed)
    assert len(held_out) == 3
    assert sorted(int(number // 13) for number in held_out) == [0, 1, 2]


def test_each_slice_is_held_out_with_some_seed():
    sizes = slices_of([5] * 10 + list(range(20)))
    assert set().union(*(held_out_slices(sizes, 0.1, seed) for seed in range(200))) == set(range(30))


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_last_slice_with_a_structure_is_never_held_out(share):
    one, two = [100] * 30, [0] * 30
    two[7] = 3
    for seed in range(30):
        held_out = held_out_slices(slices_of(one, two), share, seed)
        assert 0 < len(held_out) < 30
        assert 7 not in held_out


def test_the_same_seed_holds_out_the_same_slices_and_another_one_others():
    sizes = slices_of(list(range(100)))
    assert held_out_slices(sizes, 0.1, 3) == held_out_slices(sizes, 0.1, 3) != held_out_slices(sizes, 0.1, 4)


def test_nothing_is_held_out_of_few_slices_or_without_a_share():
    assert held_out_slices(slices_of([1] * 19), 0.5, 0) == set()
    assert held_out_slices(slices_of([1] * 40), 0.0, 0) == set()
    assert held_out_slices({}, 0.1, 0) == set()


@pytest.mark.parametrize("seed", range(20))
def test_of_held_out_slices_of_large_images_some_are_affordable_and_show_much_and_little(tmp_path, seed):
    """Four of twenty, which show nothing, or up to 120 voxels."""
    sizes = tuple(np.random.default_rng(seed).permutation([0] * 12 + list(range(50, 130, 10))).tolist())
    voxels = tmp_path / "voxels.npy"
    np.save(voxels, np.zeros((20, 512, 512), np.uint8))
    places = tuple((0, index) for index in range(20))
    case = TrainingCase("a", voxels, voxels, (), places, held_out_sizes=sizes)
    chosen = affordable_slices([case], (64, 64), seed)
    assert len(chosen) == len({place for _case, place in chosen}) == 4
    assert sum(sizes[index] > 0 for _case, (_axis, index) in chosen) == 2
    assert affordable_slices([case], (512, 512), seed)[-1][1] == places[int(np.argmax(sizes))]
    assert len(affordable_slices([case], (512, 512), seed)) == 20
