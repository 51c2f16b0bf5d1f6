"""The cohort folder: images, sparse annotations, ledgers, fills, predictions and runs, as files.

A cohort made by SparseAnnotate::

    cohort.json                  name, labels, cases (image path, reference path)
    images/<case>.nrrd           when the cohort holds its own images
    annotations/<case>.nrrd      labels of the drawn slices, 0 elsewhere
    annotations/undecided/<case>.nrrd   voxels of drawn slices that nobody has decided, if there are any
    ledgers/<case>.json          which slices are drawn, empty, skipped, to do
    fills/<case>.nrrd            drawn slices and what was filled between them
    fills/confidence/<case>.nrrd how far to trust the fill, in percent
    predictions/<run>/<case>.nrrd
    predictions/<run>/{entropy,disagreement}/<case>.nrrd   how unsure it is, in percent, when asked for
    runs/<run>/                  plan, card, metrics; weights and checkpoint of each model
    cache/                       may be deleted at any time

A folder in the Medical Segmentation Decathlon's layout is read as it comes; its labelsTr are references, never taken
for drawn slices. What SparseAnnotate writes then goes to its sub-folder 'SparseAnnotate', or to a state folder given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from .annotation import SparseAnnotation
from .decathlon import DATASET_FILE, read_decathlon
from .errors import BadInputError, CohortError
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .images import labels_from_values, read_geometry, read_image, read_labels
from .ledger import Ledger, LedgerEntry
from .slab_writing import written_in_slabs
from .strict_json import read_json, write_json
from .undecided_voxels import read_undecided, undecided_facts, writing_undecided

COHORT_FILE = "cohort.json"
_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Case:
    """One volume of a cohort; paths relative to the cohort folder, or absolute. Reference: dense labels, if any."""

    name: str
    image: str
    reference: str | None = None


@dataclass(frozen=True)
class CohortFile:
    """What cohort.json holds."""

    name: str
    labels: dict[int, str] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    format: Literal["SparseAnnotate cohort"] = "SparseAnnotate cohort"
    version: Literal[1] = 1


class Cohort:
    """A cohort folder that is open. Use `Cohort.open` or `Cohort.create`.

    Example::

        cohort = Cohort.open("liver_cohort")
        for case in cohort.cases:
            image, geometry = cohort.image(case.name)
    """

    def __init__(self, folder: Path, state_folder: Path, file: CohortFile):
        self.folder = folder
        self.state_folder = state_folder
        self.file = file
        self._cases = {case.name: case for case in file.cases}

    @classmethod
    def open(cls, folder: str | Path, state_folder: str | Path | None = None) -> Cohort:
        """Open a cohort folder, or a folder in the Decathlon's layout.

        Args:
            folder: the folder with cohort.json or dataset.json.
            state_folder: where annotations, ledgers and runs are kept, instead of in the folder itself.

        Raises:
            CohortError: when the folder is no cohort, an image is missing, or two cases share a name.
            BadInputError: when cohort.json is damaged.
        """
        folder = Path(folder).expanduser().absolute()
        if (folder / COHORT_FILE).is_file():
            file, state = read_json(folder / COHORT_FILE, CohortFile), folder
        elif (folder / DATASET_FILE).is_file():
            name, labels, cases = read_decathlon(folder)
            file = CohortFile(name, labels, tuple(Case(*case) for case in cases))
            state = folder / "SparseAnnotate"
        else:
            raise CohortError(
                f"'{folder}' is not a cohort: it has neither '{COHORT_FILE}' nor '{DATASET_FILE}'. "
                "Make one with 'sparse-annotate create', or choose another folder."
            )
        cohort = cls(folder, Path(state_folder).expanduser().absolute() if state_folder else state, file)
        cohort._check_cases()
        return cohort

    @classmethod
    def create(cls, folder: str | Path, name: str, labels: dict[int, str] | None = None) -> Cohort:
        """Make an empty cohort. Raises CohortError when the folder already is one."""
        folder = Path(folder).expanduser().absolute()
        if (folder / COHORT_FILE).exists():
            raise CohortError(f"'{folder}' already is a cohort; open it instead, or choose another folder.")
        cohort = cls(folder, folder, CohortFile(name, dict(labels or {})))
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
        """Label value to name, background left out."""
        return {value: name for value, name in sorted(self.file.labels.items()) if value != 0}

    def has_case(self, name: str) -> bool:
        return name in self._cases

    def case(self, name: str) -> Case:
        """The case of that name; CohortError when there is none."""
        try:
            return self._cases[name]
        except KeyError:
            raise CohortError(f"The cohort '{self.name}' has no case '{name}'.") from None

    def select(self, names: list[str] | tuple[str, ...] | None) -> list[Case]:
        """The cases of those names, each once, or all."""
        return [self.case(name) for name in dict.fromkeys(names)] if names else list(self.cases)

    def add_case(
        self,
        name: str,
        image: str | Path | np.ndarray,
        geometry: VolumeGeometry | None = None,
        reference: str | Path | None = None,
    ) -> Case:
        """Add a case by the path of its image (left where it is), or by its array and geometry (written to images/).

        A case of the same name is replaced; its annotation and ledger stay.

        Raises:
            BadInputError: when the name cannot be part of a file name, or the image cannot be used.
        """
        _check_name(name, "A case's name")
        if isinstance(image, np.ndarray):
            if geometry is None:
                raise BadInputError("An image given as an array needs its geometry.")
            for _ in self.adding_case(name, image, geometry, reference):
                pass
            return self.case(name)
        read_geometry(image)
        return self._enter_case(name, self._stored_path(image), reference)

    def adding_case(
        self, name: str, image: np.ndarray, geometry: VolumeGeometry, reference: str | Path | None = None
    ) -> Iterator[float]:
        """`add_case` of an array piece by piece: yields the share that is written; the case is there at the end."""
        _check_name(name, "A case's name")
        stored = f"images/{name}.nrrd"
        yield from written_in_slabs(self.folder / stored, image, geometry)
        self._enter_case(name, stored, reference)

    def _enter_case(self, name: str, image_path: str, reference: str | Path | None) -> Case:
        case = Case(name, image_path, self._stored_path(reference) if reference is not None else None)
        with self.locked(f"adding case '{name}'"):
            self._update_file(lambda file: replace(file, cases=(*(c for c in file.cases if c.name != name), case)))
        return case

    def set_labels(self, labels: dict[int, str]) -> None:
        """Name the labels (value to name)."""
        with self.locked("naming the labels"):
            self._update_file(lambda file: replace(file, labels=dict(labels)))

    def add_labels(self, names: list[str]) -> dict[str, int]:
        """Give every name that has none a label value; returns the value of each name the cohort knows."""
        with self.locked("naming the labels"):
            known = read_json(self.folder / COHORT_FILE, CohortFile).labels
            values = {name: value for value, name in known.items()}
            for name in names:
                values.setdefault(name, max(values.values(), default=0) + 1)
            if len(values) > len(known):
                self._update_file(lambda file: replace(file, labels={v: n for n, v in values.items()}))
        return values

    def _update_file(self, change) -> None:
        path = self.folder / COHORT_FILE
        if not path.is_file():
            raise CohortError(
                f"'{self.folder}' is a folder in the Decathlon's layout, which SparseAnnotate only reads; "
                "make a cohort of your own to change its cases or labels."
            )
        self.file = change(read_json(path, CohortFile))
        write_json(path, self.file)
        self._cases = {case.name: case for case in self.file.cases}

    # --- images and labels ----------------------------------------------------------------------------------------

    def image_path(self, name: str) -> Path:
        return self._path(self.case(name).image)

    def geometry(self, name: str) -> VolumeGeometry:
        """Geometry of a case's image, from the file's header alone."""
        return read_geometry(self.image_path(name))

    def image(self, name: str) -> tuple[np.ndarray, VolumeGeometry]:
        """A case's image: (K, J, I) array in the file's dtype, and geometry."""
        return read_image(self.image_path(name))

    def has_reference(self, name: str) -> bool:
        return self.case(name).reference is not None

    def reference(self, name: str) -> np.ndarray:
        """A case's dense reference labels, (K, J, I). Raises CohortError when it has none."""
        path = self.case(name).reference
        if path is None:
            raise CohortError(f"The case '{name}' has no reference labels to compare with.")
        return read_labels(self._path(path), self.geometry(name))

    # --- annotation and ledger ------------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """A case's ledger; an empty one when nothing has been recommended or drawn yet."""
        path = self._ledger_path(name)
        return read_json(path, Ledger) if path.is_file() else Ledger()

    def annotation(self, name: str) -> SparseAnnotation:
        """A case's sparse annotation; without any drawn slice when nothing has been drawn yet."""
        geometry, ledger = self.geometry(name), self.ledger(name)
        ledger.check_fits(geometry, f"The ledger of case '{name}'")
        path = self._annotation_path(name)
        if path.is_file():
            labels = read_labels(path, geometry)
        elif ledger.decided:
            raise CohortError(
                f"The ledger of case '{name}' names drawn slices, but their labels '{path}' are missing. "
                "Put the file back, or export the case from Slicer again."
            )
        else:
            labels = np.zeros(geometry.shape, dtype=np.uint8)
        undecided = read_undecided(self._undecided_path(name), path, geometry)
        return SparseAnnotation(labels, ledger, geometry, undecided)

    def save_annotation(self, name: str, annotation: SparseAnnotation) -> None:
        """Write a case's drawn slices and ledger, so that at no moment the ledger names labels that are not there.

        Slices that are no longer drawn go from the labels only when the ledger has been written.
        """
        for _ in self.saving_annotation(name, annotation):
            pass

    def saving_annotation(self, name: str, annotation: SparseAnnotation) -> Iterator[float]:
        """`save_annotation` piece by piece: yields shares of what is written; all is saved at the end."""
        self.case(name)
        labels = labels_from_values(annotation.drawn_labels(), f"The annotation of case '{name}'")
        path, geometry = self._annotation_path(name), annotation.geometry
        undecided, undecided_path = annotation.undecided, self._undecided_path(name)
        with self.locked(f"saving the annotation of case '{name}'"):
            before, after = self.ledger(name), annotation.ledger
            if undecided is not None:
                # Until all is written, what is undecided before or afterwards must not count as decided.
                old = self.annotation(name).undecided if undecided_path.is_file() else None
                both = undecided if old is None else undecided | old
                yield from writing_undecided(undecided_path, both, geometry)
            if any(not after.is_decided(entry.plane, entry.index) for entry in before.decided):
                old = self.annotation(name)
                withdrawn = old.supervised_mask() & ~annotation.supervised_mask()
                yield from written_in_slabs(path, np.where(withdrawn, old.labels, labels), geometry, compress=True)
                write_json(self._ledger_path(name), after)
            yield from written_in_slabs(path, labels, geometry, compress=True, facts=undecided_facts(undecided))
            write_json(self._ledger_path(name), after)
            yield from writing_undecided(undecided_path, undecided, geometry)

    def save_recommended(self, recommended: dict[str, list[LedgerEntry]]) -> None:
        """Put recommended slices into the ledgers of their cases; decided slices stay as they are."""
        with self.locked("saving recommended slices"):
            for name, entries in recommended.items():
                write_json(self._ledger_path(name), self.ledger(name).with_recommended(entries))

    def annotated_cases(self) -> list[str]:
        """Names of the cases with at least one drawn slice."""
        return [case.name for case in self.cases if self.ledger(case.name).decided]

    # --- results --------------------------------------------------------------------------------------------------

    def fill_path(self, name: str) -> Path:
        return self.state_folder / "fills" / f"{name}.nrrd"

    def fill_confidence_path(self, name: str) -> Path:
        """Percent, 100 on drawn slices: how far a case's fill can be trusted."""
        return self.state_folder / "fills" / "confidence" / f"{name}.nrrd"

    def prediction_path(self, run: str, name: str) -> Path:
        return self.state_folder / "predictions" / run / f"{name}.nrrd"

    def uncertainty_path(self, run: str, name: str, kind: str) -> Path:
        """Percent: how unsure a run's prediction is, 'entropy' or 'disagreement'."""
        return self.state_folder / "predictions" / run / kind / f"{name}.nrrd"

    def run_folder(self, run: str) -> Path:
        """Folder of a run. Raises BadInputError when the name cannot be part of a file name."""
        _check_name(run, "A run's name")
        return self.state_folder / "runs" / run

    def runs(self) -> list[str]:
        """Names of the runs, oldest first."""
        folder = self.state_folder / "runs"
        found = [p for p in folder.iterdir() if (p / "settings.json").is_file()] if folder.is_dir() else []
        return [p.name for p in sorted(found, key=lambda p: ((p / "settings.json").stat().st_mtime, p.name))]

    @property
    def cache_folder(self) -> Path:
        return self.state_folder / "cache"

    def locked(self, purpose: str) -> FolderLock:
        """Lock for a short change of the cohort's files; a second process waits, then is told who holds it."""
        return FolderLock(self.state_folder, purpose, wait_seconds=_LOCK_SECONDS)

    # --- paths ----------------------------------------------------------------------------------------------------

    def _annotation_path(self, name: str) -> Path:
        return self.state_folder / "annotations" / f"{name}.nrrd"

    def _undecided_path(self, name: str) -> Path:
        return self._annotation_path(name).parent / "undecided" / self._annotation_path(name).name

    def _ledger_path(self, name: str) -> Path:
        return self.state_folder / "ledgers" / f"{name}.json"

    def _path(self, stored: str) -> Path:
        return self.folder / stored

    def _stored_path(self, path: str | Path) -> str:
        path = Path(path).expanduser().absolute()
        with suppress(ValueError):
            return Path(os.path.relpath(path.relative_to(self.folder), ".")).as_posix()
        return path.as_posix()

    def _check_cases(self) -> None:
        if len(self._cases) != len(self.cases):
            names = [case.name for case in self.cases]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CohortError(f"The cohort '{self.name}' names these cases twice: {', '.join(twice[:5])}.")
        missing = []
        for case in self.cases:
            _check_name(case.name, "A case's name")
            missing += [self._path(p) for p in (case.image, case.reference) if p and not self._path(p).is_file()]
        if missing:
            shown = ", ".join(f"'{path}'" for path in missing[:3]) + (" ..." if len(missing) > 3 else "")
            files = "file is" if len(missing) == 1 else "files are"
            raise CohortError(
                f"{len(missing)} {files} missing from the cohort '{self.name}': {shown}. "
                f"Put them back, or take their cases out of '{COHORT_FILE}'."
            )


def _check_name(name: str, what: str) -> None:
    if not re.fullmatch(r"[\w][\w .+()-]*", name) or name != name.strip() or ".." in name:
        raise BadInputError(
            f"{what} may hold letters, digits, spaces and _ . + - ( ) only, and begin with a letter or digit; "
            f"'{name}' does not."
        )
