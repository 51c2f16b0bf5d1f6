"""Learning on a host while slices are drawn here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotateError, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.cohort_file import CohortFile
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.errors import BadInputError, BusyError, CancelledError, RunError
from SparseAnnotateLib.core.folder_lock import FolderLock
from SparseAnnotateLib.core.images import read_slice
from SparseAnnotateLib.core.progress import STEP
from SparseAnnotateLib.core.strict_json import read_json, write_json
from SparseAnnotateLib.remote import learning_there, requests_there, run_on_host
from SparseAnnotateLib.remote.cohort_copy import CohortFiles
from SparseAnnotateLib.remote.hosts import keep_host
from SparseAnnotateLib.remote.learning_there import learns_while_drawing
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.remote.run_on_host import RunOnHost, runs_there
from SparseAnnotateLib.remote.where import Needs
from SparseAnnotateLib.runs.drawing_record import DrawingRecord
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.server import _ANSWERED_IMMEDIATELY
from ssh_server import needs_ssh_server

SETTINGS = {"recipe": "2d", "patch_2d": [32, 32], "batch_2d": 2, "device": "cpu"}
LABELS = ball((16, 18, 34), 7.0) + ball((16, 18, 34), 3.5)
GEOMETRY = VolumeGeometry.from_spacing(LABELS.shape, (2.0, 1.0, 1.0))
LONG = 120.0


@pytest.fixture
def shared_host(shared_host, warm_python_there):
    """As usual, with a Python that imports nothing."""
    host = replace(shared_host, python=warm_python_there)
    keep_host(host)
    return host


def drawn(*indices: int) -> SparseAnnotation:
    return SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, indices)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Two cases; one slice of the first is drawn."""
    made = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 2: "kernel"})
    for number, name in enumerate("ab"):
        made.add_case(name, noisy_image(LABELS, number), GEOMETRY)
    made.save_annotation("a", drawn(8))
    return made


def request(cohort: Cohort, **more) -> dict:
    return {"cohort": str(cohort.folder), "run": "live 1", "live": True, "changes": SETTINGS, **more}


class Learning:
    """A training that learns in another thread."""

    def __init__(self, relay: Relay, params: dict):
        self.relay, self.params = relay, params
        self.watch = Watch(self._look)
        self.steps, self.messages = 0, [""]
        self.result: dict = {}
        self.error: SparseAnnotateError | None = None
        self._thread = threading.Thread(target=self._train)
        self._thread.start()

    def _look(self, progress) -> None:
        self.steps = int(progress.metrics.get(STEP, self.steps))
        self.messages.append(progress.message)

    def _train(self) -> None:
        try:
            self.result = self.relay.answer("train", self.params, self.watch)
        except SparseAnnotateError as error:
            self.error = error

    def until(self, is_so) -> None:
        deadline = time.monotonic() + LONG
        while not is_so():
            assert self._thread.is_alive(), self.error
            assert time.monotonic() < deadline, self.messages[-3:]
            time.sleep(0.05)

    def stop(self) -> None:
        self.watch.cancel()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@contextmanager
def learning(relay: Relay, params: dict) -> Iterator[Learning]:
    one = Learning(relay, params)
    try:
        yield one
    finally:
        one.stop()


def asked(cohort: Cohort, index: int, case: str = "a") -> dict:
    return {"cohort": str(cohort.folder), "run": "live 1", "case": case, "plane": "axial", "index": index}


@needs_ssh_server
def test_slices_and_corrections_that_are_drawn_here_are_learned_from_there(relay, shared_host, cohort):
    with learning(relay, request(cohort)) as one:
        one.until(lambda: one.steps >= 20)
        assert "on 'gpu': learning from 1 drawn slice, step" in one.messages[-1]
        assert runs_there(cohort.state_folder) == {"live 1": "gpu"}
        # An answer for a slice, while it learns: also of a case that it does not learn from.
        answer = relay.answer("slice", asked(cohort, 9), Watch())
        assert answer["path"] == str(cohort.slice_path("live 1", "a", "axial", 9))
        assert answer["steps"] >= 20
        assert answer["slices"] == 0
        assert read_slice(answer["path"], 0).shape == (18, 34)
        other = relay.answer("slice", asked(cohort, 7, "b"), Watch())
        assert other["case"] == "b"
        # A further slice, and the first one of another case.
        cohort.save_annotation("a", drawn(8, 10))
        cohort.save_annotation("b", drawn(5))
        one.until(lambda: "learning from 3 drawn slices" in one.messages[-1])
        assert relay.answer("slice", asked(cohort, 9), Watch())["slices"] == 1
        # What is corrected is in the next answer.
        is_kernel = read_slice(answer["path"], 0)[2, 2] == 2
        cohort.add_correction("a", Stroke.ball(GEOMETRY, (2.0, 2.0, 18.0), 2, not is_kernel, 1.0))
        again = relay.answer("slice", asked(cohort, 9), Watch())
        assert (read_slice(again["path"], 0)[2, 2] == 2) == (not is_kernel)
    assert one.error is None
    assert one.result["run"] == "live 1"
    assert one.result["is_live"]
    assert one.result["slices"] == 3
    # The run is here, as one that has finished, and can be continued here or there.
    run = RunFolder(cohort.run_folder("live 1"))
    assert run.is_finished
    assert runs_there(cohort.state_folder) == {}
    learned = DrawingRecord(run.path).slices
    assert [(s.case, s.index) for s in learned] == [("a", 8), ("a", 10), ("b", 5)]
    assert not run.labels_folder.exists()
    before = one.result["models"][0]["iterations"]
    with learning(relay, {"cohort": str(cohort.folder), "run": "live 1"}) as one:
        one.until(lambda: one.steps >= before + 5)
    assert one.result["models"][0]["iterations"] > before


@needs_ssh_server
def test_a_connection_that_breaks_is_made_again_and_nothing_learned_is_lost(server, shared_host, cohort, monkeypatch):
    monkeypatch.setattr(learning_there, "_WAITS", (0.3,))
    relay = Relay(shared_host.name, is_allowed=True)
    try:
        with learning(relay, request(cohort, cases=["a"])) as one:
            one.until(lambda: one.steps >= 20)
            # The network: the worker there ends by itself, after it has stored the run.
            server.write_config(Port="1")
            server.kill_sessions("sshd")
            one.until(lambda: "'gpu' cannot be reached; what was learned is kept there" in one.messages[-1])
            with pytest.raises(RunError, match="The host 'gpu' cannot be reached now"):
                relay.answer("slice", asked(cohort, 9), Watch())
            # It is drawn on while the connection is gone.
            cohort.save_annotation("a", drawn(8, 10))
            one.steps = 0
            server.write_config()
            one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
            assert one.steps > 20
            # Only the program that keeps the files there.
            server.kill_sessions("sys.stdin.buffer.read(")
            cohort.save_annotation("a", drawn(8, 10, 6))
            one.until(lambda: "learning from 3 drawn slices" in one.messages[-1])
        assert one.error is None
        assert one.result["slices"] == 3
        before = one.result["models"][0]["iterations"]
        assert before > 20
        assert runs_there(cohort.state_folder) == {}
        # Stopped while the host cannot be reached.
        with learning(relay, request(cohort, cases=["a"])) as one:
            one.until(lambda: one.steps > before)
            server.write_config(Port="1")
            server.kill_sessions("sshd")
            one.until(lambda: "cannot be reached" in one.messages[-1])
        assert isinstance(one.error, CancelledError)
        assert "What the run 'live 1' has learned is kept on the host 'gpu'" in one.error.message
        assert runs_there(cohort.state_folder) == {"live 1": "gpu"}
        # Continued here meanwhile, and not there: neither is lost without a word.
        (cohort.run_folder("live 1") / "metrics.jsonl").write_text("here\n")
        server.write_config()
        with learning(relay, request(cohort, cases=["a"])) as one:
            one._thread.join(LONG)
        assert "was continued both on this computer and on the host 'gpu'" in one.error.message
        assert (cohort.run_folder("live 1") / "metrics.jsonl").read_text() == "here\n"
    finally:
        server.write_config()
        relay.close()


@needs_ssh_server
def test_a_case_that_cannot_be_used_does_not_keep_the_others_from_being_learned_from(relay, shared_host, cohort):
    cohort.save_annotation("b", drawn(5))
    with learning(relay, request(cohort, cases=["a"])) as one:
        one.until(lambda: one.steps >= 2)
        image = cohort.image_path("b")
        whole = image.read_bytes()
        image.write_bytes(b"NRRD0004\ntype: nothing\n\n")
        with pytest.raises(SparseAnnotateError, match="b"):
            relay.answer("slice", asked(cohort, 9, "b"), Watch())
        cohort.save_annotation("a", drawn(8, 10))
        one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
        image.write_bytes(whole)
        assert relay.answer("slice", asked(cohort, 9, "b"), Watch())["case"] == "b"
        # It leaves the cohort.
        write_cohort = cohort.folder / "cohort.json"
        file = read_json(write_cohort, CohortFile)
        write_json(write_cohort, replace(file, cases=tuple(case for case in file.cases if case.name != "b")))
        Cohort.open(cohort.folder).save_annotation("a", drawn(8, 10, 6))
        one.until(lambda: "learning from 3 drawn slices" in one.messages[-1])
    assert one.error is None


@needs_ssh_server
def test_a_run_that_is_a_job_there_or_in_use_there_is_left_alone(relay, shared_host, cohort, monkeypatch):
    run = RunOnHost(relay._session, cohort, "live 1")
    relay._session.identity(run.files, ["a"])
    needs = Needs(("a",), is_whole=False)

    def begin(is_live: bool) -> None:
        with run.held(Watch()):
            run.begin(needs, Watch(), lambda _known: True, is_live=is_live)

    begin(False)
    with pytest.raises(RunError, match=r"'live 1' is being trained, or was trained, on the host 'gpu' as a job"):
        relay.answer("train", request(cohort), Watch())
    assert not learns_while_drawing({"cohort": str(cohort.folder), "run": "live 1"})
    # Cut off at the end of the copying: it can be begun again.
    run.note_brought_back()
    send = run_on_host.send_copy
    monkeypatch.setattr(run_on_host, "send_copy", lambda *rest: (send(*rest), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        begin(True)
    monkeypatch.setattr(run_on_host, "send_copy", send)
    assert not run.require_ours(Watch())
    assert runs_there(cohort.state_folder) == {}
    begin(True)
    assert run.require_ours(Watch())
    assert learns_while_drawing({"cohort": str(cohort.folder), "run": "live 1"})
    begin(True)
    # A process that was cut off from here still uses it.
    there = Path(shared_host.folder) / run.area / "runs" / "live 1"
    there.mkdir(parents=True)
    (there / "plan.json").write_text("{}")
    with FolderLock(there, "training"):
        with pytest.raises(BusyError, match="is still training the run 'live 1'"):
            begin(True)
        run.note_brought_back()
        with pytest.raises(BusyError, match="is still training the run 'live 1'"):
            begin(False)
        assert (there / "plan.json").is_file()
    begin(False)
    assert not there.exists()


@needs_ssh_server
def test_stopping_does_not_wait_for_what_is_being_copied(relay, shared_host, cohort, monkeypatch):
    with learning(relay, request(cohort, cases=["a"])) as one:
        one.until(lambda: one.steps >= 2)
        is_copying = threading.Event()

        def slow(session, files, area, needs, watch, further=None):
            is_copying.set()
            while True:
                watch.step(0.5, "copying")
                time.sleep(0.05)

        monkeypatch.setattr(learning_there, "send_copy", slow)
        cohort.save_annotation("a", drawn(8, 10))
        one.until(is_copying.is_set)
    assert one.error is None
    # Nor for the program that keeps the files there. Others are kept away until the run is here.
    run = RunOnHost(relay._session, cohort, "live 1")
    marker = Path(shared_host.folder) / run.area / "brought-back"
    with learning(relay, request(cohort, cases=["a"])) as one:
        one.until(lambda: one.steps >= 2)
        assert not marker.exists()

        def busy(session, files, area, needs, watch, further=None):
            is_copying.set()
            return session.files.ask("run", watch, words=["sleep", str(LONG)])

        is_copying.clear()
        monkeypatch.setattr(learning_there, "send_copy", busy)
        cohort.save_annotation("a", drawn(8, 11))
        one.until(is_copying.is_set)
    assert one.error is None
    assert marker.is_file()


@needs_ssh_server
def test_what_cannot_be_learned_from_there_is_said_before_anything_is_copied(relay, shared_host, cohort, tmp_path):
    empty = Cohort.create(tmp_path / "empty", "empty", {1: "shell"})
    empty.add_case("a", noisy_image(LABELS), GEOMETRY)
    with pytest.raises(BadInputError, match="No slice of the cohort 'empty' has been drawn yet"):
        relay.answer("train", request(empty), Watch())
    assert not (empty.state_folder / "elsewhere.json").is_file() or not runs_there(empty.state_folder)
    # A fault there is reported with the host's name, and the run is not left there.
    with pytest.raises(SparseAnnotateError, match=r"On 'gpu': Learning while you draw trains one model"):
        relay.answer("train", request(cohort, changes={**SETTINGS, "recipe": "ensemble"}), Watch())
    assert runs_there(cohort.state_folder) == {}
    with pytest.raises(SparseAnnotateError, match="live 1"):
        relay.answer("slice", asked(cohort, 9), Watch())


def test_what_is_drawn_is_copied_as_it_is_at_one_moment(cohort, monkeypatch):
    files = CohortFiles(cohort)
    known = files.hashes.content
    labels = cohort.annotation_files("a")[1]
    saved = []

    def saving(path: Path, watch=None):
        found = known(path, watch)
        if path == labels and not saved:
            # Another process saves when the labels have been read, before the ledger is read once more.
            saved.append(True)
            cohort.save_annotation("a", drawn(8, 10))
        return found

    monkeypatch.setattr(files.hashes, "content", saving)
    copy = files.copy(["a"], False, (), (), (), Watch(), is_whole=False)
    for path in cohort.annotation_files("a"):
        if path.is_file():
            assert copy.files[files.in_state(path)].sha == known(path).sha

    def never_the_same(path: Path, watch=None):
        os.utime(path)
        return replace(known(path, watch), size=time.monotonic_ns())

    monkeypatch.setattr(files.hashes, "content", never_the_same)
    with pytest.raises(BadInputError, match="keeps changing while it is read"):
        files.copy(["a"], False, (), (), (), Watch(), is_whole=False)


def test_the_request_that_waits_for_the_others_is_not_answered_beside_them():
    assert requests_there.AFTER_THE_OTHERS not in _ANSWERED_IMMEDIATELY


@needs_ssh_server
def test_a_file_that_is_gone_here_is_reported_and_the_next_slices_still_go_there(
    relay, shared_host, cohort, monkeypatch
):
    monkeypatch.setattr(learning_there, "_TRY_AGAIN_SECONDS", 0.1)
    with learning(relay, request(cohort, cases=["a"])) as one:
        one.until(lambda: one.steps >= 2)
        for problem in (FileNotFoundError(2, "No such file", "x"), BadInputError("The file 'x' cannot be read.")):
            with monkeypatch.context() as missing:

                def failing(*_rest, problem=problem, **_more):
                    raise problem

                missing.setattr(requests_there.HostFiles, "send", failing)
                cohort.save_annotation("a", drawn(8, 10))
                one.until(lambda: "cannot be read" in one.messages[-1])
            one.until(lambda: "cannot be read" not in one.messages[-1])
        one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
    assert one.error is None


@needs_ssh_server
def test_a_slice_that_is_cancelled_while_it_is_asked_for_does_not_end_the_connection(
    relay, shared_host, cohort, monkeypatch
):
    with learning(relay, request(cohort, cases=["a"])) as one:
        one.until(lambda: one.steps >= 2)
        send, watch, connections = requests_there.HostFiles.send, Watch(), relay._session.files._connection.starts

        def cancelled(self, area, files, absent, own, given):
            watch.cancel()
            assert not given.is_cancelled
            return send(self, area, files, absent, own, given)

        with monkeypatch.context() as sending:
            sending.setattr(requests_there.HostFiles, "send", cancelled)
            with pytest.raises(CancelledError):
                relay.answer("slice", asked(cohort, 9, "b"), watch)
        cohort.save_annotation("a", drawn(8, 10))
        one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
        assert relay._session.files._connection.starts == connections
    assert one.error is None


@needs_ssh_server
def test_a_case_that_cannot_be_read_when_a_connection_is_made_again_does_not_stop_the_others(
    server, shared_host, cohort, monkeypatch
):
    monkeypatch.setattr(learning_there, "_WAITS", (0.3,))
    cohort.save_annotation("b", drawn(5))
    relay = Relay(shared_host.name, is_allowed=True)
    try:
        with learning(relay, request(cohort, cases=["a", "b"])) as one:
            one.until(lambda: one.steps >= 2)
            one.steps = 0
            away = cohort.folder / "away.nrrd"
            cohort.image_path("b").rename(away)
            server.kill_sessions("sshd")
            one.until(lambda: one.steps > 0 and "b.nrrd" in one.messages[-1])
            assert "learning from 1 drawn slice," in one.messages[-1]
            away.rename(cohort.image_path("b"))
            one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
        assert one.error is None
    finally:
        relay.close()
