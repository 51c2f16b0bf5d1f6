"""The ledger inside the scene: an attribute of the segmentation node, so that it is saved and copied with it."""

from __future__ import annotations

from ..core import BadInputError, Ledger
from ..core.strict_json import parse_json, to_text

_ATTRIBUTE = "SparseAnnotate.Ledger"


def stored_ledger(segmentation_node) -> Ledger:
    """The segmentation's ledger; an empty one when none is stored. Raises BadInputError when it is damaged."""
    text = segmentation_node.GetAttribute(_ATTRIBUTE)
    if not text:
        return Ledger()
    return parse_json(text, Ledger, f"the ledger stored in the segmentation '{segmentation_node.GetName()}'")


def store_ledger(segmentation_node, ledger: Ledger) -> None:
    """Store the ledger in the segmentation node. Raises BadInputError when there is no node."""
    if segmentation_node is None:
        raise BadInputError("No segmentation is selected, so there is no place to keep the ledger. Create one first.")
    segmentation_node.SetAttribute(_ATTRIBUTE, to_text(ledger))
