"""Warnings before a prediction, the same for cases of a cohort and for other scans."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..core import SparseAnnotateError, VolumeGeometry, Watch
from ..core.messages import _, counted, listed
from ..runs.cards import RunCard
from ..runs.learned_images import GridFacts, ImageFacts, difference_sentence

_LOG = logging.getLogger(__name__)
_NAMED = 3
_MOST_SECONDS = 30.0  # before the first image is labeled


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
        self._announced: dict[str, GridFacts] = {}

    def announce(self, names: Sequence[str], geometry_of: Callable[[int], VolumeGeometry], watch: Watch) -> None:
        """Warn of the grids of several images before the first of them is labeled.

        Of thousands of images, some that are spread over all of them are looked at: those that can be within half a
        minute. `of` warns of the others when their turn comes.

        Args:
            names: of the images. geometry_of: the geometry of the image at a place, as its header says; an image for
                which it raises SparseAnnotateError is left out, because it is reported when its turn comes.
        """
        places: dict[str, list[int]] = {}
        began = time.monotonic()
        for number, place in enumerate(_spread(len(names)) if self._card.images is not None else ()):
            if time.monotonic() - began > _MOST_SECONDS:
                _LOG.warning(
                    _(
                        "The headers of {number} of the {count} images were checked before the first one is labeled. "
                        "The others are checked when their turn comes."
                    ).format(number=number, count=len(names))
                )
                break
            watch.step(0.0, _("checking headers, {number} of {count}").format(number=number + 1, count=len(names)))
            with suppress(SparseAnnotateError):
                grid = GridFacts.of_grid(geometry_of(place))
                sentence = difference_sentence(self._card.images, grid)
                if sentence:
                    self._announced[names[place]] = grid
                    places.setdefault(sentence, []).append(place)
        in_order = sorted(places.items(), key=lambda item: min(item[1]))
        found = {sentence: [names[place] for place in sorted(of_it)] for sentence, of_it in in_order}
        most = sorted(found.items(), key=lambda item: -len(item[1]))
        for sentence, differing in most[:_NAMED]:
            _LOG.warning(
                counted(
                    len(differing),
                    _("{names}: {problem}"),
                    _("{names} ({count} images): {problem}"),
                    names=listed([f"'{name}'" for name in differing], _NAMED),
                    problem=sentence,
                )
            )
        others = [f"'{name}'" for _sentence, differing in most[_NAMED:] for name in differing]
        if others:
            _LOG.warning(
                counted(
                    len(others),
                    _("Another image differs in other ways: {names}. Check the result."),
                    _("{count} further images differ in other ways: {names}. Check the results."),
                    names=listed(others, _NAMED),
                )
            )

    def of(self, name: str, image: ImageFacts) -> tuple[str, ...]:
        """The sentence on this image, in a tuple; () when it is of the same kind."""
        sentence = difference_sentence(self._card.images, image)
        # What was reported of its grid before the first image was labeled is not repeated.
        news = difference_sentence(self._card.images, image, self._announced.get(name))
        if news and news not in self._logged:
            self._logged.add(news)
            _LOG.warning(_("'{name}': {problem}").format(name=name, problem=news))
        return (sentence,) if sentence else ()


def _spread(count: int) -> list[int]:
    """The numbers below a count, in an order of which each beginning is spread over all of them."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))
