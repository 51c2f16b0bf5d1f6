"""What was read of a ledger is kept, and read again as soon as anything changes that it depends on."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import BadInputError, Plane, SliceState


@pytest.fixture
def reads(monkeypatch):
    """The names of the segmentations whose ledgers were read, one for each time."""
    from SparseAnnotateLib.scene import ledger_store

    found, read_again = [], ledger_store._read_again

    def counting(segmentation_node, volume_node, text):
        found.append(segmentation_node.GetName())
        return read_again(segmentation_node, volume_node, text)

    monkeypatch.setattr(ledger_store, "_read_again", counting)
    return found


def drawn_volume(mrml, name: str = "scan"):
    """A volume with a ball painted on its axial slices, of which slice 3 is marked as drawn."""
    from SparseAnnotateLib import scene

    labels = ball()
    volume = mrml.util.addVolumeFromArray(labels.astype(np.int16), name=name)
    segmentation = scene.annotated_segmentation(volume, create=True)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mrml.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, "ball", volume)
    scene.mark_decided(volume, Plane.AXIAL, 8)
    return volume, segmentation


def transform(mrml, mm: float):
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = mm
    node.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(matrix))
    return node


def test_an_unchanged_ledger_is_read_once(mrml, reads):
    from SparseAnnotateLib import scene

    volume, _segmentation = drawn_volume(mrml)
    first = scene.ledger_of(volume)
    reads.clear()
    assert [scene.ledger_of(volume) for _time in range(5)] == [first] * 5
    assert reads == []


def test_only_the_ledger_of_the_changed_volume_is_read_again(mrml, reads):
    from SparseAnnotateLib import scene

    volumes = [drawn_volume(mrml, f"scan {number}")[0] for number in range(4)]
    scene.readable_worklist(volumes)
    reads.clear()
    scene.mark_empty(volumes[2], Plane.AXIAL, 1)
    assert scene.readable_worklist(volumes).ledgers[2].entry(Plane.AXIAL, 1).state is SliceState.EMPTY
    assert set(reads) == {"scan 2 annotation"}


def test_slices_of_the_worklist_are_made_again_only_where_the_ledger_has_changed(mrml):
    from SparseAnnotateLib import scene

    volumes = [drawn_volume(mrml, f"scan {number}")[0] for number in range(3)]
    first = scene.readable_worklist(volumes)
    scene.mark_empty(volumes[1], Plane.AXIAL, 1)
    second = scene.readable_worklist(volumes, first)
    assert second.items == scene.readable_worklist(volumes).items
    is_kept = {item.volumeNode.GetName(): any(item is other for other in first.items) for item in second.items}
    assert is_kept == {"scan 0": True, "scan 1": False, "scan 2": True}
    # Not of a volume that takes the place of a removed one.
    mrml.mrmlScene.RemoveNode(volumes[0])
    third = scene.readable_worklist(volumes[1:], second)
    assert [item.volumeNode for item in third.items] == [volumes[1], volumes[1], volumes[2]]


def test_a_renamed_segment_is_noticed(mrml):
    from SparseAnnotateLib import scene

    volume, segmentation = drawn_volume(mrml)
    assert scene.ledger_of(volume).entries[0].structures == ("ball",)
    segmentation.GetSegmentation().GetSegment("ball").SetName("liver")
    assert scene.ledger_of(volume).entries[0].structures == ("liver",)
    segmentation.GetSegmentation().RemoveSegment("ball")
    assert scene.ledger_of(volume).entries[0].structures == ()


def test_a_volume_that_was_moved_away_is_noticed_and_one_that_was_moved_back(mrml):
    from SparseAnnotateLib import scene

    volume, _segmentation = drawn_volume(mrml)
    kept = scene.ledger_of(volume)
    origin = volume.GetOrigin()
    volume.SetOrigin(origin[0] + 0.3, *origin[1:])
    with pytest.raises(BadInputError, match="no longer slices"):
        scene.ledger_of(volume)
    volume.SetOrigin(origin)
    assert scene.ledger_of(volume) == kept


@pytest.mark.parametrize("is_parent", [False, True], ids=["its transform", "the parent of its transform"])
def test_a_transform_that_changes_is_noticed(mrml, is_parent):
    from SparseAnnotateLib import scene

    volume, segmentation = drawn_volume(mrml)
    own, other, above = (transform(mrml, 0.0) for _number in range(3))
    volume.SetAndObserveTransformNodeID(own.GetID())
    segmentation.SetAndObserveTransformNodeID(other.GetID())
    own.SetAndObserveTransformNodeID(above.GetID())
    scene.ledger_of(volume)
    moved = np.eye(4)
    moved[1, 3] = 0.4
    (above if is_parent else own).SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(moved))
    with pytest.raises(BadInputError, match="under the transform"):
        scene.ledger_of(volume)


@pytest.mark.parametrize("is_put_in", [True, False], ids=["put under an older one", "taken out of it"])
def test_a_transform_that_gets_another_parent_is_noticed(mrml, is_put_in):
    """The time of a transform to the world is the latest of its chain, which an older parent does not change."""
    from SparseAnnotateLib import scene

    volume, _segmentation = drawn_volume(mrml)
    above = transform(mrml, 0.0)
    moved = np.eye(4)
    moved[1, 3] = 0.4
    above.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(moved))
    own = transform(mrml, 0.0)
    if not is_put_in:
        own.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(np.linalg.inv(moved)))
        own.SetAndObserveTransformNodeID(above.GetID())
    volume.SetAndObserveTransformNodeID(own.GetID())
    for _time in range(4):
        scene.ledger_of(volume)
    own.SetAndObserveTransformNodeID(above.GetID() if is_put_in else None)
    with pytest.raises(BadInputError, match="under the transform"):
        scene.ledger_of(volume)


def test_another_image_in_the_same_node_is_noticed(mrml):
    from SparseAnnotateLib import scene

    volume, _segmentation = drawn_volume(mrml)
    scene.ledger_of(volume)
    mrml.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.int16))
    assert scene.geometry_of(volume).shape == (5, 6, 7)
    with pytest.raises(BadInputError):
        scene.ledger_of(volume)


def test_a_change_that_is_not_reported_yet_is_noticed(mrml):
    """As in slicer.util.NodeModify, which many scripts use."""
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene.ledger_store import store_ledger

    volume, segmentation = drawn_volume(mrml)
    before = scene.ledger_of(volume)
    more = before.with_state(Plane.AXIAL, 2, SliceState.SKIPPED)
    with mrml.util.NodeModify(segmentation):
        store_ledger(segmentation, volume, more)
        assert scene.ledger_of(volume) == more
    assert scene.ledger_of(volume) == more
    with mrml.util.NodeModify(volume):
        volume.SetSpacing(3.0, 3.0, 3.0)
        assert scene.geometry_of(volume).spacing == (3.0, 3.0, 3.0)


def test_the_same_node_ids_in_the_next_scene_are_other_ledgers(mrml, embedded):
    from SparseAnnotateLib import scene

    volume, segmentation = drawn_volume(mrml)
    identifiers = volume.GetID(), segmentation.GetID()
    assert scene.ledger_of(volume).is_decided(Plane.AXIAL, 8)
    embedded.clear_scene()
    volume = mrml.util.addVolumeFromArray(ball().astype(np.int16), name="scan")
    segmentation = scene.annotated_segmentation(volume, create=True)
    assert (volume.GetID(), segmentation.GetID()) == identifiers
    assert scene.ledger_of(volume).entries == ()
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    scene.mark_empty(volume, Plane.AXIAL, 1)
    assert [entry.index for entry in scene.ledger_of(volume).entries] == [1]


def test_a_sequence_that_is_added_or_removed_is_noticed(mrml):
    from SparseAnnotateLib.scene.sequence_frames import frame_of

    logic = mrml.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(mrml.mrmlScene)
    volume, _segmentation = drawn_volume(mrml)
    assert frame_of(volume) is None
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    sequence.SetDataNodeAtValue(volume, "10")
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    logic.UpdateProxyNodesFromSequences(browser)
    assert frame_of(browser.GetProxyNode(sequence)).value == "10"
    assert frame_of(volume) is None
    mrml.mrmlScene.RemoveNode(browser)
    assert frame_of(volume) is None


def test_only_so_many_results_are_kept(monkeypatch):
    from SparseAnnotateLib.scene import kept_results

    monkeypatch.setattr(kept_results, "_MOST", 3)
    kept, made = kept_results.KeptResults(), []

    def of(what, stamp=(0,)):
        return kept.of(what, stamp, lambda: made.append(what) or len(made))

    assert [of(name) for name in "abca"] == [1, 2, 3, 1]
    assert of("d") == 4  # instead of "a"
    assert [of("d"), of("b")] == [4, 2]
    assert of("b", stamp=(1,)) == 5
    assert [of("b", stamp=None), of("b", stamp=None)] == [6, 7]
    assert of("a") == 8


@pytest.fixture
def looks(monkeypatch):
    """The names of the volumes that were looked at for the worklist, one for each time."""
    from SparseAnnotateLib.scene import worklist

    found, ledger_in_scene = [], worklist._ledger_in_scene

    def counting(volume_node):
        found.append(volume_node.GetName())
        return ledger_in_scene(volume_node)

    monkeypatch.setattr(worklist, "_ledger_in_scene", counting)
    return found


def test_of_a_hundred_volumes_only_the_changed_one_is_looked_at(mrml, looks):
    from SparseAnnotateLib import scene

    volumes = [drawn_volume(mrml, f"scan {number}")[0] for number in range(3)]
    voxels = np.zeros((4, 5, 6), np.int16)
    volumes += [mrml.util.addVolumeFromArray(voxels, name=f"scan {number}") for number in range(3, 100)]
    first = scene.readable_worklist(volumes)
    before = first.effort(Plane.AXIAL)
    looks.clear()
    scene.mark_empty(volumes[1], Plane.AXIAL, 1)
    second = scene.readable_worklist(volumes, first)
    assert looks == ["scan 1"]
    assert second.effort(Plane.AXIAL).drawn == before.drawn + 1
    assert second.effort(Plane.AXIAL) == scene.readable_worklist(volumes).effort(Plane.AXIAL)
    assert second.effort(Plane.SAGITTAL) == scene.readable_worklist(volumes).effort(Plane.SAGITTAL)


def _rename_segment(mrml, volume, segmentation):
    segmentation.GetSegmentation().GetSegment("ball").SetName("liver")


def _remove_segmentation(mrml, volume, segmentation):
    mrml.mrmlScene.RemoveNode(segmentation)


def _remove_volume(mrml, volume, segmentation):
    mrml.mrmlScene.RemoveNode(volume)


def _choose_another(mrml, volume, segmentation):
    from SparseAnnotateLib import scene

    other = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    scene.use_segmentation(volume, other)


def _other_image(mrml, volume, segmentation):
    mrml.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.int16))


def _voxels_in_place(mrml, volume, segmentation):
    layer = segmentation.GetBinaryLabelmapInternalRepresentation("ball")
    layer.GetPointData().GetScalars().Fill(0)
    layer.GetPointData().GetScalars().Modified()
    layer.Modified()


def _image_gone(mrml, volume, segmentation):
    volume.SetAndObserveImageData(None)


def _other_transform(mrml, volume, segmentation):
    volume.SetAndObserveTransformNodeID(transform(mrml, 0.4).GetID())


def _unreported(mrml, volume, segmentation):
    segmentation.StartModify()
    segmentation.SetAttribute("SparseAnnotate.Ledger", '{"entries": []}')


@pytest.mark.parametrize(
    "change",
    [
        _rename_segment,
        _remove_segmentation,
        _remove_volume,
        _choose_another,
        _other_image,
        _voxels_in_place,
        _image_gone,
        _other_transform,
        _unreported,
    ],
)
def test_after_any_change_a_kept_worklist_says_the_same_as_one_that_is_read(mrml, looks, change):
    from SparseAnnotateLib import scene

    volume, segmentation = drawn_volume(mrml)
    other = drawn_volume(mrml, "other scan")[0]
    kept = scene.readable_worklist([volume, other])
    looks.clear()
    change(mrml, volume, segmentation)
    now, read = scene.readable_worklist([volume, other], kept), scene.readable_worklist([volume, other])
    assert looks[0] == volume.GetName()
    assert (now.items, now.volumes, now.ledgers, now.problems) == (
        read.items,
        read.volumes,
        read.ledgers,
        read.problems,
    )
    assert now.effort(Plane.AXIAL) == read.effort(Plane.AXIAL)


def test_what_undo_brings_back_is_noticed(mrml):
    from SparseAnnotateLib import scene

    volume, segmentation = drawn_volume(mrml)
    mrml.mrmlScene.SetUndoOn()
    for node in (volume, segmentation):
        node.SetUndoEnabled(True)
    mrml.mrmlScene.SaveStateForUndo()
    kept = scene.readable_worklist([volume])
    scene.mark_empty(volume, Plane.AXIAL, 1)
    marked = scene.readable_worklist([volume], kept)
    assert len(marked.items) == len(kept.items) + 1
    mrml.mrmlScene.Undo()
    undone = scene.readable_worklist([volume], marked)
    assert undone.items == kept.items
    mrml.mrmlScene.RemoveNode(volume)
    assert scene.readable_worklist([volume], undone).items == []


def test_removed_renamed_and_hidden_volumes_are_noticed_in_the_list_of_those_to_draw_on(mrml, embedded):
    from SparseAnnotateLib import scene

    def names() -> list[str]:
        return [node.GetName() for node in scene.volumes_to_draw_on()]

    voxels = np.zeros((4, 5, 6), np.int16)
    first, second, third = (mrml.util.addVolumeFromArray(voxels, name=name) for name in "abc")
    assert names() == ["a", "b", "c"]
    first.SetName("d")
    second.SetHideFromEditors(True)
    assert names() == ["d", "c"]
    second.SetHideFromEditors(False)
    scene.set_channels(second, {"T1": second, "T2": third})
    assert names() == ["d", "b"]
    assert scene.cases_of_channels() == {third.GetID(): second}
    with mrml.util.NodeModify(first):
        first.SetAndObserveImageData(None)
        assert names() == ["b"]
    mrml.mrmlScene.RemoveNode(second)
    assert names() == ["c"]
    embedded.clear_scene()
    assert names() == []
    mrml.util.addVolumeFromArray(voxels, name="e")
    assert names() == ["e"]


def test_results_that_come_go_or_lose_their_volume_are_noticed(mrml):
    from SparseAnnotateLib import scene

    volume, _segmentation = drawn_volume(mrml)
    other, result = drawn_volume(mrml, "other scan")
    assert scene.results_of(other) == []
    scene.set_made_by(result, scene.FILL)
    assert scene.results_of(other) == [result]
    assert scene.results_of(volume) == []
    result.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    assert (scene.results_of(volume), scene.results_of(other)) == ([result], [])
    mrml.mrmlScene.RemoveNode(volume)
    assert scene.results_of(volume) == []
    mrml.mrmlScene.RemoveNode(result)
    assert scene.results_of(other) == []
