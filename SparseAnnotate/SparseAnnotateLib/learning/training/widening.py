"""More output channels for a network that has learned already: for structures that are first drawn later."""

from __future__ import annotations

import torch

from ...core import RunError
from ...core.messages import _

_RARER = 4.0  # by this logit a structure that nothing is known of is less likely than background


def widen_optimizer(optimizer: torch.optim.Optimizer, before: torch.optim.Optimizer) -> None:
    """Let the optimizer of a widened network remember what the one before did; of further outputs it knows nothing.

    Both have the parameters of their networks in the same order.
    """
    groups = zip(optimizer.param_groups, before.param_groups, strict=True)
    for own, other in ((o, p) for new, old in groups for o, p in zip(new["params"], old["params"], strict=True)):
        for name, value in before.state.get(other, {}).items():
            if isinstance(value, torch.Tensor) and value.shape == other.shape != own.shape:
                wide = torch.zeros_like(own, dtype=value.dtype)
                wide[: len(value)] = value
                value = wide
            optimizer.state[own][name] = value


def widen(network: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    """Load the state of a network with fewer outputs into a new one.

    Its further outputs start as that of background, a little less likely, so that nothing else changes at first.

    Args:
        network: new, of the same kind, with further classes after those it had.
        before: the state of the one with fewer classes.

    Raises RunError when they differ in more than the number of outputs.
    """
    own = network.state_dict()
    if set(own) != set(before):
        raise RunError(_("The network cannot be given another output, because it is built differently."))
    found = {}
    for name, tensor in own.items():
        old = before[name].to(tensor.device)
        if old.shape == tensor.shape:
            found[name] = old
            continue
        if old.dim() != tensor.dim() or old.shape[1:] != tensor.shape[1:] or len(old) > len(tensor):
            raise RunError(
                _("The network cannot be given another output, because its layer '{layer}' differs.").format(layer=name)
            )
        wide = old[:1].expand(len(tensor), *old.shape[1:]).clone()
        wide[: len(old)] = old
        if wide.dim() == 1:
            wide[len(old) :] -= _RARER
        found[name] = wide
    network.load_state_dict(found)
