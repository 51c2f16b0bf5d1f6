"""The structures of an annotation in groups that the same slices decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .planes import Plane

if TYPE_CHECKING:
    from .annotation import SparseAnnotation


class StructureGroups:
    """Groups of labels, each with the annotation for it, which is made when it is asked for.

    Each may need the memory of a volume, and there may be as many as structures: go through them one by one.

    Args:
        annotation: of all structures. groups: the drawn slices that do not decide a group, to its labels.
    """

    def __init__(self, annotation: SparseAnnotation, groups: Mapping[frozenset[tuple[Plane, int]], Sequence[int]]):
        self._annotation, self._groups = annotation, dict(groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], SparseAnnotation]]:
        for silent, values in self._groups.items():
            yield tuple(values), self._annotation if self.is_whole else self._annotation.without_slices(silent)

    @property
    def is_whole(self) -> bool:
        """Whether all slices decide all labels: then the annotation itself is the only one."""
        return set(self._groups) <= {frozenset()}
