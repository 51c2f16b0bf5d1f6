"""Python loads this at its start in the jobs of tests: the folder is on their PYTHONPATH.

`JOB_TEST_GATES` names steps at which a training waits until it is asked to stop, once each; the folder for their marks
comes first. With `JOB_TEST_BARE_NODE` a job finds neither a name for its user nor a file system with locks.
`JOB_TEST_WARM` names the process that forks, see `warm_worker`: the work of the job is done by a fork.
"""

import os
import sys

if "SparseAnnotateLib.command_line" in sys.orig_argv and "job" in sys.orig_argv and "JOB_TEST_WARM" in os.environ:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import warm_worker

    os._exit(warm_worker.ask(os.environ.pop("JOB_TEST_WARM"), sys.orig_argv[sys.orig_argv.index("job") :]))

if os.environ.get("JOB_TEST_BARE_NODE"):
    import errno
    import fcntl
    import pwd

    def no_name(number):
        raise KeyError(number)

    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    pwd.getpwuid = no_name
    fcntl.flock = no_locks


def wait_at_gates(folder, gates):
    """Let a training wait when it has written the figures of one of these steps, until a signal comes."""
    import signal
    import time

    from SparseAnnotateLib.runs.run_folder import RunFolder

    add_metrics = RunFolder.add_metrics

    def and_wait(self, role, iteration, **figures):
        add_metrics(self, role, iteration, **figures)
        mark = os.path.join(folder, f"step_{iteration}")
        if iteration not in gates or "loss" not in figures or os.path.exists(mark):
            return
        seen = []
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            usual = signal.getsignal(number)

            def pass_on(number, frame, usual=usual):
                seen.append(number)
                usual(number, frame)

            signal.signal(number, pass_on)
        open(mark, "w").close()
        while not seen:
            time.sleep(0.02)

    RunFolder.add_metrics = and_wait


if os.environ.get("JOB_TEST_GATES") and "job" in sys.orig_argv:
    folder, *gates = os.environ["JOB_TEST_GATES"].split(os.pathsep)
    wait_at_gates(folder, {int(gate) for gate in gates})
