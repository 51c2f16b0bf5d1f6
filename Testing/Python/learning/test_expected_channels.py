"""What a model that learns while slices are being drawn sees beside the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicom_made import oblique
from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_slice
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation.expected_labels import SUREST, ExpectedLabels
from SparseAnnotateLib.learning.data.expected_channels import ExpectedChannels
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.networks.further_inputs import image_weights, with_optional_inputs
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NETWORKS, TrainingSettings
from SparseAnnotateLib.runs.drawing_record import DrawingRecord, PredictedSlice
from SparseAnnotateLib.runs.live_settings import live_settings
from SparseAnnotateLib.runs.network import NetworkShape
from SparseAnnotateLib.runs.plan import EXPECTED_CHANNELS
from SparseAnnotateLib.worker.slice_request import SliceRequest, label_slice

SHAPE = (16, 18, 34)
SETTINGS = live_settings(TrainingSettings(recipe="2d", patch_2d=(32, 32), batch_2d=2, device="cpu"))
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
LABELS = ball(SHAPE, 7.0)


@pytest.fixture
def cohort(tmp_path, monkeypatch) -> Cohort:
    monkeypatch.setattr("SparseAnnotateLib.learning.data.growing_cases._LOOK_EVERY", 0.0)
    monkeypatch.setattr("SparseAnnotateLib.learning.data.growing_cases._SHARE_OF_TIME", 1e9)
    made = Cohort.create(tmp_path / "cohort", "balls", {1: "ball"})
    # It shows nothing of the ball.
    made.add_case("a", noisy_image(np.zeros_like(LABELS)), GEOMETRY)
    made.save_annotation("a", drawn([2, 5, 8, 11, 13]))
    return made


def drawn(indices) -> SparseAnnotation:
    return SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, indices)


def learned(cohort, monkeypatch, last, actions=None, settings=SETTINGS) -> Trainer:
    """Train until the last step; actions: step to what happens after it."""
    watch, step, trainers = Watch(), Trainer._step, []

    def stepping(trainer, batch):
        trainers.append(trainer)
        found = step(trainer, batch)
        (actions or {}).get(trainer.iteration + 1, lambda: None)()
        if trainer.iteration + 1 == last:
            watch.cancel()
        return found

    with monkeypatch.context() as patches:
        patches.setattr(Trainer, "_step", stepping)
        train(cohort, "r", settings, ("a",), watch, is_live=True)
    return trainers[-1]


def asked(cohort, index=7):
    return label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", index, device="cpu"), Watch())


def dice(labels, index=7) -> float:
    truth = LABELS[index] > 0
    return 2.0 * np.count_nonzero((labels > 0) & truth) / (np.count_nonzero(labels) + np.count_nonzero(truth))


def test_what_the_image_does_not_show_is_found_where_other_slices_expect_it(cohort, monkeypatch):
    answers = []
    learned(cohort, monkeypatch, 80, {80: lambda: answers.append(asked(cohort))})
    assert dice(read_slice(answers[0].path, 0)) > 0.8


@pytest.mark.parametrize(
    "geometry", [GEOMETRY, VolumeGeometry.from_matrix(SHAPE, np.diag([-1.0, 1.0, -2.0, 1.0])), oblique(SHAPE)]
)
@pytest.mark.parametrize("plane", list(Plane))
def test_it_is_in_the_order_of_the_standard_axes(geometry, plane):
    image, axis = noisy_image(LABELS), plane.array_axis(geometry)
    count = SHAPE[axis]
    annotation = SparseAnnotation.from_slices(LABELS, geometry, plane, [count // 4, count // 2])
    index = count // 2 - 2
    own = ExpectedLabels(annotation, [1], image).odds(axis, index)
    place, standard = geometry.to_standard_slice(axis, index)
    found = ExpectedChannels(annotation, [1], geometry.to_standard_order(image))
    seen = np.zeros((1, *SHAPE), np.float32)
    seen[(slice(None), *slice_layer(axis, index))] = own
    wanted = geometry.to_standard_order(seen)[(slice(None), *slice_layer(place, standard))]
    np.testing.assert_allclose(found.on(place, standard)[:1] * (SUREST / 2.0), wanted, atol=SUREST / 200)
    np.testing.assert_array_equal(found.classes(place, standard), np.rint(wanted[0] * 127 / SUREST) > 0)


def test_more_structures_than_it_has_channels_for_are_learned_without():
    labels = LABELS.astype(np.uint8) * 0
    for value in range(1, EXPECTED_CHANNELS + 3):
        labels[:, 2, 2 * value] = value
    annotation = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, [4, 12])
    values = list(range(1, EXPECTED_CHANNELS + 3))
    found = ExpectedChannels(annotation, values, noisy_image(labels))
    assert found.on(0, 8).shape[0] == EXPECTED_CHANNELS
    assert found.classes(0, 8).max() <= EXPECTED_CHANNELS


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.takes_image_first])
def test_stored_without_its_further_inputs_a_network_gives_what_it_gave_where_these_were_0(name):
    torch.manual_seed(0)
    wide = build_network(name, NetworkShape(3, (32, 32), image_channels=2 + 4)).eval()
    plain = build_network(name, NetworkShape(3, (32, 32), image_channels=2)).eval()
    plain.load_state_dict(image_weights(wide.state_dict(), plain.state_dict(), 2, 4))
    image = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        wanted = wide(torch.cat([image, torch.zeros(1, 4, 32, 32)], 1))
        torch.testing.assert_close(plain(image), wanted)
        torch.testing.assert_close(with_optional_inputs(wide, 6)(image), wanted)


def test_a_new_model_begins_with_what_other_slices_expect(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([8]))
    trainer = learned(cohort, monkeypatch, 1)
    image, expected = torch.randn(1, 1, 32, 32), torch.zeros(1, EXPECTED_CHANNELS, 32, 32)
    expected[:, 0, 8:, 8:] = 2.0
    network = trainer.model_now().model.network
    with torch.no_grad():
        change = network(torch.cat([image, expected], 1)) - network(image)
    assert not change[:, 0].any()
    torch.testing.assert_close(change[:, 1], expected[:, 0], atol=0.02, rtol=0.0)


def test_a_stored_run_needs_nothing_but_the_image(cohort, monkeypatch):
    trainer = learned(cohort, monkeypatch, 8)
    assert trainer.plan.sees_expected
    first = next(iter(trainer.model.parameters()))
    assert first.shape[1] == 1 + EXPECTED_CHANNELS
    assert read_slice(asked(cohort).path, 0).shape == LABELS[7].shape


def test_a_run_of_an_earlier_version_is_continued_as_it_began(cohort, monkeypatch):
    from SparseAnnotateLib.learning.training import run_planning

    with monkeypatch.context() as patches:
        patches.setattr(run_planning, "_can_see_expected", lambda model: False)
        learned(cohort, monkeypatch, 4)
    assert "sees_expected" not in cohort.run_folder("r").joinpath("plan.json").read_text()
    trainer = learned(cohort, monkeypatch, 8, settings=None)
    assert next(iter(trainer.model.parameters())).shape[1] == 1
    assert trainer.iteration >= 7


def test_a_3d_model_sees_the_image_alone(cohort, monkeypatch):
    settings = live_settings(TrainingSettings(recipe="3d", patch=(16, 16, 32), batch=1, device="cpu"))
    assert not learned(cohort, monkeypatch, 2, settings=settings).plan.sees_expected


def test_the_better_one_on_the_last_slices_is_offered(cohort, monkeypatch):
    learned(cohort, monkeypatch, 2)
    hardly = asked(cohort)
    assert dice(read_slice(hardly.path, 0)) < 0.9
    record = DrawingRecord(cohort.run_folder("r"))
    record.add(PredictedSlice("a", Plane.AXIAL, 3, 2, {"ball": 0.2}, {"ball": (40, 5)}))
    better = asked(cohort)
    assert dice(read_slice(better.path, 0)) > 0.9
    assert "'ball'" in better.summary
    assert "'ball'" not in hardly.summary
    # In another plane nothing is known.
    coronal = label_slice(SliceRequest(str(cohort.folder), "r", "a", "coronal", 7, device="cpu"), Watch())
    assert "'ball'" not in coronal.summary


def test_how_much_was_to_be_drawn_is_recorded_of_both(cohort, monkeypatch):
    learned(cohort, monkeypatch, 4, {2: lambda: cohort.save_annotation("a", drawn([2, 5, 7, 8, 11, 13]))})
    new = DrawingRecord(cohort.run_folder("r")).slices[-1]
    assert new.index == 7
    by_model, by_others = new.to_draw["ball"]
    assert by_others < by_model


def test_only_the_last_slices_decide_and_the_model_wins_ties(tmp_path):
    record = DrawingRecord(tmp_path)
    assert record.better_without("a", Plane.AXIAL) == set()
    for index in range(5):
        record.add(PredictedSlice("a", Plane.AXIAL, index, 10, {}, {"x": (9, 3), "y": (4, 4), "z": (1, 2)}))
    assert DrawingRecord(tmp_path).better_without("a", Plane.AXIAL) == {"x"}
    assert record.better_without("b", Plane.AXIAL) == set()
    for index in range(5, 10):
        record.add(PredictedSlice("a", Plane.AXIAL, index, 10, {}, {"x": (3, 9)}))
    assert record.better_without("a", Plane.AXIAL) == set()
    # Of a slice that had been learned from, the figures mean nothing.
    for _again in range(5):
        record.add(PredictedSlice("a", Plane.AXIAL, 9, 10, {}, {"x": (9, 0)}))
    assert record.better_without("a", Plane.AXIAL) == set()
