"""A picture of recommended slices: a map of all slices, their coverage, and their positions in the volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..core import LedgerEntry, Plane
from ..core.atomic_files import written_atomically
from ..core.messages import _
from ..selection import Volume, coverage, unit_rows
from ..selection.slice_features import principal_components
from .packages import require_packages

_CHOSEN, _DRAWN, _OTHER = "#1f5fd0", "#d1495b", "#b8b8b8"
_LABELLED_AT_MOST = 25
_LONGEST_NAME = 40
_CURVE_POINTS = 200
_CURVES_AT_MOST = 12
_ROWS_AT_MOST = 60


def write_picture(
    path: str | Path,
    volumes: Sequence[Volume],
    planes: Sequence[Plane],
    worklist: Mapping[str, Sequence[LedgerEntry]],
    features: Mapping[str, Mapping[Plane, np.ndarray]],
) -> None:
    """Write a PNG with three parts, extending figure 6c of Zheng et al. 2020.

    The map: every slice by the first two principal components of its features; neighbouring slices are connected by a
    line, recommended and drawn ones are marked. The coverage curve: mean similarity of all slices to the nearest chosen
    one while the worklist is drawn (F / N of eq. 7). The positions: where the slices are in each volume.

    Raises:
        BadInputError: when matplotlib is not installed. FileWriteError: when the file cannot be written.
    """
    require_packages(("matplotlib",), _("pictures of recommended slices"))
    from matplotlib.figure import Figure

    stacks = [(volume, plane) for volume in volumes for plane in planes]
    rows = _Rows(stacks, worklist, features)
    figure = Figure(figsize=(15, 5), layout="constrained")
    of_slices, of_coverage, of_positions = figure.subplots(1, 3)
    _draw_map(of_slices, rows)
    _draw_coverage(of_coverage, rows)
    _draw_positions(of_positions, rows)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


class _Rows:
    """The slices of all stacks, numbered consecutively, with the chosen ones in order and the drawn ones."""

    def __init__(self, stacks, worklist, features):
        self.stacks = stacks
        self.features = [np.asarray(features[volume.name][plane], dtype=np.float32) for volume, plane in stacks]
        starts = np.cumsum([0, *(len(f) for f in self.features)])
        self.starts = starts.astype(int)
        start_of = {(v.name, p): int(s) for (v, p), s in zip(stacks, starts, strict=False)}
        ordered = sorted((e.order, start_of[(name, e.plane)] + e.index) for name, es in worklist.items() for e in es)
        self.chosen = np.array([number for _, number in ordered], dtype=int)
        drawn = [start_of[(v.name, p)] + i for v, p in stacks for i in v.ledger.indices(p)]
        self.drawn = np.array(drawn, dtype=int)
        self.inside = np.zeros(self.starts[-1], dtype=bool)
        for (volume, plane), start in zip(stacks, self.starts, strict=False):
            first, last = volume.extents[plane.array_axis(volume.geometry)]
            self.inside[start + first : start + last + 1] = True

    def index(self, number: int) -> int:
        """Index of a slice within its own stack."""
        return int(number - self.starts[np.searchsorted(self.starts, number, side="right") - 1])


def _draw_map(axes, rows: _Rows) -> None:
    features = np.concatenate(rows.features)
    flat = principal_components(features, 2)
    places = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    places[~features.any(axis=1)] = np.nan  # slices without contrast are not shown
    axes.scatter(*places.T, s=6, color=_OTHER, linewidths=0, label="slices")
    if len(rows.stacks) <= _CURVES_AT_MOST:
        for start, stop in zip(rows.starts, rows.starts[1:], strict=False):
            axes.plot(*places[start:stop].T, color=_OTHER, linewidth=0.6)
    if len(rows.drawn):
        axes.scatter(*places[rows.drawn].T, s=34, color=_DRAWN, marker="s", label="drawn already")
    axes.scatter(*places[rows.chosen].T, s=30, color=_CHOSEN, label="to draw", zorder=3)
    if len(rows.chosen) <= _LABELLED_AT_MOST:
        for number in rows.chosen:
            axes.annotate(
                str(rows.index(number)), places[number], xytext=(4, 4), textcoords="offset points", fontsize=8
            )
    axes.set(title="Map of the slices", xlabel="first principal component", ylabel="second principal component")
    axes.legend(loc="best", fontsize=8)


def _draw_coverage(axes, rows: _Rows) -> None:
    units = unit_rows(np.concatenate(rows.features))
    counted = rows.inside & (units != 0).any(axis=1)
    cover = coverage(units, rows.drawn, counted)
    marks = np.unique(np.linspace(0, len(rows.chosen), min(len(rows.chosen), _CURVE_POINTS) + 1).astype(int))
    heights = [cover[counted].mean() if counted.any() else 0.0]
    for low, high in pairwise(marks):
        cover = np.maximum(cover, coverage(units, rows.chosen[low:high], counted))
        heights.append(cover[counted].mean() if counted.any() else 0.0)
    axes.plot(len(rows.drawn) + marks, heights, color=_CHOSEN, marker="." if len(marks) < 60 else "")
    axes.set(title="Coverage", xlabel="slices drawn", ylabel="mean similarity to the nearest drawn slice")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)


def _draw_positions(axes, rows: _Rows) -> None:
    shown = rows.stacks[:_ROWS_AT_MOST]
    for line, ((volume, plane), start) in enumerate(zip(shown, rows.starts, strict=False)):
        count = len(rows.features[line])
        first, last = volume.extents[plane.array_axis(volume.geometry)]
        axes.plot([first / count, (last + 1) / count], [line, line], color=_OTHER, linewidth=1)
        for numbers, colour, marker in ((rows.drawn, _DRAWN, "s"), (rows.chosen, _CHOSEN, "o")):
            own = numbers[(numbers >= start) & (numbers < start + count)] - start
            axes.scatter((own + 0.5) / count, np.full(len(own), line), s=16, color=colour, marker=marker, zorder=3)
    several = len({plane for _, plane in rows.stacks}) > 1
    names = [f"{_shown(v.name)}, {p.value}" if several else _shown(v.name) for v, p in shown]
    axes.set_yticks(range(len(shown)), names if len(shown) <= 24 else [""] * len(shown), fontsize=7)
    axes.invert_yaxis()
    rest = f" (first {len(shown)} of {len(rows.stacks)})" if len(shown) < len(rows.stacks) else ""
    axes.set(title=f"Positions in the volumes{rest}", xlabel="position along the volume", xlim=(0, 1))


def _shown(name: str) -> str:
    """A case's name for the axis: shortened, and without dollar signs that matplotlib would read as a formula."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return short.replace("$", r"\$")
