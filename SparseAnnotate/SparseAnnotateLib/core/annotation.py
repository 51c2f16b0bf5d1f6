"""Sparse annotation: labels that count on drawn slices, and corrections of single voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field, replace

import numpy as np

from .annotation_groups import StructureGroups
from .corrections import Corrections, Stroke, within
from .errors import BadInputError
from .geometry import VolumeGeometry
from .ledger import Ledger, SliceState
from .messages import _
from .pieces import result_of
from .planes import Plane, slice_layer
from .unknown_structures import UnknownStructures
from .voxel_boxes import Box
from .voxel_values import values_in


class DecidedSlices:
    """Which voxels of a part of a volume lie on the slices that are drawn or empty in a ledger.

    Found out when it is asked for, because a mask of a large volume takes long to make.
    """

    def __init__(self, ledger: Ledger, geometry: VolumeGeometry):
        self._indices = {plane.array_axis(geometry): ledger.indices(plane) for plane in Plane}
        self._shape = geometry.shape

    def at(self, voxels: np.ndarray) -> np.ndarray:
        """(n,) bool: at voxels, (n,) places in the flattened array of the volume."""
        places = np.unravel_index(voxels, self._shape)
        found = np.zeros(len(voxels), dtype=bool)
        for axis, indices in self._indices.items():
            found |= np.isin(places[axis], indices)
        return found

    def __getitem__(self, box: Box) -> np.ndarray:
        """bool, of the shape of a box of the volume."""
        mask = np.zeros([side.stop - side.start for side in box], dtype=bool)
        for axis, indices in self._indices.items():
            inside = [index - box[axis].start for index in indices if box[axis].start <= index < box[axis].stop]
            np.moveaxis(mask, axis, 0)[inside] = True
        return mask


@dataclass(frozen=True, eq=False)
class SparseAnnotation:
    """Labels of one volume, and the ledger of the slices on which they count.

    Attributes:
        labels: (K, J, I) uint8 or uint16. Values outside the drawn slices have no meaning and are never read.
        ledger: the drawn, empty, skipped and recommended slices.
        geometry: the volume's grid.
        undecided: (K, J, I) bool, voxels of drawn slices without a decision, as in imported labels; None when there
            are none. Their labels are 0 and have no meaning.
        names: label value to the name by which the ledger knows the structure. A structure that is named here, and not
            among those for which a slice was marked, is unknown on that slice: the label 0 there means 'background, or
            one of the unknown structures', and their own labels, when they are painted on it, are read as 0.

        corrections: corrections of single voxels, None without any. Their voxels that a drawn slice decides are left
            out.
        is_own: nobody else uses `labels`, so that corrections may be entered into it off the drawn slices. A copy of a
            large volume would take 0.1 s and more.

    Raises:
        BadInputError: when labels, corrections and geometry differ in shape, or the ledger names a slice outside the
            volume.
    """

    labels: np.ndarray
    ledger: Ledger
    geometry: VolumeGeometry
    undecided: np.ndarray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    corrections: Corrections | None = None
    is_own: InitVar[bool] = False
    _unknown: dict[tuple[Plane, int], tuple[int, ...]] = field(init=False, repr=False, default_factory=dict)
    # Sorted places in the flattened array: voxels off the drawn slices whose label the corrections decide.
    _corrected: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.empty(0, np.int64))
    # Whether corrections may be entered into the labels; at most one of the annotations that share them may do so.
    _owns_labels: bool = field(init=False, repr=False, default=False)
    # Sorted places that were entered for any of these annotations, and must not change any more.
    _entered: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self, is_own: bool) -> None:
        if self.labels.shape != self.geometry.shape:
            raise BadInputError(
                _("The labels have shape {shape}, but the volume has shape {volume_shape}.").format(
                    shape=self.labels.shape, volume_shape=self.geometry.shape
                )
            )
        self.ledger.check_fits(self.geometry, _("The ledger"))
        object.__setattr__(self, "_owns_labels", is_own)
        self._note_unknown()
        self._read_unknown_labels_as_zero()
        self._check_undecided()
        self._drop_drawn_corrections()

    @classmethod
    def from_slices(
        cls, labels: np.ndarray, geometry: VolumeGeometry, plane: Plane, indices: Iterable[int]
    ) -> SparseAnnotation:
        """Annotation from a label array, with `indices` of one plane drawn (or empty, where they have no label)."""
        ledger = Ledger()
        axis = plane.array_axis(geometry)
        for index in sorted({int(i) for i in indices}):
            empty = not labels[slice_layer(axis, index)].any()
            ledger = ledger.with_state(plane, index, SliceState.EMPTY if empty else SliceState.DRAWN)
        return cls(labels, ledger, geometry)

    @classmethod
    def undrawn(cls, geometry: VolumeGeometry, names: Mapping[int, str]) -> SparseAnnotation:
        """The annotation of a volume of which nothing has been drawn; `names`: see the attribute."""
        return cls(np.zeros(geometry.shape, dtype=np.uint8), Ledger(), geometry, names=names)

    def drawn_by_axis(self) -> dict[int, list[int]]:
        """Sorted indices of the slices along each array axis on which some structure is decided."""
        by_axis = {plane.array_axis(self.geometry): self._drawn_indices(plane) for plane in Plane}
        return {axis: indices for axis, indices in sorted(by_axis.items()) if indices}

    def deciding_by_axis(self, value: int) -> dict[int, list[int]]:
        """Sorted indices of the slices along each array axis on which a structure is decided."""
        silent, found = self.silent_on(value), {}
        for plane in Plane:
            indices = [index for index in self.ledger.indices(plane) if (plane, index) not in silent]
            if indices:
                found[plane.array_axis(self.geometry)] = indices
        return found

    def drawn_layers(self) -> Iterator[tuple[int | slice, ...]]:
        """The place of each of the slices of `drawn_by_axis` in the arrays."""
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                yield slice_layer(axis, index)

    def _drawn_indices(self, plane: Plane) -> list[int]:
        everything = len(self.names) or -1
        return [i for i in self.ledger.indices(plane) if len(self.unknown_on(plane, i)) != everything]

    def unknown_on(self, plane: Plane, index: int) -> tuple[int, ...]:
        """Sorted labels of the structures that a drawn slice says nothing about; see `names`."""
        return self._unknown.get((plane, index), ())

    def silent_on(self, value: int) -> frozenset[tuple[Plane, int]]:
        """The drawn slices that say nothing about a structure."""
        return frozenset(key for key, unknown in self._unknown.items() if value in unknown)

    @property
    def has_unknown_structures(self) -> bool:
        """True when some drawn slices speak for some of the structures only."""
        return bool(self._unknown)

    def unknown_structures(self) -> UnknownStructures | None:
        """Which structures are unknown at each voxel of the drawn slices and the corrections; None when none is."""
        not_it = self.corrections.excluded(self.names) if self.corrections is not None else {}
        if not self._unknown and not not_it:
            return None
        layers = [
            (slice_layer(plane.array_axis(self.geometry), index), self.unknown_on(plane, index))
            for plane in Plane
            for index in self._drawn_indices(plane)
        ]
        found = UnknownStructures.on_layers(self.geometry.shape, layers)
        for layer, _unknown in layers:
            found.index[layer][self.labels[layer] > 0] = 0
        if self.undecided is not None:
            found.index[self.undecided] = 0
        found = found.without(not_it, sorted(self.names))
        return found if found.index.any() else None

    def supervised_mask(self) -> np.ndarray:
        """(K, J, I) bool: True on every voxel that a person has decided, at least for some of the structures."""
        mask = np.zeros(self.geometry.shape, dtype=bool)
        for layer in self.drawn_layers():
            mask[layer] = True
        if self.undecided is not None:
            mask &= ~self.undecided
        if self.corrections is not None:
            mask |= self.corrected_mask()
        return mask

    def corrected_mask(self) -> np.ndarray:
        """(K, J, I) bool: voxels off the drawn slices of which corrections say something about the structures."""
        mask = np.zeros(self.geometry.shape, dtype=bool)
        mask.reshape(-1)[self._corrected] = True
        if self.corrections is not None and self.names:
            for value, voxels in self.corrections.outside.items():
                if value in self.names:
                    mask.reshape(-1)[voxels] = True
        return mask

    def decided_mask(self, values: Iterable[int] | None = None) -> np.ndarray:
        """(K, J, I) bool: True on every voxel that a person has decided, for all structures, or for `values`."""
        mask, unknown = self.supervised_mask(), self.unknown_structures()
        if unknown is not None:
            mask &= ~unknown.of_any(self.names if values is None else values)
        return mask

    def with_more_names(self, names: Mapping[int, str]) -> SparseAnnotation:
        """The annotation with names of further structures, which are unknown on all of its slices.

        Values that are drawn, with or without a name, keep their meaning.
        """
        more = {value: name for value, name in names.items() if value not in self.names}
        if not more or not self.names:
            return self
        shown = self.label_values()
        more = {value: name for value, name in more.items() if value not in shown}
        known = tuple(self.names.values())
        entries = (replace(e, structures=known if e.structures is None else e.structures) for e in self.ledger.entries)
        return replace(self, ledger=replace(self.ledger, entries=tuple(entries)), names={**self.names, **more})

    def is_decided_somewhere(self, value: int) -> bool:
        """True when some drawn slice says where a structure is, or that it is not there."""
        if self.names and value not in self.names:
            return value in self.label_values()
        silent = self.silent_on(value)
        return any(entry.key not in silent for entry in self.ledger.decided)

    def structure_groups(self, also: Iterable[int] = ()) -> StructureGroups:
        """The labels that occur, grouped by the slices that decide them, each group with the annotation for it.

        That annotation has only the slices that decide the group, and of other structures only those that are known on
        all of these. Where all slices decide everything that occurs there is one group, with this annotation.

        Args:
            also: further labels to group, of structures that are decided on some slice but occur on none.
        """
        values = sorted({*self.label_values(), *also})
        groups: dict[frozenset[tuple[Plane, int]], list[int]] = {}
        for value in values:
            groups.setdefault(self.silent_on(value), []).append(value)
        if not groups or set(groups) == {frozenset()}:
            groups = {frozenset(): values}
        return StructureGroups(self, groups)

    def deciding(self, value: int) -> SparseAnnotation:
        """The annotation with only the slices that decide a structure."""
        silent = self.silent_on(value)
        return self.without_slices(silent) if silent else self

    def without_slices(self, without: frozenset[tuple[Plane, int]]) -> SparseAnnotation:
        """The annotation of only the other slices, with the labels of structures that are known on all of these."""
        kept = (entry for entry in self.ledger.entries if entry.key not in without)
        ledger = Ledger(tuple(replace(entry, structures=None) for entry in kept))
        doubtful = {value for key, unknown in self._unknown.items() if key not in without for value in unknown}
        labels = self.labels
        if doubtful.intersection(self.label_values()):
            # Only what is drawn is written, so that a stack of slices takes no memory of the size of the volume.
            labels = np.zeros(labels.shape, labels.dtype)
            for layer in self.drawn_layers():
                drawn = self.labels[layer]
                labels[layer] = np.where(np.isin(drawn, list(doubtful)), 0, drawn)
        return replace(self, labels=labels, ledger=ledger)

    def drawn_labels(self) -> np.ndarray:
        """(K, J, I) labels, set to 0 outside the drawn slices."""
        drawn = np.zeros(self.labels.shape, self.labels.dtype)  # 'zeros_like' would write every voxel
        self.restore_drawn(drawn)
        return drawn

    def restore_drawn(self, labels: np.ndarray) -> None:
        """Copy the drawn slices into another label array, in place, except for undecided voxels; and the corrections.

        Labels of structures that are unknown on a slice stay where the slice shows nothing.
        """
        for _step in self.restoring_drawn(labels):
            pass

    def restoring_drawn(self, labels: np.ndarray) -> Iterator[None]:
        """`restore_drawn` in pieces: yields after each slice."""
        if (
            labels.dtype.itemsize < self.labels.dtype.itemsize
            and max(self.label_values(), default=0) > np.iinfo(labels.dtype).max
        ):
            raise ValueError(f"labels of {labels.dtype} cannot hold the drawn labels")
        plane_of = {plane.array_axis(self.geometry): plane for plane in Plane}
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                layer = slice_layer(axis, index)
                decided = True if self.undecided is None else ~self.undecided[layer]
                unknown = self.unknown_on(plane_of[axis], index)
                if unknown:
                    decided = decided & ((self.labels[layer] > 0) | ~np.isin(labels[layer], unknown))
                np.copyto(labels[layer], self.labels[layer], where=decided, casting="unsafe")
                yield
        if self.corrections is not None:
            self.corrections.restore(labels)

    def known_in(self, region: tuple[slice, slice, slice], value: int | None = None) -> np.ndarray:
        """bool in a region of the volume: True where a drawn slice or a correction says which label a voxel has.

        `value`: True where it is decided whether a voxel has this label.
        """
        plane_of = {plane.array_axis(self.geometry): plane for plane in Plane}
        known = np.zeros(tuple(part.stop - part.start for part in region), dtype=bool)
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                if region[axis].start <= index < region[axis].stop:
                    layer = slice_layer(axis, index - region[axis].start)
                    unknown = self.unknown_on(plane_of[axis], index)
                    is_silent = value in unknown if value is not None else bool(unknown)
                    known[layer] |= self.labels[region][layer] > 0 if is_silent else True
        if self.undecided is not None:
            known &= ~self.undecided[region]
        known[within(region, self._corrected, self.geometry.shape)] = True
        return known

    def restore_known(self, labels: np.ndarray, confidence: np.ndarray, region: tuple[slice, slice, slice]) -> None:
        """Make labels and confidence agree with what is known in a region, both (K, J, I) and changed in place."""
        self.restore_drawn(labels)
        confidence[region][within(region, self._corrected, self.geometry.shape)] = 100

    def label_values(self) -> list[int]:
        """Sorted labels other than 0 that occur on drawn slices or in corrections."""
        return result_of(self.finding_label_values())

    def finding_label_values(self) -> Generator[None, None, list[int]]:
        """`label_values` in pieces: yields after each slice."""
        found: set[int] = set(self.labels[np.unravel_index(self._corrected, self.labels.shape)].tolist())
        for layer in self.drawn_layers():
            found.update(values_in(self.labels[layer]))
            yield
        return sorted(found - {0})

    def density(self) -> float:
        """Share of the volume that is drawn; for one plane this is drawn slices / all slices."""
        share = 1.0
        for axis, indices in self.drawn_by_axis().items():
            share *= 1.0 - len(indices) / self.geometry.shape[axis]
        return 1.0 - share

    def require_drawn(self, volume_name: str) -> None:
        """Raise BadInputError when no slice of the volume has been drawn."""
        if not self.drawn_by_axis():
            raise BadInputError(
                _(
                    "No slice of '{volume_name}' has been drawn yet. Draw at least one slice (or mark one as "
                    "empty), mark it as drawn, and try again."
                ).format(volume_name=volume_name)
            )

    def require_labels(self, volume_name: str) -> None:
        """Raise BadInputError when slices are drawn but every one of them is empty."""
        self.require_drawn(volume_name)
        if not self.label_values():
            raise BadInputError(
                _(
                    "All drawn slices of '{volume_name}' are empty: there is no structure to fill. Draw the structure "
                    "on at least one slice."
                ).format(volume_name=volume_name)
            )

    def fingerprint(self) -> str:
        """Short text that changes when a drawn slice, its labels, undecided voxels or decided structures change."""
        digest = hashlib.sha1()
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                digest.update(f"{axis}:{index}:".encode())
                digest.update(np.ascontiguousarray(self.labels[slice_layer(axis, index)], dtype=np.uint16).tobytes())
        if self.undecided is not None:
            digest.update(np.packbits(self.undecided).tobytes())
        # What a slice decides, not what is unknown on it: that grows with every structure that is added anywhere.
        for entry in sorted(self.ledger.decided, key=lambda entry: entry.key) if self.names else ():
            if entry.structures is not None:
                decided = sorted(value for value, name in self.names.items() if name in entry.structures)
                digest.update(f"{entry.plane.array_axis(self.geometry)}:{entry.index}:decides:{decided}".encode())
        if self.corrections is not None:
            digest.update(self.corrections.fingerprint().encode())
        return digest.hexdigest()[:16]

    def _check_undecided(self) -> None:
        if self.undecided is None:
            return
        if self.undecided.shape != self.geometry.shape:
            raise BadInputError(
                _("The undecided voxels have shape {shape}, but the volume has shape {volume_shape}.").format(
                    shape=self.undecided.shape, volume_shape=self.geometry.shape
                )
            )
        # Slice by slice, so that next to nothing is written of a stack of slices.
        undecided, labels, is_any = np.zeros(self.geometry.shape, dtype=bool), self.labels, False
        for plane in Plane:
            for index in self.ledger.indices(plane):
                layer = slice_layer(plane.array_axis(self.geometry), index)
                here = undecided[layer] = self.undecided[layer].astype(bool)
                is_any |= bool(here.any())
                if labels[layer][here].any():
                    labels = labels.copy() if labels is self.labels else labels
                    labels[layer][here] = 0
        object.__setattr__(self, "undecided", undecided if is_any else None)
        object.__setattr__(self, "labels", labels)

    def _drop_drawn_corrections(self, may_share: bool = True) -> None:
        """Leave out what corrections say of voxels that a drawn slice decides.

        `may_share`: False where another annotation may change labels that this one does not own.
        """
        if self.corrections is None:
            return
        if self.corrections.shape != self.geometry.shape:
            raise BadInputError(
                _("The corrections have shape {shape}, but the volume has shape {volume_shape}.").format(
                    shape=self.corrections.shape, volume_shape=self.geometry.shape
                )
            )
        kept = self.corrections.kept(lambda stroke: ~self._is_drawn(stroke))
        object.__setattr__(self, "corrections", kept if kept else None)
        if not kept:
            return
        known, values = kept.decided(self.names)
        object.__setattr__(self, "_corrected", known)
        dtype = np.uint16 if max(values.tolist(), default=0) > np.iinfo(self.labels.dtype).max else self.labels.dtype
        if may_share and self._enter(known, values):
            return
        # Only what counts: a copy of a large volume for each stroke would take long.
        labels = np.zeros(self.labels.shape, dtype)
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                labels[slice_layer(axis, index)] = self.labels[slice_layer(axis, index)]
        labels.reshape(-1)[known] = values
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "_owns_labels", True)
        object.__setattr__(self, "_entered", known)

    def with_stroke(self, stroke: Stroke) -> SparseAnnotation:
        """With one more correction. The labels are shared, unless the correction changes what is known already, or
        another annotation that shares them may change them.

        So annotations that `replace` has made of this one must have no drawn slices that this one lacks.
        """
        corrections = (self.corrections or Corrections(self.geometry.shape)).with_stroke(stroke)
        after = replace(self, corrections=None)
        object.__setattr__(after, "_owns_labels", self._owns_labels)
        object.__setattr__(after, "_entered", self._entered)
        object.__setattr__(after, "corrections", corrections)
        after._drop_drawn_corrections(may_share=self._owns_labels)
        if after.labels is self.labels:
            object.__setattr__(self, "_owns_labels", False)  # from now on, only the new one enters anything
        return after

    def _enter(self, voxels: np.ndarray, values: np.ndarray) -> bool:
        """Make labels show values, if nobody notices; False if they need a copy.

        Args:
            voxels: (n,) sorted places in the flattened array. values: (n,) the labels there.
        """
        places = np.unravel_index(voxels, self.labels.shape)
        is_other = self.labels[places] != values
        if is_other.any():
            if not self._owns_labels or int(values.max()) > np.iinfo(self.labels.dtype).max:
                return False
            is_read = np.isin(voxels, self._entered, assume_unique=True)
            for axis, indices in self.drawn_by_axis().items():
                is_read |= np.isin(places[axis], indices)
            if (is_read & is_other).any():
                return False
            self.labels[places] = values
        if self._owns_labels:
            object.__setattr__(self, "_entered", np.union1d(self._entered, voxels))
        return True

    def _is_drawn(self, stroke: Stroke) -> np.ndarray:
        """(n,) bool: which voxels of a stroke a drawn slice decides, for its structure or by showing another one."""
        places = np.unravel_index(stroke.voxels, self.geometry.shape)
        on_slices, drawn = np.zeros((2, len(stroke.voxels)), dtype=bool)
        silent = self.silent_on(stroke.value)
        for plane in Plane:
            axis, indices = plane.array_axis(self.geometry), self._drawn_indices(plane)
            on_slices |= np.isin(places[axis], indices)
            drawn |= np.isin(places[axis], [index for index in indices if (plane, index) not in silent])
        drawn |= on_slices & (self.labels[places] > 0)
        if self.undecided is not None:
            drawn &= ~self.undecided[places]
        return drawn

    def _note_unknown(self) -> None:
        by_name = {name: value for value, name in self.names.items()}
        found: dict[tuple[str, ...], tuple[int, ...]] = {}
        for entry in self.ledger.decided:
            if entry.structures is None or not by_name:
                continue
            if entry.structures not in found:
                decided = set(entry.structures)
                found[entry.structures] = tuple(sorted(v for name, v in by_name.items() if name not in decided))
            if found[entry.structures]:
                self._unknown[entry.key] = found[entry.structures]

    def _read_unknown_labels_as_zero(self) -> None:
        """What is painted of a structure on a slice that does not speak for it means nothing, except on a crossing."""
        labels = self.labels
        for (plane, index), unknown in self._unknown.items():
            layer = slice_layer(plane.array_axis(self.geometry), index)
            painted = np.isin(self.labels[layer], unknown)
            if not painted.any():
                continue
            for value in np.unique(self.labels[layer][painted]).tolist():
                wrong = (self.labels[layer] == value) & ~self._decided_across(plane, index, value)
                if wrong.any():
                    labels = labels.copy() if labels is self.labels else labels
                    labels[layer][wrong] = 0
        object.__setattr__(self, "labels", labels)

    def _decided_across(self, plane: Plane, index: int, value: int) -> np.ndarray:
        """(rows, columns) bool: where slices of other planes that decide a label cross a slice."""
        axis = plane.array_axis(self.geometry)
        crossed = np.zeros([n for a, n in enumerate(self.geometry.shape) if a != axis], dtype=bool)
        for other in Plane:
            if other is plane:
                continue
            across = other.array_axis(self.geometry)
            deciding = [i for i in self.ledger.indices(other) if value not in self.unknown_on(other, i)]
            np.moveaxis(crossed, across - (across > axis), 0)[deciding] = True
        return crossed
