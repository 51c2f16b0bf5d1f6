"""Makes the GPU's memory small, and reads what is used of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limited_to(gigabytes: float, device: str) -> Iterator[None]:
    """This process gets no more than that from the GPU, although the driver reports more as free."""
    empty()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total), device)
    try:
        yield
    finally:
        empty()
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@contextmanager
def occupied_but(gigabytes: float, device: str) -> Iterator[None]:
    """All of the GPU's free memory is taken, but for that much: as by another program."""
    empty()
    free, _ = torch.cuda.mem_get_info(device)
    taken = torch.empty(max(1, int(free - gigabytes * 1e9)), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del taken
        empty()


def empty() -> None:
    """Give back what nothing uses any more."""
    gc.collect()
    torch.cuda.empty_cache()


def used_gigabytes(device: str) -> float:
    """The most that tensors have taken since `reset_used`."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.startswith("cuda") else 0.0


def reset_used(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def wait_for(device: str) -> None:
    """Wait until the GPU has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
