"""Corrections in a scene that is opened again, after a crash, and with very many structures."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import point
from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError

VALUES = {"ball": 1, "box": 2}


@pytest.fixture
def reopened(mrml, logic, embedded, tmp_path):
    """Saves the scene and opens it again; returns the volume."""

    def reopen(name: str = "scan", save: bool = True):
        logic.forgetScene()
        if save:
            embedded.save_scene(tmp_path / "scene.mrb")
        embedded.load_scene(tmp_path / "scene.mrb")
        return mrml.util.getNode(name)

    return reopen


def test_corrections_and_the_corrected_answer_are_in_a_scene_that_is_opened_again(logic, drawn, reopened):
    volume, _labels, node = drawn
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    logic.correct(volume, "box", point(volume, (15, 3, 4)), outside=True)
    before, strokes = scene.labels_of(node, volume, VALUES), logic.corrections(volume).strokes
    volume = reopened()
    node = logic.panel.latest_result(volume)
    # Slicer has turned the left-handed volume round: the same places, in another order.
    turned = before[::-1]
    np.testing.assert_array_equal(scene.labels_of(node, volume, VALUES), turned)
    for stroke, old in zip(logic.corrections(volume).strokes, strokes, strict=True):
        mask = np.zeros(before.shape, bool)
        mask.reshape(-1)[old.voxels] = True
        np.testing.assert_array_equal(stroke.voxels, np.flatnonzero(mask[::-1]))
        assert (stroke.value, stroke.is_in) == (old.value, old.is_in)
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)
    # It is corrected on, and all corrections can be removed; the result says then that it is out of date.
    done = logic.correct(volume, "ball", point(volume, (10, 10, 22)))
    assert done.corrections == 3
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(scene.labels_of(node, volume, VALUES), turned)
    assert logic.clearCorrections(volume) is False
    assert scene.corrected_since(node, volume)


def test_what_was_corrected_after_the_last_save_is_lost_in_a_crash_and_no_more(logic, drawn, reopened):
    volume, _labels, _node = drawn
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    reopened()
    volume = reopened(save=False)
    count = logic.panel.correction_count(volume)
    result = logic.panel.latest_result(volume)
    before = scene.labels_of(result, volume, VALUES)
    logic.correct(volume, "ball", point(volume, (10, 10, 22)))
    # The crash: the scene is what was saved last, and the answer belongs to the corrections there.
    volume = reopened(save=False)
    assert logic.panel.correction_count(volume) == count == 1
    result = logic.panel.latest_result(volume)
    np.testing.assert_array_equal(scene.labels_of(result, volume, VALUES), before)
    assert not scene.corrected_since(result, volume)


def test_an_answer_with_three_hundred_structures_is_corrected(mrml, logic):
    labels = ball(radius=9.0).astype(np.uint16)
    rows = np.flatnonzero(labels)
    labels.reshape(-1)[rows] = 1 + np.arange(len(rows)) * 300 // len(rows)
    volume = mrml.util.addVolumeFromArray(noisy_image((labels > 0).astype(np.uint8)), np.eye(4), "scan")
    names = {value: f"part {value}" for value in range(1, 301)}
    drawn = np.zeros_like(labels)
    drawn[[4, 12, 20]] = labels[[4, 12, 20]]
    logic.useSegmentation(volume, scene.new_segmentation("drawing", drawn, names, volume))
    for index in (4, 12, 20):
        logic.markDrawn(volume, "axial", index)
    values = {name: value for value, name in names.items()}
    result = scene.new_segmentation("result", labels, names, volume)
    drawing = logic.drawnIn(volume)
    annotation = scene.annotation_of(volume, drawing, values)
    scene.set_made_by(result, "run 1")
    scene.store_origin(result, scene.origin_now(volume, annotation, names))
    before = scene.labels_of(result, volume, values)
    assert before.dtype == np.uint16
    done = logic.correct(volume, "part 300", point(volume, (2, 3, 3)), resultNode=result)
    (stroke,) = logic.corrections(volume).strokes
    assert stroke.value == 300
    now = scene.labels_of(result, volume, values)
    assert (now.reshape(-1)[stroke.voxels] == 300).all()
    assert np.count_nonzero(now != before) == done.voxels + done.changed
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(scene.labels_of(result, volume, values), before)
