"""`export-dicom`, and the options for DICOM of `create` and `add`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..core import Watch
from ..core.dicom_codes import parsed_codes
from ..worker.export_dicom_request import WrittenSegmentation
from .shared_options import cohort_command, request_of_options
from .terminal_output import show_line


def dicom_options(command: argparse.ArgumentParser) -> None:
    """The options of `create` and `add` for DICOM series."""
    command.add_argument(
        "--series",
        nargs="+",
        default=[],
        metavar="UID|DESCRIPTION",
        help="DICOM series to take, by series instance UID or description (default: all that are volumes)",
    )
    command.add_argument(
        "--time-point",
        type=int,
        default=0,
        metavar="N",
        help="of DICOM series with several images at each place (time points, echoes, b-values), take the N-th, from "
        "1; another one is another case",
    )
    command.add_argument(
        "--skip-unusable",
        action="store_true",
        help="take the other DICOM series when some cannot be used, for example because slices are missing",
    )
    command.add_argument(
        "--keep-source-paths",
        action="store_true",
        help="keep the paths of DICOM files in the cohort, for 'export-dicom'; they often name the patient",
    )


def add_export_dicom(commands) -> None:
    command = cohort_command(
        commands,
        "export-dicom",
        "write results as DICOM SEG files that refer to the DICOM series the cases were made from",
        show_written,
        _export,
    )
    command.add_argument("--out", required=True, metavar="FOLDER", help="folder for the files, one per case")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--run", help="export the predictions of this run (default: the fills)")
    what.add_argument(
        "--applied", action="store_true", help="export what was applied in Slicer, with what has been drawn since"
    )
    what.add_argument("--drawn", action="store_true", help="export the drawn slices and corrections alone")
    command.add_argument(
        "--dicom",
        metavar="FOLDER",
        help="where the DICOM series are (default: where they were when the cases were made, if "
        "'--keep-source-paths' kept it)",
    )
    command.add_argument(
        "--codes",
        nargs="+",
        default=[],
        metavar="NAME=SCHEME:VALUE:MEANING",
        help="code of a structure, for example liver=SCT:10200004:Liver (default: as known from Slicer or DICOM, else "
        "SCT 85756007 Tissue)",
    )


def _export(options: argparse.Namespace, watch: Watch) -> Any:
    codes = {name: found.for_slicer() for name, found in map(parsed_codes, options.codes)}
    return request_of_options(options, watch, codes=codes)


def show_written(rows: Sequence[WrittenSegmentation]) -> None:
    table = Table(Column("case", overflow="fold"), Column("file", overflow="fold"), "segments")
    for row in rows:
        segments = ", ".join(f"{segment['name']} ({segment['made']})" for segment in row.segments)
        table.add_row(Text(row.case), Text(row.path), Text(segments))
    Console(emoji=False).print(table)
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        show_line(f"- {note}")
