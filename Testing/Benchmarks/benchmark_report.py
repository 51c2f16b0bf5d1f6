"""What every benchmark shares: its options, the commit and machine it ran on, a printed table, the same as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
# The library of this clone, whose commit is reported: another one may be installed.
sys.path.insert(0, str(PROJECT / "SparseAnnotate"))
DATA = Path(os.environ.get("SPARSE_ANNOTATE_DATA", PROJECT.parent / "shared" / "data"))


def options_parser(description: str, **extra: dict[str, Any]) -> argparse.ArgumentParser:
    """The parser of a benchmark's options: --quick, --json FILE, and `extra` (name to add_argument's options)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a shorter run, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as JSON")
    for name, options in extra.items():
        parser.add_argument(f"--{name}", **options)
    return parser


def _commit() -> str:
    """Short hash of the checked-out commit, followed by '+changes' when tracked files differ from it.

    Of a copy without its history, what the environment variable SPARSE_ANNOTATE_COMMIT says.
    """
    if stated := os.environ.get("SPARSE_ANNOTATE_COMMIT"):
        return stated
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=PROJECT, check=True, capture_output=True, text=True).stdout.strip()


def command() -> str:
    """The command that repeats this run."""
    return f"Testing/run bench {shlex.join([Path(sys.argv[0]).stem, *sys.argv[1:]])}"


COMMIT = _commit()  # of the code that was loaded; a long run may outlast what is checked out


def machine() -> dict[str, str]:
    """The machine and the versions a figure belongs to."""
    packages = ("sparse-annotate", "torch", "monai", "numpy", "scipy", "SimpleITK", "vtk")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    options: argparse.Namespace,
    seeds: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> None:
    """Print a table of rows and, when asked for, write title, rows, commit, command, machine and seeds as JSON."""
    from rich.console import Console  # here, so that what is measured can be shared without it
    from rich.table import Table

    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    console = Console(width=140)
    console.print(table)
    for note in notes:
        console.print(note)
    console.print(f"Commit {COMMIT}: {command()}", highlight=False)
    if options.json:
        content = {
            "benchmark": title,
            "quick": options.quick,
            "rows": [dict(zip(columns, row, strict=True)) for row in rows],
            "notes": list(notes),
            "seeds": list(seeds),
            "commit": COMMIT,
            "command": command(),
            "machine": machine(),
        }
        path = Path(options.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
        console.print(f"Written to {path}")
