"""Weights and training state as safetensors: data, never code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..core import RunError
from ..core.atomic_files import write_bytes

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
_MODEL, _OPTIMIZER, _TEACHER = "model.", "optimizer.", "teacher."


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """A model's weights as one safetensors file, atomically."""
    write_bytes(path, save(_plain(model.state_dict())))


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Load weights into a model. Raises RunError when the file is damaged or made for another network."""
    tensors, _ = _read(path)
    _into_model(path, model, tensors)


def save_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict,
    teacher: torch.nn.Module | None = None,
) -> None:
    """Everything training needs to go on, in one file, so that its parts can never be of different moments.

    `teacher` is the moving average of the model, where there is one. Raises FileWriteError; the last file is then kept.
    """
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    if teacher is not None:
        tensors |= {_TEACHER + name: tensor for name, tensor in teacher.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{_OPTIMIZER}{index}.{name}"] = torch.as_tensor(value)
    write_bytes(path, save(_plain(tensors), metadata={"state": json.dumps(state)}))


def load_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    teacher: torch.nn.Module | None = None,
) -> dict[str, Any]:
    """Load a checkpoint into model, optimizer and, where there is one, teacher; returns its state.

    Raises:
        RunError: when the file is damaged or was made for another network or version.
    """
    tensors, metadata = _read(path)
    for prefix, target in ((_MODEL, model), (_TEACHER, teacher)):
        if target is not None:
            _into_model(path, target, {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)})
    parameters = _parameters(optimizer)
    kept = {name[len(_OPTIMIZER) :]: t for name, t in tensors.items() if name.startswith(_OPTIMIZER)}
    # A parameter that no patch has reached yet has no state; one that has, has all of it.
    indices = {name.split(".")[0] for name in kept if name.split(".")[0] in {str(n) for n in range(len(parameters))}}
    if kept and set(kept) != {f"{index}.{key}" for index in indices for key in _ADAM_STATE}:
        raise RunError(
            f"'{path}' was made by another version of SparseAnnotate or for another network: the state of its "
            "optimiser does not fit. Train again under another name."
        )
    for name, tensor in kept.items():
        index, key = name.split(".")
        parameter = parameters[int(index)]
        optimizer.state[parameter][key] = tensor if key == "step" else tensor.to(parameter.device)
    try:
        state = json.loads(metadata["state"])
        if state["iteration"] > 0 and not kept:
            raise KeyError("optimizer")
        return state
    except (TypeError, KeyError, ValueError) as error:
        raise RunError(f"'{path}' is not a checkpoint of SparseAnnotate. Train again under another name.") from error


def _into_model(path: Path, model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    own = model.state_dict()
    differing = sorted(set(own) ^ set(tensors)) or [n for n in own if own[n].shape != tensors[n].shape]
    if differing:
        raise RunError(
            f"'{path}' was made for another network: {len(differing)} of its parts do not fit, the first is "
            f"'{differing[0]}'. Choose the network it was trained with, or train again under another name."
        )
    model.load_state_dict(tensors)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"'{path}' cannot be read: it is missing, damaged or cut off. ({error})") from error


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
