"""A host with Slurm, a real one behind a real SSH server: trainings are jobs of Slurm, requests go through `srun`."""

from __future__ import annotations

import time

import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import CancelledError, RunError, Watch
from SparseAnnotateLib.remote.hosts import Host, keep_host
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.runs.run_folder import RunFolder
from ssh_server import SshServer, needs_ssh_server

pytest.importorskip("submitit")
pytestmark = needs_ssh_server


@pytest.fixture(scope="module")
def running_server(tmp_path_factory, slurm_cluster):
    """Whoever logs in there finds Slurm, as on a login node."""
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    server.start(SetEnv=" ".join(f"{name}={value}" for name, value in slurm_cluster.environment.items()))
    yield server
    server.stop()


@pytest.fixture
def relay(server, slurm, folder_there, warm_python_there):
    """To a host that starts the worker with `srun`, and whose trainings ask for a GPU of the partition 'low'."""
    host = Host(
        server.host,
        prefix="srun --gres=gpu:1 --mem=1500",
        python=warm_python_there,
        folder=str(folder_there),
        as_is=True,
        job={"partition": "low", "gpus": 1, "hours": 1.0},
    )
    keep_host(host)
    relay = Relay(host.name, is_allowed=True)
    yield relay
    relay.close()


def queue(slurm) -> list[str]:
    """Names, resources and states of all jobs, the oldest first."""
    command = ("squeue", "--states=all", "--noheader", "--sort=i", "--format=%j %b %P %T")
    return slurm.asked(*command).splitlines()


def until(is_so, what):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def test_a_training_is_a_job_of_slurm_there_and_requests_go_through_the_prefix(relay, slurm, tiny_cohort):
    asked = {"cohort": str(tiny_cohort.folder), "run": "r"}
    reports: list[str] = []
    changes = {**QUICK_TRAINING, "iterations": 2, "device": "cpu"}
    card = relay.answer("train", {**asked, "changes": changes}, Watch(lambda p: reports.append(p.message)))
    assert card["models"][0]["iterations"] == 2
    assert RunFolder(tiny_cohort.run_folder("r")).is_finished
    assert any("trains the run 'r' on Slurm" in report for report in reports)
    (job,) = queue(slurm)
    assert job.startswith("train-r gres:gpu:1 low ")
    # The worker's node is busy: what `srun` says is shown, and cancelling takes the request out of the queue.
    slurm.asked("sbatch", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
    until(lambda: queue(slurm)[-1].endswith("RUNNING"), lambda: queue(slurm))
    watch = Watch(lambda p: watch.cancel() if "queued and waiting" in p.message else reports.append(p.message))
    with pytest.raises(CancelledError):
        relay.answer("predict", {**asked, "device": "cpu"}, watch)
    assert len(queue(slurm)) == 3
    until(lambda: queue(slurm)[-1].endswith("CANCELLED"), lambda: queue(slurm))
    slurm.end_jobs()
    (row,) = relay.answer("predict", {**asked, "device": "cpu"}, Watch())
    assert row["path"] == str(tiny_cohort.prediction_path("r", "a"))
    assert queue(slurm)[-1].split()[1::2] == ["gres:gpu:1", "RUNNING"]
    relay.close()
    until(lambda: queue(slurm)[-1].endswith("COMPLETED"), lambda: queue(slurm))


def test_a_slice_is_not_waited_for_while_the_worker_waits_in_the_queue(relay, slurm, tiny_cohort):
    slurm.asked("sbatch", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
    until(lambda: queue(slurm)[-1].endswith("RUNNING"), lambda: queue(slurm))
    asked = {"cohort": str(tiny_cohort.folder), "run": "live"}
    answers: list[str] = []

    def ask(progress) -> None:
        if "queued and waiting" in progress.message:
            with pytest.raises(RunError, match="has not learned anything yet") as refused:
                relay.answer("slice", {**asked, "case": "a", "plane": "axial", "index": 1}, Watch())
            answers.append(refused.value.message)
            watch.cancel()

    watch = Watch(ask)
    with pytest.raises(CancelledError):
        relay.answer("train", {**asked, "live": True, "device": "cpu"}, watch)
    assert answers
    until(lambda: queue(slurm)[-1].endswith("CANCELLED"), lambda: queue(slurm))
