"""The nodes that results of fills and models come as, and what is shown of them."""

from __future__ import annotations

import slicer

from .. import scene
from ..core import BadInputError
from .session import Session, Waiting


def new_result(volume_node, segmentation_node, made_by: str, labels, values: dict[str, int], origin):
    """A new segmentation node that shows a result and notes what made it.

    Args:
        segmentation_node: lends segments of the same name their colour and terminology; None: nothing does.
        made_by: `scene.FILL` or the name of a run. labels: (K, J, I) unsigned integers on the volume's grid.
        values: label value of each segment name. origin: what the result was made from, see `scene.origin_now`.

    Raises BadInputError when the volume has gone.
    """
    if volume_node.GetScene() is None:
        raise BadInputError(
            f"The volume '{volume_node.GetName()}' was removed in the meantime; its result is kept in the folder."
        )
    name = slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} {made_by}")
    names = {value: segment for segment, value in values.items()}
    node = scene.new_segmentation(name, labels, names, volume_node, like=segmentation_node)
    scene.set_made_by(node, made_by)
    scene.store_origin(node, origin)
    return node


def origin_of_drawing(volume_node) -> scene.ResultOrigin:
    """What a result that is made from all that is drawn on a volume now is made from."""
    segmentation = scene.annotated_segmentation(volume_node)
    if segmentation is None or not scene.ledger_of(volume_node).decided:
        return scene.origin_now(volume_node, None, {})
    names = {value: name for name, value in scene.label_values(segmentation).items()}
    return scene.origin_now(volume_node, scene.annotation_of(volume_node, segmentation), names)


def latest_result(volume_node, of_run: bool):
    """The newest fill of a volume (or, with `of_run`, a model's newest result) in the scene; None without any."""
    found = [node for node in scene.results_of(volume_node) if (scene.made_by(node) != scene.FILL) == of_run]
    return found[-1] if found else None


def show_confidence(session: Session, result_node, shown: bool, waiting: Waiting) -> None:
    """Show in the slice views where a result is not to be trusted, or take that away.

    Raises BadInputError when the result has no confidence.
    """
    confidence = scene.confidence_of(result_node)
    if confidence is None:
        raise BadInputError(f"'{result_node.GetName()}' has no confidence to show; fill between slices first.")
    if not shown:
        scene.hide_confidence(confidence)
        return
    steps = scene.showing_confidence(confidence)
    # The overlay is there at once, so that it can be taken away; what it shows comes piece by piece.
    next(steps, None)
    session.do(None, steps, lambda _: None, waiting, "confidence")
