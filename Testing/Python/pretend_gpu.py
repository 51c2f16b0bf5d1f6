"""A pretend GPU: tensors with real values on the CPU that say they are on 'cuda:0' and refuse to be mixed with others.

Within `pretend_gpu()` torch finds a GPU. What is computed there has the values of the CPU, so results can be compared;
mixing tensors of the host and of the GPU raises what torch raises. Its memory has a size and runs out, what was freed
stays in torch's cache until that is emptied, and copies and operations that wait for the GPU are counted. It does not
imitate autocast (all is computed in fp32), streams, nor the speed.

Tensors of other threads count as well, if the thread was started within.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pretend_gpu_memory import PretendGpu

_NAME = "Pretend GPU"
_WAITING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique_dim", "_unique2")
# These take tensors of both sides.
_COPYING = ("copy_", "_to_copy")
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
# These do not even take a scalar of the other side.
_STRICT = ("cat", "stack", "mm", "bmm", "addmm", "convolution", "native_group_norm", "native_batch_norm", "gather")


class OnGpu(torch.Tensor):
    """A tensor on the pretend GPU; `held` has its values."""

    held: torch.Tensor
    gpu: PretendGpu
    place: torch.device

    @staticmethod
    def __new__(cls, held: torch.Tensor, gpu: PretendGpu, place: torch.device):
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
        gpu.take(held, made)
        made.held, made.gpu, made.place = held, gpu, place
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        gpu = next(t.gpu for t in _tensors(args, kwargs or {}) if isinstance(t, OnGpu))
        return _computed(gpu, func, args, kwargs or {})

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
        self.gpu.waits["tolist"] += 1
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def is_pinned(self, *args, **kwargs) -> bool:
        return False


def _computed(gpu: PretendGpu, func, args: tuple, kwargs: dict) -> Any:
    """What an operation gives, on its device. Raises as torch does when devices are mixed or memory runs out."""
    tensors = _tensors(args, kwargs)
    on_gpu = [t for t in tensors if isinstance(t, OnGpu)]
    wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if wanted is not None and wanted.type == "meta":  # 'like this tensor', of one on the GPU
        wanted = on_gpu[0].place if on_gpu else torch.device("cuda:0")
    elif wanted is not None and wanted.type == "cuda":
        wanted = torch.device("cuda", wanted.index or 0)
    if not on_gpu and (wanted is None or wanted.type != "cuda"):
        return func(*args, **kwargs)
    name = func._schema.name.partition("::")[2]
    _check_devices(name, args, tensors)
    if "inplace_view" in {tag.name for tag in func.tags}:
        raise NotImplementedError(f"The pretend GPU does not imitate {name}.")
    if name in _WAITING or (name in _INDEXING and _has_mask(args[1])):
        gpu.waits[name] += 1
    if name == "convolution":
        gpu.before_convolution(args[0].numel())
    if name in _COPYING:
        _count_copy(gpu, args, wanted)
    arguments, options = [_mapped(_held, a) for a in args], {key: _mapped(_held, a) for key, a in kwargs.items()}
    if wanted is not None:
        options["device"] = torch.device("cpu") if wanted.type == "cuda" else wanted
        options.pop("pin_memory", None)
    found = func(*arguments, **options)
    place = wanted if wanted is not None else _place(name, args, on_gpu)
    if place.type != "cuda":
        return found
    own = {id(t.held): t for t in on_gpu}

    def on_its_device(value):
        if not isinstance(value, torch.Tensor):
            return value
        return own[id(value)] if id(value) in own else OnGpu(value, gpu, place)

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
    return value.held if isinstance(value, OnGpu) else value


def _place(name: str, args: tuple, on_gpu: list[OnGpu]) -> torch.device:
    if name in (*_INDEXING, "copy_"):
        return args[0].device
    return next((t.place for t in on_gpu if t.dim() > 0), on_gpu[0].place)


def _has_mask(indices) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _check_devices(name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
    if name in _COPYING:
        return
    if name in _INDEXING:
        on_host = [i for i in args[1] if i is not None and not isinstance(i, OnGpu)]
        if not isinstance(args[0], OnGpu) and len(on_host) < sum(i is not None for i in args[1]):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        tensors = [args[0], *(v for v in args[2:3] if isinstance(v, torch.Tensor))]
    # A scalar on the host may be mixed with tensors of the GPU; not the other way round.
    bound = {t.device for t in tensors if isinstance(t, OnGpu) or t.dim() > 0 or name in _STRICT}
    if len(bound) > 1:
        found = " and ".join(sorted((str(device) for device in bound), reverse=True))
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {found}! (in {name} of "
            f"{[tuple(t.shape) for t in tensors]})"
        )


def _count_copy(gpu: PretendGpu, args: tuple, wanted: torch.device | None) -> None:
    if wanted is None and len(args) < 2:  # another dtype or layout on the same device
        return
    source = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else args[0]
    target = wanted.type if wanted is not None else args[0].device.type
    if source.device.type == target:
        return
    size = source.numel() * source.element_size()
    if target == "cuda":
        gpu.copies_in, gpu.bytes_in = gpu.copies_in + 1, gpu.bytes_in + size
    else:
        gpu.copies_out, gpu.bytes_out = gpu.copies_out + 1, gpu.bytes_out + size


class _Dispatch(TorchDispatchMode):
    """Sees operations that make tensors on the GPU out of none."""

    def __init__(self, gpu: PretendGpu):
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(self._gpu, func, args, kwargs or {})


@contextlib.contextmanager
def pretend_gpu(
    total: int = 8 << 30, taken: int = 0, capability: tuple[int, int] = (8, 0), count: int = 1
) -> Iterator[PretendGpu]:
    """A context in which torch finds a GPU; everything is as before afterwards.

    Args:
        total, taken: bytes of its memory, and of those that other programs use. capability: compute capability.
        count: how many GPUs there are; all share one memory.
    """
    gpu = PretendGpu(total, taken, capability)
    with contextlib.ExitStack() as patches:

        def replaced(place: Any, name: str, value: Any) -> None:
            patches.enter_context(mock.patch.object(place, name, value))

        for name, value in _driver(gpu, count).items():
            replaced(torch.cuda, name, value)
        for name in ("tensor", "as_tensor", "asarray"):
            replaced(torch, name, _made_on_host(getattr(torch, name)))
        # A tensor of inference mode has no version, which tensors of another kind need.
        replaced(torch, "inference_mode", torch.no_grad)
        replaced(torch.Tensor, "to", _moved_to_number_0(torch.Tensor.to))
        replaced(torch.Tensor, "pin_memory", _pinned(gpu))
        replaced(threading.Thread, "run", _run_within(gpu))
        with _Dispatch(gpu):
            yield gpu


def _driver(gpu: PretendGpu, count: int) -> dict[str, Any]:
    """What torch.cuda says and does."""
    properties = SimpleNamespace(
        name=_NAME,
        total_memory=gpu.total,
        major=gpu.capability[0],
        minor=gpu.capability[1],
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
        "get_device_capability": lambda device=None: gpu.capability,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *_nothing, **_more: gpu.capability >= (8, 0),
        "mem_get_info": lambda device=None: (gpu.free, gpu.total),
        "memory_allocated": lambda device=None: gpu.allocated,
        "max_memory_allocated": lambda device=None: gpu.peak,
        "memory_reserved": lambda device=None: gpu.allocated + gpu.cached,
        "max_memory_reserved": lambda device=None: gpu.peak + gpu.cached,
        "reset_peak_memory_stats": lambda device=None: setattr(gpu, "peak", gpu.allocated),
        "set_per_process_memory_fraction": gpu.allow,
        "empty_cache": gpu.empty_cache,
        "synchronize": lambda device=None: gpu.waits.update(["synchronize"]),
        "manual_seed_all": lambda seed: None,
    }


def _made_on_host(make: Callable) -> Callable:
    """`torch.tensor` and its like make the values on the host, without the dispatcher, and copy them."""

    def made(data, *args, device=None, **kwargs):
        if isinstance(data, OnGpu) or device is None or torch.device(device).type in ("cpu", "meta"):
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


def _pinned(gpu: PretendGpu) -> Callable:
    def pin_memory(tensor: torch.Tensor, *_args, **_kwargs) -> torch.Tensor:
        if isinstance(tensor, OnGpu):
            raise RuntimeError(f"cannot pin '{tensor.place}' only dense CPU tensors can be pinned")
        gpu.pinned += 1
        return tensor

    return pin_memory


def _run_within(gpu: PretendGpu) -> Callable:
    run = threading.Thread.run

    def run_within(thread: threading.Thread) -> None:
        with _Dispatch(gpu):
            run(thread)

    return run_within


def size_of(*shape: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize
