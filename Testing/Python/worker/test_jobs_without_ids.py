"""Jobs that Slurm may have taken although nobody knows their ids: their batch scripts are looked for in its queue."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.core.strict_json import to_plain
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.jobs import requests as job_requests
from SparseAnnotateLib.worker.jobs import slurm_queue
from SparseAnnotateLib.worker.jobs.records import JobFolder, JobRecord, new_job_folder, now
from SparseAnnotateLib.worker.jobs.slurm_queue import SlurmUnavailable, ids_of_scripts_in
from system_needs import needs_symbolic_links


class Squeue:
    """What `squeue` says: of all jobs of the user with their batch scripts, and of single ids."""

    def __init__(self, monkeypatch):
        self.scripts: dict[str, Path] = {}
        self.states: dict[str, str] = {}
        self.is_listed, self.listings = True, 0
        self.cancelled: list[str] = []
        monkeypatch.setattr(slurm_queue, "_lines", self._answer)

    def _answer(self, command):
        if command[0] == "scancel":
            self.cancelled += command[1:]
            return []
        if command[-1].startswith("--format"):
            self.listings += 1
            if not self.is_listed:
                raise SlurmUnavailable("squeue: error: Invalid user")
            return [f"{number}|{script}" for number, script in self.scripts.items()]
        return [f"{number}|{state}|None|1G" for number, state in self.states.items()]


@pytest.fixture
def squeue(monkeypatch):
    return Squeue(monkeypatch)


def made_up(cohort, ids=()):
    """The folder of a training that was handed to Slurm an hour ago."""
    job = new_job_folder(cohort)
    work = to_plain(requests.TrainRequest(str(cohort.folder), run="r"))
    job.write_record(JobRecord(job.path.name, "train", "r", "slurm", work, ((),), now(), ids))
    then = job.record_path.stat().st_mtime - 3600
    os.utime(job.record_path, (then, then))
    return job


def states_of(cohort):
    return requests.jobs(requests.JobsRequest(str(cohort.folder)), Watch())


@needs_symbolic_links
def test_scripts_are_found_in_a_folder_that_is_reached_through_a_link(squeue, tmp_path):
    (tmp_path / "there" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    squeue.scripts = {f"7_{number}": tmp_path / "link" / "logs" / "a.sh" for number in (10, 9)}
    squeue.scripts["8"] = tmp_path / "there" / "logs" / "b.sh"
    squeue.scripts["9"] = tmp_path / "another" / "b.sh"
    found = ids_of_scripts_in([tmp_path / "there" / "logs", tmp_path / "link" / "logs", tmp_path])
    assert found == [("7_9", "7_10", "8"), ("7_9", "7_10", "8"), ()]


def test_the_queue_is_listed_once_for_all_jobs_without_ids(squeue, tiny_cohort):
    for number in ("7", "8"):
        squeue.scripts[number], squeue.states[number] = made_up(tiny_cohort).log_folder / "a.sh", "PENDING"
    assert [(s.state, s.cluster_ids) for s in states_of(tiny_cohort)] == [("waiting", ("7",)), ("waiting", ("8",))]
    assert squeue.listings == 1


def test_a_queue_that_cannot_be_listed_hides_no_job_whose_id_is_known(squeue, tiny_cohort):
    unknown = made_up(tiny_cohort)
    made_up(tiny_cohort, ("7",))
    squeue.states["7"], squeue.is_listed = "SUSPENDED", False
    first, second = states_of(tiny_cohort)
    # Slurm may have taken it: this is not said to have failed, and not kept.
    assert (first.state, "Slurm does not answer: squeue: error: Invalid user." in first.message) == ("waiting", True)
    assert not unknown.ended_path.exists()
    assert (second.state, second.message) == ("waiting", "")
    squeue.states["7"] = "CANCELLED"
    assert [state.state for state in states_of(tiny_cohort)] == ["waiting", "cancelled"]
    squeue.is_listed = True
    assert states_of(tiny_cohort)[0].state == "failed"


def test_a_job_that_sbatch_took_without_an_answer_is_cancelled(squeue, tiny_cohort, monkeypatch):
    def hand_over(job, _options):
        squeue.scripts = {f"7_{number}": job.log_folder / "a.sh" for number in range(2)}
        squeue.scripts["8"] = Path("/another/a.sh")
        raise KeyboardInterrupt

    monkeypatch.setattr(job_requests, "chosen_engine", lambda _engine: "slurm")
    monkeypatch.setattr(job_requests, "hand_over", hand_over)
    request = {"run": "r", "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        requests.submit(job_requests.SubmitRequest(str(tiny_cohort.folder), "train", request), Watch())
    assert squeue.cancelled == ["7"]
    assert JobFolder(tiny_cohort.state_folder / "jobs" / "1").is_cancelled
