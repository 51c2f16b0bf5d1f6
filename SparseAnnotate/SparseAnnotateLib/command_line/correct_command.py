"""`correct`: say of the voxels around a point that they are a structure, or that they are not."""

from __future__ import annotations

from ..worker.correct_request import CorrectResult
from .shared_options import cohort_command, host_options
from .terminal_output import show_line, show_table


def add_correct(commands) -> None:
    text = "correct a case at a point; its fill is changed, and later results keep it"
    command = cohort_command(commands, "correct", text, show_correction)
    host_options(command)
    command.add_argument("case", metavar="CASE", help="name of the case")
    command.add_argument("--structure", default="", help="name of the structure")
    command.add_argument(
        "--at",
        nargs=3,
        type=float,
        default=(),
        metavar=("R", "A", "S"),
        help="the point in mm, as Slicer shows it (RAS)",
    )
    command.add_argument("--outside", action="store_true", help="the point is not in the structure")
    command.add_argument(
        "--radius",
        type=float,
        default=0.0,
        metavar="MM",
        help="radius of a ball in mm (default: two in-plane pixels)",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="time that the correction took, in seconds, for 'report' (default: 0)",
    )
    command.add_argument("--run", default="", metavar="RUN", help="change the result of this run instead of the fill")
    command.add_argument("--clear", action="store_true", help="remove all corrections of the case")
    command.set_defaults(only="", last=0)


def show_correction(result: CorrectResult) -> None:
    show_table([{name: getattr(result, name) for name in ("case", "corrections", "voxels", "changed", "path")}])
    for note in result.notes:
        show_line(note)
