"""A pretend GPU: tensors with real values on the CPU that say they are on 'cuda:0' and refuse to be mixed with others.

Within `pretend_card()` torch finds a GPU. What is computed there has the values of the CPU, so results can be compared;
mixing tensors of the host and of the GPU raises what torch raises. Its memory has a size and runs out, what was freed
stays in torch's cache until that is emptied, and copies and operations that wait for the GPU are counted. It does not
imitate autocast (all is computed in fp32), streams, nor the speed.

Tensors of other threads count as well, if the thread was started within.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NAME = "Pretend GPU"
_WAITING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique_dim", "_unique2")
# These take tensors of both sides.
_COPYING = ("copy_", "_to_copy")
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
# These do not even take a scalar of the other side.
_STRICT = ("cat", "stack", "mm", "bmm", "addmm", "convolution", "native_group_norm", "native_batch_norm", "gather")


class PretendCard:
    """The state of the pretend GPU.

    Attributes:
        device: 'cuda:0'. is_pretend: True.
        total, taken: bytes of its memory, and of those that other programs use.
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
        self.total, self.taken, self.capability = total, taken, capability
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

    def _before_convolution(self, elements: int) -> None:
        for failure in self._failures:
            if failure.is_due(elements):
                raise failure.error()

    def _out_of_memory(self, wanted: int) -> torch.OutOfMemoryError:
        return torch.OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {wanted} bytes. GPU 0 has a total capacity of {self.total} bytes "
            f"of which {self.free} bytes is free. {self.allocated} bytes is allocated by PyTorch."
        )

    def _take(self, tensor: torch.Tensor, holder: OnCard) -> None:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if size == 0:
            return
        with self._lock:
            if not self._storages[key]:
                if self.allocated + size > self.total - self.taken:
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

    def _empty_cache(self) -> None:
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


class OnCard(torch.Tensor):
    """A tensor on the pretend GPU; `held` has its values."""

    held: torch.Tensor
    card: PretendCard
    place: torch.device

    @staticmethod
    def __new__(cls, held: torch.Tensor, card: PretendCard, place: torch.device):
        # For autograd a tensor of the device 'meta', which needs no thread of its own for the backward pass.
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device("meta"),
            requires_grad=False,
        )
        card._take(held, made)
        made.held, made.card, made.place = held, card, place
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        card = next(t.card for t in _tensors(args, kwargs or {}) if isinstance(t, OnCard))
        return _computed(card, func, args, kwargs or {})

    # Properties that torch answers without asking the dispatcher.
    device = property(lambda self: self.place)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)

    def __repr__(self, **_nothing) -> str:
        return f"tensor(..., device='{self.place}', size={tuple(self.shape)}, dtype={self.dtype})"

    def __deepcopy__(self, memo: dict):
        with torch.no_grad():
            copied = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def to(self, *args, **kwargs):
        if args and isinstance(args[0], torch.Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, _waits, layout = torch._C._nn._parse_to(
            *args, **{k: v for k, v in kwargs.items() if k != "copy"}
        )
        same = device is None or (device.type == "cuda" and (device.index or 0) == self.place.index)
        if same and dtype in (None, self.dtype) and layout is None and not kwargs.get("copy"):
            return self
        return super().to(*args, **kwargs)

    def new_tensor(self, data, dtype=None, **kwargs):
        return torch.tensor(data, dtype=dtype or self.dtype, device=kwargs.pop("device", self.place), **kwargs)

    def numpy(self, *args, **kwargs):
        raise TypeError(
            f"can't convert {self.place} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def tolist(self):
        self.card.waits["tolist"] += 1
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def is_pinned(self, *args, **kwargs) -> bool:
        return False


def _computed(card: PretendCard, func, args: tuple, kwargs: dict) -> Any:
    """What an operation gives, on its device. Raises as torch does when devices are mixed or memory runs out."""
    tensors = _tensors(args, kwargs)
    on_card = [t for t in tensors if isinstance(t, OnCard)]
    wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if wanted is not None and wanted.type == "meta":  # 'like this tensor', of one on the card
        wanted = on_card[0].place if on_card else torch.device("cuda:0")
    elif wanted is not None and wanted.type == "cuda":
        wanted = torch.device("cuda", wanted.index or 0)
    if not on_card and (wanted is None or wanted.type != "cuda"):
        return func(*args, **kwargs)
    name = func._schema.name.partition("::")[2]
    _check_devices(name, args, tensors)
    if "inplace_view" in {tag.name for tag in func.tags}:
        raise NotImplementedError(f"The pretend GPU does not imitate {name}.")
    if name in _WAITING or (name in _INDEXING and _has_mask(args[1])):
        card.waits[name] += 1
    if name == "convolution":
        card._before_convolution(args[0].numel())
    if name in _COPYING:
        _count_copy(card, args, wanted)
    arguments, options = [_mapped(_held, a) for a in args], {key: _mapped(_held, a) for key, a in kwargs.items()}
    if wanted is not None:
        options["device"] = torch.device("cpu") if wanted.type == "cuda" else wanted
        options.pop("pin_memory", None)
    found = func(*arguments, **options)
    place = wanted if wanted is not None else _place(name, args, on_card)
    if place.type != "cuda":
        return found
    own = {id(t.held): t for t in on_card}

    def on_its_device(value):
        if not isinstance(value, torch.Tensor):
            return value
        return own[id(value)] if id(value) in own else OnCard(value, card, place)

    return _mapped(on_its_device, found)


def _tensors(args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """All tensors among the arguments of an operation, also those in lists."""
    found = []
    for value in (*args, *kwargs.values()):
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, torch.Tensor):
                found.append(part)
    return found


def _mapped(function: Callable, value):
    """A function of a value, or of each one of a list."""
    return type(value)(function(part) for part in value) if isinstance(value, (list, tuple)) else function(value)


def _held(value):
    return value.held if isinstance(value, OnCard) else value


def _place(name: str, args: tuple, on_card: list[OnCard]) -> torch.device:
    if name in (*_INDEXING, "copy_"):
        return args[0].device
    return next((t.place for t in on_card if t.dim() > 0), on_card[0].place)


def _has_mask(indices) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _check_devices(name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
    if name in _COPYING:
        return
    if name in _INDEXING:
        on_host = [i for i in args[1] if i is not None and not isinstance(i, OnCard)]
        if not isinstance(args[0], OnCard) and len(on_host) < sum(i is not None for i in args[1]):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        tensors = [args[0], *(v for v in args[2:3] if isinstance(v, torch.Tensor))]
    # A scalar on the host may be mixed with tensors of the card; not the other way round.
    bound = {t.device for t in tensors if isinstance(t, OnCard) or t.dim() > 0 or name in _STRICT}
    if len(bound) > 1:
        found = " and ".join(sorted((str(device) for device in bound), reverse=True))
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {found}! (in {name} of "
            f"{[tuple(t.shape) for t in tensors]})"
        )


def _count_copy(card: PretendCard, args: tuple, wanted: torch.device | None) -> None:
    if wanted is None and len(args) < 2:  # another dtype or layout on the same device
        return
    source = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else args[0]
    target = wanted.type if wanted is not None else args[0].device.type
    if source.device.type == target:
        return
    size = source.numel() * source.element_size()
    if target == "cuda":
        card.copies_in, card.bytes_in = card.copies_in + 1, card.bytes_in + size
    else:
        card.copies_out, card.bytes_out = card.copies_out + 1, card.bytes_out + size


class _Dispatch(TorchDispatchMode):
    """Sees operations that make tensors on the card out of none."""

    def __init__(self, card: PretendCard):
        super().__init__()
        self._card = card

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(self._card, func, args, kwargs or {})


@contextlib.contextmanager
def pretend_card(
    total: int = 8 << 30, taken: int = 0, capability: tuple[int, int] = (8, 0), count: int = 1
) -> Iterator[PretendCard]:
    """A context in which torch finds a GPU; everything is as before afterwards.

    Args:
        total, taken: bytes of its memory, and of those that other programs use. capability: compute capability.
        count: how many GPUs there are; all share one memory.
    """
    card = PretendCard(total, taken, capability)
    with contextlib.ExitStack() as patches:

        def replaced(place: Any, name: str, value: Any) -> None:
            patches.enter_context(mock.patch.object(place, name, value))

        for name, value in _driver(card, count).items():
            replaced(torch.cuda, name, value)
        for name in ("tensor", "as_tensor", "asarray"):
            replaced(torch, name, _made_on_host(getattr(torch, name)))
        # A tensor of inference mode has no version, which tensors of another kind need.
        replaced(torch, "inference_mode", torch.no_grad)
        replaced(torch.Tensor, "to", _moved_to_number_0(torch.Tensor.to))
        replaced(torch.Tensor, "pin_memory", _pinned(card))
        replaced(threading.Thread, "run", _run_within(card))
        with _Dispatch(card):
            yield card


def _driver(card: PretendCard, count: int) -> dict[str, Any]:
    """What torch.cuda says and does."""
    properties = SimpleNamespace(
        name=_NAME,
        total_memory=card.total,
        major=card.capability[0],
        minor=card.capability[1],
        multi_processor_count=1,
    )
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: _NAME,
        "get_device_capability": lambda device=None: card.capability,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *_nothing, **_more: card.capability >= (8, 0),
        "mem_get_info": lambda device=None: (card.free, card.total),
        "memory_allocated": lambda device=None: card.allocated,
        "max_memory_allocated": lambda device=None: card.peak,
        "memory_reserved": lambda device=None: card.allocated + card.cached,
        "max_memory_reserved": lambda device=None: card.peak + card.cached,
        "reset_peak_memory_stats": lambda device=None: setattr(card, "peak", card.allocated),
        "empty_cache": card._empty_cache,
        "synchronize": lambda device=None: card.waits.update(["synchronize"]),
        "manual_seed_all": lambda seed: None,
    }


def _made_on_host(make: Callable) -> Callable:
    """`torch.tensor` and its like make the values on the host, without the dispatcher, and copy them."""

    def made(data, *args, device=None, **kwargs):
        if isinstance(data, OnCard) or device is None or torch.device(device).type in ("cpu", "meta"):
            return make(data, *args, **kwargs, **({} if device is None else {"device": device}))
        return make(data, *args, **kwargs).to(device)

    return made


def _moved_to_number_0(move: Callable) -> Callable:
    """`Tensor.to`, which would ask the driver for the number of the GPU that 'cuda' means."""

    def numbered(value):
        if isinstance(value, (str, torch.device)) and str(value) == "cuda":
            return torch.device("cuda:0")
        return value

    def to(tensor: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        return move(tensor, *map(numbered, args), **{key: numbered(value) for key, value in kwargs.items()})

    return to


def _pinned(card: PretendCard) -> Callable:
    def pin_memory(tensor: torch.Tensor, *_args, **_kwargs) -> torch.Tensor:
        if isinstance(tensor, OnCard):
            raise RuntimeError(f"cannot pin '{tensor.place}' only dense CPU tensors can be pinned")
        card.pinned += 1
        return tensor

    return pin_memory


def _run_within(card: PretendCard) -> Callable:
    run = threading.Thread.run

    def run_within(thread: threading.Thread) -> None:
        with _Dispatch(card):
            run(thread)

    return run_within


def size_of(*shape: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize
