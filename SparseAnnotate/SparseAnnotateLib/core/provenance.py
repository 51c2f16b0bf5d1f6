"""Where each voxel of a segmentation comes from: drawn, corrected, filled, predicted, or painted and never marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .annotation import SparseAnnotation
from .errors import BadInputError
from .geometry import VolumeGeometry
from .images import read_facts, read_labels, write_image
from .messages import _
from .structure_values import names_as_facts, names_from_facts

NOT_LABELED, DRAWN, CORRECTED, PAINTED = range(4)
FIRST_RESULT = 4
# Written into files, so not translated.
PAINTED_NAME = "painted, not marked"
_KIND, _SOURCES_KIND = "kind", "sources of voxels"
_NAMES = {DRAWN: "drawn", CORRECTED: "corrected", PAINTED: PAINTED_NAME}


def filled_by(method: str) -> str:
    """The name of the source of voxels that a fill has labeled."""
    return f"filled ({method})" if method else "filled"


def predicted_by(run: str) -> str:
    """The name of the source of voxels that a run has labeled."""
    return f"predicted ({run})"


def one_of(sources: Iterable[str]) -> str:
    """The name of the source of voxels that come from one of several, when it is not known from which."""
    return " or ".join(dict.fromkeys(sources))


@dataclass(eq=False)
class Provenance:
    """The source of each voxel.

    Attributes:
        sources: (K, J, I) uint8. NOT_LABELED: background that nobody has drawn; DRAWN: on a drawn slice, background
            too; CORRECTED; PAINTED: labeled by hand on a slice that was never marked; from 4 on: results.
        names: each value that occurs, and its name.

    Example::

        provenance = Provenance.of(annotation)
        provenance.enter("filled (auto)", labels > 0)
        print(provenance.counts())
    """

    sources: np.ndarray
    names: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, annotation: SparseAnnotation) -> Provenance:
        """What a person has decided; the other voxels are NOT_LABELED."""
        sources = annotation.supervised_mask().view(np.uint8)  # DRAWN is 1
        occur = {DRAWN: any((sources[layer] == DRAWN).any() for layer in annotation.drawn_layers())}
        if annotation.corrections is not None:
            corrected = annotation.corrected_mask()
            sources[corrected] = CORRECTED
            occur[CORRECTED] = bool(corrected.any())
        return cls(sources, {value: _NAMES[value] for value, is_there in occur.items() if is_there})

    def enter(
        self, name: str, mask: np.ndarray, region: tuple[slice, ...] = (), known: np.ndarray | None = None
    ) -> None:
        """Enter the source of voxels that no person has decided, and that have no source yet.

        Args:
            name: of the source; 'painted, not marked' for PAINTED. mask: bool, of the shape of the region of the
                volume; without `region`, of the volume.
            known: bool, of the same shape: where a person has decided the structure that these voxels show. On a drawn
                slice that was not marked for it, it comes from somewhere else. None: wherever anything was decided.

        Raises BadInputError for more than 252 results.
        """
        part = self.sources[region] if region else self.sources
        free = mask & (part == NOT_LABELED)
        if known is not None:
            free |= mask & (part == DRAWN) & ~known
        if free.any():
            part[free] = self._value(name)

    @classmethod
    def of_result(
        cls, annotation: SparseAnnotation, name: str, masks: Iterable[tuple[int | None, np.ndarray]]
    ) -> Provenance:
        """The sources of a result's voxels: a person where what they decided is what the result shows, or the result.

        Args:
            name: of the result. masks: label value in the annotation of each structure, None for one that it does not
                have, and the structure's voxels in the result, (K, J, I) bool.

        Raises BadInputError for more than 252 results.
        """
        found, (slices, rows, columns) = cls.of(annotation), annotation.geometry.shape
        whole = (slice(0, slices), slice(0, rows), slice(0, columns))
        for value, mask in masks:
            others = mask
            if value is not None:
                others = mask & ~((annotation.labels == value) & annotation.known_in(whole, value))
            if others.any():
                found.sources[others] = found._value(name)
        return found

    def counts(self) -> dict[str, int]:
        """Number of voxels by the name of their source, the most first."""
        number = np.bincount(self.sources.reshape(-1), minlength=FIRST_RESULT)
        found = {name: int(number[value]) for value, name in self.names.items() if number[value]}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def write(self, path: str | Path, geometry: VolumeGeometry) -> None:
        """Write the sources as a label file (NRRD) with their names. Raises BadInputError or FileWriteError."""
        if Path(path).suffix != ".nrrd":
            raise BadInputError(
                _("Write the sources of voxels to a file that ends with .nrrd, not '{path}'.").format(path=path)
            )
        write_image(path, self.sources, geometry, facts=self.facts)

    @property
    def facts(self) -> dict[str, str]:
        """What a file with the sources says of itself."""
        return {**names_as_facts(self.names), _KIND: _SOURCES_KIND}

    @classmethod
    def read(cls, path: str | Path, geometry: VolumeGeometry) -> Provenance:
        """What `write` has written.

        Raises BadInputError when the file is damaged, has another grid or no names, or holds something else, such as a
        segmentation.
        """
        facts = read_facts(path)
        sources, names = read_labels(path, geometry), names_from_facts(facts)
        if names is not None and not _are_sources(facts, names):
            raise BadInputError(
                _(
                    "'{path}' is a segmentation, not the sources of its voxels. These are in the file beside it that "
                    "ends with '.provenance.nrrd'."
                ).format(path=path)
            )
        if names is None or set(np.unique(sources).tolist()) - {NOT_LABELED, *names}:
            raise BadInputError(_("'{path}' does not name the sources of its voxels.").format(path=path))
        return cls(sources, names)

    def _value(self, name: str) -> int:
        known = {n: value for value, n in {**_NAMES, **self.names}.items()}
        if name not in known:
            value = max(FIRST_RESULT - 1, *known.values()) + 1
            if value > np.iinfo(np.uint8).max:
                raise BadInputError(_("The voxels come from more than 252 results, the most that can be recorded."))
            known[name] = value
        self.names[known[name]] = name
        return known[name]


def _are_sources(facts: Mapping[str, str], names: Mapping[int, str]) -> bool:
    """Whether a file holds sources of voxels; files of earlier versions do not say so, but their names do."""
    kind = facts.get(_KIND)
    return kind == _SOURCES_KIND or (
        kind is None and all(_NAMES.get(value, name) == name for value, name in names.items())
    )
