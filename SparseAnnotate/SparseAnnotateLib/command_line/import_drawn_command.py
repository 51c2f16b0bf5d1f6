"""`import-drawn`: take in slices that were drawn in another program."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..core import Plane, Watch
from ..core.messages import counted
from ..worker.create_request import parsed_labels
from ..worker.import_drawn_request import ImportDrawnRequest, TakenMask
from .shared_options import cohort_command, request_of_options
from .terminal_output import show_line, show_notes


def add_import_drawn(commands) -> None:
    command = cohort_command(
        commands,
        "import-drawn",
        "take slices that were drawn in another program (ITK-SNAP, MITK, Slicer) from mask files",
        show_taken,
        _import_drawn,
    )
    command.add_argument(
        "masks",
        nargs="+",
        metavar="MASKS",
        help="label files named like their cases, or folders or patterns of them ('masks/*_seg.nii.gz'); or DICOM SEG "
        "files of the DICOM series that the cases were made from, or folders of them",
    )
    planes = [plane.value for plane in ImportDrawnRequest.planes]
    command.add_argument(
        "--planes",
        nargs="+",
        default=planes,
        help=f"planes in which the slices were drawn: axial, coronal, sagittal (default: {', '.join(planes)})",
    )
    drawn = command.add_mutually_exclusive_group()
    drawn.add_argument(
        "--slices",
        nargs="+",
        default=[],
        metavar="N",
        help="the drawn slices of every mask, counted from 0, for example 3 10-14 20; without them, those that show a "
        "structure",
    )
    drawn.add_argument(
        "--slices-from", metavar="CSV", help="file with the drawn slices, in the columns case, plane and index"
    )
    command.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="VALUE=NAME",
        help="which structure each label of the masks is (default: by the names in the file's header, or as in the "
        "cohort)",
    )
    command.add_argument(
        "--decided",
        nargs="+",
        default=[],
        metavar="NAME",
        help="the structures that the slices decide; the others stay unknown on them (default: all)",
    )
    command.add_argument(
        "--ignore-label", type=int, metavar="VALUE", help="label of undecided voxels, such as nnU-Net's ignore label"
    )
    command.add_argument(
        "--replace", action="store_true", help="draw slices as the mask shows them where they are drawn differently"
    )


def _import_drawn(options: argparse.Namespace, watch: Watch) -> Any:
    planes = tuple(map(Plane.named, options.planes))
    return request_of_options(options, watch, planes=planes, labels=parsed_labels(options.labels))


def show_taken(rows: Sequence[TakenMask]) -> None:
    if not rows:
        show_line("No mask was taken.")
        return
    table = Table(Column("case", overflow="fold"), "slices taken", "structures")
    for row in rows:
        table.add_row(Text(row.case), row.slices, Text(", ".join(row.structures) or "none"))
    Console(emoji=False).print(table)
    new, replaced, same = (sum(getattr(row, kind) for row in rows) for kind in ("new", "replaced", "unchanged"))
    show_line(f"{counted(new, '{count} slice is', '{count} slices are')} new, {replaced} replaced, {same} unchanged.")
    show_notes((row.case, note) for row in rows for note in row.notes)
