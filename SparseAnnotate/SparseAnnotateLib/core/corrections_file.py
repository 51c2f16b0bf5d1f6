"""The files with a case's corrections: every stroke as JSON, and a label map of the voxels that are known by them.

What counts is the JSON file. The label map is for looking at in other programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from .atomic_files import why_not_written
from .corrections import Corrections, Stroke
from .errors import CohortError, FileWriteError
from .geometry import VolumeGeometry
from .messages import _
from .slab_writing import written_in_slabs
from .strict_json import read_json, write_json


@dataclass(frozen=True)
class StoredStroke:
    """A stroke as it is stored.

    Attributes:
        structure: name of the structure, or its label where it has no name. is_in, seconds: see `Stroke`.
        spans: 'first+count' of each span of voxels in the flattened (K, J, I) array, separated by spaces.
    """

    structure: str
    is_in: bool
    seconds: float
    spans: str


@dataclass(frozen=True)
class StoredCorrections:
    """All strokes of a case, in the order they were made; shape: (K, J, I) of the volume."""

    shape: tuple[int, int, int]
    strokes: tuple[StoredStroke, ...]
    format: Literal["SparseAnnotate corrections"] = "SparseAnnotate corrections"
    version: Literal[1] = 1


def read_corrections(path: Path, geometry: VolumeGeometry, names: Mapping[int, str]) -> Corrections | None:
    """The corrections of a case; None when there are none.

    Args:
        path: of the JSON file. names: label value to name of the cohort's structures.

    Raises:
        BadInputError: when the file is damaged. CohortError: when it belongs to another grid, or to a structure that
            the cohort does not have.
    """
    if not path.is_file():
        return None
    stored = read_json(path, StoredCorrections)
    if stored.shape != geometry.shape:
        raise CohortError(
            _(
                "The corrections in '{path}' belong to a volume of shape {shape}, but this one has shape "
                "{volume_shape}. Put the right image back, or delete the file."
            ).format(path=path, shape=stored.shape, volume_shape=geometry.shape)
        )
    values = {name: value for value, name in names.items()}
    strokes = []
    for number, one in enumerate(stored.strokes, start=1):
        value = values.get(one.structure)
        if value is None and one.structure.isdecimal():
            value = int(one.structure)
        voxels = voxels_in_spans(one.spans, int(np.prod(stored.shape)))
        if voxels is None:
            raise CohortError(
                _("Correction {number} in '{path}' has spans that are not of the form 'first+count', in order.").format(
                    number=number, path=path
                )
            )
        if value is None:
            raise CohortError(
                _(
                    "Correction {number} in '{path}' is of '{structure}', which the cohort does not have. Add the "
                    "structure again, or delete the correction."
                ).format(number=number, path=path, structure=one.structure)
            )
        strokes.append(Stroke(voxels, value, one.is_in, one.seconds))
    return Corrections(geometry.shape, tuple(strokes)) if strokes else None


def rename_structures(path: Path, renamed: Mapping[str, str]) -> None:
    """Give the structures of a corrections file other names (old to new). Raises BadInputError when it is damaged."""
    if path.is_file():
        stored = read_json(path, StoredCorrections)
        strokes = tuple(replace(s, structure=renamed.get(s.structure, s.structure)) for s in stored.strokes)
        write_json(path, replace(stored, strokes=strokes))


def writing_corrections(
    path: Path, corrections: Corrections | None, geometry: VolumeGeometry, names: Mapping[int, str]
) -> Iterator[float]:
    """Write the corrections step by step, or remove the files when there are none. Raises FileWriteError.

    Yields the share written of the large file, the second of two.
    """
    picture = path.with_suffix(".nrrd")
    if corrections is None:
        for file in (path, picture):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise FileWriteError(why_not_written(file, error)) from error
        return
    strokes = tuple(
        StoredStroke(names.get(s.value, str(s.value)), s.is_in, s.seconds, spans_of(s.voxels))
        for s in corrections.strokes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, StoredCorrections(geometry.shape, strokes))
    yield 0.0
    voxels, values = corrections.inside
    known = np.zeros(geometry.shape, dtype=np.uint16)
    known.reshape(-1)[voxels] = values
    yield from written_in_slabs(picture, known, geometry, compress=True)


def voxels_in_spans(text: str, size: int) -> np.ndarray | None:
    """The opposite of `spans_of`: (n,) int64, sorted; None when the text is not that. `size`: of the whole array."""
    spans = [span.split("+") for span in text.split()]
    if not all(len(span) == 2 and all(part.isdecimal() and len(part) < 19 for part in span) for span in spans):
        return None
    starts, counts = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    if (counts < 1).any() or counts.sum() > size or (starts[1:] < (starts + counts)[:-1]).any():
        return None
    firsts = np.repeat(starts - np.cumsum(counts) + counts, counts)
    voxels: np.ndarray = firsts + np.arange(len(firsts))
    return voxels


def spans_of(voxels: np.ndarray) -> str:
    """'first+count' of each span of sorted voxels, separated by spaces."""
    starts = np.flatnonzero(np.diff(voxels, prepend=-2) != 1)
    counts = np.diff(starts, append=len(voxels))
    return " ".join(f"{first}+{count}" for first, count in zip(voxels[starts], counts, strict=True))
