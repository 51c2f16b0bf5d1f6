"""Sparse annotation: labels that count on drawn slices only, and where every voxel's label came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .errors import BadInputError
from .geometry import VolumeGeometry
from .ledger import Ledger, SliceState
from .messages import _
from .planes import Plane, slice_layer


class Provenance(IntEnum):
    """Where a voxel's label came from."""

    NONE = 0
    DRAWN = 1
    FILLED = 2
    PREDICTED = 3


def on_decided_slices(ledger: Ledger, geometry: VolumeGeometry) -> np.ndarray:
    """(K, J, I) bool: True on every voxel of the slices that are drawn or empty in a ledger."""
    mask = np.zeros(geometry.shape, dtype=bool)
    for plane in Plane:
        for index in ledger.indices(plane):
            mask[slice_layer(plane.array_axis(geometry), index)] = True
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

    Raises:
        BadInputError: when labels and geometry differ in shape, or the ledger names a slice outside the volume.
    """

    labels: np.ndarray
    ledger: Ledger
    geometry: VolumeGeometry
    undecided: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise BadInputError(
                _("The labels have shape {shape}, but the volume has shape {volume_shape}.").format(
                    shape=self.labels.shape, volume_shape=self.geometry.shape
                )
            )
        self.ledger.check_fits(self.geometry, _("The ledger"))
        if self.undecided is None:
            return
        if self.undecided.shape != self.geometry.shape:
            raise BadInputError(
                _("The undecided voxels have shape {shape}, but the volume has shape {volume_shape}.").format(
                    shape=self.undecided.shape, volume_shape=self.geometry.shape
                )
            )
        undecided = self.undecided.astype(bool) & on_decided_slices(self.ledger, self.geometry)
        object.__setattr__(self, "undecided", undecided if undecided.any() else None)
        if undecided.any() and self.labels[undecided].any():
            object.__setattr__(self, "labels", np.where(undecided, 0, self.labels).astype(self.labels.dtype))

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

    def drawn_by_axis(self) -> dict[int, list[int]]:
        """Sorted indices of the decided slices along each array axis that has any."""
        by_axis = {plane.array_axis(self.geometry): self.ledger.indices(plane) for plane in Plane}
        return {axis: indices for axis, indices in sorted(by_axis.items()) if indices}

    def supervised_mask(self) -> np.ndarray:
        """(K, J, I) bool: True on every voxel that a person has decided."""
        mask = on_decided_slices(self.ledger, self.geometry)
        if self.undecided is not None:
            mask &= ~self.undecided
        return mask

    def drawn_labels(self) -> np.ndarray:
        """(K, J, I) labels, set to 0 outside the drawn slices."""
        drawn = np.zeros_like(self.labels)
        self.restore_drawn(drawn)
        return drawn

    def restore_drawn(self, labels: np.ndarray) -> None:
        """Copy the drawn slices into another label array, in place, except for undecided voxels."""
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                layer = slice_layer(axis, index)
                decided = True if self.undecided is None else ~self.undecided[layer]
                np.copyto(labels[layer], self.labels[layer], where=decided, casting="unsafe")

    def label_values(self) -> list[int]:
        """Sorted labels other than 0 that occur on drawn slices."""
        found: set[int] = set()
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                found.update(np.unique(self.labels[slice_layer(axis, index)]).tolist())
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
        """Short text that changes when a drawn slice, its labels or its undecided voxels change."""
        digest = hashlib.sha1()
        for axis, indices in self.drawn_by_axis().items():
            for index in indices:
                digest.update(f"{axis}:{index}:".encode())
                digest.update(np.ascontiguousarray(self.labels[slice_layer(axis, index)], dtype=np.uint16).tobytes())
        if self.undecided is not None:
            digest.update(np.packbits(self.undecided).tobytes())
        return digest.hexdigest()[:16]

    def provenance(self, elsewhere: Provenance) -> np.ndarray:
        """(K, J, I) uint8 of Provenance values: drawn where a person has decided, `elsewhere` on all other voxels."""
        return np.where(self.supervised_mask(), Provenance.DRAWN, elsewhere).astype(np.uint8)
