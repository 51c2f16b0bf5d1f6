"""Filling by probabilities: each source gives each label one, and the label with the highest takes the voxel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..core import SparseAnnotation, Watch
from .confidence import scaled
from .drawn_stack import DrawnStack, Gap, PlaneBox, joined
from .gap_filling import GapInterpolator
from .label_fields import DrawnSlices
from .label_gaps import LabelGap, label_gap
from .source_failures import failing_alone

_USUAL_GAP = 4.0  # slices, where only one is drawn
_NEAR = 0.05  # probability of a label from which on a voxel is near it


@runtime_checkable
class ChanceSource(Protocol):
    """Something that gives a probability for each voxel of a label."""

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> Any:
        """What `chance` needs in all gaps. Raises BadInputError when the image is needed and cannot be used."""
        ...

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: Any, watch: Watch) -> np.ndarray:
        """(n, rows, columns) float32: the probability of a label in the part of a gap where it may be."""
        ...

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> np.ndarray | None:
        """(count, rows, columns) bool: where some label must be, whichever it is; None where that is not known.

        `near`: (count, rows, columns) bool, voxels near a label. Asked only where there are several labels.
        """
        ...


@runtime_checkable
class LearnsFirst(Protocol):
    """A source that has to learn on the image before it can be prepared."""

    def learn(self, annotation: SparseAnnotation, image: np.ndarray, watch: Watch) -> bool:
        """Learn, unless it has; returns True when it did. Raises CancelledError."""
        ...


@runtime_checkable
class FarSource(ChanceSource, Protocol):
    """A source that knows the whole volume, as a trained run does: far from drawn slices it counts most.

    Attributes:
        values: the labels that it knows.
    """

    values: Collection[int]

    def far_share(self, value: int) -> float:
        """Its share of a label far from all drawn slices, as far as it can be relied on."""
        ...

    def reach(self, gap: Gap, prepared: Any) -> dict[int, tuple[slice, PlaneBox]]:
        """Where in a gap it finds each label: slices of the gap, and rows and columns."""
        ...


def each_prepared(
    sources: Mapping[str, ChanceSource], annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None
) -> dict[str, Any]:
    """`ChanceSource.prepared` of each source. Raises SourceFailedError when one of several fails."""
    prepared = {}
    for name, source in sources.items():
        with failing_alone(name, sources):
            prepared[name] = source.prepared(annotation, drawn, image)
    return prepared


class ChanceInterpolator(GapInterpolator):
    """Fills by the weighted mean of the probabilities of sources.

    The background has what each source leaves to it. Where no label is more likely than it, the voxel stays empty.
    When one of several sources fails, filling raises SourceFailedError.

    Args:
        sources: by name. shares: for each label the share of each source, together 1; None: of the only source. Labels
            that no drawn slice shows are filled where a `FarSource` finds them, the first of them winning ties.
    """

    def __init__(self, sources: Mapping[str, ChanceSource], shares: Mapping[int, Mapping[str, float]] | None = None):
        self._sources, self._shares = sources, shares

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> dict[str, Any]:
        return each_prepared(self._sources, annotation, drawn, image)

    def _depends_on_all(self, drawn: DrawnSlices, earlier: DrawnStack | None, gap: Gap) -> bool:
        if not any(isinstance(source, FarSource) for source in self._sources.values()):
            return False
        if earlier is None or not earlier.indices:
            return True
        before = DrawnSlices(earlier)
        # How far from drawn slices it counts more, and which labels no slice shows, follow from all of them.
        return (
            not np.array_equal(self._far(before, gap), self._far(drawn, gap)) or before.in_order() != drawn.in_order()
        )

    def _shares_of(self, value: int) -> Mapping[str, float]:
        return dict.fromkeys(self._sources, 1.0) if self._shares is None else self._shares[value]

    def _fill_gap(
        self,
        drawn: DrawnSlices,
        gap: Gap,
        prepared: dict[str, Any],
        out: np.ndarray,
        confidence: np.ndarray,
        watch: Watch,
    ) -> None:
        elsewhere = drawn.drawn_elsewhere(gap)
        highest = np.zeros(out.shape, dtype=np.float32)
        winner = np.zeros_like(out)
        far = self._far(drawn, gap)
        found = self._found_in(gap, prepared, far)
        near = drawn.labels_in(gap)
        in_order = drawn.in_order()
        more = [v for v in self._shares or () if v in found and v not in in_order]
        values = [*near, *(v for v in in_order if v in found and v not in near), *more]
        # What a source leaves to the background is known only when it has been asked for all labels.
        asked = [name for name in self._sources if any(self._shares_of(v).get(name, 0.0) > 0 for v in values)]
        left = {name: np.ones(out.shape, dtype=np.float32) for name in asked}
        for value in values:
            watch.check()
            place = label_gap(drawn, gap, value, out, elsewhere, found.get(value))
            if place is None:
                continue
            mixed = np.zeros(place.inside.shape, dtype=np.float32)
            part, shares = place.part, self._shares_by_slice(value, far)
            for name, rest in left.items():
                if value in more and not isinstance(self._sources[name], FarSource):
                    continue  # the drawn slices do not show it
                with failing_alone(name, self._sources):
                    chance = self._sources[name].chance(place, drawn, prepared[name], watch)
                mixed += shares[name][place.slices, None, None] * chance
                rest[part] -= chance
            wins = mixed > highest[part]
            np.copyto(highest[part], mixed, where=wins)
            winner[part][wins] = value
        rest = self._background(drawn, gap, values, winner, highest, left, far)
        np.copyto(winner, 0, where=highest <= rest)
        keep = slice(None) if elsewhere is None else ~elsewhere
        out[keep] = winner[keep]
        confidence[keep] = scaled(confidence[keep], np.clip(np.maximum(highest, rest), 0, 1)[keep])

    def _background(
        self,
        drawn: DrawnSlices,
        gap: Gap,
        values: list[int],
        winner: np.ndarray,
        highest: np.ndarray,
        left: Mapping[str, np.ndarray],
        far: np.ndarray,
    ) -> np.ndarray:
        """(count, rows, columns) float32: the probability of the background.

        Args:
            values: the labels of the gap. winner, highest: the most likely label, and its probability.
            left: what each source leaves to the background; changed. far: (count,), see `_far`.
        """
        rest = np.zeros(winner.shape, dtype=np.float32)
        if not left:
            return rest + 1
        by_label = {value: self._shares_by_slice(value, far) for value in values}
        places = np.arange(len(winner))[:, None, None]
        for name, own in left.items():
            shares = np.ones((max(values, default=0) + 1, len(winner)), dtype=np.float32)
            for value in values:
                shares[value] = by_label[value][name]
            if len(values) > 1 and shares[values].any():
                with failing_alone(name, self._sources):
                    closed = self._sources[name].closed(drawn, gap, highest > _NEAR)
                if closed is not None:
                    own[closed] = 0
            # Where no label may be, all sources agree on that.
            shares[0] = 1.0 / len(left)
            rest += shares[winner, places] * np.maximum(own, 0)
        return rest

    def _found_in(self, gap: Gap, prepared: dict[str, Any], far: np.ndarray) -> dict[int, tuple[slice, PlaneBox]]:
        """Where sources that know the whole volume find each label in a gap of which they have a share.

        A source without a share changes nothing, not even where the others look.
        """
        found: dict[int, tuple[slice, PlaneBox]] = {}
        for name, source in self._sources.items():
            if isinstance(source, FarSource):
                with failing_alone(name, self._sources):
                    reached = source.reach(gap, prepared[name])
                for value, (slices, box) in reached.items():
                    if not self._has_share(name, value, far):
                        continue
                    old = found.get(value, (slices, box))
                    both = slice(min(old[0].start, slices.start), max(old[0].stop, slices.stop))
                    found[value] = (both, joined(old[1], box))
        return found

    def _has_share(self, name: str, value: int, far: np.ndarray) -> bool:
        is_known = self._shares is None or value in self._shares
        return is_known and bool(self._shares_by_slice(value, far)[name].any())

    def _far(self, drawn: DrawnSlices, gap: Gap) -> np.ndarray:
        """(count,) float32: 0 as far from drawn slices as these usually are from each other, 1 from twice that on."""
        usual = float(np.median(np.diff(drawn.main.indices))) if len(drawn.main.indices) > 1 else _USUAL_GAP
        away = drawn.main.distance()[gap.first : gap.stop]
        far: np.ndarray = np.clip(away / usual - 1.0, 0.0, 1.0).astype(np.float32)
        return far

    def _shares_by_slice(self, value: int, far: np.ndarray) -> dict[str, np.ndarray]:
        """(count,) float32 for each source: its share of a label, by the slices' distance from the drawn ones."""
        shares = {name: self._shares_of(value).get(name, 0.0) for name in self._sources}
        far_sources = {n: s for n, s in self._sources.items() if isinstance(s, FarSource)}
        wide = {name: share for name, share in shares.items() if share > 0 and name in far_sources}
        near = sum(wide.values())
        others = 1.0 - near
        gained = max([near, *(far_sources[name].far_share(value) for name in wide)])
        result = {}
        for name, share in shares.items():
            distant = share
            if wide and others > 0:
                distant = gained * wide[name] / sum(wide.values()) if name in wide else (1 - gained) * share / others
            result[name] = (share + far * (distant - share)).astype(np.float32)
        return result
