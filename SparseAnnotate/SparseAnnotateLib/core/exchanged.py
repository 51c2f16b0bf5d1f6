"""What was exchanged with another tool."""

from __future__ import annotations

from dataclasses import dataclass

NNUNET_RUN = "nnU-Net"
"""The name of a run under which nnU-Net's predictions are kept, unless another one is given."""


@dataclass(frozen=True)
class Exchanged:
    """What was written or read: its path, its cases, and warnings about what could not be exchanged."""

    path: str
    cases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
