"""A program that is run for as long as the connection that it was started through lasts."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from SparseAnnotateLib.remote import until_disconnected
from system_needs import needs_posix_signals


@needs_posix_signals
@pytest.mark.parametrize("sent", [b'{"method": "alive"}\n', b"x"])
def test_a_connection_that_says_nothing_any_more_has_ended_if_it_said_that_it_is_alive(sent):
    with started("import time; time.sleep(3)", SILENCE_SECONDS=0.2) as process:
        process.stdin.write(sent)
        process.stdin.flush()
        assert process.wait(60) == (128 + signal.SIGTERM if b"alive" in sent else 0)


def started(code: str, **shorter) -> subprocess.Popen[bytes]:
    """A Python program in it, with much less time."""
    lines = "".join(f"one.{name}={seconds};" for name, seconds in shorter.items())
    start = f"import sys;sys.argv=['', sys.executable, '-c', {code!r}];"
    start += f"from SparseAnnotateLib.remote import until_disconnected as one;one.LAST_SECONDS=(0.3, 20.0);{lines}"
    words = [sys.executable, "-c", start + "sys.exit(one.main(sys.argv[1:]))"]
    folder = until_disconnected.__file__.partition("SparseAnnotateLib")[0]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)


def run(code: str, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program in it, with much less time to end, and send this before the connection is lost."""
    with started(code) as process:
        output, errors = process.communicate(sent, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@needs_posix_signals
@pytest.mark.parametrize("length", [100, 1_000_000])
def test_a_program_that_does_not_read_what_is_sent_ends_with_the_connection(length):
    assert run("import time; time.sleep(50)", b"x" * length).returncode == 128 + signal.SIGTERM


def test_all_that_is_sent_reaches_the_program_and_its_exit_code_is_returned():
    done = run("import sys; print(len(sys.stdin.buffer.read())); sys.exit(3)", b"x" * 1_000_000)
    assert (done.stdout.split(), done.returncode) == ([b"1000000"], 3)
