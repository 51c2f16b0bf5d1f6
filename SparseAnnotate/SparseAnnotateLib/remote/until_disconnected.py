"""Run a program for as long as the connection that it was started through lasts; runs on a host as a file of its own.

`python until_disconnected.py PROGRAM ARGUMENTS`: what comes in on stdin goes to the program. `srun` alone would stay in
Slurm's queue when nobody waits for it any more, and take a GPU then.
"""

import os
import signal
import subprocess
import sys
import threading

LAST_SECONDS = (5.0, 10.0)  # to end by itself, and when asked to


def main(words: list[str]) -> int:
    """Run a program until it ends, or stdin does; returns its exit code, as a shell would."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return 127
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        signal.signal(getattr(signal, name), lambda _number, _frame: process.terminate())
    threading.Thread(target=_pass_on, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _pass_on(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    try:
        while content := os.read(0, 1 << 16):
            process.stdin.write(content)
            process.stdin.flush()
        process.stdin.close()
    except OSError:
        return  # it has ended
    for seconds, end in zip(LAST_SECONDS, (process.terminate, process.kill), strict=True):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
