"""A fill that is painted in, as the Segment Editor does it; the fixtures `drawn` and `disc` go with it."""

from __future__ import annotations

from SparseAnnotateLib import scene

INDICES = (4, 12, 20)


def shown(mrml, node, volume):
    """(K, J, I): the labels that a segmentation shows; segments must not overlap."""
    return scene.labels_of(node, volume, {"ball": 1, "box": 2})


def confidence(mrml, logic, node):
    return mrml.util.arrayFromVolume(logic.confidenceNode(node)).copy()


def point(volume, kji):
    """(R, A, S) of a voxel."""
    return [float(x) for x in (scene.geometry_of(volume).matrix @ [*reversed(kji), 1.0])[:3]]


def painted(mrml, node, volume, mask, segment, erase=False):
    """What the Segment Editor does: the state is saved, then the stroke changes the segment."""
    editor = scene.editor_for(node, volume)
    editor.SaveStateForUndo()
    values = {"ball": 1, "box": 2}
    wanted = shown(mrml, node, volume)
    wanted[mask] = 0 if erase else values[segment]
    whole = tuple(slice(0, n) for n in wanted.shape)
    scene.put_labels(node, volume, whole, wanted, values, editor)
    return editor
