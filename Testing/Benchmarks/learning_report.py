"""The results of `learning` in detail: Testing/run bench learning_report FILE [FILE ...] [--only TEXT].

First the summary that `learning` prints: Dice over splits and seeds, and each part against the same part of 'full'.
An interval says how far a mean difference may be due to which volumes were tested: it has 95 % of the means of test
volumes drawn from them at random, with replacement (bootstrap).
Then, for each configuration: its parts; what self-training adds, beside what may explain it; the Dice of its
pseudo-labels on the training volumes by the distance from the nearest drawn slice; how far the views agree, and what
the final model makes of the errors of its pseudo-labels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from benchmark_report import options_parser, report
from learning_cohorts import CHOOSING, HIPPOCAMPUS, ONE, REPORTING, WITHIN
from learning_measures import DISTANCES, EVERYWHERE, FLIPS, OFF, PARTS

SHOWN = (*PARTS, *(part + FLIPS for part in PARTS), "nnU-Net")
INTERVAL = "95 % interval"
GROUP = ("set", "splits", "density", "strategy", "changes", "model")
SUMMARY = (*GROUP, "n", "Dice", "sd", "against full", "sd of it", INTERVAL, "pairs")
PART_COLUMNS = ("2D", "3D", "2D + 3D", "final alone", "self-training", *(part + FLIPS for part in PARTS))
PLACES = (EVERYWHERE, OFF, *DISTANCES)
SHARES = ("agreed", "right where agreed", "right elsewhere", "errors repeated", "errors mended", "errors added")

GAIN_LEAVES_OUT = ("right where agreed", "right elsewhere")
GAIN_COLUMNS = (
    "configuration",
    "gain",
    INTERVAL,
    *(f"{part}, {place}" for place in ("drawn", "undrawn") for part in ("pseudo-label", "final")),
    *(share for share in SHARES if share not in GAIN_LEAVES_OUT),
)


def read_lines(path: str | Path, tell: bool = False) -> list[dict]:
    """The results in a file, but not those of an earlier version (without a commit) or cut short. `tell`: say so."""
    path, found, left_out = Path(path), [], 0
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            line = {}
        if "commit" in line:
            found.append(line)
        else:
            left_out += 1
    if left_out and tell:
        print(f"{path}: {left_out} lines of an earlier version, or cut short, are left out.", file=sys.stderr)
    return found


def report_summary(lines: list[dict], options: argparse.Namespace) -> None:
    """Print the mean over splits and seeds, and write it as JSON when asked for."""
    commits = Counter(line["commit"] for line in lines)
    notes = ["Measured on: " + "; ".join(sorted({f"{line['set']}: {line['measured_on']}" for line in lines}))]
    notes += [f"{count} configurations by commit {name}" for name, count in commits.items()]
    seeds = sorted({line["seed"] for line in lines})
    report("Learning from sparse slices", SUMMARY, summary_rows(lines), options, seeds, notes)


def summary_rows(lines: Iterable[dict]) -> list[tuple]:
    """A row for each group of configurations that differ in split and seed only, and each part."""
    groups: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    differences: dict[tuple, list[np.ndarray]] = defaultdict(list)
    lines = list(lines)
    fully = {_twin(line): line for line in lines if line["strategy"] == "full"}
    for line in lines:
        # Within a volume, full annotation is measured on what it learned from: nothing to compare with.
        compared = fully.get(_twin(line)) if line["split"] != WITHIN and line["strategy"] != "full" else None
        twin = compared["dice"] if compared is not None else {}
        for part in SHOWN:
            if part in line["dice"]:
                value = line["dice"][part]
                # Another network is compared with the best that full annotation gave here.
                reference = twin.get(part, max(twin.values(), default=math.nan) if part == "nnU-Net" else math.nan)
                groups[(*_group(line), part)].append((value, value - reference))
                if part in twin and compared is not None:
                    differences[(*_group(line), part)].append(_by_volume(line, part) - _by_volume(compared, part))
    rows = []
    for key, figures in sorted(groups.items(), key=lambda item: _order(item[0])):
        values, gaps = np.array(figures).T
        gaps = gaps[np.isfinite(gaps)]
        (name, splits, density, strategy, changes, part), n = key, len(values)
        density = "one slice" if density == ONE else f"{density:.0%}"
        gap: tuple = ("", "", "", 0)
        if len(gaps):
            gap = (f"{gaps.mean():+.3f}", _spread(gaps), interval(differences[key]), len(gaps))
        rows.append((name, splits, density, strategy, changes, part, n, f"{values.mean():.3f}", _spread(values), *gap))
    return rows


def _by_volume(line: dict, part: str) -> np.ndarray:
    """(volumes,) mean Dice of the labels of each test volume."""
    return np.array([np.mean(labels) for labels in line["cases"].get(part, ())])


def interval(differences: Iterable[np.ndarray]) -> str:
    """The 95 % interval of the mean of differences between volumes; '' for too few."""
    values = np.concatenate([np.zeros(0), *differences])
    if len(values) < 2 or not values.std():
        return ""
    found = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    return f"{found.low:+.3f} to {found.high:+.3f}"


def _spread(values: np.ndarray) -> str:
    return f"{values.std(ddof=1):.3f}" if len(values) > 1 else ""


def _twin(line: dict) -> tuple:
    names = ("set", "split", "seed", "steps", "changes", "device", "quick")
    return tuple(str(line[name]) for name in names)


def _group(line: dict) -> tuple[str, str, float, str, str]:
    split = line["split"]
    if line["set"] == HIPPOCAMPUS:
        for group, purpose in ((CHOOSING, "choosing"), (REPORTING, "reporting")):
            split = f"{group[0]}-{group[-1]} ({purpose})" if line["split"] in group else split
    extra = [f"{line['steps']} steps", *line["changes"]] + ["quick"] * line["quick"]
    extra += [line["device"]] if line["device"] != "cpu" else []
    return line["set"], split, line["density"], line["strategy"], ", ".join(extra)


def _order(key: tuple) -> tuple:
    name, splits, density, strategy, changes, part = key
    return name, splits, changes, -(density if density else 1e-9), strategy, SHOWN.index(part)


def part_rows(lines: Iterable[dict]) -> list[tuple]:
    """Test Dice of every part of each configuration."""
    return [(line["name"], *(_shown(line["dice"].get(part)) for part in PART_COLUMNS)) for line in lines]


def gain_rows(lines: Iterable[dict]) -> list[tuple]:
    """What self-training adds on the test volumes, beside what may explain it; the largest gain first."""
    rows = []
    for line in lines:
        if line.get("diagnosis") and "self-training" in line["dice"]:
            dice, (training, test) = line["dice"], (line["diagnosis"][kind] for kind in ("training", "test"))
            gain = dice["self-training"] - dice["2D + 3D"]
            between = interval([_by_volume(line, "self-training") - _by_volume(line, "2D + 3D")])
            pseudo, final = training["dice"]["2D + 3D"], training["dice"]["final alone"]
            # Pseudo-labels of 'full' are only on drawn slices; within a volume, the test volumes are those of training.
            places = [_shown(values.get(place)) for place in ("0", OFF) for values in (pseudo, final)]
            shares = (test["agreement"] or training["agreement"]).get
            seen = [_shown(shares(name, {}).get(EVERYWHERE)) for name in SHARES if name not in GAIN_LEAVES_OUT]
            rows.append((gain, line["name"], f"{gain:+.3f}", between, *places, *seen))
    return [row[1:] for row in sorted(rows, key=lambda row: -row[0])]


def mean_gain_rows(lines: Iterable[dict]) -> list[tuple]:
    """How much better than the pseudo-labels self-training and the final model alone are, over splits and seeds."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for line in lines:
        if "final alone" in line["dice"]:
            groups[_group(line)].append(line)
    rows = []
    for (name, splits, density, strategy, changes), members in sorted(groups.items(), key=lambda item: item[0][:4]):
        shown = "one slice" if density == ONE else f"{density:.0%}"
        for part in ("self-training", "final alone"):
            gains = np.array([line["dice"][part] - line["dice"]["2D + 3D"] for line in members])
            between = interval(_by_volume(line, part) - _by_volume(line, "2D + 3D") for line in members)
            mean = f"{gains.mean():+.3f}"
            rows.append((name, splits, shown, strategy, changes, part, len(gains), mean, _spread(gains), between))
    return rows


def place_rows(line: dict) -> list[tuple]:
    """Dice on the training volumes of every part of a configuration, by the distance from the drawn slices."""
    parts = line["diagnosis"]["training"]["dice"]
    return [(part, *(_shown(places.get(place)) for place in PLACES)) for part, places in parts.items()]


def agreement_rows(line: dict) -> list[tuple]:
    """Agreement of a configuration's views, and the final model's treatment of errors."""
    rows = []
    for kind, figures in line["diagnosis"].items():
        for place in (OFF, *DISTANCES) if kind == "training" else (EVERYWHERE,):
            found = [_shown(figures["agreement"].get(name, {}).get(place)) for name in SHARES]
            if any(found):
                rows.append((kind, place, *found))
    return rows


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def parser() -> argparse.ArgumentParser:
    made = options_parser(__doc__, only={"default": "", "help": "only configurations whose name contains this text"})
    made.add_argument("files", nargs="+", help="written by `learning --out`")
    return made


def main() -> None:
    options = parser().parse_args()
    lines = [line for path in options.files for line in read_lines(path, tell=True) if options.only in line["name"]]
    lines = list({line["name"]: line for line in lines}.values())
    report_summary(lines, options)
    options.json = None
    report("Dice on the test volumes", ("configuration", *PART_COLUMNS), part_rows(lines), options)
    columns = (*GROUP, "n", "gain", "sd", INTERVAL)
    report("Gain over 2D + 3D, mean of splits and seeds", columns, mean_gain_rows(lines), options)
    title = "Gain of self-training over 2D + 3D; Dice of pseudo-labels and final model in training; shares in tests"
    report(title, GAIN_COLUMNS, gain_rows(lines), options)
    for line in lines:
        if line.get("diagnosis"):
            title = f"{line['name']}: Dice on the training volumes, by slices to the nearest drawn slice"
            report(title, ("part", *PLACES), place_rows(line), options)
            title = "Shares of the voxels that the reference or a view calls a structure"
            report(title, ("volumes", "where", *SHARES), agreement_rows(line), options)


if __name__ == "__main__":
    main()
