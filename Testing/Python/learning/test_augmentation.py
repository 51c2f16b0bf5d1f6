"""How patches are changed in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SparseAnnotateLib.learning.data.augmentation import Augmentation, mixed
from SparseAnnotateLib.learning.data.patches import Patch
from SparseAnnotateLib.runs import AugmentationSettings


def striped_patch(size=(24, 24, 24)):
    """Image and label that are the same, so that any movement that takes only one along shows."""
    grid = np.indices(size).sum(0) // 6 % 3
    arrays = {"image": grid[None].astype(np.float32), "label": grid[None].astype(np.uint8)}
    arrays["supervised"] = np.zeros((1, *size), bool)
    arrays["supervised"][:, 4::8] = True
    return Patch(arrays, tuple(range(len(size))), "a")


@pytest.mark.parametrize("size", [(24, 24, 24), (24, 24)])
@pytest.mark.parametrize("what", ["right_angles", "affine", "elastic"])
def test_movements_take_the_labels_along_and_supervise_nothing_that_was_not(what, size):
    augmentation = Augmentation(AugmentationSettings(intensity=0.0, **{what: 1.0}), (), size, (1, 1, 1), seed=0)
    moved = augmentation([striped_patch(size)] * 4, 0, range(4))
    assert moved["label"].dtype == torch.uint8
    assert moved["supervised"].dtype == torch.bool
    plain = torch.from_numpy(striped_patch(size).arrays["label"])
    assert any(not torch.equal(label, plain) for label in moved["label"])
    agree = (moved["image"].round() == moved["label"]).float().mean()
    assert agree > (0.75 if what != "right_angles" else 0.999)
    share = moved["supervised"].float().mean()
    assert 0.03 < share <= 0.2


def test_thick_slices_are_turned_in_their_plane_only():
    size = (16, 32, 32)
    arrays = striped_patch(size).arrays
    arrays["label"][:] = np.arange(16, dtype=np.uint8)[:, None, None]
    settings = AugmentationSettings(affine=1.0, intensity=0.0)
    turned = Augmentation(settings, (), size, (5.0, 1.0, 1.0), seed=0)
    assert turned._turns() == (pytest.approx(0.26), 0.0, 0.0)


def test_patches_are_mirrored_along_the_axes_asked_for_in_every_plane():
    arrays = {"image": np.arange(16, dtype=np.float32).reshape(1, 4, 4)}
    augmentation = Augmentation(AugmentationSettings(intensity=0.0), "R", (4, 4), (1, 1, 1), seed=0)
    plain = torch.from_numpy(arrays["image"])
    for axes, possible in (((0, 2), 2), ((0, 1), None)):
        batch = augmentation([Patch(arrays, axes, "a")] * 20, 0, range(20))["image"]
        mirrored = [not torch.equal(image, plain) for image in batch]
        if possible is None:
            assert not any(mirrored)  # a sagittal slice has no left-right axis
        else:
            assert 0 < sum(mirrored) < 20
            assert all(torch.equal(i, plain.flip(2)) for i, m in zip(batch, mirrored, strict=True) if m)


def test_mixup_mixes_with_the_partner_it_names():
    images = torch.randn(4, 1, 3, 3, 3)
    result, partners, weight = mixed(images, 1.0, seed=3)
    assert 0 < weight < 1
    torch.testing.assert_close(result, weight * images + (1 - weight) * images[partners])
    assert mixed(images, 0.0, seed=3)[2] == 1.0
    assert mixed(images[:1], 1.0, seed=3)[2] == 1.0


def test_labels_of_more_than_255_structures_are_mirrored_too():
    grid = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    patches = [Patch({"image": grid.astype(np.float32), "label": grid}, (1, 2), "a")] * 8
    augmentation = Augmentation(AugmentationSettings(intensity=0.0), "R", (20, 20), (1, 1, 1), seed=0)
    batch = augmentation(patches, 0, range(8))
    assert torch.equal(batch["label"].float(), batch["image"])
    assert not all(torch.equal(label, batch["label"][0]) for label in batch["label"])
