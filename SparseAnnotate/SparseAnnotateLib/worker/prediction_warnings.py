"""Warnings before a prediction, the same for cases of a cohort and for other scans."""

from __future__ import annotations

import logging

from ..core.messages import _
from ..runs.cards import RunCard
from ..runs.learned_images import ImageFacts, difference_sentence

_LOG = logging.getLogger(__name__)


def warn_of_flips(card: RunCard, run: str, flips: bool) -> None:
    """Warn when averaging over mirrored volumes is asked for but has no effect on this run."""
    if flips and not card.flip:
        _LOG.warning(
            _("Averaging over mirrored volumes has no effect: the run '{run}' was trained without mirroring.").format(
                run=run
            )
        )


class DifferenceWarnings:
    """Warns, for one request, of images of another kind than those that a run has learned from.

    Hundreds of scans may differ in the same way: the log has each sentence once, with the first scan, while every scan
    gets it as a note.
    """

    def __init__(self, card: RunCard):
        self._card = card
        self._logged: set[str] = set()

    def of(self, name: str, image: ImageFacts) -> tuple[str, ...]:
        """The sentence on this image, in a tuple; () when it is of the same kind."""
        sentence = difference_sentence(self._card.images, image)
        if not sentence:
            return ()
        if sentence not in self._logged:
            self._logged.add(sentence)
            _LOG.warning(_("'{name}': {problem}").format(name=name, problem=sentence))
        return (sentence,)
