"""The memory of the pretend GPU, which runs out, and what is counted of its use."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable

import torch


class PretendGpu:
    """The state of the pretend GPU.

    Attributes:
        device: 'cuda:0'. is_pretend: True.
        total, taken: bytes of its memory, and of those that other programs use.
        allowed: bytes that this process may have; the driver does not know of this limit.
        capability: compute capability; bf16 begins with (8, 0).
        allocated, cached, peak: bytes of tensors, of freed ones that torch keeps, and the most of the former so far.
        copies_in, copies_out: number of copies from the host and to it; bytes_in, bytes_out: their sizes.
        waits: operations, copies aside, after which the host waits for the GPU, by name.
        pinned: tensors that were put into pinned memory.
        emptied: how often the cache was emptied.
    """

    device = "cuda:0"
    is_pretend = True

    def __init__(self, total: int, taken: int, capability: tuple[int, int]):
        self.total, self.taken, self.capability, self.allowed = total, taken, capability, total
        self.allocated = self.cached = self.peak = self.emptied = 0
        self._lock = threading.RLock()
        self._storages: Counter[int] = Counter()
        self._failures: list[_Failure] = []
        self.forget_counts()

    def forget_counts(self) -> None:
        """Count copies and waits from 0 again, and the peak from what is allocated now."""
        self.copies_in = self.copies_out = self.bytes_in = self.bytes_out = self.pinned = 0
        self.waits: Counter[str] = Counter()
        self.peak = self.allocated

    @property
    def free(self) -> int:
        """Bytes that the driver would call free: what torch's cache holds is not."""
        return max(0, self.total - self.taken - self.allocated - self.cached)

    def fail_at_convolution(
        self, number: int, times: int = 1, error: Callable[[], Exception] | None = None, larger_than: int = 0
    ) -> None:
        """Fail at the next convolutions from the `number`-th on (from 1), `times` times.

        Args:
            error: what is raised; by default torch's error when memory has run out.
            larger_than: only convolutions whose input has more elements count.
        """
        self._failures.append(_Failure(number, times, error or (lambda: self._out_of_memory(0)), larger_than))

    def before_convolution(self, elements: int) -> None:
        """Raise the error that `fail_at_convolution` asked for at this one, if any."""
        for failure in self._failures:
            if failure.is_due(elements):
                raise failure.error()

    def _out_of_memory(self, wanted: int) -> torch.OutOfMemoryError:
        return torch.OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {wanted} bytes. GPU 0 has a total capacity of {self.total} bytes "
            f"of which {self.free} bytes is free. {self.allocated} bytes is allocated by PyTorch."
        )

    def take(self, tensor: torch.Tensor, holder: torch.Tensor) -> None:
        """Allocate a tensor for as long as `holder` lives; raises torch.OutOfMemoryError."""
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if size == 0:
            return
        with self._lock:
            if not self._storages[key]:
                if self.allocated + size > min(self.total - self.taken, self.allowed):
                    del self._storages[key]
                    raise self._out_of_memory(size)
                self.cached = max(0, self.cached - size)
                self.allocated += size
                self.cached = min(self.cached, self.total - self.taken - self.allocated)
                self.peak = max(self.peak, self.allocated)
            self._storages[key] += 1
        weakref.finalize(holder, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        with self._lock:
            self._storages[key] -= 1
            if not self._storages[key]:
                del self._storages[key]
                self.allocated -= size
                self.cached += size

    def allow(self, fraction: float, device: object = None) -> None:
        """As `torch.cuda.set_per_process_memory_fraction`."""
        self.allowed = int(fraction * self.total)

    def empty_cache(self) -> None:
        """As `torch.cuda.empty_cache`."""
        self.cached, self.emptied = 0, self.emptied + 1


class _Failure:
    def __init__(self, number: int, times: int, error: Callable[[], Exception], larger_than: int):
        self.error = error
        self._before, self._left, self._larger_than = number - 1, times, larger_than

    def is_due(self, elements: int) -> bool:
        if elements <= self._larger_than or not self._left:
            return False
        if self._before:
            self._before -= 1
            return False
        self._left -= 1
        return True
