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


def warn_of_difference(card: RunCard, name: str, image: ImageFacts) -> tuple[str, ...]:
    """Warn when an image is of another kind than those that the run has learned from; the sentence as a note."""
    sentence = difference_sentence(card.images, image)
    if not sentence:
        return ()
    _LOG.warning(_("'{name}': {problem}").format(name=name, problem=sentence))
    return (sentence,)
