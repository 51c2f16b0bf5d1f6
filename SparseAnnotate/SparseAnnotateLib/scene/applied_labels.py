"""Labels that the module has applied to a segmentation: as they are stored, and as they lie on a volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..core.strict_json import LEFT_OUT_WHEN_EMPTY
from ..core.voxel_boxes import Box
from ..core.voxel_values import values_in
from .ledger_anchor import LedgerAnchor
from .segmentation_nodes import common_part


@dataclass(frozen=True)
class Applied:
    """Labels that were applied to a segmentation.

    Attributes:
        anchor: the grid of the labels. segments: segment ID of each label value; several values may have the same one.
        start, shape: first voxel and size (K, J, I) of the box that holds all labels.
        dtype: of the labels, 'u1' or 'u2'. data: the box, compressed, in base64.
        sources: segment ID to the name of what its labels come from, as far as it is known.
        label_sources: the same for label values whose voxels come from something else, such as those on slices that
            were left out when a result was applied; '' where it is not known.
        earlier: the same in scenes of earlier versions: 'axis index' of a slice in the grid of the labels, (K, J, I),
            to what those of segment IDs come from there.
    """

    anchor: LedgerAnchor
    segments: dict[int, str]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    dtype: Literal["u1", "u2"]
    data: str
    sources: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, dict[str, str]] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    label_sources: dict[int, str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)


@dataclass(frozen=True)
class Packed:
    """Labels as they are stored; see `Applied`. `sources`: of the segments that keep theirs."""

    segments: dict[int, str]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    dtype: Literal["u1", "u2"]
    data: str
    label_sources: dict[int, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def other_sources(self, segment_id: str) -> list[str]:
        """What some labels of a segment come from, besides its own source; without what is not known."""
        found = [name for value, name in self.label_sources.items() if self.segments.get(value) == segment_id]
        return list(dict.fromkeys(filter(None, found)))


@dataclass(frozen=True, eq=False)
class AppliedLabels:
    """Labels that were applied.

    Attributes:
        labels: a part of the volume, (K, J, I). start: its first voxel in the volume.
        segments: segment ID of each label value, one value for each segment.
        sources: segment ID to the name of what its labels come from, as far as it is known.
        others: of the shape of the labels; 0 where they come from the segment's own source, n where from the nth of
            `other_sources`; None when they do everywhere.
    """

    labels: np.ndarray
    start: tuple[int, int, int]
    segments: dict[int, str]
    sources: Mapping[str, str]
    others: np.ndarray | None = None
    other_sources: Sequence[str] = ()

    def masks_by_source(self, segment_id: str, box: Box) -> Iterator[tuple[str, np.ndarray]]:
        """Where a segment was applied, as `mask`, for each of the sources that its labels come from."""
        rest = self.mask(segment_id, box)
        common = common_part(self.labels, self.start, box)
        if self.others is not None and common is not None:
            inner, within = common
            others, here = self.others[inner], rest[within]
            for number in values_in(others[here]):
                if number:
                    there = np.zeros_like(rest)
                    there[within] = here & (others == number)
                    yield self.other_sources[number - 1], there
            here &= others == 0
        yield self.sources.get(segment_id, ""), rest

    def mask(self, segment_id: str, box: Box) -> np.ndarray:
        """bool, of the shape of a box of the volume: where a segment was applied."""
        found = np.zeros([side.stop - side.start for side in box], dtype=bool)
        value = next((value for value, one in self.segments.items() if one == segment_id), None)
        common = common_part(self.labels, self.start, box)
        if value is not None and common is not None:
            inner, within = common
            found[within] = self.labels[inner] == value
        return found


@dataclass(frozen=True, eq=False)
class AppliedValues:
    """Labels that are to be applied: (K, J, I) on the volume's grid, and `segments` and `label_sources` as in
    `Applied`; both dictionaries are changed in place."""

    labels: np.ndarray
    segments: dict[int, str]
    sources: dict[int, str] = field(default_factory=dict)

    def with_value(self, segment_id: str, source: str | None, above: int = 0) -> int:
        """A new label value for a segment's voxels from a source; None: from that of the segment.

        `above`: the highest value that it must not have.
        """
        value = max([*self.segments, above]) + 1
        self.segments[value] = segment_id
        if source is not None:
            self.sources[value] = source
        return value
