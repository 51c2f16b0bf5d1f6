"""Export and import of nnU-Net datasets and MONAI bundles."""

from __future__ import annotations

import argparse

from ..core.messages import counted
from ..worker.exchange_requests import Exchanged
from .shared_options import cohort_command
from .terminal_output import show_line


def add_export_nnunet(commands) -> None:
    _exchange(
        commands,
        "export-nnunet",
        "write the cohort as a raw nnU-Net v2 dataset, with undrawn voxels as its ignore label",
    )


def add_import_nnunet(commands) -> None:
    command = _exchange(
        commands, "import-nnunet", "make a cohort from a raw nnU-Net v2 dataset, or import nnU-Net predictions"
    )
    command.add_argument(
        "--predictions", metavar="FOLDER", help="folder of nnU-Net's label files, for an existing cohort"
    )
    command.add_argument("--run", help="name of the run under which the predictions are kept")


def add_export_bundle(commands) -> None:
    command = _exchange(commands, "export-bundle", "write a run's 3D model as a MONAI bundle")
    command.add_argument("--run", required=True, help="name of the run")


def add_import_bundle(commands) -> None:
    command = _exchange(commands, "import-bundle", "import a MONAI bundle that 'export-bundle' wrote, as a run")
    command.add_argument("--run", required=True, help="name of the run")


def _exchange(commands, name: str, text: str) -> argparse.ArgumentParser:
    command = cohort_command(commands, name, text, show_exchanged)
    what = "MONAI bundle" if "bundle" in name else "dataset, with a name such as Dataset501_Livers"
    command.add_argument("--folder", required=True, metavar="FOLDER", help=f"folder of the {what}")
    return command


def show_exchanged(result: Exchanged) -> None:
    cases = counted(len(result.cases), ": {count} case", ": {count} cases") if result.cases else ""
    show_line(f"{result.path}{cases}")
    for sentence in result.warnings:
        show_line(f"- {sentence}")
