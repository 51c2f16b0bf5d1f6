"""A real Slurm on this computer, for tests: munge, a controller and one node, in a temporary folder on free ports."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from system_needs import program

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
PACKAGES = "slurmctld slurmd munge"
_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,batch_sched_delay=0,sched_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={kill_seconds}
MinJobAge=600
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=6000 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 DefMemPerNode=1500 MaxTime=INFINITE
PartitionName=high Nodes={host} PriorityTier=10 DefMemPerNode=1500 MaxTime=INFINITE
"""


class SlurmCluster:
    """Starts the daemons; `environment` is what makes Slurm's commands find them. `stop` ends everything."""

    def __init__(self, folder: Path, kill_seconds: int = 20):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        facts = {"host": host, "user": getpass.getuser(), "folder": folder, "ports": free_ports(2)}
        (folder / "slurm.conf").write_text(_CONFIGURATION.format(**facts, kill_seconds=kill_seconds))
        for number in range(2):
            (folder / f"gpu{number}").touch()
        (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{name}={folder}/munge.{name}" for name in ("socket",)]
        files += [f"--key-file={key}", f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log"]
        self._start("munged", "--foreground", "--force", f"--seed-file={folder}/munge.seed", *files)
        self._wait_for(lambda: (folder / "munge.socket").exists(), "munge.log")
        self._start("slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        self._start("slurmd", "-D", "-N", host, "-f", str(folder / "slurm.conf"))
        self._wait_for(lambda: self.asked("sinfo", "--noheader", "--format=%T").startswith("idle"), "slurmctld.log")

    def asked(self, *command: str) -> str:
        """What one of Slurm's commands prints; '' when it fails."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else ""

    def state(self, job: str) -> str:
        """What `squeue` says of a job, such as 'PENDING BeginTime'."""
        return self.asked("squeue", "--states=all", "--noheader", "--format=%T %r", f"--jobs={job}")

    def end_jobs(self) -> None:
        """End all jobs."""
        ours = f"--user={getpass.getuser()}"
        for _ in range(600):
            if not self.asked("squeue", "--noheader", "--states=PENDING,RUNNING,SUSPENDED"):
                return
            # Their processes first: `scancel` alone lets them save what they have.
            self.asked("scancel", "--quiet", "--signal=KILL", "--full", "--state=RUNNING", ours)
            self.asked("scancel", "--quiet", ours)
            time.sleep(0.1)

    def preempt(self) -> None:
        """Submit a short job that takes the whole node from the jobs of the partition 'low'."""
        self.asked("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")

    def start_now(self, job: str) -> None:
        """Let a job that was queued again start at once; Slurm would wait for two minutes."""
        self.asked("scontrol", "update", f"JobId={job}", "StartTime=now")

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        self.end_jobs()
        # What watches over a job on the node ends only once it has told the controller.
        deadline = time.monotonic() + 10
        while self.asked("squeue", "--noheader", "--states=COMPLETING") and time.monotonic() < deadline:
            time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(3)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for number in self._watchers():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _watchers(self) -> list[int]:
        """The processes of this Slurm that watch over jobs and have outlived it."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if not (process / "cmdline").read_bytes().startswith(b"slurmstepd"):
                    continue
                # It writes into the node's log.
                if any(os.readlink(file).startswith(str(self.folder)) for file in (process / "fd").iterdir()):
                    found.append(int(process.name))
        return found

    def _start(self, name: str, *arguments: str) -> None:
        command = [program(name) or name, *arguments]
        with open(self.folder / f"{name}.out", "wb") as out:
            daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **self.environment}
            )
        self._daemons.append(daemon)

    def _wait_for(self, is_ready, log: str) -> None:
        deadline = time.monotonic() + 60
        while not is_ready():
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                paths = [self.folder / log, *self.folder.glob("*.out")]
                texts = [path.read_text(errors="replace") for path in paths if path.is_file()]
                for daemon in self._daemons:
                    daemon.kill()
                raise RuntimeError("Slurm did not start:\n" + "\n".join(texts))
            time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
