"""Weights and training state as safetensors: data, never code.

A checksum in the header, of the whole file with its own digits set to 0, is verified on loading. Files without one,
from other programs or older versions, are loaded unchecked.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..core import RunError
from ..core.atomic_files import write_bytes
from ..core.messages import _, counted

_MODEL, _OPTIMIZER, _TEACHER = "model.", "optimizer.", "teacher."
_NO_DIGITS = b"00000000"
_CHECKSUM = re.compile(rb'"checksum":"(.{8})"', re.DOTALL)
_CHUNK = 1 << 22


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """A model's weights as one safetensors file, atomically; without the layers in its `training_only`, if it has any.

    So a file does not depend on how its network was trained.
    """
    left_out = tuple(f"{layer}." for layer in getattr(model, "training_only", ()))
    tensors = {name: tensor for name, tensor in own_tensors(model).items() if not name.startswith(left_out)}
    write_bytes(path, _with_checksum(tensors, {}))


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
    """Everything that training needs to resume, in one file, so that its parts always belong together.

    `teacher` is the moving average of the model, where there is one. Raises FileWriteError and keeps the previous file.
    """
    tensors = {_MODEL + name: tensor for name, tensor in own_tensors(model).items()}
    if teacher is not None:
        tensors |= {_TEACHER + name: tensor for name, tensor in own_tensors(teacher).items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{_OPTIMIZER}{index}.{name}"] = torch.as_tensor(value)
    write_bytes(path, _with_checksum(tensors, {"state": json.dumps(state)}))


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
    # A parameter that has had no gradient yet has no state; any other has all of it.
    indices = {name.split(".")[0] for name in kept if name.split(".")[0] in {str(n) for n in range(len(parameters))}}
    if kept and set(kept) != {f"{index}.{key}" for index in indices for key in state_names(optimizer)}:
        raise RunError(
            _(
                "'{path}' was made by another version of SparseAnnotate or for another network: the state of "
                "its optimizer does not fit. Train again under another name."
            ).format(path=path)
        )
    for name, tensor in kept.items():
        index, key = name.split(".")
        parameter = parameters[int(index)]
        optimizer.state[parameter][key] = tensor if key == "step" else tensor.to(parameter.device)
    try:
        state = json.loads(metadata["state"])
        if state["iteration"] > 0 and not kept and state_names(optimizer):
            raise KeyError("optimizer")
        return state
    except (TypeError, KeyError, ValueError) as error:
        raise RunError(
            _("'{path}' is not a checkpoint of SparseAnnotate. Train again under another name.").format(path=path)
        ) from error


def checkpoint_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, without its tensors. Raises RunError when the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
            return state
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(
            _("'{path}' is not a checkpoint of SparseAnnotate. Train again under another name.").format(path=path)
        ) from error


def _into_model(path: Path, model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    own = model.state_dict()
    first = _first_names(own)
    # In files of other programs a tensor may occur under each of its names.
    missing = set(first.values()) - set(tensors)
    differing = sorted(missing | (set(tensors) - set(own))) or [
        name for name, tensor in tensors.items() if own[name].shape != tensor.shape
    ]
    if differing:
        raise RunError(
            _(
                "'{path}' was made for another network: {differences}, the first is '{tensor}'. Choose the network it "
                "was trained with, or train again under another name."
            ).format(
                path=path,
                differences=counted(len(differing), _("{count} tensor differs"), _("{count} tensors differ")),
                tensor=differing[0],
            )
        )
    model.load_state_dict({name: tensors[first[name]] for name in own})


def own_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's tensors, each under one name: MONAI's DynUNet has its blocks under two."""
    tensors = model.state_dict()
    return {name: tensors[name] for name in dict.fromkeys(_first_names(tensors).values())}


def _first_names(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    """For each name the first name of the same tensor."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    return {
        name: first.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name) if tensor.numel() else name
        for name, tensor in tensors.items()
    }


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        _require_checksum(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(
            _("'{path}' cannot be read: it is missing, damaged or cut off. ({error})").format(path=path, error=error)
        ) from error


def _with_checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    content = save(_plain(tensors), metadata={**metadata, "checksum": _NO_DIGITS.decode()})
    found = _CHECKSUM.search(content)
    if found is None:
        raise ValueError("the weights' header does not hold the checksum that was put there")
    place = found.start(1)
    digits = f"{zlib.crc32(content):08x}".encode("ascii")
    return content[:place] + digits + content[place + len(digits) :]


def _require_checksum(path: Path) -> None:
    """Raise RunError when a file's checksum does not match; OSError."""
    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(min(int.from_bytes(length, "little"), path.stat().st_size))
        found = _CHECKSUM.search(header)
        if found is None:
            return
        blank = header[: found.start(1)] + _NO_DIGITS + header[found.end(1) :]
        own = zlib.crc32(blank, zlib.crc32(length))
        while chunk := file.read(_CHUNK):
            own = zlib.crc32(chunk, own)
    if found.group(1) != f"{own:08x}".encode("ascii"):
        raise RunError(
            _("'{path}' cannot be read: it is missing, damaged or cut off. (Its checksum does not match.)").format(
                path=path
            )
        )


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def state_names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """What an optimizer remembers of each parameter from its first step on; SGD without momentum remembers nothing."""
    if isinstance(optimizer, torch.optim.SGD):
        return ("momentum_buffer",) if any(group["momentum"] for group in optimizer.param_groups) else ()
    return ("step", "exp_avg", "exp_avg_sq")


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
