"""Makes the GPU's memory small, and reads what is used of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALLEST_PIECE = 2 << 20


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
    taken = _all_but(int(gigabytes * 1e9), device)
    try:
        yield
    finally:
        taken.clear()
        empty()


def _all_but(left: int, device: str) -> list[torch.Tensor]:
    """Tensors that leave that many bytes free, in pieces: the driver may have no single one as large as all of them."""
    taken: list[torch.Tensor] = []
    piece = 1 << 30
    while piece >= _SMALLEST_PIECE:
        size = min(piece, torch.cuda.mem_get_info(device)[0] - left)
        if size < _SMALLEST_PIECE:
            break
        try:
            taken.append(torch.empty(size, dtype=torch.uint8, device=device))
        except torch.OutOfMemoryError:
            piece //= 4
    return taken


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
