"""Folders in the Medical Segmentation Decathlon format: dataset.json, imagesTr, labelsTr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import BadInputError, CohortError
from .images import IMAGE_ENDINGS
from .messages import _
from .strict_json import read_json_text

DATASET_FILE = "dataset.json"
_MAC_PREFIX = "._"


def read_decathlon(
    folder: Path,
) -> tuple[str, dict[int, str], list[tuple[str, str, str | None]], tuple[str, ...]]:
    """Name, labels, cases (name, image path, reference path or None) and channels of a Decathlon folder.

    Paths are relative to it. The channels are those that dataset.json lists under 'modality'; with several of them each
    image is 4D, with the channels in that order. Test images are cases without a reference. Only the needed fields of
    dataset.json are read; others are ignored. It may have been written on Windows.

    Raises:
        CohortError: when dataset.json is not JSON, lacks its list of training images, or is nnU-Net's.
    """
    path = folder / DATASET_FILE
    content = read_dataset_file(path)
    if isinstance(content, dict) and "training" not in content and {"channel_names", "file_ending"} & set(content):
        raise CohortError(
            _(
                "'{folder}' is an nnU-Net raw dataset. Make a cohort of it with 'sparse-annotate "
                "import-nnunet COHORT --folder {folder}', where COHORT is a new folder."
            ).format(folder=folder)
        )
    try:
        labels = {int(value): str(name) for value, name in content["labels"].items() if int(value) != 0}
        cases = []
        for item in content["training"]:
            image, label = stored_file(folder, item["image"]), item.get("label")
            cases.append((case_name(image), image, stored_file(folder, label) if label else None))
        for item in content.get("test", []):
            image = stored_file(folder, item["image"] if isinstance(item, dict) else item)
            cases.append((case_name(image), image, None))
        cases = [c for c in cases if not is_left_by_macos(c[1])]
        return str(content.get("name", folder.name)), labels, cases, _channels(content.get("modality"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CohortError(
            _(
                "'{path}' is not a dataset.json in the Medical Segmentation Decathlon format: it needs "
                "'labels' (number to name) and 'training' (a list of image and label paths). (Details: {details})"
            ).format(path=path, details=repr(error))
        ) from error


def _channels(modality: Any) -> tuple[str, ...]:
    """The channels that dataset.json lists, in the order of their numbers; none when it lists none."""
    if not isinstance(modality, dict) or not modality:
        return ()
    if not all(str(number).isdecimal() for number in modality):
        return ()
    return tuple(str(modality[number] or "") for number in sorted(modality, key=int))


def read_dataset_file(path: Path) -> Any:
    """The content of a dataset.json, with or without a byte order mark. Raises CohortError when it is not JSON."""
    try:
        return json.loads(read_json_text(path))
    except (BadInputError, ValueError, RecursionError) as error:
        problem = error.message if isinstance(error, BadInputError) else error
        raise CohortError(_("'{path}' cannot be used: {problem}").format(path=path, problem=problem)) from error


def stored_file(folder: Path, text: str) -> str:
    """A path in a dataset.json as a path on this system: relative to the folder, or absolute.

    When no file has exactly this name, blanks around it are removed and backslashes are read as folder separators.
    """
    text = str(text)
    plain = text.strip()
    for name in (text, plain, plain.replace("\\", "/")):
        name = name.removeprefix("./")
        if (folder / name).is_file():
            return name
    return name


def case_name(path: str | Path) -> str:
    """File name without the extension of the image format: the name of the case."""
    name = Path(path).name
    for ending in sorted(IMAGE_ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def is_left_by_macos(path: str | Path) -> bool:
    """True for '._' files, which macOS adds on disks of other systems: they hold no image."""
    return Path(path).name.startswith(_MAC_PREFIX)
