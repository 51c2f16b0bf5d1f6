"""`create` and `draw`: a cohort folder, and its slices drawn as references show them."""

from __future__ import annotations

import argparse
from typing import Any

from ..core import Watch
from ..worker.create_request import CreateRequest, create, parsed_labels
from .shared_options import cohort_command
from .terminal_output import show_table


def add_create(commands) -> None:
    command = cohort_command(
        commands, "create", "make a cohort folder from image files, or add image files to one", show_table, _create
    )
    command.add_argument("images", nargs="+", help="image files (NRRD, NIfTI, MetaImage)")
    command.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="names of labels, e.g. 1=liver")
    command.add_argument(
        "--references",
        nargs="*",
        default=[],
        help="dense label files, in the order of the images; refused where their names say otherwise",
    )
    command.add_argument(
        "--names", nargs="+", default=[], help="of the cases, in the order of the images (default: those of the files)"
    )
    command.add_argument(
        "--name-from",
        choices=("file", "parent"),
        default="file",
        help="name cases by their files, and by folders where files are called alike; or by the folder they lie in",
    )
    import_modes = command.add_mutually_exclusive_group()
    import_modes.add_argument(
        "--copy-images",
        dest="import_mode",
        action="store_const",
        const="copy",
        default="link",
        help="images go into the cohort folder, so that it can be copied and moved, as hard links, which take no disk "
        "(where the file system has none, the images stay where they are): with this option as copies there",
    )
    import_modes.add_argument(
        "--leave-images",
        dest="import_mode",
        action="store_const",
        const="leave",
        help="keep only the paths of images outside the cohort folder; relative ones, where both lie in one project",
    )


def add_draw(commands) -> None:
    cohort_command(commands, "draw", "draw the worklist as the references show it (experiments)", show_table)


def _create(options: argparse.Namespace, watch: Watch) -> Any:
    request = CreateRequest(
        options.cohort,
        tuple(options.images),
        tuple(options.references),
        parsed_labels(options.labels),
        tuple(options.names),
        options.name_from,
        options.import_mode,
    )
    return create(request, watch)
