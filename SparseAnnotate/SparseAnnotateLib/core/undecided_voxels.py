"""The file beside a case's annotation that marks the undecided voxels of its drawn slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .atomic_files import why_not_written
from .errors import CohortError, FileWriteError
from .geometry import VolumeGeometry
from .images import read_facts, read_labels
from .messages import _
from .slab_writing import written_in_slabs

_FACT = "undecided voxels"


def undecided_facts(undecided: np.ndarray | None) -> Mapping[str, str]:
    """Facts to keep in the label file, so that a missing file of undecided voxels is noticed."""
    return {} if undecided is None else {_FACT: str(int(np.count_nonzero(undecided)))}


def read_undecided(path: Path, labels_path: Path, geometry: VolumeGeometry) -> np.ndarray | None:
    """(K, J, I) bool, or None when every voxel of the drawn slices has been decided.

    Raises:
        CohortError: when the file is missing although the label file says that there is one. BadInputError: when it
            is damaged or has another grid.
    """
    if path.is_file():
        return read_labels(path, geometry) > 0
    if labels_path.is_file() and _FACT in read_facts(labels_path):
        raise CohortError(
            _(
                "'{labels_path}' has undecided voxels, but the file that marks them, '{path}', is missing. Put it "
                "back, or import the case again."
            ).format(labels_path=labels_path, path=path)
        )
    return None


def writing_undecided(path: Path, undecided: np.ndarray | None, geometry: VolumeGeometry) -> Iterator[float]:
    """Write the undecided voxels, (K, J, I) bool, or remove the file when there are none. Raises FileWriteError."""
    if undecided is not None:
        yield from written_in_slabs(path, undecided, geometry, compress=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileWriteError(why_not_written(path, error)) from error
