"""How many slices may be drawn, and what shares them: a plane, a volume, or the whole cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, get_args

from ..core import BadInputError, SliceRef
from ..core.choices import choice
from ..core.messages import _, counted
from .even_spread import even_counts, moved_to
from .stack import Stack, indices_by_stack


class Scope(StrEnum):
    """What shares one budget and is compared together when slices are chosen."""

    PLANE = "plane"
    VOLUME = "volume"
    COHORT = "cohort"

    @classmethod
    def named(cls, name: str) -> Scope:
        """The scope of that name; BadInputError when there is none."""
        return choice(cls, name, _("Unknown selection scope: '{name}'. Choose one of {names}."))


SCOPES = {
    Scope.PLANE: "each plane of each volume separately",
    Scope.VOLUME: "the planes of a volume together",
    Scope.COHORT: "all volumes together, with fewer slices for a volume that resembles others",
}


Per = Literal["volume", "cohort"]
"""What a budget is given for: each volume, or all of them together."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many slices may be drawn; give exactly one of the first five, or `more`.

    Slices drawn already count towards it, except with minutes and `more`, which are counted from now on.

    Attributes:
        density: drawn slices / all slices of a volume in a plane; with `per` 'cohort' of all volumes and planes.
        every: one of every N slices of a volume in a plane, rounded down (s_k in Zheng et al. 2020); with `per`
            'cohort' of all volumes and planes.
        per_volume: slices in each volume and plane; in each volume when `scope` is a volume or the cohort.
        total: slices in the whole cohort.
        minutes: minutes to spend drawing from now on, at `seconds_per_slice`; with `per` 'volume' in each volume.
        scope: what shares the budget.
        minimum, maximum: slices of each volume, at least and at most, when the scope is the cohort.
        seconds_per_slice: time for one slice; needed only with minutes. None: the mean of the slices timed so far.
        more: slices in the whole cohort, or with `per` 'volume' in each volume, in addition to those drawn; fewer where
            there are not as many left.
        per: whether the number is for each volume, or for the whole cohort, which is spread evenly over the volumes.
            None: as said above.
    """

    density: float | None = None
    every: int | None = None
    per_volume: int | None = None
    total: int | None = None
    minutes: float | None = None
    scope: Scope = Scope.PLANE
    minimum: int | None = None
    maximum: int | None = None
    seconds_per_slice: float | None = None
    more: int | None = None
    per: Per | None = None

    def __post_init__(self) -> None:
        kinds = (self.density, self.every, self.per_volume, self.total, self.minutes, self.more)
        if sum(kind is not None for kind in kinds) != 1:
            raise BadInputError(
                _(
                    "Give the budget as exactly one of: density, one of every N slices, slices per volume, slices in "
                    "total, minutes, or additional slices."
                )
            )
        if self.density is not None and not 0.0 < self.density <= 1.0:
            raise BadInputError(
                _("The density must be more than 0 and at most 1 (100 %), not {density:g}.").format(
                    density=self.density
                )
            )
        if self.every is not None and self.every < 1:
            raise BadInputError(_("The slice interval must be 1 or more, not {count}.").format(count=self.every))
        if self.minutes is not None and not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise BadInputError(
                _("The budget must be more than 0 minutes, not {minutes:g}.").format(minutes=self.minutes)
            )
        for count in (self.per_volume, self.total, self.more):
            if count is not None and count < 1:
                raise BadInputError(_("The budget must be at least one slice, not {count}.").format(count=count))
        if self.seconds_per_slice is not None and not (
            self.seconds_per_slice > 0 and math.isfinite(self.seconds_per_slice)
        ):
            raise BadInputError(
                _("The time per slice must be more than 0 seconds, not {seconds:g}.").format(
                    seconds=self.seconds_per_slice
                )
            )
        if self.per not in (None, *get_args(Per)):
            raise BadInputError(
                _("A budget is given per 'volume' or per 'cohort', not per '{per}'.").format(per=self.per)
            )
        if (self.per == "cohort" and self.per_volume is not None) or (self.per == "volume" and self.total is not None):
            raise BadInputError(
                _("The budget of slices is given both per volume and for the whole cohort. Leave one of them out.")
            )
        self._check_limits()

    @property
    def is_for_cohort(self) -> bool:
        """True when the number is for the whole cohort, False when it is for each volume."""
        if self.per is None:
            return (self.total, self.minutes, self.more) != (None, None, None)
        return self.per == "cohort"

    def _check_limits(self) -> None:
        limits = [x for x in (self.minimum, self.maximum) if x is not None]
        if limits and self.scope is not Scope.COHORT:
            raise BadInputError(
                _(
                    "A minimum or maximum number of slices per volume applies only when slices are chosen over the "
                    "whole cohort. Set the selection scope to 'cohort', or leave it out."
                )
            )
        if self.minimum is not None and self.minimum < 0:
            raise BadInputError(
                _("The minimum number of slices per volume must not be negative, but is {minimum}.").format(
                    minimum=self.minimum
                )
            )
        if self.maximum is not None and self.maximum < 1:
            raise BadInputError(
                _("The maximum number of slices per volume must be at least 1, but is {maximum}.").format(
                    maximum=self.maximum
                )
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise BadInputError(
                _("The minimum of {minimum} slices per volume is more than the maximum of {maximum}.").format(
                    minimum=self.minimum, maximum=self.maximum
                )
            )

    def slices_for(self, stacks: Sequence[Stack], drawn: frozenset[SliceRef] = frozenset()) -> list[int]:
        """Slices for each stack, including those drawn: as even as the slices already drawn and the extents allow.

        Each stack gets at least one where the budget allows it. Where more slices are drawn than a stack would get,
        the others that share its budget get fewer.
        """
        return self._spread(stacks, _Room(stacks, drawn))

    def groups(self, stacks: Sequence[Stack], drawn: frozenset[SliceRef] = frozenset()) -> list[tuple[list[int], int]]:
        """What is chosen together: indices of the stacks, and how many of their slices, including those drawn."""
        counts = self.slices_for(stacks, drawn)
        return [(members, sum(counts[n] for n in members)) for members in _members(stacks, self.scope)]

    def check_fits(self, stacks: Sequence[Stack], drawn: frozenset[SliceRef] = frozenset()) -> None:
        """Raise BadInputError when the budget asks for more slices than there are, or the limits cannot be met."""
        room = _Room(stacks, drawn)
        everything = sum(s.slice_count for s in stacks)
        available = sum(room.most)
        if self.total is not None and self.total > available:
            if everything > available:
                text = _(
                    "The budget of {budget} is larger than the number of slices within the body: {available} "
                    "(with background slices: {everything}). Give at most {available}, or include background slices."
                )
            else:
                text = _(
                    "The budget of {budget} is larger than the number of slices available: {available}. Give at "
                    "most {available}."
                )
            raise BadInputError(text.format(budget=slices_text(self.total), available=available, everything=everything))
        planes = _members(stacks, Scope.PLANE if self.scope is Scope.PLANE else Scope.VOLUME)
        largest = max(sum(room.most[n] for n in members) for members in planes)
        if self.per_volume is not None and self.per_volume > largest:
            if everything > available:
                text = _(
                    "The budget of {budget} per volume is larger than the number of slices within the body in "
                    "the largest volume: {available}. Give at most {available}, or include background slices."
                )
            else:
                text = _(
                    "The budget of {budget} per volume is larger than the number of slices in the largest "
                    "volume: {available}. Give at most {available}."
                )
            raise BadInputError(text.format(budget=slices_text(self.per_volume), available=largest))
        if self.minutes is not None:
            self.known_seconds_per_slice()
        if self.minimum is None and self.maximum is None:
            return
        volumes = _members(stacks, Scope.VOLUME)
        count = sum(replace(self, minimum=None, maximum=None)._spread(stacks, room))
        least, most = self._limits(room, volumes)
        if self.minimum is not None and sum(least) > count:
            raise BadInputError(
                _(
                    "At least {minimum} in each of {volumes}, including those already drawn, are "
                    "{least}, more than the budget of {budget}. Give a smaller minimum, a larger budget or "
                    "fewer volumes."
                ).format(
                    minimum=slices_text(self.minimum),
                    volumes=_volumes_text(len(volumes)),
                    least=slices_text(sum(least)),
                    budget=slices_text(count),
                )
            )
        if self.maximum is not None and self.total is not None and sum(most) < self.total:
            raise BadInputError(
                _(
                    "At most {maximum} in each of {volumes} are {most}, fewer than the "
                    "budget of {budget}. Give a larger maximum or a smaller budget."
                ).format(
                    maximum=slices_text(self.maximum),
                    volumes=_volumes_text(len(volumes)),
                    most=slices_text(sum(most)),
                    budget=slices_text(self.total),
                )
            )

    def _spread(self, stacks: Sequence[Stack], room: _Room) -> list[int]:
        # What gets an amount of its own, and what shares all amounts.
        shared: Scope = self.scope
        own_scope: Scope = Scope.PLANE if self.scope is Scope.PLANE else Scope.VOLUME
        if self.is_for_cohort:
            own_scope = shared = Scope.COHORT
        elif (self.density, self.every) != (None, None):
            own_scope = Scope.PLANE
        elif self.per_volume is None:  # minutes, or more slices
            own_scope = Scope.VOLUME
            shared = Scope.COHORT if self.scope is Scope.COHORT else Scope.VOLUME
        wanted = [0] * len(stacks)
        for members in _members(stacks, own_scope):
            amount = self._amount([stacks[n].slice_count for n in members], sum(room.least[n] for n in members))
            # The share of a plane may be more than its extent, which limits it below.
            most = [amount] if len(members) == 1 else [room.most[n] for n in members]
            for n, count in zip(members, even_counts(amount, most), strict=True):
                wanted[n] = count
        for members in _members(stacks, shared):
            least, most = [room.least[n] for n in members], [room.most[n] for n in members]
            # With a density, only the extent is the limit: a small body does not pass its share on to others.
            own = [min(wanted[n], room.most[n]) for n in members]
            counts = moved_to(sum(own), [max(o, low) for o, low in zip(own, least, strict=True)], least, most)
            for n, count in zip(members, counts, strict=True):
                wanted[n] = count
        return self._within_limits(stacks, room, wanted)

    def _within_limits(self, stacks: Sequence[Stack], room: _Room, counts: list[int]) -> list[int]:
        if self.minimum is None and self.maximum is None:
            return counts
        volumes = _members(stacks, Scope.VOLUME)
        least, most = self._limits(room, volumes)
        wanted = [sum(counts[n] for n in members) for members in volumes]
        clipped = [min(max(w, low), high) for w, low, high in zip(wanted, least, most, strict=True)]
        for members, count in zip(volumes, moved_to(min(sum(wanted), sum(most)), clipped, least, most), strict=True):
            own = [counts[n] for n in members]
            low, high = [room.least[n] for n in members], [room.most[n] for n in members]
            for n, share in zip(members, moved_to(count, own, low, high), strict=True):
                counts[n] = share
        return counts

    def _limits(self, room: _Room, volumes: list[list[int]]) -> tuple[list[int], list[int]]:
        """The least and the most slices of each volume, including those drawn."""
        drawn = [sum(room.least[n] for n in members) for members in volumes]
        extents = [sum(room.most[n] for n in members) for members in volumes]
        least = [max(d, min(self.minimum or 0, extent)) for d, extent in zip(drawn, extents, strict=True)]
        most = [max(d, min(self.maximum or extent, extent)) for d, extent in zip(drawn, extents, strict=True)]
        return least, most

    def planned_total(self, slice_counts: Sequence[int]) -> int:
        """Slices of all volumes together, when nothing is drawn yet and one plane is drawn in.

        Args:
            slice_counts: number of slices of each volume in that plane.

        Raises:
            BadInputError: minutes are given, and the time per slice is unknown.
        """
        if self.is_for_cohort:
            return self._amount(slice_counts, 0)
        return sum(self._amount([count], 0) for count in slice_counts)

    def _amount(self, slice_counts: Sequence[int], drawn: int) -> int:
        """Slices, including those `drawn`, of the stacks of these slice counts, which have one amount."""
        count = sum(slice_counts)
        if self.every is not None:
            return max(1, count // self.every)
        if self.density is not None:
            return max(1, math.floor(self.density * count + 0.5))
        if self.minutes is not None:
            return drawn + max(1, int(self.minutes * 60.0 / self.known_seconds_per_slice()))
        if self.more is not None:
            return drawn + self.more
        return (self.total if self.total is not None else self.per_volume) or 0

    def known_seconds_per_slice(self) -> float:
        """Time for one slice. Raises BadInputError when it is not known."""
        if self.seconds_per_slice is None:
            raise BadInputError(
                _(
                    "It is not known yet how long a slice takes, so minutes cannot be converted to slices. Draw a few "
                    "slices with the module first, or give the seconds per slice (on the command line: "
                    "'--seconds-per-slice 60')."
                )
            )
        return self.seconds_per_slice


class _Room:
    """How many slices of each stack are drawn already (least), and how many can be drawn in all (most)."""

    def __init__(self, stacks: Sequence[Stack], drawn: frozenset[SliceRef]):
        drawn_in = indices_by_stack(drawn)
        indices = [drawn_in.get((s.volume, s.plane), []) for s in stacks]
        self.least = [len(own) for own in indices]
        self.most = [
            s.extent + sum(not s.first <= i <= s.last for i in own) for s, own in zip(stacks, indices, strict=True)
        ]


def slices_text(count: int) -> str:
    """'1 slice' or '20 slices', to put into a message."""
    return counted(count, _("{count} slice"), _("{count} slices"))


def _volumes_text(count: int) -> str:
    return counted(count, _("{count} volume"), _("{count} volumes"))


def _members(stacks: Sequence[Stack], scope: Scope) -> list[list[int]]:
    if scope is Scope.PLANE:
        return [[n] for n in range(len(stacks))]
    if scope is Scope.COHORT:
        return [list(range(len(stacks)))]
    volumes: dict[str, list[int]] = {}
    for n, stack in enumerate(stacks):
        volumes.setdefault(stack.volume, []).append(n)
    return list(volumes.values())
