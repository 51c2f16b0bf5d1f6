"""What is drawn, read in pieces between which a person may go on drawing: as read at once, and never half of each."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, Plane, SliceState
from SparseAnnotateLib.core import pieces as core_pieces
from SparseAnnotateLib.core.pieces import result_of

SHAPE = (12, 10, 9)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of one layer each."""
    monkeypatch.setattr(core_pieces, "PIECE_BYTES", 1)


def drawn(mrml, layers: int = 1):
    """A volume with three structures on drawn slices of two planes; in `layers` layers."""
    from SparseAnnotateLib import scene

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), name="scan")
    labels = np.random.default_rng(3).integers(0, 4, SHAPE).astype(np.uint8)
    node = scene.new_segmentation("drawing", labels, {1: "a", 2: "b", 3: "c"}, volume)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if layers == 2:
        node.GetSegmentation().SeparateSegmentLabelmap("b")
    scene.use_segmentation(volume, node)
    for plane, index in ((Plane.AXIAL, 2), (Plane.AXIAL, 7), (Plane.CORONAL, 4)):
        scene.mark_slice(volume, plane, index, SliceState.DRAWN)
    return volume, node, labels


def paint(node, volume, name: str, box) -> None:
    """Paint a box in a segment, as another layer where it lies on others."""
    import slicer

    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume).copy()
    mask[box] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)


@pytest.mark.parametrize("layers", [1, 2])
def test_in_pieces_as_at_once(mrml, layers):
    from SparseAnnotateLib import scene

    volume, node, labels = drawn(mrml, layers)
    steps, count = scene.reading_annotation(volume, node), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
            break
        count += 1
    assert count >= SHAPE[0]
    on_slices = list(found.drawn_layers())
    assert len(on_slices) == 3
    for layer in on_slices:
        np.testing.assert_array_equal(found.labels[layer], labels[layer])


def test_slices_marked_for_some_structures(mrml):
    """On a slice that was not marked for a structure, what is painted of it does not count, in whichever piece."""
    from SparseAnnotateLib import scene

    volume, node, labels = drawn(mrml)
    for plane, index in ((Plane.AXIAL, 2), (Plane.CORONAL, 4)):
        scene.mark_slice(volume, plane, index, SliceState.DRAWN, structures=("a", "c"))
    found = scene.annotation_of(volume, node)
    expected = labels.copy()
    on_b = np.zeros(SHAPE, dtype=bool)
    on_b[7] = True
    expected[(labels == 2) & ~on_b] = 0
    for layer in found.drawn_layers():
        np.testing.assert_array_equal(found.labels[layer], expected[layer])


def test_overlaps_on_drawn_slices_are_said_for_all_of_the_volume(mrml):
    from SparseAnnotateLib import scene

    volume, node, labels = drawn(mrml, layers=2)
    paint(node, volume, "b", np.s_[2, :, :])
    paint(node, volume, "b", np.s_[7, :, :])
    paint(node, volume, "b", np.s_[9, :3, :])
    expected = int((labels[[2, 7]] == 1).sum())
    with pytest.raises(BadInputError, match=rf"'a' and 'b' in {expected} voxels"):
        scene.annotation_of(volume, node)
    found = scene.annotation_of(volume, node, winners=["a", "b", "c"])
    np.testing.assert_array_equal(found.labels[2], np.where(labels[2] == 1, 1, 2))


@pytest.mark.parametrize("when", [1, 4, 11])
@pytest.mark.parametrize("change", ["paint", "mark", "rename", "clear"])
def test_what_changes_between_two_pieces_is_read_again(mrml, when, change):
    from SparseAnnotateLib import scene

    volume, node, _labels = drawn(mrml)
    winners = ["c", "a", "b"]  # what is painted wins
    steps = scene.reading_annotation(volume, node, winners=winners)
    for _step in range(when):
        next(steps)
    if change == "paint":
        paint(node, volume, "c", np.s_[2, 3:6, 3:6])
    elif change == "mark":
        scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.DRAWN)
    elif change == "rename":
        node.GetSegmentation().GetSegment("c").SetName("d")
    else:
        scene.mark_slice(volume, Plane.AXIAL, 7, SliceState.TODO)
    found, now = result_of(steps), scene.annotation_of(volume, node, winners=winners)
    assert found.fingerprint() == now.fingerprint()
    assert (found.ledger, found.names) == (now.ledger, now.names)


def test_where_voxels_come_from_is_found_again_when_something_changes(mrml):
    from SparseAnnotateLib import scene

    volume, _node, _labels = drawn(mrml)
    steps = scene.computing_provenance(volume)
    for _step in range(SHAPE[0] + 5):
        next(steps)
    scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.DRAWN)
    found, now = result_of(steps), result_of(scene.computing_provenance(volume))
    np.testing.assert_array_equal(found.sources, now.sources)
    assert (found.sources[0] == 1).all()


def test_a_drawing_that_changes_all_the_time(mrml):
    from SparseAnnotateLib import scene

    volume, _node, _labels = drawn(mrml)

    def work_that_is_disturbed() -> None:
        for number, _step in enumerate(scene.computing_provenance(volume)):
            scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.TODO if number % 2 else SliceState.DRAWN)

    with pytest.raises(BadInputError, match="The drawing of 'scan' was changed while"):
        work_that_is_disturbed()
