"""Sparse against full annotation, with and without self-training (designed like Zheng et al. 2020, figure 5).

Each configuration recommends slices, draws them from the reference, trains a run of self-training on them, and
measures each of its parts: the 3D model, the 2D and 3D models averaged, and these averaged with the final model. 'full'
gets exactly the same, with all slices drawn, and each part is compared with the same part of 'full', of the same split
and seed. With --peer nnU-Net learns from the same slices by its ignore label for the same wall time.

The sets and their splits are those of learning_cohorts.py. Of the hippocampi, splits 0 and 1 are for choosing settings
(with --change), and 2, 3 and 4 for reporting.

Every configuration is one line of JSON in --out, with commit and command; those already there are not trained again,
and one that was stopped resumes from its last checkpoint. The most important ones come first. Processes may share --out
and --work: each takes what no other is at. `learning_report` shows the lines in detail: pseudo-labels by distance from
the drawn slices, and agreement.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark_report import COMMIT, DATA, command, machine, options_parser
from learning_cohorts import HIPPOCAMPUS, ONE, REPORTING, SPLITS, draw, measured_on, opened_split
from learning_measures import FLIPS, PartPrediction, measured
from learning_progress import LearningProgress
from learning_report import read_lines, report_summary
from SparseAnnotateLib.core import SparseAnnotateError, Watch
from SparseAnnotateLib.core.strict_json import from_plain, to_plain
from SparseAnnotateLib.runs import AUTO, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker import requests

KEY = ((1.0, "full"), (0.1, "staggered"), (ONE, "staggered"))
FURTHER = (
    (0.05, "staggered"),
    (0.1, "fixed_interval"),
    (0.2, "staggered"),
    (0.1, "representative"),
    (0.05, "fixed_interval"),
    (0.05, "representative"),
    (0.2, "fixed_interval"),
    (0.2, "representative"),
)
SINGLE = ((1.0, "full"), (0.1, "staggered"), (0.05, "staggered"), (0.2, "staggered"))
RUN = "run"


@dataclass(frozen=True)
class Configuration:
    """One training: which slices of which split, with which seed."""

    set: str
    density: float
    strategy: str
    seed: int
    split: str = REPORTING[0]

    @property
    def density_text(self) -> str:
        return "one slice" if self.density == ONE else f"{self.density:.0%}".replace("%", " percent")


def configurations(options: argparse.Namespace) -> list[Configuration]:
    """What the options ask for, the most important ones first."""
    found: list[Configuration] = []

    def add(name: str, splits: Sequence[str], seeds: Sequence[int], kinds: Sequence[tuple[float, str]]) -> None:
        found.extend(Configuration(name, *kind, seed, split) for seed in seeds for kind in kinds for split in splits)

    others = [name for name in options.sets if name != HIPPOCAMPUS]
    splits, (first, *further) = options.splits if HIPPOCAMPUS in options.sets else [], options.seeds
    if options.quick:
        kinds = (*KEY, *FURTHER) if options.only else KEY[:2]
        add(HIPPOCAMPUS, splits[:1], [first], kinds)
        for name in others:
            add(name, SPLITS[name], [first], kinds)
    else:
        add(HIPPOCAMPUS, splits, [first], KEY)
        for name in others:
            add(name, SPLITS[name], [first], SINGLE)
        add(HIPPOCAMPUS, splits, further, KEY)
        add(HIPPOCAMPUS, splits, options.seeds, FURTHER)
        for name in others:
            add(name, SPLITS[name], further, SINGLE)
    return [c for c in found if options.only in configuration_name(c, options)]


def configuration_name(configuration: Configuration, options: argparse.Namespace) -> str:
    """The name of a configuration's line, with everything that matters for its figures."""
    c, facts = configuration, _facts(configuration, options)
    words = [f"{c.set} split {c.split}", f"{c.density_text} {c.strategy}", f"seed {c.seed}", f"{facts['steps']} steps"]
    words += facts["changes"] + [facts["device"]] * (facts["device"] != "cpu") + ["quick"] * facts["quick"]
    return ", ".join(words)


def _facts(configuration: Configuration, options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of a configuration."""
    # The patches of the other sets are more than twice as large.
    steps = options.iterations if configuration.set == HIPPOCAMPUS else max(1, options.iterations // 2)
    changes = options.change + ([f"network_final={options.final}"] if options.final != AUTO else [])
    return {
        "steps": min(20, steps) if options.quick else steps,
        "changes": changes,
        "device": options.device,
        "quick": options.quick,
    }


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA)},
        sets={"nargs": "+", "default": list(SPLITS), "choices": list(SPLITS)},
        splits={
            "nargs": "+",
            "default": list(REPORTING),
            "choices": list(SPLITS[HIPPOCAMPUS]),
            "help": "of the hippocampi (default: 2 3 4, those for reporting); all splits of the other sets are run",
        },
        seeds={"type": int, "nargs": "+", "default": [0, 1, 2]},
        change={"nargs": "+", "default": [], "metavar": "NAME=VALUE", "help": "settings that differ (JSON values)"},
        final={"default": AUTO, "help": "network of the final model"},
        device={"default": "cpu"},
        out={"default": "learning.jsonl", "help": "one line of JSON for each configuration"},
        work={"default": "learning_work", "help": "cohorts and runs in progress"},
        minutes={"type": float, "default": 1e9, "help": "start no further configuration after this time"},
        only={"default": "", "help": "only configurations whose name contains this text"},
        peer={"action": "store_true", "help": "train nnU-Net on the same slices as well, in an environment of its own"},
        iterations={"type": int, "default": 600},
        threads={"type": int, "default": torch.get_num_threads()},
        list={"action": "store_true", "help": "only list the names of the configurations"},
    )


def read_options(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of this benchmark from `given`, by default from the command line."""
    return parser().parse_args(given)


def main() -> int:
    options = read_options()
    torch.set_num_threads(options.threads)
    wanted = configurations(options)
    if options.list:
        known = {line["name"] for line in read_lines(options.out)}
        for name in (configuration_name(c, options) for c in wanted):
            print("done  " if name in known else "to do ", name)
        return 0
    start, failed = time.monotonic(), 0
    for number, configuration in enumerate(wanted, start=1):
        if time.monotonic() - start > 60 * options.minutes:
            break
        try:
            _complete(configuration, options, f"{number}/{len(wanted)} ")
        except SparseAnnotateError as error:  # such as: another process is at it
            failed += 1
            print(f"{configuration_name(configuration, options)}: {error}", file=sys.stderr)
    report_summary(read_lines(options.out, tell=True), options)
    return 1 if failed else 0


def _complete(configuration: Configuration, options: argparse.Namespace, prefix: str) -> None:
    """Measure a configuration, and the peer on its slices, unless that has been done."""
    out, name = Path(options.out), configuration_name(configuration, options)
    known = {line["name"]: line for line in read_lines(out)}
    if name not in known:
        known[name] = measure(configuration, options, prefix=prefix)
        _append(out, known[name])
    if options.peer and configuration.strategy != "full" and f"nnU-Net {name}" not in known:
        from peers.nnunet import nnunet_figures

        work = work_folder(configuration, options)
        split = opened_split(configuration.set, configuration.split, Path(options.data), work, options.quick)
        draw(split, configuration.density, configuration.strategy, configuration.seed)
        seconds = sum(known[name]["seconds"].values())
        figures = nnunet_figures(split, work, Path(options.work), seconds, configuration.seed, options.threads)
        _append(out, {**known[name], "diagnosis": {}, **_origin(options), **figures, "name": f"nnU-Net {name}"})
    if not options.peer:
        shutil.rmtree(work_folder(configuration, options), ignore_errors=True)


def measure(
    configuration: Configuration, options: argparse.Namespace, watch: Watch | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Train and evaluate one configuration; its line of results.

    `watch` cancels it, and the next call with the same `work` resumes it. `prefix` comes before its name on stderr.
    """
    watch = watch or Watch()
    work, name = work_folder(configuration, options), configuration_name(configuration, options)
    split = opened_split(configuration.set, configuration.split, Path(options.data), work, options.quick)
    slices = draw(split, configuration.density, configuration.strategy, configuration.seed)
    cohort, progress = split.cohort, LearningProgress(prefix + name, watch)
    settings = settings_of(configuration, options)
    run = RunFolder(cohort.run_folder(RUN))
    if not run.is_finished:  # otherwise it was stopped while it was evaluated
        common = {"cohort": str(cohort.folder), "state": str(cohort.state_folder), "cases": split.training}
        requests.train(requests.TrainRequest(**common, run=RUN, settings=settings), Watch(progress))
    card, trained = to_plain(run.card()), time.monotonic()
    progress.note("measuring")
    prediction = PartPrediction(cohort, RUN, options.device)
    dice, diagnosis = measured(cohort, split.test, split.training, prediction, watch)
    progress.note("measuring with flips")
    prediction = PartPrediction(cohort, RUN, options.device, flips=True)
    flipped, _ = measured(cohort, split.test, (), prediction, watch)
    dice |= {part + FLIPS: values for part, values in flipped.items()}
    return {
        "name": name,
        **asdict(configuration),
        **_facts(configuration, options),
        "measured_on": measured_on(configuration.set, configuration.split, configuration.strategy == "full"),
        "training_volumes": len(split.training),
        "test_volumes": len(split.test),
        "slices": slices,
        "seconds": {m["plan"]["role"]: m["seconds"] for m in card["models"]},
        "seconds_to_measure": round(time.monotonic() - trained, 1),
        "settings": to_plain(settings),
        "plans": {m["plan"]["role"]: m["plan"] for m in card["models"]},
        "time_left": progress.time_left(trained),
        "view_dice": card["view_dice"],
        "view_weights": card["view_weights"],
        "dice": {part: float(np.mean(values)) for part, values in dice.items()},
        "labels": {part: np.mean(values, axis=0).tolist() for part, values in dice.items()},
        "cases": dice,
        "diagnosis": diagnosis,
        **_origin(options),
    }


def work_folder(configuration: Configuration, options: argparse.Namespace) -> Path:
    """Where the cohort and the run of a configuration are."""
    return Path(options.work) / configuration_name(configuration, options).replace("/", "_")


def settings_of(configuration: Configuration, options: argparse.Namespace) -> TrainingSettings:
    """The same for sparse and full annotation."""
    facts = _facts(configuration, options)
    steps = facts["steps"]
    # A quick run shows only that it works.
    small = {"patch": (16, 16, 32), "patch_2d": (32, 32), "batch": 1, "batch_2d": 2} if options.quick else {}
    usual = {"patch": (32, 48, 32) if configuration.set == HIPPOCAMPUS else None}
    settings = TrainingSettings(
        recipe="self_training",
        iterations=steps,
        iterations_2d=steps * 5 // 3,
        iterations_final=steps,
        seed=configuration.seed,
        device=options.device,
        **(small or usual),
    )
    return from_plain({**to_plain(settings), **_changes(facts["changes"])}, TrainingSettings, "--change")


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as a mapping; a value that is not JSON is a text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _origin(options: argparse.Namespace) -> dict:
    return {"commit": COMMIT, "command": command(), "machine": machine(), "threads": options.threads}


def _append(path: Path, line: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else b""
    was_cut_short = before != b"" and not before.endswith(b"\n")
    with open(path, "a") as file:
        file.write("\n" * was_cut_short + json.dumps(line) + "\n")
    print({key: line[key] for key in ("name", "dice", "seconds")}, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
