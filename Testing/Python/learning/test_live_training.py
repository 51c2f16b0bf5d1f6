"""Training while slices are being drawn."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    CohortError,
    Plane,
    RunError,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.images import read_labels, read_slice, write_image
from SparseAnnotateLib.learning.training.live_models import live_model
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import LOSSES, TrainingSettings
from SparseAnnotateLib.runs.drawing_record import DrawingRecord, PredictedSlice
from SparseAnnotateLib.runs.live_settings import live_settings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.fill_request import FillRequest, fill
from SparseAnnotateLib.worker.slice_request import SliceRequest, label_slice
from SparseAnnotateLib.worker.train_request import TrainRequest
from SparseAnnotateLib.worker.train_request import train as train_request

SHAPE = (16, 18, 34)
SETTINGS = live_settings(TrainingSettings(recipe="2d", patch_2d=(32, 32), batch_2d=2, device="cpu"))
LABELS = ball(SHAPE, 7.0) + ball(SHAPE, 3.5)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def files_are_looked_at_before_every_step(monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.data.growing_cases._LOOK_EVERY", 0.0)
    monkeypatch.setattr("SparseAnnotateLib.learning.data.growing_cases._SHARE_OF_TIME", 1e9)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    made = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 2: "kernel"})
    for number, name in enumerate("ab"):
        made.add_case(name, noisy_image(LABELS, number), GEOMETRY)
    return made


def drawn(indices, plane=Plane.AXIAL, labels=LABELS) -> SparseAnnotation:
    return SparseAnnotation.from_slices(labels, GEOMETRY, plane, indices)


class Session:
    """Trains, calls actions between certain steps, and stops after the last of them."""

    def __init__(self, monkeypatch, cohort, actions, stop, run="r", settings=SETTINGS, cases=(), said=None):
        self.trainer: Trainer | None = None
        watch = Watch(None if said is None else lambda progress: said.append(progress.message))
        session, step = self, Trainer._step

        def stepping(trainer, batch):
            session.trainer = trainer
            found = step(trainer, batch)
            if trainer.iteration + 1 in actions:
                actions[trainer.iteration + 1]()
            if trainer.iteration + 1 == stop:
                watch.cancel()
            return found

        with monkeypatch.context() as patches:
            patches.setattr(Trainer, "_step", stepping)
            self.card = train(cohort, run, settings, cases, watch, is_live=True)


def record(cohort, run="r"):
    return DrawingRecord(cohort.run_folder(run)).slices


def weights(cohort, run="r"):
    return cohort.run_folder(run).joinpath("2d", "weights.safetensors").read_bytes()


def test_a_slice_that_is_marked_while_training_is_learned_from_and_was_predicted_before(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([6, 10]))

    def draw():
        cohort.save_annotation("a", drawn([6, 8, 10]))

    session = Session(monkeypatch, cohort, {30: draw}, 34)
    assert [case.name for case in session.trainer.objective.cases] == ["a"]
    assert session.trainer.objective.cases[0].slices == ((0, 6), (0, 8), (0, 10))
    assert session.card.slices == 3
    new = record(cohort)[-1]
    assert (new.case, new.plane, new.index) == ("a", Plane.AXIAL, 8)
    assert new.iteration == 30
    assert set(new.dice) == {"shell", "kernel"}  # slice 8 shows both
    assert 0.0 <= min(new.dice.values()) <= max(new.dice.values()) <= 1.0
    assert session.card.validation_dice == pytest.approx(np.mean(list(new.dice.values())), abs=1e-3)


def test_stopped_while_a_case_is_read_again_the_run_has_learned_from_this_case(cohort, monkeypatch):
    from SparseAnnotateLib.learning.data import growing_cases

    for name in "ab":
        cohort.save_annotation(name, drawn([6, 10]))
    made = growing_cases.training_cases
    is_drawn = threading.Event()

    def draw():
        cohort.save_annotation("a", drawn([6, 8, 10]))
        is_drawn.set()

    def stopped(cohort, names, *rest, watch, **more):
        if is_drawn.is_set():
            raise CancelledError("Cancelled.")
        return made(cohort, names, *rest, watch=watch, **more)

    monkeypatch.setattr(growing_cases, "training_cases", stopped)
    card = Session(monkeypatch, cohort, {3: draw}, 8).card
    assert (card.cases, card.slices) == (("a", "b"), 4)


def test_stopped_and_resumed_it_is_as_if_it_had_not_been_stopped(cohort, monkeypatch):
    def draw():
        cohort.save_annotation("a", drawn([4, 8, 12]))

    def first():
        cohort.save_annotation("a", drawn([4, 12]))

    first()
    Session(monkeypatch, cohort, {4: draw}, 10, run="at once")
    first()
    Session(monkeypatch, cohort, {4: draw}, 6, run="twice")
    Session(monkeypatch, cohort, {}, 10, run="twice", settings=None)
    assert weights(cohort, "twice") == weights(cohort, "at once")
    assert [one.iteration for one in record(cohort, "twice")] == [one.iteration for one in record(cohort, "at once")]


def test_killed_after_a_slice_was_learned_it_is_as_if_it_had_not_been(cohort, monkeypatch):
    class Killed(BaseException):
        pass

    def draw():
        cohort.save_annotation("a", drawn([4, 8, 12]))

    def kill():
        raise Killed

    cohort.save_annotation("a", drawn([4, 12]))
    Session(monkeypatch, cohort, {4: draw}, 10, run="at once")
    cohort.save_annotation("a", drawn([4, 12]))
    with pytest.raises(Killed):
        Session(monkeypatch, cohort, {4: draw, 7: kill}, 10, run="killed")
    Session(monkeypatch, cohort, {}, 10, run="killed", settings=None)
    assert weights(cohort, "killed") == weights(cohort, "at once")


def test_slices_drawn_while_it_was_stopped_are_predicted_before_they_are_learned(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    Session(monkeypatch, cohort, {}, 8)
    cohort.save_annotation("a", drawn([4, 8, 12]))
    Session(monkeypatch, cohort, {}, 12, settings=None)
    assert [(one.index, one.iteration, bool(one.dice)) for one in record(cohort)] == [
        (4, 0, False),
        (12, 0, False),
        (8, 8, True),
    ]


def test_a_slice_that_is_cleared_again_is_no_longer_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 8, 12]))
    session = Session(monkeypatch, cohort, {3: lambda: cohort.save_annotation("a", drawn([4, 12]))}, 6)
    assert session.trainer.objective.cases[0].slices == ((0, 4), (0, 12))


def test_it_waits_while_every_slice_is_cleared(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    waited = []

    def clear():
        cohort.save_annotation("a", drawn([]))
        threading.Timer(0.6, lambda: waited.append(cohort.save_annotation("a", drawn([6])))).start()

    session = Session(monkeypatch, cohort, {3: clear}, 6)
    assert waited
    assert session.trainer.objective.cases[0].slices == ((0, 6),)


def test_it_can_be_cancelled_while_it_waits(cohort):
    cohort.save_annotation("a", drawn([4, 12]))
    watch = Watch(lambda progress: watch.cancel() if "waiting" in progress.message else None)
    threading.Timer(1.5, lambda: cohort.save_annotation("a", drawn([]))).start()
    card = train(cohort, "r", SETTINGS, (), watch, is_live=True)
    assert card.slices == 2
    assert RunFolder(cohort.run_folder("r")).is_finished


def test_a_case_that_is_drawn_on_later_is_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    session = Session(monkeypatch, cohort, {3: lambda: cohort.save_annotation("b", drawn([5]))}, 6, cases=["a", "b"])
    assert [case.name for case in session.trainer.objective.cases] == ["a", "b"]
    assert session.card.cases == ("a", "b")


def test_a_case_that_was_not_asked_for_is_not_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    session = Session(monkeypatch, cohort, {3: lambda: cohort.save_annotation("b", drawn([5]))}, 6, cases=["a"])
    assert [case.name for case in session.trainer.objective.cases] == ["a"]


def test_a_case_that_is_added_later_is_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))

    def add():
        cohort.add_case("c", noisy_image(LABELS, 7), GEOMETRY)
        cohort.save_annotation("c", drawn([6]))

    session = Session(monkeypatch, cohort, {3: add}, 6)
    assert [case.name for case in session.trainer.objective.cases] == ["a", "c"]


def test_a_structure_that_is_first_drawn_later_is_learned(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12], labels=np.minimum(LABELS, 1)))
    session = Session(monkeypatch, cohort, {5: lambda: cohort.save_annotation("a", drawn([4, 7, 8, 9, 12]))}, 120)
    assert session.card.classes == (1, 2)
    assert session.card.label_names == {1: "shell", 2: "kernel"}
    answer = label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", 8, device="cpu"), Watch())
    assert {label["name"] for label in answer.labels} == {"shell", "kernel"}
    found, truth = read_slice(answer.path, 0) == 2, LABELS[8] == 2
    assert 2.0 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6


def marked_for(structures, indices, labels):
    """Slices that were marked for some structures only."""
    found = drawn(indices, labels=labels)
    entries = tuple(replace(entry, structures=tuple(structures)) for entry in found.ledger.entries)
    return replace(found, ledger=replace(found.ledger, entries=entries), names={1: "shell", 2: "kernel"})


def test_a_structure_that_is_added_later_is_unknown_and_not_absent_on_slices_of_other_cases(cohort, monkeypatch):
    shell_only = np.minimum(LABELS, 1)
    cohort.save_annotation("a", marked_for(["shell"], [4, 12], shell_only))
    cohort.save_annotation("b", marked_for(["shell"], [5, 11], shell_only))
    later = marked_for(["shell", "kernel"], [4, 8, 12], LABELS)
    session = Session(monkeypatch, cohort, {4: lambda: cohort.save_annotation("a", later)}, 8)
    a, b = session.trainer.objective.cases
    assert b.unknown_path is not None
    assert b.unknown_sets == a.unknown_sets == ((2,),)


def test_a_case_that_cannot_be_read_when_a_structure_is_added_is_left_out(cohort, monkeypatch):
    shell_only = np.minimum(LABELS, 1)
    cohort.save_annotation("a", marked_for(["shell"], [4, 12], shell_only))
    cohort.save_annotation("b", marked_for(["shell"], [5, 11], shell_only))

    def draw():
        cohort.add_case("b", noisy_image(LABELS, 9), GEOMETRY)
        cohort.save_annotation("a", marked_for(["shell", "kernel"], [4, 8, 12], LABELS))

    session = Session(monkeypatch, cohort, {4: draw}, 8)
    assert [case.name for case in session.trainer.objective.cases] == ["a"]


def test_a_case_without_slices_any_more_does_not_keep_a_run_from_being_continued(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    cohort.save_annotation("b", drawn([5]))
    Session(monkeypatch, cohort, {3: lambda: cohort.save_annotation("b", drawn([]))}, 6)
    assert Session(monkeypatch, cohort, {}, 9, settings=None).card.last.iterations == 9


@pytest.mark.parametrize("loss", ["dice_ce", "boundary"])
def test_killed_right_after_a_structure_was_added_it_can_be_resumed(cohort, monkeypatch, loss):
    cohort.save_annotation("a", drawn([4, 12], labels=np.minimum(LABELS, 1)))
    cohort.save_annotation("b", drawn([5], labels=np.minimum(LABELS, 1)))
    save = Trainer._save_checkpoint
    settings = live_settings(replace(SETTINGS, loss=loss)) if loss in LOSSES else SETTINGS

    class Killed(BaseException):
        pass

    def saving(trainer):
        save(trainer)
        if trainer.plan.class_count == 3:
            raise Killed

    with monkeypatch.context() as patches:
        patches.setattr(Trainer, "_save_checkpoint", saving)
        with pytest.raises(Killed):
            Session(patches, cohort, {5: lambda: cohort.save_annotation("a", drawn([4, 8, 12]))}, 9, settings=settings)
    session = Session(monkeypatch, cohort, {}, 9, settings=None)
    assert session.card.classes == (1, 2)
    assert session.card.last.iterations == 9


def test_with_another_structure_the_network_finds_what_it_found_before(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12], labels=np.minimum(LABELS, 1)))
    session = Session(monkeypatch, cohort, {}, 30)
    trainer = session.trainer
    image = noisy_image(LABELS)[8][None, None]
    given = torch.from_numpy((image - image.mean()) / image.std())
    given = torch.nn.functional.pad(given, (0, 14, 0, 14))
    before = trainer.model_now().model.network(given).softmax(1)
    plan = replace(trainer.plan, classes=(1, 2), label_names={1: "shell", 2: "kernel"})
    trainer.learn_from(trainer.objective, plan)
    after = trainer.model_now().model.network(given).softmax(1)
    assert after.shape[1] == 3
    torch.testing.assert_close(after[:, :2], before, atol=0.02, rtol=0.0)


def test_a_run_that_was_killed_after_a_structure_was_added_can_be_resumed(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12], labels=np.minimum(LABELS, 1)))
    Session(monkeypatch, cohort, {}, 5)
    cohort.save_annotation("a", drawn([4, 8, 12]))
    folder = RunFolder(cohort.run_folder("r"))
    # As if it had been killed between writing the plan and the checkpoint.
    folder.write_plan(replace(folder.plan(), classes=(1, 2), label_names={1: "shell", 2: "kernel"}))
    session = Session(monkeypatch, cohort, {}, 9, settings=None)
    assert session.card.classes == (1, 2)


def test_slices_of_another_plane_are_learned_from_and_predicted(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))

    def draw():
        both = SparseAnnotation(LABELS, drawn([4, 12]).ledger, GEOMETRY)
        cohort.save_annotation("a", replace(both, ledger=_with(both.ledger, Plane.CORONAL, 9)))

    session = Session(monkeypatch, cohort, {4: draw}, 8)
    assert session.card.last.plan.planes == (0, 1)
    assert session.trainer.objective.sampler(session.card.last.plan)._planes == (0, 1)
    assert (1, 9) in session.trainer.objective.cases[0].slices


def _with(ledger, plane, index):
    return ledger.with_state(plane, index, SliceState.DRAWN)


def test_a_correction_is_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    stroke = Stroke.ball(GEOMETRY, (17.0, 9.0, 16.0), 2, True, 2.0)
    session = Session(monkeypatch, cohort, {3: lambda: cohort.add_correction("a", stroke)}, 6)
    corrected = session.trainer.objective.cases[0].corrected_path
    assert corrected is not None


def test_the_answer_on_a_slice_while_it_learns(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([2, 5, 11, 13]))
    answers = []

    def ask():
        assert live_model(cohort.run_folder("r")) is not None
        answers.append(label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", 8), Watch()))

    def draw():
        cohort.save_annotation("a", drawn([2, 5, 8, 11, 13]))

    Session(monkeypatch, cohort, {100: ask, 101: draw, 105: ask}, 106)
    first, second = answers
    assert first.dice is None
    assert "next slice" in first.summary
    assert second.slices == 1
    assert f"{second.dice:.2f}" in second.summary
    assert first.steps < second.steps
    image, truth = read_slice(first.path, 0), LABELS[8]
    assert image.shape == truth.shape
    both = 2.0 * np.count_nonzero((image > 0) & (truth > 0))
    assert both / (np.count_nonzero(image) + np.count_nonzero(truth)) > 0.8
    assert live_model(cohort.run_folder("r")) is None
    # Stopped, it answers from what was stored.
    later = label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", 8, device="cpu"), Watch())
    assert later.steps == 106


def test_corrections_are_kept_in_the_answer_on_a_slice(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    cohort.add_correction("a", Stroke.ball(GEOMETRY, (2.0, 2.0, 16.0), 2, True, 1.0))
    cohort.add_correction("a", Stroke.ball(GEOMETRY, (17.0, 9.0, 16.0), 1, False, 1.0))
    Session(monkeypatch, cohort, {}, 20)
    answer = label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", 8), Watch())
    labels = read_slice(answer.path, 0)
    assert labels[2, 2] == 2
    assert labels[9, 17] != 1


def test_asking_before_the_first_step(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    step, found = Trainer._step, []

    def stepping(trainer, batch):
        if trainer.iteration == 0:
            with pytest.raises(RunError, match="has not learned anything yet"):
                label_slice(SliceRequest(str(cohort.folder), "r", "a", "axial", 8), Watch())
            found.append(True)
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "_step", stepping)
    Session(monkeypatch, cohort, {}, 2)
    assert found == [True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 16}, "has no axial slice 16: its slices are 0 to 15"),
        ({"case": "z"}, "no case 'z'"),
        ({"run": "none"}, "does not exist"),
    ],
)
def test_asking_for_what_there_is_not(cohort, change, message):
    request = {"cohort": str(cohort.folder), "run": "r", "case": "a", "plane": "axial", "index": 8, **change}
    with pytest.raises((BadInputError, CohortError, RunError), match=message):
        label_slice(SliceRequest(**request), Watch())


def test_a_run_of_several_models_does_not_label_single_slices(cohort):
    cohort.save_annotation("a", drawn(range(2, 16, 3)))
    settings = TrainingSettings(recipe="ensemble", patch=(16, 16, 32), patch_2d=(32, 32), iterations=2, device="cpu")
    train(cohort, "both", settings)
    with pytest.raises(BadInputError, match="has the models 2d, 3d"):
        label_slice(SliceRequest(str(cohort.folder), "both", "a", "axial", 8), Watch())


def test_the_run_takes_part_in_an_answer_with_what_is_known_of_it(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    Session(monkeypatch, cohort, {20: lambda: cohort.save_annotation("a", drawn([4, 8, 12]))}, 30)
    (result,) = fill(FillRequest(str(cohort.folder), cases=("a",), run="r", device="cpu"), Watch())
    labels = read_labels(cohort.fill_path("a"), GEOMETRY)
    np.testing.assert_array_equal(labels[8], LABELS[8])
    assert result.case == "a"


def test_it_can_be_used_while_it_learns_as_it_was_when_the_last_slice_was_drawn(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    found = []

    def look():
        card = RunFolder(cohort.run_folder("r")).card()
        found.append((card.slices, card.last.iterations))

    draw = {5: lambda: cohort.save_annotation("a", drawn([4, 8, 12])), 8: look}
    Session(monkeypatch, cohort, draw, 10)
    assert found == [(2, 5)]


def test_a_file_that_cannot_be_read_does_not_stop_it(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    ledger = cohort._ledger_path("a")
    messages = []

    def damage():
        whole = ledger.read_text()
        ledger.write_text(whole[: len(whole) // 2])
        messages.append(whole)

    def mend():
        ledger.write_text(messages[0])
        cohort.save_annotation("a", drawn([4, 8, 12]))

    session = Session(monkeypatch, cohort, {3: damage, 6: mend}, 9)
    assert session.trainer.objective.cases[0].slices == ((0, 4), (0, 8), (0, 12))


def test_what_cannot_be_read_is_said(cohort, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    cohort.save_annotation("a", drawn([4, 12]))
    said = []

    def report(progress):
        said.append(progress.message)
        if len(said) == 8:
            cohort._ledger_path("a").write_text("{")
        if len(said) == 16:
            watch.cancel()

    watch = Watch(report)
    train(cohort, "r", SETTINGS, (), watch, is_live=True)
    assert any("learning from 2 drawn slices, step" in message for message in said)
    assert "ledgers" in said[-1]


def test_an_image_that_has_changed_is_not_learned_from_any_more(cohort, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    cohort.save_annotation("a", drawn([4, 12]))
    cohort.save_annotation("b", drawn([5]))

    def change():
        cohort.add_case("a", noisy_image(LABELS, 9), GEOMETRY)
        cohort.save_annotation("a", drawn([4, 8, 12]))

    said = []
    session = Session(monkeypatch, cohort, {3: change}, 9, said=said)
    assert session.card.cases == ("b",)
    assert "The image of 'a' has changed" in said[-1]
    # Another run learns from it.
    assert Session(monkeypatch, cohort, {}, 4, run="other").card.slices == 4


def test_an_image_that_was_only_saved_again_is_still_learned_from(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))

    def save_again():
        path = cohort.image_path("a")
        write_image(path, cohort.image("a")[0].astype(np.float64), GEOMETRY, compress=False)
        cohort.save_annotation("a", drawn([4, 8, 12]))

    session = Session(monkeypatch, cohort, {3: save_again}, 9)
    assert session.card.cases == ("a",)
    assert session.card.slices == 3
    # So it is when the run is resumed.
    write_image(cohort.image_path("a"), cohort.image("a")[0], GEOMETRY)
    assert Session(monkeypatch, cohort, {}, 12, settings=None).card.slices == 3


def test_nothing_drawn(cohort):
    for cases in ((), ("a", "b")):
        with pytest.raises(BadInputError, match="been drawn yet"):
            train(cohort, "r", SETTINGS, cases, Watch(), is_live=True)


def test_another_kind_of_run_is_not_continued_so(cohort):
    cohort.save_annotation("a", drawn([4, 12]))
    train(cohort, "r", TrainingSettings(patch=(16, 16, 32), iterations=2, device="cpu"))
    with pytest.raises(RunError, match="finished already"):
        train(cohort, "r", SETTINGS, (), Watch(), is_live=True)


@pytest.mark.parametrize("change", [{"recipe": "ensemble"}, {"fill_weight": 0.5}, {"class_weights": (1.0, 2.0)}])
def test_settings_that_do_not_fit(change):
    with pytest.raises(BadInputError, match="Learning while you draw"):
        live_settings(TrainingSettings(**change))


def test_the_request_learns_until_it_is_cancelled(cohort):
    cohort.save_annotation("a", drawn([4, 12]))
    seen = []

    def report(progress):
        seen.append(progress)
        if "step" in progress.message and progress.metrics:
            watch.cancel()

    watch = Watch(report)
    changes = {"patch_2d": [32, 32], "batch_2d": 2}
    request = TrainRequest(cohort=str(cohort.folder), run="r", live=True, device="cpu", changes=changes)
    card = train_request(request, watch)
    assert card["run"] == "r"
    assert card["models"][0]["plan"]["role"] == "2d"
    plan = RunFolder(cohort.run_folder("r")).plan()
    assert plan.is_live
    assert plan.settings.validation_share == 0.0
    # Asked again, with the same settings, it goes on.
    seen.clear()
    watch = Watch(report)
    again = train_request(request, watch)
    assert again["models"][0]["iterations"] > card["models"][0]["iterations"]


def test_cancelled_before_the_first_step(cohort):
    cohort.save_annotation("a", drawn([4, 12]))
    watch = Watch()
    watch.cancel()
    with pytest.raises(CancelledError):
        train(cohort, "r", SETTINGS, (), watch, is_live=True)


def test_a_slice_that_is_marked_again_does_not_count_twice(tmp_path):
    record = DrawingRecord(tmp_path)
    assert record.quality("a", Plane.AXIAL) is None
    for index, dice in ((3, {}), (4, {"x": 0.5, "y": 0.7}), (5, {"x": 0.8}), (4, {"x": 1.0}), (6, {})):
        record.add(PredictedSlice("a", Plane.AXIAL, index, 10, dice))
    read = DrawingRecord(tmp_path)
    found = read.quality("a", Plane.AXIAL)
    assert (found.dice, found.slices) == (pytest.approx(0.7), 2)
    assert read.quality("a", Plane.CORONAL) is None
    assert read.knows("a", Plane.AXIAL, 6)
    # A line that was cut off when the process was killed.
    with open(record.path, "a") as file:
        file.write('{"case": "a", "pl')
    cut = DrawingRecord(tmp_path)
    assert len(cut.slices) == 5
    cut.add(PredictedSlice("a", Plane.AXIAL, 9, 20, {"x": 0.9}))
    assert [one.index for one in DrawingRecord(tmp_path).slices] == [3, 4, 5, 4, 6, 9]


def test_asking_changes_nothing_of_what_is_learned(cohort, monkeypatch):
    cohort.save_annotation("a", drawn([4, 12]))
    settings = live_settings(replace(SETTINGS, dropout=0.3))

    def ask():
        label_slice(SliceRequest(str(cohort.folder), "asked", "a", "axial", 8), Watch())

    loss = Trainer._loss

    def asking(trainer, batch):
        # Between the seed and the forward pass, as another thread may.
        found = loss(trainer, batch)
        if trainer.folder.name == "asked" and trainer.iteration:
            state = torch.random.get_rng_state()
            ask()
            assert torch.equal(torch.random.get_rng_state(), state)
        return found

    monkeypatch.setattr(Trainer, "_loss", asking)
    Session(monkeypatch, cohort, {}, 4, run="asked", settings=settings)
    Session(monkeypatch, cohort, {}, 4, run="not asked", settings=settings)
    assert weights(cohort, "asked") == weights(cohort, "not asked")


def test_an_image_on_another_grid_is_not_the_one_that_was_learned_from(cohort):
    from SparseAnnotateLib.learning.data.growing_cases import GrowingCases

    name = cohort.cases[0].name
    data = GrowingCases(cohort, (name,), SETTINGS, cohort.cache_folder)
    assert data._is_learned_from(name)
    image, geometry = cohort.image(name)
    for other, is_known in ((geometry, True), (VolumeGeometry.from_spacing(geometry.shape, (5.0, 1.0, 1.0)), False)):
        write_image(cohort.image_path(name), image.astype(np.float64), other, compress=False)
        known = GrowingCases(
            cohort,
            (name,),
            SETTINGS,
            cohort.cache_folder,
            data.images,
            voxels=data.voxels,
            grids=data.grids,
        )
        assert known._is_learned_from(name) == is_known


def test_waiting_takes_little_of_the_processor(cohort, monkeypatch):
    monkeypatch.undo()
    from SparseAnnotateLib.learning.data.growing_cases import GrowingCases

    data = GrowingCases(cohort, (), SETTINGS, cohort.cache_folder)
    looked = []
    monkeypatch.setattr(GrowingCases, "_changed", lambda self: looked.append(time.monotonic()) or [])
    for _ in range(1000):
        data.have_changed()
    assert len(looked) == 1
