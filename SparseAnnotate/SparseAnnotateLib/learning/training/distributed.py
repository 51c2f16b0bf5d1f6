"""Several processes that train one model together, as torchrun starts them; or just one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.nn.functional import all_reduce

from ...core import RunError
from ...core.messages import _, counted

_TIMEOUT_HOURS = 12


class Ranks:
    """The place of this process among those that train together; without torchrun it is the only one.

    Attributes:
        number: of this process, from 0. count: of all.
    """

    def __init__(self):
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.number = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self._gpu = int(os.environ.get("LOCAL_RANK", "0"))
        if self.count > 1 and not distributed.is_initialized():
            gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if 0 < gpus <= self._gpu:
                raise RunError(
                    _(
                        "At least {count} processes were started on this computer, which has {gpus}. Start one per GPU."
                    ).format(count=self._gpu + 1, gpus=counted(gpus, _("{count} GPU"), _("{count} GPUs")))
                )
            if gpus:
                torch.cuda.set_device(self._gpu)
            # The others wait while the first one prepares a large cohort or validates.
            backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
            distributed.init_process_group(backend, timeout=timedelta(hours=_TIMEOUT_HOURS))

    @classmethod
    def alone(cls) -> Ranks:
        """This process as if it were the only one."""
        ranks = cls.__new__(cls)
        ranks.count, ranks.number, ranks._gpu = 1, 0, 0
        return ranks

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def device(self, device: str) -> str:
        """The device of this process: a GPU of its own where there are enough."""
        if self.count == 1 or not device.startswith("cuda"):
            return device
        return f"cuda:{self._gpu}"

    def share(self, count: int) -> range:
        """Which of `count` items this process works on."""
        return range(self.number, count, self.count)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all processes; gradients flow through it."""
        return all_reduce(tensor) if self.count > 1 else tensor

    @property
    def total_of_several(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """`total`, or None where there is only one process."""
        return self.total if self.count > 1 else None

    def shared(self, value: Any) -> Any:
        """The value that the first process has."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Wait until all processes have arrived."""
        if self.count > 1:
            distributed.barrier()

    def wrapped(self, model: torch.nn.Module, device: str) -> torch.nn.Module:
        """The model with gradients averaged over all processes."""
        if self.count == 1:
            return model
        gpus = [torch.device(device)] if device.startswith("cuda") else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=gpus, find_unused_parameters=True)
