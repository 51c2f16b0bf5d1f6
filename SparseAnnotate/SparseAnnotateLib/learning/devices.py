"""Which device to compute on, whether it really works, and what it can compute in."""

from __future__ import annotations

import copy
import gc
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from ..core import DEFAULT_DEVICE, BadInputError, RunError
from ..core.messages import _, counted, joined
from ..runs.plan import Precision

# In messages of PyTorch, cuDNN, cuBLAS and MPS; without memory to try its algorithms cuDNN finds none.
_OUT_OF_MEMORY = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "alloc_failed",
    "allocation_failed",
    "unable to find a valid cudnn algorithm",
    "unable to find an engine to execute",
)
_MISSING_ON_MPS = ("not currently implemented for the MPS", "not supported on MPS", "MPS framework doesn't support")


@dataclass(frozen=True)
class DeviceReport:
    """One device: its name, whether a real kernel ran on it, and a sentence with the result."""

    device: str
    name: str
    works: bool
    message: str


def smoke_test(device: str) -> DeviceReport:
    """Run a small 3D convolution forward and backward on the device and compare it with the CPU's result.

    `torch.cuda.is_available()` is not enough: a driver or build that does not fit the GPU passes it.
    """
    try:
        name = _device_name(device)
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, 2, 8, 8, 8, generator=generator)
        weight = torch.randn(2, 2, 3, 3, 3, generator=generator)
        expected = torch.nn.functional.conv3d(image, weight).sum().item()
        leaf = weight.to(device).requires_grad_()
        result = torch.nn.functional.conv3d(image.to(device), leaf).sum()
        result.backward()
        agrees = math.isclose(result.item(), expected, rel_tol=1e-2, abs_tol=0.5) and _is_finite(leaf.grad)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        line = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        return DeviceReport(
            device,
            device,
            False,
            _("'{device}' cannot be used (PyTorch reports: {error}).").format(device=device, error=line),
        )
    if not agrees:
        return DeviceReport(
            device,
            name,
            False,
            _("'{device}' ({name}) gives wrong results and is not used.").format(device=device, name=name),
        )
    return DeviceReport(device, name, True, _("'{device}' ({name}) works.").format(device=device, name=name))


def _is_finite(gradient: torch.Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all())


def device_reports() -> list[DeviceReport]:
    """Smoke tests of every device that torch sees, the best one first; the CPU is always included."""
    names = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [smoke_test(name) for name in [*names, "cpu"]]


def named_device(wanted: str) -> str:
    """The device that a user's word means, as PyTorch names it: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.

    Case does not matter; 'gpu' is 'cuda', or 'mps' on a Mac; a CPU or an Apple GPU has no number.

    Raises:
        BadInputError: for any other word, and for a GPU that does not exist.
    """
    found = re.fullmatch(r"(auto|cpu|cuda|mps|gpu)(?::(\d+))?", wanted.strip().lower())
    kind, number = found.groups() if found else (None, None)
    if (
        kind is None
        or (kind not in ("cuda", "gpu") and number not in (None, "0"))
        or (kind == DEFAULT_DEVICE and number)
    ):
        raise BadInputError(_("There is no device '{device}'. {choices}").format(device=wanted, choices=_choices()))
    if kind == "gpu":
        kind = "mps" if not torch.cuda.is_available() and torch.backends.mps.is_available() else "cuda"
    count = torch.cuda.device_count()
    if kind == "cuda" and count and number is not None and int(number) >= count:
        raise BadInputError(
            _("There is no device '{device}': PyTorch finds {gpus} here, numbered from 0. {choices}").format(
                device=wanted, gpus=counted(count, _("{count} GPU"), _("{count} GPUs")), choices=_choices()
            )
        )
    return f"{kind}:{int(number)}" if kind == "cuda" and number is not None else kind


def _choices() -> str:
    works = ", ".join(f"'{report.device}'" for report in device_reports() if report.works)
    return _(
        "Choose another device: {devices} can be used here, or 'auto' for the best one. (Devices are named auto, cpu, "
        "cuda, cuda:1 for the second GPU, or mps for an Apple GPU.)"
    ).format(devices=works)


def chosen_device(wanted: str = DEFAULT_DEVICE) -> DeviceReport:
    """The device to use. 'auto' falls back to the CPU and says why; a device asked for by name must work.

    Raises:
        BadInputError: when there is no such device (see `named_device`) or it does not work.
    """
    device = named_device(wanted)
    if device != DEFAULT_DEVICE:
        report = smoke_test(device)
        if not report.works:
            raise BadInputError(joined(" ", [report.message, _choices()]))
        if device == wanted:
            return report
        return replace(
            report,
            message=_("'{word}' was resolved to '{device}'. {result}").format(
                word=wanted, device=device, result=report.message
            ),
        )
    reports = device_reports()
    best = next(r for r in reports if r.works or r.device == "cpu")
    if best.device != "cpu":
        return best
    reasons = [r.message for r in reports if not r.works] or [_("No GPU was found that this PyTorch can use.")]
    message = joined(" ", [_("Computing on the CPU, which is slow."), *reasons])
    return DeviceReport("cpu", best.name, best.works, message)


def usable_memory_bytes(device: str) -> int:
    """Memory that training may use: free memory on a GPU, half of the free memory on a CPU.

    What PyTorch keeps of a GPU's memory for its next tensors counts as free.
    """
    if device.startswith("cuda"):
        return int(free_memory_bytes(device) * 0.9)
    half = free_memory_bytes(device) // 2
    if device == "mps":  # an Apple GPU shares the CPU's memory, up to a limit
        return min(half, int(torch.mps.recommended_max_memory()) - int(torch.mps.current_allocated_memory()))
    return half


def free_memory_bytes(device: str) -> int:
    """Free memory of a GPU, with what PyTorch keeps of it for its next tensors; of any other device, the computer's."""
    if device.startswith("cuda"):
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + max(0, kept)
    try:
        # What Linux can free for a new program, caches included.
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return 8 << 30


@contextmanager
def explained(device: str) -> Iterator[None]:
    """Raise RunError, with what to do, where an Apple GPU lacks an operation or a data type."""
    try:
        yield
    except (NotImplementedError, RuntimeError, TypeError) as error:
        if device != "mps" or not _lacks_operator(error):
            raise
        raise RunError(
            _(
                "The Apple GPU cannot compute this network (PyTorch reports: {error}). Train on the device 'cpu', or "
                "set the environment variable PYTORCH_ENABLE_MPS_FALLBACK to 1 and restart, so that the CPU does what "
                "the GPU cannot."
            ).format(error=str(error).strip().splitlines()[0].rstrip("."))
        ) from error


def release_cached_memory() -> None:
    """Give back the memory of GPUs that PyTorch keeps for its next tensors, for the next job and for other programs."""
    if torch.cuda.is_initialized():
        gc.collect()  # tensors in reference cycles
        torch.cuda.empty_cache()
        # The CPU's memory for copies to and from the GPU, which older versions of PyTorch keep.
        if hasattr(torch.accelerator, "empty_host_cache") and torch.accelerator.is_available():
            torch.accelerator.empty_host_cache()
    elif torch.backends.mps.is_available():
        gc.collect()
        torch.mps.empty_cache()


Network = TypeVar("Network", bound=torch.nn.Module)


def copied_to_cpu(network: Network) -> Network:
    """A copy of a network on the CPU, made without any further memory of the device on which the network stays."""
    copies: dict[int, torch.Tensor] = {id(b): b.detach().to("cpu", copy=True) for b in network.buffers()}
    for parameter in network.parameters():
        values = parameter.detach().to("cpu", copy=True)
        copies[id(parameter)] = torch.nn.Parameter(values, requires_grad=parameter.requires_grad)
    return copy.deepcopy(network, copies)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU, has run out of memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    )


Shortage = Literal["memory", "operator"]
Result = TypeVar("Result")


def within_memory(compute: Callable[[], Result], reduce: Callable[[Shortage], None]) -> Result:
    """What `compute` returns; whenever a device cannot do it, `reduce` is called and it is tried again.

    The tensors of a failed attempt are held by the error's traceback, so nothing else happens before both are gone and
    the memory that PyTorch keeps for its next tensors is given back.

    Args:
        reduce: makes the next attempt need less. Its argument is what was missing: memory, or an operator that
            PyTorch does not have on this device (on an Apple GPU). It raises when nothing is left to reduce.
    """
    while True:
        found = _attempted(compute)
        if isinstance(found, tuple):
            return found[0]
        release_cached_memory()
        reduce(found)


def _attempted(compute: Callable[[], Result]) -> tuple[Result] | Shortage:
    try:
        return (compute(),)
    except (RuntimeError, MemoryError, TypeError) as error:
        if _lacks_operator(error):
            return "operator"
        if not is_out_of_memory(error):
            raise
        return "memory"


def _lacks_operator(error: BaseException) -> bool:
    return any(words in str(error) for words in _MISSING_ON_MPS)


def training_precision(precision: Precision | Literal["auto"], device: str) -> Precision:
    """The precision that 'auto' stands for in training, as in prediction.

    On a CPU training tries whether bf16 gives the right gradients before it uses it, see `training.cpu_bf16`.
    """
    if precision != "auto":
        return precision
    return prediction_precision(device)


def prediction_precision(device: str) -> Precision:
    """The precision for prediction: bf16 where the device supports it, fp16 on older GPUs, else fp32."""
    if device.startswith("cuda"):
        return _gpu_precision(device)
    return "bf16" if device == "cpu" and _cpu_has_bf16() else "fp32"


def _gpu_precision(device: str) -> Precision:
    major, _ = torch.cuda.get_device_capability(device)
    return "bf16" if major >= 8 else "fp16"


def _cpu_has_bf16() -> bool:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "cpu":
        return f"{torch.get_num_threads()} threads"
    return {"mps": "Apple GPU"}.get(device, device)
