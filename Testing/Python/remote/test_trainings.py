"""Training on a host: a job that outlives the connection, and whose run comes back."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from SparseAnnotateLib.core import Cohort, Watch
from SparseAnnotateLib.core.errors import CancelledError, RunError, SparseAnnotateError
from SparseAnnotateLib.core.images import read_labels
from SparseAnnotateLib.remote import trainings
from SparseAnnotateLib.remote.cohort_record import RunThere, read_record, record_of, write_record
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.remote.trainings import TrainingThere, runs_there
from SparseAnnotateLib.runs.job_states import JobState
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.requests import PredictRequest, predict
from ssh_server import needs_ssh_server

pytest.importorskip("submitit")
pytestmark = needs_ssh_server
QUICK = {"iterations": 12, "device": "cpu", "patch": [16, 16, 16], "batch": 1}


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
    relay._session.identity(training._files, ["a"])
    area = Path(shared_host.folder) / training._area / "runs" / "twice"
    area.mkdir(parents=True)
    (area / "plan.json").write_text("{}")
    here = tiny_cohort.run_folder("twice") / "plan.json"
    here.parent.mkdir(parents=True)
    here.write_text(json.dumps({"changed": "here"}))
    with pytest.raises(RunError, match="was changed on this computer while it was trained on the host 'gpu'"):
        training._bring_back(Watch(), everything=True)
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
