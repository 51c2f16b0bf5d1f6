"""nnU-Net v2's predictions, read as those of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.case_names import file_stem
from ...core.cohort import Cohort
from ...core.cohort_file import COHORT_FILE
from ...core.cohort_voxels import ReplacedError
from ...core.decathlon import DATASET_FILE
from ...core.errors import BadInputError
from ...core.images import read_labels, write_image
from ...core.messages import _
from ...core.progress import Watch
from .nnunet_dataset import NnunetDataset, read_nnunet_dataset


def import_nnunet_predictions(
    cohort: Cohort,
    folder: str | Path,
    dataset_folder: str | Path,
    run: str,
    watch: Watch,
    cases: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Import nnU-Net's predictions as those of `run`; returns the names of the cases that had one, and warnings.

    Labels are mapped to the cohort's values by their names in the dataset's dataset.json, see `_values_by_name`; drawn
    slices stay as drawn. All predictions are checked before the first is written.

    Raises BadInputError when there is no prediction, or one holds a structure that the cohort does not have or changes
    meanwhile, or `run` is a trained run of the cohort, which has predictions of its own.
    """
    if run in cohort.runs():
        raise BadInputError(
            _("'{run}' is a trained run of the cohort. Choose another name for the predictions.").format(run=run)
        )
    dataset = read_nnunet_dataset(Path(dataset_folder))
    paths = {case.name: Path(folder) / f"{file_stem(case.name)}{dataset.ending}" for case in cohort.select(cases)}
    found = [name for name, path in paths.items() if path.is_file()]
    if not found:
        example = next(iter(paths.values()), Path("case" + dataset.ending)).name
        raise BadInputError(
            _("'{folder}' contains no prediction named like a case, for example '{example}'.").format(
                folder=folder, example=example
            )
        )
    occurring: dict[int, Path] = {}
    for number, name in enumerate(found):
        watch.step(0.5 * number / len(found), _("checking '{name}'").format(name=name))
        for value in np.unique(read_labels(paths[name], cohort.geometry(name))).tolist():
            occurring.setdefault(value, paths[name])
    table, warnings = _values_by_name(cohort, dataset, occurring)
    for number, name in enumerate(found):
        watch.step(0.5 + 0.5 * number / len(found), _("reading '{name}'").format(name=name))
        image, annotation = cohort.image_fingerprint(name), cohort.annotation(name)
        theirs = read_labels(paths[name], annotation.geometry)
        if not set(np.unique(theirs).tolist()) <= set(occurring):
            raise BadInputError(
                _("'{path}' changed while predictions were imported. Import them again.").format(path=paths[name])
            )
        labels = table[theirs]
        annotation.restore_drawn(labels)
        labels = labels.astype(np.uint8) if labels.max() < 256 else labels
        # The origin names the present image: nnU-Net does not record which one it has used.
        origin = cohort.origin(name, annotation, method="nnU-Net")
        if origin.image != image:
            raise ReplacedError(name)
        write_image(cohort.prediction_path(run, name), labels, annotation.geometry, facts=origin.facts())
    return found, warnings


def _values_by_name(cohort: Cohort, dataset: NnunetDataset, occurring: dict[int, Path]) -> tuple[np.ndarray, list[str]]:
    """The cohort's value of each label of a dataset, as a table, and warnings about names that were matched loosely.

    Names match when they are equal, or when they differ in case only and there is just one such name. A label without a
    name in the cohort is exported as 'label <value>' and imported by that name.
    `occurring`: labels of the predictions, and a file of each; only these need a value.
    """
    values = {name: value for value, name in cohort.labels.items()}
    table = np.zeros(max([*occurring, 0]) + 1, dtype=np.uint16)
    warnings: list[str] = []
    drawn: set[int] | None = None
    for number, path in sorted(occurring.items()):
        if number == 0:
            continue
        name = dataset.labels.get(number)
        if name is None:
            raise BadInputError(
                _(
                    "'{path}' contains the label {label}, which is not a structure of the dataset: its '{file}' names "
                    "{labels}."
                ).format(path=path, label=number, file=DATASET_FILE, labels=", ".join(map(str, sorted(dataset.labels))))
            )
        same_but_case = [own for own in values if own.casefold() == name.casefold()]
        theirs = [other for other in dataset.labels.values() if other.casefold() == name.casefold()]
        unnamed = re.fullmatch(r"label (\d{1,5})", name)
        if list(cohort.labels.values()).count(name) > 1:
            raise BadInputError(
                _("The cohort has several structures named '{name}'. Rename all but one of them.").format(name=name)
            )
        if name in values:
            table[number] = values[name]
        elif len(same_but_case) == len(theirs) == 1:
            table[number] = values[same_but_case[0]]
            warnings.append(
                _("'{name}' was imported as '{own}', which differs in upper and lower case only.").format(
                    name=name, own=same_but_case[0]
                )
            )
        elif unnamed and int(unnamed[1]) not in cohort.labels:
            if drawn is None:
                drawn = {v for case in cohort.annotated_cases() for v in cohort.annotation(case).label_values()}
            if int(unnamed[1]) in drawn:
                table[number] = int(unnamed[1])
        if not table[number]:
            names = ", ".join(f"'{own}'" for own in values) or _("none")
            raise BadInputError(
                _(
                    "'{path}' contains the structure '{name}', which the cohort does not have; it has: {names}. Use "
                    "the same name in '{dataset_file}' and '{cohort_file}', and import again."
                ).format(path=path, name=name, names=names, dataset_file=DATASET_FILE, cohort_file=COHORT_FILE)
            )
    return table, warnings
