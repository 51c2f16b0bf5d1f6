"""nnU-Net v2's raw datasets with their ignore label, written and read (its documentation/ignore_label.md)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...core.annotation import SparseAnnotation
from ...core.atomic_files import require_writable_place
from ...core.case_names import file_stem
from ...core.channels import require_grid_of_channel
from ...core.cohort import Cohort
from ...core.cohort_file import COHORT_FILE
from ...core.decathlon import DATASET_FILE, is_left_by_macos
from ...core.errors import BadInputError
from ...core.geometry import VolumeGeometry
from ...core.image_fingerprint import image_fingerprint
from ...core.images import read_geometry, read_labels, write_image
from ...core.known_slices import drawn_from_known, explains, with_ledger
from ...core.ledger import Ledger
from ...core.messages import _, counted
from ...core.modalities import CT
from ...core.progress import Watch
from ...core.strict_json import read_json, write_json
from ..data.image_channels import require_channels
from .nnunet_dataset import CHANNEL, IGNORE, NnunetDataset, channel_ending, nnunet_images, read_nnunet_dataset

LEDGER_FOLDER = "SparseAnnotate_ledgers"
"""Beside the files that nnU-Net reads: which labelled slices were drawn in which plane, for import."""

_MADE = ("annotations", "ledgers")


def export_nnunet_dataset(cohort: Cohort, folder: str | Path, names: Sequence[str], watch: Watch) -> Path:
    """Write cases as a raw dataset: drawn slices with their labels, everything else as 'ignore'.

    nnU-Net has no label for 'background or one of these structures': on slices that say nothing about a
    structure, everything but what they show is ignored.

    Cases without drawn slices become test images. nnU-Net needs consecutive labels: they are renumbered in the order
    of their values, and dataset.json keeps their names. Ledgers are exported, too; nnU-Net ignores them.

    Args:
        folder: named Dataset<three digits>_<name>, as nnU-Net requires; must not hold a dataset yet.

    Raises:
        BadInputError: the folder's name does not fit or holds a dataset, nothing has been drawn, a case lacks a
            channel, or changes meanwhile; without its dataset.json the folder is no dataset then.
    """
    folder = Path(folder).expanduser().absolute()
    if not re.fullmatch(r"Dataset\d{3}_\w+", folder.name):
        raise BadInputError(
            _("nnU-Net finds datasets by names like 'Dataset501_{cohort}'; '{folder}' is not one.").format(
                cohort=cohort.name, folder=folder.name
            )
        )
    if (folder / DATASET_FILE).exists():
        raise BadInputError(_("'{folder}' already contains a dataset; choose another folder.").format(folder=folder))
    require_writable_place(folder)
    require_channels(cohort, names, cohort.channels)
    values = sorted({value for name in names for value in _drawn(cohort, name).label_values()})
    labels_of = [cohort.labels.get(value, f"label {value}") for value in values]
    if len({"background", IGNORE, *labels_of}) < len(values) + 2:
        raise BadInputError(
            _(
                "In an nnU-Net dataset every structure needs a name of its own, other than 'background' and "
                "'{ignore}'. The structures are: {names}. Rename those that do not fit."
            ).format(ignore=IGNORE, names=", ".join(labels_of))
        )
    if not values:
        raise BadInputError(_("No structure has been drawn yet, so there is nothing that nnU-Net could learn."))
    table = np.zeros(max(values) + 1, dtype=np.uint8 if len(values) < 255 else np.uint16)
    table[values] = np.arange(1, len(values) + 1)
    drawn, channels = 0, cohort.channels or ("",)
    for number, name in enumerate(names):
        watch.step(number / len(names), _("writing '{name}'").format(name=name))
        annotation = _drawn(cohort, name)
        geometry = annotation.geometry
        before = cohort.origin(name, annotation)
        if not set(annotation.label_values()) <= set(values):
            raise BadInputError(_changed(name, _("another structure was drawn")))
        supervised = annotation.supervised_mask()
        kind = "Tr" if supervised.any() else "Ts"
        for place, channel in enumerate(channels):
            image = cohort.channel_image(name, channel, geometry)
            path = folder / f"images{kind}" / f"{file_stem(name)}{channel_ending(place)}.nii.gz"
            write_image(path, image, geometry)
        if supervised.any():
            drawn += 1
            decided = annotation.decided_mask(values)
            labels = np.where(decided, table[annotation.drawn_labels()], len(values) + 1).astype(table.dtype)
            write_image(folder / "labelsTr" / f"{file_stem(name)}.nii.gz", labels, geometry)
        if annotation.ledger.entries:
            write_json(folder / LEDGER_FOLDER / f"{file_stem(name)}.json", annotation.ledger)
        change = before.changes(cohort.origin(name, _drawn(cohort, name)))
        if change:
            raise BadInputError(_changed(name, change))
    numbers = {name: int(table[value]) for name, value in zip(labels_of, values, strict=True)}
    write_json(
        folder / DATASET_FILE,
        {
            "channel_names": {str(place): _nnunet_name(cohort, name) for place, name in enumerate(channels)},
            "labels": {"background": 0, **numbers, IGNORE: len(values) + 1},
            "numTraining": drawn,
            "file_ending": ".nii.gz",
        },
        checksum=False,
    )
    return folder


def _changed(name: str, change: str) -> str:
    return _("The case '{case}' changed while the dataset was written ({change}). Export again.").format(
        case=name, change=change
    )


def _nnunet_name(cohort: Cohort, channel: str) -> str:
    """What nnU-Net calls a channel: from the name CT it knows that values are Hounsfield units."""
    return CT if cohort.is_ct(channel) else channel or "image"


def _drawn(cohort: Cohort, name: str) -> SparseAnnotation:
    """A case's annotation without corrections: with known voxels off the slices its ledger could not be read back."""
    return replace(cohort.annotation(name), corrections=None)


def import_nnunet_dataset(
    folder: str | Path,
    cohort_folder: str | Path,
    watch: Watch,
    cases: Sequence[str] = (),
    state_folder: str | Path | None = None,
) -> tuple[Cohort, list[str]]:
    """Make a cohort of a raw dataset, or of some of its cases; images stay where they are.

    With a `state_folder` the annotations and ledgers go there instead of into the cohort folder.

    Where the dataset has an ignore label, the known voxels are what was drawn: on the slices of the ledger that
    `export_nnunet_dataset` left beside it, if it still fits; else on those that `drawn_from_known` finds. Single
    ignored voxels of these slices are undecided. Without an ignore label the labels are dense and become references.
    Everything is checked before the cohort is made; if anything fails afterwards, it is removed again.
    Returns the cohort, and warnings about what could not be imported.

    Raises:
        BadInputError: not a raw dataset, channels or files that cannot be used, or labels that are regions.
    """
    folder, cohort_folder = Path(folder).expanduser().absolute(), Path(cohort_folder).expanduser().absolute()
    dataset = read_nnunet_dataset(folder)
    images = nnunet_images(folder, dataset)
    unknown = [name for name in cases if name not in images]
    if unknown:
        raise BadInputError(_("The dataset '{folder}' has no case '{case}'.").format(folder=folder, case=unknown[0]))
    images = {name: path for name, path in images.items() if not cases or name in cases}
    if (cohort_folder / COHORT_FILE).exists():
        Cohort.create(cohort_folder, cohort_folder.name)  # raises the error that there is one
    state = Path(state_folder).expanduser().absolute() if state_folder else cohort_folder
    for place in (cohort_folder, state):
        require_writable_place(place)
    warnings = [] if cases else _labels_without_image(folder, dataset, images)
    ledgers: dict[str, Ledger | None] = {}
    for number, (name, path) in enumerate(images.items()):
        watch.step(0.5 * number / len(images), _("checking '{name}'").format(name=name))
        annotation, _reference, found = _case(folder, dataset, name, path)
        warnings += found
        warnings += _missing_channels(dataset, name, path)
        ledgers[name] = annotation.ledger if annotation is not None else None
    if any((state / name).exists() for name in _MADE):
        raise BadInputError(
            _(
                "'{folder}' already contains annotations or ledgers, of a cohort without its '{file}'. Choose another "
                "folder."
            ).format(folder=state, file=COHORT_FILE)
        )
    new_folders = [path for path in (cohort_folder, state) if not path.exists()]
    Cohort.create(cohort_folder, cohort_folder.name, dataset.labels, (), dataset.channels, dataset.modalities)
    try:
        cohort = Cohort.open(cohort_folder, state)
        if not cohort.cache_folder.exists():
            new_folders.append(cohort.cache_folder)
        for number, (name, path) in enumerate(images.items()):
            watch.step(0.5 + 0.5 * number / len(images), _("reading '{name}'").format(name=name))
            image = image_fingerprint(path, cohort.marks_path(name))
            annotation, reference, _warnings = _case(folder, dataset, name, path, ledgers[name])
            cohort.add_case(name, path, reference=reference, further=_further(dataset, name, path))
            if annotation is not None:
                cohort.change_annotation(name, image, partial(_instead, annotation))
    except BaseException:
        _remove_cohort(cohort_folder, state, new_folders)
        raise
    return cohort, warnings


def _instead(annotation: SparseAnnotation, _before: SparseAnnotation) -> SparseAnnotation:
    return annotation


def _further(dataset: NnunetDataset, name: str, image: Path) -> dict[str, Path]:
    """The images of a case's further channels that exist, by name."""
    paths = {
        channel: image.with_name(f"{name}{channel_ending(place)}{dataset.ending}")
        for place, channel in enumerate(dataset.channels)
        if place
    }
    return {channel: path for channel, path in paths.items() if path.is_file()}


def _missing_channels(dataset: NnunetDataset, name: str, image: Path) -> list[str]:
    """A sentence for each further channel that a case lacks. Raises BadInputError when one has another grid."""
    further, geometry = _further(dataset, name, image), read_geometry(image)
    for path in further.values():
        require_grid_of_channel(path, geometry)
    return [
        _("'{case}' has no image of the channel '{channel}'.").format(case=name, channel=channel)
        for channel in dataset.channels[1:]
        if channel not in further
    ]


def _case(
    folder: Path, dataset: NnunetDataset, name: str, image: Path, decided: Ledger | None = None
) -> tuple[SparseAnnotation | None, Path | None, list[str]]:
    """One case of a dataset: its annotation, or the path of its reference, and warnings.

    `decided`: the ledger of its annotation, when it has been found already; then there are no warnings.
    """
    geometry = read_geometry(image)
    path = folder / "labelsTr" / f"{name}{dataset.ending}"
    if not path.is_file():
        missing = [_("'{case}' has no label file in 'labelsTr'.").format(case=name)]
        missing = missing if image.parent.name == "imagesTr" else []
        ledger, found = _ledger(folder, name)
        if ledger is None or ledger.decided or not _lies_within(ledger, geometry):
            return None, None, missing + found
        return SparseAnnotation(np.zeros(geometry.shape, np.uint8), ledger, geometry), None, missing + found
    labels = read_labels(path, geometry)
    values = np.unique(labels).tolist()
    unknown = sorted(set(values) - {0, dataset.ignored} - set(dataset.labels))
    if unknown:
        raise BadInputError(
            _("'{path}' contains labels that '{file}' does not name: {labels}. Name them there.").format(
                path=path, file=DATASET_FILE, labels=", ".join(map(str, unknown))
            )
        )
    if dataset.ignored is None:
        return None, path, []
    known = labels != dataset.ignored
    if decided is not None:
        return with_ledger(decided, labels, known, geometry, dataset.labels), None, []
    ledger, warnings = _ledger(folder, name)
    if ledger is not None and explains(ledger, labels, known, geometry, dataset.labels):
        annotation = with_ledger(ledger, labels, known, geometry, dataset.labels)
    else:
        annotation = drawn_from_known(labels, known, geometry, dataset.labels)
        if ledger is not None:
            warnings.append(
                _("'{case}': the labels no longer match the ledger in '{folder}', so the ledger was ignored.").format(
                    case=name, folder=LEDGER_FOLDER
                )
            )
    left = int(np.count_nonzero(known & ~annotation.supervised_mask()))
    if left:
        problem = counted(
            left,
            _("{count} labeled voxel does not lie on a fully labeled slice and was left out."),
            _("{count} labeled voxels do not lie on a fully labeled slice and were left out."),
        )
        warnings.append(_("'{case}': {problem}").format(case=name, problem=problem))
    if annotation.undecided is not None:
        problem = counted(
            int(np.count_nonzero(annotation.undecided)),
            _("{count} ignored voxel of its labeled slices stays undecided."),
            _("{count} ignored voxels of its labeled slices stay undecided."),
        )
        warnings.append(_("'{case}': {problem}").format(case=name, problem=problem))
    return annotation, None, warnings


def _ledger(folder: Path, name: str) -> tuple[Ledger | None, list[str]]:
    """The ledger that was exported beside a case, if there is one that can be read."""
    path = folder / LEDGER_FOLDER / f"{name}.json"
    if not path.is_file():
        return None, []
    try:
        return read_json(path, Ledger), []
    except BadInputError as error:
        return None, [_("The ledger of '{case}' was left out. {error}").format(case=name, error=error.message)]


def _lies_within(ledger: Ledger, geometry: VolumeGeometry) -> bool:
    try:
        ledger.check_fits(geometry, "The ledger")
    except BadInputError:
        return False
    return True


def _labels_without_image(folder: Path, dataset: NnunetDataset, images: dict[str, Path]) -> list[str]:
    paths = sorted((folder / "labelsTr").glob(f"*{dataset.ending}"))
    names = [path.name.removesuffix(dataset.ending) for path in paths if not is_left_by_macos(path)]
    return [
        _("'{case}' has labels but no image '{file}', so it was left out.").format(
            case=name, file=f"{name}{CHANNEL}{dataset.ending}"
        )
        for name in names
        if name not in images
    ]


def _remove_cohort(cohort_folder: Path, state: Path, new_folders: Sequence[Path]) -> None:
    """Remove a cohort that was only partly made; from folders that existed before, only what was added."""
    with suppress(OSError):
        (cohort_folder / COHORT_FILE).unlink()
    for folder in (*(state / name for name in _MADE), *new_folders):
        shutil.rmtree(folder, ignore_errors=True)
