"""A network compiled by torch.compile, or as it is where that fails."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...core import CancelledError
from ...core.messages import _
from ..devices import is_out_of_memory
from ..networks.outputs import Outputs


class CompiledNetwork:
    """Calls a network through torch.compile; where it cannot be compiled, as it is, from then on.

    torch.compile does its work at the first call, and again for patches of another size. It needs a compiler, which
    many computers lack.

    Args:
        network: to compile. on_failure: called with a note for the user.
    """

    def __init__(self, network: torch.nn.Module, on_failure: Callable[[str], None]):
        self._network, self._on_failure = network, on_failure
        self._compiled: Callable[[torch.Tensor], Outputs] | None = None
        self._has_failed = False

    def __call__(self, image: torch.Tensor) -> Outputs:
        if self._has_failed:
            return self._network(image)
        try:
            self._compiled = self._compiled or torch.compile(self._network)
            return self._compiled(image)
        except CancelledError:
            raise
        except Exception as error:  # compilers fail in many ways
            if is_out_of_memory(error):
                raise
            failure = error
        # An error of the network itself is raised here again.
        result = self._network(image)
        self._fail(failure)
        return result

    def _fail(self, error: Exception) -> None:
        self._compiled, self._has_failed = None, True
        line = next(iter(str(error).strip().splitlines()), "").rstrip(".") or type(error).__name__
        self._on_failure(
            _(
                "The network could not be compiled and is trained uncompiled (PyTorch reports: {error}). Install a "
                "compiler, or set 'compile' to false."
            ).format(error=line)
        )
