"""The figures of a run of the benchmark as one JSON file, whole after every write. Needs no package."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

AGREES, DIFFERS, MEASURED, FAILED, SKIPPED = "agrees", "differs", "measured", "failed", "skipped"
# Exit statuses of the measuring process.
COULD_NOT_BEGIN = 2
GPU_LOST = 75  # it cannot use the GPU any more, another process may


class Record:
    """What has been measured so far.

    The file holds, beside facts about the machine, 'parts': for each part a list of sub-parts, each with 'name',
    'result' ('agrees', 'differs', 'measured', 'failed', 'skipped'), 'seconds', 'figures' and, where there is one,
    'reason' or 'traceback'; 'running': the part and sub-part at work; 'stopped': why it ended early, or null.
    """

    def __init__(self, path: Path):
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def begin(self, parts: list[str], **facts: Any) -> None:
        """Start a new file."""
        self.content = {
            "benchmark": "gpu",
            **facts,
            "running": None,
            "stopped": None,
            "parts": {part: [] for part in parts},
        }
        self.write()

    def note(self, **facts: Any) -> None:
        """Change facts about the whole run."""
        self.content.update(facts)
        self.write()

    def start(self, part: str, name: str) -> None:
        """Note what is at work, so that it is known if the process ends in it."""
        self.note(running=[part, name])

    def add(self, part: str, name: str, result: str, seconds: float = 0.0, **more: Any) -> dict[str, Any]:
        """Keep a sub-part's figures in place of those of a former try, and write the file."""
        entry = {"name": name, "result": result, "seconds": round(seconds, 2), **more}
        entries = self.content["parts"][part]
        entries[:] = [e for e in entries if e["name"] != name] + [entry]
        self.note(running=None)
        return entry

    def entry(self, part: str, name: str) -> dict[str, Any] | None:
        """What is known of a sub-part."""
        return next((e for e in self.content["parts"][part] if e["name"] == name), None)

    def problems(self) -> list[str]:
        """'part: name' of the sub-parts that failed or differ."""
        return [
            f"{part}: {entry['name']}"
            for part, entries in self.content.get("parts", {}).items()
            for entry in entries
            if entry["result"] in (FAILED, DIFFERS)
        ]

    def write(self) -> None:
        """Write beside the file, then rename: a process stopped at any moment leaves a whole file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.writing")
        # What JSON does not have, such as infinity, is written as a string.
        content = json.dumps(_plain(self.content), indent=1, default=str, allow_nan=False)
        beside.write_text(content + "\n", encoding="utf-8")
        os.replace(beside, self.path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
