"""The channels that a run sees: those that were asked for, or all but those that show nothing on the drawn slices."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from ...core import BadInputError, Cohort, SparseAnnotation
from ...core.channels import MOST_CHANNELS, check_channels
from ...core.messages import _, counted, listed
from ..data.channel_evidence import MEASURES, case_evidence, is_like_noise

_MOST_CASES, _MOST_SLICES = 24, 96  # that are looked at, evenly spread


class ChannelChoice:
    """The channels of a new run.

    A channel that shows nothing is of no use, and a network may learn its noise. It is left out only if the drawn
    slices leave no doubt about that for any structure: see `channel_evidence`. What that gives is measured in
    Testing/Benchmarks/README.md, *channels*.

    Args:
        cohort: with the channels. asked: channels from the settings; None: to be chosen.
        names: cases to learn from.

    Attributes:
        needed: channels that all cases need, whatever is chosen.

    Raises BadInputError when the cohort does not have a channel that was asked for.
    """

    def __init__(self, cohort: Cohort, asked: Sequence[str] | None, names: Sequence[str]):
        self._cohort = cohort
        known = cohort.channels
        self._asked = _known_channels(cohort, asked) if asked is not None else None
        is_open = self._asked is None and len(known) > 1
        self.needed = known[:1] if is_open else known if self._asked is None else self._asked
        self._looked_at = frozenset(names[:: -(-len(names) // _MOST_CASES)]) if is_open else frozenset()
        self._found: list[np.ndarray] = []

    @property
    def reads_images(self) -> bool:
        """True when `add` reads images."""
        return bool(self._looked_at)

    def add(self, name: str, annotation: SparseAnnotation) -> None:
        """Add the drawn slices of a case. Raises BadInputError when an image cannot be read."""
        if name in self._looked_at:
            most_slices = _MOST_SLICES // len(self._looked_at)
            self._found.append(case_evidence(self._cohort, name, annotation, most_slices))

    def channels(self, values: Sequence[int]) -> tuple[str, ...]:
        """The channels to see, in the cohort's order; at least one, if they have names.

        Args:
            values: the labels of all drawn structures. A channel is needed as long as it may show one of them.
        """
        known = self._cohort.channels
        if self._asked is not None:
            return self._asked
        if not self._found:
            return known
        found = np.concatenate(self._found)
        measures = found[:, 1:].reshape(len(found), -1, MEASURES)
        shown = tuple(
            channel
            for number, channel in enumerate(known)
            if not all(is_like_noise(measures[found[:, 0] == value, number]) for value in values)
        )
        return shown or known  # where no channel shows anything, none is worse than the others

    def notes(self, channels: Sequence[str]) -> list[str]:
        """A sentence on the channels that `channels` has left out by itself."""
        known = self._cohort.channels
        left = [channel for channel in known if channel not in channels]
        if self._asked is not None or not left:
            return []
        return [
            counted(
                len(left),
                _(
                    "The channel {channels} is not used: on the drawn slices, it is the same at the structures as "
                    "anywhere else. To use it anyway, set the training setting 'channels' ('train --channels {all}')."
                ),
                _(
                    "The channels {channels} are not used: on the drawn slices, they are the same at the structures "
                    "as anywhere else. To use them anyway, set the training setting 'channels' ('train --channels "
                    "{all}')."
                ),
                channels=listed([f"'{channel}'" for channel in left], MOST_CHANNELS),
                all=shlex.join(known),
            )
        ]


def _known_channels(cohort: Cohort, asked: Sequence[str]) -> tuple[str, ...]:
    """The channels that were asked for, in the cohort's order."""
    wanted, known = check_channels(asked), cohort.channels
    for channel in wanted:
        if channel not in known:
            raise BadInputError(
                _("The setting 'channels' names '{channel}', but the cohort '{cohort}' has {own}.").format(
                    channel=channel,
                    cohort=cohort.name,
                    own=_("the channels {names}").format(names=", ".join(known)) if known else _("no named channels"),
                )
            )
    return tuple(channel for channel in known if channel in wanted)
