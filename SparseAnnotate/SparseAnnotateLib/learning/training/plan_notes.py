"""What a person should know about a plan before training: sentences in the run's notes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...core import Cohort, Plane
from ...core.messages import _
from ...runs.settings import AxisLetter, large_enough_patch

_SIDES = {"left", "right", "l", "r", "lt", "rt", "lh", "rh"}
_DIFFERENT_SPACING = 2.0
_PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)  # slices across S, A and R


def cohort_notes(
    cohort: Cohort, classes: tuple[int, ...], slices: int, spacings: dict[str, tuple[float, ...]]
) -> list[str]:
    """On what has been drawn so far.

    Args:
        classes: label values on the drawn slices. slices: how many are drawn.
        spacings: (S, A, R) in mm of each volume with drawn slices.
    """
    notes: list[str] = []
    untrained = [name for value, name in cohort.labels.items() if value not in classes]
    if untrained:
        names = ", ".join(f"'{name}'" for name in untrained[:5])
        notes.append(_("Not trained (on none of the drawn slices): {names}.").format(names=names))
    if slices == 1:
        notes.append(_("Only one slice has been drawn; the model can learn only what that slice shows."))
    elif len(spacings) == 1:
        notes.append(_("Only one volume has drawn slices; the model may not generalize to other volumes."))
    for axis in range(3):
        finest, coarsest = (f(spacings, key=lambda name: spacings[name][axis]) for f in (min, max))
        if spacings[coarsest][axis] >= _DIFFERENT_SPACING * spacings[finest][axis]:
            notes.append(
                _(
                    "The spacing differs {ratio:.0f}-fold between volumes ('{finest}': {smaller:.3g} mm, '{coarsest}': "
                    "{larger:.3g} mm along the same axis), and so do the sizes of structures in voxels. Train "
                    "on volumes with similar spacing."
                ).format(
                    ratio=spacings[coarsest][axis] / spacings[finest][axis],
                    finest=finest,
                    smaller=spacings[finest][axis],
                    coarsest=coarsest,
                    larger=spacings[coarsest][axis],
                )
            )
            break
    return notes


def mirrored_axes(
    given: tuple[AxisLetter, ...] | None, names: Iterable[str]
) -> tuple[tuple[AxisLetter, ...], list[str]]:
    """The axes along which patches are mirrored, and notes on it.

    Args:
        given: in the settings; None: from left to right, unless a structure distinguishes the sides.
        names: of the structures.
    """
    sided = [name for name in names if _SIDES & _words(name)]
    if not sided or (given is not None and "R" not in given):
        return (("R",) if given is None else given), []
    if given is None:
        note = _("Patches are not mirrored, because '{structure}' distinguishes left from right.")
    else:
        note = _(
            "Patches are mirrored from left to right, as set, although '{structure}' distinguishes left from right."
        )
    return given or (), [note.format(structure=sided[0])]


def _words(name: str) -> set[str]:
    """The words of a structure's name in lower case: 'LeftKidney', 'left_kidney' and 'L kidney' alike."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z](?=[A-Z][a-z])|[A-Z]+", name)}


def plane_notes(planes: tuple[int, ...], spacing: Sequence[float], of_one_scan: bool = False) -> list[str]:
    """On planes whose slices do not suit a 2D model; `planes`: axes of (S, A, R) that do, `spacing`: (S, A, R)."""
    if len(planes) == 3:
        return []
    names = [_PLANES[axis].value for axis in planes]
    if of_one_scan:
        return [
            _("With a single volume the 2D model is trained in the planes that were drawn only: {planes}.").format(
                planes=", ".join(names)
            )
        ]
    ratio = max(spacing) / min(spacing)
    if len(names) == 1:
        return [
            _(
                "Voxels are {ratio:.0f} times as long as wide, so the 2D model is trained on {plane} slices only."
            ).format(ratio=ratio, plane=names[0])
        ]
    return [
        _(
            "Voxels are {ratio:.0f} times as long as wide, so the 2D model is trained on {first} and {second} slices "
            "only."
        ).format(ratio=ratio, first=names[0], second=names[1])
    ]


def patch_note(patch: tuple[int, ...]) -> str:
    """On patches that are too small for every network."""
    asked, used = (" x ".join(map(str, sides)) for sides in (patch, large_enough_patch(patch)))
    return _("Patches are {used} instead of {asked}, which the network would reduce to a single voxel.").format(
        used=used, asked=asked
    )
