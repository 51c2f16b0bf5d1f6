"""nnU-Net v2's raw data sets with their ignore label, written and read (its documentation/ignore_label.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .annotation import SparseAnnotation
from .cohort import Cohort
from .decathlon import DATASET_FILE
from .errors import BadInputError
from .images import read_geometry, read_labels, write_image
from .ledger import Ledger, SliceState
from .planes import Plane, slice_layer
from .progress import Watch
from .strict_json import write_json

_IGNORE = "ignore"


@dataclass(frozen=True)
class NnunetDataset:
    """What dataset.json of a raw data set says: label value to name, the ignored value if any, and the file ending."""

    labels: dict[int, str]
    ignored: int | None
    ending: str


def export_nnunet_dataset(cohort: Cohort, folder: str | Path, names: Sequence[str], watch: Watch) -> Path:
    """Write cases as a raw data set: drawn slices with their labels, everything else as 'ignore'.

    Cases without drawn slices become test images. nnU-Net wants labels without gaps: they are numbered anew in the
    order of their values, and dataset.json keeps their names.

    Args:
        folder: named Dataset<three digits>_<name>, as nnU-Net wants it; must not hold a data set yet.

    Raises:
        BadInputError: the folder's name does not fit or holds a data set, or nothing has been drawn.
    """
    folder = Path(folder).expanduser().absolute()
    if not re.fullmatch(r"Dataset\d{3}_\w+", folder.name):
        raise BadInputError(
            f"nnU-Net finds data sets by names like 'Dataset501_{cohort.name}'; '{folder.name}' is not one."
        )
    if (folder / DATASET_FILE).exists():
        raise BadInputError(f"'{folder}' already holds a data set; choose another folder.")
    values = sorted({value for name in names for value in cohort.annotation(name).label_values()})
    labels_of = [cohort.labels.get(value, f"label {value}") for value in values]
    if len({"background", _IGNORE, *labels_of}) < len(values) + 2:
        raise BadInputError(
            f"In a data set of nnU-Net every structure has a name of its own, other than 'background' and '{_IGNORE}'. "
            f"These do not: {', '.join(labels_of)}. Rename them."
        )
    if not values:
        raise BadInputError("No structure has been drawn yet, so there is nothing that nnU-Net could learn.")
    table = np.zeros(max(values) + 1, dtype=np.uint8 if len(values) < 255 else np.uint16)
    table[values] = np.arange(1, len(values) + 1)
    drawn = 0
    for number, name in enumerate(names):
        watch.step(number / len(names), f"writing '{name}'")
        annotation = cohort.annotation(name)
        image, geometry = cohort.image(name)
        supervised = annotation.supervised_mask()
        kind = "Tr" if supervised.any() else "Ts"
        write_image(folder / f"images{kind}" / f"{name}_0000.nii.gz", image, geometry)
        if supervised.any():
            drawn += 1
            labels = np.where(supervised, table[annotation.drawn_labels()], len(values) + 1).astype(table.dtype)
            write_image(folder / "labelsTr" / f"{name}.nii.gz", labels, geometry)
    numbers = {name: int(table[value]) for name, value in zip(labels_of, values, strict=True)}
    write_json(
        folder / DATASET_FILE,
        {
            "channel_names": {"0": "image"},
            "labels": {"background": 0, **numbers, _IGNORE: len(values) + 1},
            "numTraining": drawn,
            "file_ending": ".nii.gz",
        },
    )
    return folder


def import_nnunet_dataset(
    folder: str | Path,
    cohort_folder: str | Path,
    watch: Watch,
    cases: Sequence[str] = (),
    state_folder: str | Path | None = None,
) -> tuple[Cohort, list[str]]:
    """Make a cohort of a raw data set, or of some of its cases; images stay where they are.

    With a `state_folder` the annotations and ledgers go there instead of into the cohort folder.

    Slices without an ignored voxel are drawn slices. Labels without any ignored voxel are dense and become references.
    Returns the cohort, and sentences on what could not be taken over.

    Raises:
        BadInputError: no raw data set, several channels, or labels that are regions.
    """
    folder = Path(folder).expanduser().absolute()
    dataset = read_nnunet_dataset(folder)
    images = sorted((folder / "imagesTr").glob(f"*_0000{dataset.ending}"))
    images += sorted((folder / "imagesTs").glob(f"*_0000{dataset.ending}"))
    names = [path.name[: -len(f"_0000{dataset.ending}")] for path in images]
    unknown = [name for name in cases if name not in names]
    if unknown:
        raise BadInputError(f"The data set '{folder}' has no case '{unknown[0]}'.")
    images = [path for path, name in zip(images, names, strict=True) if not cases or name in cases]
    cohort = Cohort.create(cohort_folder, Path(cohort_folder).name, dataset.labels)
    if state_folder is not None:
        cohort = Cohort.open(cohort_folder, state_folder)
    warnings = []
    for number, path in enumerate(images):
        name = path.name[: -len(f"_0000{dataset.ending}")]
        watch.step(number / len(images), f"reading '{name}'")
        labels_path = folder / "labelsTr" / f"{name}{dataset.ending}"
        geometry = read_geometry(path)
        labels = read_labels(labels_path, geometry) if labels_path.is_file() else None
        dense = labels is not None and (dataset.ignored is None or not (labels == dataset.ignored).any())
        cohort.add_case(name, path, reference=labels_path if dense else None)
        if labels is not None and not dense:
            annotation, left = _annotation(labels, dataset.ignored, geometry)
            cohort.save_annotation(name, annotation)
            if left:
                warnings.append(f"'{name}': {left} labelled voxels do not lie on a fully labelled slice; left out.")
    return cohort, warnings


def import_nnunet_predictions(cohort: Cohort, folder: str | Path, dataset_folder: str | Path, run: str, watch: Watch):
    """Take nnU-Net's predictions over as those of `run`; returns the names of the cases that had one.

    Labels go back to the cohort's values by their names in the data set's dataset.json; drawn slices stay as drawn.

    Raises BadInputError when there is no prediction of any case.
    """
    dataset = read_nnunet_dataset(Path(dataset_folder))
    values = {name: value for value, name in cohort.labels.items()}
    table = np.zeros(max(dataset.labels) + 1, dtype=np.uint16)
    for number, name in dataset.labels.items():
        digits = name.rsplit(" ", 1)[-1]
        table[number] = values.get(name, int(digits) if digits.isdigit() else number)
    found = []
    for number, case in enumerate(cohort.cases):
        watch.step(number / len(cohort.cases), f"reading '{case.name}'")
        path = Path(folder) / f"{case.name}{dataset.ending}"
        if path.is_file():
            annotation = cohort.annotation(case.name)
            predicted = read_labels(path, annotation.geometry)
            if predicted.max() >= len(table):
                raise BadInputError(
                    f"'{path}' holds the label {predicted.max()}, which is no structure of '{dataset_folder}'."
                )
            labels = table[predicted]
            annotation.restore_drawn(labels)
            labels = labels.astype(np.uint8) if labels.max() < 256 else labels
            write_image(cohort.prediction_path(run, case.name), labels, annotation.geometry)
            found.append(case.name)
    if not found:
        raise BadInputError(f"'{folder}' holds no prediction named like a case, for example '{path.name}'.")
    return found


def read_nnunet_dataset(folder: Path) -> NnunetDataset:
    """dataset.json of a raw data set. Raises BadInputError when it is none, or one that cannot be taken over."""
    path = folder / DATASET_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        channels, ending, labels = content["channel_names"], str(content["file_ending"]), dict(content["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"'{folder}' is not a raw data set of nnU-Net v2: '{path}' cannot be used ({error!r})."
        ) from error
    if len(channels) != 1:
        raise BadInputError(
            f"'{path}' has {len(channels)} channels; SparseAnnotate works on images with one. Make a data set of one."
        )
    if any(not isinstance(value, int) for value in labels.values()):
        raise BadInputError(f"'{path}' has labels that are regions; SparseAnnotate knows one label a voxel.")
    ignored = labels.pop(_IGNORE, None)
    return NnunetDataset({value: name for name, value in labels.items() if value != 0}, ignored, ending)


def _annotation(labels: np.ndarray, ignored: int, geometry) -> tuple[SparseAnnotation, int]:
    """The fully labelled slices of a label map as drawn ones, and how many labelled voxels lie on none."""
    known = labels != ignored
    ledger = Ledger()
    for plane in Plane:
        axis = plane.array_axis(geometry)
        for index in np.flatnonzero(known.all(axis=tuple(a for a in range(3) if a != axis))).tolist():
            empty = not labels[slice_layer(axis, index)].any()
            ledger = ledger.with_state(plane, index, SliceState.EMPTY if empty else SliceState.DRAWN)
    annotation = SparseAnnotation(np.where(known, labels, 0).astype(labels.dtype), ledger, geometry)
    return annotation, int(np.count_nonzero(known & ~annotation.supervised_mask()))
