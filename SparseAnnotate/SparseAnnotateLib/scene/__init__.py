"""Converts between MRML nodes and the core's arrays. Only this package imports Slicer's MRML classes."""

from .annotations import (
    annotated_segmentation,
    annotation_of,
    case_of,
    exporting_case,
    label_values,
    ledger_of,
    position_in_scene,
    use_segmentation,
)
from .confidence import (
    confidence_of,
    hide_confidence,
    hide_orphaned_overlays,
    is_confidence,
    new_confidence,
    showing_confidence,
)
from .confidence_overlay import overlay_in_views
from .figures_table import StoredFigures, figures_of, new_figures_table
from .last_applied import remember_applied
from .ledger_store import marked_slice_count, store_ledger, stored_ledger
from .marking import mark_decided, mark_empty, mark_slice
from .matching import copy_on_volume_grid
from .node_names import watch_names
from .results import (
    FILL,
    ResultOrigin,
    drawn_since,
    exporting_fill,
    made_by,
    origin_now,
    require_current,
    results_of,
    set_made_by,
    show_only_volume,
    store_origin,
    store_report,
    stored_report,
    volume_of,
)
from .sample_data import register_sample_data
from .segment_editing import (
    apply_labels,
    differing_segments,
    editor_for,
    put_slice,
    segment_editor_node,
    slice_masks,
    voxel_stamp,
    watch_segmentation,
)
from .segmentation_nodes import (
    geometry_problem,
    labels_of,
    new_segmentation,
    segment_ids,
    segment_names,
    structure_names,
)
from .segments_alike import add_segments_like
from .slice_markers import hide_markers, place_markers, show_markers
from .slice_views import (
    jump_to_slice,
    show_volume,
    slice_shown,
    slice_view_for,
    volumes_shown,
    watch_layers,
    watch_slice_views,
)
from .starting import Start, record_start, start_masks, whole_slice
from .training_curves import show_curves
from .unmarked_drawings import UnmarkedDrawing, unmarked_drawings
from .volume_nodes import geometry_of, image_of, volumes_of_scene
from .worklist import ReadableWorklist, WorklistItem, readable_worklist, storing_recommended, worklist_item, worklist_of

__all__ = [
    "FILL",
    "ReadableWorklist",
    "ResultOrigin",
    "Start",
    "StoredFigures",
    "UnmarkedDrawing",
    "WorklistItem",
    "add_segments_like",
    "annotated_segmentation",
    "annotation_of",
    "apply_labels",
    "case_of",
    "confidence_of",
    "copy_on_volume_grid",
    "differing_segments",
    "drawn_since",
    "editor_for",
    "exporting_case",
    "exporting_fill",
    "figures_of",
    "geometry_of",
    "geometry_problem",
    "hide_confidence",
    "hide_markers",
    "hide_orphaned_overlays",
    "image_of",
    "is_confidence",
    "jump_to_slice",
    "label_values",
    "labels_of",
    "ledger_of",
    "made_by",
    "mark_decided",
    "mark_empty",
    "mark_slice",
    "marked_slice_count",
    "new_confidence",
    "new_figures_table",
    "new_segmentation",
    "origin_now",
    "overlay_in_views",
    "place_markers",
    "position_in_scene",
    "put_slice",
    "readable_worklist",
    "record_start",
    "register_sample_data",
    "remember_applied",
    "require_current",
    "results_of",
    "segment_editor_node",
    "segment_ids",
    "segment_names",
    "set_made_by",
    "show_curves",
    "show_markers",
    "show_only_volume",
    "show_volume",
    "showing_confidence",
    "slice_masks",
    "slice_shown",
    "slice_view_for",
    "start_masks",
    "store_ledger",
    "store_origin",
    "store_report",
    "stored_ledger",
    "stored_report",
    "storing_recommended",
    "structure_names",
    "unmarked_drawings",
    "use_segmentation",
    "volume_of",
    "volumes_of_scene",
    "volumes_shown",
    "voxel_stamp",
    "watch_layers",
    "watch_names",
    "watch_segmentation",
    "watch_slice_views",
    "whole_slice",
    "worklist_item",
    "worklist_of",
]
