"""Volume and segmentation nodes to arrays and back, in Slicer's real MRML."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small_volumes import ball
from SparseAnnotateLib.core import BadInputError, Cohort, Ledger, LedgerEntry, Plane, SliceState
from SparseAnnotateLib.core.images import read_labels

SHAPE = (12, 14, 16)
OBLIQUE = np.array([[-0.8, 0.9, 0, 12.5], [0.6, 1.2, 0, -7.25], [0, 0, -2.5, 100.0], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 3.0, 0], [-1.0, 0, 0, 5], [0, -1.0, 0, 9], [0, 0, 0, 1]])
GEOMETRIES = {"plain": np.eye(4), "oblique, flipped, anisotropic": OBLIQUE, "sagittal": SAGITTAL}


@pytest.fixture(params=list(GEOMETRIES), ids=str)
def volume(request, mrml):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return mrml.util.addVolumeFromArray(array, GEOMETRIES[request.param], "volume")


@pytest.fixture
def plain_volume(mrml):
    return mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), OBLIQUE, "volume")


def random_labels(seed=0, count=3):
    return np.random.default_rng(seed).integers(0, count + 1, SHAPE).astype(np.uint8)


def drawn_segmentation(mrml, volume, masks: dict[str, np.ndarray]):
    """A segmentation with a segment for each mask, made by Slicer's own functions."""
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    for name, mask in masks.items():
        segment_id = node.GetSegmentation().AddEmptySegment(name, name)
        if mask is not None:
            mrml.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, volume)
    return node


def segment_array(mrml, node, name, volume):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return mrml.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)


def test_geometry_is_slicer_s_own_matrix(volume):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene.volume_nodes import local_ijk_to_ras

    geometry = scene.geometry_of(volume)
    assert geometry.shape == SHAPE
    np.testing.assert_allclose(geometry.matrix, local_ijk_to_ras(volume))


def test_labels_are_bit_identical_after_conversion_to_a_node_a_file_and_a_scene(volume, mrml, tmp_path, embedded):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core.images import write_image

    labels, names = random_labels(), {1: "a", 2: "b", 3: "c"}
    values = {name: value for value, name in names.items()}
    node = scene.new_segmentation("result", labels, names, volume)
    np.testing.assert_array_equal(scene.labels_of(node, volume, values), labels)
    for name, value in values.items():
        np.testing.assert_array_equal(segment_array(mrml, node, name, volume), labels == value)
    write_image(tmp_path / "l.nrrd", labels, scene.geometry_of(volume))
    again = read_labels(tmp_path / "l.nrrd", scene.geometry_of(volume))
    np.testing.assert_array_equal(again, labels)
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    volume, node = mrml.util.getNode("volume"), mrml.util.getNode("result")
    np.testing.assert_array_equal(scene.labels_of(node, volume, values), labels)


def test_segments_drawn_in_slicer_are_read_unchanged(volume, mrml):
    from SparseAnnotateLib import scene

    labels = random_labels(1, 2)
    node = drawn_segmentation(mrml, volume, {"a": labels == 1, "b": labels == 2})
    np.testing.assert_array_equal(scene.labels_of(node, volume, {"a": 1, "b": 2}), labels)
    np.testing.assert_array_equal(scene.labels_of(node, volume, {"b": 5}), np.where(labels == 2, 5, 0))


def test_a_segment_with_a_small_extent_is_read_where_it_was_drawn(volume, mrml):
    from SparseAnnotateLib import scene

    mask = np.zeros(SHAPE, bool)
    mask[7:9, 3, 10:12] = True
    node = drawn_segmentation(mrml, volume, {"a": mask, "b": None})
    # What a saved segmentation looks like: cropped to what is drawn.
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    np.testing.assert_array_equal(scene.labels_of(node, volume, {"a": 1, "b": 2}), mask)


def test_a_segmentation_that_extends_beyond_the_volume_is_cropped_to_it(mrml):
    from SparseAnnotateLib import scene

    large = mrml.util.addVolumeFromArray(np.zeros((20, 20, 20), np.uint8), np.eye(4), "large")
    shifted = np.eye(4)
    shifted[:3, 3] = (2, 3, 4)
    small = mrml.util.addVolumeFromArray(np.zeros((10, 10, 10), np.uint8), shifted, "small")
    mask = ball((20, 20, 20), 9.0).astype(bool)
    node = drawn_segmentation(mrml, large, {"a": mask})
    np.testing.assert_array_equal(scene.labels_of(node, small, {"a": 1}), mask[4:14, 3:13, 2:12])


@pytest.mark.parametrize("move_both", [True, False])
def test_a_parent_transform_keeps_slices_and_results_on_the_volume(mrml, move_both):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene.volume_nodes import vtk_matrix

    volume = mrml.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), np.eye(4), "volume")
    transform = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    # A quarter turn about the left-right axis: what was axial is coronal now.
    transform.SetMatrixTransformToParent(
        vtk_matrix(np.array([[1, 0, 0, 4], [0, 0, -1, 5], [0, 1, 0, 6], [0, 0, 0, 1]]))
    )
    volume.SetAndObserveTransformNodeID(transform.GetID())
    # Its planes do not depend on the transform.
    assert Plane.AXIAL.array_axis(scene.geometry_of(volume)) == 0
    red = mrml.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")
    red.UnRegister(None)
    red.SetLayoutName("Test")
    mrml.mrmlScene.AddNode(red)
    scene.jump_to_slice(red, volume, Plane.AXIAL, 5)
    assert red.GetOrientation() == "Coronal"
    assert red.GetSliceToRAS().GetElement(1, 3) == pytest.approx(5 - 5.0)
    labels = random_labels()
    node = scene.new_segmentation("result", labels, {1: "a", 2: "b", 3: "c"}, volume)
    values = {"a": 1, "b": 2, "c": 3}
    np.testing.assert_array_equal(scene.labels_of(node, volume, values), labels)
    np.testing.assert_array_equal(segment_array(mrml, node, "b", volume), labels == 2)
    if not move_both:
        node.SetAndObserveTransformNodeID(None)
        oblique = np.eye(4)
        oblique[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
        transform.SetMatrixTransformToParent(vtk_matrix(oblique))
        with pytest.raises(
            BadInputError, match="under no transform, but the volume 'volume' is under the transform 'turn'"
        ):
            scene.labels_of(node, volume, values)


def test_a_non_linear_transform_changes_no_labels_and_its_slices_cannot_be_shown(mrml, plain_volume):
    from SparseAnnotateLib import scene

    transform = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bend")
    import vtk

    spline = mrml.vtkOrientedBSplineTransform()
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(4, 4, 4)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    spline.SetCoefficientData(coefficients)
    transform.SetAndObserveTransformToParent(spline)
    plain_volume.SetAndObserveTransformNodeID(transform.GetID())
    node = scene.new_segmentation("result", random_labels(), {1: "a"}, plain_volume)
    np.testing.assert_array_equal(scene.labels_of(node, plain_volume, {"a": 1}), random_labels() == 1)
    with pytest.raises(BadInputError, match="non-linear transform 'bend'"):
        scene.jump_to_slice(None, plain_volume, Plane.AXIAL, 1)


def test_a_segmentation_on_another_grid_is_refused_and_can_be_matched(mrml, plain_volume):
    from SparseAnnotateLib import scene

    finer = OBLIQUE.copy()
    finer[:3, 2] /= 2
    other = mrml.util.addVolumeFromArray(np.zeros((24, 14, 16), np.uint8), finer, "finer")
    mask = np.zeros((24, 14, 16), bool)
    mask[4:20, 3:9, 3:9] = True
    node = drawn_segmentation(mrml, other, {"a": mask})
    assert "spreads over several slices" in scene.geometry_problem(node, plain_volume)
    with pytest.raises(BadInputError, match="does not have the voxel grid"):
        scene.use_segmentation(plain_volume, node)
    copy = scene.copy_on_volume_grid(node, plain_volume)
    assert scene.geometry_problem(copy, plain_volume) is None
    labels = scene.labels_of(copy, plain_volume, {"a": 1})
    np.testing.assert_array_equal(labels[3:9, 4:8, 4:8], 1)
    # Details finer than the volume are lost in the copy, but not in the original.
    np.testing.assert_array_equal(segment_array(mrml, node, "a", other), mask)


def test_overlapping_segments_are_reported_with_names_and_voxels_and_not_merged(volume, mrml):
    from SparseAnnotateLib import scene

    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[4, 2:8, 2:8], b[4, 6:10, 6:10] = True, True
    node = drawn_segmentation(mrml, volume, {"liver": a, "tumour": b})
    with pytest.raises(BadInputError, match=r"overlap: 'liver' and 'tumour' in 4 voxels"):
        scene.labels_of(node, volume, {"liver": 1, "tumour": 2})
    labels = scene.labels_of(node, volume, {"liver": 1, "tumour": 2}, winners=["tumour"])
    np.testing.assert_array_equal(labels == 2, b)
    np.testing.assert_array_equal(labels == 1, a & ~b)
    labels = scene.labels_of(node, volume, {"liver": 1, "tumour": 2}, winners=["liver", "tumour"])
    np.testing.assert_array_equal(labels == 1, a)
    elsewhere = np.zeros(SHAPE, bool)
    elsewhere[5] = True
    scene.labels_of(node, volume, {"liver": 1, "tumour": 2}, where=elsewhere)


def test_missing_segments_and_duplicate_names_are_reported(mrml, plain_volume):
    from SparseAnnotateLib import scene

    node = drawn_segmentation(mrml, plain_volume, {})
    with pytest.raises(BadInputError, match="'drawn' has no segment. Add one"):
        scene.segment_names(node)
    for segment_id in ("x", "y"):
        node.GetSegmentation().AddEmptySegment(segment_id, "same")
    with pytest.raises(BadInputError, match="several segments named 'same'"):
        scene.segment_names(node)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_applying_is_one_undo_step_and_leaves_other_segments_bit_identical(embedded, seed, collapsed, overlapping):
    import slicer

    from SparseAnnotateLib import scene

    embedded.clear_scene()
    volume = slicer.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), OBLIQUE, "volume")
    labels = random_labels(seed, 4)
    masks = {name: labels == value for value, name in enumerate("abcd", start=1)}
    if overlapping:
        masks["d"] = masks["d"] | masks["a"]
    node = drawn_segmentation(slicer, volume, masks)
    if collapsed:
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    result = random_labels(seed + 1, 2)
    editor = scene.editor_for(node, volume)
    editor.SaveStateForUndo()
    scene.apply_labels(node, result, {"a": 1, "b": 2}, volume)
    for name, expected in (("a", result == 1), ("b", result == 2), ("c", masks["c"]), ("d", masks["d"])):
        np.testing.assert_array_equal(segment_array(slicer, node, name, volume), expected, err_msg=name)
    assert editor.CanUndo()
    editor.Undo()
    for name, expected in masks.items():
        np.testing.assert_array_equal(segment_array(slicer, node, name, volume), expected, err_msg=name)
    assert not editor.CanUndo()


def test_the_ledger_is_saved_with_the_scene(mrml, plain_volume, embedded, tmp_path):
    from SparseAnnotateLib import scene

    node = scene.annotated_segmentation(plain_volume, create=True)
    entry = LedgerEntry(Plane.AXIAL, 3, order=1, score=0.1, reason='models "disagree": 100 %; <here> & there')
    ledger = Ledger((entry,)).with_state(Plane.CORONAL, 5, SliceState.EMPTY, 12.25)
    scene.store_ledger(node, plain_volume, ledger)
    embedded.save_scene(tmp_path / "s.mrb")
    embedded.load_scene(tmp_path / "s.mrb")
    volume = mrml.util.getNode("volume")
    assert scene.stored_ledger(scene.annotated_segmentation(volume), volume) == ledger


def test_a_damaged_ledger_is_reported(mrml, plain_volume):
    from SparseAnnotateLib import scene

    node = scene.annotated_segmentation(plain_volume, create=True)
    node.SetAttribute("SparseAnnotate.Ledger", '{"entries": [')
    with pytest.raises(
        BadInputError, match="ledger stored in the segmentation 'volume annotation': it is not valid JSON"
    ):
        scene.stored_ledger(node, plain_volume)


def test_a_segmentation_on_the_volume_is_not_chosen_for_drawing_by_itself(mrml, plain_volume):
    from SparseAnnotateLib import scene

    reference = scene.new_segmentation("reference", random_labels(), {1: "a"}, plain_volume)
    assert scene.annotated_segmentation(plain_volume) is None
    assert scene.annotated_segmentation(plain_volume, create=True) is not reference
    scene.use_segmentation(plain_volume, reference)
    assert scene.annotated_segmentation(plain_volume) is reference


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (lambda s: None, "No volume is selected"),
        (lambda s: s.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bare"), "not a volume with image data"),
        (lambda s: s.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "model"), "not a volume with image data"),
        (
            lambda s: s.util.addVolumeFromArray(
                np.zeros((4, 5, 6, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode"
            ),
            "3 values per voxel",
        ),
        (lambda s: s.util.addVolumeFromArray(np.zeros((1, 5, 6)), name="flat"), "'flat' is a 2D image"),
        (
            lambda s: s.util.addVolumeFromArray(np.full((4, 5, 6), np.nan), name="nan"),
            "'nan' contains voxels that are not",
        ),
    ],
)
def test_a_node_that_is_not_a_usable_volume_is_refused_by_name(mrml, node, words):
    from SparseAnnotateLib import scene

    with pytest.raises(BadInputError, match=words):
        scene.image_of(node(mrml))


def test_cases_are_named_after_volumes_and_their_names_are_unique(mrml):
    from SparseAnnotateLib import scene

    volumes = [mrml.util.addVolumeFromArray(np.zeros(SHAPE), name=n) for n in ("T1: a/b", "T1: a/b", "..", "é")]
    names = [scene.case_of(v) for v in volumes]
    assert [name[:-9] for name in names] == ["T1_ a_b", "T1_ a_b", "case", "é"]
    assert len(set(names)) == 4
    assert [scene.case_of(v) for v in volumes] == names


def test_slices_are_found_again_when_slicer_flips_a_left_handed_volume(mrml, embedded, tmp_path):
    from SparseAnnotateLib import scene

    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume = mrml.util.addVolumeFromArray(array, np.diag([-1.0, 1.0, 2.0, 1.0]), "left-handed")
    labels = random_labels(3, 1)
    node = drawn_segmentation(mrml, volume, {"a": labels == 1})
    scene.use_segmentation(volume, node)
    ledger = Ledger().with_state(Plane.AXIAL, 2, SliceState.DRAWN).with_state(Plane.SAGITTAL, 4, SliceState.DRAWN)
    scene.store_ledger(node, volume, ledger)
    before = scene.annotation_of(volume, node)
    shown = {e.key: before.labels.take(e.index, axis=e.plane.array_axis(before.geometry)).sum() for e in ledger.entries}
    embedded.save_scene(tmp_path / "s.mrb")
    embedded.load_scene(tmp_path / "s.mrb")
    volume = mrml.util.getNode("left-handed")
    again = scene.annotation_of(volume, scene.annotated_segmentation(volume))
    assert len(again.ledger.entries) == 2
    for old, new in zip(ledger.entries, again.ledger.entries, strict=True):
        assert new.plane is old.plane
        layer = again.labels.take(new.index, axis=new.plane.array_axis(again.geometry))
        assert layer.sum() == shown[old.key]


def test_slices_of_a_volume_that_was_resampled_are_not_confused_with_others(mrml, plain_volume):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene.volume_nodes import vtk_matrix

    node = scene.annotated_segmentation(plain_volume, create=True)
    scene.store_ledger(node, plain_volume, Ledger().with_state(Plane.AXIAL, 3, SliceState.EMPTY))
    moved = OBLIQUE.copy()
    moved[:3, 3] += 0.4 * OBLIQUE[:3, 2]
    plain_volume.SetIJKToRASMatrix(vtk_matrix(moved))
    with pytest.raises(BadInputError, match="no longer slices of the volume"):
        scene.stored_ledger(node, plain_volume)


def test_a_cloned_volume_has_its_own_case_and_segmentation(mrml, plain_volume):
    from SparseAnnotateLib import scene

    name = scene.case_of(plain_volume)
    segmentation = scene.annotated_segmentation(plain_volume, create=True)
    clone = mrml.modules.volumes.logic().CloneVolume(mrml.mrmlScene, plain_volume, "clone")
    assert scene.case_of(clone) != name == scene.case_of(plain_volume)
    assert scene.annotated_segmentation(clone, create=True) is not segmentation
    assert scene.annotated_segmentation(plain_volume) is segmentation


def test_the_cases_of_many_volumes_are_found_in_one_look_through_the_scene(mrml, plain_volume, monkeypatch):
    from SparseAnnotateLib import scene

    name = scene.case_of(plain_volume)
    clones = [mrml.modules.volumes.logic().CloneVolume(mrml.mrmlScene, plain_volume, f"clone {n}") for n in range(3)]
    looks, nodes_of_class = [], mrml.util.getNodesByClass
    monkeypatch.setattr(mrml.util, "getNodesByClass", lambda kind: looks.append(kind) or nodes_of_class(kind))
    # The second time a clone is asked for, it has the name that it got the first time.
    names = scene.cases_of([clones[0], plain_volume, *clones])
    assert len(looks) == 1
    assert names[1] == name
    assert names[0] == names[2]
    assert len(set(names)) == 4
    assert scene.cases_of([clones[0], plain_volume, *clones]) == names
    assert [scene.case_of(node) for node in clones] == names[2:]


def test_an_exported_case_has_image_slices_and_geometry_and_is_written_once(mrml, tmp_path, volume):
    from SparseAnnotateLib import scene

    labels = random_labels(2, 2)
    node = drawn_segmentation(mrml, volume, {"a": labels == 1, "b": labels == 2})
    scene.use_segmentation(volume, node)
    scene.store_ledger(node, volume, Ledger().with_state(Plane.AXIAL, 4, SliceState.DRAWN))
    cohort = Cohort.create(tmp_path / "c", "c")
    assert len(list(scene.exporting_case(cohort, volume, node, {"b": 1, "a": 2}))) > 1
    name = scene.case_of(volume)
    image, geometry = cohort.image(name)
    np.testing.assert_array_equal(image, mrml.util.arrayFromVolume(volume))
    assert geometry.resembles(scene.geometry_of(volume))
    axis = Plane.AXIAL.array_axis(geometry)
    stored = cohort.annotation(name).labels
    expected = np.zeros_like(labels)
    np.moveaxis(expected, axis, 0)[4] = np.array([0, 2, 1])[np.moveaxis(labels, axis, 0)[4]]
    np.testing.assert_array_equal(stored, expected)
    assert list(scene.exporting_case(cohort, volume, node, {"b": 1, "a": 2})) == []
    drawn = segment_array(mrml, node, "a", volume).astype(np.uint8)
    np.moveaxis(drawn, axis, 0)[4] = 0
    mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, node, "a", volume)
    written = cohort.image_path(name).stat().st_mtime_ns
    assert list(scene.exporting_case(cohort, volume, node, {"b": 1, "a": 2}))
    assert cohort.image_path(name).stat().st_mtime_ns == written
    assert cohort.annotation(name).label_values() == [1]
    assert list(scene.exporting_case(cohort, volume, node, {"b": 3, "a": 2}))
    assert cohort.annotation(name).label_values() == [3]


@pytest.mark.parametrize("plane", list(Plane))
def test_jumping_shows_the_slice_in_its_own_plane(volume, mrml, plane):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene.volume_nodes import matrix_array

    node = mrml.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetLayoutName("Test")
    mrml.mrmlScene.AddNode(node)
    scene.jump_to_slice(node, volume, plane, 5)
    geometry = scene.geometry_of(volume)
    axis = plane.array_axis(geometry)
    slice_to_ras = matrix_array(node.GetSliceToRAS())
    normal = slice_to_ras[:3, 2] / np.linalg.norm(slice_to_ras[:3, 2])
    assert abs(normal @ geometry.directions[:, axis]) == pytest.approx(1, abs=1e-5)
    centre = np.linalg.inv(geometry.matrix) @ [*slice_to_ras[:3, 3], 1]
    assert centre[2 - axis] == pytest.approx(5, abs=1e-6)
