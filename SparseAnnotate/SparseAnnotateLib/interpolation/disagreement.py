"""How far a run and the drawn slices' own fill differ, by the distance from drawn slices.

A run that has learned from all drawn slices of a volume leaves none to measure it on. But beside a drawn slice the fill
is nearly exact, so what differs there is the run's error; and what differs more further away is the fill's.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core import SparseAnnotation, Watch
from .chance_filling import ChanceSource, each_prepared
from .drawn_stack import Gap
from .gap_filling import GapInterpolator
from .label_fields import DrawnSlices
from .label_gaps import label_gap
from .mixing import Shares
from .run_source import RunSource
from .source_failures import failing_alone

_MOST_GAPS = 8
_LEAST_SHARE_OF_RUN = 0.25  # of the squared difference beside drawn slices
_BESIDE = (
    0.7  # error of the fill beside drawn slices, as part of that over the whole gap; between .5 and .9 on real scans
)


class Disagreement(GapInterpolator):
    """Goes through some of the gaps like a fill, but only counts where the fill and a run differ.

    Args:
        sources, shares: of the fill without the run, see `ChanceInterpolator`. run: the run.
    """

    def __init__(self, sources: Mapping[str, ChanceSource], shares: Mapping[int, Shares], run: RunSource):
        self._sources, self._shares, self._run = dict(sources), shares, run
        self._all: dict[str, ChanceSource] = {**self._sources, run.name: run}
        self._lock = threading.Lock()
        # Label to {distance from the nearest drawn slice: (voxels of both, voxels of either, each counted for itself)}.
        self._counts: dict[int, dict[int, np.ndarray]] = {}

    def measure(self, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch) -> None:
        """Compare in up to eight gaps between drawn slices, spread evenly. Raises CancelledError, SourceFailedError."""
        drawn = self._drawn_slices(annotation)
        inner = [gap for gap in drawn.main.gaps() if not gap.is_end]
        count = min(len(inner), _MOST_GAPS)
        gaps = [inner[int((n + 0.5) * len(inner) / count)] for n in range(count)]
        if gaps:
            labels = annotation.drawn_labels()
            self._fill_gaps(annotation, image, drawn, gaps, labels, np.zeros(labels.shape, dtype=np.uint8), watch)

    def errors(self, value: int, usual: float, least_of_run: float = 0.0) -> tuple[float, float] | None:
        """The errors of the fill and of the run, as 1 - Dice; None where nothing could be compared.

        The squares of independent errors add up to that of the difference D. That of the fill grows with the distance d
        from a drawn slice: beside one it is taken to be the larger of its growth to the next, as if it grew as d, and
        of a part of the usual one. The rest of D(1) is the run's.

        Args:
            value: of a label. usual: error of the fill, as estimated from hidden slices. least_of_run: its error on
                the slices that it has learned from; it is not better anywhere else.
        """
        apart, mean = self._apart(value)
        if 1 not in apart:
            return None
        beside = apart[1]
        growth = (apart[2] - beside) / 3.0 if 2 in apart else 0.0
        of_fill = max(growth, (_BESIDE * usual) ** 2)
        of_run = max(beside - of_fill, _LEAST_SHARE_OF_RUN * beside, least_of_run**2)
        return float(max(mean - of_run, 0.0) ** 0.5), float(of_run**0.5)

    def error_of_fill(self, value: int, error_of_run: float) -> float:
        """The error of the fill, as 1 - Dice, when that of the run is known; 0 where nothing could be compared."""
        _squared, mean = self._apart(value)
        return float(max(mean - error_of_run**2, 0.0) ** 0.5)

    def beside(self, value: int) -> float:
        """How much of the squared difference is there already beside drawn slices, from 0 to 1.

        0 where nothing is known: for an unknown label, and where no gap is wide enough to see it grow. The rest grows
        away from drawn slices, and that it is the fill's, as `errors` has it, is an assumption: a run that knows the
        drawn slices by heart differs in the same way.
        """
        apart, mean = self._apart(value)
        return min(1.0, apart[1] / mean) if mean > 0 and 1 in apart and len(apart) > 1 else 0.0

    def likeness(self, value: int) -> float:
        """How alike the fill and the run are, from 0 to 1: about the Dice between them; 0 where nothing is known."""
        apart, mean = self._apart(value)
        return float(1.0 - mean**0.5) if apart else 0.0

    def _apart(self, value: int) -> tuple[dict[int, float], float]:
        """The squared difference (1 - Dice) by distance, and its mean over the voxels."""
        by_distance = {d: counts for d, counts in self._counts.get(value, {}).items() if counts[1] > 0}
        apart = {d: float(1.0 - 2.0 * both / either) ** 2 for d, (both, either) in by_distance.items()}
        weights = {d: float(either) for d, (_both, either) in by_distance.items()}
        mean = sum(apart[d] * weight for d, weight in weights.items()) / max(1.0, sum(weights.values()))
        return apart, mean

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> list[Any]:
        return list(each_prepared(self._all, annotation, drawn, image).values())

    def _fill_gap(
        self, drawn: DrawnSlices, gap: Gap, prepared: list[Any], out: np.ndarray, confidence: np.ndarray, watch: Watch
    ) -> None:
        elsewhere = drawn.drawn_elsewhere(gap)
        with failing_alone(self._run.name, self._all):
            found = self._run.reach(gap, prepared[-1])
        distances = drawn.main.distance()[gap.first : gap.stop]
        for value in drawn.labels_in(gap):
            watch.check()
            place = label_gap(drawn, gap, value, out, elsewhere, found.get(value))
            if place is None or value not in self._shares:
                continue
            shares = self._shares[value]
            parts = zip(self._sources.items(), prepared, strict=False)
            wanted = [(name, source, ready) for (name, source), ready in parts if shares.get(name, 0.0) > 0]
            mixed = np.zeros(place.inside.shape, dtype=np.float32)
            for name, source, ready in wanted:
                with failing_alone(name, self._all):
                    mixed += shares[name] * source.chance(place, drawn, ready, watch)
            with failing_alone(self._run.name, self._all):
                theirs = self._run.chance(place, drawn, prepared[-1], watch) > 0.5
            ours = mixed > 0.5
            if place.elsewhere is not None:
                ours, theirs = ours & ~place.elsewhere, theirs & ~place.elsewhere
            both, either = (ours & theirs).sum((1, 2)), ours.sum((1, 2)) + theirs.sum((1, 2))
            with self._lock:
                by_distance = self._counts.setdefault(value, {})
                for n, distance in enumerate(distances[place.slices].tolist()):
                    # Whole numbers: their sums are the same, whichever thread came first.
                    counts = np.array([both[n], either[n]], dtype=np.int64)
                    by_distance[int(distance)] = by_distance.get(int(distance), 0) + counts
