"""The files of an image: headers may name others that hold the voxels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def named_files(folder: Path, name: str, numbers: Sequence[str] | None, listed: str | None) -> list[Path] | None:
    """The files that a header names: one, a list of them, or a pattern with its first and last number and its step.

    None when the pattern cannot be understood.

    Args:
        folder: of the header. name: of the file, or a pattern such as 'slice%03d.raw'.
        numbers: first, last and step given after a pattern, if any. listed: file names, one on each line.
    """
    if listed is not None:
        return [folder / line.strip() for line in listed.splitlines() if line.strip()]
    if "%" not in name:
        return [folder / name]
    if numbers is None or len(numbers) != 3 or not all(re.fullmatch(r"[0-9]{1,6}", word) for word in numbers):
        return None
    first, last, step = map(int, numbers)
    try:
        return [folder / (name % number) for number in range(first, last + 1, max(step, 1))]
    except (TypeError, ValueError, KeyError):
        return None
