"""A program that is run for as long as the connection that it was started through lasts."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from SparseAnnotateLib.remote import until_disconnected
from system_needs import needs_posix_signals


def run(code: str, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program in it, with much less time to end, and send this before the connection is lost."""
    shorter = f"import sys;sys.argv=['', sys.executable, '-c', {code!r}];"
    shorter += "from SparseAnnotateLib.remote import until_disconnected as one;one.LAST_SECONDS=(0.3, 20.0);"
    words = [sys.executable, "-c", shorter + "sys.exit(one.main(sys.argv[1:]))"]
    folder = until_disconnected.__file__.partition("SparseAnnotateLib")[0]
    return subprocess.run(words, input=sent, capture_output=True, cwd=folder, timeout=60)


@needs_posix_signals
@pytest.mark.parametrize("length", [100, 1_000_000])
def test_a_program_that_does_not_read_what_is_sent_ends_with_the_connection(length):
    assert run("import time; time.sleep(50)", b"x" * length).returncode == 128 + signal.SIGTERM


def test_all_that_is_sent_reaches_the_program_and_its_exit_code_is_returned():
    done = run("import sys; print(len(sys.stdin.buffer.read())); sys.exit(3)", b"x" * 1_000_000)
    assert (done.stdout.split(), done.returncode) == ([b"1000000"], 3)
