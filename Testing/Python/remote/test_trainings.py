"""Training on a host: a job that outlives the connection, and whose run comes back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SparseAnnotateLib.core import Cohort, Watch
from SparseAnnotateLib.core.errors import (
    BadInputError,
    BusyError,
    CancelledError,
    FileWriteError,
    RunError,
    SparseAnnotateError,
    WorkerError,
)
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.remote import trainings
from SparseAnnotateLib.remote.cohort_record import RunThere, read_record, record_of, write_record
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.hosts import keep_host
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.remote.run_on_host import runs_there
from SparseAnnotateLib.remote.ssh_errors import ConnectionLostError
from SparseAnnotateLib.remote.trainings import TrainingThere
from SparseAnnotateLib.runs.job_states import JobState
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.requests import PredictRequest, predict
from ssh_server import needs_ssh_server

pytest.importorskip("submitit")
pytestmark = needs_ssh_server
QUICK = {"iterations": 12, "device": "cpu", "patch": [16, 16, 16], "batch": 1}


@pytest.fixture
def shared_host(shared_host, warm_python_there):
    """As usual, with a Python that imports nothing."""
    host = replace(shared_host, python=warm_python_there)
    keep_host(host)
    return host


def request(cohort: Cohort, run: str, **changes) -> dict:
    return {"cohort": str(cohort.folder), "run": run, "changes": QUICK | changes}


def test_a_run_that_was_trained_there_is_used_here_and_there_alike(relay, tiny_cohort):
    reports = []
    card = relay.answer("train", request(tiny_cohort, "first"), Watch(reports.append))
    assert card["run"] == "first"
    assert card["models"][0]["iterations"] == 12
    folder = RunFolder(tiny_cohort.run_folder("first"))
    assert folder.is_finished
    assert folder.metrics()
    assert any("on 'gpu'" in report.message for report in reports)
    assert runs_there(tiny_cohort.state_folder) == {}
    # Nothing is left here that the training itself has removed there.
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    assert not any(name.startswith("labels/") for name in names)
    asked = {"cohort": str(tiny_cohort.folder), "run": "first", "device": "cpu"}
    (row,) = relay.answer("predict", asked, Watch())
    assert row["path"] == str(tiny_cohort.prediction_path("first", "a"))
    there = read_labels(row["path"], tiny_cohort.geometry("a"))
    predict(PredictRequest(str(tiny_cohort.folder), "first", device="cpu"), Watch())
    np.testing.assert_array_equal(there, read_labels(row["path"], tiny_cohort.geometry("a")))
    with pytest.raises(RunError, match="has finished already"):
        relay.answer("train", request(tiny_cohort, "first"), Watch())


def test_a_training_on_an_image_that_was_not_drawn_on_is_refused_before_anything_is_copied(relay, tiny_cohort):
    image, geometry = tiny_cohort.image("a")
    write_image(tiny_cohort.image_path("a"), image + 1, geometry)
    with pytest.raises(BadInputError, match="'a' is not the one that was drawn on"):
        relay.answer("train", request(tiny_cohort, "first"), Watch())
    assert runs_there(tiny_cohort.state_folder) == {}
    identity = record_of(tiny_cohort.state_folder).identity
    assert not list(Path(relay._session.host.folder).glob(f"cohorts/{identity}/**/*.nrrd"))


def test_a_training_outlives_the_connection_and_this_computer(server, shared_host, tiny_cohort, monkeypatch):
    relay = Relay(shared_host.name, is_allowed=True)
    monkeypatch.setattr(trainings, "_WAITS", (0.5,))
    monkeypatch.setattr(trainings, "_METRICS_SECONDS", 0.5)
    long = request(tiny_cohort, "long", iterations=100_000)
    seen: list[str] = []
    is_broken, is_back = threading.Event(), threading.Event()
    watch = Watch()

    def look(progress):
        seen.append(progress.message)
        if "Trying again" in progress.message:
            is_broken.set()
            server.write_config()
        elif is_broken.is_set() and "on 'gpu'" in progress.message:
            is_back.set()
        elif "step" in progress.message and not is_broken.is_set():
            # The network, not what runs there.
            server.write_config(Port="1")
            server.kill_sessions("sshd")

    watch = Watch(look)
    errors: list[SparseAnnotateError] = []

    def train():
        try:
            relay.answer("train", long, watch)
        except SparseAnnotateError as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    assert is_back.wait(120), seen[-5:]
    # The relay ends, as when the lid is closed: the job goes on.
    relay.leave()
    watch.cancel()
    thread.join(60)
    assert isinstance(errors[0], CancelledError)
    assert "continues on 'gpu'" in errors[0].message
    relay.close()
    assert runs_there(tiny_cohort.state_folder) == {"long": "gpu"}

    # Another copy of the cohort, and another host, do not take it for theirs.
    shutil.copytree(tiny_cohort.folder, tiny_cohort.folder.parent / "other")
    other = Cohort.open(tiny_cohort.folder.parent / "other")
    write_record(other.state_folder, record_of(other.state_folder).with_run("long", None))
    again = Relay(shared_host.name, is_allowed=True)
    with pytest.raises(RunError, match="Another copy of this cohort trains a run 'long'"):
        again.answer("train", request(other, "long"), Watch())
    write_record(other.state_folder, record_of(other.state_folder).with_run("long", RunThere("elsewhere", "x")))
    with pytest.raises(RunError, match="is being trained on the host 'elsewhere'"):
        again.answer("train", request(other, "long"), Watch())

    # Under the same name it is found again, and Cancel ends it there.
    watch = Watch(lambda progress: watch.cancel() if "step" in progress.message else None)
    with pytest.raises(CancelledError, match="last checkpoint was kept"):
        again.answer("train", long, watch)
    again.close()
    jobs = list((Path(shared_host.folder) / "cohorts").glob("*/training-long/jobs/[0-9]*"))
    assert len(jobs) == 1
    run = RunFolder(tiny_cohort.run_folder("long"))
    assert run.is_started
    assert not run.is_finished
    assert run.checkpoint_path("3d").is_file()


def test_a_run_that_was_changed_here_meanwhile_is_not_overwritten(relay, shared_host, tiny_cohort):
    training = TrainingThere(relay._session, request(tiny_cohort, "twice"), lambda: False)
    relay._session.identity(training._on_host.files, ["a"])
    relay._session.files.facts()
    area = Path(shared_host.folder) / training._on_host.area / "runs" / "twice"
    area.mkdir(parents=True)
    (area / "plan.json").write_text("{}")
    here = tiny_cohort.run_folder("twice") / "plan.json"
    here.parent.mkdir(parents=True)
    here.write_text(json.dumps({"changed": "here"}))
    with pytest.raises(RunError, match="was changed on this computer while it was trained on the host 'gpu'"):
        training._on_host.bring_back(Watch(), everything=True)
    assert json.loads(here.read_text()) == {"changed": "here"}


def test_why_a_training_failed_there_is_reported(relay, tiny_cohort, monkeypatch):
    failed = JobState("1", "train", "bad", "local", "failed", message="It was killed: it needed more than its 8 GB.")
    monkeypatch.setattr(TrainingThere, "_found", lambda self, watch: "1")
    monkeypatch.setattr(TrainingThere, "_states", lambda self, watch, *ids: [failed])
    with pytest.raises(RunError, match=r"The training of 'bad' on the host 'gpu' failed\. It was killed: .* 8 GB"):
        relay.answer("train", request(tiny_cohort, "bad"), Watch())


def test_the_record_of_a_cohort_is_kept_once(tiny_cohort):
    record = record_of(tiny_cohort.state_folder)
    assert record_of(tiny_cohort.state_folder) == record == read_record(tiny_cohort.state_folder)
    assert len(record.identity) == 32


def started(relay, shared_host, cohort: Cohort, run: str) -> tuple[TrainingThere, Path]:
    """A training whose job is not real, and the folder of its run there."""
    training = TrainingThere(relay._session, request(cohort, run), lambda: False)
    relay._session.identity(training._on_host.files, ["a"])
    relay._session.files.facts()
    folder = Path(shared_host.folder) / training._on_host.area / "runs" / run
    (folder / "3d").mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("1\n")
    return training, folder


def test_files_that_grow_while_they_are_copied_do_not_end_a_training(relay, shared_host, tiny_cohort, monkeypatch):
    training, folder = started(relay, shared_host, tiny_cohort, "growing")
    training._on_host.bring_back(Watch(), everything=False)
    contents = HostFiles.contents

    def growing(self, *rest):
        found = contents(self, *rest)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("2\n")
        return found

    monkeypatch.setattr(HostFiles, "contents", growing)
    for size in (3 << 20, 2 << 20, 1):
        (folder / "3d" / "checkpoint.safetensors").write_bytes(os.urandom(size))
        training._on_host.bring_back(Watch(), everything=True)
    monkeypatch.setattr(HostFiles, "contents", contents)
    # Neither does a copy that ends between two files.
    (folder / "plan.json").write_text("{ }")
    (folder / "3d" / "labels.npy").write_bytes(b"for a while")
    put = HostFiles.put_in_place
    monkeypatch.setattr(HostFiles, "put_in_place", lambda self, *rest: (put(self, *rest), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        training._on_host.bring_back(Watch(), everything=True)
    monkeypatch.setattr(HostFiles, "put_in_place", put)
    (folder / "plan.json").write_text("{  }")
    (folder / "3d" / "labels.npy").unlink()
    training._on_host.bring_back(Watch(), everything=True, is_ended=True)
    assert not (tiny_cohort.run_folder("growing") / "3d" / "labels.npy").exists()
    for name in ("plan.json", "metrics.jsonl", "3d/checkpoint.safetensors"):
        assert (tiny_cohort.run_folder("growing") / name).read_bytes() == (folder / name).read_bytes()


def test_cards_wait_for_weights_that_change_while_they_are_copied(relay, shared_host, tiny_cohort, monkeypatch):
    training, folder = started(relay, shared_host, tiny_cohort, "storing")
    weights, here = folder / "3d" / "weights.safetensors", tiny_cohort.run_folder("storing")
    weights.write_bytes(os.urandom(2 << 20))
    for card in (folder / "card.json", folder / "3d" / "card.json"):
        card.write_text("{}")
    contents = HostFiles.contents

    def stored_again(self, *rest):
        found = contents(self, *rest)
        weights.write_bytes(os.urandom(2 << 20))
        return found

    with monkeypatch.context() as storing:
        storing.setattr(HostFiles, "contents", stored_again)
        assert not training._on_host.bring_back(Watch(), everything=True)
    assert not list(here.rglob("card.json"))
    assert training._on_host.bring_back(Watch(), everything=True)
    assert len(list(here.rglob("card.json"))) == 2
    assert (here / "3d" / "weights.safetensors").read_bytes() == weights.read_bytes()


def test_files_of_a_run_with_the_same_content_all_come_back(relay, shared_host, tiny_cohort):
    training, folder = started(relay, shared_host, tiny_cohort, "twins")
    for name in ("a", "b", "c"):
        (folder / name).mkdir()
        (folder / name / "labels.npy").write_bytes(b"the same")
    training._on_host.bring_back(Watch(), everything=True)
    for name in ("a", "b", "c"):
        assert (tiny_cohort.run_folder("twins") / name / "labels.npy").read_bytes() == b"the same"


def test_a_run_is_not_finished_here_before_its_weights_are_here(relay, shared_host, tiny_cohort, monkeypatch):
    training, folder = started(relay, shared_host, tiny_cohort, "finishing")
    (folder / "3d" / "weights.safetensors").write_bytes(os.urandom(2 << 20))
    for card in (folder / "card.json", folder / "3d" / "card.json"):
        card.write_text("{}")
    here = tiny_cohort.run_folder("finishing")
    training._on_host.bring_back(Watch(), everything=False)
    assert {path.name for path in here.rglob("*") if path.is_file()} == {"plan.json", "metrics.jsonl"}
    with monkeypatch.context() as full:
        full.setattr(HostFiles, "_fetch_batch", lambda *_rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            training._on_host.bring_back(Watch(), everything=True)
    assert not list(here.rglob("card.json"))
    training._on_host.bring_back(Watch(), everything=True)
    assert len(list(here.rglob("card.json"))) == 2
    # What stopped between the last file and the note that all are here is finished by the next time.
    training._found, training._submitted = lambda watch: None, None
    with pytest.raises(RunError, match="has finished already"):
        training.train(Watch())
    training._on_host.remember(lambda known: replace(known, token="t"))
    training._found = lambda watch: "1"
    training._states = lambda watch, *ids: [JobState("1", "train", "finishing", "local", "finished")]
    monkeypatch.setattr(RunFolder, "card", lambda self: {})
    assert training.train(Watch())["run"] == "finishing"
    assert read_record(tiny_cohort.state_folder).runs["finishing"].is_brought_back


def test_a_full_disk_here_says_that_the_training_continues_or_is_kept_there(
    relay, shared_host, tiny_cohort, monkeypatch
):
    training, folder = started(relay, shared_host, tiny_cohort, "full")
    monkeypatch.setattr(trainings, "_SOON_SECONDS", -1.0)
    state = JobState("1", "train", "full", "local", "running")
    training._found = lambda watch: "1"
    training._states = lambda watch, *ids: [state]

    def refused(self, *_rest, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", refused)
        with pytest.raises(WorkerError, match=r"disk is full.* The training of 'full' continues there\."):
            training.train(Watch())
        state = replace(state, state="finished")
        with pytest.raises(FileWriteError, match=r"disk is full.* The run 'full' is kept on the host 'gpu'\."):
            training.train(Watch())
    with suppress(RunError):  # the run has no card
        training.train(Watch())
    assert (tiny_cohort.run_folder("full") / "plan.json").read_bytes() == (folder / "plan.json").read_bytes()


def test_a_cohort_folder_that_is_busy_here_ends_no_training_and_loses_no_run(
    relay, shared_host, tiny_cohort, monkeypatch
):
    training, folder = started(relay, shared_host, tiny_cohort, "busy")
    monkeypatch.setattr(trainings, "_SOON_SECONDS", -1.0)
    monkeypatch.setattr(trainings, "_METRICS_SECONDS", 0.0)
    monkeypatch.setattr(trainings, "_ASK_SECONDS", (0.0, 0.0))
    state = JobState("1", "train", "busy", "local", "running")
    states = iter([state, state, replace(state, state="finished")])
    training._found = lambda watch: "1"
    training._states = lambda watch, *ids: [next(states)]
    here, remember, tried = tiny_cohort.run_folder("busy") / "plan.json", training._on_host.remember, []

    def busy_at(*numbers):
        def busy(change):
            tried.append(here.is_file())
            if len(tried) in numbers:
                raise BusyError("The cohort is busy.")
            remember(change)

        tried.clear()
        training._on_host.remember = busy

    busy_at(1)  # the first copy; the second one is made
    with suppress(RunError):  # the run has no card
        training.train(Watch())
    assert here.read_bytes() == (folder / "plan.json").read_bytes()
    assert tried[:2] == [False, False]
    assert next(states, None) is None
    states = iter([replace(state, state="finished")])
    busy_at(1)
    with pytest.raises(BusyError, match=r"is busy\. The run 'busy' is kept on the host 'gpu'\."):
        training.train(Watch())
    here.write_text("{ }")
    states = iter([state])
    busy_at()
    with pytest.raises(RunError, match=r"was changed on this computer .* The training continues there\."):
        training.train(Watch())


@pytest.mark.parametrize("is_reached", [False, True])
def test_cancelling_is_not_forgotten_when_the_host_is_not_told_in_time(relay, shared_host, tiny_cohort, is_reached):
    run = f"cancelled {is_reached}"
    training, _folder = started(relay, shared_host, tiny_cohort, run)
    training._on_host.remember(lambda known: replace(known, token="t"))
    live = JobState("1", "train", run, "local", "running")
    asked, watch = [], Watch()

    def states(_watch, *ids):
        watch.cancel()
        threading.Event().wait(0.3)
        if asked:
            return [replace(live, state="cancelled")]
        if is_reached:
            return [live]
        raise ConnectionLostError("It did not answer.", True)

    training._found, training._states = lambda watch: "1", states
    training._ask = lambda method, params, watch: asked.append(method)
    if is_reached:
        with pytest.raises(CancelledError, match="last checkpoint was kept"):
            training.train(watch)
        assert asked == ["cancel_jobs"]
    else:
        with pytest.raises(WorkerError, match="could not be cancelled and may continue there"):
            training.train(watch)
        assert read_record(tiny_cohort.state_folder).runs[run].cancel_wanted
        # With the next connection.
        asked.append("as if it could be reached")
        with pytest.raises(CancelledError):
            training.train(watch)
    assert not read_record(tiny_cohort.state_folder).runs[run].cancel_wanted


def test_a_run_that_was_deleted_here_is_trained_anew_and_another_one_is_not_taken_for_it(
    relay, shared_host, tiny_cohort, monkeypatch
):
    training, folder = started(relay, shared_host, tiny_cohort, "again")
    finished = JobState("1", "train", "again", "local", "finished")
    monkeypatch.setattr(TrainingThere, "_states", lambda self, watch, *ids: [finished])
    monkeypatch.setattr(TrainingThere, "_ask", lambda *rest: {"id": "2", "engine": "local", "cluster_ids": []})
    (folder.parents[1] / "token").write_text("t")
    known = RunThere("gpu", "t", choice=training._choice(), inputs=training._inputs(Watch()))
    training._on_host.remember(lambda _known: known)
    assert training._found(Watch()) == "1"
    other = TrainingThere(relay._session, request(tiny_cohort, "again", iterations=30), lambda: False)
    with pytest.raises(RunError, match="with other settings, cases or drawn slices"):
        other._found(Watch())
    other._on_host.remember(lambda run: replace(run, is_brought_back=True))
    assert other._found(Watch()) is None
    assert other._submitted(Watch()) == "2"
    assert not folder.exists()
    record = read_record(tiny_cohort.state_folder).runs["again"]
    assert record.token == (folder.parents[1] / "token").read_text() != "t"
    assert not record.is_brought_back
