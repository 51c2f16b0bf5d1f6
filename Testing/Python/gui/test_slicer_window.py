"""The window around the panel: what it shows, and that it follows the scene."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PySide6 import QtWidgets
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest

from small_volumes import ball, noisy_image

BLUE = (0.0, 0.0, 1.0)


@pytest.fixture
def application():
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def open_window(mrml, application):
    from SlicerStandIn.slicer_window import SlicerWindow

    windows = []

    def make():
        windows.append(SlicerWindow(QtWidgets.QLabel("the panel")))
        windows[-1].resize(900, 600)
        windows[-1].show()
        application.processEvents()
        return windows[-1]

    yield make
    for window in windows:
        window.close()
        window.deleteLater()


def add_ball(mrml):
    """A volume of 24 slices, 2 mm apart, with a blue ball drawn in it."""
    from SlicerStandIn import view_nodes

    volume = mrml.util.addVolumeFromArray(noisy_image(ball()), np.diag([-1.0, 1.0, 2.0, 1.0]), "ball")
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball", BLUE)
    mrml.util.updateSegmentBinaryLabelmapFromArray(ball().astype(np.uint8), segmentation, "ball", volume)
    view_nodes.show_volume(volume)
    return volume, segmentation


def blue_pixels(view) -> int:
    image = view.picture.pixmap().toImage()
    colours = (image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height()))
    return sum(colour.blue() > colour.red() + 60 for colour in colours)


def drawn_count(mrml, segmentation, volume) -> int:
    return int(mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume).sum())


def wait_until(application, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        application.processEvents()


def test_a_segmentation_is_seen_in_the_slice_views_and_in_3d(mrml, application, open_window, renders):
    window = open_window()
    add_ball(mrml)
    wait_until(application, lambda: window.views["Red"].offset_box.text() == "S: 24.0mm")
    if renders:
        wait_until(application, lambda: all(blue_pixels(view) > 500 for view in window.views.values()))
        window.show_in_3d()
        wait_until(application, lambda: window.three_d.view.shows_something())
        window.draw()
        assert not window.three_d.picture.pixmap().isNull()


def test_the_slider_on_a_bar_moves_its_slice_and_no_other(mrml, application, open_window, renders):
    window = open_window()
    add_ball(mrml)
    window.draw()
    red, green = window.views["Red"], window.views["Green"]
    before = green.logic.GetSliceOffset()
    assert red.slider.maximum() == 23
    red.slider.setValue(1)
    assert red.logic.GetSliceOffset() == 2.0
    assert green.logic.GetSliceOffset() == before
    wait_until(application, lambda: red.offset_box.text() == "S: 2.0mm")
    if renders:
        assert blue_pixels(red) == 0


def test_a_slice_that_is_moved_elsewhere_moves_the_slider(mrml, application, open_window):
    window = open_window()
    add_ball(mrml)
    red = window.views["Red"]
    red.node.JumpSliceByCentering(0.0, 0.0, 10.0)
    wait_until(application, lambda: red.slider.value() == 5)


def test_the_wheel_moves_one_slice_and_stops_at_the_last(mrml, application, open_window):
    window = open_window()
    add_ball(mrml)
    window.draw()
    red = window.views["Red"]
    for _ in range(2):
        turn_wheel(application, red)
    assert red.logic.GetSliceOffset() == 28.0
    red.node.SetSliceOffset(46.0)
    turn_wheel(application, red)
    assert red.logic.GetSliceOffset() == 46.0


def turn_wheel(application, view):
    middle = QPointF(view.rect().center())
    none = Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
    event = QWheelEvent(middle, middle, QPoint(), QPoint(0, 120), Qt.MouseButton.NoButton, *none)
    application.sendEvent(view, event)


def test_the_window_keeps_working_after_the_scene_is_closed(mrml, application, embedded, open_window, renders):
    window = open_window()
    add_ball(mrml)
    window.draw()
    embedded.clear_scene()
    window.draw()
    red = window.views["Red"]
    assert mrml.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode") is red.node
    if renders:
        assert blue_pixels(red) == 0
    add_ball(mrml)
    wait_until(application, lambda: red.offset_box.text() == "S: 24.0mm")
    if renders:
        wait_until(application, lambda: blue_pixels(red) > 500)


def test_a_loaded_scene_is_seen(mrml, embedded, open_window, renders, tmp_path):
    window = open_window()
    add_ball(mrml)
    window.views["Green"].node.SetSliceOffset(12.0)
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    window.draw()
    assert window.views["Green"].offset_box.text() == "A: 12.0mm"
    if renders:
        assert blue_pixels(window.views["Green"]) > 500


def test_without_opengl_the_views_say_what_to_install_and_the_bars_work(mrml, application, open_window, monkeypatch):
    from SlicerStandIn import slice_pictures

    monkeypatch.setattr(slice_pictures, "can_render", lambda: False)
    window = open_window()
    add_ball(mrml)
    assert all(slice_pictures.GL_PACKAGES in view.picture.text() for view in window.all_views)
    red = window.views["Red"]
    wait_until(application, lambda: red.slider.maximum() == 23)
    red.slider.setValue(1)
    assert red.logic.GetSliceOffset() == 2.0


def test_the_brush_of_a_segment_editor_draws_on_one_slice_of_one_segment(mrml, open_window):
    from SlicerStandIn.painting import EditorBrush

    window = open_window()
    volume, segmentation = add_ball(mrml)
    saved = []
    window.set_brush(EditorBrush(before_stroke=saved.append))
    editor = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetAndObserveSourceVolumeNode(volume)
    editor.SetSelectedSegmentID("ball")
    red = window.views["Red"]
    red.node.SetSliceOffset(4.0)
    window.draw()
    before = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume)
    # Right and up in an axial view is left and anterior: further along i and j.
    place = red.picture.mapTo(red, QPoint(red.picture.width() // 2 + 40, red.picture.height() // 2 - 60))
    QTest.mouseClick(red, Qt.MouseButton.LeftButton, pos=place)
    assert drawn_count(mrml, segmentation, volume) == before.sum()  # no effect is active
    editor.SetActiveEffectName("Paint")
    QTest.mouseClick(red, Qt.MouseButton.LeftButton, pos=place)
    after = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume)
    assert saved == [segmentation]
    assert set(np.nonzero(after != before)[0]) == {2}
    _, j, i = np.nonzero(after != before)
    assert j.min() > 14
    assert i.min() > 16
    editor.SetActiveEffectName("Erase")
    QTest.mouseClick(red, Qt.MouseButton.LeftButton, pos=place)
    assert drawn_count(mrml, segmentation, volume) == before.sum()


def test_the_views_that_slicer_always_has_are_added_once(mrml, embedded):
    from SlicerStandIn import view_nodes

    for _ in range(2):
        embedded.clear_scene()
        view_nodes.add_slice_views()
    found = {node.GetID(): node for node in mrml.util.getNodesByClass("vtkMRMLSliceNode")}
    orientations = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
    assert {name: found[f"vtkMRMLSliceNode{name}"].GetOrientation() for name in orientations} == orientations
    layers = {node.GetLayoutName() for node in mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    assert layers >= set(orientations)
    assert len(mrml.util.getNodesByClass("vtkMRMLViewNode")) == 1


@pytest.fixture(scope="module")
def renders() -> bool:
    from SlicerStandIn import slice_pictures

    return slice_pictures.can_render()
