"""The request that makes a cohort of image files, or adds images to one."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core import BadInputError, Case, Cohort, CohortError, Watch
from ..core.case_names import check_name, file_stem, names_of_files, normal_name, twins
from ..core.cohort_file import COHORT_FILE, check_labels, merged_labels
from ..core.decathlon import DATASET_FILE, case_name
from ..core.geometry import VolumeGeometry
from ..core.image_intake import Way, is_same_image, take_back, taken_in
from ..core.images import read_geometry, read_labels
from .reference_order import order_problem

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CreateRequest:
    """Make a cohort of image files; in a folder that is a cohort, add them to it.

    Attributes:
        images, references: paths; references, if any, in the order of the images.
        labels: label value to name.
        names: of the cases, in the order of the images; else
        name_from: 'file': from the file, and where files are called alike, from the folders that tell them apart;
            'parent': from the folder the file lies in.
        way: whether files outside the cohort folder are taken into it; see `Way`.
    """

    cohort: str
    images: tuple[str, ...]
    references: tuple[str, ...] = ()
    labels: dict[int, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    name_from: Literal["file", "parent"] = "file"
    way: Way = "link"


def create(request: CreateRequest, watch: Watch) -> list[Case]:
    """Make or enlarge the cohort; returns the cases of the images. Everything is checked before anything is made.

    Raises BadInputError, CohortError, FileWriteError: what cannot be used; nothing has been made or changed then.
    """
    if request.references and len(request.references) != len(request.images):
        raise BadInputError(
            f"{len(request.images)} images but {len(request.references)} references were given; "
            "give one reference for each image, in the same order."
        )
    names = _names(request)
    check_labels(request.labels)
    folder = Path(os.path.expanduser(request.cohort)).absolute()
    if (folder / DATASET_FILE).is_file() and not (folder / COHORT_FILE).is_file():
        raise CohortError(
            f"'{folder}' is a data set with a '{DATASET_FILE}' of its own, which a cohort made there would hide. "
            "Use it as it is, or choose another folder."
        )
    known = Cohort.open(folder) if (folder / COHORT_FILE).is_file() else None
    new = [number for number, name in enumerate(names) if known is None or not _is_there(known, request, number, name)]
    if known is not None:
        merged_labels(known.file, request.labels)
    _check_files(request, names, new, watch)
    made: list[Path] = []
    is_kept = False
    try:
        cases = []
        for place, number in enumerate(new):
            watch.step(0.5 + 0.5 * place / len(new), f"adding '{names[number]}'")
            cases.append(_case(request, folder, names[number], number, made))
        if known is None:
            cohort = Cohort.create(folder, folder.name, request.labels, cases)
        else:
            cohort = known
            known.add_cases(cases, request.labels)
        is_kept = True
    finally:
        if not is_kept:
            take_back(made, folder)
    _report(cohort, known is not None, names, new)
    return [cohort.case(name) for name in names]


def parsed_labels(items: Sequence[str]) -> dict[int, str]:
    """Labels given as VALUE=NAME. Raises BadInputError."""
    labels: dict[int, str] = {}
    for item in items:
        value, sign, name = item.partition("=")
        digits = value.strip().removeprefix("-")
        if not sign or not (digits.isascii() and digits.isdigit()):
            raise BadInputError(f"A label is given as VALUE=NAME, for example 1=liver, not '{item}'.")
        number = int(value)
        if number in labels:
            raise BadInputError(f"The label {number} is named twice: '{labels[number]}' and '{name}'.")
        labels[number] = name.strip()
    check_labels(labels)
    return labels


def _names(request: CreateRequest) -> list[str]:
    if request.names:
        if len(request.names) != len(request.images):
            raise BadInputError(
                f"{len(request.images)} images but {len(request.names)} names were given; give one for each image."
            )
        names = [normal_name(name) for name in request.names]
        for name in names:
            check_name(name)
        for one, other in twins(names):
            raise BadInputError(
                f"Two cases cannot be called '{one}' and '{other}': Windows and macOS would take their files for one."
            )
        return names
    stems = [case_name(image) for image in request.images]
    return names_of_files(request.images, stems, request.name_from == "parent")


def _is_there(known: Cohort, request: CreateRequest, number: int, name: str) -> bool:
    """True when the cohort has this very image under this name.

    Raises CohortError when it has another image under it, or under a name that some systems take for the same.
    """
    for one, other in twins([*(case.name for case in known.cases if case.name != name), name]):
        raise CohortError(
            f"The cohort '{known.name}' has a case '{one}', which differs from '{other}' in upper and lower case only: "
            "Windows and macOS would take their files for one. Name the new case with '--names'."
        )
    if not known.has_case(name):
        return False
    mine = known.image_path(name)
    if not is_same_image(Path(request.images[number]), mine):
        raise CohortError(
            f"The cohort '{known.name}' already has a case '{name}', of another file ('{mine}'); it is not replaced. "
            "Name the new case with '--names'."
        )
    if request.references:
        _check_same_reference(known, request.references[number], name)
    return True


def _check_same_reference(known: Cohort, given: str, name: str) -> None:
    if not known.has_reference(name):
        raise CohortError(
            f"The case '{name}' is in the cohort '{known.name}' already, without a reference; enter the reference in "
            f"'{COHORT_FILE}'."
        )
    mine = known.reference_path(name)
    if not is_same_image(Path(given), mine):
        raise CohortError(
            f"The case '{name}' is in the cohort '{known.name}' already, with another reference ('{mine}'); it is not "
            f"replaced. To use '{given}' instead, enter it in '{COHORT_FILE}'."
        )


def _check_files(request: CreateRequest, names: Sequence[str], new: Sequence[int], watch: Watch) -> None:
    geometries: dict[int, VolumeGeometry] = {}
    for place, number in enumerate(new):
        watch.step(0.5 * place / len(new), f"checking '{names[number]}'")
        geometries[number] = read_geometry(request.images[number])
    if not request.references:
        return
    images, references = ([paths[n] for n in new] for paths in (request.images, request.references))
    problem, unlike = order_problem(images, references)
    if problem:
        raise BadInputError(problem)
    for place, number in enumerate(new):
        watch.step(0.5 * place / len(new), f"checking the reference of '{names[number]}'")
        try:
            read_labels(request.references[number], geometries[number])
        except BadInputError as error:
            raise BadInputError(f"{error}{_fits_another(request, number, geometries)}") from error
    if unlike:
        pairs = "; ".join(f"'{Path(r).name}' for '{Path(i).name}'" for i, r in unlike[:5])
        _LOG.warning(
            f"The names of {len(unlike)} {'reference does' if len(unlike) == 1 else 'references do'} not tell which "
            f"image they belong to; they were taken in the order given: {pairs}{' ...' if len(unlike) > 5 else ''}."
        )


def _fits_another(request: CreateRequest, number: int, geometries: dict[int, VolumeGeometry]) -> str:
    """A sentence to add when a reference lies on the grid of another image than its own."""
    try:
        own = read_geometry(request.references[number])
    except BadInputError:
        return ""
    if not own.difference_from(geometries[number]):
        return ""
    fitting = [n for n, geometry in geometries.items() if n != number and not own.difference_from(geometry)]
    if not fitting:
        return ""
    others = ", ".join(f"'{request.images[n]}'" for n in fitting[:3])
    return f" It lies on the grid of {others}: are the references in the order of the images?"


def _case(request: CreateRequest, folder: Path, name: str, number: int, made: list[Path]) -> Case:
    stem = file_stem(name)
    case = Case(name, taken_in(request.images[number], folder, "images", stem, request.way, made))
    if not request.references:
        return case
    return replace(case, reference=taken_in(request.references[number], folder, "references", stem, request.way, made))


def _report(cohort: Cohort, is_old: bool, names: Sequence[str], new: Sequence[int]) -> None:
    if is_old:
        cases = "case" if len(new) == 1 else "cases"
        _LOG.warning(f"Added {len(new)} {cases} to the cohort '{cohort.name}', which has {len(cohort.cases)} now.")
        if len(new) < len(names):
            old = [name for number, name in enumerate(names) if number not in new]
            _LOG.warning(f"Already there: {', '.join(old[:5])}{' ...' if len(old) > 5 else ''}.")
    outside = [names[n] for n in new if _lies_outside(cohort, names[n])]
    if outside:
        _LOG.warning(
            f"The images of {len(outside)} {'case lies' if len(outside) == 1 else 'cases lie'} outside the cohort "
            "folder and do not travel with it ('--copy-images' copies them into it)."
        )


def _lies_outside(cohort: Cohort, name: str) -> bool:
    stored = cohort.case(name).image
    return stored.startswith("..") or Path(stored).is_absolute()
