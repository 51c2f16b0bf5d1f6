"""What every benchmark shares: the machine it ran on, a printed table, and the same as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SPARSE_ANNOTATE_DATA", PROJECT.parent / "shared" / "data"))


def arguments(
    description: str | None, given: Sequence[str] | None = None, **extra: dict[str, Any]
) -> argparse.Namespace:
    """Command-line arguments of a benchmark: --quick, --json FILE, and `extra` (name to add_argument's options).

    They are read from `given`, by default from the command line.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a shorter run, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as JSON")
    for name, options in extra.items():
        parser.add_argument(f"--{name}", **options)
    return parser.parse_args(given)


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
    """Print a table of rows and, when asked for, write title, rows, machine, versions and seeds as JSON."""
    from rich.console import Console  # here, so that what is measured can be shared without it
    from rich.table import Table

    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    console = Console(width=140)
    console.print(table)
    for note in notes:
        console.print(note)
    if options.json:
        content = {
            "benchmark": title,
            "quick": options.quick,
            "rows": [dict(zip(columns, row, strict=True)) for row in rows],
            "notes": list(notes),
            "seeds": list(seeds),
            "machine": machine(),
        }
        path = Path(options.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
        console.print(f"Written to {path}")
