"""What work in pieces on a result depends on: whether that has changed between two pieces."""

from __future__ import annotations

from .. import scene


def result_stamp(volume_node, result_node) -> tuple:
    """A value that changes whenever something changes in a result, its volume, or the drawing; () when one is gone."""
    if volume_node.GetScene() is None or result_node.GetScene() is None:
        return ()
    segmentation = scene.annotated_segmentation(volume_node)
    shown = [
        (scene.voxel_stamp(node), scene.structure_names(node), scene.grid_of(node, volume_node))
        for node in (segmentation, result_node)
        if node is not None
    ]
    known: tuple = ()
    if segmentation is not None:
        known = (
            segmentation.GetID(),
            scene.stored_ledger(segmentation, volume_node),
            scene.corrections_mark(segmentation),
            scene.undecided_mark(segmentation),
        )
    return shown, known, scene.image_stamp(volume_node)
