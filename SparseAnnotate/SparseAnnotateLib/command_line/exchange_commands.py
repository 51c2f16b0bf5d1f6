"""Data sets of nnU-Net and bundles of MONAI, there and back."""

from __future__ import annotations

import argparse

from ..worker.exchange_requests import Exchanged
from .shared_options import cohort_command
from .terminal_output import show_line


def add_export_nnunet(commands) -> None:
    _exchange(commands, "export-nnunet", "write the cohort as a raw data set of nnU-Net v2, undrawn voxels ignored")


def add_import_nnunet(commands) -> None:
    command = _exchange(
        commands, "import-nnunet", "make a cohort of a raw data set of nnU-Net v2, or take its predictions over"
    )
    command.add_argument("--predictions", metavar="FOLDER", help="nnU-Net's label files, for an existing cohort")
    command.add_argument("--run", help="name to keep the predictions under")


def add_export_bundle(commands) -> None:
    command = _exchange(commands, "export-bundle", "write a run's 3D model as a MONAI bundle")
    command.add_argument("--run", required=True)


def add_import_bundle(commands) -> None:
    command = _exchange(commands, "import-bundle", "take a MONAI bundle that was written so over as a run")
    command.add_argument("--run", required=True)


def _exchange(commands, name: str, text: str) -> argparse.ArgumentParser:
    command = cohort_command(commands, name, text, show_exchanged)
    command.add_argument("--folder", required=True, help="the data set or bundle")
    return command


def show_exchanged(result: Exchanged) -> None:
    show_line(f"{result.path}: {len(result.cases)} cases" if result.cases else result.path)
    for sentence in result.warnings:
        show_line(f"- {sentence}")
