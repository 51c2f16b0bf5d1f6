"""What a volume is, such as CT: as a user has said, or as Slicer's DICOM module has noted it."""

from __future__ import annotations

import slicer

from ..core.modalities import check_modalities, is_modality

_ATTRIBUTE = "SparseAnnotate.Modality"
_DICOM_ATTRIBUTE = "DICOM.Modality"  # of the item in the subject hierarchy


def modality_of(volume_node, said: str | None = None) -> str:
    """The modality of a volume as DICOM abbreviates it; '' when it is not known.

    Args:
        said: what a user says that it is, '' for nothing; by default what was stored.
    """
    said = volume_node.GetAttribute(_ATTRIBUTE) if said is None else said.strip().upper()
    if said:
        return str(said)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    text = ""
    if tree is not None:
        item = tree.GetItemByDataNode(volume_node)
        while item and item != tree.GetSceneItemID() and not text:
            text = (tree.GetItemAttribute(item, _DICOM_ATTRIBUTE) or "").strip().upper()
            item = tree.GetItemParent(item)
    return text if is_modality(text) else ""


def store_modality(volume_node, modality: str) -> None:
    """Say what a volume is; '': as Slicer's DICOM module has noted it. Raises BadInputError for no abbreviation."""
    found = check_modalities({"": modality}, ()) if modality.strip() else {}
    volume_node.SetAttribute(_ATTRIBUTE, found.get(""))
