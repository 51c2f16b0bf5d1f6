"""Slab after slab of a volume, with less at once, and finally on the CPU, when a device's memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

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
        slab = _Slab(volumes, compute, start, count)
        found = within_memory(slab.compute, slab.reduce)
        yield start, slab.stop, found
        start = slab.stop


class _Slab(Generic[Result]):
    """One slab, from its first slice `start` to before `stop`, which depends on the memory."""

    def __init__(
        self, volumes: Sequence[VolumePrediction], compute: Callable[[int, int], Result], start: int, count: int
    ):
        self._volumes, self._compute, self._start, self._count = volumes, compute, start, count
        self._done = [volume.pace.done for volume in volumes]
        self.stop, self._thickness = start, 0

    def compute(self) -> Result:
        for volume in self._volumes:
            volume.windows_tried = 0
        self._thickness = min(volume.thickness for volume in self._volumes)
        self.stop = min(self._start + self._thickness, self._count)
        return self._compute(self._start, self.stop)

    def reduce(self, shortage: Shortage) -> None:
        for volume, done in zip(self._volumes, self._done, strict=True):
            volume.pace.done = done
        _reduce(self._volumes, shortage, self._thickness)


def _reduce(volumes: Sequence[VolumePrediction], shortage: Shortage, thickness: int) -> None:
    """Compute less at once; `thickness`: of the slab that did not fit."""
    first = volumes[0]
    note = None
    if shortage == "memory":
        note = first.limits.reduce(
            first.device,
            max(volume.windows_tried for volume in volumes),
            thickness,
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
