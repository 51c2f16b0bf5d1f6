"""From 'I have so many slices or minutes' to how many volumes and how many slices of each, with reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core import BadInputError, Plane
from .budget import Budget, even_counts
from .plane_advice import advised_plane

DEFAULT_DIMENSIONS: Literal[2, 3] = 3
_SUBTLE_DENSITY = 0.2
_LOWEST_DENSITY = 0.05
_ZHANG = "Zhang et al. 2025"


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
        cases: the volumes to draw in. volume_share: they are this share of all (s in Zhang et al. 2025).
        slices_per_volume: slices of each, at least; some get one more. slices: of all together.
        density: share of a volume's slices (δ).
        minutes: what it will take; None when it is not known what a slice takes.
        strategy: how to choose the slices.
        advice: why. unknown: what the plan does not know, a sentence each.
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


def plan_annotation(
    slice_counts: Mapping[str, Mapping[Plane, int]],
    budget: Budget,
    dimensions: Literal[2, 3] = DEFAULT_DIMENSIONS,
    target: Literal["clear", "subtle"] | None = None,
    similarity: Mapping[Plane, float] | None = None,
) -> AnnotationPlan:
    """A plan for a budget of slices in total, or of minutes.

    Args:
        slice_counts: for each volume how many slices it has in each plane that may be drawn in, air included.
        budget: total or minutes.
        dimensions: of the model that is to learn from the slices.
        target: whether the structure stands out clearly or is subtle, as a stroke lesion on T1; None: not known.
        similarity: from `self_similarity`, mean over some volumes.

    Raises:
        BadInputError: no volume, another kind of budget, or minutes without seconds per slice.
    """
    if not slice_counts:
        raise BadInputError("There is no volume to plan for. Add volumes first.")
    if budget.total is None and budget.minutes is None:
        raise BadInputError("Give the slices in total, or the minutes, that you can draw.")
    if dimensions not in (2, 3):
        raise BadInputError(f"A model is 2D or 3D, not {dimensions}D.")
    if target not in (None, "clear", "subtle"):
        raise BadInputError(f"The target is 'clear' or 'subtle', not '{target}'.")
    advice: list[Advice] = []
    unknown: list[str] = []
    plane = _plane(next(iter(slice_counts.values())), similarity or {}, advice, unknown)
    counts = {name: by_plane[plane] for name, by_plane in slice_counts.items()}
    slices = _slices(budget, sum(counts.values()), unknown)
    volumes, shares = _spread(slices, counts, dimensions, target, advice, unknown)
    drawn = sum(shares)
    if len(volumes) > 1:
        advice.append(
            Advice(
                "Draw at other positions in each volume: where all volumes are cut at the same places, a model never "
                "sees what lies between.",
                "measured on 40 hippocampi in Testing/Benchmarks: with 10 % of the slices Dice .830 staggered, .627 at "
                "the same positions",
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
        strategy="staggered",
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
        unknown.append(f"Which plane is best could not be told from the images; the plan takes the {first.value} one.")
        return first
    figures = ", ".join(f"{plane.value} {value:.2f}" for plane, value in similarity.items() if math.isfinite(value))
    advice.append(
        Advice(
            f"Draw {best.value} slices: there, neighbouring slices are most alike ({figures}; 1 is equal).",
            "self-similarity of your images; how far it can be trusted is measured in Testing/Benchmarks",
        )
    )
    if not clearly:
        unknown.append("The planes hardly differ in how alike their slices are; draw in the one you know best.")
    unknown.append(
        "The plane is judged by the whole image, not by your structure: if it runs along one direction, draw across it."
    )
    return best


def _slices(budget: Budget, available: int, unknown: list[str]) -> int:
    if budget.seconds_per_slice is None and budget.minutes is None:
        unknown.append("How long a slice takes is not known yet, so the plan gives no minutes.")
    wanted = budget.planned_total()
    if wanted > available:
        unknown.append(f"The budget of {wanted} slices is larger than all {available} slices: everything can be drawn.")
    return min(wanted, available)


def _spread(
    slices: int,
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
    each = str(min(shares)) if min(shares) == max(shares) else f"{min(shares)} to {max(shares)}"
    if len(names) == 1:
        advice.append(
            Advice(f"Draw {each} slices of the one volume there is.", "nothing to weigh: more volumes would help more")
        )
    elif chosen == len(names):
        advice.append(
            Advice(
                f"Spread the slices over all {chosen} volumes, {each} in each: further volumes teach a model more than "
                "further slices of the same.",
                f"{_ZHANG}, sections 4.1 and 6",
            )
        )
    elif dimensions == 2:
        advice.append(
            Advice(
                f"Draw one slice in each of {chosen} volumes: for 2D models more volumes are always worth more than "
                "more slices of each.",
                f"{_ZHANG}, section 4.1.1",
            )
        )
    else:
        advice.append(
            Advice(
                f"Draw {each} slices in each of {chosen} of the {len(names)} volumes: a 3D model needs a minimum of "
                f"slices per volume; {_LOWEST_DENSITY:.0%} of them is the least that was tried.",
                f"{_ZHANG}, section 6",
            )
        )
    if dimensions == 3 and target == "subtle":
        advice.append(
            Advice(
                f"Keep to about {_SUBTLE_DENSITY:.0%} of the slices of each volume: below it, 3D models did not learn "
                "subtle stroke lesions.",
                f"{_ZHANG}, sections 4.1.2 and 6",
            )
        )
        unknown.append(
            "The figure for subtle targets comes from one data set (stroke lesions) and may be due to its network: "
            "another network followed the general trend (section 6)."
        )
        if min(shares) < least:
            unknown.append(
                f"The budget gives {each} slices per volume, fewer than the {least} that a subtle target needs in 3D: "
                "a 2D model may do better."
            )
    if dimensions == 3 and target is None:
        unknown.append(
            "Whether your structure is clear or subtle is not known; the plan takes it for clear. If it is subtle, "
            f"a 3D model needs about {_SUBTLE_DENSITY:.0%} of the slices of each volume."
        )
    unknown.append(f"{_ZHANG} compared 2D and 3D models on three data sets with axial slices only; yours may differ.")
    return volumes, shares


def _evenly(names: Sequence[str], count: int) -> list[str]:
    return [names[i * len(names) // count] for i in range(count)]
