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
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.errors import BadInputError, CancelledError
from SparseAnnotateLib.core.images import read_slice
from SparseAnnotateLib.core.progress import STEP
from SparseAnnotateLib.remote import cohort_copy, learning_there, requests_there
from SparseAnnotateLib.remote.cohort_copy import CohortFiles
from SparseAnnotateLib.remote.hosts import keep_host
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.remote.run_on_host import runs_there
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
            server.write_config(Port="1")
            server.kill_sessions()
            one.until(lambda: "'gpu' cannot be reached; what was learned is kept there" in one.messages[-1])
            # It is drawn on while the connection is gone.
            cohort.save_annotation("a", drawn(8, 10))
            one.steps = 0
            server.write_config()
            one.until(lambda: "learning from 2 drawn slices" in one.messages[-1])
        assert one.error is None
        assert one.result["slices"] == 2
        assert one.result["models"][0]["iterations"] >= 1
        assert runs_there(cohort.state_folder) == {}
        # Stopped while the host cannot be reached.
        with learning(relay, request(cohort, cases=["a"])) as one:
            one.until(lambda: one.steps > 0)
            server.write_config(Port="1")
            server.kill_sessions()
            one.until(lambda: "cannot be reached" in one.messages[-1])
        assert isinstance(one.error, CancelledError)
        assert "What the run 'live 1' has learned is kept on the host 'gpu'" in one.error.message
        assert runs_there(cohort.state_folder) == {"live 1": "gpu"}
    finally:
        server.write_config()
        relay.close()


@needs_ssh_server
def test_what_cannot_be_learned_from_there_is_said_before_anything_is_copied(relay, shared_host, cohort, tmp_path):
    empty = Cohort.create(tmp_path / "empty", "empty", {1: "shell"})
    empty.add_case("a", noisy_image(LABELS), GEOMETRY)
    with pytest.raises(BadInputError, match="No slice of the cohort 'empty' has been drawn yet"):
        relay.answer("train", request(empty), Watch())
    assert not (empty.state_folder / "elsewhere.json").is_file() or not runs_there(empty.state_folder)
    # What is wrong there is said with the host's name, and the run is not left there.
    with pytest.raises(SparseAnnotateError, match=r"On 'gpu': Learning while you draw trains one model"):
        relay.answer("train", request(cohort, changes={**SETTINGS, "recipe": "ensemble"}), Watch())
    assert runs_there(cohort.state_folder) == {}
    with pytest.raises(SparseAnnotateError, match="live 1"):
        relay.answer("slice", asked(cohort, 9), Watch())


def test_what_is_drawn_is_copied_as_it_is_at_one_moment(cohort, monkeypatch):
    files = CohortFiles(cohort)
    known = files.hashes.content
    first, labels = drawn(8), cohort.annotation_files("a")[1]
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
    assert first.fingerprint() != cohort.annotation("a").fingerprint()

    def never_the_same(path: Path, watch=None):
        os.utime(path)
        return replace(known(path, watch), size=time.monotonic_ns())

    monkeypatch.setattr(files.hashes, "content", never_the_same)
    with pytest.raises(BadInputError, match="keeps changing while it is read"):
        files.copy(["a"], False, (), (), (), Watch(), is_whole=False)
    assert cohort_copy._ATTEMPTS > 1


def test_the_request_that_waits_for_the_others_is_not_answered_beside_them():
    assert requests_there.AFTER_THE_OTHERS not in _ANSWERED_IMMEDIATELY
