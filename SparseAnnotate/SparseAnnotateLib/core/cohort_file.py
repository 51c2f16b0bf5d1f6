"""The cases of a cohort and their paths, from cohort.json or the Medical Segmentation Decathlon's dataset.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Literal

import numpy as np

from .case_names import name_collisions, names_of_files, normal_name, usable_case_name
from .channels import check_channels, usable_channels
from .decathlon import DATASET_FILE, case_name, read_decathlon
from .errors import BadInputError, CohortError
from .file_stamp import FileStamp, is_settled, stamp_of
from .images import channel_count
from .messages import _
from .modalities import check_modalities, modalities_by_name
from .strict_json import LEFT_OUT_WHEN_EMPTY, file_content, read_json_text

COHORT_FILE = "cohort.json"
_LARGEST_LABEL = np.iinfo(np.uint16).max
_LEVELS_UP = 2
_MOST_KEPT = 8


@dataclass(frozen=True)
class Case:
    """One volume of a cohort; paths relative to the cohort folder, or absolute.

    Attributes:
        image: its image; with several channels that of the first. reference: dense labels, if any.
        further: the images of the other channels, by name; channels may be missing.
        is_4d: the image has all channels of the cohort, in their order, as its fourth dimension.
    """

    name: str
    image: str
    reference: str | None = None
    further: dict[str, str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    is_4d: bool = field(default=False, metadata=LEFT_OUT_WHEN_EMPTY)


@dataclass(frozen=True)
class CohortFile:
    """The content of cohort.json.

    Attributes:
        channels: names of the channels, if the cases have several images on one grid, or a single one with a name.
        first_was_unnamed: the cases had a single image without a channel's name, now that of the first channel, so that
            runs which know no channels see it.
        modalities: channel to modality, as far as known; '' for images without channels. See `modalities`.
    """

    name: str
    labels: dict[int, str] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    format: Literal["SparseAnnotate cohort"] = "SparseAnnotate cohort"
    version: Literal[1] = 1
    channels: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    modalities: dict[str, str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    first_was_unnamed: bool = field(default=False, metadata=LEFT_OUT_WHEN_EMPTY)


@dataclass(frozen=True)
class _Kept:
    """What was read from a file; `stamp`: None while the file is so new that it may change without another stamp."""

    stamp: FileStamp | None
    text: str
    file: CohortFile


_KEPT: dict[Path, _Kept] = {}


def read_cohort_file(folder: Path) -> tuple[CohortFile, Path]:
    """The cohort in a folder, and where its annotations, ledgers and runs are kept.

    Raises:
        CohortError: the folder is not a cohort, or lists a case twice. BadInputError: cohort.json is damaged.
    """
    if (folder / COHORT_FILE).is_file():
        return _kept_file(folder / COHORT_FILE), folder
    if (folder / DATASET_FILE).is_file():
        name, labels, found, modalities = read_decathlon(folder)
        channels = _decathlon_channels(folder, modalities, [image for _name, image, _label in found])
        kinds = modalities_by_name(channels, modalities if channels or len(modalities) == 1 else ())
        file, state = CohortFile(name, labels, channels=channels, modalities=kinds), folder / "SparseAnnotate"
        cases = _named_cases(found, len(channels) > 1)
    else:
        raise CohortError(
            _(
                "'{folder}' is not a cohort: it has neither '{cohort_file}' nor '{dataset_file}'. Make one with "
                "'sparse-annotate create', or choose another folder."
            ).format(folder=folder, cohort_file=COHORT_FILE, dataset_file=DATASET_FILE)
        )
    return _with_cases(file, cases), state


def _kept_file(path: Path) -> CohortFile:
    """The content of cohort.json, made again only when its text has changed: with each click in the panel it is wanted.

    Raises as `read_cohort_file`.
    """
    stamp, known = _stamp(path), _KEPT.get(path)
    if known is None or stamp is None or known.stamp != stamp:
        text = read_json_text(path)
        file = known.file if known is not None and known.text == text else _parsed(text, path)
        is_sure = stamp is not None and is_settled(stamp) and _stamp(path) == stamp
        if path not in _KEPT and len(_KEPT) >= _MOST_KEPT:
            _KEPT.pop(next(iter(_KEPT)))
        known = _KEPT[path] = _Kept(stamp if is_sure else None, text, file)
    return replace(known.file, labels=dict(known.file.labels), modalities=dict(known.file.modalities))


def _parsed(text: str, path: Path) -> CohortFile:
    file = file_content(text, CohortFile, path)
    _check_channels(path, file)
    return _with_cases(file, tuple(replace(case, name=normal_name(case.name)) for case in file.cases))


def _stamp(path: Path) -> FileStamp | None:
    try:
        return stamp_of(path)
    except OSError:  # reading it tells
        return None


def _with_cases(file: CohortFile, cases: tuple[Case, ...]) -> CohortFile:
    """The content with these cases. Raises CohortError when one is listed twice."""
    twice = sorted({one for one, other in name_collisions([case.name for case in cases]) if one == other})
    if twice:
        raise CohortError(
            _("The cohort '{name}' lists these cases twice: {cases}.").format(
                name=file.name, cases=", ".join(twice[:5])
            )
        )
    return replace(file, cases=cases)


def _check_channels(path: Path, file: CohortFile) -> None:
    """Raise BadInputError when the channels in cohort.json contradict each other."""
    try:
        check_channels(file.channels)
        check_modalities(file.modalities, file.channels)
        for case in file.cases:
            unknown = [name for name in case.further if name not in file.channels[1:]]
            if unknown:
                raise BadInputError(
                    _("The case '{case}' has the further channel '{channel}', and the cohort has {known}.").format(
                        case=case.name, channel=unknown[0], known=", ".join(file.channels[1:]) or _("none")
                    )
                )
            if case.is_4d and (case.further or len(file.channels) < 2):
                raise BadInputError(
                    _(
                        "The case '{case}' is marked as one file with all channels ('is_4d'), but it has further "
                        "images, or the cohort has fewer than two channels."
                    ).format(case=case.name)
                )
    except BadInputError as error:
        raise BadInputError(
            _("The channels in '{path}' cannot be used. {problem}").format(path=path, problem=error.message)
        ) from error


def _decathlon_channels(folder: Path, modalities: Sequence[str], images: Sequence[str]) -> tuple[str, ...]:
    """The channels of a Decathlon folder; none unless its first image that can be read has as many as are named."""
    for image in images if len(modalities) > 1 else ():
        try:
            count = channel_count(path_in(folder, image))
        except BadInputError:
            continue
        if count != len(modalities):
            return ()
        try:
            return usable_channels(modalities)
        except BadInputError as error:
            raise CohortError(
                _("The modalities in '{path}' cannot be used. {problem}").format(
                    path=folder / DATASET_FILE, problem=error.message
                )
            ) from error
    return ()


def check_labels(labels: Mapping[int, str]) -> None:
    """Raise BadInputError when a value cannot be a label of a structure, or a name is empty or used twice."""
    for value, name in labels.items():
        if value == 0:
            raise BadInputError(
                _("The value 0 cannot be the label of '{name}': 0 is the background.").format(name=name)
            )
        if not 1 <= value <= _LARGEST_LABEL:
            raise BadInputError(
                _(
                    "The value {value} cannot be the label of '{name}': labels are whole numbers from 1 to {largest}."
                ).format(value=value, name=name, largest=int(_LARGEST_LABEL))
            )
        if not name.strip():
            raise BadInputError(_("The label {value} needs a name, for example {value}=liver.").format(value=value))
    names = [normal_name(name.strip()) for name in labels.values()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(_("Two labels are named '{name}'; every structure needs its own name.").format(name=twice))


def merged_labels(file: CohortFile, labels: Mapping[int, str]) -> dict[int, str]:
    """A cohort's labels and more of them. Raises CohortError when a value would get another name, BadInputError when
    labels cannot be used; see `check_labels`.
    """
    for value, name in labels.items():
        if file.labels.get(value, name) != name:
            raise CohortError(
                _("In '{cohort}' the label {value} is '{existing}', so it cannot be '{name}'.").format(
                    cohort=file.name, value=value, existing=file.labels[value], name=name
                )
            )
    merged = {**file.labels, **labels}
    if labels:
        check_labels({value: name for value, name in merged.items() if value != 0})
    return merged


def require_same_channels(file: CohortFile, channels: Sequence[str]) -> None:
    """Raise CohortError when cases with these channels cannot be added to a cohort."""
    if tuple(channels) != file.channels:
        own, given = (", ".join(names) or _("no named channels") for names in (file.channels, channels))
        raise CohortError(
            _(
                "The cohort '{cohort}' has {own}, and the images to add have {given}. Name the same channels in the "
                "same order, or make another cohort."
            ).format(cohort=file.name, own=own, given=given)
        )


def path_in(folder: Path, stored: str) -> Path:
    """The file of a stored path: relative to the cohort folder, or absolute; also when written on Windows."""
    path = folder / stored
    if "\\" in stored and os.name != "nt" and not path.exists():
        plain = stored.replace("\\", "/")
        return Path(plain) if PureWindowsPath(stored).is_absolute() else folder / plain
    return path


def stored_path(folder: Path, path: str | Path) -> str:
    """A path as cohort.json keeps it: relative in the cohort folder and in the two folders above it, else absolute.

    A project folder with the cohort and its images can then be moved as a whole.
    """
    path = Path(os.path.expanduser(path)).absolute()
    # With symbolic links, '..' may lead to another folder than the text of the path suggests.
    for start, inner in ((folder, path), (folder.resolve(), path.parent.resolve() / path.name)):
        with suppress(ValueError):
            return inner.relative_to(start).as_posix()
    base, inner = folder.resolve(), path.parent.resolve() / path.name
    for up in range(1, _LEVELS_UP + 1):
        if up > len(base.parents) - 1:
            break
        with suppress(ValueError):
            return (Path(*[".."] * up) / inner.relative_to(base.parents[up - 1])).as_posix()
    return path.as_posix()


def _named_cases(found: Sequence[tuple[str, str, str | None]], is_4d: bool) -> tuple[Case, ...]:
    """The cases of a Decathlon folder; images of the same name in different folders are named by the folders."""
    names = [usable_case_name(name) for name, _, _ in found]
    if name_collisions(names):
        images = [image for _, image, _ in found]
        try:
            names = names_of_files(images, [case_name(image) for image in images])
        except BadInputError as error:
            raise CohortError(
                _("Two images in '{dataset_file}' cannot be told apart. {problem}").format(
                    dataset_file=DATASET_FILE, problem=error.message
                )
            ) from error
    return tuple(Case(name, image, label, is_4d=is_4d) for name, (_, image, label) in zip(names, found, strict=True))
