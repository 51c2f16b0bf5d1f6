"""Slab after slab of a volume, with less at once, and finally on the CPU, when a device's memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ...core import RunError
from ...core.messages import _
from ..devices import Shortage, within_memory
from .limits import Limits

if TYPE_CHECKING:
    from .volume_prediction import VolumePrediction

Result = TypeVar("Result")


def computed_slabs(
    volumes: Sequence[VolumePrediction], compute: Callable[[int, int], Result]
) -> Iterator[tuple[int, int, Result]]:
    """First slice of each slab, the one after its last, and what `compute` returns for these.

    When memory runs out less is computed at once, which holds for later volumes, too; when even the least does not fit,
    the rest of the volume is predicted on the CPU. Each change is noted (`VolumePrediction.note`).

    Args:
        volumes: predictions of the same volume by different runs, or just one.
        compute: from what the predictions give to arrays in the CPU's memory.

    Raises RunError when there is too little memory for a thin slab on the CPU.
    """
    for volume in volumes[1:]:
        volume.limits = volumes[0].limits
    start, count = 0, volumes[0].slice_count
    while start < count:
        begun = [volume.pace.done for volume in volumes]

        def attempt(start: int = start) -> tuple[int, Result]:
            stop = min(start + min(volume.thickness for volume in volumes), count)
            return stop, compute(start, stop)

        def reduce(shortage: Shortage, begun: list[int] = begun) -> None:
            for volume, done in zip(volumes, begun, strict=True):
                volume.pace.done = done
            _reduce(volumes, shortage)

        stop, found = within_memory(attempt, reduce)
        yield start, stop, found
        start = stop


def _reduce(volumes: Sequence[VolumePrediction], shortage: Shortage) -> None:
    first = volumes[0]
    note = None
    if shortage == "memory":
        note = first.limits.reduce(
            first.device,
            max(volume.windows for volume in volumes),
            min(volume.thickness for volume in volumes),
            max(volume.thinnest for volume in volumes),
        )
    if note is None and first.device == "cpu":
        raise RunError(_("There is too little memory to predict even a thin part of the volume. Close other programs."))
    if note is None:
        template = (
            _("'{device}' has too little memory for a single window: this case is predicted on the CPU, which is slow.")
            if shortage == "memory"
            else _("'{device}' cannot compute this network: this case is predicted on the CPU, which is slow.")
        )
        note = template.format(device=first.device)
        on_cpu = Limits()
        for volume in volumes:
            volume.move_to_cpu(on_cpu)
    logging.getLogger(__name__).warning(note)
    first.note(note)
