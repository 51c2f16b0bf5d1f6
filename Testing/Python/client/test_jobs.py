"""Jobs: what is prepared and finished in this process, piece by piece, around a request to the worker."""

from __future__ import annotations

from collections import deque

import pytest

from SparseAnnotateLib.client import BlockingWorker, WorkerJobs, jsonrpc
from SparseAnnotateLib.core import BadInputError, CancelledError, Progress, WorkerError
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.pieces import Piece


class Echo:
    """A transport to a worker that answers every request with its parameters, when allowed to."""

    def __init__(self):
        self.sent = []
        self.is_running = False

    def start(self, on_line, on_log, on_end):
        self.is_running, self._on_line = True, on_line

    def send(self, line):
        self.sent.append(jsonrpc.parsed(line.encode()))

    def answer(self):
        request = self.sent[0]
        self._on_line(jsonrpc.result_line(request["id"], request["params"]).encode())

    def refuse(self, message, data):
        line = jsonrpc.error_line(self.sent[0]["id"], jsonrpc.REPORTED_ERROR, message, data)
        self._on_line(line.encode())

    def close(self):
        self.is_running = False


@pytest.fixture
def office(monkeypatch):
    return Office(monkeypatch)


class Office:
    """Jobs with an event loop that is turned by hand, each turn one piece of work."""

    def __init__(self, monkeypatch):
        from SparseAnnotateLib.client import jobs

        monkeypatch.setattr(jobs, "_PIECES_SECONDS", 0.0001)
        self.loop: deque = deque()
        self.echo = Echo()
        self.jobs = WorkerJobs(lambda: self.echo, later=self.loop.append)
        self.ended, self.said = [], []

    def start(self, method="echo", prepare=None, finish=None, **options):
        return self.jobs.start(
            method,
            prepare if prepare is not None else pieces(3, {"a": 1}),
            finish or (lambda answer: answer),
            lambda result, error: self.ended.append((result, error)),
            self.said.append,
            **options,
        )

    def turn(self, times: int | None = None) -> None:
        while self.loop and times != 0:
            self.loop.popleft()()
            times = None if times is None else times - 1


def pieces(count: int, result, closed=None):
    import time

    try:
        for number in range(count):
            time.sleep(0.001)
            yield Progress(0.0, f"piece {number}")
    finally:
        if closed is not None:
            closed.append(True)
    return result


def test_preparing_asking_and_finishing_go_on_from_the_event_loop(office):
    office.start(finish=lambda answer: pieces(2, answer["a"] + 1))
    assert office.jobs.is_busy
    assert office.echo.sent == []
    office.turn()
    assert [m["params"] for m in office.echo.sent] == [{"a": 1}]
    assert office.ended == []
    office.echo.answer()
    office.turn()
    assert office.ended == [(2, None)]
    assert not office.jobs.is_busy
    assert {p.message for p in office.said} == {"piece 0", "piece 1", "piece 2"}


def test_work_without_a_request_needs_no_worker(office):
    office.start(None, pieces(2, 5), lambda found: found * 2, name="look")
    assert office.jobs.at_work == "look"
    office.turn()
    assert office.ended == [(10, None)]
    assert not office.echo.is_running


def test_a_cancel_while_preparing_stops_before_anything_is_asked(office):
    closed = []
    office.start(prepare=pieces(100, {}, closed))
    office.turn(2)
    office.jobs.cancel()
    office.turn()
    ((result, error),) = office.ended
    assert result is None
    assert isinstance(error, CancelledError)
    assert office.echo.sent == []
    assert closed == [True]


def test_a_cancel_while_the_worker_works_is_sent_to_it(office):
    office.start()
    office.turn()
    office.jobs.cancel()
    assert office.echo.sent[-1]["method"] == jsonrpc.CANCEL
    # It came too late: what the worker has done is kept.
    office.echo.answer()
    office.turn()
    assert office.ended == [({"a": 1}, None)]


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_cancel_comes_too_late_once_something_is_changed_step_by_step(office, is_kept):
    changed = []

    def finish(_answer):
        yield Piece.NEXT_IS_KEPT if is_kept else None
        for number in range(3):
            changed.append(number)
            yield Piece.NEXT_IS_LONG
        return "changed"

    office.start(None, {}, finish, name="change")
    while not changed:
        office.turn(1)
    assert changed == [0]
    office.jobs.cancel()
    office.turn()
    ((result, error),) = office.ended
    if is_kept:
        assert (result, error, changed) == ("changed", None, [0, 1, 2])
    else:
        assert (result, changed) == (None, [0])
        assert isinstance(error, CancelledError)


def test_what_is_abandoned_stops_even_where_a_cancel_comes_too_late(office):
    closed = []

    def finish(_answer):
        yield Piece.NEXT_IS_KEPT
        yield from pieces(100, "changed", closed)

    office.start(None, {}, finish, name="change")
    office.turn(3)
    office.jobs.abandon()
    office.turn()
    assert closed == [True]


@pytest.mark.parametrize("when", ["preparing", "finishing", "finishing piece by piece"])
def test_an_error_ends_the_job_and_is_reported_as_a_sentence(office, when):
    def fail(*_):
        raise BadInputError("This cannot be.")

    def fail_later(*_):
        yield None
        raise KeyError("surprise")

    if when == "preparing":
        office.start(prepare=fail_later())
    else:
        office.start(finish=fail if when == "finishing" else fail_later)
    office.turn()
    if when != "preparing":
        office.echo.answer()
        office.turn()
    ((result, error),) = office.ended
    assert result is None
    if when == "finishing":
        assert str(error) == "This cannot be."
    else:
        assert isinstance(error, WorkerError)
        assert "The job 'echo' failed" in str(error)
        assert any("KeyError" in line for line in office.jobs.log)
    assert not office.jobs.is_busy


def test_what_was_done_in_part_is_used_before_its_error_is_reported(office):
    used = []
    office.start(finish=lambda rows: pieces(2, used.extend(rows)))
    office.turn()
    data = {"type": "PartlyDoneError", "shown": [1, 2]}
    office.echo.refuse("One case was left out.", data)
    assert office.ended == []
    office.turn()
    ((result, error),) = office.ended
    assert (used, result, str(error)) == ([1, 2], None, "One case was left out.")
    assert isinstance(error, PartlyDoneError)


def test_what_was_done_in_part_is_used_also_when_it_is_waited_for(monkeypatch):
    def refused(*_given):
        raise PartlyDoneError("One case was left out.", [1, 2])

    monkeypatch.setattr(BlockingWorker, "call", refused)
    used = []
    with pytest.raises(PartlyDoneError, match="left out"):
        WorkerJobs(Echo).run("recommend", {}, used.extend)
    assert used == [1, 2]


def test_a_second_job_is_refused_while_one_is_at_work_and_a_question_is_not(office):
    office.start()
    with pytest.raises(WorkerError, match="'echo' is still running"):
        office.start("other")
    office.start("environment", {})
    assert [m["method"] for m in office.echo.sent] == ["environment"]
    office.turn()
    assert [m["method"] for m in office.echo.sent] == ["environment", "echo"]


def test_the_same_job_can_be_waited_for():
    said = []
    jobs = WorkerJobs(Echo)
    found = jobs.run(None, pieces(2, 4), lambda answer: pieces(1, answer + 1), said.append)
    assert found == 5
    assert [p.message for p in said] == ["piece 0", "piece 1", "piece 0"]


def test_what_is_forgotten_reports_nothing_more_even_what_runs_beside_another_job(office):
    office.start()
    office.start(None, pieces(2, 5), name="confidence")
    office.jobs.forget()
    office.turn()
    office.echo.answer()
    office.turn()
    assert office.ended == []
    assert office.said == []
    assert not office.jobs.is_busy


def test_all_jobs_are_stopped_where_they_are_also_when_one_of_them_fails_to_end(office, caplog):
    def failing():
        try:
            while True:
                yield
        finally:
            raise RuntimeError("the file is open elsewhere")

    closed = []
    names = ("confidence", "provenance", "slice", "apply")
    for name in names:
        office.start(None, failing(), name=name)
        office.start(None, pieces(5, 1, closed), name=name)
    office.turn(len(names) * 2)
    office.jobs.abandon()
    assert len(closed) == len(names)
    assert caplog.text.count("the file is open elsewhere") >= len(names)
    office.turn()
    assert office.ended == []


def test_a_long_piece_has_a_turn_of_its_own(office, monkeypatch):
    from SparseAnnotateLib.client import jobs

    monkeypatch.setattr(jobs, "_PIECES_SECONDS", 60.0)
    done = []

    def steps():
        for piece in ("short", "shorter"):
            done.append(piece)
            yield Progress(0.5, piece)
        yield Piece.NEXT_IS_LONG
        done.append("long")

    office.start(None, prepare=steps(), name="apply")
    office.loop.popleft()()
    assert done == ["short", "shorter"]
    assert [progress.message for progress in office.said] == ["shorter"]
    office.loop.popleft()()
    assert done[-1] == "long"
    assert office.jobs.run(None, steps(), lambda found: found) is None
