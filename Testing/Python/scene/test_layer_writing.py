"""Labels written straight into layers: the same voxels as segment by segment, and one event for each layer."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core.voxel_boxes import along_axes

SHAPE = (9, 11, 13)
MATRICES = {
    "plain": np.diag([-1.0, 1.0, 2.0, 1.0]),
    "oblique": np.array([[0.0, -0.8, 1.2, 7.5], [0.9, 0, 0, -3.25], [0, 0.6, 1.6, 100.125], [0, 0, 0, 1]]),
}
NAMES = ("a", "b", "c", "d")
VALUES = {"a": 1, "b": 2, "c": 3}  # 'd' is not to be changed
ARRANGEMENTS = ("one layer", "two layers", "own layers", "cropped", "outside", "flipped", "with a surface", "no voxels")


def labels_at_random(seed: int, highest: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(SHAPE) < 0.5, rng.integers(1, highest + 1, SHAPE), 0).astype(np.uint8)


def arranged(mrml, arrangement: str, matrix: np.ndarray):
    """A volume, and a segmentation of four segments whose voxels lie in layers in some way."""
    from SparseAnnotateLib import scene

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), matrix, "volume")
    labels = labels_at_random(0)
    if arrangement == "cropped":
        labels[:2], labels[:, 8:], labels[:, :, :3] = 0, 0, 0
    if arrangement == "no voxels":
        labels[labels == 2] = 0
    names = dict(enumerate(NAMES, start=1))
    on = volume
    if arrangement in ("outside", "flipped"):
        between = np.eye(4)
        if arrangement == "outside":
            labels, between[:3, 3] = np.pad(labels, 2, constant_values=1), -2
        else:
            between[0, 0], between[0, 3] = -1, SHAPE[2] - 1
        moved = matrix @ between
        on = mrml.util.addVolumeFromArray(np.zeros(labels.shape, np.int16), moved, "other grid")
    node = scene.new_segmentation("drawing", labels, names, on)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation = node.GetSegmentation()
    if arrangement in ("two layers", "own layers"):
        for name in "ab" if arrangement == "two layers" else NAMES:
            segmentation.SeparateSegmentLabelmap(name)
    if arrangement == "with a surface":
        assert node.CreateClosedSurfaceRepresentation()
    if arrangement == "no voxels":
        segmentation.RemoveSegment("b")
        segmentation.AddEmptySegment("b", "b")
    return volume, node


def everything(node, volume) -> dict[str, np.ndarray]:
    """The voxels of each segment on the volume's grid, and ten voxels around it."""
    from SparseAnnotateLib.scene.segmentation_layers import layers_of
    from SparseAnnotateLib.scene.segmentation_nodes import aligned_voxels

    found = {name: np.zeros([n + 20 for n in SHAPE], bool) for name in NAMES}
    for segment_id, layer in layers_of(node).items():
        segment = node.GetSegmentation().GetSegment(segment_id)
        array, starts = aligned_voxels(layer, node, volume)
        place = tuple(slice(s + 10, s + 10 + n) for s, n in zip(starts, array.shape, strict=True))
        found[segment.GetName()][place] = array == segment.GetLabelValue()
    return found


@pytest.fixture(params=MATRICES)
def matrix(request):
    return MATRICES[request.param]


@pytest.fixture
def one_by_one(monkeypatch):
    """A context in which Slicer's own operations change each segment by itself."""
    from SparseAnnotateLib.scene import segment_editing

    def nothing_made(*_arguments):
        yield
        return []

    def context():
        patched = pytest.MonkeyPatch()
        patched.setattr(segment_editing, "put_in_layers", lambda *_arguments: set())
        patched.setattr(segment_editing, "making_voxels", nothing_made)
        return patched

    return context


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_voxels_are_those_of_segment_by_segment(mrml, embedded, matrix, arrangement, one_by_one):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane

    def changed(change) -> dict[str, np.ndarray]:
        embedded.clear_scene()
        volume, node = arranged(mrml, arrangement, matrix)
        change(volume, node, scene.editor_for(node, volume))
        return everything(node, volume)

    part = along_axes((slice(1, 6), slice(2, 9), slice(4, 13)))
    without_d = np.where(labels_at_random(7) == 4, 0, labels_at_random(7))
    slice_of = {"a": without_d[3] == 1, "b": without_d[3] == 2, "c": without_d[3] == 3}
    overlapping = {"a": without_d[3] > 0, "b": without_d[3] > 1}
    planes = {plane.array_axis(scene.geometry_of(arranged(mrml, "one layer", matrix)[0])): plane for plane in Plane}
    changes = {
        "all": lambda volume, node, _editor: scene.apply_labels(node, without_d, VALUES, volume),
        "nothing": lambda volume, node, _editor: scene.apply_labels(node, np.zeros_like(without_d), VALUES, volume),
        "part": lambda volume, node, editor: scene.put_labels(node, volume, part, without_d[part], VALUES, editor),
        "slice": lambda volume, node, editor: scene.put_slice(node, volume, planes[0], 3, slice_of, editor),
        "overlap": lambda volume, node, editor: scene.put_slice(node, volume, planes[0], 3, overlapping, editor),
    }
    for what, change in changes.items():
        now = changed(change)
        patched = one_by_one()
        try:
            wanted = changed(change)
        finally:
            patched.undo()
        for name in NAMES:
            np.testing.assert_array_equal(now[name], wanted[name], err_msg=f"{what}: {name}")


def test_a_layer_changes_once_for_all_its_segments_and_undo_is_one_step(mrml):
    from SparseAnnotateLib import scene

    volume, node = arranged(mrml, "one layer", MATRICES["plain"])
    values = {name: value for value, name in enumerate(NAMES, start=1)}
    before, labels = everything(node, volume), labels_at_random(5)
    editor = scene.editor_for(node, volume)
    editor.SaveStateForUndo()
    events: list = []
    event = mrml.vtkSegmentation.SourceRepresentationModified
    node.GetSegmentation().AddObserver(event, lambda *_: events.append(everything(node, volume)))
    scene.apply_labels(node, labels, values, volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    (seen,) = events
    for name, value in values.items():
        whole = np.zeros_like(before[name])
        whole[10:-10, 10:-10, 10:-10] = labels == value
        np.testing.assert_array_equal(seen[name], whole)
    editor.Undo()
    now = everything(node, volume)
    for name in NAMES:
        np.testing.assert_array_equal(now[name], before[name])


def test_what_undo_has_kept_is_not_written_into(mrml):
    from SparseAnnotateLib import scene

    volume, node = arranged(mrml, "one layer", MATRICES["plain"])
    values = {name: value for value, name in enumerate(NAMES, start=1)}
    editor, states = scene.editor_for(node, volume), []
    part = along_axes((slice(0, 4), slice(0, 4), slice(0, 4)))
    for seed in (1, 2):
        states.append(everything(node, volume))
        editor.SaveStateForUndo()
        scene.put_labels(node, volume, part, labels_at_random(seed)[part], values, editor)
    editor.Undo()
    scene.put_labels(node, volume, part, labels_at_random(3)[part], values, editor)
    editor.Undo()
    for name, voxels in everything(node, volume).items():
        np.testing.assert_array_equal(voxels, states[1][name])


def test_a_surface_that_is_empty_is_made_again(mrml):
    """All was erased while surfaces were shown: they stay, without a point."""
    from SparseAnnotateLib import scene

    volume, node = arranged(mrml, "with a surface", MATRICES["plain"])
    segment = node.GetSegmentation().GetSegment("a")
    segment.GetRepresentation("Closed surface").Initialize()
    editor = scene.editor_for(node, volume)
    part = along_axes((slice(0, 9), slice(0, 11), slice(0, 13)))
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:7, 2:9] = 1
    scene.put_labels(node, volume, part, labels, {"a": 1}, editor)
    surface = segment.GetRepresentation("Closed surface")
    assert surface is not None
    assert surface.GetNumberOfPoints() > 0


def test_a_surface_follows_what_is_written(mrml):
    from SparseAnnotateLib import scene

    volume, node = arranged(mrml, "with a surface", MATRICES["plain"])
    editor = scene.editor_for(node, volume)
    segment = node.GetSegmentation().GetSegment("a")
    points = segment.GetRepresentation("Closed surface").GetNumberOfPoints()
    part = along_axes((slice(0, 9), slice(0, 11), slice(0, 13)))
    scene.put_labels(node, volume, part, np.zeros(SHAPE, np.uint8), {"a": 1}, editor)
    surface = segment.GetRepresentation("Closed surface")
    assert surface is not None
    assert surface.GetNumberOfPoints() != points


def test_a_segment_that_was_painted_has_been_begun(mrml):
    from SparseAnnotateLib import scene

    volume, node = arranged(mrml, "one layer", MATRICES["plain"])
    part = along_axes((slice(0, 1), slice(0, 1), slice(0, 1)))
    now = scene.labels_of(node, volume, VALUES, region=part)
    assert now[0, 0, 0] != 2
    scene.put_labels(node, volume, part, np.full((1, 1, 1), 2, np.uint8), VALUES, scene.editor_for(node, volume))
    status = mrml.vtkSlicerSegmentationsModuleLogic
    assert status.GetSegmentStatus(node.GetSegmentation().GetSegment("b")) == status.InProgress
    assert status.GetSegmentStatus(node.GetSegmentation().GetSegment("d")) == status.NotStarted


@pytest.mark.parametrize("few_layers", [0, 100])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_what_differs_is_found_in_pieces(mrml, monkeypatch, matrix, arrangement, few_layers):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import pieces
    from SparseAnnotateLib.core.pieces import result_of
    from SparseAnnotateLib.scene import layer_writing

    monkeypatch.setattr(layer_writing, "_FEW_LAYERS", few_layers)
    volume, node = arranged(mrml, arrangement, matrix)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    own = scene.labels_of(node, volume, VALUES)
    assert result_of(scene.comparing_labels(node, volume, own, VALUES)) == set()
    for place, value in (((8, 10, 12), 1), ((0, 0, 0), 0), ((4, 5, 6), 3)):
        other = own.copy()
        other[place] = value
        steps = scene.comparing_labels(node, volume, other, VALUES)
        assert result_of(steps) == set(scene.differing_segments(node, other, VALUES, volume))
        assert result_of(scene.comparing_labels(node, volume, other, VALUES, without={1: [place[1]]})) == set()
    assert result_of(scene.comparing_labels(node, volume, None, VALUES)) == set(
        scene.differing_segments(node, np.zeros_like(own), VALUES, volume)
    )


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_labels_are_read_in_pieces(mrml, monkeypatch, matrix, arrangement):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import pieces
    from SparseAnnotateLib.core.pieces import result_of

    volume, node = arranged(mrml, arrangement, matrix)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    found = result_of(scene.collecting_labels(node, volume, VALUES))
    np.testing.assert_array_equal(found, scene.labels_of(node, volume, VALUES))


def test_nothing_is_made_of_voxels_that_change_meanwhile(mrml, monkeypatch):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import pieces

    volume, node = arranged(mrml, "one layer", MATRICES["plain"])
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    labels = scene.labels_of(node, volume, VALUES)
    part = along_axes((slice(0, 1), slice(0, 1), slice(0, 1)))
    makers = {
        "collecting": lambda: scene.collecting_labels(node, volume, VALUES),
        "comparing": lambda: scene.comparing_labels(node, volume, labels, VALUES),
        "making": lambda: scene.making_voxels(node, volume, labels_at_random(1, 3), {**VALUES, "d": 4}),
    }
    for number, (what, make) in enumerate(makers.items()):
        steps = make()
        next(steps)
        wanted = np.full((1, 1, 1), 1 + number, np.uint8)
        scene.put_labels(node, volume, part, wanted, {**VALUES, "d": 4}, scene.editor_for(node, volume))
        assert pieces.result_of(steps) is None, what
