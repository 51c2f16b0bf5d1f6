"""Whether everything is right and fast on a GPU: one command for a machine with a GPU, and 8 minutes at most.

Parts, in order of worth:

    agreement   every loss, network, prediction and recipe: the GPU against the CPU, in fp32 without TF32 and in bf16
    memory      out of memory for real: training reduces and finishes, prediction finishes; a run resumed on the other
                device; memory given back after a training; torch.compile
    step        seconds of a training step of the default networks and its share of the GPU's bf16 peak, by precision
                and memory format; real data against a fixed batch; memory planned against used
    prediction  a volume of 512 x 512 x 300: seconds and memory; the CPU on a part of it
    learning    the benchmark `learning` on the hippocampi: 10 %, full, one slice a volume, 5 %; 3D, 2D + 3D,
                self-training (Y-shaped and plain)

Each part begins with what tells most, and starts nothing more when its share of the time is over. What it left out has
a second turn in time that others did not need. So one call of 8 minutes is for 'agreement' (the presets of publications
may be left out), the first checks of 'memory' and 'step', and 'prediction'; 'learning' begins its first configuration.
A second call is for 'learning', which then has all of the time, and resumes what the first one began:

    Testing/run bench gpu --work FOLDER
    Testing/run bench gpu --work FOLDER --parts learning --minutes 5 --json gpu_learning.json

It needs no network. The JSON is written after every single figure, so a run that is stopped, at any moment and in any
way, keeps what it has. What fails is recorded with its traceback, and the next begins. What there is no time for is
recorded, too; measure it with --parts in another call. Without a GPU all parts run in a shortened form on the CPU,
which shows only that they work.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmark_report import COMMIT, command
from gpu_parts.carried import HOW_TO_CARRY, missing_packages, put_on_path
from gpu_parts.record import COULD_NOT_BEGIN, Record
from gpu_parts.supervision import Supervisor

PARTS = ("agreement", "memory", "step", "prediction", "learning")
SPLITS = ("first", "0", "1", "2", "3", "4")  # as in learning_cohorts.py, which the carried packages are needed for
PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    began = time.monotonic()
    options = parser().parse_args()
    options.parts = [part for part in PARTS if part in options.parts]
    if options.measure:
        # In the process that measures.
        from gpu_parts.measuring import measure

        return measure(options, began + options.measure)
    sys.path.insert(0, str(PROJECT / "SparseAnnotate"))
    with tempfile.TemporaryDirectory(prefix="sparse_annotate_gpu_") as folder:
        try:
            carried = put_on_path(options.carried, Path(folder) / "packages")
        except OSError as error:
            print(error, file=sys.stderr)
            return COULD_NOT_BEGIN
        missing = missing_packages()
        if missing:
            print(f"Not found by {sys.executable}: {', '.join(missing)}.\n\n{HOW_TO_CARRY}", file=sys.stderr)
            return COULD_NOT_BEGIN
        record = Path(options.json).resolve()
        Record(record).begin(options.parts, minutes=options.minutes, commit=COMMIT, command=command())
        code = supervised(options, record, Path(folder) / "work", carried, began + 60 * options.minutes)
        if code != COULD_NOT_BEGIN:
            summarize(Record(record))
    return code


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, epilog=HOW_TO_CARRY, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--minutes", type=float, default=8.0, help="end after this time (default: 8)")
    found.add_argument("--device", default="auto", help="auto (default), cuda, cuda:1 or cpu")
    found.add_argument("--json", metavar="FILE", default="gpu.json", help="where the figures go (default: gpu.json)")
    found.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts (default: all)")
    found.add_argument(
        "--carried", metavar="FOLDER", nargs="+", default=[], help="folders with wheels or unpacked packages, see below"
    )
    found.add_argument(
        "--work",
        metavar="FOLDER",
        help="keep the runs of 'learning' there, so that another call can resume them",
    )
    found.add_argument("--iterations", type=int, help="steps of the models of 'learning' (default: 600, on a CPU 2)")
    found.add_argument(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=["2"],
        help="splits of the hippocampi for 'learning' (default: 2); 0 and 1 are for choosing settings",
    )
    found.add_argument("--only", default="", metavar="TEXT", help="only entries whose name contains this text")
    found.add_argument("--measure", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    found.add_argument("--scratch", help=argparse.SUPPRESS)
    return found


def supervised(options: argparse.Namespace, record: Path, scratch: Path, carried: list[str], end: float) -> int:
    """Measure in a process of its own; returns the exit status."""
    given = ["--device", options.device, "--json", str(record), "--scratch", str(scratch), "--parts", *options.parts]
    given += ["--minutes", str(options.minutes), "--splits", *options.splits]
    if options.work:
        given += ["--work", str(Path(options.work).resolve())]
    if options.only:
        given += ["--only", options.only]
    if options.iterations:
        given += ["--iterations", str(options.iterations)]
    paths = [*carried, str(PROJECT / "SparseAnnotate"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    def measuring(seconds: float) -> list[str]:
        return [sys.executable, __file__, *given, "--measure", str(seconds)]

    return Supervisor(measuring, environment, record, end).run()


def summarize(record: Record) -> None:
    """Print how many sub-parts of each part ended how, and what needs a look."""
    for part, entries in record.content["parts"].items():
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry["result"]] = counts.get(entry["result"], 0) + 1
        print(f"{part}: " + (", ".join(f"{count} {result}" for result, count in counts.items()) or "not begun"))
    for problem in record.problems():
        print(f"Look at {problem}")
    if record.content["stopped"]:
        print(f"Ended early: {record.content['stopped']}.")
    print(f"Written to {record.path}")


if __name__ == "__main__":
    sys.exit(main())
