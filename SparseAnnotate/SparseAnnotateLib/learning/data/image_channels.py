"""Which channels of a cohort's images a run sees, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...core import BadInputError, Cohort
from ...core.messages import _, counted, listed
from ...core.modalities import CT


def require_channels(cohort: Cohort, names: Sequence[str], channels: Sequence[str]) -> None:
    """Raise BadInputError, naming channels and cases, unless cases have all channels that a run has learned from.

    Args:
        names: of the cases. channels: of the run, by name; none where its images were no channels with names.
    """
    known = cohort.channels
    if not channels and cohort.file.first_was_unnamed:
        return  # the image that the run knows is the first channel now
    if bool(channels) != bool(known):
        if channels:
            text = _(
                "The run has learned from the channels {channels}, but the cohort '{cohort}' has images without named "
                "channels. Make a cohort with these channels, or use another run."
            )
        else:
            text = _(
                "The run has learned from images without named channels, but the cohort '{cohort}' has the channels "
                "{channels}. Make a cohort of single images, or use another run."
            )
        raise BadInputError(text.format(channels=", ".join(channels or known), cohort=cohort.name))
    for channel in channels:
        if channel not in known:
            raise BadInputError(
                _(
                    "The run needs the channel '{channel}', which the cohort '{cohort}' does not have (it has {own})."
                ).format(channel=channel, cohort=cohort.name, own=", ".join(known))
            )
        without = [name for name in names if channel not in cohort.channel_paths(name)]
        if without:
            raise BadInputError(
                counted(
                    len(without),
                    _("The channel '{channel}' is missing in {count} case: {cases}. Add it, or leave the case out."),
                    _("The channel '{channel}' is missing in {count} cases: {cases}. Add it, or leave them out."),
                    channel=channel,
                    cases=listed([f"'{name}'" for name in without], 5),
                )
            )


def require_ct(cohort: Cohort, channels: Iterable[str]) -> None:
    """Raise BadInputError when images that a run scales as CT are known to be something else in a cohort.

    Args:
        channels: those that the run scales as CT, '' for images without channels.
    """
    for channel in channels:
        kind = cohort.modality(channel)
        if kind not in ("", CT):
            what = _("the channel '{name}'").format(name=channel) if channel else _("the image")
            raise BadInputError(
                _(
                    "The run scales {what} as CT, in Hounsfield units, and in the cohort '{cohort}' it is {kind}. Use "
                    "another run, or correct the modality of the cohort."
                ).format(what=what, cohort=cohort.name, kind=kind)
            )


def channels_mark(channels: Sequence[str]) -> str:
    """Short text for a file name that differs between choices of channels and their orders."""
    return "-" + hashlib.sha256("\n".join(channels).encode()).hexdigest()[:8]


def part_of(image: np.ndarray, box: Sequence[slice]) -> np.ndarray:
    """The part of an image in a box of the volume: (S, A, R), or (C, S, A, R) of several channels; a view."""
    place: Any = (..., *box)
    part: np.ndarray = image[place]
    return part
