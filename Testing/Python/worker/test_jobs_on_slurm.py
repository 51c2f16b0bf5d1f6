"""Jobs on a real Slurm: trainings that are preempted, predictions in parts, jobs that are killed or cancelled."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace

import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Plane, SparseAnnotation, Watch
from SparseAnnotateLib.core.origin import run_fingerprint
from SparseAnnotateLib.core.strict_json import to_plain
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.jobs.left_cases import left_cases
from SparseAnnotateLib.worker.jobs.records import JobFolder
from SparseAnnotateLib.worker.jobs.requests import SubmitRequest

STEPS = 12
TRAINING = {"run": "r", "device": "cpu", "changes": {**QUICK_TRAINING, "iterations": STEPS, "checkpoint_every": 1000}}
PATIENCE = 300


def submitted(cohort, what, request, **options):
    return requests.submit(SubmitRequest(str(cohort.folder), what, request, **options), Watch())


def state_of(cohort, job):
    (state,) = requests.jobs(requests.JobsRequest(str(cohort.folder), ids=(job,)), Watch())
    return state


def until(is_so, what):
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := is_so()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
    return found


def ended(cohort, job):
    """The state of a job once it has ended."""

    def log():
        return requests.job_log(requests.JobLogRequest(str(cohort.folder), job), Watch())

    until(lambda: not state_of(cohort, job).is_live, log)
    return state_of(cohort, job)


def weights_of(cohort, run):
    return cohort.run_folder(run).joinpath("3d", "weights.safetensors").read_bytes()


def trained(cohort, run, **changes):
    settings = to_plain({**QUICK_TRAINING, **changes})
    requests.train(requests.TrainRequest(cohort=str(cohort.folder), run=run, changes=settings, device="cpu"), Watch())


def test_a_training_that_is_preempted_and_reaches_its_time_limit_ends_as_one_without_a_cluster(
    slurm, tiny_cohort, tmp_path, in_jobs
):
    marks = tmp_path / "marks"
    marks.mkdir()
    in_jobs("JOB_TEST_GATES", os.pathsep.join([str(marks), "3", "5", "7", "9"]))
    job = submitted(tiny_cohort, "train", TRAINING, partition="low", memory_gb=1.5)
    (number,) = job.cluster_ids
    interruptions = {
        **dict.fromkeys((3, 5, 7), slurm.preempt),
        # This is what submitit has Slurm send before the time limit.
        9: lambda: slurm.asked("scancel", "--signal=USR2", number),
    }
    for step, interrupt in interruptions.items():
        until((marks / f"step_{step}").exists, lambda: state_of(tiny_cohort, job.id))
        assert state_of(tiny_cohort, job.id).state == "running"
        interrupt()
        until(lambda: "BeginTime" in slurm.state(number), lambda: slurm.state(number))
        waiting = state_of(tiny_cohort, job.id)
        assert waiting.state == "waiting"
        assert "BeginTime" in waiting.message
        slurm.start_now(number)
    state = ended(tiny_cohort, job.id)
    assert state.state == "finished"
    assert "interrupted 4 times" in state.message
    assert state.metrics["iteration"] == STEPS
    trained(tiny_cohort, "whole", iterations=STEPS, checkpoint_every=1000)
    assert weights_of(tiny_cohort, "r") == weights_of(tiny_cohort, "whole")
    metrics = [RunFolder(tiny_cohort.run_folder(run)).metrics() for run in ("r", "whole")]
    assert metrics[0] == metrics[1]


def test_several_gpus_of_a_node_train_together(slurm, tiny_cohort):
    request = {**TRAINING, "changes": {**QUICK_TRAINING, "iterations": 2}}
    job = submitted(tiny_cohort, "train", request, gpus=2, memory_gb=3)
    state = ended(tiny_cohort, job.id)
    assert state.state == "finished", requests.job_log(requests.JobLogRequest(str(tiny_cohort.folder), job.id), Watch())
    assert RunFolder(tiny_cohort.run_folder("r")).card().last.iterations == 2
    assert "gpu:2" in slurm.asked("squeue", "--states=all", "--noheader", "--format=%b", f"--jobs={job.cluster_ids[0]}")


def test_many_cases_are_labeled_in_parts_and_only_what_is_missing_is_done_again(slurm, tiny_cohort, in_jobs):
    labels = ball((16, 18, 34), 7.0)
    for name in "bcd":
        tiny_cohort.add_case(name, noisy_image(labels), tiny_cohort.geometry("a"))
    trained(tiny_cohort, "r", iterations=2)
    image = tiny_cohort.image_path("c")
    intact = image.read_bytes()
    image.write_bytes(b"not an image")
    request = {"run": "r", "device": "cpu"}
    job = submitted(tiny_cohort, "predict", request, cases_per_job=2)
    assert len(job.cluster_ids) == 2
    again = submitted(tiny_cohort, "predict", request, cases_per_job=2)
    assert again.id == job.id
    assert "already labeling" in again.message
    state = ended(tiny_cohort, job.id)
    assert state.state == "failed"
    assert (state.parts, state.parts_ended) == (2, 2)
    assert "3 of 4 cases are labeled. 1 case was not labeled: 'c':" in state.message
    made = {name: tiny_cohort.prediction_path("r", name) for name in "abd"}
    before = {name: path.stat().st_mtime_ns for name, path in made.items()}
    image.write_bytes(intact)
    job = submitted(tiny_cohort, "predict", request, cases_per_job=2)
    assert len(job.cluster_ids) == 1
    state = ended(tiny_cohort, job.id)
    assert state.state == "finished"
    assert state.message == "1 of 1 cases are labeled. 3 cases had been labeled before."
    assert {name: path.stat().st_mtime_ns for name, path in made.items()} == before
    assert tiny_cohort.prediction_path("r", "c").is_file()
    done = submitted(tiny_cohort, "predict", request)
    assert (done.id, done.message) == ("", "All 4 cases have been labeled before.")
    # A result of another prediction in the same place is no result of this one; nor is one of an older drawing.
    os.utime(made["b"])
    drawn = SparseAnnotation.from_slices(labels, tiny_cohort.geometry("d"), Plane.AXIAL, [8])
    tiny_cohort.save_annotation("d", drawn)
    content = run_fingerprint(tiny_cohort.run_folder("r"))
    found = left_cases(tiny_cohort, requests.PredictRequest(cohort="", **request), content)
    assert (found.left, found.labeled, found.being_done) == (("b", "d"), ("a", "c"), {})
    other = requests.PredictRequest(cohort="", **request, flips=True)
    assert left_cases(tiny_cohort, other, content).labeled == ()


def test_a_job_that_is_killed_for_memory_says_how_much_it_had(slurm, tiny_cohort):
    job = submitted(tiny_cohort, "train", TRAINING, memory_gb=0.06)
    state = ended(tiny_cohort, job.id)
    assert state.state == "failed"
    assert "memory" in state.message
    assert "0.06" in state.message
    assert "start it again" in state.message


def test_a_run_has_one_job_which_can_be_cancelled_and_submitted_again(slurm, tiny_cohort):
    waiting = submitted(tiny_cohort, "train", TRAINING, slurm_options={"hold": ""})
    assert "JobHeld" in state_of(tiny_cohort, waiting.id).message
    again = submitted(tiny_cohort, "train", TRAINING)
    assert (again.id, again.cluster_ids) == (waiting.id, waiting.cluster_ids)
    assert "already training" in again.message
    (state,) = requests.cancel_jobs(requests.CancelJobsRequest(str(tiny_cohort.folder), (waiting.id,)), Watch())
    assert state.state == "cancelled"
    running = submitted(tiny_cohort, "train", TRAINING)
    assert running.id != waiting.id
    until(lambda: state_of(tiny_cohort, running.id).state == "running", lambda: state_of(tiny_cohort, running.id))
    requests.cancel_jobs(requests.CancelJobsRequest(str(tiny_cohort.folder), (running.id,)), Watch())
    state = ended(tiny_cohort, running.id)
    assert state.state == "cancelled"
    until(lambda: slurm.state(running.cluster_ids[0]).startswith("CANCELLED"), lambda: slurm.state(""))
    # Asked about again, and cancelled again, it stays as it is.
    assert requests.cancel_jobs(requests.CancelJobsRequest(str(tiny_cohort.folder), (running.id,)), Watch()) == [state]


def test_a_job_whose_submitter_was_killed_before_it_could_write_the_number_is_found_in_slurm(slurm, tiny_cohort):
    submitted(tiny_cohort, "train", {**TRAINING, "run": "another"}, slurm_options={"hold": ""})
    job = submitted(tiny_cohort, "train", TRAINING, slurm_options={"hold": ""})
    folder = JobFolder(tiny_cohort.state_folder / "jobs" / job.id)
    folder.submission_path.unlink()
    folder.write_record(replace(folder.record(), cluster_ids=()))
    made = time.time() - 3600  # long ago
    os.utime(folder.record_path, (made, made))
    state = state_of(tiny_cohort, job.id)
    assert (state.state, state.cluster_ids) == ("waiting", job.cluster_ids)
    again = submitted(tiny_cohort, "train", TRAINING)
    assert (again.id, again.cluster_ids) == (job.id, job.cluster_ids)
    requests.cancel_jobs(requests.CancelJobsRequest(str(tiny_cohort.folder), (job.id,)), Watch())
    until(lambda: slurm.state(job.cluster_ids[0]).startswith("CANCELLED"), lambda: slurm.state(""))


def test_a_job_that_ends_without_a_word_is_reported_with_what_slurm_says(slurm, tiny_cohort):
    job = submitted(tiny_cohort, "train", TRAINING)
    until(lambda: state_of(tiny_cohort, job.id).state == "running", lambda: state_of(tiny_cohort, job.id))
    os.kill(JobFolder(tiny_cohort.state_folder / "jobs" / job.id).part(0).status().process, signal.SIGKILL)
    state = ended(tiny_cohort, job.id)
    assert state.state == "failed"
    assert "Slurm says FAILED (NonZeroExitCode)" in state.message
    assert "start it again to continue" in state.message


def test_what_is_asked_of_slurm_is_in_the_batch_script(slurm, tiny_cohort):
    options = {"hold": "", "nice": "7"}
    resources = {"gpus": 1, "cpus": 2, "memory_gb": 1.5, "hours": 8, "partition": "low", "account": "lab", "qos": "q"}
    job = submitted(tiny_cohort, "train", TRAINING, slurm_options=options, **resources)
    (script,) = (tiny_cohort.state_folder / "jobs" / job.id / "log").glob("*_submission.sh")
    lines = script.read_text().splitlines()
    wanted = "time=480 signal=USR2@90 requeue cpus-per-task=2 mem=1536MB gpus-per-node=1 partition=low account=lab"
    assert {f"#SBATCH --{option}" for option in f"{wanted} qos=q hold nice=7".split()} <= set(lines)
    (start,) = [line for line in lines if line.startswith("srun")]
    assert "--cpus-per-task=2" in start


def test_what_sbatch_says_is_shown_and_nothing_is_left(slurm, tiny_cohort, capsys):
    arguments = ["submit", "train", str(tiny_cohort.folder), "--run", "r", "--slurm-partition", "nowhere", "--json"]
    assert main(arguments) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert re.search(r"submitted\. sbatch: error: invalid partition specified: nowhere; Batch .* specified\.$", error)
    assert list((tiny_cohort.folder / "jobs").glob("[0-9]*")) == []
    with pytest.raises(BadInputError, match="Invalid feature specification"):
        submitted(tiny_cohort, "train", TRAINING, slurm_options={"constraint": "a100"})


def test_a_slurm_that_does_not_answer_is_reported(slurm, tiny_cohort, tmp_path, monkeypatch):
    job = submitted(tiny_cohort, "train", TRAINING, slurm_options={"hold": ""})
    for name in ("squeue", "scancel"):
        silent = tmp_path / "bin" / name
        silent.parent.mkdir(exist_ok=True)
        silent.write_text("#!/bin/sh\necho slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1\n")
        silent.chmod(0o755)
    with monkeypatch.context() as without_controller:
        without_controller.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        state = state_of(tiny_cohort, job.id)
        assert state.state == "waiting"
        assert "Slurm does not answer: slurm_load_jobs error: Unable to contact slurm controller." in state.message
        with pytest.raises(BadInputError, match="will stop, but Slurm does not answer"):
            requests.cancel_jobs(requests.CancelJobsRequest(str(tiny_cohort.folder), (job.id,)), Watch())
    # It was to be cancelled: it does nothing, even if Slurm starts it.
    slurm.asked("scontrol", "release", job.cluster_ids[0])
    assert ended(tiny_cohort, job.id).state == "cancelled"
    assert not tiny_cohort.run_folder("r").exists()
