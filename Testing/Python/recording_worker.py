"""A worker that does none of the work: it writes down each request as it understands it, and refuses it.

As a program: `recording_worker.py FILE` writes a line of JSON for each request into a file; see `recorded`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def recorded(path: Path) -> list[tuple[str, dict]]:
    """The requests in a file, oldest first: the method, and its parameters with all defaults filled in.

    Those to train have 'settings' as the training would be started with, on a CPU.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    return [(found["method"], found["request"]) for found in map(json.loads, lines)]


def _recording(method: str, path: str):
    from SparseAnnotateLib.core import BadInputError
    from SparseAnnotateLib.core.strict_json import to_plain
    from SparseAnnotateLib.worker.train_request import TrainingChoice, chosen_settings

    def record(request, _watch):
        plain = to_plain(request)
        if isinstance(request, TrainingChoice):
            plain["settings"] = to_plain(chosen_settings(request, device="cpu"))
        with open(path, "a") as file:
            file.write(json.dumps({"method": method, "request": plain}) + "\n")
        raise BadInputError("written down")

    return record


def _serve(path: str) -> None:
    from SparseAnnotateLib.client.request_server import end_process, own_streams
    from SparseAnnotateLib.worker.requests import METHODS
    from SparseAnnotateLib.worker.server import Server

    for method, (kind, _function) in METHODS.items():
        METHODS[method] = kind, _recording(method, path)
    Server(*own_streams()).serve()
    end_process()


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    _serve(sys.argv[1])
