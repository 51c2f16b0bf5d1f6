"""The requests that make a cohort from image files, and add images to one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core import BadInputError, Case, Cohort, CohortError, Watch
from ..core.atomic_files import expanded, require_writable_place
from ..core.case_names import check_name, collision_key, file_stem, name_collisions, names_of_files, normal_name
from ..core.cohort_file import COHORT_FILE, check_labels, merged_labels, require_same_channels
from ..core.decathlon import DATASET_FILE
from ..core.geometry import VolumeGeometry
from ..core.image_intake import ImportMode, import_image, is_same_image, remove_imported
from ..core.images import read_geometry, read_labels
from ..core.messages import _, counted, joined, listed
from ..core.modalities import check_modalities, require_same_modalities
from ..core.scan_files import image_files
from .case_channels import CaseChannels
from .dicom_cases import create_from_dicom, holds_dicom
from .reference_order import order_problem

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CreateRequest:
    """Make a cohort from image files; if the folder is already a cohort, add them to it.

    Attributes:
        images, references: files, folders and patterns, see `image_files`; references, if any, in the order of the
            images.
        labels: label value to name.
        names: of the cases, in the order of the images; without them, `name_from` decides.
        name_from: 'file': the file names, or the folders that tell them apart where several files have one name, and
            numbers for DICOM series; 'parent': the name of the folder that holds the file; 'patient': the patient ID
            in DICOM files.
        import_mode: what is done with files outside the cohort folder; see `ImportMode`.
        channels: names of the channels, in order, each with the ending of its files' names; see `grouped_by_channel`.
            Without endings each image file is 4D and has all of them. Of DICOM, each with the description or UID of
            its series. Slices are drawn in the first channel.
        modalities: channel to its modality, '' for images without channels; CT is in Hounsfield units. By default CT
            for a channel that is called CT, and for DICOM series what they say.
        resample: resample a further channel that lies on another grid to the first one's, which makes a new file.
        series: UIDs or descriptions of the DICOM series to take; by default all that are volumes.
        time_point: which one to take of DICOM series that have several, from 1; 0: these cannot be used. Each of them
            can be a case.
        skip_unusable: take the other DICOM series when some cannot be used.
        keep_source_paths: keep the paths of DICOM files in the cohort; they often name the patient.
    """

    cohort: str
    images: tuple[str, ...]
    references: tuple[str, ...] = ()
    labels: dict[int, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    name_from: Literal["file", "parent", "patient"] = "file"
    import_mode: ImportMode = "link"
    channels: dict[str, str] = field(default_factory=dict)
    modalities: dict[str, str] = field(default_factory=dict)
    resample: bool = False
    series: tuple[str, ...] = ()
    time_point: int = 0
    skip_unusable: bool = False
    keep_source_paths: bool = False


def create(request: CreateRequest, watch: Watch) -> list[Case]:
    """Make or enlarge the cohort; returns the cases of the images. All files are checked before anything is written.

    With DICOM files, `channels` are the descriptions or UIDs of series of one study.

    Raises BadInputError, CohortError or FileWriteError when something cannot be used; then nothing has been changed.
    """
    require_writable_place(expanded(request.cohort).absolute())
    if holds_dicom(request.images, bool(request.series), request.skip_unusable, watch.part(0, 10)):
        return create_from_dicom(request, watch, _create)
    if request.time_point:
        raise BadInputError(_("Only DICOM series have time points to choose from. Leave out '--time-point'."))
    if request.name_from == "patient":
        raise BadInputError(_("Only DICOM files have a patient ID that cases could be named after."))
    from_folders = request.name_from == "parent"
    given = image_files(request.images, from_folders and not any(request.channels.values()))
    channels = CaseChannels.of(given, request.channels, request.resample)
    request = replace(request, images=channels.images, references=image_files(request.references, from_folders))
    return _create(request, watch, channels)


def _create(request: CreateRequest, watch: Watch, channels: CaseChannels) -> list[Case]:
    """`create` with the files of each case."""
    if request.references and len(request.references) != len(request.images):
        raise BadInputError(
            _(
                "Number of images: {image_count}, number of references: {reference_count}. Give one reference for each "
                "image, in the same order."
            ).format(image_count=len(request.images), reference_count=len(request.references))
        )
    names = _names(request, channels)
    check_labels(request.labels)
    modalities = check_modalities(request.modalities, channels.names)
    folder = expanded(request.cohort).absolute()
    if (folder / DATASET_FILE).is_file() and not (folder / COHORT_FILE).is_file():
        raise CohortError(
            _(
                "'{folder}' already contains a dataset ('{file}'), which a new cohort there would hide. Use this "
                "folder as the cohort, or choose another folder."
            ).format(folder=folder, file=DATASET_FILE)
        )
    known = Cohort.open(folder) if (folder / COHORT_FILE).is_file() else None
    new = list(range(len(names))) if known is None else _new_cases(known, request, names, channels)
    if known is not None:
        merged_labels(known.file, request.labels)
        require_same_channels(known.file, channels.names)
        require_same_modalities(known.modalities, modalities, known.name, COHORT_FILE)
    _check_files(request, names, new, watch, channels)
    made: list[Path] = []
    is_kept = False
    try:
        cases = []
        for place, number in enumerate(new):
            watch.step(0.5 + 0.5 * place / len(new), _("adding '{case}'").format(case=names[number]))
            case = _case(request, folder, names[number], number, made)
            cases.append(channels.entered(case, number, folder, request.import_mode, made))
        if known is None:
            cohort = Cohort.create(folder, folder.name, request.labels, cases, channels.names, modalities)
        else:
            cohort = known
            known.add_cases(cases, request.labels, channels.names)
        is_kept = True
    finally:
        if not is_kept:
            remove_imported(made, folder)
    channels.report(names)
    _report(cohort, known is not None, names, new)
    return [cohort.case(name) for name in names]


def add(request: CreateRequest, watch: Watch) -> list[Case]:
    """Add images to a cohort as `create` does; the folder must be one. Raises CohortError when it is not."""
    folder = expanded(request.cohort).absolute()
    if not (folder / COHORT_FILE).is_file():
        if (folder / DATASET_FILE).is_file():
            raise CohortError(
                _(
                    "'{folder}' is a dataset of another format ('{file}'), which SparseAnnotate does not change. Make "
                    "a cohort in another folder with 'sparse-annotate create'."
                ).format(folder=folder, file=DATASET_FILE)
            )
        raise CohortError(
            _(
                "'{folder}' is not a cohort yet: it has no '{file}'. Make one with 'sparse-annotate create', which "
                "has the same options."
            ).format(folder=folder, file=COHORT_FILE)
        )
    return create(request, watch)


def parsed_labels(items: Sequence[str]) -> dict[int, str]:
    """Labels given as VALUE=NAME. Raises BadInputError."""
    labels: dict[int, str] = {}
    for item in items:
        value, sign, name = item.partition("=")
        digits = value.strip().removeprefix("-")
        if not sign or not (digits.isascii() and digits.isdigit()):
            raise BadInputError(_("Write a label as VALUE=NAME, for example 1=liver, not '{text}'.").format(text=item))
        number = int(value)
        if number in labels:
            raise BadInputError(
                _("The label {value} is named twice: '{name}' and '{other}'. Give each label one name.").format(
                    value=number, name=labels[number], other=name
                )
            )
        labels[number] = name.strip()
    check_labels(labels)
    return labels


def _names(request: CreateRequest, channels: CaseChannels) -> list[str]:
    if request.names:
        if len(request.names) != len(request.images):
            raise BadInputError(
                _(
                    "Number of images: {image_count}, number of names: {name_count}. Give one name for each image."
                ).format(image_count=len(request.images), name_count=len(request.names))
            )
        names = [normal_name(name) for name in request.names]
        for name in names:
            check_name(name)
        for one, other in name_collisions(names):
            raise BadInputError(
                _(
                    "Two cases cannot be named '{name}' and '{other}': on Windows and macOS their files would have the "
                    "same name. Choose other names."
                ).format(name=one, other=other)
            )
        return names
    return names_of_files(request.images, channels.stems, request.name_from == "parent")


def _new_cases(known: Cohort, request: CreateRequest, names: Sequence[str], channels: CaseChannels) -> list[int]:
    """The numbers of the images that the cohort does not have; see `_is_known`."""
    by_key = {collision_key(case.name): case.name for case in known.cases}
    for name in names:
        other = by_key.get(collision_key(name), name)
        if other != name and not known.has_case(name):
            raise CohortError(
                _(
                    "The cohort '{cohort}' has a case '{name}', whose name differs from '{other}' in upper and lower "
                    "case only: on Windows and macOS their files would have the same name. Choose another name with "
                    "'--names'."
                ).format(cohort=known.name, name=other, other=name)
            )
    return [number for number, name in enumerate(names) if not _is_known(known, request, number, name, channels)]


def _is_known(known: Cohort, request: CreateRequest, number: int, name: str, channels: CaseChannels) -> bool:
    """True when the cohort already has the same image under this name.

    Raises CohortError when it has another image under this name.
    """
    if not known.has_case(name):
        return False
    known_path = known.image_path(name)
    if not is_same_image(Path(request.images[number]), known_path):
        raise CohortError(
            _(
                "The cohort '{cohort}' already has a case '{name}' with another image ('{path}'), which is not "
                "replaced. Choose another name for the new case with '--names'."
            ).format(cohort=known.name, name=name, path=known_path)
        )
    channels.require_same(known, number, name)
    if request.references:
        _check_same_reference(known, request.references[number], name)
    return True


def _check_same_reference(known: Cohort, given: str, name: str) -> None:
    if not known.has_reference(name):
        raise CohortError(
            _(
                "The case '{name}' is already in the cohort '{cohort}', without a reference. To add the reference, "
                "enter its path in '{file}'."
            ).format(name=name, cohort=known.name, file=COHORT_FILE)
        )
    known_path = known.reference_path(name)
    if not is_same_image(Path(given), known_path):
        raise CohortError(
            _(
                "The case '{name}' is already in the cohort '{cohort}' with another reference ('{path}'), which is not "
                "replaced. To use '{given}' instead, enter its path in '{file}'."
            ).format(name=name, cohort=known.name, path=known_path, given=given, file=COHORT_FILE)
        )


def _check_files(
    request: CreateRequest, names: Sequence[str], new: Sequence[int], watch: Watch, channels: CaseChannels
) -> None:
    geometries: dict[int, VolumeGeometry] = {}
    for place, number in enumerate(new):
        watch.step(0.5 * place / len(new), _("checking '{case}'").format(case=names[number]))
        geometries[number] = channels.checked_geometry(number)
    if not request.references:
        return
    images, references = ([paths[n] for n in new] for paths in (request.images, request.references))
    problem, unlike = order_problem(images, references)
    if problem:
        raise BadInputError(problem)
    for place, number in enumerate(new):
        watch.step(0.5 * place / len(new), _("checking the reference of '{case}'").format(case=names[number]))
        try:
            read_labels(request.references[number], geometries[number])
        except BadInputError as error:
            hint = _order_hint(request, number, geometries)
            raise BadInputError(joined(" ", [error.message, hint]) if hint else error.message) from error
    if unlike:
        pairs = "; ".join(f"'{Path(r).name}' for '{Path(i).name}'" for i, r in unlike[:5])
        _LOG.warning(
            f"Some references have names that do not match any image name ({len(unlike)} in all). They are assigned "
            f"to the images in the order given: {pairs}{' ...' if len(unlike) > 5 else ''}."
        )


def _order_hint(request: CreateRequest, number: int, geometries: dict[int, VolumeGeometry]) -> str:
    """A sentence to add when a reference has the grid of another image than its own; '' otherwise."""
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
    return _("It has the same grid as {images}. Check that the references are in the order of the images.").format(
        images=others
    )


def _case(request: CreateRequest, folder: Path, name: str, number: int, made: list[Path]) -> Case:
    stem = file_stem(name)
    case = Case(name, import_image(request.images[number], folder, "images", stem, request.import_mode, made))
    if not request.references:
        return case
    return replace(
        case, reference=import_image(request.references[number], folder, "references", stem, request.import_mode, made)
    )


def _report(cohort: Cohort, is_old: bool, names: Sequence[str], new: Sequence[int]) -> None:
    if is_old:
        count = counted(len(new), "Added {count} case", "Added {count} cases")
        _LOG.warning(f"{count} to the cohort '{cohort.name}', which now has {len(cohort.cases)}.")
        if len(new) < len(names):
            added = set(new)
            old = [name for number, name in enumerate(names) if number not in added]
            _LOG.warning(f"Already in the cohort: {listed(old, 5)}.")
    outside = [names[n] for n in new if _is_outside(cohort, names[n])]
    if outside:
        _LOG.warning(
            counted(
                len(outside),
                "The image of {count} case is outside the cohort folder and is not moved or copied with it. To copy it "
                "into the folder, use '--copy-images'.",
                "The images of {count} cases are outside the cohort folder and are not moved or copied with it. To "
                "copy them into the folder, use '--copy-images'.",
            )
        )


def _is_outside(cohort: Cohort, name: str) -> bool:
    stored = cohort.case(name).image
    return stored.startswith("..") or Path(stored).is_absolute()
