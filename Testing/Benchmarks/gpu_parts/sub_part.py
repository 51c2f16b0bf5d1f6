"""One thing that a part of the benchmark measures, and what all of them are given."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Skipped(Exception):
    """A sub-part that cannot run here; the message says why."""


@dataclass(frozen=True)
class SubPart:
    """One thing to measure.

    Attributes:
        name: unique in its part.
        run: returns the figures; with 'agrees' (True or False) among them where there is something to check. Raises
            Skipped.
        seconds: it is not started when less time than this is left.
        in_short: False when the shortened form leaves it out.
    """

    name: str
    run: Callable[[], dict[str, Any]]
    seconds: float = 5.0
    in_short: bool = True


@dataclass(frozen=True)
class Setting:
    """What the parts are given.

    Attributes:
        device: as torch names it. is_short: a run on the CPU, with tiny sizes.
        work: a folder for cohorts and runs, kept while the benchmark runs.
        end: on `time.monotonic`'s clock. options: of the command line.
    """

    device: str
    is_short: bool
    work: Path
    end: float
    options: Namespace

    @property
    def seconds_left(self) -> float:
        return self.end - time.monotonic()

    @property
    def has_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def require_gpu(self) -> None:
        """Raise Skipped on the CPU."""
        if not self.has_gpu:
            raise Skipped("no GPU")
