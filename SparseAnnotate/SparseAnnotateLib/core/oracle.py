"""A simulated annotator: copies a dense reference to the slices that are to be drawn.

For experiments and demonstrations on data whose full annotation is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .annotation import SparseAnnotation
from .ledger import SliceState
from .planes import slice_layer


def drawn_from_reference(annotation: SparseAnnotation, reference: np.ndarray) -> SparseAnnotation:
    """The annotation with every slice still to do drawn (or marked empty) as the reference, (K, J, I), shows it."""
    labels = annotation.labels.astype(np.promote_types(annotation.labels.dtype, reference.dtype), copy=True)
    undecided = None if annotation.undecided is None else annotation.undecided.copy()
    ledger = annotation.ledger
    for entry in annotation.ledger.todo:
        layer = slice_layer(entry.plane.array_axis(annotation.geometry), entry.index)
        labels[layer] = reference[layer]
        if undecided is not None:
            undecided[layer] = False
        ledger = ledger.with_state(
            entry.plane,
            entry.index,
            SliceState.DRAWN if reference[layer].any() else SliceState.EMPTY,
            structures=annotation.names.values() if annotation.names else None,
        )
    # Where a new slice crosses one that was drawn before, the earlier drawing is kept.
    replace(annotation, corrections=None).restore_drawn(labels)
    return replace(annotation, labels=labels, ledger=ledger, undecided=undecided)
