"""What the other drawn slices expect on a slice, beside what a model finds there that learns from them."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from dicom_made import oblique
from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_slice
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation.expected_labels import ExpectedLabels
from SparseAnnotateLib.learning.data.expected_classes import ExpectedClasses
from SparseAnnotateLib.learning.training.live_training import _to_draw
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.drawing_record import DrawingRecord, PredictedSlice
from SparseAnnotateLib.runs.live_settings import live_settings
from SparseAnnotateLib.worker.slice_request import SliceRequest, label_slice

SHAPE = (16, 18, 34)
SETTINGS = live_settings(TrainingSettings(recipe="2d", patch_2d=(32, 32), batch_2d=2, device="cpu"))
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
MIRRORED = VolumeGeometry.from_matrix(SHAPE, np.diag([-1.0, 1.0, -2.0, 1.0]))
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


@pytest.mark.parametrize(
    "geometry", [GEOMETRY, VolumeGeometry.from_matrix(SHAPE, np.diag([-1.0, 1.0, -2.0, 1.0])), oblique(SHAPE)]
)
@pytest.mark.parametrize("plane", list(Plane))
def test_it_is_in_the_order_of_the_standard_axes(geometry, plane):
    image, axis = noisy_image(LABELS), plane.array_axis(geometry)
    count = SHAPE[axis]
    annotation = SparseAnnotation.from_slices(LABELS, geometry, plane, [count // 4, count // 2])
    index = count // 2 - 2
    own = ExpectedLabels(annotation, [1], image).odds(axis, index, [1])[0] > 0
    place, standard = geometry.to_standard_slice(axis, index)
    found, known = ExpectedClasses(annotation, [1], geometry.to_standard_order(image)).on(place, standard, [1])
    assert known == [1]
    seen = np.zeros(SHAPE, int)
    seen[slice_layer(axis, index)] = own
    wanted = geometry.to_standard_order(seen)[slice_layer(place, standard)]
    assert wanted.any()
    np.testing.assert_array_equal(found, wanted)


def test_the_better_one_on_the_last_slices_is_offered(cohort, monkeypatch):
    learned(cohort, monkeypatch, 2)
    hardly = asked(cohort)
    assert dice(read_slice(hardly.path, 0)) < 0.9
    record = DrawingRecord(cohort.run_folder("r"))
    record.add(PredictedSlice("a", Plane.AXIAL, 3, 2, {"ball": 0.2}, {"ball": (40, 5)}))
    better = asked(cohort)
    assert dice(read_slice(better.path, 0)) > 0.9
    assert "'ball'" in better.summary
    assert better.source == "r and slices nearby"
    assert "'ball'" not in hardly.summary
    assert hardly.source == "r"
    # In another plane nothing is known.
    coronal = label_slice(SliceRequest(str(cohort.folder), "r", "a", "coronal", 7, device="cpu"), Watch())
    assert "'ball'" not in coronal.summary


def test_how_much_was_to_be_drawn_is_recorded_of_both(cohort, monkeypatch):
    learned(cohort, monkeypatch, 4, {2: lambda: cohort.save_annotation("a", drawn([2, 5, 7, 8, 11, 13]))})
    new = DrawingRecord(cohort.run_folder("r")).slices[-1]
    assert new.index == 7
    by_model, by_others = new.to_draw["ball"]
    assert by_others < by_model


def test_only_the_last_slices_decide_and_only_clear_differences_count(tmp_path):
    record = DrawingRecord(tmp_path)
    assert record.better_without("a", Plane.AXIAL) == set()
    for index in range(5):
        record.add(PredictedSlice("a", Plane.AXIAL, index, 10, {}, {"x": (9, 3), "y": (40, 37), "z": (1, 2)}))
    assert DrawingRecord(tmp_path).better_without("a", Plane.AXIAL) == {"x"}
    assert record.better_without("b", Plane.AXIAL) == set()
    for index in range(5, 10):
        record.add(PredictedSlice("a", Plane.AXIAL, index, 10, {}, {"x": (3, 9)}))
    assert record.better_without("a", Plane.AXIAL) == set()
    # Of a slice that had been learned from, the figures mean nothing.
    for _again in range(5):
        record.add(PredictedSlice("a", Plane.AXIAL, 9, 10, {}, {"x": (9, 0)}))
    assert record.better_without("a", Plane.AXIAL) == set()


def test_a_walk_that_fails_does_not_stop_the_learning(cohort, monkeypatch):
    def failing(*_arguments):
        raise MemoryError

    monkeypatch.setattr("SparseAnnotateLib.learning.data.expected_classes.ExpectedClasses.on", failing)
    learned(cohort, monkeypatch, 4, {2: lambda: cohort.save_annotation("a", drawn([2, 5, 7, 8, 11, 13]))})
    new = DrawingRecord(cohort.run_folder("r")).slices[-1]
    assert (new.index, new.to_draw) == (7, {})


def test_what_the_slices_nearby_do_not_know_is_from_the_model(cohort, monkeypatch):
    learned(cohort, monkeypatch, 2)
    by_model = read_slice(asked(cohort).path, 0)
    assert by_model.any()
    DrawingRecord(cohort.run_folder("r")).add(PredictedSlice("a", Plane.AXIAL, 3, 2, {}, {"ball": (40, 5)}))
    cohort.save_annotation("a", drawn([]))
    now = asked(cohort)
    np.testing.assert_array_equal(read_slice(now.path, 0), by_model)
    assert "'ball'" not in now.summary


def test_slices_nearby_that_cannot_be_read_leave_what_the_model_finds(cohort, monkeypatch):
    learned(cohort, monkeypatch, 2)
    by_model = read_slice(asked(cohort).path, 0)
    DrawingRecord(cohort.run_folder("r")).add(PredictedSlice("a", Plane.AXIAL, 3, 2, {}, {"ball": (40, 5)}))
    for path in cohort.annotation_files("a"):
        if path.suffix == ".nrrd":
            path.unlink(missing_ok=True)
    now = asked(cohort)
    np.testing.assert_array_equal(read_slice(now.path, 0), by_model)
    assert "'ball'" not in now.summary


def test_between_new_slices_nothing_of_the_cases_is_kept_open(cohort, monkeypatch):
    kept = []

    def look():
        kept.extend(one for one in gc.get_objects() if type(one) is ExpectedClasses)

    learned(
        cohort, monkeypatch, 4, {2: lambda: cohort.save_annotation("a", drawn([2, 5, 7, 8, 11, 13])), 1: look, 3: look}
    )
    assert DrawingRecord(cohort.run_folder("r")).slices[-1].to_draw
    assert not kept


def test_with_many_structures_each_is_compared_in_turn(monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.live_training._MOST_COMPARED", 2)
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, 1:7, 1:6] = np.arange(1, 6)
    case = SimpleNamespace(labels=labels, decided_on=lambda *_place: np.ones((8, 8), bool))
    plan = SimpleNamespace(classes=(1, 2, 3, 4, 5), label_names={value: str(value) for value in range(1, 6)})
    one = SimpleNamespace(case=case, axis=0, standard_index=0)
    others = SimpleNamespace(on=lambda axis, index, wanted, watch: (labels[index], list(wanted)))
    compared = [
        set(_to_draw(SimpleNamespace(plan=plan), one, labels[0], others, number, Watch())) for number in range(5)
    ]
    assert all(len(names) == 2 for names in compared)
    assert set.union(*compared) == {"1", "2", "3", "4", "5"}
