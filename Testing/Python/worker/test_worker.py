"""The worker process as its clients see it: requests, progress, cancel, errors, death."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.client import (
    LIBRARY_FOLDER,
    BlockingWorker,
    SubprocessTransport,
    WorkerClient,
    jsonrpc,
    request_server,
    worker_command,
)
from SparseAnnotateLib.core import CancelledError, WorkerError
from SparseAnnotateLib.worker.requests import METHODS
from SparseAnnotateLib.worker.server import Server
from system_needs import needs_posix_signals

pytestmark = pytest.mark.cold_worker


def answers(*lines: str) -> list[dict]:
    """What a server says to these lines, in this very process."""
    output = io.BytesIO()
    Server(io.BytesIO("".join(line if line.endswith("\n") else line + "\n" for line in lines).encode()), output).serve()
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("this is not JSON", jsonrpc.PARSE_ERROR),
        ('{"id": 1, "method": "environment"}', jsonrpc.PARSE_ERROR),
        ('{"jsonrpc": "2.0", "method": "environment"}', jsonrpc.INVALID_REQUEST),
        ('{"jsonrpc": "2.0", "id": "x", "method": "environment"}', jsonrpc.INVALID_REQUEST),
        (jsonrpc.request_line(1, "fly", {}), jsonrpc.METHOD_NOT_FOUND),
        (jsonrpc.request_line(1, "environment", {"fast": True}), jsonrpc.INVALID_PARAMS),
        (jsonrpc.request_line(1, "environment", [1]), jsonrpc.INVALID_PARAMS),
        (
            jsonrpc.request_line(1, "predict", {"cohort": "c", "run": "r", "follows_edges": True}),
            jsonrpc.INVALID_PARAMS,
        ),
    ],
)
def test_what_is_no_proper_request_is_answered_with_json_rpc_s_own_codes(line, code):
    said = answers(line)
    assert [message["error"]["code"] for message in said] == [code]
    assert said[0]["error"]["message"].endswith(".")


def test_a_cancel_of_nothing_is_ignored():
    assert answers(jsonrpc.notification_line(jsonrpc.CANCEL, {"id": 9})) == []
    assert answers(jsonrpc.notification_line(jsonrpc.CANCEL, [9])) == []


@pytest.fixture(scope="module")
def worker():
    with BlockingWorker() as blocking:
        yield blocking


def test_the_environment_names_device_versions_and_a_sentence(worker):
    report = worker.call("environment", {})
    assert report["can_train"]
    assert report["device"] in [device["device"] for device in report["devices"] if device["works"]]
    assert report["packages"]["torch"]
    assert report["message"].endswith(".")


def test_errors_of_ours_arrive_as_their_sentence(worker, tmp_path):
    with pytest.raises(WorkerError, match="is not a cohort"):
        worker.call("fill", {"cohort": str(tmp_path)})
    with pytest.raises(WorkerError, match="lacks the field 'run'"):
        worker.call("train", {"cohort": str(tmp_path)})
    with pytest.raises(WorkerError, match="unknown field 'settings.speed'"):
        worker.call("train", {"cohort": str(tmp_path), "run": "r", "settings": {"speed": 9}})


def test_the_whole_job_through_requests(worker, ball_cohort):
    folder = str(ball_cohort.folder)
    assert len(worker.call("fill", {"cohort": folder})) == 2
    assert all(e["dice"] > 0.85 for e in worker.call("evaluate", {"cohort": folder}))
    reports = []
    settings = {**QUICK_TRAINING, "iterations": 30}
    card = worker.call("train", {"cohort": folder, "run": "r", "settings": settings}, reports.append)
    assert card["run"] == "r"
    assert card["models"][0]["iterations"] == 30
    fractions = [r.fraction for r in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert reports[-1].seconds_left == 0
    # After the last step the model's labels beyond the drawn slices are checked.
    assert [r.metrics["loss"] for r in reports if r.metrics][-1] > 0
    assert len(worker.call("predict", {"cohort": folder, "run": "r"})) == 2
    assert len(worker.call("evaluate", {"cohort": folder, "run": "r"})) == 2


def test_cancel_is_answered_within_two_seconds_whatever_a_step_takes():
    script = (
        "import time\n"
        "from SparseAnnotateLib.worker import requests, server\n"
        "requests.METHODS['fill'] = (requests.EnvironmentRequest, lambda request, watch: time.sleep(3600))\n"
        "server.main()"
    )
    assert request_server.CANCEL_ANSWER_SECONDS < 2.0
    with BlockingWorker([sys.executable, "-c", script]) as worker:
        call = worker.client.request("fill", {})
        assert worker.call("environment", {})["message"]
        worker.client.cancel(call)
        pump_until(worker, lambda: call.is_done)
        with pytest.raises(CancelledError):
            call.value()
        worker.client.transport.process.kill()


def test_a_patient_request_is_only_answered_when_it_has_ended(monkeypatch):
    monkeypatch.setattr(request_server, "CANCEL_ANSWER_SECONDS", 0.05)
    read, write = os.pipe()
    answers = io.BytesIO()

    def work(_method, _params, watch):
        while not watch.is_cancelled:
            time.sleep(0.01)
        time.sleep(0.3)
        return "done"

    methods = ("train", "fill")
    with os.fdopen(read, "rb") as requests, os.fdopen(write, "wb") as sent:
        server = request_server.RequestServer(requests, answers, methods, work, methods, patient=("train",))
        for number, method in enumerate(methods):
            sent.write(jsonrpc.request_line(number, method, {}).encode())
            sent.write(jsonrpc.notification_line(jsonrpc.CANCEL, {"id": number}).encode())
        sent.close()
        server.serve()
    given = {line["id"]: line for line in map(json.loads, answers.getvalue().splitlines())}
    assert given[0]["result"] == "done"
    assert "still finishing" in given[1]["error"]["message"]


def test_one_worker_answers_about_itself_while_it_trains_and_cancel_leaves_a_checkpoint(ball_cohort):
    with BlockingWorker() as worker:
        reports = []
        settings = {**QUICK_TRAINING, "iterations": 100000}
        params = {"cohort": str(ball_cohort.folder), "run": "long", "settings": settings}
        call = worker.client.request("train", params, reports.append)
        pump_until(worker, lambda: any(r.message.startswith("step") for r in reports))
        assert worker.call("environment", {})["can_train"]
        worker.client.cancel(call)
        pump_until(worker, lambda: call.is_done)
        with pytest.raises(CancelledError):
            call.value()
        # The answer does not wait for a step that takes its time; the checkpoint follows it.
        checkpoint = ball_cohort.run_folder("long").joinpath("3d", "checkpoint.safetensors")
        pump_until(worker, checkpoint.is_file)


@needs_posix_signals
def test_a_worker_killed_in_training_is_reported_and_the_next_request_starts_another_that_resumes(ball_cohort):
    with BlockingWorker() as worker:
        settings = {**QUICK_TRAINING, "iterations": 60}
        params = {"cohort": str(ball_cohort.folder), "run": "r", "settings": settings}
        call = worker.client.request("train", params)
        checkpoint = ball_cohort.run_folder("r") / "3d" / "checkpoint.safetensors"
        pump_until(worker, checkpoint.is_file)
        worker.client.transport.process.send_signal(signal.SIGKILL)
        pump_until(worker, lambda: call.is_done)
        with pytest.raises(
            WorkerError, match=r"ended during 'train' \(killed by SIGKILL\).* resume the run from its last checkpoint"
        ):
            call.value()
        assert not worker.client.is_running
        assert worker.call("train", {"cohort": str(ball_cohort.folder), "run": "r"})["models"][0]["iterations"] == 60


def test_what_libraries_print_cannot_be_mistaken_for_a_message():
    script = (
        "import os, sys; sys.argv = ['worker']\n"
        "from SparseAnnotateLib.worker import requests, server\n"
        "def noisy(request, watch):\n"
        "    print('to stdout'); os.write(1, b'to the descriptor\\n'); return 'done'\n"
        "requests.METHODS['environment'] = (requests.EnvironmentRequest, noisy)\n"
        "server.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        input=jsonrpc.request_line(1, "environment", {}).encode(),
        capture_output=True,
        cwd=LIBRARY_FOLDER,
        timeout=600,
    )
    assert [json.loads(line)["result"] for line in result.stdout.splitlines()] == ["done"]
    assert b"to the descriptor" in result.stderr


def test_an_unexpected_error_is_reported_with_a_trace_in_the_log():
    script = (
        "from SparseAnnotateLib.worker import requests, server\n"
        "def broken(request, watch): raise ZeroDivisionError('oops')\n"
        "requests.METHODS['environment'] = (requests.EnvironmentRequest, broken)\n"
        "server.main()"
    )
    with BlockingWorker([sys.executable, "-c", script]) as worker:
        with pytest.raises(WorkerError, match="Unexpected error in 'environment': ZeroDivisionError: oops"):
            worker.call("environment", {})
        pump_until(worker, lambda: any("ZeroDivisionError" in line for line in worker.client.log))


def test_a_file_that_may_not_be_opened_is_reported_in_a_sentence(monkeypatch):
    def refused(request, watch):
        raise PermissionError(13, "Permission denied", "/closed/cohort.json")

    monkeypatch.setitem(METHODS, "environment", (METHODS["environment"][0], refused))
    (said,) = answers(jsonrpc.request_line(1, "environment", {}))
    assert said["error"]["code"] == jsonrpc.REPORTED_ERROR
    assert said["error"]["message"].startswith("You have no permission to open '/closed/cohort.json'.")


def test_a_worker_that_cannot_be_started_is_reported():
    client = WorkerClient(lambda: SubprocessTransport(["/nowhere/python"]))
    with pytest.raises(WorkerError, match=r"'/nowhere/python' cannot be started"):
        client.request("environment", {})


def test_a_worker_that_ends_at_once_is_reported_with_its_last_log_line():
    worker = BlockingWorker([sys.executable, "-c", "import sys; sys.exit('no such module')"])
    with pytest.raises(WorkerError, match=r"ended during 'environment' \(exit code 1\).*no such module"):
        worker.call("environment", {})


def test_a_request_right_after_closing_goes_to_another_worker():
    with BlockingWorker() as worker:
        worker.call("environment", {})
        worker.client.close()
        assert worker.call("environment", {})["can_train"]


def test_a_call_ends_with_an_error_when_its_client_is_closed_meanwhile():
    progress = jsonrpc.notification_line("progress", {"id": 1, "fraction": 0.5, "message": "half"})
    script = f"import sys; input(); print({progress!r}, flush=True); sys.stdin.read()"
    worker = BlockingWorker([sys.executable, "-c", script])
    with pytest.raises(WorkerError, match=r"ended during 'environment' \(exit code 0\)"):
        worker.call("environment", {}, on_progress=lambda _: worker.client.close())


def test_closing_stdin_ends_the_process():
    process = subprocess.Popen(worker_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=LIBRARY_FOLDER)
    process.stdin.close()
    assert process.wait(600) == 0


def pump_until(worker: BlockingWorker, condition, seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        worker.client.transport.pump(0.02)
