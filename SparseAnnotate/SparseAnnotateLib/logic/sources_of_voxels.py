"""Where the voxels of a drawing come from: computed, shown, and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import scene
from ..client import Steps
from ..core import Provenance
from ..core.errors import BadInputError
from ..core.images import require_written_ending, write_image
from ..core.messages import _
from ..core.pieces import Piece
from ..core.slab_writing import written_in_slabs
from ..core.slow_imports import importing
from ..core.structure_values import names_as_facts
from .session import Session, Waiting

_PROVENANCE = ".provenance.nrrd"


class SourcesOfVoxels:
    """Computes the provenance of drawings step by step, so that the window stays responsive."""

    def __init__(self, session: Session):
        self._session = session
        self._last: tuple[str, Provenance] | None = None

    def of(self, volume_node, waiting: Waiting):
        """See `ConsoleLogic.provenance`."""
        return self._session.do(None, self.computing(volume_node), lambda found: found, waiting, "provenance")

    def show(self, volume_node, is_shown: bool, waiting: Waiting):
        """See `ConsoleLogic.showProvenance`."""
        if not is_shown:
            scene.hide_provenance()
            return None
        stamp = scene.provenance_stamp(volume_node)

        def finish(found: Provenance):
            if volume_node.GetScene() is None:
                return None
            return scene.show_provenance(volume_node, found, stamp)

        return self._session.do(None, self.computing(volume_node), finish, waiting, "provenance")

    def write(self, volume_node, path: Path, waiting: Waiting):
        """See `ConsoleLogic.writeSegmentation`."""
        require_written_ending(path)
        if scene.annotated_segmentation(volume_node) is None:
            raise BadInputError(
                _("'{volume}' has no segmentation to write. Recommend slices and draw them first.").format(
                    volume=volume_node.GetName()
                )
            )
        return self._session.do(None, self._writing(volume_node, path), lambda beside: beside, waiting, "write")

    def _writing(self, volume_node, path: Path) -> Steps:
        yield from importing("SimpleITK")
        segmentation, geometry = scene.annotated_segmentation(volume_node), scene.geometry_of(volume_node)
        values, beside = scene.label_values(segmentation), provenance_path(path)
        labels = yield from scene.collecting_labels(segmentation, volume_node, values)
        provenance = yield from self.computing(volume_node)
        if labels is None:
            raise BadInputError(
                _("The segmentation of '{volume}' was changed while it was written. Write it again.").format(
                    volume=volume_node.GetName()
                )
            )
        facts = names_as_facts({value: name for name, value in values.items()})
        if path.suffix == ".nrrd":
            yield from _without_share(written_in_slabs(path, labels, geometry, compress=True, facts=facts))
        else:
            yield Piece.NEXT_IS_LONG
            write_image(path, labels, geometry, facts=facts)
        yield from _without_share(
            written_in_slabs(beside, provenance.sources, geometry, compress=True, facts=provenance.facts)
        )
        return beside

    def is_current(self, volume_node) -> bool:
        """Whether what is shown of a volume is up to date; True when nothing is shown."""
        node = scene.shown_provenance(volume_node)
        return node is None or scene.is_current(node, scene.provenance_stamp(volume_node))

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._last = None

    def computing(self, volume_node) -> Steps:
        """The provenance of a drawing, step by step."""
        stamp = f"{volume_node.GetID()}|{scene.provenance_stamp(volume_node)}"
        if self._last is not None and self._last[0] == stamp:
            return self._last[1]
        found = yield from scene.computing_provenance(volume_node)
        # As it is now: it may have been changed, and read once more.
        self._last = (f"{volume_node.GetID()}|{scene.provenance_stamp(volume_node)}", found)
        return found


def _without_share(steps: Iterator[float]) -> Iterator[None]:
    return (None for _share in steps)


def provenance_path(path: Path) -> Path:
    """The file with the sources of voxels beside a file with labels."""
    name = path.name
    for ending in (".nii.gz", ".seg.nrrd", path.suffix):
        if ending and name.endswith(ending):
            return path.with_name(name.removesuffix(ending) + _PROVENANCE)
    return path.with_name(name + _PROVENANCE)


def share_of_each(provenance: Provenance) -> dict[str, float]:
    """Share of the labeled voxels by the name of their source."""
    counts = provenance.counts()
    total = max(1, int(np.sum(list(counts.values()))))
    return {name: count / total for name, count in counts.items()}
