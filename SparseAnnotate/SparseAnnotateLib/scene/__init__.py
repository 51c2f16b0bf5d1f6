"""MRML nodes as the core's arrays and facts, and back. The only code that imports Slicer's MRML classes."""

from .annotations import (
    annotated_segmentation,
    annotation_of,
    case_of,
    export_case,
    label_values,
    position_in_scene,
    use_segmentation,
)
from .confidence import confidence_of, is_confidence, new_confidence, show_confidence
from .ledger_store import store_ledger, stored_ledger
from .marking import mark_decided, mark_empty, mark_slice
from .segmentation_nodes import (
    apply_labels,
    editor_for,
    geometry_problem,
    labels_of,
    mend_geometry,
    new_segmentation,
    segment_names,
    voxel_stamp,
)
from .slice_views import jump_to_slice
from .volume_nodes import geometry_of, image_of
from .worklist import WorklistItem, store_recommended, worklist_of

__all__ = [
    "WorklistItem",
    "annotated_segmentation",
    "annotation_of",
    "apply_labels",
    "case_of",
    "confidence_of",
    "editor_for",
    "export_case",
    "geometry_of",
    "geometry_problem",
    "image_of",
    "is_confidence",
    "jump_to_slice",
    "label_values",
    "labels_of",
    "mark_decided",
    "mark_empty",
    "mark_slice",
    "mend_geometry",
    "new_confidence",
    "new_segmentation",
    "position_in_scene",
    "segment_names",
    "show_confidence",
    "store_ledger",
    "store_recommended",
    "stored_ledger",
    "use_segmentation",
    "voxel_stamp",
    "worklist_of",
]
