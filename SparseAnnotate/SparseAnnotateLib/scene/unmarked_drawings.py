"""Finds what must not be replaced when a result is applied: what was drawn outside the marked slices."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.messages import _, joined, listed
from .applied_labels import AppliedLabels
from .changed_segments import Change, ShownSegment
from .last_applied import reading_applied
from .layer_writing import comparing_labels
from .node_stamps import voxel_stamp

_FEW_SLICES = 2
_FINISHED_SHARE = 0.5
_MAX_NAMED = 6
_MAX_SEARCHED = 1_000_000  # voxels; with more, slices of several planes are not looked for, which would take seconds

Slice = tuple[Plane, int]


@dataclass(frozen=True)
class UnmarkedDrawing:
    """What the user or another tool has drawn of a structure on slices that are not marked.

    Attributes:
        structure: its name. slices: that hold all of it, sorted.
        is_finished: it is drawn on most of the slices that it spans, like a finished structure from another tool.
    """

    structure: str
    slices: tuple[Slice, ...]
    is_finished: bool

    @property
    def sentence(self) -> str:
        """Why a finished structure was not changed, and what to do."""
        return _(
            "'{structure}' was not changed because it seems to be finished: it is drawn on {slices}, which are not "
            "marked as drawn. To replace it, check 'Replace finished structures, too' under Result and apply "
            "the result again (in the Python console: name it in 'structures')."
        ).format(structure=self.structure, slices=_slices_text(self.slices))


@dataclass(frozen=True, eq=False)
class Unmarked:
    """All that was drawn outside the marked slices.

    Attributes:
        drawings: structure name to what was drawn of it; those without any are left out.
        before: structure name to the labels that were applied before that was drawn; None for a structure that was on
            its marked slices only.
    """

    drawings: dict[str, UnmarkedDrawing] = field(default_factory=dict)
    before: dict[str, AppliedLabels | None] = field(default_factory=dict)

    def painted_slices(self) -> dict[Slice, list[str]]:
        """The slices that were painted and not marked, sorted, each with the structures that were painted there."""
        found: dict[Slice, list[str]] = {}
        for drawing in self.drawings.values():
            for one in drawing.slices if not drawing.is_finished else ():
                found.setdefault(one, []).append(drawing.structure)
        return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def painted_sentence(slices: Mapping[Slice, Sequence[str]]) -> str:
    """Which slices were not changed because something was painted there, and what to do; see `painted_slices`."""
    together: dict[tuple[str, ...], list[Slice]] = {}
    for one, names in slices.items():
        together.setdefault(tuple(names), []).append(one)
    parts = [
        _("{slices} ({structures})").format(
            slices=_slices_text(some), structures=listed([f"'{name}'" for name in names], _MAX_NAMED)
        )
        for names, some in together.items()
    ]
    return _(
        "Slices that are painted but not marked as drawn were not changed: {slices}. Mark them as drawn, or erase what "
        "was painted there, and apply the result again."
    ).format(slices=joined("; ", parts))


def finding_unmarked(
    segmentation_node, volume_node, annotation: SparseAnnotation, names: Sequence[str]
) -> Generator[None, None, Unmarked | None]:
    """In pieces: what was drawn outside the slices that decide a structure; None when a voxel was changed meanwhile.

    Labels that the module applied itself, and that are unchanged since, do not count.

    Args:
        annotation: of the segmentation, on the volume's grid. names: structures to check.
    """
    stamp = voxel_stamp(segmentation_node)
    records = yield from reading_applied(segmentation_node, volume_node)
    if voxel_stamp(segmentation_node) != stamp:
        return None
    segmentation = segmentation_node.GetSegmentation()
    identifiers = {name: segmentation.GetSegmentIdBySegmentName(name) for name in names}
    value_of = {name: value for value, name in annotation.names.items()}
    decided = {name: annotation.deciding_by_axis(value_of.get(name, 0)) for name in names}
    suspects, before = list(names), dict[str, AppliedLabels | None]()
    for group in _grouped(decided):
        for record in [*records, None]:
            value_for = {segment_id: value for value, segment_id in record.segments.items()} if record else {}
            values = {name: number for number, name in enumerate(group, start=1) if name in suspects}
            if record is not None:
                values = {name: value_for[identifiers[name]] for name in values if identifiers[name] in value_for}
            if not values:
                continue
            labels, start = (record.labels, record.start) if record is not None else (None, (0, 0, 0))
            compared = segmentation_node, volume_node, labels, values
            differing = yield from comparing_labels(*compared, start=start, without=decided[group[0]])
            if differing is not None:
                same = [name for name in values if name not in differing]
                before |= dict.fromkeys(same, record)
                suspects = [name for name in suspects if name not in same]
    if voxel_stamp(segmentation_node) != stamp:
        return None
    segments = {
        name: ShownSegment(segmentation_node, volume_node, name, identifiers[name], decided[name]) for name in suspects
    }
    changes: dict[str, Change] = {}
    for name in suspects:
        # Nothing off the decided slices is a known state, too; undo may have restored any of them.
        known = [record for record in records if identifiers[name] in record.segments.values()]
        before[name], changes[name] = yield from segments[name].finding_change([*known, None])
        if voxel_stamp(segmentation_node) != stamp:
            return None
    found: dict[str, UnmarkedDrawing] = {}
    # The largest first: what was painted over is on the slices of what was painted.
    for name in sorted((name for name in suspects if changes[name].size), key=lambda name: -changes[name].size):
        painted = Unmarked(found).painted_slices()
        # Some painted slices of one or two planes cross nearly all slices of the others, and are few.
        few = int(_FINISHED_SHARE * min(len(layers) for layers in changes[name].layers))
        is_on_most = _is_on_most_slices(segments[name], changes[name])
        slices = yield from _covering(
            annotation, segments[name], changes[name], before[name], painted, few if is_on_most else None
        )
        is_finished = is_on_most and len(slices) > few
        if is_finished:
            plane, axis = next(iter(_planes(annotation, segments[name]).items()))
            slices = [(plane, index) for index in changes[name].layers[axis]]
        found[name] = UnmarkedDrawing(name, tuple(sorted(slices, key=_order)), is_finished)
        if voxel_stamp(segmentation_node) != stamp:
            return None
    found = {name: found[name] for name in names if name in found}
    return Unmarked(found, before)


def _grouped(decided: Mapping[str, Mapping[int, list[int]]]) -> list[list[str]]:
    """The names, in groups with the same decided slices."""
    groups: dict[str, list[str]] = {}
    for name, slices in decided.items():
        groups.setdefault(str(slices), []).append(name)
    return list(groups.values())


def _planes(annotation: SparseAnnotation, segment: ShownSegment) -> dict[Plane, int]:
    """The planes with their array axes, those with most decided slices first."""
    axes = {plane: plane.array_axis(annotation.geometry) for plane in Plane}
    return dict(sorted(axes.items(), key=lambda item: -len(segment.decided.get(item[1], ()))))


def _is_on_most_slices(segment: ShownSegment, change: Change) -> bool:
    """Whether a change is, in each plane, on more than half of the undecided slices that the structure spans."""
    if min(len(layers) for layers in change.layers) <= _FEW_SLICES:
        return False
    for axis, shown in enumerate(change.shown):
        between = range(shown[0], shown[-1] + 1) if shown else ()
        undecided = set(between) - set(segment.decided.get(axis, ()))
        if len(change.layers[axis]) <= _FINISHED_SHARE * len(undecided):
            return False
    return True


def _covering(
    annotation: SparseAnnotation,
    segment: ShownSegment,
    change: Change,
    before: AppliedLabels | None,
    painted: Collection[Slice],
    most: int | None,
) -> Generator[None, None, list[Slice]]:
    """In pieces: the fewest slices that hold all of a change, as far as they are found, besides some painted ones.

    A painted slice of any plane crosses many slices of the others, so that the slices are those of one plane, unless
    those with most of the changed voxels, of any plane, are fewer, and not more than `most`.
    """
    planes = _planes(annotation, segment)
    if change.size > _MAX_SEARCHED:
        return _in_one_plane(planes, change.layers)
    left, found = (yield from segment.finding_voxels(change, before)), list[Slice]()
    for plane, index in painted:
        is_there = left[:, planes[plane]] == index
        if is_there.any():
            found.append((plane, index))
            left = left[~is_there]
    in_one = [*found, *_in_one_plane(planes, [np.unique(places).tolist() for places in left.T])]
    most = len(in_one) - 1 if most is None else min(most, len(in_one) - 1)
    while len(left):
        counts = {plane: np.bincount(left[:, axis]) for plane, axis in planes.items()}
        best = max(counts, key=lambda plane: int(counts[plane].max()))
        if int(counts[best].max()) * (most - len(found)) < len(left):
            return in_one  # no slice holds more of what is left
        found.append((best, int(counts[best].argmax())))
        left = left[left[:, planes[best]] != found[-1][1]]
        yield
    return found


def _in_one_plane(planes: Mapping[Plane, int], layers: Sequence[Sequence[int]]) -> list[Slice]:
    """The slices with voxels, along the plane in which they are fewest; of equal numbers, the first of the planes."""
    plane, axis = min(planes.items(), key=lambda item: len(layers[item[1]]))
    return [(plane, index) for index in layers[axis]]


def _order(one: Slice) -> tuple[str, int]:
    return one[0].value, one[1]


def _slices_text(slices: Sequence[Slice]) -> str:
    """Slices as text: 'axial 3, 4; sagittal 7'."""
    planes = {plane: [str(index) for one, index in slices if one is plane] for plane in dict(slices)}
    return joined("; ", [f"{plane.value} {listed(indices, _MAX_NAMED)}" for plane, indices in planes.items()])
