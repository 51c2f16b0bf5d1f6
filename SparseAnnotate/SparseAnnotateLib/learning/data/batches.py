"""Batches prepared ahead of the training loop, in other threads."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

from ...core import CancelledError, Watch
from ...core.messages import _
from .augmentation import Augmentation
from .patches import PatchSampler

_BATCHES_AHEAD = 2
_WAIT = 0.1  # seconds between two looks at a request to cancel
# A GPU is fed by as many threads as there are cores; on a CPU more would compete with the network.
THREADS_FOR_GPU = max(_BATCHES_AHEAD, min(8, os.cpu_count() or 1))

Batch = dict[str, torch.Tensor]


class Batches:
    """Batches prepared a little ahead in other threads; what they hold depends on seed and iteration only.

    Large ones take many seconds, so that `watch` can cancel between two patches.
    """

    def __init__(
        self,
        sampler: PatchSampler,
        augmentation: Augmentation,
        numbers: list[int],
        start: int,
        for_gpu: bool,
        watch: Watch | None = None,
    ):
        self._sampler, self._augmentation, self._numbers, self._pinned = sampler, augmentation, numbers, for_gpu
        self._watch, self._is_closed = watch or Watch(), False
        self._ahead = THREADS_FOR_GPU if for_gpu else _BATCHES_AHEAD
        self._pool = ThreadPoolExecutor(self._ahead)
        self._waiting: dict[int, Future[Batch]] = {}
        for iteration in range(start, start + self._ahead):
            self._waiting[iteration] = self._pool.submit(self._prepare, iteration)

    def take(self, iteration: int) -> Batch:
        """The batch of an iteration; they are taken in order. Raises CancelledError."""
        waiting = self._waiting.pop(iteration)
        while not wait((waiting,), timeout=_WAIT).done:
            self._watch.check()
        batch = waiting.result()
        ahead = iteration + self._ahead
        self._waiting[ahead] = self._pool.submit(self._prepare, ahead)
        return batch

    def close(self) -> None:
        """End the threads; batches in preparation are dropped."""
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, iteration: int) -> Batch:
        patches = self._sampler.patches(iteration, self._numbers)
        batch = self._augmentation(patches, iteration, self._numbers, self._check)
        return {key: tensor.pin_memory() for key, tensor in batch.items()} if self._pinned else batch

    def _check(self) -> None:
        """Raise CancelledError when the batch in preparation is not needed any more."""
        self._watch.check()
        if self._is_closed:
            raise CancelledError(_("Cancelled."))
