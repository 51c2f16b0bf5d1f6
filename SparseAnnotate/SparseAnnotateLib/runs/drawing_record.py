"""What a training that goes on while slices are being drawn has learned from, and how well it predicted each slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import BadInputError, Plane
from ..core.atomic_files import append_line, write_text
from ..core.strict_json import parse_json, to_text

RECORD_FILE = "drawn.jsonl"
_LATEST = 5


@dataclass(frozen=True)
class PredictedSlice:
    """One slice that was drawn while a model was training, and how well the model predicted it before it saw it.

    Attributes:
        case, plane, index: the slice.
        iteration: steps that the model had taken.
        dice: structure to the Dice of the model's prediction with what was drawn; structures that neither shows are
            left out.
    """

    case: str
    plane: Plane
    index: int
    iteration: int
    dice: dict[str, float] = field(default_factory=dict)

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
        seen: set[tuple[str, Plane, int]] = set()
        found: list[float] = []
        for one in self._slices:
            place = (one.case, one.plane, one.index)
            is_meant = case in (None, one.case) and plane in (None, one.plane)
            if is_meant and place not in seen and one.mean_dice is not None:
                found.append(one.mean_dice)
            seen.add(place)
        latest: Sequence[float] = found[-_LATEST:]
        return LiveQuality(sum(latest) / len(latest), len(latest)) if latest else None

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
