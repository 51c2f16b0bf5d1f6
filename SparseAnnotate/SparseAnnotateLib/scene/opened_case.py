"""Which case of a cohort folder a volume was opened from, and the state of the folder it agrees with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import slicer

from ..core import BadInputError, Cohort, Ledger
from ..core.case_state import CaseState, with_changes_elsewhere
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .image_checksum import image_checksum
from .volume_nodes import geometry_of

_ATTRIBUTE = "SparseAnnotate.OpenedCase"
_SELF_ROLE = "SparseAnnotate.OpenedVolume"


@dataclass(frozen=True)
class OpenedCase:
    """A case that is drawn on in Slicer.

    Attributes:
        folder: the cohort folder. case: its name there. image: a checksum of its voxels.
        agreed: the state of the files of the folder when they were last read or written here.
    """

    folder: str
    case: str
    image: str
    agreed: CaseState


def opened_case(volume_node) -> OpenedCase | None:
    """The case that a volume was opened from; None for another volume, and for a clone of one that was opened."""
    text = volume_node.GetAttribute(_ATTRIBUTE)
    # Cloning copies attributes and references.
    if not text or volume_node.GetNodeReferenceID(_SELF_ROLE) != volume_node.GetID():
        return None
    return _parsed(text, volume_node.GetName())


def opened_volumes(folder: str) -> dict[str, Any]:
    """The volumes of the scene that were opened from a cohort folder, by the names of their cases."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    found = [(node, opened_case(node)) for node in nodes if node.GetAttribute(_ATTRIBUTE)]
    return {opened.case: node for node, opened in found if opened is not None and opened.folder == folder}


def note_opened(volume_node, cohort: Cohort, case: str) -> None:
    """Store that a volume has just been opened from a case of a cohort."""
    opened = OpenedCase(str(cohort.folder), case, image_checksum(volume_node), CaseState.of(cohort, case))
    volume_node.SetAttribute(_ATTRIBUTE, to_text(opened))
    volume_node.SetNodeReferenceID(_SELF_ROLE, volume_node.GetID())


def note_agreement(volume_node, cohort: Cohort) -> None:
    """Store that the folder now says of a case what the scene says."""
    opened = opened_case(volume_node)
    if opened is not None:
        opened = replace(opened, agreed=CaseState.of(cohort, opened.case))
        volume_node.SetAttribute(_ATTRIBUTE, to_text(opened))


def require_same_image(volume_node, opened: OpenedCase, cohort: Cohort) -> None:
    """Raise BadInputError when a volume is not the image that was opened, or the folder is another cohort."""
    name = volume_node.GetName()
    if opened.folder != str(cohort.folder):
        raise BadInputError(
            _(
                "The volume '{volume}' belongs to the cohort in '{folder}', not to the one in '{other}'. Choose that "
                "cohort folder, or work on a clone of the volume, which is a case of its own."
            ).format(volume=name, folder=opened.folder, other=cohort.folder)
        )
    difference = geometry_of(volume_node).difference_from(cohort.geometry(opened.case))
    if difference is None and image_checksum(volume_node) == opened.image:
        return
    raise BadInputError(
        _(
            "The volume '{volume}' is no longer the image of the case '{case}' in '{folder}', so nothing drawn on it "
            "was written there. Open the case again; to work on the changed image, clone the volume, which is then a "
            "case of its own."
        ).format(volume=name, case=opened.case, folder=opened.folder)
    )


def agreed_ledger(own: Ledger, opened: OpenedCase, cohort: Cohort) -> Ledger:
    """Our ledger with what others have recommended since; see `with_changes_elsewhere`."""
    return with_changes_elsewhere(opened.case, own, opened.agreed, cohort)


@lru_cache(maxsize=4096)
def _parsed(text: str, name: str) -> OpenedCase:
    """Cached, because it is needed for each of hundreds of volumes with every click."""
    return parse_json(text, OpenedCase, _("the case of '{volume}'").format(volume=name))
