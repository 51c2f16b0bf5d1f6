"""Cases of a cohort that are open in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HOLD = """
import sys
from SparseAnnotateLib.core.case_hold import CaseHold
holds = [CaseHold(sys.argv[1], case) for case in sys.argv[2:]]
try:
    for hold in holds:
        hold.enter()
except Exception as error:
    print("busy", error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder, *cases: str) -> Iterator[str]:
    """Another process that holds cases; gives 'held', or 'busy' when it cannot."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder), *cases],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.communicate("")
