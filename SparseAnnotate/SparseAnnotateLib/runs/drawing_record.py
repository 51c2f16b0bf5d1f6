"""What a training that goes on while slices are being drawn has learned from, and how well it predicted each slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core import BadInputError, Plane
from ..core.atomic_files import append_line, write_text
from ..core.strict_json import LEFT_OUT_WHEN_EMPTY, parse_json, to_text

RECORD_FILE = "drawn.jsonl"
_LATEST = 5
_CLEARLY = 0.9


@dataclass(frozen=True)
class PredictedSlice:
    """One slice that was drawn while a model was training, and how well the model predicted it before it saw it.

    Attributes:
        case, plane, index: the slice.
        iteration: steps that the model had taken.
        dice: structure to the Dice of the model's prediction with what was drawn; structures that neither shows are
            left out.
        to_draw: structure to the pixels of its drawn contour that were missing (`metrics.added_path_length`) in the
            model's prediction, and in what the other drawn slices expected; of structures that the slice shows.
    """

    case: str
    plane: Plane
    index: int
    iteration: int
    dice: dict[str, float] = field(default_factory=dict)
    to_draw: dict[str, tuple[int, int]] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)

    @property
    def mean_dice(self) -> float | None:
        """Mean over the structures; None for a slice on which neither the model nor the person shows any."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None


@dataclass(frozen=True)
class LiveQuality:
    """How good the answers of a model that is still learning have been: `dice`, the mean over the last `slices`."""

    dice: float
    slices: int


class DrawingRecord:
    """The slices that a run has learned from since it began, as lines of a file in its folder."""

    def __init__(self, run_folder: Path):
        self.path = run_folder / RECORD_FILE
        self._is_whole = True
        self._slices = self._read()
        self._known = {(one.case, one.plane, one.index) for one in self._slices}

    @property
    def slices(self) -> list[PredictedSlice]:
        """In the order in which they were drawn."""
        return list(self._slices)

    def knows(self, case: str, plane: Plane, index: int) -> bool:
        """Whether a drawing of this slice has been learned from."""
        return (case, plane, index) in self._known

    def add(self, predicted: PredictedSlice) -> None:
        """Append a slice. Raises FileWriteError."""
        if not self._is_whole:
            write_text(self.path, "".join(to_text(one) + "\n" for one in self._slices))
            self._is_whole = True
        append_line(self.path, to_text(predicted))
        self._slices.append(predicted)
        self._known.add((predicted.case, predicted.plane, predicted.index))

    def quality(self, case: str | None = None, plane: Plane | None = None) -> LiveQuality | None:
        """How good the model has been on the last slices of a plane of a case, or of all; None before there is one.

        A slice of which it had already learned an earlier drawing does not count.
        """
        found = [one.mean_dice for one in self._first_drawings(case, plane) if one.mean_dice is not None]
        latest: Sequence[float] = found[-_LATEST:]
        return LiveQuality(sum(latest) / len(latest), len(latest)) if latest else None

    def better_without(self, case: str, plane: Plane) -> set[str]:
        """Structures that the other drawn slices expected better than the model on the last slices that show them.

        On these at least a tenth less had to be drawn, because with a few slices smaller differences mean nothing.
        """
        amounts: dict[str, list[tuple[int, int]]] = {}
        for one in self._first_drawings(case, plane):
            for name, both in one.to_draw.items():
                amounts.setdefault(name, []).append(both)
        sums = {name: np.sum(each[-_LATEST:], axis=0) for name, each in amounts.items()}
        return {name for name, (by_model, by_others) in sums.items() if by_others < _CLEARLY * by_model}

    def _first_drawings(self, case: str | None, plane: Plane | None) -> Iterator[PredictedSlice]:
        """Slices of a plane of a case, or of all: without those of which an earlier drawing had been learned."""
        seen: set[tuple[str, Plane, int]] = set()
        for one in self._slices:
            place = (one.case, one.plane, one.index)
            if case in (None, one.case) and plane in (None, one.plane) and place not in seen:
                yield one
            seen.add(place)

    def _read(self) -> list[PredictedSlice]:
        """The lines of the file, without those from the first unreadable one on: a killed process may have cut it."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        found = []
        for line in text.splitlines():
            try:
                found.append(parse_json(line, PredictedSlice, str(self.path)))
            except BadInputError:
                self._is_whole = False
                break
        self._is_whole = self._is_whole and (not text or text.endswith("\n"))
        return found
