"""From 'I have so many slices or minutes' to how many volumes and how many slices in each, with reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core import BadInputError, Plane
from ..core.messages import _, counted
from .budget import Budget, slices_text
from .even_spread import even_counts
from .plane_advice import advised_plane
from .strategy import DEFAULT_STRATEGY

DEFAULT_DIMENSIONS: Literal[2, 3] = 3
_SUBTLE_DENSITY = 0.2  # below it, their 3D models did not learn subtle stroke lesions
_LOWEST_DENSITY = 0.05  # the lowest that Zhang et al. 2025 tested


@dataclass(frozen=True)
class Advice:
    """One piece of advice in a sentence, and where it comes from."""

    sentence: str
    source: str


@dataclass(frozen=True)
class AnnotationPlan:
    """What to draw.

    Attributes:
        plane: in which plane.
        cases: the volumes to draw in. volume_share: their share of all volumes (s in Zhang et al. 2025).
        slices_per_volume: slices of each, at least; some get one more. slices: of all together.
        density: share of a volume's slices (δ).
        minutes: expected drawing time; None when the time per slice is unknown.
        strategy: how to choose the slices.
        advice: the reasons. unknown: what could not be determined, a sentence each.
    """

    plane: Plane
    cases: tuple[str, ...]
    volume_share: float
    slices_per_volume: int
    slices: int
    density: float
    minutes: float | None
    strategy: str
    advice: tuple[Advice, ...]
    unknown: tuple[str, ...]

    @property
    def is_even(self) -> bool:
        """Whether each volume gets `slices_per_volume`, none more."""
        return self.slices == self.slices_per_volume * len(self.cases)


def plan_annotation(
    slice_counts: Mapping[str, Mapping[Plane, int]],
    budget: Budget,
    dimensions: Literal[2, 3] = DEFAULT_DIMENSIONS,
    target: Literal["clear", "subtle"] | None = None,
    similarity: Mapping[Plane, float] | None = None,
) -> AnnotationPlan:
    """A plan for a budget; slices drawn already do not count.

    Args:
        slice_counts: for each volume the number of slices in each plane that may be drawn in, including air.
        budget: in all, or for each volume: then it is added up.
        dimensions: of the model that is to learn from the slices.
        target: whether the structure stands out clearly or is subtle, such as a stroke lesion on T1; None: not known.
        similarity: from `self_similarity`, mean over some volumes.

    Raises:
        BadInputError: no volume, or minutes without seconds per slice.
    """
    if not slice_counts:
        raise BadInputError(_("There is no volume to plan for. Add volumes first."))
    if dimensions not in (2, 3):
        raise BadInputError(_("A model is 2D or 3D, not {dimensions}D.").format(dimensions=dimensions))
    if target not in (None, "clear", "subtle"):
        raise BadInputError(_("The target must be 'clear' or 'subtle', not '{target}'.").format(target=target))
    advice: list[Advice] = []
    unknown: list[str] = []
    plane = _plane(next(iter(slice_counts.values())), similarity or {}, advice, unknown)
    counts = {name: by_plane[plane] for name, by_plane in slice_counts.items()}
    slices = _slices(budget, list(counts.values()), unknown)
    volumes, shares = _spread(slices, budget, counts, dimensions, target, advice, unknown)
    drawn = sum(shares)
    if len(volumes) > 1:
        advice.append(
            Advice(
                _(
                    "Draw at different positions in each volume: if all volumes are drawn at the same positions, a "
                    "model never sees what lies between."
                ),
                _(
                    "the benchmark of selection on hippocampi: with up to 10 % of the slices, the same positions gave "
                    "the worst models"
                ),
            )
        )
    seconds = budget.seconds_per_slice
    return AnnotationPlan(
        plane=plane,
        cases=tuple(volumes),
        volume_share=len(volumes) / len(counts),
        slices_per_volume=min(shares),
        slices=drawn,
        density=drawn / sum(counts[name] for name in volumes),
        minutes=drawn * seconds / 60.0 if seconds is not None else None,
        strategy=DEFAULT_STRATEGY,
        advice=tuple(advice),
        unknown=tuple(unknown),
    )


def _plane(
    planes: Mapping[Plane, int], similarity: Mapping[Plane, float], advice: list[Advice], unknown: list[str]
) -> Plane:
    best, clearly = advised_plane({plane: similarity.get(plane, math.nan) for plane in planes})
    if len(planes) == 1:
        return next(iter(planes))
    if best is None:
        first = next(iter(planes))
        unknown.append(
            _("The best plane could not be determined from the images; the plan uses {plane} slices.").format(
                plane=first.value
            )
        )
        return first
    figures = ", ".join(f"{plane.value} {value:.2f}" for plane, value in similarity.items() if math.isfinite(value))
    advice.append(
        Advice(
            _(
                "Draw {plane} slices: here slices are most like their drawn neighbors ({figures}; 1 is identical)."
            ).format(plane=best.value, figures=figures),
            _("self-similarity of your images; for how reliable it is, see the benchmark of planes"),
        )
    )
    if not clearly:
        unknown.append(
            _("The planes hardly differ in how alike their slices are; draw in the plane that you know best.")
        )
    unknown.append(
        _(
            "The plane is chosen from the whole image, not from your structure: if the structure is elongated, draw "
            "across its long axis."
        )
    )
    return best


def _slices(budget: Budget, slice_counts: Sequence[int], unknown: list[str]) -> int:
    if budget.seconds_per_slice is None and budget.minutes is None:
        unknown.append(_("How long a slice takes is not known yet, so the plan gives no minutes."))
    wanted, available = budget.planned_total(slice_counts), sum(slice_counts)
    if wanted > available:
        unknown.append(
            _(
                "The budget of {budget} is larger than the number of slices ({available}): everything can be drawn."
            ).format(budget=slices_text(wanted), available=available)
        )
    return min(wanted, available)


def _spread(
    slices: int,
    budget: Budget,
    counts: Mapping[str, int],
    dimensions: int,
    target: str | None,
    advice: list[Advice],
    unknown: list[str],
) -> tuple[list[str], list[int]]:
    names = list(counts)
    usual = float(np.median(list(counts.values())))
    least = 1
    if dimensions == 3:
        least = max(1, math.ceil((_SUBTLE_DENSITY if target == "subtle" else _LOWEST_DENSITY) * usual))
    chosen = len(names) if slices >= least * len(names) else max(1, slices // least)
    volumes = _evenly(names, chosen)
    shares = even_counts(slices, [counts[name] for name in volumes])
    each = _slices_in_each(min(shares), max(shares))
    if len(names) == 1:
        advice.append(
            Advice(
                _("Draw {slices} in your only volume.").format(slices=each),
                _("only one volume is available; more volumes would help more"),
            )
        )
    elif chosen == len(names):
        advice.append(
            Advice(
                _(
                    "Spread the slices over all {volume_count} volumes, {slices} in each: more volumes help a model "
                    "more than more slices of the same volumes."
                ).format(volume_count=chosen, slices=each),
                _("Zhang et al. 2025, sections 4.1 and 6"),
            )
        )
    elif dimensions == 2:
        advice.append(
            Advice(
                counted(
                    chosen,
                    _(
                        "Draw one slice in {count} volume: for 2D models, more volumes always help more than more "
                        "slices of each."
                    ),
                    _(
                        "Draw one slice in each of {count} volumes: for 2D models, more volumes always help more than "
                        "more slices of each."
                    ),
                ),
                _("Zhang et al. 2025, section 4.1.1"),
            )
        )
    else:
        advice.append(_minimum_advice(slices, counts, each, chosen, least, target))
        if not budget.is_for_cohort:
            unknown.append(
                _(
                    "The budget per volume was added up to {total}. To draw just as many in every volume, "
                    "recommend slices with this budget, or plan for a 2D model."
                ).format(total=slices_text(slices))
            )
    if dimensions == 3:
        _advise_on_target(target, each, min(shares) < least, least, advice, unknown)
    unknown.append(
        _("Zhang et al. 2025 compared 2D and 3D models on three datasets with axial slices only; your data may differ.")
    )
    return volumes, shares


def _minimum_advice(
    slices: int, counts: Mapping[str, int], each: str, chosen: int, least: int, target: str | None
) -> Advice:
    """Why a 3D model gets its slices in a part of the volumes, and what it would get in all of them."""
    over_all = even_counts(slices, list(counts.values()))
    where = _("one") if chosen == 1 else _("each of {chosen}").format(chosen=chosen)
    instead = ""
    if min(over_all) > 0:
        instead = _(" instead of {slices} in each of all {count}").format(
            slices=_slices_in_each(min(over_all), max(over_all)), count=len(counts)
        )
    reason = _("the lowest share that was tested")
    share = _LOWEST_DENSITY
    if target == "subtle":
        reason, share = _("what subtle structures needed"), _SUBTLE_DENSITY
    text = _(
        "Draw {slices} in {where} of the {volume_count} volumes{instead}: a 3D model needs a minimum number of slices "
        "per volume, here {least} ({share:.0%}, {reason})."
    )
    sentence = text.format(
        slices=each,
        where=where,
        volume_count=len(counts),
        instead=instead,
        least=least,
        share=share,
        reason=reason,
    )
    return Advice(sentence, _("Zhang et al. 2025, section 6"))


def _advise_on_target(
    target: str | None, each: str, is_too_few: bool, least: int, advice: list[Advice], unknown: list[str]
) -> None:
    """What a clear or subtle target means for a 3D model."""
    if target == "subtle":
        advice.append(
            Advice(
                _(
                    "Draw about {share:.0%} of the slices of each volume: below that, 3D models did not learn subtle "
                    "stroke lesions."
                ).format(share=_SUBTLE_DENSITY),
                _("Zhang et al. 2025, sections 4.1.2 and 6"),
            )
        )
        unknown.append(
            _(
                "The figure for subtle targets comes from one dataset (stroke lesions) and may be specific to the "
                "network: another network followed the general trend (section 6)."
            )
        )
        if is_too_few:
            unknown.append(
                _(
                    "The budget gives {slices} per volume, fewer than the {least} that a subtle target needs in 3D: a "
                    "2D model may do better."
                ).format(slices=each, least=least)
            )
    if target is None:
        unknown.append(
            _(
                "Whether your structure is clear or subtle is not known; the plan assumes that it is clear. If it is "
                "subtle, a 3D model needs about {share:.0%} of the slices of each volume."
            ).format(share=_SUBTLE_DENSITY)
        )


def _slices_in_each(least: int, most: int) -> str:
    if least == most:
        return slices_text(least)
    return _("{least} to {most} slices").format(least=least, most=most)


def _evenly(names: Sequence[str], count: int) -> list[str]:
    return [names[i * len(names) // count] for i in range(count)]
