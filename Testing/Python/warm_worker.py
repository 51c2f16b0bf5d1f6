"""Worker processes that start at once, for tests that are about something else than how a worker starts.

Importing PyTorch and MONAI costs each new worker several seconds. Here one process imports them, once, and forks when
a worker is asked for. What the tested code starts in place of the worker is this file as a program: it hands its three
streams, its folder and its environment to a fork, waits for the fork's end and ends in the same way. When the program
is killed, the fork ends too, before another worker starts. Everything else is as it is with a worker of its own: the
streams, the messages, the end when stdin is closed.

Jobs can do the same with the command line that they start; see `in_jobs/sitecustomize.py`.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys

if __name__ != "__main__":
    import subprocess
    import uuid

    from SparseAnnotateLib.client import LIBRARY_FOLDER, worker_command


class WarmWorkers:
    """Stands in for `worker_command`; the process that forks is started when it is first needed, `close` ends it."""

    def __init__(self):
        self.is_wanted = True
        self._name = f"warm-worker-{uuid.uuid4().hex}"
        self._process: subprocess.Popen | None = None

    def worker_command(self, python: str | None = None, in_background: bool = False) -> list[str]:
        """The command line of a worker: that of a fork, unless another Python or a worker of its own is wanted."""
        usual = worker_command(python, in_background)
        is_measured = "COVERAGE_PROCESS_CONFIG" in os.environ  # coverage is informed of a process when it starts
        if not self.is_wanted or usual[0] != sys.executable or is_measured or not sys.platform.startswith("linux"):
            return usual
        self.start()
        # Without environment variables and installed packages it starts in a few milliseconds.
        return [sys.executable, "-ES", __file__, "ask", self._name]

    def for_jobs(self) -> dict[str, str]:
        """Environment variables with which the work of jobs is done by forks; none where that cannot be."""
        if "COVERAGE_PROCESS_CONFIG" in os.environ or not sys.platform.startswith("linux"):
            return {}
        self.start()
        return {"JOB_TEST_WARM": self._name}

    def start(self) -> None:
        """Start the process that forks; takes seconds, once."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "fork", self._name],
                cwd=LIBRARY_FOLDER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End the process that forks."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()


def address(name: str) -> str:
    """A socket of Linux that needs no file."""
    return f"\0{name}"


def ask(name: str, arguments: list[str] | None = None) -> int:
    """Be a worker, or the command line with these arguments.

    The fork has this process's streams, it gets the SIGTERM of this process, and its exit code becomes the one of this.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address(name))
    if arguments is not None:
        signal.signal(signal.SIGTERM, lambda number, _frame: connection.send(bytes([number])))
    state = json.dumps({"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}).encode()
    streams = array.array("i", [0, 1, 2])
    connection.sendmsg([len(state).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    connection.sendall(state)
    # The fork alone holds the streams now, so that they end with it.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    code = int.from_bytes(connection.recv(8), "big", signed=True)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(name: str) -> None:
    """Import what workers need, and fork a worker for each connection until stdin ends."""
    import_all()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address(name))
    listener.listen()
    print("ready", flush=True)
    children: dict[int, socket.socket] = {}
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        for number, asked in list(children.items()):
            # What is left of a killed worker must not be in the way of this one, as nothing is left of a real one.
            if os.waitpid(number, 0 if is_gone(asked) else os.WNOHANG)[0]:
                children.pop(number).close()
        number = os.fork()
        if number == 0:
            for other in (listener, *children.values()):
                other.close()
            os._exit(supervise(connection))
        children[number] = connection


def is_gone(connection: socket.socket) -> bool:
    """Whether the program at the other end has ended."""
    asked = select.poll()
    asked.register(connection, 0)  # the end is always reported
    return bool(asked.poll(0))


def import_all() -> None:
    import importlib
    import pkgutil

    sys.path.insert(0, os.getcwd())
    for name in ("SparseAnnotateLib.learning", "SparseAnnotateLib.worker"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def supervise(connection: socket.socket) -> int:
    """Fork the worker, and report how it ended."""
    length, rights, *_ = connection.recvmsg(8, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i", rights[0][2])
    state = json.loads(connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    number = os.fork()
    if number == 0:
        work(connection, streams, state)
    for stream in (0, 1, 2):
        os.close(stream)
    for stream in streams:
        os.close(stream)
    ends = select.poll()
    ends.register(os.pidfd_open(number), select.POLLIN)
    ends.register(connection, 0)  # the end of the program is always reported
    ends.poll()
    if is_gone(connection):
        os.kill(number, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    try:
        connection.sendall(code.to_bytes(8, "big", signed=True))
    except OSError:
        return 1  # the program was killed
    return 0


def work(connection: socket.socket, streams: array.array, state: dict) -> None:
    """Be the worker, in the program's folder and environment."""
    import threading

    def pass_signals_on() -> None:
        while number := connection.recv(1):
            os.kill(os.getpid(), number[0])

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(state["folder"])
    os.environ.clear()
    os.environ.update(state["environment"])
    threading.Thread(target=pass_signals_on, daemon=True).start()
    if state["arguments"] is not None:
        os._exit(command_line(state["arguments"]))
    from SparseAnnotateLib.worker.server import main

    main()
    os._exit(0)


def command_line(arguments: list[str]) -> int:
    """Do what the command line does with these arguments, in a job of a test."""
    import runpy

    from SparseAnnotateLib.command_line.main import main

    sys.orig_argv = ["-m", "SparseAnnotateLib.command_line", *arguments]
    runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "in_jobs", "sitecustomize.py"))
    try:
        return main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    _, action, name = sys.argv
    sys.exit(ask(name) if action == "ask" else serve(name))
