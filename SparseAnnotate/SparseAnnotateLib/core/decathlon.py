"""The Medical Segmentation Decathlon's folder layout: dataset.json, imagesTr, labelsTr."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import CohortError
from .images import IMAGE_ENDINGS

DATASET_FILE = "dataset.json"


def read_decathlon(folder: Path) -> tuple[str, dict[int, str], list[tuple[str, str, str | None]]]:
    """Name, labels and cases (name, image path, reference path or None) of a Decathlon folder; paths relative to it.

    Test images are cases without a reference. dataset.json comes from others: only what is needed is read, and
    fields it may have besides are let be.

    Raises:
        CohortError: when dataset.json is not JSON or lacks its list of training images.
    """
    path = folder / DATASET_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(value): str(name) for value, name in content["labels"].items() if int(value) != 0}
        cases = []
        for item in content["training"]:
            image, label = _relative(item["image"]), item.get("label")
            cases.append((case_name(image), image, _relative(label) if label else None))
        for item in content.get("test", []):
            image = _relative(item["image"] if isinstance(item, dict) else item)
            cases.append((case_name(image), image, None))
        return str(content.get("name", folder.name)), labels, cases
    except OSError as error:
        raise CohortError(f"'{path}' cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CohortError(
            f"'{path}' is not a data set file in the Medical Segmentation Decathlon's layout: it needs 'labels' "
            f"(number to name) and 'training' (a list of image and label paths). (Reader: {error!r})"
        ) from error


def case_name(path: str | Path) -> str:
    """File name without its image ending: the name of the case."""
    name = Path(path).name
    for ending in sorted(IMAGE_ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def _relative(path: str) -> str:
    return str(path).removeprefix("./")
