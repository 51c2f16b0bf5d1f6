"""The benchmark `learning` on the hippocampi, on the GPU: the same functions with its device and final networks.

The two final models of a density learn from the same base models, which are trained once.
"""

from __future__ import annotations

import json
import shutil
import threading
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmark_report import COMMIT, DATA
from learning import RUN, Configuration, measure, read_options, settings_of, work_folder
from learning_cohorts import HIPPOCAMPUS, ONE, opened_split
from learning_measures import FLIPS, PARTS
from SparseAnnotateLib.core import CancelledError, Watch
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.runs.network import DEFAULT_NETWORK, DEFAULT_NETWORK_ON_CPU
from SparseAnnotateLib.runs.run_folder import RunFolder

from .comparing import SMALL_FINAL_NETWORK, Y_SHAPED_NETWORK, without_estimate
from .sub_part import Setting, Skipped, SubPart

FINAL = {"Y-shaped": Y_SHAPED_NETWORK, "plain": DEFAULT_NETWORK}
FINAL_IN_SHORT = {"Y-shaped": SMALL_FINAL_NETWORK, "plain": DEFAULT_NETWORK_ON_CPU}
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
        for split in setting.options.splits:
            configuration = Configuration(HIPPOCAMPUS, density, strategy, seed=0, split=split)
            for shape in FINAL:
                run = lambda c=configuration, s=shape: _measured(c, s, setting)  # noqa: E731
                name = f"{kind}, split {split}, {shape} final model"
                found.append(SubPart(name, run, 20.0, len(found) < len(FINAL)))
    return found


def _measured(configuration: Configuration, shape: str, setting: Setting) -> dict[str, Any]:
    """One configuration, cancelled when the time is over; with --work another call resumes it, or finds its figures."""
    folder = DATA / "msd_hippocampus"
    if not folder.is_dir():
        raise Skipped(f"no data: there is no folder '{folder}'; SPARSE_ANNOTATE_DATA names the folder that holds it")
    options = _options(shape, setting)
    kept = work_folder(configuration, options).with_suffix(".json")
    line = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if line.get("commit") != COMMIT:
        line = _line(configuration, options, setting)
        kept.write_text(json.dumps(line), encoding="utf-8")
    shown = {name: dice for name, dice in line["dice"].items() if name.removesuffix(FLIPS) in PARTS}
    return {**shown, "steps": line["steps"], "line": line}


def _options(shape: str, setting: Setting) -> Namespace:
    """The options of the benchmark `learning`."""
    steps = setting.options.iterations or (ITERATIONS_IN_SHORT if setting.is_short else ITERATIONS)
    final = (FINAL_IN_SHORT if setting.is_short else FINAL)[shape]
    work = Path(setting.options.work) if setting.options.work else setting.work / "learning"
    given = ["--data", str(DATA), "--device", setting.device, "--final", final, "--iterations", str(steps)]
    given += ["--work", str(work), "--threads", str(torch.get_num_threads())]
    return read_options([*given, *(["--quick"] if setting.is_short else [])])


def _line(configuration: Configuration, options: Namespace, setting: Setting) -> dict[str, Any]:
    """The line of results of a configuration."""
    watch = Watch()
    timer = threading.Timer(max(0.0, setting.seconds_left - _LAST_SECONDS), watch.cancel)
    timer.start()
    try:
        with without_estimate():
            for shape in FINAL:
                _begin_with_base_models(configuration, options, _options(shape, setting))
            line = measure(configuration, options, watch)
    except CancelledError:
        where = "" if setting.options.work else " (with --work another call resumes it)"
        raise Skipped(f"not finished in the time{where}") from None
    finally:
        timer.cancel()
    for name in ("machine", "time_left"):  # the first is known, and nothing was estimated
        line.pop(name, None)
    return line


def _begin_with_base_models(configuration: Configuration, options: Namespace, other: Namespace) -> None:
    """Begin a run with the 2D and 3D models of the one with another final network, if these are trained."""
    folder, source = (work_folder(configuration, given) for given in (options, other))
    if folder == source or _run(folder).is_started or not source.is_dir():
        return
    if not all(_run(source).model_card(role) for role in ("2d", "3d")):
        return
    copied = folder.with_suffix(".copied")
    for stale in (folder, copied):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(source, copied)
    run = _run(copied)
    run.card_path.unlink(missing_ok=True)
    for of_final in (run.path / "final", run.labels_folder):
        shutil.rmtree(of_final, ignore_errors=True)
    run.keep_metrics_until("final", 0)
    split = opened_split(configuration.set, configuration.split, Path(options.data), copied, options.quick)
    settings = settings_of(configuration, options)
    final = new_plan(split.cohort, settings, split.training).model("final")
    run.write_plan(replace(run.plan(), settings=settings).with_model(final))
    copied.rename(folder)


def _run(work: Path) -> RunFolder:
    return RunFolder(work / "state" / "runs" / RUN)
