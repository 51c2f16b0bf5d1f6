"""Colors and codes of structures in a cohort folder, as they were last changed in a segmentation of the scene."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

from .. import scene
from ..core import BadInputError, Cohort, FileWriteError
from ..core.dicom_source import note_codes
from ..core.messages import _, joined
from ..core.structure_colors import note_colors, shown_color

_LOG = logging.getLogger(__name__)
_Looks = set[tuple[str, Hashable]]


class StructureLooks:
    """Writes colors and codes of segments into cohort folders, but not those that a case only has from earlier.

    A segmentation that has been opened from the folder, or written into it, remembers its looks of then: what differs
    now was changed in it, and is newer. Of another one that is not known: what differs from the folder is newer only
    where the folder has its own from this scene, and never had this one.

    Attributes:
        codes_problem: why the codes of structures were not written the last time, as a message; '' if they were.
    """

    def __init__(self) -> None:
        self.codes_problem = ""
        self._colors: dict[Path, _Looks] = {}  # of this scene, by cohort folder
        self._codes: dict[Path, _Looks] = {}

    def note(self, cohort: Cohort, segmentation_node) -> None:
        """Write what is newer. What cannot be written must not keep what is drawn from being written."""
        now, earlier = scene.looks_of(segmentation_node), scene.looks_kept(segmentation_node)
        colors = self._colors.setdefault(cohort.state_folder, set())
        codes = self._codes.setdefault(cohort.state_folder, set())
        self.codes_problem = self._codes_written(cohort, segmentation_node, now.codes, earlier.codes, codes)
        is_written = note_colors(
            cohort,
            scene.colors_of(segmentation_node),
            lambda name, known: _is_newer(name, shown_color(known), now.colors, earlier.colors, colors),
        )
        # Each has a file of its own: what has been written of one is not written again because of the other.
        kept = earlier
        if is_written:
            colors |= {*earlier.colors.items(), *now.colors.items()}
            kept = replace(kept, colors=now.colors)
        if not self.codes_problem:
            codes |= {*earlier.codes.items(), *now.codes.items()}
            kept = replace(kept, codes=now.codes)
        scene.keep_looks(segmentation_node, kept)

    def _codes_written(
        self, cohort: Cohort, segmentation_node, now: Mapping[str, str], earlier: Mapping[str, str], seen: _Looks
    ) -> str:
        """Write the codes that are newer; returns why that was not possible, as a message."""
        problem = ""
        try:
            note_codes(
                cohort,
                scene.codes_of(segmentation_node),
                lambda name, known: _is_newer(name, known.for_slicer(), now, earlier, seen),
            )
        except BadInputError as error:
            what = _("Drawings are stored, but not the codes of the structures, until you restore or delete a file.")
            problem = joined(" ", [what, error.message])
        except FileWriteError as error:
            what = _("Drawings are stored, but not the codes of the structures.")
            problem = joined(" ", [what, error.message])
        if problem and problem != self.codes_problem:
            _LOG.warning(problem)
        return problem


def _is_newer(
    name: str, known: Hashable, now: Mapping[str, Hashable], earlier: Mapping[str, Hashable], seen: _Looks
) -> bool:
    """Whether the look of a structure replaces the known one; see `StructureLooks`."""
    if name in earlier:
        return now[name] != earlier[name]
    return (name, known) in seen and (name, now[name]) not in seen
