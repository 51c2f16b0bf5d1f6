from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import ball, noisy_image
from sparse_fills import annotation_of, axial, filled
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    Ledger,
    Plane,
    SliceState,
    Watch,
    metrics,
)
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator
from SparseAnnotateLib.interpolation.label_fields import DrawnSlices
from SparseAnnotateLib.interpolation.seen_channels import channel_of_most
from SparseAnnotateLib.learning.propagation.learned_interpolator import PropagationInterpolator, trained_propagation
from SparseAnnotateLib.learning.propagation.slice_matcher import (
    PropagationSettings,
    SliceMatcher,
    _chain_loss,
    train_matcher,
)

QUICK = PropagationSettings(steps=12, batch=2, patch=32, channels=8, radius=3)


def wandering(count=14, size=40, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """A textured structure that wanders by two pixels a slice, and its image."""
    rng = np.random.default_rng(seed)
    from scipy import ndimage

    texture = ndimage.gaussian_filter(rng.normal(size=(size, size * 2)), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    mask = np.hypot(*(np.indices((size, size)) - np.array([20, 10])[:, None, None])) < 6
    image = np.stack([texture[:, 20 - index : 20 - index + size] for index in range(count)])
    labels = np.stack([np.roll(mask, index, 1) for index in range(count)]).astype(np.uint8)
    return labels, image.astype(np.float32)


def test_affinities_are_shares_of_a_window_and_carry_values_along():
    matcher = SliceMatcher(8, 2).eval()
    torch.manual_seed(0)
    slices = torch.rand(2, 1, 12, 14)
    features = matcher.encode(slices)
    assert features.shape == (2, 8, 12, 14)
    np.testing.assert_allclose(features.square().sum(1).detach(), 1.0, rtol=1e-4)
    affinity = matcher.affinity(features, features)
    assert affinity.shape == (2, 25, 12, 14)
    np.testing.assert_allclose(affinity.sum(1).detach(), 1.0, rtol=1e-4)
    # Nothing comes from beyond the border.
    np.testing.assert_allclose(matcher.carried(affinity, torch.ones(2, 1, 12, 14)).detach(), 1.0, rtol=1e-4)
    # A slice finds itself: most of every pixel comes from the middle of its window.
    assert float((affinity.argmax(1) == 12).float().mean()) > 0.95


def test_brightness_and_contrast_do_not_change_what_is_compared():
    matcher = SliceMatcher(8, 2).eval()
    slices = torch.rand(1, 1, 16, 16)
    plain, other = matcher.encode(slices), matcher.encode(slices * 0.5 + 0.3)
    np.testing.assert_allclose(plain.detach(), other.detach(), atol=0.05)


def test_learning_lowers_the_error_and_is_the_same_with_the_same_seed():
    _, image = wandering()
    losses = []
    watch = Watch(lambda progress: losses.append(progress.metrics["loss"]))
    settings = PropagationSettings(steps=25, batch=2, patch=32, channels=8, radius=3)
    one = train_matcher([lambda: image], settings, watch)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    two = train_matcher([lambda: image], settings)
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_reconstruction_can_stand_in_for_a_slice():
    torch.manual_seed(0)
    matcher = SliceMatcher(8, 2).eval()
    chains = torch.rand(1, 3, 16, 16)
    plain = _chain_loss(matcher, chains, np.zeros(3, bool)).item()
    scheduled = _chain_loss(matcher, chains, np.ones(3, bool)).item()
    assert plain != scheduled


def test_labels_are_carried_along_a_structure_that_wanders():
    labels, image = wandering()
    annotation = axial(labels, [0, 13])
    settings = PropagationSettings(steps=40, batch=2, patch=32, channels=8, radius=3)
    carried = filled(annotation, PropagationInterpolator(settings=settings), image)
    assert metrics.dice(carried.labels > 0, labels > 0) > 0.8
    np.testing.assert_array_equal(carried.labels[[0, 13]], labels[[0, 13]])
    assert carried.confidence[[0, 13]].min() == 100
    assert carried.confidence[1:13].min() > 0
    assert carried.confidence[1:13].max() < 100


def test_one_drawn_slice_is_carried_to_both_ends_and_other_planes_stay():
    labels, image = wandering()
    annotation = annotation_of(labels, {Plane.AXIAL: [7], Plane.SAGITTAL: [17]})
    fill = filled(annotation, PropagationInterpolator(settings=QUICK), image)
    mask = annotation.supervised_mask()
    np.testing.assert_array_equal(fill.labels[mask], labels[mask])
    assert fill.labels[5].any()
    assert fill.labels[9].any()


def test_the_same_image_is_learned_once():
    labels, image = wandering()
    watch_messages = []
    method = PropagationInterpolator(settings=QUICK)
    for drawn in ([0, 13], [0, 6, 13]):
        annotation = axial(labels, drawn)
        method.fill(annotation, image, Watch(lambda p: watch_messages.append(p.message)))
    assert sum("step 1 of" in message for message in watch_messages) == 1


def test_what_a_cohort_has_taught_is_kept_and_a_damaged_file_made_again(ball_cohort):
    names = ball_cohort.annotated_cases()
    messages = []
    first = trained_propagation(ball_cohort, names, QUICK, Watch(lambda p: messages.append(p.message)))
    count = len(messages)
    assert count == QUICK.steps
    trained_propagation(ball_cohort, names, QUICK, Watch(lambda p: messages.append(p.message)))
    assert len(messages) == count
    (path,) = (ball_cohort.cache_folder / "propagation").glob("*.safetensors")
    path.write_bytes(b"not weights")
    again = trained_propagation(ball_cohort, names, QUICK, Watch(lambda p: messages.append(p.message)))
    assert len(messages) == 2 * count
    for left, right in zip(first._matcher.parameters(), again._matcher.parameters(), strict=True):
        assert torch.equal(left, right)


def test_bad_input_is_reported():
    labels, image = wandering()
    annotation = axial(labels, [0, 13])
    method = PropagationInterpolator(settings=QUICK)
    with pytest.raises(BadInputError, match="there is none"):
        filled(annotation, method)
    with pytest.raises(BadInputError, match="The image is uniform"):
        filled(annotation, method, np.ones_like(image))
    broken = image.copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(BadInputError, match="NaN or Inf"):
        filled(annotation, method, broken)
    with pytest.raises(BadInputError, match="has shape"):
        filled(annotation, method, image[1:])
    with pytest.raises(BadInputError, match="two slices"):
        train_matcher([lambda: image[:1]], QUICK)
    with pytest.raises(BadInputError, match="at least 1"):
        PropagationSettings(steps=0)
    with pytest.raises(BadInputError, match="chain"):
        PropagationSettings(slices=1)


def test_filling_again_needs_no_fill_before():
    labels, image = wandering()
    annotation = axial(labels, [0, 13])
    fill = filled(annotation, PropagationInterpolator(settings=QUICK), image)
    again = PropagationInterpolator(settings=QUICK).refill(fill, annotation, image, [(Plane.AXIAL, 13)])
    np.testing.assert_array_equal(again.labels, fill.labels)


def test_learning_can_be_cancelled():
    labels, image = wandering()
    watch = Watch(lambda progress: watch.cancel())
    annotation = axial(labels, [0, 13])
    with pytest.raises(CancelledError):
        PropagationInterpolator(settings=QUICK).fill(annotation, image, watch)


def test_a_volume_smaller_than_the_patch_is_learned_from():
    labels = ball((12, 14, 16), 5.0)
    fill = filled(axial(labels, [3, 6, 9]), PropagationInterpolator(settings=QUICK), noisy_image(labels))
    assert fill.labels[4].any()


def test_what_is_carried_takes_part_in_a_mixture_with_its_probabilities():
    from SparseAnnotateLib.interpolation.chance_filling import ChanceInterpolator, ChanceSource, LearnsFirst

    labels, image = wandering()
    annotation = axial(labels, (0, 4, 8, 12))
    method = PropagationInterpolator(settings=QUICK)
    assert isinstance(method, ChanceSource)
    assert isinstance(method, LearnsFirst)
    alone = method.fill(annotation, image)
    mixed = ChanceInterpolator({"propagation": method}).fill(annotation, image)
    # One label: whichever has more than half.
    np.testing.assert_array_equal(mixed.labels, alone.labels)
    sources = {"shape": AutoInterpolator(["shape"])._methods["shape"], "propagation": method}
    answer = AutoInterpolator(sources).fill(annotation, image)
    assert set(answer.shares[1]) == {"shape", "propagation"}
    assert {score.method for score in answer.scores} == {"shape", "propagation", "auto"}
    scores = {score.method: score.dice for score in answer.scores}
    assert scores["auto"] >= max(scores["shape"], scores["propagation"]) - 0.02


def test_learning_within_a_mixture_can_be_cancelled():
    labels, image = wandering()
    watch = Watch(lambda progress: watch.cancel() if "step" in progress.message else None)
    with pytest.raises(CancelledError):
        AutoInterpolator({"propagation": PropagationInterpolator(settings=QUICK)}).fill(
            axial(labels, (0, 4, 8, 12)), image, watch
        )


def test_of_several_channels_the_one_that_shows_the_structures_is_followed(tmp_path):
    labels, image = wandering(count=8, size=26)
    image, short = image + labels.astype(np.float32), replace(QUICK, steps=2, patch=16)
    noise = np.random.default_rng(5).normal(size=image.shape).astype(np.float32)
    annotation = axial(labels, range(0, 8, 3))
    expected = PropagationInterpolator(settings=short).fill(annotation, image).labels
    found = PropagationInterpolator(settings=short).fill(annotation, np.stack([noise, image])).labels
    np.testing.assert_array_equal(found, expected)
    # A cohort learns on that channel, too.
    of_cohort = []
    for channels in ({"image": image}, {"noise": noise, "image": image}):
        cohort = Cohort.create(tmp_path / "-".join(channels), "x", {1: "one"}, channels=tuple(channels))
        for name, array in channels.items():
            write_image(tmp_path / f"{name}.nrrd", array, annotation.geometry)
        first, *further = (tmp_path / f"{name}.nrrd" for name in channels)
        cohort.add_case("case", first, further=dict(zip(list(channels)[1:], further, strict=True)))
        cohort.save_annotation("case", annotation)
        learned = trained_propagation(cohort, ["case"], short)
        of_cohort.append(learned.fill(annotation, np.stack(list(channels.values()))).labels)
    np.testing.assert_array_equal(*of_cohort)


class Watched(PropagationInterpolator):
    """Notes which channels are used."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.used = []

    def _normalised(self, image, number, watch=None):
        self.used.append(number)
        return super()._normalised(image, number, watch)


def shown_in_both_but_on_slice_4():
    """Labels and two channels: the first one shows them better, but for slice 4."""
    labels, _ = wandering(count=9, size=24)
    image = np.random.default_rng(2).normal(size=(2, *labels.shape)).astype(np.float32)
    image += np.array([2.5, 1.5], np.float32)[:, None, None, None] * labels
    image[0, 4] -= 5 * labels[4]
    return labels, image


@pytest.mark.parametrize("by", ["propagation", "auto"])
@pytest.mark.parametrize("learned_before", [False, True])
def test_structures_that_different_slices_decide_are_followed_in_one_channel(by, learned_before):
    """The first structure alone would be followed in the first channel, both others in the second one."""
    labels, _ = wandering(count=10, size=24)
    labels = labels + 2 * labels[:, ::-1] + 3 * np.roll(labels[:, ::-1], -5, 1) * (labels[:, ::-1] == 0)
    labels[labels > 3] = 3
    noise = np.random.default_rng(2).normal(size=(2, *labels.shape))
    image = (5.0 * np.stack([labels == 1, labels > 1]) + noise).astype(np.float32)
    ledger = Ledger()
    for index in range(0, 10, 3):
        structures = ("one",) if index == 3 else ("one", "two", "three")
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    names = {1: "one", 2: "two", 3: "three"}
    annotation = replace(axial(labels, []), ledger=ledger, names=names)
    (first, alone), *others = annotation.structure_groups()
    assert first == (1,)
    assert others
    assert channel_of_most(image, alone) == 0
    assert channel_of_most(image, annotation) == 1
    short = replace(QUICK, steps=1, patch=16)
    method = Watched(SliceMatcher(8, 3).eval() if learned_before else None, settings=short)
    whole = AutoInterpolator({"shape": ShapeInterpolator(), "propagation": method}) if by == "auto" else method
    finished_fill(whole, annotation, lambda: image, names)
    assert set(method.used) == {1}


def test_the_fill_and_its_evidence_use_one_channel_and_one_network(monkeypatch):
    """Without the middle slice the first channel seems to show the structure best."""
    learned = []
    monkeypatch.setattr(
        "SparseAnnotateLib.learning.propagation.slice_matcher.train_matcher",
        lambda volumes, *given: learned.append(volumes) or SliceMatcher(8, 3).eval(),
    )
    labels, image = shown_in_both_but_on_slice_4()
    annotation = axial(labels, [0, 4, 8])
    hidden = axial(labels, [0, 8])
    assert channel_of_most(image, hidden) == 0
    assert channel_of_most(image, annotation) == 1
    method = Watched(settings=replace(QUICK, steps=1, patch=16))
    answer = AutoInterpolator({"shape": ShapeInterpolator(), "propagation": method})
    answer.fill(annotation, image)
    assert set(method.used) == {1}
    assert len(learned) == 1
    # Measured by itself, as on a cohort, the channel is the same.
    method.used.clear()
    answer.measure(annotation, image)
    assert set(method.used) == {1}
    assert len(learned) == 1


def test_when_another_channel_shows_the_structures_now_it_is_learned_from():
    labels, image = shown_in_both_but_on_slice_4()
    method = Watched(settings=replace(QUICK, steps=1, patch=16))
    for indices, expected in (([0, 8], 0), ([0, 4, 8], 1)):
        method.used.clear()
        finished_fill(method, axial(labels, indices), lambda: image, {1: "one"})
        assert method.used == [expected, expected], "learned and filled"


def test_a_further_channel_that_is_ct_is_scaled_like_the_first(tmp_path):
    labels, mr = wandering(count=8, size=26)
    annotation, short = axial(labels, range(0, 8, 3)), replace(QUICK, steps=1, patch=16)
    found = []
    for modality in ("CT", "MR"):
        channels = {"MR": mr, "other": 100 * labels.astype(np.float32)}
        modalities = {"MR": "MR", "other": modality}
        cohort = Cohort.create(tmp_path / modality, "x", {1: "one"}, channels=tuple(channels), modalities=modalities)
        for name, array in channels.items():
            write_image(tmp_path / f"{name}.nrrd", array, annotation.geometry)
        cohort.add_case("case", tmp_path / "MR.nrrd", further={"other": tmp_path / "other.nrrd"})
        cohort.save_annotation("case", annotation)
        method = trained_propagation(cohort, ["case"], short)
        prepared = method.prepared(annotation, DrawnSlices.of(annotation), np.stack(list(channels.values())))
        found.append(prepared.image.astype(np.float32))
    np.testing.assert_allclose(found[0], (100.0 * labels + 1000) / 2000, atol=1e-3)  # -1000 to 1000 HU
    assert float(np.ptp(found[1])) > 0.5
