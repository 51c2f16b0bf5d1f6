"""Export a trained 3D model as a MONAI bundle, which MONAI's runner executes; import such a bundle as a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ... import __version__
from ...core import BadInputError, Cohort, RunError
from ...core.atomic_files import require_writable_place, write_bytes
from ...core.messages import _
from ...core.origin import run_fingerprint
from ...core.strict_json import read_json, to_plain, write_json
from ...runs.cards import RunCard
from ...runs.ct_scale import OUTSIDE, CtScale
from ...runs.plan import ModelPlan
from ...runs.run_folder import RunFolder
from ..networks.build import build_network, network_definition
from ..networks.sparse_unet import SparseUNet, bundle_definition
from ..prediction.model_building import network_shape
from ..prediction.sliding_windows import overlap_on
from ..weights import load_weights, own_tensors

_WEIGHTS = "models/model.safetensors"
_RUN = "configs/sparse_annotate.json"
_NORMALISATION: dict[str, dict[str, Any]] = {
    "z_score": {"_target_": "NormalizeIntensityd", "keys": "image"},
    "percentile": {
        "_target_": "ScaleIntensityRangePercentilesd",
        "keys": "image",
        "lower": 0.5,
        "upper": 99.5,
        "b_min": 0.0,
        "b_max": 1.0,
    },
}


def export_bundle(cohort: Cohort, run_name: str, folder: str | Path) -> Path:
    """Write a run's 3D model as a MONAI bundle.

    `python -m monai.bundle run --config_file FOLDER/configs/inference.json --bundle_root FOLDER --dataset_dir IMAGES`
    then segments every image of a folder as `Predictor` does on a CPU, without drawn slices and clean-up. Of several
    channels each is a file of its own, which ends in _0000, _0001, ... in the order of the channels. 2D models and the
    final model of self-training, which needs all the others, do not fit into a bundle.

    Raises:
        BadInputError: the folder is a bundle already, or the run has no 3D model. RunError: the run is not finished, or
            changes meanwhile.
    """
    folder = Path(folder).expanduser().absolute()
    if (folder / "configs").exists():
        raise BadInputError(_("'{folder}' is already a bundle; choose another folder.").format(folder=folder))
    run = RunFolder(cohort.run_folder(run_name))
    content = run_fingerprint(run.path)
    card = run.card()
    model = next((m for m in card.models if m.plan.role == "3d"), None)
    if model is None:
        raise BadInputError(
            _("The run '{run}' has no 3D model, which a MONAI bundle needs. Train a run with one.").format(run=run_name)
        )
    require_writable_place(folder)
    weights = _all_weights(run.weights_path("3d"), card, model.plan)
    if run_fingerprint(run.path) != content:
        raise RunError(
            _("The run '{run}' changed while it was exported: it is being trained again. Export it afterwards.").format(
                run=run_name
            )
        )
    write_bytes(folder / _WEIGHTS, weights)
    write_json(folder / "configs" / "inference.json", _inference(card, model.plan), checksum=False)
    write_json(folder / "configs" / "metadata.json", _metadata(card, model.plan), checksum=False)
    write_json(folder / _RUN, replace(card, models=(model,)))
    return folder


def import_bundle(cohort: Cohort, folder: str | Path, run_name: str) -> RunCard:
    """Import a bundle that `export_bundle` wrote as a finished run of this cohort.

    Raises:
        BadInputError: it is another kind of bundle, whose pre-processing is unknown, or the run exists.
        RunError: its weights do not fit.
    """
    folder = Path(folder).expanduser().absolute()
    if not (folder / _RUN).is_file():
        raise BadInputError(
            _(
                "'{folder}' is not a bundle that SparseAnnotate wrote ('{file}' is missing), so its pre-processing is "
                "unknown. Run it with MONAI, and import its predictions as label files instead."
            ).format(folder=folder, file=_RUN)
        )
    card = read_json(folder / _RUN, RunCard)
    run = RunFolder(cohort.run_folder(run_name))
    if run.is_started or run.is_finished:
        raise BadInputError(_("The run '{run}' already exists; choose another name.").format(run=run_name))
    network = build_network(
        card.last.plan.network, network_shape(card.last.plan, card.class_count, card.image_channels)
    )
    load_weights(folder / _WEIGHTS, network)
    write_bytes(run.weights_path("3d"), (folder / _WEIGHTS).read_bytes())
    run.write_model_card(card.last)
    run.write_card(card)
    return card


def _inference(card: RunCard, model: ModelPlan) -> dict[str, Any]:
    """The configuration of MONAI's runner."""
    return {
        "imports": ["$import glob", "$import monai", "$import torch", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "dataset_dir": "images",
        "output_dir": "$@bundle_root + '/predictions'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "label_values": [0, *card.classes],
        "datalist": _datalist(card.image_channels),
        **_definition(card, model),
        "weights": f"$load_file(@bundle_root + '/{_WEIGHTS}')",
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "SAR", "labels": None},
                {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"},
                _normalisation(card),
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(model.patch),
            "sw_batch_size": 1,
            "overlap": overlap_on("cpu"),
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "Lambdad",
                    "keys": "pred",
                    "func": "$lambda x: sum((x == i) * v for i, v in enumerate(@label_values))",
                },
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "orig_keys": "image",
                    "transform": "@preprocessing",
                    "nearest_interp": True,
                    "to_tensor": True,
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "$torch.uint8" if max(card.classes) < 256 else "$torch.int32",
                    "separate_folder": False,
                },
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$@network_def.load_state_dict(@weights)"],
        "run": ["$@evaluator.run()"],
    }


def _normalisation(card: RunCard) -> dict[str, Any]:
    """The transform that scales the image as the run has learned it: each channel by itself, CT by its window."""
    scales = [card.ct.get(channel) for channel in card.channels or ("",)]
    others = _NORMALISATION[card.normalisation] | ({"channel_wise": True} if len(scales) > 1 else {})
    if not any(scales):
        return others
    fixed = [scale or CtScale(0.0, 1.0, 0.0, 1.0) for scale in scales]
    low, high, mean, deviation = (
        [getattr(scale, name) for scale in fixed] for name in ("low", "high", "mean", "deviation")
    )
    lowest, highest = ([scale.limits[end] for scale in fixed] for end in (0, 1))
    inside = f"{1 - OUTSIDE} * x.clamp({_each(low)}, {_each(high)})"
    outside = f"{OUTSIDE} * x.clamp({_each(lowest)}, {_each(highest)})"
    scaled = f"({inside} + {outside} - {_each(mean)}) / {_each(deviation)}"
    if not all(scales):
        arguments = {name: value for name, value in others.items() if name not in ("_target_", "keys")}
        other = f"monai.transforms.{others['_target_'].removesuffix('d')}(**{arguments!r})(x)"
        scaled = f"torch.where({_each([scale is not None for scale in scales])}, {scaled}, {other})"
    return {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: {scaled}"}


def _each(values: list[Any]) -> str:
    """A value for each channel, as PyTorch reads it."""
    return f"torch.tensor({values!r}).view(-1, 1, 1, 1)"


def _datalist(image_channels: int) -> str:
    """The images of a folder; of several channels, each in a file of its own that ends in _0000, _0001, ..."""
    if image_channels == 1:
        return "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*'))]"
    return (
        "$[{'image': [('_%04d.' % channel).join(path.rsplit('_0000.', 1)) for channel in range("
        f"{image_channels}"
        ")]} for path in sorted(glob.glob(@dataset_dir + '/*_0000.*'))]"
    )


def _all_weights(path: Path, card: RunCard, model: ModelPlan) -> bytes:
    """The weights under every name that the network has for them, because MONAI loads them strictly."""
    network = build_network(model.network, network_shape(model, card.class_count, card.image_channels))
    load_weights(path, network)
    if set(own_tensors(network)) == set(network.state_dict()):
        return path.read_bytes()
    return save({name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()})


def _definition(card: RunCard, model: ModelPlan) -> dict[str, Any]:
    """The network as MONAI's runner builds it; DenseVoxNet needs SparseAnnotate installed there."""
    kind, arguments = network_definition(model.network, network_shape(model, card.class_count, card.image_channels))
    if kind is SparseUNet:
        return to_plain(bundle_definition(**arguments))
    package = "monai.networks.nets" if kind.__module__.startswith("monai.") else kind.__module__
    return {"network_def": {"_target_": f"{package}.{kind.__name__}", **to_plain(arguments)}}


def _metadata(card: RunCard, model: ModelPlan) -> dict[str, Any]:
    names = {str(index): card.label_names[value] for index, value in enumerate(card.classes, start=1)}
    return {
        "version": __version__,
        "changelog": {__version__: "exported by SparseAnnotate"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "optional_packages_version": {"safetensors": metadata.version("safetensors")},
        "name": "SparseAnnotate model",
        "task": "Segmentation learned from sparsely drawn slices",
        "description": f"{model.network}, trained on {card.slices} drawn slices of {len(card.cases)} volumes.",
        "authors": "made with SparseAnnotate",
        "copyright": f"{datetime.now(UTC).year}, whoever trained it",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": card.image_channels,
                    "spatial_shape": list(model.patch),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(place): name for place, name in enumerate(card.channels or ("image",))},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": card.class_count,
                    "spatial_shape": list(model.patch),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {"0": "background", **names},
                }
            },
        },
    }
