"""The benchmark `learning` on the hippocampi, on the GPU: the same functions with its device and final networks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from benchmark_report import DATA
from learning import Configuration, measure, read_options
from learning_cohorts import HIPPOCAMPUS, ONE
from learning_measures import FLIPS, PARTS
from SparseAnnotateLib.core import CancelledError, Watch

from .sub_part import Setting, Skipped, SubPart

Y_SHAPED, PLAIN = "y_shaped_dense_vox_net", "basic_unet"
SMALL_FINAL = {Y_SHAPED: "y_shaped_dense_vox_net_small", PLAIN: "basic_unet_small"}
ITERATIONS, ITERATIONS_IN_SHORT = 600, 2
_LAST_SECONDS = 6.0  # for writing the checkpoint


def sub_parts(setting: Setting) -> list[SubPart]:
    """The most important configurations first; each gives the Dice of 3D, 2D + 3D and self-training."""
    found = []
    for kind, density, strategy in (
        ("10 %", 0.1, "staggered"),
        ("full", 1.0, "full"),
        ("one slice a volume", ONE, "staggered"),
        ("5 %", 0.05, "staggered"),
    ):
        for shape, final in (("Y-shaped", Y_SHAPED), ("plain", PLAIN)):
            run = lambda d=density, s=strategy, f=final: _measured(d, s, f, setting)  # noqa: E731
            found.append(SubPart(f"{kind}, {shape} final model", run, 30.0, not found))
    return found


def _measured(density: float, strategy: str, final: str, setting: Setting) -> dict[str, Any]:
    """One configuration, cancelled when the time is over; with --work another call resumes it."""
    folder = DATA / "msd_hippocampus"
    if not folder.is_dir():
        raise Skipped(f"no data: there is no folder '{folder}'; SPARSE_ANNOTATE_DATA names the folder that holds it")
    steps = setting.options.iterations or (ITERATIONS_IN_SHORT if setting.is_short else ITERATIONS)
    final = SMALL_FINAL.get(final, final) if setting.is_short else final
    given = ["--data", str(DATA), "--device", setting.device, "--final", final, "--iterations", str(steps)]
    given += ["--work", str(_work(setting)), "--threads", str(torch.get_num_threads())]
    options = read_options([*given, *(["--quick"] if setting.is_short else [])])
    watch = Watch()
    timer = threading.Timer(max(0.0, setting.seconds_left - _LAST_SECONDS), watch.cancel)
    timer.start()
    try:
        line = measure(Configuration(HIPPOCAMPUS, density, strategy, seed=0), options, watch)
    except CancelledError:
        where = "" if setting.options.work else " (with --work another call resumes it)"
        raise Skipped(f"not finished in the time{where}") from None
    finally:
        timer.cancel()
    line.pop("machine", None)
    shown = {name: dice for name, dice in line["dice"].items() if name.removesuffix(FLIPS) in PARTS}
    return {**shown, "steps": steps, "line": line}


def _work(setting: Setting) -> Path:
    return Path(setting.options.work) if setting.options.work else setting.work / "learning"
