"""The former place of the command line: job scripts and installations that start it here keep working."""

import importlib
import runpy
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand: `command_line.main.main`."""
    # By name: the worker's code does not depend on the command line.
    run = importlib.import_module("SparseAnnotateLib.command_line.main").main
    return int(run(arguments))


if __name__ == "__main__":
    runpy.run_module("SparseAnnotateLib.command_line", run_name="__main__", alter_sys=True)
