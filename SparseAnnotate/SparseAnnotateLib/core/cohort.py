"""The cohort folder: images, sparse annotations, ledgers, fills, predictions and runs, as files.

A cohort made by SparseAnnotate::

    cohort.json                  name, labels, cases (image path, reference path)
    images/, references/         <case> and an image ending; when they lie in the cohort folder
    annotations/<case>.nrrd      labels of the drawn slices, 0 elsewhere
    annotations/undecided/<case>.nrrd   voxels of drawn slices that nobody has decided, if there are any
    ledgers/<case>.json          which slices are drawn, empty, skipped, to do
    fills/<case>.nrrd            drawn slices and what was filled between them
    fills/confidence/<case>.nrrd how far to trust the fill, in percent
    predictions/<run>/<case>.nrrd
    predictions/<run>/{entropy,disagreement}/<case>.nrrd   how unsure it is, in percent, when asked for
    runs/<run>/                  plan, card, metrics; weights and checkpoint of each model
    cache/                       may be deleted at any time

<case> stands for the case's name, or for its beginning and a mark when it is long; see `case_names.file_stem`.

A folder in the Medical Segmentation Decathlon's layout is read as it comes; its labelsTr are references, never taken
for drawn slices. What SparseAnnotate writes then goes to its sub-folder 'SparseAnnotate', or to a state folder given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from .annotation import SparseAnnotation
from .case_names import check_name, normal_name, same_on_some_system
from .cohort_file import (
    COHORT_FILE,
    Case,
    CohortFile,
    check_labels,
    merged_labels,
    path_in,
    read_cohort_file,
    stored_path,
)
from .cohort_layout import CohortLayout
from .errors import BadInputError, CohortError
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .image_fingerprint import image_fingerprint
from .images import read_geometry, read_image, read_labels
from .ledger import Ledger, LedgerEntry
from .messages import _
from .origin import Origin, run_fingerprint
from .slab_writing import written_in_slabs
from .strict_json import read_json, write_json
from .undecided_voxels import read_undecided, undecided_facts, writing_undecided
from .voxel_values import labels_from_values

_LOCK_SECONDS = 10.0


class Cohort(CohortLayout):
    """A cohort folder that is open. Use `Cohort.open` or `Cohort.create`.

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
    def open(cls, folder: str | Path, state_folder: str | Path | None = None) -> Cohort:
        """Open a cohort folder, or a folder in the Decathlon's layout. Its images are not looked at; see `select`.

        Args:
            folder: the folder with cohort.json or dataset.json.
            state_folder: where annotations, ledgers and runs are kept, instead of in the folder itself.

        Raises:
            CohortError: when the folder is no cohort, or two cases share a name.
            BadInputError: when cohort.json is damaged.
        """
        folder = _absolute(folder)
        file, state = read_cohort_file(folder)
        return cls(folder, _absolute(state_folder) if state_folder else state, file)

    @classmethod
    def create(
        cls, folder: str | Path, name: str, labels: dict[int, str] | None = None, cases: Sequence[Case] = ()
    ) -> Cohort:
        """Make a cohort, without cases or with all of them at once.

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
        cohort = cls(folder, folder, CohortFile(name, dict(labels or {}), tuple(cases)))
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
        return normal_name(name) in self._cases

    def case(self, name: str) -> Case:
        """The case of that name.

        Raises CohortError when there is none, or another one whose files Windows or macOS would take for its own.
        """
        case = self._cases.get(normal_name(name))
        if case is None:
            raise CohortError(_("The cohort '{name}' has no case '{name_2}'.").format(name=self.name, name_2=name))
        twin = self._twins.get(case.name)
        if twin is not None:
            raise CohortError(
                _(
                    "The cohort '{name}' has the cases '{case}' and '{twin}', which differ in upper and lower case "
                    "only: Windows and macOS take their files for one. Rename one of them."
                ).format(name=self.name, case=case.name, twin=twin)
            )
        return case

    def select(self, names: Sequence[str] | None, with_references: bool = False) -> list[Case]:
        """The cases of those names, each once, or all; their images, and references if asked for, are there.

        Raises CohortError when there is no such case, or files of these cases are missing; others do not matter.
        """
        chosen = [self.case(name) for name in (names or [case.name for case in self.cases])]
        chosen = list({case.name: case for case in chosen}.values())
        missing = []
        for case in chosen:
            needed = [case.image, case.reference] if with_references else [case.image]
            missing += [(case.name, path) for path in needed if path and not self._path(path).is_file()]
        if missing:
            shown = ", ".join(f"'{self._path(path)}' (case '{name}')" for name, path in missing[:3])
            shown += " ..." if len(missing) > 3 else ""
            files = "file is" if len(missing) == 1 else "files are"
            raise CohortError(
                _(
                    "{missing_count} {files} missing from the cohort '{name}': {shown}. Put them back, or take "
                    "their cases out of '{cohort_file}'. If the files were moved, create the cohort again, or mend "
                    "their paths there."
                ).format(missing_count=len(missing), files=files, name=self.name, shown=shown, cohort_file=COHORT_FILE)
            )
        return chosen

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
            CohortError: when the name differs from another case's in upper and lower case only.
        """
        name = self._new_name(name)
        if isinstance(image, np.ndarray):
            if geometry is None:
                raise BadInputError(_("An image given as an array needs its geometry."))
            for _step in self.adding_case(name, image, geometry, reference):
                pass
            return self.case(name)
        read_geometry(image)
        return self._enter_case(name, stored_path(self.folder, image), reference)

    def adding_case(
        self, name: str, image: np.ndarray, geometry: VolumeGeometry, reference: str | Path | None = None
    ) -> Iterator[float]:
        """`add_case` of an array piece by piece: yields the share that is written; the case is there at the end."""
        name = self._new_name(name)
        stored = f"images/{self._stem(name)}.nrrd"
        while any(case.image == stored and case.name != name for case in self.cases):
            stored = stored.replace("images/", "images/2 ")
        yield from written_in_slabs(self.folder / stored, image, geometry)
        self._enter_case(name, stored, reference)

    def _enter_case(self, name: str, image_path: str, reference: str | Path | None) -> Case:
        case = Case(name, image_path, stored_path(self.folder, reference) if reference is not None else None)
        with self.locked(f"adding case '{name}'"):
            self._update_file(lambda file: replace(file, cases=(*(c for c in file.cases if c.name != name), case)))
        return case

    def add_cases(self, cases: Sequence[Case], labels: dict[int, str] | None = None) -> None:
        """Add cases whose paths are as they are stored, and the labels they bring, all at once.

        Raises CohortError when there is a case of that name already, or labels do not go together.
        """
        with self.locked(f"adding {len(cases)} cases"):
            # As the file is now: another process may have added cases since it was read.
            self.file = read_cohort_file(self.folder)[0]
            self._name_cases()
            labels = merged_labels(self.file, labels or {})
            for case in cases:
                if self.has_case(self._new_name(case.name)):
                    raise CohortError(
                        _("The cohort '{name}' already has a case '{case}'.").format(name=self.name, case=case.name)
                    )
            self._update_file(lambda file: replace(file, cases=(*file.cases, *cases), labels=labels))

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

    def _update_file(self, change: Callable[[CohortFile], CohortFile]) -> None:
        path = self.folder / COHORT_FILE
        if not path.is_file():
            raise CohortError(
                _(
                    "'{folder}' is a folder in the Decathlon's layout, which SparseAnnotate only reads; make a "
                    "cohort of your own to change its cases or labels."
                ).format(folder=self.folder)
            )
        self.file = change(read_cohort_file(self.folder)[0])
        write_json(path, self.file)
        self._name_cases()

    def _name_cases(self) -> None:
        self._cases = {normal_name(case.name): case for case in self.file.cases}
        by_key: dict[str, list[str]] = {}
        for case in self.file.cases:
            by_key.setdefault(same_on_some_system(case.name), []).append(case.name)
        self._twins = {
            name: next(other for other in group if other != name)
            for group in by_key.values()
            if len(set(group)) > 1
            for name in group
        }

    def _new_name(self, name: str) -> str:
        name = normal_name(name)
        check_name(name)
        key = same_on_some_system(name)
        twin = next((c.name for c in self.cases if c.name != name and same_on_some_system(c.name) == key), None)
        if twin is not None:
            raise CohortError(
                _(
                    "The cohort '{name}' has a case '{twin}', which differs from '{name_2}' in upper and lower case "
                    "only: Windows and macOS would take their files for one. Choose another name."
                ).format(name=self.name, twin=twin, name_2=name)
            )
        return name

    # --- images and labels ----------------------------------------------------------------------------------------

    def image_path(self, name: str) -> Path:
        return self._path(self.case(name).image)

    def geometry(self, name: str) -> VolumeGeometry:
        """Geometry of a case's image, from the file's header alone."""
        with self._naming(f"The image of case '{name}'"):
            return read_geometry(self.image_path(name))

    def image(self, name: str) -> tuple[np.ndarray, VolumeGeometry]:
        """A case's image: (K, J, I) array in the file's dtype, and geometry."""
        with self._naming(f"The image of case '{name}'"):
            return read_image(self.image_path(name))

    def image_fingerprint(self, name: str) -> str:
        """Short text from the content of a case's image files, the same wherever the cohort is copied to.

        Kept in the cache; computed again only when a file has changed.
        """
        with self._naming(f"The image of case '{name}'"):
            return image_fingerprint(self.image_path(name), self.cache_folder / "marks" / f"{self._stem(name)}.json")

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
        with self._naming(f"The reference of case '{name}'"):
            return read_labels(path, geometry)

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
            with self._naming(f"The annotation of case '{name}'"):
                labels = read_labels(path, geometry)
        elif ledger.decided:
            raise CohortError(
                _(
                    "The ledger of case '{name}' names drawn slices, but their labels '{path}' are missing. Put the "
                    "file back, or export the case from Slicer again."
                ).format(name=name, path=path)
            )
        else:
            labels = np.zeros(geometry.shape, dtype=np.uint8)
        undecided = read_undecided(self._undecided_path(name), path, geometry)
        return SparseAnnotation(labels, ledger, geometry, undecided)

    def save_annotation(self, name: str, annotation: SparseAnnotation) -> None:
        """Write a case's drawn slices and ledger, so that at no moment the ledger names labels that are not there.

        Slices that are no longer drawn go from the labels only when the ledger has been written.
        """
        for _step in self.saving_annotation(name, annotation):
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
                undecided_before = self.annotation(name).undecided if undecided_path.is_file() else None
                both = undecided if undecided_before is None else undecided | undecided_before
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

    def origin(self, name: str, annotation: SparseAnnotation | None = None, method: str = "", run: str = "") -> Origin:
        """What a result of this case would be made from now: its drawn slices, its image, and a run's models.

        `annotation`: the case's, when it has been read already.
        """
        annotation = self.annotation(name) if annotation is None else annotation
        content = run_fingerprint(self.run_folder(run)) if run else ""
        return Origin.of(annotation, self.image_fingerprint(name), method, run, content)

    def locked(self, purpose: str) -> FolderLock:
        """Lock for a short change of the cohort's files; a second process waits, then is told who holds it."""
        return FolderLock(self.state_folder, purpose, wait_seconds=_LOCK_SECONDS)

    # --- paths ----------------------------------------------------------------------------------------------------

    def _undecided_path(self, name: str) -> Path:
        return self._annotation_path(name).parent / "undecided" / self._annotation_path(name).name

    def _path(self, stored: str) -> Path:
        return path_in(self.folder, stored)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Names the case in errors about its files: their paths need not."""
        try:
            yield
        except BadInputError as error:
            raise BadInputError(_("{what} cannot be used. {error}").format(what=what, error=error)) from error


def _absolute(folder: str | Path) -> Path:
    # Without a home folder, '~' is left as it is rather than an error.
    return Path(os.path.expanduser(folder)).absolute()
