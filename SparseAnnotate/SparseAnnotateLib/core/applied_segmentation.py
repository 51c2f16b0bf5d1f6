"""All of a case's segmentation, drawn and between the drawn slices, after a result was applied to it in Slicer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from .annotation import SparseAnnotation
from .cohort import Cohort
from .errors import BadInputError
from .images import read_facts, read_labels
from .messages import _
from .origin import Origin
from .pieces import slabs
from .provenance import CORRECTED, DRAWN, FIRST_RESULT, PAINTED_NAME, Provenance
from .slab_writing import written_in_slabs
from .structure_values import names_as_facts, names_from_facts

_WRITING = "writing"
_IS_WRITING = re.compile("[0-9a-f]{32}")
_SOURCES = 256


@dataclass(frozen=True, eq=False)
class AppliedSegmentation:
    """What a person has made of a case: drawn slices, applied results, and what was painted and not marked.

    Attributes:
        labels: (K, J, I) uint8 or uint16. names: label value to the name of the structure.
        provenance: where each voxel comes from.
        origin: the image and the drawn slices it was written with.
    """

    labels: np.ndarray
    names: Mapping[int, str]
    provenance: Provenance
    origin: Origin

    @classmethod
    def read(cls, cohort: Cohort, case: str) -> AppliedSegmentation | None:
        """What was written of a case; None if nothing was.

        Raises BadInputError when the files are damaged, do not belong together, or lie on another grid.
        """
        path = cohort.applied_path(case)
        if not path.is_file():
            return None
        geometry, facts = cohort.geometry(case), read_facts(path)
        names, writing = names_from_facts(facts), facts.get(_WRITING, "")
        beside = cohort.applied_sources_path(case, writing) if _IS_WRITING.fullmatch(writing) else None
        if names is None or beside is None or not beside.is_file() or read_facts(beside).get(_WRITING) != writing:
            raise BadInputError(
                _(
                    "The file that says where the voxels of the applied segmentation of case '{case}' come from is "
                    "missing, or belongs to another one ('{path}'). Open the case in Slicer and apply the result again."
                ).format(case=case, path=path)
            )
        return cls(read_labels(path, geometry), names, Provenance.read(beside, geometry), Origin.from_facts(facts))

    @classmethod
    def required(cls, cohort: Cohort, case: str) -> AppliedSegmentation:
        """What was written of a case that had something a moment ago. Raises BadInputError as `read`, and without."""
        found = cls.read(cohort, case)
        if found is None:
            raise BadInputError(_("The applied segmentation of case '{case}' was removed.").format(case=case))
        return found

    def writing(self, cohort: Cohort, case: str) -> Iterator[float]:
        """Write it step by step: yields the share written of each of two files. Raises BusyError, FileWriteError.

        What was written before stays as it is until both files are complete.
        """
        geometry, writing = cohort.geometry(case), uuid.uuid4().hex
        facts = {**self.origin.facts(), **names_as_facts(self.names), _WRITING: writing}
        sources = {**names_as_facts(self.provenance.names), _WRITING: writing}
        beside = cohort.applied_sources_path(case, writing)
        with cohort.locked(f"saving the applied segmentation of case '{case}'"):
            yield from written_in_slabs(beside, self.provenance.sources, geometry, compress=True, facts=sources)
            yield from written_in_slabs(cohort.applied_path(case), self.labels, geometry, compress=True, facts=facts)
            for earlier in set(beside.parent.glob("*.nrrd")) - {beside}:
                with suppress(OSError):  # open in another program: nothing refers to it any more
                    earlier.unlink()

    def with_drawn(self, annotation: SparseAnnotation) -> AppliedSegmentation:
        """As it is with what has been drawn and corrected since; slices that are no longer drawn count as painted.

        `annotation`: of the case, with the label values of the cohort.
        """
        labels = self.labels.copy()
        labels = labels.astype(np.promote_types(labels.dtype, annotation.labels.dtype), copy=False)
        annotation.restore_drawn(labels)
        provenance = Provenance.of(annotation)
        for value, name in self.provenance.names.items():
            is_person = value in (DRAWN, CORRECTED)
            mask = (self.provenance.sources == value) & (labels > 0)
            provenance.enter(PAINTED_NAME if is_person else name, mask)
        return AppliedSegmentation(labels, self.names, provenance, self.origin)

    def finding_results(self) -> Generator[None, None, tuple[np.ndarray, dict[int, tuple[int, str]]]]:
        """The part of it that comes from results, in pieces.

        Returns:
            (K, J, I), 0 for what does not come from a result; elsewhere a number for each structure and result, and
            what each number stands for: the label value and the name of the result, those with most voxels first.
        """
        sources, highest = self.provenance.sources, 0
        counts = np.zeros((1, _SOURCES), dtype=np.int64)
        for slab in slabs(self.labels.shape, 8):
            labels = self.labels[slab].astype(np.int64)
            highest = max(highest, int(labels.max(initial=0)))
            found = np.bincount((labels * _SOURCES + sources[slab]).ravel(), minlength=(highest + 1) * _SOURCES)
            counts = np.pad(counts, ((0, highest + 1 - len(counts)), (0, 0))) + found.reshape(-1, _SOURCES)
            yield
        counts[0] = 0
        counts[:, :FIRST_RESULT] = 0
        pairs = sorted(np.argwhere(counts).tolist(), key=lambda pair: -int(counts[pair[0], pair[1]]))
        numbers = np.zeros(counts.shape, np.uint8 if len(pairs) < _SOURCES else np.uint16)
        for number, (value, source) in enumerate(pairs, start=1):
            numbers[value, source] = number
        results = np.zeros(self.labels.shape, numbers.dtype)
        for slab in slabs(self.labels.shape, 8):
            results[slab] = numbers[self.labels[slab], sources[slab]]
            yield
        names = self.provenance.names
        return results, {n: (value, names[source]) for n, (value, source) in enumerate(pairs, start=1)}
