"""Jobs whose files, clocks, processes or data are not as they should be; from made-up records, without any process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from SparseAnnotateLib.command_line import job_commands
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    BusyError,
    CancelledError,
    FileWriteError,
    Plane,
    RunError,
    SparseAnnotation,
    Watch,
)
from SparseAnnotateLib.core.cohort_layout import CARD_FILE
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.origin import run_fingerprint
from SparseAnnotateLib.core.strict_json import to_plain, write_json
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.jobs import part_process, part_work, signs_of_life, slurm_queue, states, submission
from SparseAnnotateLib.worker.jobs import requests as job_requests
from SparseAnnotateLib.worker.jobs.left_cases import inputs_of, left_cases
from SparseAnnotateLib.worker.jobs.records import (
    CaseOutcome,
    JobFolder,
    JobRecord,
    PartOutcome,
    PartProgress,
    PartStatus,
    Submission,
    new_job_folder,
    now,
)
from SparseAnnotateLib.worker.jobs.requests import SubmitRequest
from SparseAnnotateLib.worker.jobs.slurm_queue import QueueEntry
from system_needs import needs_posix_signals


def made_up(cohort, what="predict", engine="local", parts=(("a",),), **facts):
    """The folder of a job, as if it had been submitted."""
    job = new_job_folder(cohort)
    if what == "predict":
        work = to_plain(requests.PredictRequest(str(cohort.folder), run="r", state=str(cohort.state_folder)))
    else:
        work, parts = to_plain(requests.TrainRequest(str(cohort.folder), run="r")), ((),)
    ids = facts.pop("cluster_ids", tuple(f"7_{number}" for number in range(len(parts))))
    record = JobRecord(job.path.name, what, "r", engine, work, parts, now(), ids, **facts)
    job.write_record(record)
    return job, record


def made_up_run(cohort, content="one"):
    """Files that have the fingerprint of a run; returns it."""
    folder = cohort.run_folder("r")
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(CARD_FILE).write_text(content)
    return run_fingerprint(folder)


def labeled(cohort, job, case="a"):
    """A result of this job, made from what there is now."""
    path = cohort.prediction_path("r", case)
    annotation = cohort.annotation(case)
    write_image(path, annotation.labels, annotation.geometry, facts=cohort.origin(case, run="r").facts())
    job.part(0).add_case(CaseOutcome(case, "", 1.0, path.stat().st_mtime_ns))
    return path


def states_of(cohort, *ids):
    return requests.jobs(requests.JobsRequest(str(cohort.folder), ids=ids), Watch())


def draw_less(cohort):
    annotation = cohort.annotation("a")
    cohort.save_annotation("a", SparseAnnotation.from_slices(annotation.labels, annotation.geometry, Plane.AXIAL, [8]))


def made_older(files, than):
    """Give files the time that they would have if they had been changed before another one."""
    before = than.stat().st_mtime_ns - 10**9
    for file in filter(os.path.exists, files):
        os.utime(file, ns=(before, before))


@pytest.mark.parametrize("change", ["drawing", "image", "run", "nothing"])
def test_a_result_of_other_data_is_not_taken_for_done_whatever_the_times_of_the_files(tiny_cohort, change):
    content = made_up_run(tiny_cohort)
    job, record = made_up(tiny_cohort, run_content=content)
    job.part(0).write_status(PartStatus("finished"))
    path = labeled(tiny_cohort, job)
    if change == "drawing":
        draw_less(tiny_cohort)
        made_older(tiny_cohort.annotation_files("a"), path)
    if change == "image":
        image = tiny_cohort.image_path("a")
        voxels, geometry = read_image(image)
        write_image(image, voxels[::-1].copy(), geometry)
        made_older([image], path)
    if change == "run":
        content = made_up_run(tiny_cohort, "another")
        job.write_record(replace(record, run_content=content))
    work = requests.PredictRequest(str(tiny_cohort.folder), run="r", state=str(tiny_cohort.state_folder))
    found = left_cases(tiny_cohort, work, content)
    assert (found.left, found.labeled) == ((("a",), ()) if change != "nothing" else ((), ("a",)))


def test_whether_a_result_is_up_to_date_is_seen_without_reading_it_until_a_file_changes(tiny_cohort, monkeypatch):
    content = made_up_run(tiny_cohort)
    job, _record = made_up(tiny_cohort, run_content=content)
    job.part(0).write_status(PartStatus("finished"))
    image = tiny_cohort.image_path("a")
    assert inputs_of(tiny_cohort, "a") == ""  # they may change again within the same tick of the clock
    for file in filter(os.path.exists, [image, *tiny_cohort.annotation_files("a")]):
        os.utime(file, (1e9, 1e9))
    path = labeled(tiny_cohort, job)
    inputs = inputs_of(tiny_cohort, "a")
    job.part(0).add_case(CaseOutcome("a", "", 1.0, path.stat().st_mtime_ns, inputs))
    work = requests.PredictRequest(str(tiny_cohort.folder), run="r", state=str(tiny_cohort.state_folder))
    with monkeypatch.context() as unread:
        unread.setattr(type(tiny_cohort), "annotation", lambda *_: pytest.fail("it was read"))
        assert left_cases(tiny_cohort, work, content).labeled == ("a",)
    # Another image of the same size, at the same time.
    voxels, geometry = read_image(image)
    write_image(image, voxels[::-1].copy(), geometry)
    os.utime(image, (1e9, 1e9))
    assert inputs_of(tiny_cohort, "a") != inputs
    assert left_cases(tiny_cohort, work, content).left == ("a",)


def test_a_part_that_starts_again_refuses_another_run_and_labels_what_has_changed(tiny_cohort, monkeypatch):
    job, record = made_up(tiny_cohort, run_content=made_up_run(tiny_cohort))
    labeled(tiny_cohort, job)
    asked = []

    def predict_each(request, _watch, keep):
        asked.append(request.cases)
        for case in request.cases:
            keep(case, 1.0, "")
        return [], {}

    monkeypatch.setattr(requests, "predict_each", predict_each)

    def work():
        return part_work._work(record, 0, job.part(0), Watch())

    work()
    assert asked == []
    draw_less(tiny_cohort)
    work()
    assert asked == [("a",)]
    made_up_run(tiny_cohort, "another")
    with pytest.raises(RunError, match="no longer the one that the job was submitted with"):
        work()


class Queue:
    """What Slurm would say of jobs, by their ids; it keeps what it was asked."""

    def __init__(self, monkeypatch):
        self.entries, self.asked, self.cancelled = {}, [], []
        monkeypatch.setattr(states, "queue_entries", self._entries_of)
        monkeypatch.setattr(slurm_queue, "queue_entries", self._entries_of)
        monkeypatch.setattr(slurm_queue, "cancel", self._cancel)

    def _entries_of(self, ids):
        self.asked += ids
        return {one: QueueEntry(self.entries[one]) for one in ids if one in self.entries}

    def _cancel(self, ids):
        self.cancelled += ids
        self.entries |= {one: "CANCELLED" for one in self.entries if one.partition("_")[0] in ids}


@pytest.fixture
def queue(monkeypatch):
    return Queue(monkeypatch)


@pytest.fixture
def engines(monkeypatch):
    """Both engines seem to be there."""
    monkeypatch.setattr(submission.shutil, "which", lambda name: name)


def submit(cohort, what="train", engine="slurm", **options):
    request = {"run": "r", "device": "cpu"}
    return requests.submit(SubmitRequest(str(cohort.folder), what, request, engine=engine, **options), Watch())


def cancelled(cohort, *ids):
    return requests.cancel_jobs(requests.CancelJobsRequest(str(cohort.folder), ids), Watch())


def grown_older(path, seconds):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_of_two_trainings_submitted_at_the_same_time_without_locks_the_later_withdraws(
    tiny_cohort, queue, engines, monkeypatch
):
    queue.entries["7_0"] = "PENDING"

    def at_the_same_time(cohort):
        # Another process has taken the number before, and writes its record now.
        made_up(cohort, "train", "slurm", cluster_ids=("7_0",))
        return new_job_folder(cohort)

    handed_over = []
    monkeypatch.setattr(job_requests, "new_job_folder", at_the_same_time)
    monkeypatch.setattr(job_requests, "hand_over", lambda job, _options: handed_over.append(job) or ("8",))
    answer = submit(tiny_cohort)
    assert (answer.id, answer.cluster_ids, handed_over) == ("1", ("7_0",), [])
    assert "already training" in answer.message
    assert [state.id for state in states_of(tiny_cohort)] == ["1"]


@pytest.mark.parametrize(
    "name", ["ntasks", "ntasks-per-node", "nodes", "wait", "parsable", "test-only", "wrap", "chdir"]
)
def test_options_that_would_start_a_job_twice_or_otherwise_are_refused(tiny_cohort, engines, name):
    with pytest.raises(BadInputError, match=f"'{name}' of sbatch is set by SparseAnnotate"):
        submit(tiny_cohort, slurm_options={name: "2"})


def test_only_the_first_process_that_slurm_starts_does_a_part(tiny_cohort, monkeypatch):
    job, _record = made_up(tiny_cohort)
    monkeypatch.setattr(part_process._Part, "run", lambda *_any, **_options: pytest.fail("it works"))
    monkeypatch.setenv("SLURM_PROCID", "1")
    part_process.JobParts(str(job.path), [0])()


def test_what_slurm_still_runs_of_a_job_that_says_that_it_has_ended_is_cancelled(tiny_cohort, queue, monkeypatch):
    for number, stage in enumerate(("finished", "running"), start=7):
        job, _record = made_up(tiny_cohort, "train", "slurm", cluster_ids=(str(number),))
        job.part(0).write_status(PartStatus(stage))
    queue.entries |= {"7": "RUNNING", "8": "RUNNING"}
    assert [state.state for state in states_of(tiny_cohort)] == ["finished", "running"]
    marked = []
    cancel = slurm_queue.cancel

    def mark_and_cancel(ids):
        marked.append(job.is_cancelled)
        cancel(ids)

    monkeypatch.setattr(slurm_queue, "cancel", mark_and_cancel)
    assert [state.state for state in cancelled(tiny_cohort, "1", "2")] == ["finished", "cancelled"]
    assert queue.cancelled == ["7", "8"]
    # The second one was told before Slurm was asked to cancel the first one.
    assert marked == [True, True]


def test_on_a_full_disk_slurm_is_asked_to_cancel_all_the_same(tiny_cohort, queue, monkeypatch):
    job, _record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    job.part(0).write_status(PartStatus("running"))
    queue.entries["7"] = "RUNNING"

    def full(_job):
        raise FileWriteError("The disk is full.")

    monkeypatch.setattr(JobFolder, "cancel", full)
    with pytest.raises(FileWriteError, match="disk is full"):
        cancelled(tiny_cohort, "1")
    assert queue.cancelled == ["7"]


def test_a_job_that_is_being_submitted_waits_and_can_be_cancelled(tiny_cohort, queue):
    job, record = made_up(tiny_cohort, "train", "local", cluster_ids=(), host="node1")
    assert [(s.state, s.message) for s in states_of(tiny_cohort)] == [("waiting", "It is being submitted.")]
    assert job_requests._live_trainings(tiny_cohort, "r", [job])
    (state,) = cancelled(tiny_cohort, "1")
    assert state.state == "waiting"
    assert job.is_cancelled
    job.cancel_path.unlink()
    grown_older(job.record_path, 3600)
    (state,) = states_of(tiny_cohort)
    assert state.state == "failed"
    assert "the process that was to do so has ended" in state.message
    # The submitting process has died, the job has not.
    job.ended_path.unlink(missing_ok=True)
    job.write_record(replace(record, engine="slurm"))
    write_json(job.submission_path, Submission(("9",)))
    queue.entries["9"] = "RUNNING"
    (state,) = states_of(tiny_cohort)
    assert (state.state, state.cluster_ids) == ("waiting", ("9",))
    job.submission_path.unlink()
    job.part(0).write_status(PartStatus("running", cluster_id="9"))
    (state,) = states_of(tiny_cohort)
    assert (state.state, state.cluster_ids) == ("running", ("9",))


def test_a_job_whose_record_cannot_be_finished_is_cancelled(tiny_cohort, queue, engines, monkeypatch):
    def hand_over(job, _options):
        write_json(job.submission_path, Submission(("9",)))
        raise KeyboardInterrupt

    monkeypatch.setattr(job_requests, "hand_over", hand_over)
    with pytest.raises(KeyboardInterrupt):
        submit(tiny_cohort)
    assert queue.cancelled == ["9"]
    assert JobFolder(tiny_cohort.state_folder / "jobs" / "1").is_cancelled


@pytest.mark.parametrize("file", ["job.json", "parts/0/status.json", "ended.json"])
def test_a_damaged_file_of_one_job_leaves_the_others_alone(tiny_cohort, queue, engines, file, monkeypatch):
    content = made_up_run(tiny_cohort)
    damaged, _record = made_up(tiny_cohort, run_content=content, host="another")
    made_up(tiny_cohort, run_content=content)[0].part(0).write_status(PartStatus("finished"))
    path = damaged.path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    damaged.part(0).write_status(PartStatus("running"))
    path.write_text("{")
    first, second = states_of(tiny_cohort)
    assert (first.id, second.id) == ("1", "2")
    # What was kept of a job that has ended can be found out again.
    assert first.state == ("running" if file == "ended.json" else "failed")
    assert file == "ended.json" or str(path) in first.message
    work = requests.PredictRequest(str(tiny_cohort.folder), run="r", state=str(tiny_cohort.state_folder))
    found = left_cases(tiny_cohort, work, content)
    assert (found.left, found.being_done) == (((), {"a": "1"}) if file == "ended.json" else (("a",), {}))
    monkeypatch.setattr(job_requests, "hand_over", lambda _job, _options: ("8",))
    tiny_cohort.run_folder("r").joinpath(CARD_FILE).unlink()
    assert submit(tiny_cohort).id == "3"


def test_a_local_job_of_another_computer_lives_as_long_as_one_of_its_parts_is_heard_of(tiny_cohort, monkeypatch):
    job, record = made_up(tiny_cohort, engine="local", parts=(("a",), ("b",)), host="another", cluster_ids=("1",))
    job.write_record(replace(record, submitted="2020-01-01T00:00:00+00:00"))
    job.part(0).write_status(PartStatus("running", host="another", heartbeat="2020-01-01T00:00:00+00:00"))
    grown_older(job.record_path, 86400)
    # The clock of its disk is looked at once, however many parts there are.
    looks = []
    present = signs_of_life._present
    monkeypatch.setattr(signs_of_life, "_present", lambda folder: looks.append(folder) or present(folder))
    parts = states.part_states(job, record, None)
    assert looks == [job.path]
    assert [part.stage for part in parts] == ["running", "waiting"]
    grown_older(job.part(0).status_path, 3600)
    assert [state.state for state in states_of(tiny_cohort)] == ["failed"]
    # It may be heard of again.
    job.part(0).write_status(PartStatus("running", host="another"))
    assert [state.state for state in states_of(tiny_cohort)] == ["running"]


def test_a_prediction_has_finished_only_when_each_case_has_an_outcome(tiny_cohort):
    job, _record = made_up(tiny_cohort, parts=(("a", "b"),))
    files = job.part(0)
    files.add_case(CaseOutcome("a"))
    files.write_status(PartStatus("finished"))
    with open(files.cases_path, "a") as file:
        file.write('{"case": "b", "prob')
    (state,) = states_of(tiny_cohort)
    assert state.state == "failed"
    assert "1 case has no result: 'b'." in state.message
    job.ended_path.unlink()
    files.add_case(CaseOutcome("b"))
    assert [state.state for state in states_of(tiny_cohort)] == ["finished"]


def test_the_last_word_of_the_work_counts_when_its_watcher_could_not_pass_it_on(tiny_cohort, queue):
    job, _record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    files = job.part(0)
    files.write_status(PartStatus("running"))
    queue.entries["7"] = "COMPLETED"
    assert [state.state for state in states_of(tiny_cohort)] == ["running"]
    grown_older(files.status_path, 600)
    files.write_outcome(PartOutcome("finished"))
    assert [state.state for state in states_of(tiny_cohort)] == ["finished"]


def test_progress_with_a_figure_that_is_no_number_is_read(tiny_cohort):
    job, _record = made_up(tiny_cohort)
    job.part(0).write_progress(PartProgress(0.5, "training", None, {"loss": float("nan")}))
    assert job.part(0).progress() == PartProgress(0.5, "training", None, {"loss": None})


def test_a_job_that_has_ended_is_neither_read_nor_asked_about_again(tiny_cohort, queue):
    job, _record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    job.part(0).write_status(PartStatus("running"))
    queue.entries["7"] = "OUT_OF_MEMORY"
    before = states_of(tiny_cohort)
    # Slurm forgets jobs after a while.
    queue.entries.clear()
    queue.asked.clear()
    job.part(0).status_path.unlink()
    assert states_of(tiny_cohort) == before
    assert queue.asked == []
    assert "more memory" in before[0].message


def test_a_job_of_a_failed_node_may_be_queued_again(tiny_cohort, queue):
    job, _record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    job.part(0).write_status(PartStatus("running"))
    queue.entries["7"] = "NODE_FAIL"
    assert [state.state for state in states_of(tiny_cohort)] == ["failed"]
    queue.entries["7"] = "PENDING"
    assert [state.state for state in states_of(tiny_cohort)] == ["waiting"]


def test_the_name_of_a_node_is_no_lack_of_memory(tiny_cohort, queue):
    job, record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    log = states.log_path(job, record, 0)
    log.parent.mkdir()
    log.write_text("srun: error: classroom3: task 0: Exited with exit code 1\n")
    assert not states._is_memory(job, record, 0)
    log.write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0\n")
    assert states._is_memory(job, record, 0)


@pytest.mark.parametrize(("engine", "name"), [("slurm", "50% of all"), ("slurm", "a\\b"), ("local", "x%jy")])
def test_a_folder_whose_name_the_engine_would_change_is_refused(tiny_cohort, engines, tmp_path, engine, name):
    with pytest.raises(BadInputError, match="cannot write its logs in"):
        submit(tiny_cohort, engine=engine, state=str(tmp_path / name))


def test_names_with_line_breaks_are_refused(tiny_cohort, engines):
    with pytest.raises(BadInputError, match="'account' must be a name that Slurm knows"):
        submit(tiny_cohort, account="lab\n#SBATCH --wrap=x")


@needs_posix_signals
@pytest.mark.parametrize("reason", ["cancelled", "alone", "nothing"])
def test_the_work_stops_by_itself_when_nobody_watches_over_it_or_the_job_is_cancelled(tiny_cohort, monkeypatch, reason):
    job, _record = made_up(tiny_cohort)
    monkeypatch.setattr(part_work, "_LOOK_SECONDS", 0.01)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(20)
    monkeypatch.setenv(part_work.WATCHER_VARIABLE, str(gone.pid if reason == "alone" else os.getppid()))
    watch = Watch()
    with part_work._stopped_when_left_alone(job, watch):
        if reason == "cancelled":
            job.cancel()
        assert watch._cancelled.wait(20 if reason != "nothing" else 0.3) == (reason != "nothing")


@needs_posix_signals
def test_a_part_leaves_no_work_behind_when_its_watcher_fails(tiny_cohort, monkeypatch):
    job, record = made_up(tiny_cohort)
    part = part_process._Part(job, record, 0, [], None)
    children = []
    monkeypatch.setattr(part, "_command", lambda: [sys.executable, "-c", "import time; time.sleep(300)"])

    def wait(child):
        children.append(child)
        raise OSError("a bug")

    monkeypatch.setattr(part, "_wait", wait)
    with pytest.raises(OSError, match="a bug"):
        part.run()
    assert children[0].wait(20) == -signal.SIGTERM


def test_a_training_waits_for_a_run_that_is_about_to_be_let_go_of(tiny_cohort, monkeypatch):
    trained, said = [], []
    watch = Watch(lambda progress: said.append(progress.message))
    monkeypatch.setattr(part_work, "_BUSY_LOOK_SECONDS", 0.01)
    request = requests.TrainRequest(str(tiny_cohort.folder), run="r")

    def train(_request, _watch):
        trained.append(len(said))
        if len(trained) < 3:
            raise BusyError("It is in use.")

    monkeypatch.setattr(requests, "train", train)
    part_work._train(request, watch)
    assert trained == [0, 1, 2]
    assert set(said) == {"It is in use."}
    # Not for ever, and not when it is asked to stop.
    trained.clear()
    watch.cancel()
    with pytest.raises(CancelledError):
        part_work._train(request, watch)
    monkeypatch.setattr(part_work, "_BUSY_SECONDS", -1.0)
    trained.clear()
    with pytest.raises(BusyError):
        part_work._train(request, Watch())


def test_following_a_log_asks_for_the_state_rarely(tiny_cohort, monkeypatch, queue, capsys):
    job, record = made_up(tiny_cohort, "train", "slurm", cluster_ids=("7",))
    job.part(0).write_status(PartStatus("running"))
    queue.entries["7"] = "RUNNING"
    log = states.log_path(job, record, 0)
    log.parent.mkdir()
    log.write_text("begin\n")
    looks = []

    def interrupted(_watch, _seconds):
        looks.append(len(queue.asked))
        with open(log, "a") as file:
            file.write(f"line {len(looks)}\n")
        return len(looks) == 4

    monkeypatch.setattr(job_commands, "_interrupted", interrupted)
    assert main(["logs", str(tiny_cohort.folder), "1", "--follow"]) == 0
    assert looks == [looks[0]] * 4
    assert capsys.readouterr().out.splitlines()[:4] == ["begin", "line 1", "line 2", "line 3"]
