"""Jobs on this computer, what jobs report of their parts, and requests that cannot be submitted."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, RunError, SparseAnnotation, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.strict_json import to_plain
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.jobs import part_process, submission
from SparseAnnotateLib.worker.jobs.part_process import ended_without_answer
from SparseAnnotateLib.worker.jobs.records import CaseOutcome, JobFolder, JobRecord, PartStatus, new_job_folder, now
from SparseAnnotateLib.worker.jobs.requests import SubmitRequest
from SparseAnnotateLib.worker.jobs.slurm_queue import QueueEntry, ended_sentence
from SparseAnnotateLib.worker.jobs.states import part_states
from system_needs import needs_posix_signals

TRAINING = {"run": "r", "device": "cpu", "changes": to_plain({**QUICK_TRAINING, "iterations": 6})}
PATIENCE = 300


@pytest.fixture
def without_slurm(monkeypatch):
    monkeypatch.setattr(submission.shutil, "which", lambda name: None)


def submitted(cohort, what="train", request=TRAINING, **options):
    return requests.submit(SubmitRequest(str(cohort.folder), what, request, **options), Watch())


def states_of(cohort, *ids):
    return requests.jobs(requests.JobsRequest(str(cohort.folder), ids=ids), Watch())


def until(is_so):
    deadline = time.monotonic() + PATIENCE
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def files_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@needs_posix_signals
def test_a_job_needs_no_home_no_user_name_no_locks_and_writes_nothing_beside_the_images(
    tiny_cohort, tmp_path, monkeypatch, capsys, in_jobs
):
    folder, state, scratch = tiny_cohort.folder, tmp_path / "state", tmp_path / "scratch"
    copied = Cohort.open(folder, state)
    copied.save_annotation("a", tiny_cohort.annotation("a"))
    before = files_in(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)
    marks = tmp_path / "marks"
    marks.mkdir()
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    in_jobs("JOB_TEST_BARE_NODE", "1")
    in_jobs("JOB_TEST_GATES", os.pathsep.join([str(marks), "3"]))
    monkeypatch.setenv("NODE_DISK", str(scratch))
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(TRAINING["changes"]))
    arguments = ["submit", "train", str(folder), "--state", str(state), "--run", "r", "--device", "cpu"]
    assert main([*arguments, "--settings", str(settings), "--scratch", "$NODE_DISK", "--engine", "local"]) == 0
    assert "Job 1 trains the run 'r' on this computer." in capsys.readouterr().out
    job = JobFolder(state / "jobs" / "1")
    # In the middle of the training its caches are on the disk of the node; then it is interrupted, and starts again.
    until((marks / "step_3").exists)
    assert list(scratch.rglob("*.npy"))
    os.kill(job.part(0).status().process, signal.SIGUSR1)

    def ended():
        (found,) = requests.jobs(requests.JobsRequest(str(folder), str(state)), Watch())
        return None if found.is_live else found

    found = until(ended)
    log = requests.job_log(requests.JobLogRequest(str(folder), "1", str(state)), Watch())
    assert found.state == "finished", log
    assert "does not support locks" in log
    assert found.message == "It was interrupted once and continued."
    assert RunFolder(copied.run_folder("r")).card().last.iterations == 6
    assert list(scratch.iterdir()) == []
    assert not (state / "cache" / "normalised").exists()
    assert files_in(folder) == before


@needs_posix_signals
def test_a_local_job_is_cancelled_and_a_killed_one_is_reported(tiny_cohort, capsys):
    folder = str(tiny_cohort.folder)
    job = submitted(tiny_cohort, engine="local")
    assert main(["cancel", folder, job.id, "--quiet"]) == 0
    until(lambda: not states_of(tiny_cohort)[0].is_live)
    assert states_of(tiny_cohort)[0].state == "cancelled"
    job = submitted(tiny_cohort, engine="local")
    files = JobFolder(tiny_cohort.state_folder / "jobs" / job.id)
    status = until(files.part(0).status)
    for number in (int(job.cluster_ids[0]), status.process):
        os.kill(number, signal.SIGKILL)
    (found,) = until(lambda: [s for s in states_of(tiny_cohort, job.id) if not s.is_live])
    assert found.state == "failed"
    assert "ended without a message" in found.message
    capsys.readouterr()
    assert main(["jobs", folder, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["state"]) for row in rows] == [("1", "cancelled"), ("2", "failed")]
    assert main(["jobs", folder]) == 0
    assert "start it again to continue" in capsys.readouterr().out
    assert main(["logs", folder, job.id]) == 0
    assert "submitit" in capsys.readouterr().out


@needs_posix_signals
def test_what_a_training_says_when_it_fails_is_what_the_job_says(tiny_cohort, in_jobs):
    image, geometry = tiny_cohort.image("a")
    tiny_cohort.add_case("empty", image, geometry)
    nothing = np.zeros(geometry.shape, np.uint8)
    tiny_cohort.save_annotation("empty", SparseAnnotation.from_slices(nothing, geometry, Plane.AXIAL, [3]))
    job = submitted(tiny_cohort, request={**TRAINING, "cases": ["empty"]}, engine="local")
    (found,) = until(lambda: [state for state in states_of(tiny_cohort, job.id) if not state.is_live])
    with pytest.raises(BadInputError) as said:
        requests.train(requests.TrainRequest(cohort=str(tiny_cohort.folder), cases=("empty",), **TRAINING), Watch())
    assert found.state == "failed"
    assert found.message.startswith(said.value.message)


def made_up(cohort, count, engine="slurm"):
    """The folder of a prediction in parts of two cases, as if it had been submitted."""
    job = new_job_folder(cohort)
    parts = tuple((f"p{number}", f"q{number}") for number in range(count))
    ids = tuple(f"7_{number}" for number in range(count))
    request = {"cohort": str(cohort.folder), "run": "r"}
    record = JobRecord(job.path.name, "predict", "r", engine, request, parts, now(), ids)
    job.write_record(record)
    return job, record


def test_of_200_parts_of_which_3_fail_the_report_names_these_and_counts_the_others(tiny_cohort, monkeypatch):
    job, record = made_up(tiny_cohort, 200)
    for number, cases in enumerate(record.parts):
        files = job.part(number)
        if number in (17, 18, 150):
            files.add_case(CaseOutcome(cases[0]))
            files.write_status(PartStatus("running", memory_gb=4.0))
            continue
        for case in cases:
            files.add_case(CaseOutcome(case, "It is not an image." if case == "q5" else ""))
        files.write_status(PartStatus("finished"))
    queue = {"7_17": QueueEntry("OUT_OF_MEMORY"), "7_18": QueueEntry("NODE_FAIL"), "7_150": QueueEntry("TIMEOUT")}
    monkeypatch.setattr("SparseAnnotateLib.worker.jobs.states.queue_entries", lambda ids: {i: queue[i] for i in ids})
    (state,) = states_of(tiny_cohort)
    assert state.state == "failed"
    assert (state.parts, state.parts_ended) == (200, 200)
    assert state.fraction == pytest.approx(397 / 400)
    assert "396 of 400 cases are labeled. 1 case was not labeled: 'q5': It is not an image." in state.message
    assert "3 of 200 parts have failed: part 17 ('p17' to 'q17'): It was killed because it needed" in state.message
    assert "more memory than the 4 GB it had." in state.message
    assert "part 18 ('p18' to 'q18'): The node it ran on has failed." in state.message
    assert "part 150 ('p150' to 'q150'): It was killed at its time limit." in state.message


def test_a_part_is_what_its_own_file_and_slurm_say_together(tiny_cohort):
    job, record = made_up(tiny_cohort, 1)
    files = job.part(0)

    def stage(entry, **queue):
        return part_states(job, record, {"7_0": QueueEntry(entry, **queue)} if entry else {})[0].stage

    assert stage("PENDING", reason="Priority") == "waiting"
    assert stage("RUNNING") == "waiting"  # it has not said anything yet
    assert stage("COMPLETED") == "failed"
    files.write_status(PartStatus("running"))
    assert stage("RUNNING") == "running"
    assert stage("PENDING", reason="BeginTime") == "waiting"
    assert stage("CANCELLED") == "cancelled"
    assert stage("PREEMPTED") == "failed"
    assert stage(None) == "failed"
    files.write_status(PartStatus("waiting", starts=2))
    assert stage("COMPLETING") == "waiting"
    files.write_status(PartStatus("finished"))
    for case in record.parts[0]:
        files.add_case(CaseOutcome(case))
    assert stage(None) == stage("RUNNING") == "finished"
    # Nobody can ask: it is where it was.
    files.write_status(PartStatus("running"))
    assert part_states(job, record, None)[0].stage == "running"


def test_why_a_job_ended_without_a_word():
    assert "no longer knows it" in ended_sentence(None, None)
    assert "Slurm says STRANGE (Why)" in ended_sentence(QueueEntry("STRANGE", "Why"), None)
    assert "than the 500M it had" in ended_sentence(QueueEntry("OUT_OF_MEMORY", "", "500M"), None)
    assert "than the 1.46 GB of memory it had" in ended_without_answer(-9, 1500 / 1024)
    assert "ran out of memory" in ended_without_answer(137, None)
    assert "signal 11" in ended_without_answer(-11, None)
    assert "exit code 3" in ended_without_answer(3, None)


def test_without_slurm_a_job_for_it_is_refused_in_a_sentence(tiny_cohort, without_slurm):
    with pytest.raises(BadInputError, match="no Slurm on this computer: 'sbatch' is not found"):
        submitted(tiny_cohort, engine="slurm")
    with pytest.raises(BadInputError, match="'partition' is for Slurm, and this job would run on this computer"):
        submitted(tiny_cohort, partition="gpu")
    assert not (tiny_cohort.state_folder / "jobs" / "1").exists()


def test_without_submitit_the_sentence_says_what_to_install(tiny_cohort, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.worker.packages.installed_version", lambda name: None)
    with pytest.raises(BadInputError, match="needed for submitting jobs and are not installed: submitit"):
        submitted(tiny_cohort)


def test_windows_is_refused_in_a_sentence(tiny_cohort, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BadInputError, match="Jobs need Linux or macOS"):
        submitted(tiny_cohort)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gpus": -1}, "'gpus' must be from 0 to 64, not -1"),
        ({"gpus": 10**25}, "'gpus' must be from 0 to 64, not 1000"),
        ({"cpus": 0}, "'cpus' must be from 1 to 10000, not 0"),
        ({"cpus": 10**25}, "'cpus' must be from 1 to 10000, not 1000"),
        ({"hours": 0.0}, "'hours' must be more than 0 and at most 1000000, not 0"),
        ({"hours": 1e30}, "'hours' must be more than 0 and at most 1000000, not 1e"),
        ({"memory_gb": -2.0}, "'memory_gb' must be more than 0 and at most 1000000, not -2"),
        ({"memory_gb": math.nan}, "'memory_gb' must be more than 0 and at most 1000000, not nan"),
        ({"cases_per_job": 0}, "'cases_per_job' must be from 1 to 1000000, not 0"),
        ({"what": "predict", "request": {"run": "r", "smoothing": -1.0}}, "width must be from 0 to 100 mm, not -1"),
        ({"what": "predict", "request": {"run": "r", "smoothing": 1e30}}, "width must be from 0 to 100 mm, not 1e"),
        (
            {"request": {"run": "r", "changes": {"iterations": 10**25}}},
            "'iterations' must be from 1 to 1000000000, not",
        ),
        (
            {"request": {"run": "r", "changes": {"mean_teacher": 1e30}}},
            "'mean_teacher' must be at most 1000000000000, not 1e",
        ),
        (
            {"request": {"run": "r", "changes": {"patch": [16 * 10**20] * 3}}},
            "of the patch must be at most 65536 voxels",
        ),
        ({"what": "predict", "gpus": 2}, "one GPU for each part"),
        ({"slurm_options": {"--constraint": "a"}}, "is not an option of sbatch"),
        ({"slurm_options": {"output": "x"}}, "'output' of sbatch is set by SparseAnnotate"),
        ({"request": {"run": "r", "stesp": 3}}, "unknown field 'stesp'"),
        ({"request": {"run": "r", "live": True}}, "nobody to stop it"),
        ({"request": {"run": "r", "preset": "slow"}}, "slow"),
        ({"request": {"run": "r", "changes": {"iterations": "many"}}}, "the field 'iterations' must be a whole number"),
    ],
)
def test_what_cannot_be_submitted_is_refused(tiny_cohort, changes, sentence):
    request = replace(SubmitRequest(str(tiny_cohort.folder), "train", TRAINING, engine="local"), **changes)
    with pytest.raises(BadInputError, match=sentence):
        requests.submit(request, Watch())
    assert not (tiny_cohort.state_folder / "jobs" / "1").exists()


def test_a_run_that_does_not_exist_or_has_finished_is_refused_before_anything_is_submitted(tiny_cohort):
    with pytest.raises(RunError, match="does not exist"):
        submitted(tiny_cohort, "predict", {"run": "none"}, engine="local")
    requests.train(requests.TrainRequest(cohort=str(tiny_cohort.folder), **TRAINING), Watch())
    with pytest.raises(RunError, match="has finished already"):
        submitted(tiny_cohort, engine="local")


def test_a_training_of_a_cohort_without_drawn_slices_is_refused_before_it_waits_in_a_queue(tiny_cohort):
    undrawn = Cohort.create(tiny_cohort.folder.parent / "undrawn", "undrawn", {1: "ball"})
    undrawn.add_case("a", *tiny_cohort.image("a"))
    with pytest.raises(BadInputError, match="No slice of the cohort 'undrawn' has been drawn yet"):
        submitted(undrawn, engine="local")
    with pytest.raises(BadInputError, match="No slice of 'a' has been drawn yet"):
        submitted(undrawn, request={**TRAINING, "cases": ["a"]}, engine="local")
    assert not (undrawn.state_folder / "jobs" / "1").exists()


def test_a_run_that_was_planned_is_checked_before_it_waits_in_a_queue(tiny_cohort):
    requests.plan_training(requests.PlanTrainingRequest(cohort=str(tiny_cohort.folder), **TRAINING), Watch())
    image, geometry = tiny_cohort.image("a")
    write_image(tiny_cohort.image_path("a"), image + 1, geometry)
    with pytest.raises(BadInputError, match="'a' is not the one that was drawn on"):
        submitted(tiny_cohort, request={"run": TRAINING["run"]}, engine="local")
    run = RunFolder(tiny_cohort.run_folder(TRAINING["run"]))
    run.write_plan(replace(run.plan(), is_live=True))
    with pytest.raises(BadInputError, match="nobody to stop it"):
        submitted(tiny_cohort, request={"run": TRAINING["run"]}, engine="local")
    assert not (tiny_cohort.state_folder / "jobs" / "1").exists()


def test_jobs_that_do_not_exist_are_named(tiny_cohort, capsys):
    folder = str(tiny_cohort.folder)
    for arguments in (["jobs", folder, "7"], ["logs", folder, "7"], ["cancel", folder, "7"]):
        assert main(arguments) == 1
        assert "no job '7'" in capsys.readouterr().err
    job, _record = made_up(tiny_cohort, 2)
    assert main(["logs", folder, "1", "--part", "2"]) == 1
    assert "its parts are 0 to 1" in capsys.readouterr().err
    assert main(["job", str(job.path), "--part", "5"]) == 1
    assert "has no part 5" in capsys.readouterr().err
    assert main(["job", folder]) == 1
    assert "job.json' does not exist" in capsys.readouterr().err


def test_the_scratch_folder_must_be_a_path_on_the_node(tiny_cohort):
    _job, record = made_up(tiny_cohort, 1)
    for place in ("$NOT_SET_ANYWHERE/x", "here"):
        with (
            pytest.raises(BadInputError, match="is not a whole path on this node"),
            part_process._scratch_folder(replace(record, scratch=place), 0),
        ):
            pass


def finished(cohort, *outcomes):
    """A made-up prediction with these outcomes that has ended."""
    job, record = made_up(cohort, 1)
    for outcome in outcomes:
        job.part(0).add_case(outcome)
    job.part(0).write_status(PartStatus("finished"))
    log = job.log_folder / f"{record.cluster_ids[0]}_0_log.out"
    log.parent.mkdir()
    log.write_text("".join(f"line {number}\n" for number in range(300)))
    return job


def test_watching_and_following_end_with_the_job(tiny_cohort, capsys, monkeypatch):
    folder = str(tiny_cohort.folder)
    job = finished(tiny_cohort, CaseOutcome("p0"), CaseOutcome("q0"))
    status = job.part(0).status()
    looks = []

    def queue_entries(ids):
        looks.append(ids)
        if len(looks) == 3:
            job.part(0).write_status(status)
        return {number: QueueEntry("RUNNING") for number in ids}

    monkeypatch.setattr("SparseAnnotateLib.worker.jobs.states.queue_entries", queue_entries)
    monkeypatch.setattr("SparseAnnotateLib.command_line.job_commands._WATCH_SECONDS", 0.01)
    monkeypatch.setattr("SparseAnnotateLib.command_line.job_commands._FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr("SparseAnnotateLib.command_line.job_commands._STATE_SECONDS", 0.02)
    job.part(0).write_status(PartStatus("running"))
    assert main(["jobs", folder, "--watch"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("running") < shown.index("finished")
    looks.clear()
    job.part(0).write_status(PartStatus("running"))
    assert main(["logs", folder, "1", "--follow", "--lines", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["line 298", "line 299", "2 of 2 cases are labeled."]
    assert main(["logs", folder, "1", "--follow", "--lines", "0"]) == 1
    assert "Ask for at least one line of the log." in capsys.readouterr().err
    assert main(["logs", folder, "1", "--follow", "--json"]) == 1
    assert "JSON is written once, at the end" in capsys.readouterr().err
    assert main(["logs", folder, "1", "--lines", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == "line 299"


@needs_posix_signals
@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_part_that_is_stopped_before_it_starts_does_nothing(tiny_cohort, is_cancelled):
    job, record = made_up(tiny_cohort, 1, "local")
    if is_cancelled:
        job.cancel()
    part = part_process._Part(job, record, 0, [] if is_cancelled else [signal.SIGTERM], None)
    assert part.run() == 1
    assert job.part(0).status().stage == ("cancelled" if is_cancelled else "waiting")


def test_a_part_that_has_ended_is_not_done_again_when_another_one_is_continued(tiny_cohort):
    job, record = made_up(tiny_cohort, 2, "local")
    for number, stage in enumerate(("finished", "failed")):
        job.part(number).write_status(PartStatus(stage))
        assert part_process._Part(job, record, number, [], None).run(not_again=True) == number


def test_a_job_has_as_many_threads_as_cores_and_the_gpus_of_the_user(tiny_cohort, monkeypatch):
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    _job, record = made_up(tiny_cohort, 1, "local")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # by submitit
    assert "CUDA_VISIBLE_DEVICES" not in part_process.child_environment(record)
    assert part_process.child_environment(replace(record, visible_gpus="1"))["CUDA_VISIBLE_DEVICES"] == "1"
    shared = replace(record, engine="slurm", cpus=8, gpus=2)
    assert part_process.child_environment(shared)["OMP_NUM_THREADS"] == "4"
    assert part_process.child_environment(shared)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_submission_inherits_no_limits_of_the_job_that_it_comes_from():
    own = {"SLURM_MEM_PER_NODE": "10", "SLURM_CONF": "/a", "SUBMITIT_PREEMPT_SIGNAL": "USR1", "PATH": "/b"}
    found = submission._environment(own)
    assert found.pop("PYTHONPATH", None) is not None
    assert found == {"SLURM_CONF": "/a", "PATH": "/b"}


def test_the_cache_can_be_on_another_disk(tiny_cohort, tmp_path, monkeypatch):
    usual = tiny_cohort.cache_folder
    assert usual == tiny_cohort.state_folder / "cache"
    monkeypatch.setenv("SPARSE_ANNOTATE_CACHE", str(tmp_path / "disk"))
    assert tiny_cohort.cache_folder.parent == tmp_path / "disk"
    other = Cohort.open(tiny_cohort.folder, tmp_path / "other" / tiny_cohort.state_folder.name)
    assert other.cache_folder != tiny_cohort.cache_folder
