"""Batches prepared ahead of the training loop, in other threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from .augmentation import Augmentation
from .patches import PatchSampler

_BATCHES_AHEAD = 2
# A GPU is fed by as many threads as there are cores; on a CPU more would compete with the network.
THREADS_FOR_GPU = max(_BATCHES_AHEAD, min(8, os.cpu_count() or 1))

Batch = dict[str, torch.Tensor]


class Batches:
    """Batches prepared a little ahead in other threads; what they hold depends on seed and iteration only."""

    def __init__(
        self, sampler: PatchSampler, augmentation: Augmentation, numbers: list[int], start: int, for_gpu: bool
    ):
        self._sampler, self._augmentation, self._numbers, self._pinned = sampler, augmentation, numbers, for_gpu
        self._ahead = THREADS_FOR_GPU if for_gpu else _BATCHES_AHEAD
        self._pool = ThreadPoolExecutor(self._ahead)
        self._waiting: dict[int, Any] = {}
        for iteration in range(start, start + self._ahead):
            self._waiting[iteration] = self._pool.submit(self._prepare, iteration)

    def take(self, iteration: int) -> Batch:
        batch = self._waiting.pop(iteration).result()
        ahead = iteration + self._ahead
        self._waiting[ahead] = self._pool.submit(self._prepare, ahead)
        return batch

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, iteration: int) -> Batch:
        batch = self._augmentation(self._sampler.patches(iteration, self._numbers), iteration, self._numbers)
        return {key: tensor.pin_memory() for key, tensor in batch.items()} if self._pinned else batch
