"""dataset.json of an nnU-Net v2 raw dataset, and the files beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...core.channels import usable_channels
from ...core.decathlon import DATASET_FILE, is_left_by_macos, read_dataset_file
from ...core.errors import BadInputError, CohortError
from ...core.messages import _, joined
from ...core.modalities import modalities_by_name

IGNORE = "ignore"
CHANNEL = "_0000"
"""Ends the names of the images of the first channel, before the file ending."""


def channel_ending(number: int) -> str:
    """What the names of the images of a channel end with, before the file ending; `number` from 0."""
    return f"_{number:04d}"


@dataclass(frozen=True)
class NnunetDataset:
    """The content of dataset.json: label value to name, the ignored value if any, the file ending, and the channels.

    `channels`: their names in order; none where there is just one. `modalities`: CT for the channels called so.
    """

    labels: dict[int, str]
    ignored: int | None
    ending: str
    channels: tuple[str, ...] = ()
    modalities: dict[str, str] = field(default_factory=dict)


def read_nnunet_dataset(folder: Path) -> NnunetDataset:
    """dataset.json of a raw dataset. Raises BadInputError when it is missing or cannot be imported."""
    path = folder / DATASET_FILE
    content = None
    try:
        content = read_dataset_file(path)
        ending, labels = str(content["file_ending"]), dict(content["labels"])
        by_number = {int(number): str(name) for number, name in dict(content["channel_names"]).items()}
    except CohortError as error:
        raise BadInputError(
            _("'{folder}' is not an nnU-Net v2 raw dataset. {problem}").format(folder=folder, problem=error.message)
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _no_dataset(folder, path, content) from error
    if sorted(by_number) != list(range(len(by_number))) or not by_number:
        raise BadInputError(
            _("The channels in '{path}' must be numbered from 0 on, not {numbers}.").format(
                path=path, numbers=", ".join(map(str, sorted(by_number)))
            )
        )
    names = [by_number[number] for number in sorted(by_number)]
    channels = usable_channels(names) if len(names) > 1 else ()
    if any(isinstance(value, str | float | bool | None) for value in labels.values()):
        raise _no_dataset(folder, path, content)
    if any(not isinstance(value, int) for value in labels.values()):
        raise BadInputError(
            _("'{path}' has labels that are regions; SparseAnnotate supports one label per voxel.").format(path=path)
        )
    values = list(labels.values())
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice or min(values, default=0) < 0:
        raise BadInputError(
            _("The labels in '{path}' need different values from 0 on, not {values}.").format(
                path=path, values=", ".join(map(str, values))
            )
        )
    ignored = labels.pop(IGNORE, None)
    structures = {value: str(name) for name, value in labels.items() if value != 0}
    return NnunetDataset(structures, ignored, ending, channels, modalities_by_name(channels, names))


def _no_dataset(folder: Path, path: Path, content: object) -> BadInputError:
    """The error for a dataset.json in another format."""
    problem = _(
        "'{folder}' is not an nnU-Net v2 raw dataset: '{path}' needs 'channel_names' (number to name), 'labels' (name "
        "to number) and 'file_ending'."
    ).format(folder=folder, path=path)
    if not isinstance(content, dict) or "training" not in content:
        return BadInputError(problem)
    hint = _(
        "It lists its images in 'training', as the Medical Segmentation Decathlon does: give the folder itself to the "
        "other commands as the cohort."
    )
    if any((folder / "imagesTr").glob(f"*{CHANNEL}.*")):
        # It lists 'a.nii.gz' for the file 'a_0000.nii.gz', so that its images are not found as those of a Decathlon.
        hint = _("It is a dataset of nnU-Net v1. Convert it with nnU-Net's command '{command}' first.").format(
            command="nnUNetv2_convert_old_nnUNet_dataset"
        )
    return BadInputError(joined(" ", [problem, hint]))


def nnunet_images(folder: Path, dataset: NnunetDataset) -> dict[str, Path]:
    """The images of a raw dataset by the names of their cases, those to train on first. Raises BadInputError."""
    ending = CHANNEL + dataset.ending
    found: dict[str, Path] = {}
    for kind in ("imagesTr", "imagesTs"):
        for path in sorted((folder / kind).glob(f"*{ending}")):
            if is_left_by_macos(path):
                continue
            name = path.name.removesuffix(ending)
            if name in found:
                raise BadInputError(
                    _("'{first}' and '{second}' have the same name. Rename one of them.").format(
                        first=found[name], second=path
                    )
                )
            found[name] = path
    if not found:
        raise BadInputError(
            _("'{folder}' has no image: there is no '*{ending}' in 'imagesTr' or 'imagesTs'.").format(
                folder=folder, ending=ending
            )
        )
    return found
