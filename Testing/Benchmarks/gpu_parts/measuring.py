"""Runs the parts of the benchmark one after the other, in the process that uses the GPU."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from benchmark_report import machine
from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.devices import chosen_device

from . import agreement, memory, prediction_speed, sparse_learning, step_speed
from .gpu_memory import empty
from .record import AGREES, COULD_NOT_BEGIN, DIFFERS, FAILED, GPU_LOST, MEASURED, SKIPPED, Record
from .sub_part import Setting, Skipped, SubPart

PARTS = {
    "agreement": agreement.sub_parts,
    "memory": memory.sub_parts,
    "step": step_speed.sub_parts,
    "prediction": prediction_speed.sub_parts,
    "learning": sparse_learning.sub_parts,
}
# By when a part stops starting sub-parts, as a share of the whole time (if it is the last one, of all of it).
SHARES = {"agreement": 0.42, "memory": 0.60, "step": 0.74, "prediction": 0.85, "learning": 1.0}
_TAKES_ALL = "learning"
NO_TIME = "not enough time left"


def measure(options: Namespace, end: float) -> int:
    """Run all parts that `options` names, resuming the record that is there; returns the exit status."""
    _end_with_parent()
    try:
        report = chosen_device(options.device)
    except BadInputError as error:
        print(error, file=sys.stderr)
        return COULD_NOT_BEGIN
    # torch refuses a device without a number where memory is limited.
    device = f"cuda:{torch.cuda.current_device()}" if report.device == "cuda" else report.device
    is_short = not device.startswith("cuda")
    setting = Setting(device, is_short, Path(options.scratch), end, options)
    record = Record(Path(options.json))
    record.note(device=device, message=report.message, is_short=is_short, machine=_machine(device))
    print(report.message, *(["A shortened form, which shows only that it works."] if is_short else []), flush=True)
    found = {part: [s for s in PARTS[part](setting) if options.only in s.name] for part in options.parts}
    for part, until in turns(options.parts, end - 60 * options.minutes, end):
        for sub_part in found[part]:
            known = record.entry(part, sub_part.name)
            if known is None or (
                known.get("reason") == NO_TIME and time.monotonic() + _needed(sub_part, setting) < until
            ):
                _measure_one(record, part, sub_part, until, setting)
                if setting.has_gpu and not _gpu_works(setting.device):
                    return GPU_LOST
    return 0


def turns(parts: list[str], began: float, end: float) -> list[tuple[str, float]]:
    """Which part's turn it is until when: each until its share of the time is over, then again for what was left out.

    'learning' can use all the time there is, so what other parts left out has its second turn before.
    """
    last = SHARES[parts[-1]]
    until = {part: began + SHARES[part] / last * (end - began) for part in parts}
    others = [part for part in parts if part != _TAKES_ALL]
    again = end if others == parts else max(until[part] for part in others) if others else end
    first = [(part, until[part]) for part in others] + [(part, again) for part in others]
    return first if others == parts else [*first, (_TAKES_ALL, end), *((part, end) for part in others)]


def _needed(sub_part: SubPart, setting: Setting) -> float:
    return 0.0 if setting.is_short else sub_part.seconds


def _measure_one(record: Record, part: str, sub_part: SubPart, until: float, setting: Setting) -> None:
    start = time.monotonic()
    more: dict[str, Any] = {}
    if setting.is_short and not sub_part.in_short:
        record.add(part, sub_part.name, SKIPPED, reason="left out of the shortened form")
        return
    if start + _needed(sub_part, setting) > until:
        result, more = SKIPPED, {"reason": NO_TIME}
    else:
        record.start(part, sub_part.name)
        try:
            figures = sub_part.run()
            agrees = figures.pop("agrees", None)
            result = MEASURED if agrees is None else AGREES if agrees else DIFFERS
            more = {"figures": figures}
        except Skipped as reason:
            result, more = SKIPPED, {"reason": str(reason)}
        except Exception:
            result, more = FAILED, {"traceback": traceback.format_exc()}
    entry = record.add(part, sub_part.name, result, time.monotonic() - start, **more)
    print(line_of(part, entry), flush=True)
    _clear(setting)


def line_of(part: str, entry: dict[str, Any]) -> str:
    """One printed line about a sub-part."""
    facts = [f"{name} {_shown(value)}" for name, value in entry.get("figures", {}).items() if not _is_long(value)]
    if "traceback" in entry:
        facts = [entry["traceback"].strip().splitlines()[-1]]
    elif "reason" in entry:
        facts = [entry["reason"]]
    return f"{part:10} {entry['result']:9}{entry['seconds']:7.1f} s  {entry['name']}: {', '.join(facts)}"


def _is_long(value: Any) -> bool:
    return isinstance(value, (dict, list)) and len(str(value)) > 60


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _clear(setting: Setting) -> None:
    """Give back what a sub-part has left on the GPU."""
    if setting.has_gpu:
        try:
            empty()
            torch.cuda.reset_peak_memory_stats(setting.device)
        except RuntimeError:
            pass  # the GPU is lost, which is found next


def _gpu_works(device: str) -> bool:
    """False after an error that makes the GPU unusable for this process, such as an illegal address."""
    try:
        return float(torch.ones(2, device=device).sum().cpu()) == 2.0
    except RuntimeError:
        return False


def _machine(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = dict(machine())
    if device.startswith("cuda"):
        found = torch.cuda.get_device_properties(device)
        facts["gpu"] = {
            "name": found.name,
            "gigabytes": found.total_memory / 1e9,
            "multiprocessors": found.multi_processor_count,
            "capability": [found.major, found.minor],
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def _end_with_parent() -> None:
    """End this process when the one that started it has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
