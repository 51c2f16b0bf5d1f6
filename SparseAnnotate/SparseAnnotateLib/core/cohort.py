"""The cohort folder: images, sparse annotations, ledgers, fills, predictions and runs, as files.

A cohort made by SparseAnnotate::

    cohort.json                  name, labels, cases (image path, reference path)
    images/, references/         <case> and an image ending; when they lie in the cohort folder
    channels/<channel>/          the same of further channels
    annotations/<case>.nrrd      labels of the drawn slices, 0 elsewhere
    annotations/undecided/<case>.nrrd   voxels of drawn slices without a decision, if there are any
    annotations/drawn_on/<case>.json    fingerprints of the image that was drawn on
    ledgers/<case>.json          which slices are drawn, empty, skipped, to do
    corrections/<case>.json      what was said of single voxels, stroke by stroke; beside it .nrrd, for looking at
    fills/<case>.nrrd            drawn slices and the fill between them
    fills/confidence/<case>.nrrd confidence of the fill, in percent
    predictions/<run>/<case>.nrrd
    predictions/<run>/{entropy,disagreement}/<case>.nrrd   uncertainty in percent, when asked for
    predictions/<run>/confidence/<case>.nrrd   of a case with drawn slices, in percent
    predictions/<run>/slices/<plane>/<index>/<case>.nrrd   of one slice, when asked for
    runs/<run>/                  plan, card, metrics; weights and checkpoint of each model
    dicom/sources/<case>.json    of a case made from DICOM: its series; see `dicom_source`
    dicom/terminology.json       codes of the structures, as far as they are known
    colors.json                  their colors, as they were last chosen in Slicer; see `structure_colors`
    cache/                       may be deleted at any time

<case> stands for the case's name, or for its beginning and a hash when it is long; see `case_names.file_stem`.

A folder in the Medical Segmentation Decathlon format can be opened directly; its labelsTr are references, never drawn
slices. SparseAnnotate then writes its files to the subfolder 'SparseAnnotate', or to a given state folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from .annotation import SparseAnnotation
from .case_names import check_name, collision_key, normal_name
from .channels import check_channels, on_grid_of_channels, require_grid_of_channel
from .cohort_drawn_on import CohortDrawnOn
from .cohort_file import (
    COHORT_FILE,
    Case,
    CohortFile,
    check_labels,
    merged_labels,
    path_in,
    read_cohort_file,
    require_same_channels,
    stored_path,
)
from .cohort_voxels import ReplacedError
from .corrections import Corrections, Stroke
from .corrections_file import read_corrections, rename_structures, writing_corrections
from .drawn_on import DrawnOn, changed_images_sentence
from .errors import BadInputError, CohortError, SparseAnnotateError
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .image_fingerprint import image_fingerprint, joined_fingerprint
from .images import channel_count, read_geometry, read_image, read_labels
from .ledger import Ledger, LedgerEntry
from .messages import _, counted, listed
from .modalities import check_modalities, modalities_by_name
from .origin import Origin, run_fingerprint, scale_of
from .permissions import forbidden_files_named
from .pieces import result_of
from .slab_writing import written_in_slabs
from .strict_json import read_json, write_json
from .undecided_voxels import read_undecided, undecided_facts, writing_undecided
from .voxel_values import NotNumbersError, labels_from_values

_LOCK_SECONDS = 10.0
_HIGHEST_LABEL = 65535


class Cohort(CohortDrawnOn):
    """An open cohort folder. Use `Cohort.open` or `Cohort.create`.

    Example::

        cohort = Cohort.open("liver_cohort")
        for case in cohort.cases:
            image, geometry = cohort.image(case.name)
    """

    def __init__(self, folder: Path, state_folder: Path, file: CohortFile):
        super().__init__(state_folder)
        self.folder = folder
        self.file = file
        self._name_cases()

    @classmethod
    @forbidden_files_named()
    def open(cls, folder: str | Path, state_folder: str | Path | None = None) -> Cohort:
        """Open a cohort folder, or a folder in the Decathlon format. Its images are not checked; see `select`.

        Args:
            folder: the folder with cohort.json or dataset.json.
            state_folder: where annotations, ledgers and runs are kept; by default in the folder itself.

        Raises:
            CohortError: when the folder is not a cohort, or two cases share a name.
            BadInputError: when cohort.json is damaged, or you have no permission to read it.
        """
        folder = _absolute(folder)
        file, state = read_cohort_file(folder)
        return cls(folder, _absolute(state_folder) if state_folder else state, file)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        name: str,
        labels: dict[int, str] | None = None,
        cases: Sequence[Case] = (),
        channels: Sequence[str] = (),
        modalities: Mapping[str, str] | None = None,
    ) -> Cohort:
        """Make a cohort, with or without cases; `channels` are names, for cases of several images on one grid.

        `modalities`: of the channels, by name, '' for images without; by default CT for a channel that is called CT.

        Raises CohortError when the folder already is one, BadInputError when labels or names cannot be used.
        """
        folder = _absolute(folder)
        if (folder / COHORT_FILE).exists():
            raise CohortError(
                _("'{folder}' already is a cohort; open it instead, or choose another folder.").format(folder=folder)
            )
        check_labels(labels or {})
        for case in cases:
            check_name(case.name)
        channels = check_channels(channels)
        kinds = {**modalities_by_name(channels), **check_modalities(modalities or {}, channels)}
        file = CohortFile(name, dict(labels or {}), tuple(cases), channels=channels, modalities=kinds)
        cohort = cls(folder, folder, file)
        write_json(folder / COHORT_FILE, cohort.file)
        return cohort

    # --- cases ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def cases(self) -> tuple[Case, ...]:
        return self.file.cases

    @property
    def labels(self) -> dict[int, str]:
        """Label value to name, without the background."""
        return {value: name for value, name in sorted(self.file.labels.items()) if value != 0}

    def has_case(self, name: str) -> bool:
        return normal_name(name) in self._cases

    def case(self, name: str) -> Case:
        """The case with that name.

        Raises CohortError when there is none, or when its files and those of another case have the same names on
        Windows or macOS.
        """
        case = self._cases.get(normal_name(name))
        if case is None:
            raise CohortError(_("The cohort '{cohort}' has no case '{name}'.").format(cohort=self.name, name=name))
        collision = self._collisions.get(case.name)
        if collision is not None:
            raise CohortError(
                _(
                    "The cohort '{cohort}' has the cases '{case}' and '{other}', which differ in upper and lower case "
                    "only: on Windows and macOS their files would have the same name. Rename one of them."
                ).format(cohort=self.name, case=case.name, other=collision)
            )
        return case

    def chosen(self, names: Sequence[str] | None, with_an_image: bool = False) -> list[Case]:
        """The cases with those names, each once, or all cases; what does one after another says whose files are gone.

        Raises CohortError when there is no such case, or `with_an_image`, when the images of all of them are missing,
        as after their folder was moved.
        """
        cases = [self.case(name) for name in (names or [case.name for case in self.cases])]
        found = list({case.name: case for case in cases}.values())
        if with_an_image and found and not any(self._path(case.image).is_file() for case in found):
            raise self._missing([(case.name, case.image) for case in found])
        return found

    def select(self, names: Sequence[str] | None, with_references: bool = False) -> list[Case]:
        """The cases with those names, each once, or all cases, after checking that their files exist.

        Args:
            names: of the cases; None or empty: all.
            with_references: check the references too, where cases have one.

        Raises CohortError when there is no such case, or an image or reference of these cases is missing.
        """
        chosen, missing = self.chosen(names), []
        for case in chosen:
            needed = [case.image, *case.further.values(), *([case.reference] if with_references else [])]
            missing += [(case.name, path) for path in needed if path and not self._path(path).is_file()]
        if missing:
            raise self._missing(missing)
        return chosen

    def _missing(self, missing: Sequence[tuple[str, str]]) -> CohortError:
        """The error of cases, of which files are missing."""
        shown = [_("'{path}' (case '{name}')").format(path=self._path(path), name=name) for name, path in missing]
        files = listed(shown, 3)
        if len(missing) == 1:
            template = _(
                "{count} file is missing from the cohort '{name}': {files}. Put it back, or remove its case from "
                "'{cohort_file}'. If the file was moved, create the cohort again, or correct the path there."
            )
        else:
            template = _(
                "{count} files are missing from the cohort '{name}': {files}. Put them back, or remove their cases "
                "from '{cohort_file}'. If the files were moved, create the cohort again, or correct the paths "
                "there."
            )
        return CohortError(template.format(count=len(missing), name=self.name, files=files, cohort_file=COHORT_FILE))

    def add_case(
        self,
        name: str,
        image: str | Path | np.ndarray,
        geometry: VolumeGeometry | None = None,
        reference: str | Path | None = None,
        further: Mapping[str, str | Path] | None = None,
    ) -> Case:
        """Add a case by the path of its image (which is not copied), or by array and geometry (written to images/).

        A case with the same name is replaced; its annotation and ledger are kept, and its reference if none is given,
        which needs the grid of the new image. They are used again once the image has been accepted: see `accept_image`.

        Args:
            further: the images of further channels of the cohort, by the channel's name; they need the image's grid.

        Raises:
            BadInputError: when files cannot have the name, or an image cannot be used, or a reference does not fit.
            CohortError: when the name differs from another case's in upper and lower case only.
        """
        name = self._new_name(name)
        if isinstance(image, np.ndarray):
            if geometry is None:
                raise BadInputError(_("An image given as an array needs its geometry."))
            for _step in self.adding_case(name, image, geometry, reference, further):
                pass
            return self.case(name)
        self._check_further(further, read_geometry(image))
        self._check_kept_reference(self.file, name, reference, read_geometry(image))
        return self._enter_case(name, stored_path(self.folder, image), reference, further)

    def _check_further(self, further: Mapping[str, str | Path] | None, geometry: VolumeGeometry) -> None:
        for channel, path in (further or {}).items():
            if channel not in self.channels[1:]:
                raise BadInputError(
                    _("The cohort '{cohort}' has no further channel '{channel}'; it has {channels}.").format(
                        cohort=self.name, channel=channel, channels=", ".join(self.channels[1:]) or _("none")
                    )
                )
            require_grid_of_channel(path, geometry)

    def _check_kept_reference(
        self, file: CohortFile, name: str, given: str | Path | None, geometry: VolumeGeometry
    ) -> None:
        """Raise BadInputError when a case keeps a reference that does not lie on the grid of its new image."""
        stored = _reference_of(file, name)
        if given is not None or stored is None or not self._path(stored).is_file():
            return  # of missing files `select` tells
        own = read_geometry(self._path(stored))
        difference = own.difference_from(geometry)
        if difference and geometry.with_same_voxels(np.broadcast_to(np.uint8(0), own.shape), own) is None:
            raise BadInputError(
                _(
                    "The case '{name}' has a reference ('{path}') that does not lie on the grid of its new image: "
                    "{difference}. Give the reference of the new image, or remove the old one from '{cohort_file}'."
                ).format(
                    name=name,
                    path=self._path(stored),
                    difference=difference,
                    cohort_file=COHORT_FILE,
                )
            )

    def adding_case(
        self,
        name: str,
        image: np.ndarray,
        geometry: VolumeGeometry,
        reference: str | Path | None = None,
        further: Mapping[str, str | Path] | None = None,
        kept: Sequence[str] = (),
    ) -> Iterator[float]:
        """`add_case` for an array, step by step: yields the share written so far; the case is added at the end.

        `kept`: further channels whose images stay if the case has them already.
        """
        name = self._new_name(name)
        known = self.channel_paths(name) if self.has_case(name) else {}
        self._check_further({**{c: known[c] for c in kept if c in known}, **(further or {})}, geometry)
        self._check_kept_reference(self.file, name, reference, geometry)
        stored = f"images/{self._stem(name)}.nrrd"
        while any(case.image == stored and case.name != name for case in self.cases):
            stored = stored.replace("images/", "images/2 ")
        yield from written_in_slabs(self.folder / stored, image, geometry)
        self._enter_case(name, stored, reference, further, kept)

    def _enter_case(
        self,
        name: str,
        image_path: str,
        reference: str | Path | None,
        further: Mapping[str, str | Path] | None,
        kept: Sequence[str] = (),
    ) -> Case:
        paths = {channel: stored_path(self.folder, path) for channel, path in (further or {}).items()}
        case = Case(name, image_path, stored_path(self.folder, reference) if reference is not None else None, paths)
        channels = self.file.channels

        def with_case(file: CohortFile) -> CohortFile:
            require_same_channels(file, channels)  # another process may have named them since
            before = next((c.further for c in file.cases if c.name == name), {})
            stay = {channel: path for channel, path in before.items() if channel in kept and channel not in paths}
            for path in stay.values():  # one may have been added since
                require_grid_of_channel(self._path(path), read_geometry(self._path(image_path)))
            # One may have been added since.
            self._check_kept_reference(file, name, reference, read_geometry(self._path(image_path)))
            entered = replace(case, further={**stay, **paths}, reference=case.reference or _reference_of(file, name))
            return replace(file, cases=(*(c for c in file.cases if c.name != name), entered))

        with self.locked(f"adding case '{name}'"):
            self._update_file(with_case)
        return self.case(name)

    def add_cases(
        self, cases: Sequence[Case], labels: dict[int, str] | None = None, channels: Sequence[str] = ()
    ) -> None:
        """Add cases, with paths in the form that cohort.json keeps, and their labels, in one step.

        Raises CohortError when there is already a case with one of the names, when labels contradict the cohort's, or
        its channels are not these `channels`.
        """
        with self.locked(f"adding {len(cases)} cases"):
            # Read the file again: another process may have added cases.
            self.file = read_cohort_file(self.folder)[0]
            self._name_cases()
            labels = merged_labels(self.file, labels or {})
            require_same_channels(self.file, channels)
            for case in cases:
                if self.has_case(self._new_name(case.name)):
                    raise CohortError(
                        _("The cohort '{cohort}' already has a case '{name}'.").format(cohort=self.name, name=case.name)
                    )
            self._update_file(lambda file: replace(file, cases=(*file.cases, *cases), labels=labels))

    def set_labels(self, labels: dict[int, str]) -> None:
        """Set the names of the labels (value to name); renamed structures keep their slices and corrections."""
        with self.locked("naming the labels"):
            renamed = {name: labels[v] for v, name in self.labels.items() if labels.get(v, name) != name}
            self._update_file(lambda file: replace(file, labels=dict(labels)))
            for case in self.cases if renamed else ():
                ledger = self.ledger(case.name)
                if ledger.with_renamed(renamed) != ledger:
                    write_json(self._ledger_path(case.name), ledger.with_renamed(renamed))
                rename_structures(self.corrections_path(case.name), renamed)

    def add_labels(self, names: list[str], wait_seconds: float = _LOCK_SECONDS) -> dict[str, int]:
        """Give each name that has no label value a new one; returns the values of all names in the cohort.

        A name that is a number stands for a label without a name: it gets this value, if that is free. Raises BusyError
        when another process works in the folder for longer than `wait_seconds`.
        """
        known = read_cohort_file(self.folder)[0].labels
        if set(names) <= set(known.values()):
            return {name: value for value, name in known.items()}
        with FolderLock(self.state_folder, "naming the labels", wait_seconds):
            known = read_cohort_file(self.folder)[0].labels
            values = {name: value for value, name in known.items()}
            for name in names:
                values.setdefault(name, _new_value(name, values))
            if len(values) > len(known):
                self._update_file(lambda file: replace(file, labels={v: n for n, v in values.items()}))
        return values

    def _update_file(self, change: Callable[[CohortFile], CohortFile]) -> None:
        self._require_changeable()
        self.file = change(read_cohort_file(self.folder)[0])
        write_json(self.folder / COHORT_FILE, self.file)
        self._name_cases()

    def _require_changeable(self) -> None:
        if not (self.folder / COHORT_FILE).is_file():
            raise CohortError(
                _(
                    "'{folder}' is a folder in the Decathlon format, which SparseAnnotate only reads. To change "
                    "cases or labels, create a cohort of your own."
                ).format(folder=self.folder)
            )

    def _name_cases(self) -> None:
        self._cases = {normal_name(case.name): case for case in self.file.cases}
        by_key: dict[str, list[str]] = {}
        for case in self.file.cases:
            by_key.setdefault(collision_key(case.name), []).append(case.name)
        self._by_key = by_key
        self._collisions = {
            name: next(other for other in group if other != name)
            for group in by_key.values()
            if len(set(group)) > 1
            for name in group
        }

    def _new_name(self, name: str) -> str:
        name = normal_name(name)
        check_name(name)
        collision = next((other for other in self._by_key.get(collision_key(name), ()) if other != name), None)
        if collision is not None:
            raise CohortError(
                _(
                    "The cohort '{cohort}' has a case '{other}', which differs from '{name}' in upper and lower case "
                    "only: on Windows and macOS their files would have the same name. Choose another name."
                ).format(cohort=self.name, other=collision, name=name)
            )
        return name

    # --- images and labels ----------------------------------------------------------------------------------------

    def image_path(self, name: str) -> Path:
        """The file of a case's image, or of its first channel."""
        return self._path(self.case(name).image)

    def channel_paths(self, name: str) -> dict[str, Path]:
        """The files of a case's channels by name, in the cohort's order; without those that are missing.

        One file for all of them where the image is 4D; {"": path} where the image is not a channel with a name.
        """
        case, path = self.case(name), self.image_path(name)
        if case.is_4d:
            return dict.fromkeys(self.channels, path)
        further = {channel: self._path(case.further[channel]) for channel in self.channels if channel in case.further}
        return {(self.channels or ("",))[0]: path, **further}

    def geometry(self, name: str) -> VolumeGeometry:
        """Geometry of a case's image, from the file's header alone."""
        with self._naming(_("The image of case '{name}'").format(name=name)):
            return read_geometry(self.image_path(name), self._channel_in_file(name))

    def image(self, name: str) -> tuple[np.ndarray, VolumeGeometry]:
        """A case's image, with several channels the first: (K, J, I) array in the file's dtype, and geometry."""
        with self._naming(_("The image of case '{name}'").format(name=name)):
            return read_image(self.image_path(name), self._channel_in_file(name))

    def _channel_in_file(self, name: str, channel: str = "") -> int | None:
        """The number of a channel, or of the first, in a case's 4D file; None for other files.

        Raises BadInputError when the file does not have as many channels as the cohort.
        """
        if not self.case(name).is_4d:
            return None
        count, wanted = channel_count(self.image_path(name)), len(self.channels)
        if count != wanted:
            raise BadInputError(
                counted(
                    count,
                    _("'{path}' holds {count} image instead of {wanted} ({names})."),
                    _("'{path}' holds {count} images instead of {wanted} ({names})."),
                    path=self.image_path(name),
                    wanted=wanted,
                    names=", ".join(self.channels),
                )
            )
        return self.channels.index(channel) if channel else 0

    def channel_image(self, name: str, channel: str, geometry: VolumeGeometry) -> np.ndarray:
        """The image of one channel of a case, on the case's grid `geometry`: (K, J, I) array in the file's dtype.

        Raises BadInputError when the case lacks the channel, or its image has another grid.
        """
        paths = self.channel_paths(name)
        if channel not in paths:
            raise BadInputError(
                _("The case '{name}' has no image of the channel '{channel}'.").format(name=name, channel=channel)
            )
        with self._naming(_("The channel '{channel}' of case '{name}'").format(channel=channel, name=name)):
            array, own = read_image(paths[channel], self._channel_in_file(name, channel))
            return on_grid_of_channels(array, own, geometry, paths[channel])

    def image_fingerprint(self, name: str, channels: Sequence[str] | None = None) -> str:
        """Short text computed from the content of a case's image files; it stays the same when the cohort is copied.

        Kept in the cache; computed again only when a file has changed.

        Args:
            channels: of these channels, as far as the case has them; none: of its first image; by default of all.
        """
        return joined_fingerprint(list(self.image_marks(name, channels).items()))

    def image_marks(self, name: str, channels: Sequence[str] | None = None) -> dict[str, str]:
        """The `image_fingerprint` of each channel of a case alone; a 4D file's of each that it holds."""
        marks: dict[str, str] = {}
        with self._naming(_("The image of case '{name}'").format(name=name)):
            paths = self.channel_paths(name)
            wanted = paths if channels is None else channels or list(paths)[:1]
            for channel, path in paths.items():
                if channel not in wanted:
                    continue
                marks[channel] = image_fingerprint(path, self._memo_of_file(name, channel))
        return marks

    def has_reference(self, name: str) -> bool:
        return self.case(name).reference is not None

    def reference_path(self, name: str) -> Path:
        """Raises CohortError when the case has no reference."""
        path = self.case(name).reference
        if path is None:
            raise CohortError(_("The case '{name}' has no reference labels to compare with.").format(name=name))
        return self._path(path)

    def reference(self, name: str) -> np.ndarray:
        """A case's dense reference labels, (K, J, I). Raises CohortError when it has none."""
        path, geometry = self.reference_path(name), self.geometry(name)
        with self._naming(_("The reference of case '{name}'").format(name=name)):
            return read_labels(path, geometry)

    # --- annotation and ledger ------------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """A case's ledger; empty when nothing has been recommended or drawn yet."""
        path = self._ledger_path(name)
        return read_json(path, Ledger) if path.is_file() else Ledger()

    def annotation(self, name: str, on_any_image: bool = False) -> SparseAnnotation:
        """A case's sparse annotation; without drawn slices when nothing has been drawn yet.

        Args:
            on_any_image: also when the voxels of the image are not those that were drawn on, or cannot be read: for
                showing it with a warning, or comparing annotations. A result made from it would be wrong.

        Raises:
            BadInputError: when the image is not the one that was drawn on; see `image_change`. When a file is damaged.
            CohortError: when files are missing, or contradict each other.
        """
        geometry, ledger = self.geometry(name), self.ledger(name)
        change = self._change_of_grid(name) if on_any_image else self.image_change(name)
        if change is not None:
            raise BadInputError(changed_images_sentence({name: change}))
        ledger.check_fits(geometry, _("The ledger of case '{name}'").format(name=name))
        path = self._annotation_path(name)
        if path.is_file():
            with self._naming(_("The annotation of case '{name}'").format(name=name)):
                labels = read_labels(path, geometry)
        elif ledger.decided:
            raise CohortError(
                _(
                    "The ledger of case '{name}' lists drawn slices, but the file with their labels, '{path}', is "
                    "missing. Put it back, or export the case from Slicer again."
                ).format(name=name, path=path)
            )
        else:
            labels = np.zeros(geometry.shape, dtype=np.uint8)
        undecided = read_undecided(self._undecided_path(name), path, geometry)
        return SparseAnnotation(labels, ledger, geometry, undecided, self.labels, self.corrections(name))

    def corrections(self, name: str) -> Corrections | None:
        """All corrections of a case, those on slices that have been drawn since among them; None without any."""
        with self._naming(_("The corrections of case '{name}'").format(name=name)):
            return read_corrections(self.corrections_path(name), self.geometry(name), self.labels)

    def add_correction(self, name: str, stroke: Stroke, image: str = "") -> bool:
        """Add a correction to a case; False when it equals the last one, and so is not added again.

        `image`: as for `change_annotation`. Raises FileWriteError.
        """
        geometry = self.geometry(name)
        drawn_on = result_of(self._finding_image_of_corrections(name))
        with self.locked(f"correcting case '{name}'"):
            self._require_image(name, image)
            before = self.corrections(name) or Corrections(geometry.shape)
            if before and before.strokes[-1] == stroke:
                return False
            for _step in self._writing_corrections(name, before.with_stroke(stroke), drawn_on):
                pass
        return True

    def save_corrections(self, name: str, corrections: Corrections | None) -> None:
        """Replace all corrections of a case; None removes them. Raises FileWriteError."""
        for _step in self.saving_corrections(name, corrections):
            pass

    def saving_corrections(self, name: str, corrections: Corrections | None) -> Iterator[float]:
        """`save_corrections` step by step: yields the share written."""
        self.case(name)
        drawn_on = yield from self._finding_image_of_corrections(name)
        with self.locked(f"saving the corrections of case '{name}'"):
            yield from self._writing_corrections(name, corrections, drawn_on)

    def _writing_corrections(
        self, name: str, corrections: Corrections | None, drawn_on: DrawnOn | None
    ) -> Iterator[float]:
        is_first = not self._has_knowledge(name)
        yield from writing_corrections(self.corrections_path(name), corrections, self.geometry(name), self.labels)
        # What was drawn or corrected before is not said to fit this image by one more correction.
        self._note_image(name, drawn_on if is_first else None)

    def save_annotation(self, name: str, annotation: SparseAnnotation) -> None:
        """Write a case's drawn slices and ledger, so that the ledger never names labels that are missing.

        Labels of slices that are no longer drawn are removed only after the ledger has been written. Corrections are
        not written, see `add_correction`. All of it counts as drawn on the image that is there when this begins.

        What was drawn in the folder since the annotation was read is replaced; see `change_annotation`.
        """
        for _step in self.saving_annotation(name, annotation):
            pass

    def change_annotation(
        self, name: str, image: str, change: Callable[[SparseAnnotation], SparseAnnotation | None]
    ) -> SparseAnnotation:
        """Change a case's drawn slices while no other process can change it, so that what others have drawn stays.

        Returns the annotation as it is then.

        Args:
            image: the `image_fingerprint` of its first channel, taken before anything that the change is made from was
                read.
            change: gets the annotation as it is now; returns the new one, None: nothing is written. It may raise.

        Raises BadInputError when the image was replaced since, BusyError when another process works in the folder, what
        `annotation` and `change` raise, and FileWriteError.
        """
        drawn_on = result_of(self._finding_image_of_drawing(name))  # before others are kept out, as reading takes long
        with self.locked(f"drawing on case '{name}'"):
            self._require_image(name, image)
            before = self.annotation(name)
            changed = change(before)
            if changed is None:
                return before
            is_current = drawn_on is not None and drawn_on.file == image
            for _step in self._writing_annotation(name, changed, drawn_on if is_current else None):
                pass
            return changed

    def _require_image(self, name: str, image: str) -> None:
        """Raise BadInputError when the first channel of a case has another `image_fingerprint`; '' stands for any."""
        if image and self.image_fingerprint(name, ()) != image:
            raise ReplacedError(name)

    def saving_annotation(
        self, name: str, annotation: SparseAnnotation, image: np.ndarray | None = None
    ) -> Iterator[float]:
        """`save_annotation` step by step: yields the share written of each file; all is saved at the end.

        `image`: the voxels in the file of the case's first channel, (K, J, I), if they are at hand, so that they need
        not be read.
        """
        self.case(name)
        drawn_on = None
        if annotation.ledger.decided or self.corrections_path(name).is_file():
            # Before others are kept out: for a large image this takes seconds.
            drawn_on = yield from self._finding_image_of_drawing(name, image)
        with self.locked(f"saving the annotation of case '{name}'"):
            yield from self._writing_annotation(name, annotation, drawn_on)

    def saving_case(
        self,
        name: str,
        known: Callable[[], tuple[SparseAnnotation | None, Corrections | None]],
        after: Callable[[], None],
        wait_seconds: float = _LOCK_SECONDS,
    ) -> Iterator[float]:
        """Write all that is known of a case, step by step, while no other process can change it.

        What is drawn counts as drawn on the image that is there now only if a slice, a structure or a voxel of it is
        new, not when slices are recommended, skipped, set to do or cleared.

        Args:
            known: called once others are kept out; returns the drawn slices, None if these stay as they are, and all
                corrections. It may raise.
            after: called before others are let in again, also when something could not be written.
            wait_seconds: how long to wait for others.

        Raises BusyError when another process works in the folder, FileWriteError, and what `known` raises.
        """
        drawn_on = yield from self._finding_image_of_drawing(name)
        with FolderLock(self.state_folder, f"saving case '{name}'", wait_seconds):
            annotation, corrections = known()
            try:
                if drawn_on is None or not (yield from self._finding_whether_image(name, drawn_on)):
                    drawn_on = yield from self._finding_image_of_drawing(name)
                if annotation is not None:
                    is_new = drawn_on is not None and not self._is_noted(name, drawn_on)
                    is_new = is_new and self._has_new_drawing(name, annotation)
                    yield from self._writing_annotation(name, annotation, drawn_on if is_new else None)
                stored = self.corrections(name)
                if (stored.strokes if stored else ()) != (corrections.strokes if corrections else ()):
                    yield from self._writing_corrections(name, corrections, drawn_on)
            finally:
                after()

    def _has_new_drawing(self, name: str, annotation: SparseAnnotation) -> bool:
        """Whether a slice, a structure or a voxel is drawn that is not so in the folder."""
        before = self.ledger(name)
        for entry in annotation.ledger.decided:
            old = before.entry(entry.plane, entry.index)
            if old is None or not old.state.is_decided:
                return True
            if old.structures is not None and (entry.structures is None or set(entry.structures) - set(old.structures)):
                return True
        try:
            stored = replace(self.annotation(name, on_any_image=True), corrections=None)
        except SparseAnnotateError:  # with a damaged file, nothing says that the image was looked at
            return False
        drawn = replace(annotation, corrections=None).supervised_mask()
        is_other = bool((stored.labels[drawn] != annotation.labels[drawn]).any())
        return is_other or bool((drawn & ~stored.supervised_mask()).any())

    def _writing_annotation(self, name: str, annotation: SparseAnnotation, drawn_on: DrawnOn | None) -> Iterator[float]:
        """Write it; `drawn_on`: the image that all of it belongs to, None: that of before."""
        # Corrections have a file of their own.
        drawn = annotation if annotation.corrections is None else replace(annotation, corrections=None)
        labels = np.zeros(drawn.labels.shape, drawn.labels.dtype)
        for _step in drawn.restoring_drawn(labels):
            yield 0.0
        labels = labels_from_values(labels, _("The annotation of case '{name}'").format(name=name))
        yield 0.0
        path, geometry = self._annotation_path(name), annotation.geometry
        undecided, undecided_path = annotation.undecided, self._undecided_path(name)
        before, after = self.ledger(name), annotation.ledger
        if undecided is not None:
            # Until all is written, voxels that are undecided before or after must not count as decided.
            undecided_before = self.annotation(name, on_any_image=True).undecided if undecided_path.is_file() else None
            both = undecided if undecided_before is None else undecided | undecided_before
            yield from writing_undecided(undecided_path, both, geometry)
        if any(not after.is_decided(entry.plane, entry.index) for entry in before.decided):
            old = self.annotation(name, on_any_image=True)
            withdrawn = old.supervised_mask() & ~annotation.supervised_mask()
            yield from written_in_slabs(path, np.where(withdrawn, old.labels, labels), geometry, compress=True)
            write_json(self._ledger_path(name), after)
        yield from written_in_slabs(path, labels, geometry, compress=True, facts=undecided_facts(undecided))
        write_json(self._ledger_path(name), after)
        yield from writing_undecided(undecided_path, undecided, geometry)
        self._note_image(name, drawn_on)

    def save_recommended(self, recommended: dict[str, list[LedgerEntry]]) -> None:
        """Write recommended slices to the ledgers of their cases; decided slices do not change."""
        with self.locked("saving recommended slices"):
            for name, entries in recommended.items():
                write_json(self._ledger_path(name), self.ledger(name).with_recommended(entries))

    def annotated_cases(
        self, among: Iterable[str] | None = None, failed: dict[str, SparseAnnotateError] | None = None
    ) -> list[str]:
        """Names of the cases, or of those `among` them, with a drawn slice that was marked for a structure of the
        cohort.

        Each one's ledger is read.

        Args:
            failed: gets the error of each case whose ledger cannot be read; without it, the first such error is raised.
        """
        names = set(self.labels.values())
        cases = [case.name for case in self.cases] if among is None else list(among)

        def speaks(entry: LedgerEntry) -> bool:
            return not names or entry.structures is None or bool(names.intersection(entry.structures))

        found = []
        for case in cases:
            try:
                if any(map(speaks, self.ledger(case).decided)):
                    found.append(case)
            except SparseAnnotateError as error:
                if failed is None:
                    raise
                failed[case] = error
        return found

    # --- results --------------------------------------------------------------------------------------------------

    def origin(
        self,
        name: str,
        annotation: SparseAnnotation | None = None,
        method: str = "",
        run: str = "",
        since: Path | None = None,
    ) -> Origin:
        """The origin of a result made from the current drawn slices, image and models of a run.

        Args:
            annotation: of the case, if it has been read already.
            since: an earlier result, to compare with: an image that was only saved again since is the same one.
        """
        annotation = self.annotation(name) if annotation is None else annotation
        content = run_fingerprint(self.run_folder(run)) if run else ""
        image = self.image_fingerprint(name) if since is None else self.image_since(name, since)
        found = Origin.of(annotation, image, method, run, content)
        channels = self.channels or ("",)
        scale = scale_of([one for one in channels if self.is_ct(one)], channels[0])
        return replace(found, scale=scale, voxels=self.voxel_fingerprint(name, read=False))

    def locked(self, purpose: str) -> FolderLock:
        """Lock for a short change of the cohort's files; another process waits, then gets an error that names it."""
        return FolderLock(self.state_folder, purpose, wait_seconds=_LOCK_SECONDS)

    # --- paths ----------------------------------------------------------------------------------------------------

    def _path(self, stored: str) -> Path:
        return path_in(self.folder, stored)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Names the case in errors about its files, whose paths may not contain its name."""
        try:
            yield
        except BadInputError as error:
            kind = NotNumbersError if isinstance(error, NotNumbersError) else BadInputError
            raise kind(_("{what} cannot be used. {problem}").format(what=what, problem=error.message)) from error


def _reference_of(file: CohortFile, name: str) -> str | None:
    return next((case.reference for case in file.cases if case.name == name), None)


def _new_value(name: str, taken: Mapping[str, int]) -> int:
    """A label value for a name."""
    highest = max(taken.values(), default=0)
    number = int(name) if name.isascii() and name.isdecimal() and len(name) < 6 else 0
    return number if 0 < number <= _HIGHEST_LABEL and number not in taken.values() else highest + 1


def _absolute(folder: str | Path) -> Path:
    # Unlike Path.expanduser, this leaves '~' unchanged when there is no home folder.
    return Path(os.path.expanduser(folder)).absolute()
