"""The options for a budget of slices or minutes, the same in every command that takes one."""

from __future__ import annotations

import argparse
from typing import get_args

from ..selection import Budget, Per, Scope

_OLDER = argparse.SUPPRESS  # older spellings, which still work


def add_budget_options(command: argparse.ArgumentParser, counts_drawn: bool) -> None:
    """Add the options; `counts_drawn` when slices drawn already count, so that one can ask for more of them."""
    budget = command.add_mutually_exclusive_group(required=True)
    budget.add_argument("--slices", type=int, metavar="N", help="number of slices")
    budget.add_argument("--density", type=_share, metavar="SHARE", help="share of the slices: 0.1 or 10%% for a tenth")
    budget.add_argument("--every", type=int, metavar="K", help="one of every K slices, rounded down")
    budget.add_argument("--minutes", type=float, metavar="M", help="minutes to spend drawing from now on")
    if counts_drawn:
        budget.add_argument(
            "--more", type=int, metavar="N", help="number of slices, in addition to those drawn already"
        )
        budget.add_argument("--per-volume", type=int, help=_OLDER)
        budget.add_argument("--total", type=int, help=_OLDER)
    kinds = "--slices, --more and --minutes" if counts_drawn else "--slices and --minutes"
    planes = " (--slices, --density and --every: and for each plane, unless planes share it)" if counts_drawn else ""
    command.add_argument(
        "--per",
        choices=get_args(Per),
        help=f"volume: the budget is for each volume{planes}; cohort: it is for all volumes together. Default: cohort "
        f"with {kinds}, volume with --density and --every",
    )
    command.add_argument(
        "--seconds-per-slice",
        type=float,
        metavar="SECONDS",
        help="time to draw a slice (default: the mean of the slices timed so far)",
    )


def _share(text: str) -> float:
    """A share given as '0.1' or '10%'."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share. Give one such as 0.1 or 10%.") from None


def budget_of(options: argparse.Namespace) -> Budget:
    """The budget that the options give. Raises BadInputError for an impossible one."""
    is_each = options.per == "volume" and options.slices is not None
    older_each, older_total = getattr(options, "per_volume", None), getattr(options, "total", None)
    return Budget(
        density=options.density,
        every=options.every,
        per_volume=options.slices if is_each else older_each,
        total=options.slices if options.slices is not None and not is_each else older_total,
        minutes=options.minutes,
        more=getattr(options, "more", None),
        per=options.per,
        scope=Scope.named(getattr(options, "scope", Budget.scope)),
        minimum=getattr(options, "minimum", None),
        maximum=getattr(options, "maximum", None),
        seconds_per_slice=options.seconds_per_slice,
    )
