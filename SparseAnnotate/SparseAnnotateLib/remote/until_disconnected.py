"""Run a program for as long as the connection that it was started through lasts; runs on a host as a file of its own.

`python until_disconnected.py PROGRAM ARGUMENTS`: what comes in on stdin goes to the program. `srun` alone would stay in
Slurm's queue when nobody waits for it any more, and take a GPU then.
"""

import os
import queue
import select
import signal
import subprocess
import sys
import threading

LAST_SECONDS = (5.0, 10.0)  # to end by itself, and when asked to
SILENCE_SECONDS, LOOKS = 30.0, 20
ALIVE = b'"alive"'  # in what the other computer sends every few seconds


def main(words: list[str]) -> int:
    """Run a program until it ends, or stdin does; returns its exit code, as a shell would."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return 127
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        signal.signal(getattr(signal, name), lambda _number, _frame: process.terminate())
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, waiting), daemon=True).start()
    threading.Thread(target=_pass_on, args=(process, waiting), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _read(process: "subprocess.Popen[bytes]", waiting: "queue.SimpleQueue[bytes]") -> None:
    """Read stdin also while the program does not: its end is the end of the connection, and of the program.

    So is silence: a connection that is cut off may stay open here.
    """
    content, is_watched, looks = b" ", False, 0
    while content and looks < LOOKS:
        try:
            if not select.select([0], [], [], SILENCE_SECONDS / LOOKS)[0]:
                looks += is_watched
                continue
            content = os.read(0, 1 << 16)
        except OSError:
            content = b""
        looks, is_watched = 0, is_watched or ALIVE in content
        waiting.put(content)
    waiting.put(b"")
    for seconds, end in zip(LAST_SECONDS, (process.terminate, process.kill), strict=True):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            end()


def _pass_on(process: "subprocess.Popen[bytes]", waiting: "queue.SimpleQueue[bytes]") -> None:
    assert process.stdin is not None
    try:
        while content := waiting.get():
            process.stdin.write(content)
            process.stdin.flush()
        process.stdin.close()
    except OSError:
        return  # it has ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
