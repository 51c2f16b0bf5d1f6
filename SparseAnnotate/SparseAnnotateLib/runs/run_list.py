"""Summaries of a cohort's runs. Importable without torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from ..core import Cohort, SparseAnnotateError
from .learned_images import ImageFacts, LearnedImages, difference_sentence
from .run_folder import RunFolder


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        name: of the run. is_finished: False for one that is only planned, still training, or was interrupted.
        changed: when its training ended, in local time; when its file was last changed, for one that has not finished,
            or was trained before the end was recorded.
        cases: annotated cases it learns from; slices: drawn slices, None before it has finished.
        dice: mean Dice on held-out drawn slices, so inside the drawn range of the volumes; None before it has finished,
            or when none were held out.
        corrected_dice: the same as if all that is labelled beyond that range without support were false; see `RunCard`.
        is_live: True for one that is trained while slices are being drawn: it can be continued at any time.
        problem: why it cannot be used, as a sentence; '' when it can.
    """

    name: str
    is_finished: bool
    changed: datetime
    cases: int = 0
    slices: int | None = None
    dice: float | None = None
    corrected_dice: float | None = None
    problem: str = ""
    is_live: bool = False


def run_summaries(cohort: Cohort) -> list[RunSummary]:
    """All runs of a cohort, oldest first."""
    found = []
    for name in cohort.runs():
        folder = RunFolder(cohort.run_folder(name))
        path = folder.card_path if folder.is_finished else folder.plan_path
        if path.is_file():
            found.append(_summary(folder.path, path, path.stat().st_mtime))
    return found


def difference_from_learned(cohort: Cohort, run: str, facts: Callable[[str], ImageFacts | None]) -> str:
    """How an image differs from those that a finished run has learned from, as a sentence; '' when it is like them.

    Args:
        facts: gives what the image of a channel is like, '' for images without names; None when there is no image.

    Raises BadInputError or RunError when the run cannot be read.
    """
    path = RunFolder(cohort.run_folder(run)).card_path
    learned, channel = _learned(path, path.stat().st_mtime_ns) if path.is_file() else (None, "")
    image = facts(channel) if learned is not None else None
    return difference_sentence(learned, image) if image is not None else ""


@lru_cache(maxsize=64)
def _learned(path: Path, _changed: int) -> tuple[LearnedImages | None, str]:
    """What a run has learned from, and the first of its channels; cached as `_summary` is."""
    card = RunFolder(path.parent).card()
    return card.images, next(iter(card.channels), "")


@lru_cache(maxsize=512)
def _summary(folder_path: Path, path: Path, changed: float) -> RunSummary:
    """Cached, because the panel asks after every click, and a run's files hardly ever change."""
    folder, when = RunFolder(folder_path), datetime.fromtimestamp(changed)
    is_finished = path == folder.card_path
    try:
        if not is_finished:
            plan = folder.plan()
            return RunSummary(folder.name, False, when, len(plan.cases), is_live=plan.is_live)
        card = folder.card()
    except SparseAnnotateError as error:
        return RunSummary(folder.name, is_finished, when, problem=error.message)
    with suppress(ValueError):
        when = datetime.fromisoformat(card.trained).astimezone().replace(tzinfo=None) if card.trained else when
    dice, corrected = card.validation_dice, card.corrected_dice
    return RunSummary(folder.name, True, when, len(card.cases), card.slices, dice, corrected, is_live=card.is_live)
