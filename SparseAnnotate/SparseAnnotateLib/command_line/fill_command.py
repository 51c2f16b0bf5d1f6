"""`fill`: label the slices between drawn ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..interpolation import INTERPOLATORS
from ..worker.fill_request import FillRequest, FillResult
from .shared_options import DEVICES, choices, cohort_command
from .terminal_output import show_line, show_table


def add_fill(commands) -> None:
    command = cohort_command(commands, "fill", "fill between drawn slices", show_fills)
    defaults = FillRequest("")
    command.add_argument("--method", default=defaults.method, help=choices(INTERPOLATORS))
    command.add_argument("--steps", type=int, default=defaults.steps, help="training steps of 'propagation'")
    command.add_argument("--device", default=defaults.device, help=f"device for 'propagation': {DEVICES}")
    command.add_argument(
        "--beyond",
        type=int,
        metavar="N",
        help="largest number of slices to fill beyond the outermost drawn ones (default: automatic taper)",
    )
    command.add_argument("--methods", nargs="+", default=defaults.methods, help="methods that 'auto' may choose from")
    command.add_argument(
        "--time-limit", type=float, default=defaults.time_limit, help="seconds for one volume with 'morphological'"
    )


def show_fills(rows: Sequence[FillResult]) -> None:
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        show_line(summary)
    for row in rows:
        for sentence in row.warnings:
            show_line(f"'{row.case}': {sentence}")
