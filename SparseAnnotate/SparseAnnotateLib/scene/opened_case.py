"""Which case of a cohort folder a volume was opened from, and the state of the folder it agrees with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import slicer

from ..core import BadInputError, Cohort, Ledger, SparseAnnotateError, VolumeGeometry
from ..core.case_state import CaseState
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .channel_references import channels_checksum, further_channels
from .sequence_frames import frame_of
from .volume_nodes import geometry_of, vtk_matrix

_ATTRIBUTE = "SparseAnnotate.OpenedCase"
_SELF_ROLE = "SparseAnnotate.OpenedVolume"
_DRAWING_ROLE = "SparseAnnotate.OpenedDrawing"


# In Python's part of a node, with its ID: while a volume shows a frame of a sequence, it has the frame's attributes.
# VTK keeps that part as long as the node lives. A table that an observer of the node's deletion cleans up would not do:
# Python's garbage collector may have cleared the observer when it is called, and then the process ends.
_KEPT = "_sparse_annotate_opened_case"


@dataclass(frozen=True)
class OpenedCase:
    """A case that is drawn on in Slicer.

    Attributes:
        folder: the cohort folder. case: its name there.
        image: a checksum of its voxels. file: the fingerprint of its image file.
        agreed: the state of the files of the folder when they were last read or written here.
        structures: segment ID of each structure that the case had when it was opened, and its label value.
        voxels: the fingerprint of the voxels in its image file, by which one that was saved again is known; '' when it
            is not known.
    """

    folder: str
    case: str
    image: str
    file: str
    agreed: CaseState
    structures: dict[str, int]
    voxels: str = ""


def opened_case(volume_node) -> OpenedCase | None:
    """The case that a volume was opened from; None for another volume, and for a clone of one that was opened."""
    identifier, own = getattr(volume_node, _KEPT, (None, None))
    if own is not None and identifier == volume_node.GetID():
        return own
    text = volume_node.GetAttribute(_ATTRIBUTE)
    # Cloning copies attributes and references.
    if not text or volume_node.GetNodeReferenceID(_SELF_ROLE) != volume_node.GetID():
        return None
    return _parsed(text, volume_node.GetName())


def opened_volumes(folder: str | None = None) -> dict[str, Any]:
    """The volumes of the scene that were opened from a cohort folder, or from any, by node ID."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    found = [(node, opened_case(node)) for node in nodes]
    wanted = os.path.realpath(folder) if folder is not None else None
    return {node.GetID(): node for node, opened in found if opened is not None and wanted in (None, opened.folder)}


def unnamed_values(volume_node, cohort: Cohort) -> dict[str, int]:
    """The values of an opened volume's labels that have no name in the cohort, by what they are shown as."""
    opened = opened_case(volume_node)
    values = opened.structures.values() if opened is not None else ()
    return {str(value): value for value in values if value and value not in cohort.labels}


def drawing_of_opened(volume_node):
    """The segmentation that an opened volume was opened with; None when it has been removed."""
    return volume_node.GetNodeReference(_DRAWING_ROLE)


def note_opened(volume_node, drawing, opened: OpenedCase) -> None:
    """Store that a volume was opened from a case, with the segmentation to draw in."""
    _store(volume_node, opened)
    volume_node.SetNodeReferenceID(_SELF_ROLE, volume_node.GetID())
    volume_node.SetNodeReferenceID(_DRAWING_ROLE, drawing.GetID())


def _store(volume_node, opened: OpenedCase) -> None:
    setattr(volume_node, _KEPT, (volume_node.GetID(), opened))
    volume_node.SetAttribute(_ATTRIBUTE, to_text(opened))


def frame_problem(volume_node) -> str | None:
    """Why an opened volume is not its case, when it shows a frame of a sequence; None if it does not."""
    opened, frame = opened_case(volume_node), frame_of(volume_node)
    if opened is None or frame is None:
        return None
    return _(
        "The volume '{volume}' of the case '{case}' now shows the {frame}. Each frame is a case of its own, so nothing "
        "drawn on it is written into '{folder}'. Take the volume out of the sequence browser to go on with the case; "
        "to draw on frames, add them to the cohort as images."
    ).format(volume=volume_node.GetName(), case=opened.case, frame=str(frame), folder=opened.folder)


def note_agreement(volume_node, drawing, cohort: Cohort, structures: Mapping[str, int]) -> None:
    """Store that the folder now says of a case what the scene says in this segmentation."""
    opened = opened_case(volume_node)
    if opened is not None:
        agreed = CaseState.of(cohort, opened.case)
        known = {**opened.structures, **structures}
        note_opened(volume_node, drawing, replace(opened, agreed=agreed, structures=known))


def note_added_channels(volume_node, cohort: Cohort, before: Sequence[str]) -> None:
    """Store that the further channels of an opened volume are now those of its case in the folder.

    Nothing is stored where an image file was replaced meanwhile: then nothing that is drawn is written either.

    Args:
        before: the further channels that it had when `require_same_image` was called, just before the others were
            added.
    """
    opened = opened_case(volume_node)
    if opened is not None:
        file = cohort.image_fingerprint(opened.case)
        if _has_file(opened, cohort, before):
            voxels = cohort.voxel_fingerprint(opened.case, read=False)
            _store(volume_node, replace(opened, image=channels_checksum(volume_node), file=file, voxels=voxels))


def _has_file(opened: OpenedCase, cohort: Cohort, further: Sequence[str] | None = None) -> bool:
    """Whether the image files of a case are those that were opened, or were only saved again.

    `further`: of the first channel and these only.
    """
    channels = None if further is None else [*list(cohort.channel_paths(opened.case))[:1], *further]
    # Whether the volume has the grid of its file is seen by itself.
    return cohort.is_image_of(opened.case, opened.file, opened.voxels, None, channels)


def require_folder_of(volume_node, folder: str | os.PathLike[str]) -> None:
    """Raise BadInputError when a volume was opened from another cohort folder."""
    opened = opened_case(volume_node)
    if opened is not None and opened.folder != os.path.realpath(folder):
        raise BadInputError(
            _("The volume '{volume}' belongs to the cohort in '{folder}'. Choose that cohort folder.").format(
                volume=volume_node.GetName(), folder=opened.folder
            )
        )


def _is_stored_as(volume_node, geometry: VolumeGeometry) -> bool:
    """Whether a volume and its further channels have a grid, or the same voxels in another order, which is changed."""
    turned = []
    nodes = (volume_node, *further_channels(volume_node).values())
    for node in nodes:
        if geometry_of(node).difference_from(geometry) is None:
            continue
        array = geometry.with_same_voxels(slicer.util.arrayFromVolume(node), geometry_of(node))
        if array is None:
            return False
        turned.append((node, np.ascontiguousarray(array)))
    for node, array in turned:
        was_modifying = node.StartModify()
        node.SetIJKToRASMatrix(vtk_matrix(geometry.matrix))
        slicer.util.updateVolumeFromArray(node, array)
        node.EndModify(was_modifying)
    return all(geometry_of(node).difference_from(geometry) is None for node in nodes)


def require_same_image(volume_node, opened: OpenedCase, cohort: Cohort) -> None:
    """Raise BadInputError when a volume is not the image that was opened, or its file was replaced, or has channels
    in the folder that the volume does not have.

    A volume that Slicer has stored in another orientation gets that of its file back, in which slices have the same
    numbers as in the folder: when a scene is opened, Slicer turns left-handed images round.
    """
    facts = {"volume": volume_node.GetName(), "case": opened.case, "folder": opened.folder}
    file = cohort.image_fingerprint(opened.case)
    if not _has_file(opened, cohort):
        further = further_channels(volume_node)
        added = [channel for channel in list(cohort.channel_paths(opened.case))[1:] if channel not in further]
        if added and _has_file(opened, cohort, list(further)):
            text = _(
                "The case '{case}' in '{folder}' has got a new channel since it was opened here ({channels}), so "
                "nothing drawn on '{volume}' was written there. What was marked before is there. Remove the volume "
                "from the scene and open the case again."
            )
        else:
            text = _(
                "The image file of the case '{case}' in '{folder}' was replaced since it was opened here, so nothing "
                "drawn on '{volume}' was written there. It is still in this scene."
            )
        raise BadInputError(text.format(channels=", ".join(added), **facts))
    if channels_checksum(volume_node) != opened.image:
        raise BadInputError(
            _(
                "The volume '{volume}' is no longer the image of the case '{case}' in '{folder}', so nothing drawn on "
                "it was written there. Open the case again; to work on the changed image, clone the volume, which is "
                "then a case of its own."
            ).format(**facts)
        )
    if file != opened.file:
        _store(volume_node, replace(opened, file=file))  # so that its voxels are not compared again
    if not _is_stored_as(volume_node, cohort.geometry(opened.case)):
        raise BadInputError(
            _(
                "The volume '{volume}' was moved, or has got another grid, so its slices are not those in '{folder}' "
                "and nothing was written there. What was marked before is there. Remove the volume from the scene and "
                "open the case '{case}' again."
            ).format(**facts)
        )


def require_images_drawn_on(volume_nodes: Iterable) -> None:
    """Raise BadInputError when volumes were opened from cases whose images are not those that were drawn on."""
    cases: dict[str, list[str]] = {}
    for node in volume_nodes:
        opened = opened_case(node)
        # A scene may have come here without the cohort folder.
        if opened is not None and os.path.isdir(opened.folder):
            cases.setdefault(opened.folder, []).append(opened.case)
    for folder, names in cases.items():
        Cohort.open(folder).require_images_drawn_on(names)


def image_not_drawn_on(volume_node) -> SparseAnnotateError | None:
    """The error of `require_images_drawn_on` for one volume; None when it has none."""
    try:
        require_images_drawn_on([volume_node])
    except SparseAnnotateError as error:
        return error
    return None


def require_all_structures(
    volume_node, opened: OpenedCase, names: Mapping[str, str], cohort: Cohort, own: Ledger
) -> None:
    """Raise BadInputError when what is drawn would take away structures or slices that the folder has.

    Args:
        names: segment ID to name, of the segmentation that is drawn in. own: its ledger.
    """
    has_knowledge = bool(cohort.ledger(opened.case).decided or cohort.corrections(opened.case))
    for identifier, value in opened.structures.items():
        if not value:
            continue
        name = cohort.labels.get(value, str(value))
        if identifier in names and names[identifier] == name:
            continue
        if identifier not in names and name in names.values():
            continue  # another segmentation, with the same structures
        shown = names.get(identifier)
        if shown is None and not has_knowledge:
            continue
        if shown is None:
            text = _(
                "The segment '{name}' was removed, but drawn slices or corrections of the case '{case}' may speak for "
                "this structure, so nothing was written to '{folder}'. Undo the removal, or add a segment of this name."
            )
        else:
            text = _(
                "The segment '{shown}' of '{volume}' is the structure '{name}' of the cohort, so nothing was written "
                "to '{folder}'. Give the segment that name again, or open the case again if the structure was renamed "
                "in the cohort."
            )
        raise BadInputError(
            text.format(shown=shown, name=name, case=opened.case, folder=opened.folder, volume=volume_node.GetName())
        )
    drawing = drawing_of_opened(volume_node)
    is_another = drawing is None or volume_node.GetNodeReference("SparseAnnotate.Segmentation") is not drawing
    withdrawn = [e for e in cohort.ledger(opened.case).decided if not own.is_decided(e.plane, e.index)]
    if is_another and withdrawn:
        raise BadInputError(
            _(
                "'{volume}' is drawn on in another segmentation than the one it was opened with, and slices that are "
                "drawn in '{folder}' are not marked in it, so nothing was written there. Choose the segmentation of "
                "before, or mark these slices."
            ).format(volume=volume_node.GetName(), folder=opened.folder)
        )


@lru_cache(maxsize=4096)
def _parsed(text: str, name: str) -> OpenedCase:
    """Cached, because it is needed for each of hundreds of volumes with every click."""
    return parse_json(text, OpenedCase, _("the case of '{volume}'").format(volume=name))
