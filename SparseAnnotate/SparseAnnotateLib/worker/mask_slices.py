"""Which slices of a mask are drawn: listed ones, or those that show something."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..core import BadInputError, Cohort, Plane, SparseAnnotateError, VolumeGeometry
from ..core.case_names import normal_name
from ..core.drawn_elsewhere import SliceKey
from ..core.messages import _, counted

COLUMNS = ("case", "plane", "index")
_MOSTLY = 0.5
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)


def listed_indices(items: Sequence[str]) -> list[int]:
    """Sorted indices from numbers and ranges: '3', '10-14', '20'. Raises BadInputError."""
    found: set[int] = set()
    for item in items:
        match = _RANGE.fullmatch(item.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise BadInputError(
                _("'{text}' is not a slice. Write numbers from 0 on, and ranges, for example 3 10-14 20.").format(
                    text=item
                )
            )
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(found)


def slices_in_file(path: str, cohort: Cohort) -> dict[str, list[SliceKey]]:
    """The slices of each case in a CSV file with the columns case, plane and index (a number or a range).

    Raises BadInputError, naming the line, when something in it is no slice of a case of the cohort.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BadInputError(
            _("The list of slices '{path}' cannot be read ({reason}).").format(path=path, reason=reason)
        ) from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in header else ",", skipinitialspace=True)
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise BadInputError(
            _("The first line of '{path}' must name the columns case, plane and index, not '{line}'.").format(
                path=path, line=header.strip()
            )
        )
    found: dict[str, list[SliceKey]] = {}
    for row in rows:
        case, plane, index = ((row[name] or "").strip() for name in COLUMNS)
        try:
            name = cohort.case(case).name
            keys = [(Plane.named(plane), number) for number in listed_indices([index])]
        except SparseAnnotateError as error:
            raise BadInputError(
                _("Line {line} of '{path}' cannot be used. {problem}").format(
                    line=rows.line_num, path=path, problem=error.message
                )
            ) from error
        found.setdefault(normal_name(name), []).extend(keys)
    return found


def shown_slices(
    shown: np.ndarray, ignored: np.ndarray | None, geometry: VolumeGeometry, plane: Plane
) -> tuple[list[SliceKey], list[str]]:
    """The slices of a plane that show something, (K, J, I) bool, and sentences about what looks wrong.

    Slices that are mostly ignored, (K, J, I) bool, are not drawn ones: they cross those of another plane.

    Raises BadInputError when no slice is drawn, or the mask was clearly drawn in another plane.
    """
    counts = {other: _voxels_by_slice(shown, geometry, other) for other in Plane}
    indices = np.flatnonzero(counts[plane]).tolist()
    if indices and ignored is not None:
        most = _MOSTLY * ignored.size / plane.slice_count(geometry)
        is_ignored = _voxels_by_slice(ignored, geometry, plane) > most
        indices = [index for index in indices if not is_ignored[index]]
        if not indices:
            raise BadInputError(
                _(
                    "Every {plane} slice that shows a structure is mostly ignored. Was it drawn in another plane? Name "
                    "that with '--planes', or list the drawn slices with '--slices'."
                ).format(plane=plane.value)
            )
    if not indices:
        raise BadInputError(
            _("It shows no structure, so no slice of it counts as drawn. List slices that are empty with '--slices'.")
        )
    notes: list[str] = []
    if len(indices) > 2 and len(indices) == indices[-1] - indices[0] + 1:
        for other in Plane:
            found = np.flatnonzero(counts[other]).tolist()
            if other is not plane and _are_single(found):
                raise BadInputError(
                    _(
                        "It seems to be drawn in another plane: it shows something on {count} {other} slices with gaps "
                        "between them, but on every {plane} slice from {first} to {last}. Use '--planes {other}', or "
                        "list the drawn slices with '--slices'."
                    ).format(count=len(found), other=other.value, plane=plane.value, first=indices[0], last=indices[-1])
                )
        notes.append(
            _(
                "Every {plane} slice from {first} to {last} shows something. This looks like a dense annotation; every "
                "slice is taken as drawn. If only some of them are drawn, list these with '--slices'."
            ).format(plane=plane.value, first=indices[0], last=indices[-1])
        )
    single = [index for index in indices if counts[plane][index] == 1]
    if single:
        notes.append(
            counted(
                len(single),
                _("{plane} slice {slices} shows a single voxel and is taken as drawn. Is it a stray one?"),
                _("{plane} slices {slices} show a single voxel each and are taken as drawn. Are they stray ones?"),
                plane=plane.value.capitalize(),
                slices=", ".join(map(str, single[:10])) + (" ..." if len(single) > 10 else ""),
            )
        )
    return [(plane, index) for index in indices], notes


def slices_as_text(keys: Sequence[SliceKey]) -> str:
    """Slices in short: 'axial 3 10-14; coronal 20'."""
    parts = []
    for plane in Plane:
        indices = sorted(index for other, index in keys if other is plane)
        starts = [n for n, index in enumerate(indices) if n == 0 or index != indices[n - 1] + 1]
        runs = [(indices[a], indices[b - 1]) for a, b in pairwise([*starts, len(indices)])]
        if runs:
            parts.append(f"{plane.value} " + " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs))
    return "; ".join(parts)


def _voxels_by_slice(shown: np.ndarray, geometry: VolumeGeometry, plane: Plane) -> np.ndarray:
    axis = plane.array_axis(geometry)
    counts: np.ndarray = np.count_nonzero(shown, axis=tuple(a for a in range(3) if a != axis))
    return counts


def _are_single(indices: Sequence[int]) -> bool:
    """True for three or more slices of which no two are neighbours."""
    return len(indices) > 2 and all(other - one > 1 for one, other in pairwise(indices))
