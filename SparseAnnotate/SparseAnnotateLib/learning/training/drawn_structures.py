"""Which structures are drawn or unknown, on how many voxels and in which cases, and warnings on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from ...core import SparseAnnotation
from ...core.messages import _, counted, listed
from ...core.planes import slice_layer
from ...core.structure_notes import unknown_sentences, unrecorded_count, unrecorded_sentence

_FEW_VOXELS = 20
_NOTES_AT_MOST = 5


class DrawnStructures:
    """The structures on the drawn slices of several cases."""

    def __init__(self):
        self._voxels: dict[int, int] = defaultdict(int)
        self._cases: dict[int, list[str]] = defaultdict(list)
        self._case_count = 0

    @property
    def values(self) -> tuple[int, ...]:
        """Sorted labels other than 0."""
        return tuple(sorted(self._voxels))

    def add(self, name: str, annotation: SparseAnnotation) -> None:
        """Add the drawn slices of a case; a voxel on two of them counts twice."""
        self._case_count += 1
        found: dict[int, int] = defaultdict(int)
        for axis, indices in annotation.drawn_by_axis().items():
            for index in indices:
                values, counts = np.unique(annotation.labels[slice_layer(axis, index)], return_counts=True)
                for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                    found[value] += count
        for value, count in found.items():
            if value:
                self._voxels[value] += count
                self._cases[value].append(name)

    def notes(self, labels: Mapping[int, str]) -> list[str]:
        """Sentences on structures with very few drawn voxels, and on those that only one of several cases shows."""
        few = [value for value in self.values if self._voxels[value] < _FEW_VOXELS]
        notes: list[str] = [
            _(
                "'{structure}' is drawn on only {voxels}, too little to learn it reliably: the model may never find "
                "it. Draw it on more slices."
            ).format(
                structure=_name(value, labels),
                voxels=counted(self._voxels[value], _("{count} voxel"), _("{count} voxels")),
            )
            for value in few[:_NOTES_AT_MOST]
        ]
        single = [value for value in self.values if len(self._cases[value]) == 1 and value not in few]
        if self._case_count > 1 and single:
            notes.append(
                _("Drawn in one case only, so that the model may not find it in others: {names}.").format(
                    names=", ".join(f"'{_name(value, labels)}'" for value in single[:_NOTES_AT_MOST])
                )
            )
        return notes


class UnknownInCases:
    """The structures of which drawn slices of several cases say nothing: they are not learned as background there."""

    def __init__(self):
        self._sentences: list[str] = []
        self._nowhere: dict[str, list[str]] = defaultdict(list)
        self._unrecorded = 0

    def add(self, name: str, annotation: SparseAnnotation) -> None:
        """Add the drawn slices of a case."""
        self._unrecorded += unrecorded_count(annotation)
        if not annotation.has_unknown_structures:
            return
        decided = [annotation.unknown_on(e.plane, e.index) for e in annotation.ledger.decided]
        partly = [v for v in annotation.names if not all(v in unknown for unknown in decided)]
        sentences = unknown_sentences(annotation, partly)
        self._sentences += [_("'{case}': {problem}").format(case=name, problem=sentence) for sentence in sentences]
        for value in annotation.names.keys() - set(partly):
            self._nowhere[annotation.names[value]].append(name)

    def notes(self) -> list[str]:
        """Sentences, the first of many only."""
        notes = self._sentences[:_NOTES_AT_MOST]
        more = len(self._sentences) - _NOTES_AT_MOST
        if more > 0:
            notes.append(
                counted(
                    more,
                    _("The same applies to {count} more structure in the other cases."),
                    _("The same applies to {count} more structures in the other cases."),
                )
            )
        for structure, cases in list(self._nowhere.items())[:_NOTES_AT_MOST]:
            notes.append(
                _(
                    "Nothing is known of '{structure}' in these cases, because none of their slices was marked for "
                    "it: {cases}. They neither show it nor count as examples without it."
                ).format(structure=structure, cases=listed([f"'{case}'" for case in cases], _NOTES_AT_MOST))
            )
        return [*notes, *([unrecorded_sentence(self._unrecorded)] if self._unrecorded else [])]


def _name(value: int, labels: Mapping[int, str]) -> str:
    return labels.get(value, f"label {value}")
