"""The nodes for results of fills and models, and how they are shown."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer

from .. import scene
from ..core import BadInputError
from ..core.messages import _
from .session import Session, Waiting


def showing_result(
    volume_node,
    segmentation_node,
    made_by: str,
    labels: np.ndarray,
    values: dict[str, int],
    origin: scene.ResultOrigin,
    percent: np.ndarray | None = None,
) -> Generator[None, None, Any]:
    """A new segmentation node with a result and a note on what created it: made in pieces, it appears at the end.

    Args:
        segmentation_node: segments of the same name get its colours and terminology; None: default colours.
        made_by: `scene.FILL` or the name of a run. labels: (K, J, I) unsigned integers on the volume's grid.
        values: label value of each segment name. origin: what the result was created from, see `scene.origin_now`.
        percent: (K, J, I) uint8, its confidence; None without any.

    Raises BadInputError if the volume was removed or has got another grid meanwhile.
    """
    names = {value: segment for segment, value in values.items()}
    geometry = scene.geometry_of(volume_node)
    layer = yield from scene.making_layer(labels, names)
    image = (yield from scene.making_image(percent)) if percent is not None else None
    # From here on without a break: all of it appears, or nothing.
    if volume_node.GetScene() is None:
        raise BadInputError(
            _("The volume '{volume}' was removed from the scene; its result is kept in the cohort folder.").format(
                volume=volume_node.GetName()
            )
        )
    if scene.geometry_of(volume_node) != geometry:
        raise BadInputError(
            _(
                "The size or the position of '{volume}' has changed while its result was being shown, so it was not "
                "shown. Fill between slices or run the model again."
            ).format(volume=volume_node.GetName())
        )
    name = slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} {made_by}")
    node = scene.segmentation_of_layer(name, layer, names, volume_node, like=segmentation_node)
    scene.set_made_by(node, made_by)
    scene.store_origin(node, origin)
    if image is not None:
        scene.confidence_of_image(node, volume_node, image)
    return node


def noting_origin(volume_node, origins: dict[str, scene.ResultOrigin]) -> Generator[None, None, None]:
    """Enter the origin of a result that is created from the current drawing of a volume, by its ID; in pieces."""
    segmentation = scene.annotated_segmentation(volume_node)
    annotation = None
    if segmentation is not None and scene.ledger_of(volume_node).decided:
        annotation = yield from scene.reading_annotation(volume_node, segmentation)
    names = annotation.names if annotation is not None else {}
    origins[volume_node.GetID()] = yield from scene.finding_origin(volume_node, annotation, names)


def latest_result(volume_node, of_run: bool | None = None):
    """The latest result of a volume in the scene; None if there is none.

    With `of_run`, the latest one of a model (True), or the latest fill (False).
    """
    found = [node for node in scene.results_of(volume_node) if of_run in (None, scene.made_by(node) != scene.FILL)]
    return found[-1] if found else None


def show_confidence(session: Session, result_node, shown: bool, waiting: Waiting) -> None:
    """Overlay the confidence of a result on the slice views, or remove the overlay.

    Raises BadInputError if the result has no confidence.
    """
    confidence = scene.confidence_of(result_node)
    if confidence is None:
        raise BadInputError(
            _("'{name}' has no confidence to show. Fill between slices, or run a model, first.").format(
                name=result_node.GetName()
            )
        )
    if not shown:
        scene.hide_confidence(confidence)
        return
    steps = scene.showing_confidence(confidence)
    # The overlay is created immediately, so that it can be removed; its content is computed step by step.
    next(steps, None)
    session.do(None, steps, lambda _result: None, waiting, "confidence")
