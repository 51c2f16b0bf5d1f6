"""The ledger still names the drawn slices when the volume, the segmentation or the scene has changed."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SparseAnnotateLib.core import BadInputError, Plane, SliceState

SHAPE = (6, 7, 8)
MATRICES = {
    "right-handed": np.array([[1.0, 0, 0, 10], [0, 1.5, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]]),
    "left-handed": np.array([[-1.0, 0, 0, 10], [0, 1.5, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]]),
    "oblique": np.array([[0.8, -0.9, 0, 5], [0.6, 1.2, 0, 7], [0, 0, 2, 9], [0, 0, 0, 1]]),
}
DRAWN = (1, 3, 4)


def turned(axis: int, degrees: float) -> np.ndarray:
    matrix, angle = np.eye(4), np.deg2rad(degrees)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix[[one, one, other, other], [one, other, one, other]] = (
        np.cos(angle),
        -np.sin(angle),
        np.sin(angle),
        np.cos(angle),
    )
    return matrix


def moved(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


MOVES = {
    "one slice up": moved(0, 0, 2.0),
    "two slices down": moved(0, 0, -4.0),
    "half a slice": moved(0, 0, 1.0),
    "5.3 mm": moved(5.3, 0, 5.3),
    "10 degrees": turned(0, 10),
    "quarter turn": turned(0, 90),
    "half turn": turned(1, 180),
    "45 degrees": turned(2, 45),
}


class Drawing:
    """A volume with three drawn axial slices and one drawn sagittal slice, and operations on its scene."""

    def __init__(self, slicer, embedded, folder, matrix):
        self.slicer, self.embedded, self.path = slicer, embedded, folder / "scene.mrb"
        rng = np.random.default_rng(3)
        self.image = rng.permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
        self.volume = slicer.util.addVolumeFromArray(self.image, matrix, "volume")
        from SparseAnnotateLib import scene

        self.scene = scene
        self.labels = np.zeros(SHAPE, np.uint8)
        for index in DRAWN:
            self.labels[index] = rng.random(SHAPE[1:]) < 0.1 + 0.1 * index
        self.labels[:, :, 2] = rng.random(SHAPE[:2]) < 0.5
        node = scene.annotated_segmentation(self.volume, create=True)
        node.GetSegmentation().AddEmptySegment("a", "a")
        slicer.util.updateSegmentBinaryLabelmapFromArray(self.labels, node, "a", self.volume)
        geometry = scene.geometry_of(self.volume)
        planes = {plane.array_axis(geometry): plane for plane in Plane}
        for index in DRAWN:
            scene.mark_decided(self.volume, planes[0], index, 1.0 + index)
        scene.mark_decided(self.volume, planes[2], 2)
        self.decided = scene.annotation_of(self.volume, node).supervised_mask()

    @property
    def segmentation(self):
        return self.scene.annotated_segmentation(self.volume)

    def put_under_transform(self, name: str) -> None:
        parent = self.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        parent.SetMatrixTransformToParent(self.slicer.util.vtkMatrixFromArray(MOVES[name]))
        parent.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())
        for node in (self.volume, self.segmentation):
            node.SetAndObserveTransformNodeID(parent.GetID())

    def harden(self) -> None:
        for node in (self.volume, self.segmentation):
            node.HardenTransform()

    def load_again(self, axes=(0, 1, 2), flips=(False, False, False)) -> None:
        """Load the same image from a file with another order of axes, and choose the segmentation again."""
        from SparseAnnotateLib.scene.volume_nodes import local_ijk_to_ras

        array, matrix = self.slicer.util.arrayFromVolume(self.volume), local_ijk_to_ras(self.volume)
        between = np.zeros((4, 4))
        between[3, 3] = 1
        for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
            between[2 - old, 2 - new] = -1 if flip else 1
            between[2 - old, 3] = array.shape[old] - 1 if flip else 0
        turn = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
        copy = np.ascontiguousarray(np.transpose(array, axes)[turn])
        segmentation, transform = self.segmentation, self.volume.GetTransformNodeID()
        self.slicer.mrmlScene.RemoveNode(self.volume)
        self.volume = self.slicer.util.addVolumeFromArray(copy, matrix @ between, "volume")
        self.volume.SetAndObserveTransformNodeID(transform)
        self.scene.use_segmentation(self.volume, segmentation)

    def rename(self) -> None:
        self.volume.SetName("another name")
        self.segmentation.SetName("of another name")
        self.segmentation.GetSegmentation().GetSegment("a").SetName("b")

    def take_another_reference(self) -> None:
        """Use the geometry of a cropped, flipped, co-registered volume as reference, as 'Specify geometry' does."""
        from SparseAnnotateLib.scene.volume_nodes import local_ijk_to_ras

        flipped = np.diag([1.0, 1, -1, 1])
        flipped[:3, 3] = 1, 2, self.slicer.util.arrayFromVolume(self.volume).shape[0] - 2
        other = self.slicer.util.addVolumeFromArray(
            np.zeros((3, 4, 5)), local_ijk_to_ras(self.volume) @ flipped, "other"
        )
        other.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(other)

    def forget_reference(self) -> None:
        """Remove the reference volume, which a segmentation loaded from a file does not have."""
        role = self.slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        self.segmentation.SetNodeReferenceID(role, None)

    def save_and_open(self) -> None:
        name = self.volume.GetName()
        self.embedded.save_scene(self.path)
        self.embedded.load_scene(self.path)
        self.volume = self.slicer.util.getNode(name)

    def mark_again(self) -> None:
        """Store the ledger again, which anchors it to the current grid."""
        ledger = self.scene.stored_ledger(self.segmentation, self.volume)
        entry = ledger.decided[0]
        self.scene.mark_decided(self.volume, entry.plane, entry.index)

    def check(self) -> None:
        """The drawing and its marks lie on the same voxels of the image as at first."""
        image = self.slicer.util.arrayFromVolume(self.volume)
        annotation = self.scene.annotation_of(self.volume, self.segmentation)
        axes, flips = next(
            (axes, flips)
            for axes in permutations(range(3))
            for flips in product((False, True), repeat=3)
            if np.array_equal(self._as(self.image, axes, flips), image)
        )
        np.testing.assert_array_equal(annotation.supervised_mask(), self._as(self.decided, axes, flips))
        np.testing.assert_array_equal(annotation.drawn_labels() > 0, self._as(self.labels * self.decided, axes, flips))
        assert len(annotation.ledger.decided) == len(DRAWN) + 1
        assert annotation.ledger.seconds == sum(1.0 + index for index in DRAWN)

    @staticmethod
    def _as(array, axes, flips):
        return np.transpose(array, axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


STEPS = st.one_of(
    st.sampled_from(list(MOVES)).map(lambda name: ("put_under_transform", name)),
    st.just(("harden",)),
    st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3)).map(lambda how: ("load_again", *how)),
    st.sampled_from([("rename",), ("take_another_reference",), ("forget_reference",), ("mark_again",)]),
    st.just(("save_and_open",)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(list(MATRICES)), steps=st.lists(STEPS, min_size=1, max_size=6))
def test_after_any_sequence_of_changes_the_slices_that_were_drawn_are_those_in_the_ledger(
    embedded, mrml, tmp_path, kind, steps
):
    embedded.clear_scene()
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES[kind])
    for name, *arguments in steps:
        getattr(drawing, name)(*arguments)
        drawing.check()


@pytest.mark.parametrize("move", list(MOVES))
def test_slices_are_found_when_nothing_is_read_between_the_changes(embedded, mrml, tmp_path, move):
    """Nothing is read between the steps, so that reading cannot correct anything in between."""
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES["left-handed"])
    drawing.put_under_transform(move)
    drawing.harden()
    drawing.take_another_reference()
    drawing.save_and_open()
    drawing.put_under_transform("two slices down")
    drawing.harden()
    drawing.save_and_open()
    drawing.check()


def test_a_drawing_that_slicer_has_resampled_to_another_geometry_is_reported(embedded, mrml, tmp_path):
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES["right-handed"])
    other = mrml.util.addVolumeFromArray(np.zeros((3, 4, 5)), turned(2, 20) @ moved(1, 2, 3), "other")
    drawing.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(other)
    drawing.check()
    drawing.save_and_open()
    with pytest.raises(BadInputError, match="does not have the voxel grid of the volume 'volume'"):
        drawing.check()


def test_a_drawing_that_is_moved_without_its_volume_is_reported(embedded, mrml, tmp_path):
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES["right-handed"])
    parent = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    parent.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(MOVES["10 degrees"]))
    segmentation = drawing.segmentation
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    with pytest.raises(BadInputError, match="under the transform 'registration', but the volume 'volume' is under no"):
        drawing.scene.annotation_of(drawing.volume, segmentation)
    copy = drawing.scene.copy_on_volume_grid(segmentation, drawing.volume)
    drawing.scene.use_segmentation(drawing.volume, copy)
    drawing.check()


@pytest.mark.parametrize("move", ["one slice up", "two slices down"])
@pytest.mark.parametrize("hardened", [True, False])
def test_a_drawing_moved_by_whole_slices_without_its_volume_is_reported(embedded, mrml, tmp_path, move, hardened):
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES["right-handed"])
    parent = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    parent.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(MOVES[move]))
    segmentation = drawing.segmentation
    segmentation.SetAndObserveTransformNodeID(parent.GetID())
    if hardened:
        segmentation.HardenTransform()
    words = "no longer slices of the volume" if hardened else "under the transform 'shift', but the volume"
    with pytest.raises(BadInputError, match=words):
        drawing.scene.stored_ledger(segmentation, drawing.volume)
    if not hardened:
        copy = drawing.scene.copy_on_volume_grid(segmentation, drawing.volume)
        drawing.scene.use_segmentation(drawing.volume, copy)
        drawing.check()


def test_empty_slices_of_a_volume_that_was_rotated_in_place_are_not_confused_with_others(mrml):
    from SparseAnnotateLib import scene

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE), np.eye(4), "volume")
    segmentation = scene.annotated_segmentation(volume, create=True)
    segmentation.GetSegmentation().AddEmptySegment("a", "a")
    for index in (0, 1):
        scene.mark_empty(volume, Plane.AXIAL, index)
    centre = moved(*(np.array(SHAPE[::-1]) - 1) / 2)
    parent = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "half turn")
    parent.SetMatrixTransformToParent(mrml.util.vtkMatrixFromArray(centre @ turned(0, 180) @ np.linalg.inv(centre)))
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())
        node.HardenTransform()
    with pytest.raises(BadInputError, match="Cannot determine which slices"):
        scene.stored_ledger(segmentation, volume)


def test_a_copy_for_another_volume_keeps_its_position_in_the_world(mrml, embedded, tmp_path):
    drawing = Drawing(mrml, embedded, tmp_path, MATRICES["right-handed"])
    other = mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), MATRICES["right-handed"], "other")
    drawing.put_under_transform("two slices down")
    copy = drawing.scene.copy_on_volume_grid(drawing.segmentation, other)
    found = drawing.scene.labels_of(copy, other, {"a": 1}) > 0
    np.testing.assert_array_equal(found[:-2], drawing.labels[2:] > 0)
    assert not found[-2:].any()
    decided = sorted(entry.index for entry in drawing.scene.stored_ledger(copy, other).decided)
    assert decided == [1, 2]  # those that are within, and whole; the sagittal one is not


def test_when_the_grid_changes_recommended_slices_are_dropped_and_marked_ones_reported(mrml):
    from SparseAnnotateLib import scene

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE), MATRICES["oblique"], "volume")
    segmentation = scene.annotated_segmentation(volume, create=True)
    ledger = scene.stored_ledger(segmentation, volume).with_state(Plane.AXIAL, 2, SliceState.TODO)
    scene.store_ledger(segmentation, volume, ledger)
    volume.SetSpacing(1.0, 1.0, 2.7)
    assert scene.stored_ledger(segmentation, volume).entries == ()
    scene.store_ledger(segmentation, volume, ledger.with_state(Plane.AXIAL, 2, SliceState.EMPTY))
    volume.SetSpacing(1.0, 1.0, 2.6)
    with pytest.raises(BadInputError, match="no longer slices of the volume 'volume'"):
        scene.stored_ledger(segmentation, volume)


def test_a_ledger_of_the_first_version_is_still_read(mrml):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core.strict_json import to_text

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE), MATRICES["oblique"], "volume")
    segmentation = scene.annotated_segmentation(volume, create=True)
    entry = {"plane": "axial", "index": 4, "state": "drawn", "order": 2, "score": 0.5, "reason": "", "seconds": 7.0}
    segmentation.SetAttribute("SparseAnnotate.Ledger", to_text({"entries": [entry]}))
    segmentation.SetAttribute("SparseAnnotate.Grid", to_text(scene.geometry_of(volume)))
    (found,) = scene.stored_ledger(segmentation, volume).entries
    assert (found.plane, found.index, found.seconds, found.structures) == (Plane.AXIAL, 4, 7.0, None)
