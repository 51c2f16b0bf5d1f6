"""Pictures of the panel at each step of the workflow, created by clicking through it on the MNI152 template.

Instead of a person, the script paints the reference labels, slice by slice, in the panel's Segment Editor.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from SlicerStandIn import embedded_slicer, slice_pictures

_SIZE = (1400, 880)
_SECONDS = 1200.0
_HIGHLIGHT = (0.9, 0.45, 0.35), (0.35, 0.65, 0.9)


def main() -> int:
    options = _options()
    if not slice_pictures.can_render():
        print(f"No pictures: this machine has no OpenGL. Install {slice_pictures.GL_PACKAGES}.")
        return 1
    embedded_slicer.start()
    from SlicerStandIn import qt_facade, slicer_style, slicer_window, view_nodes

    from . import demo_data
    from .panel_window import open_panel

    application = qt_facade.install()
    slicer_style.apply(application, dark=False)
    _, widget = open_panel()
    window = slicer_window.SlicerWindow(widget.parent)
    window.resize(*_SIZE)
    window.show()
    (case,) = demo_data.mni152_case(2)
    view_nodes.show_volume(case.volume)
    photographer = _Photographer(application, window, widget, Path(options.out).absolute())
    try:
        _walk(photographer, case, options.iterations, lambda dark: slicer_style.apply(application, dark))
    finally:
        window.close()
        widget.cleanup()
        photographer.until(lambda: not widget.logic.panel.worker_is_running)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="Testing/run screenshots", description=__doc__)
    default = embedded_slicer.PROJECT / "Resources" / "Screenshots"
    parser.add_argument("--out", default=str(default), help="folder for the pictures (default Resources/Screenshots)")
    parser.add_argument("--iterations", type=int, default=300, help="training steps (default 300)")
    return parser.parse_args()


class _Photographer:
    """Clicks, waits, and takes pictures of the window."""

    def __init__(self, application, window, widget, out: Path):
        self.application, self.window, self.out = application, window, out
        self.panel, self.ui, self.logic = widget.panel, widget.panel.ui, widget.logic

    def until(self, condition) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Timed out; message of the panel: {self.ui.messageLabel.text}")
            self.application.processEvents()
            time.sleep(0.001)  # a window leaves the processor to others while nothing happens

    def idle(self) -> None:
        self.until(lambda: not self.logic.isBusy)
        for _ in range(10):
            self.application.processEvents()

    def click(self, button) -> None:
        button.click()
        self.idle()

    def take(self, name: str) -> None:
        """Save the window with few colours, because everyone who views the extension downloads the pictures."""
        from PIL import Image

        path = self.out / f"{name}.png"
        self.window.save_picture(path)
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(path)


def _save_thumbnail(p: _Photographer, path: Path) -> None:
    """What Slicer's Sample Data module shows beside the tutorial's data."""
    view = p.window.views["Green"].picture
    # Without the annotations in the corners.
    side = int(0.86 * min(view.width(), view.height()))
    left, top = (view.width() - side) // 2, (view.height() - side) // 2
    view.grab().copy(left, top, side, side).scaledToHeight(256).save(str(path))
    print(path)


def _walk(p: _Photographer, case, iterations: int, style) -> None:
    ui = p.ui
    p.idle()
    ui.axialCheckBox.checked, ui.coronalCheckBox.checked = False, True
    ui.budgetKindSelector.setCurrentText("slices")
    ui.budgetSpinBox.value = 10
    p.click(ui.suggestPlanButton)
    p.take("1_recommend")
    p.click(ui.recommendButton)
    masks = _add_segments(p, case)
    for number, item in enumerate(p.panel.draw.table.items):
        p.panel.draw.clock.start()
        if number == 4:
            _use_suggestion(p)
        _paint(p, masks, item)
        # Simulated drawing time.
        p.panel.draw.clock._seconds = 38.0 + 5.0 * (number % 4)
        if number == 5:
            p.window.show_in_3d()
            p.take("2_draw")
            style(True)
            p.idle()
            p.take("2_draw_dark")
            style(False)
            p.window.show_in_3d(False)
        ui.drawnButton.click()
        p.idle()
        if number == 0:
            ui.learnCheckBox.click()
        if number < 4:
            # A person takes longer than the script: each slice is learned from before the next one is drawn.
            p.until(lambda drawn=number + 1: f"from {drawn} drawn" in ui.learningLabel.text)
    # The middle of the head for the views.
    p.logic.jumpToSlice(case.volume, "coronal", p.panel.draw.table.items[4].index)
    p.panel.open(p.panel.fill)
    p.click(ui.fillButton)
    _show_alone(p, p.panel.result.node)
    p.window.show_in_3d()
    p.take("3_fill")
    _save_thumbnail(p, p.out / "thumbnail.png")
    p.window.show_in_3d(False)
    _correct(p, case, masks)
    p.panel.open(p.panel.train)
    ui.iterationsSpinBox.value = iterations
    p.click(ui.estimateButton)
    ui.trainButton.click()
    half = 0.5 * ui.progressBar.maximum
    p.until(lambda: ui.progressBar.value > half or not p.logic.isBusy)
    p.take("5_train")
    p.idle()
    p.click(ui.runButton)
    _show_alone(p, p.panel.result.node)
    ui.confidenceCheckBox.click()
    p.take("6_run")
    ui.confidenceCheckBox.click()
    p.panel.open(p.panel.measure)
    ui.measuredSelector.setCurrentNode(p.panel.result.node)
    ui.referenceSelector.setCurrentNode(case.reference)
    p.click(ui.measureButton)
    p.take("7_measure")
    p.panel.open(p.panel.environment)
    ui.environmentButton.click()
    p.until(lambda: bool(ui.versionsLabel.text))
    p.take("8_environment")


def _use_suggestion(p: _Photographer) -> None:
    """Wait until the model has been measured on a few slices, take a picture of what it suggests, and stop it."""
    p.until(lambda: "last 2 slices" in p.ui.offerLabel.text or "last 3 slices" in p.ui.offerLabel.text)
    p.ui.offerButton.click()
    p.idle()
    p.take("2_suggestion")
    p.logic.undo(p.panel.session.volume)
    p.ui.learnCheckBox.click()
    p.until(lambda: not p.logic.panel.is_learning)


def _add_segments(p: _Photographer, case) -> dict[str, np.ndarray]:
    """A segment for each structure of the reference; returns the voxels of each."""
    import slicer

    segmentation = p.logic.segmentationNode(case.volume)
    reference = case.reference.GetSegmentation()
    masks = {}
    for number in range(reference.GetNumberOfSegments()):
        segment = reference.GetNthSegment(number)
        masks[segment.GetName()] = slicer.util.arrayFromSegmentBinaryLabelmap(
            case.reference, reference.GetNthSegmentID(number), case.volume
        ).astype(bool)
        own = segmentation.GetSegmentation().AddEmptySegment(segment.GetName(), segment.GetName())
        segmentation.GetSegmentation().GetSegment(own).SetColor(*_HIGHLIGHT[number % len(_HIGHLIGHT)])
    p.panel.refresh()
    return masks


def _paint(p: _Photographer, masks: dict[str, np.ndarray], item) -> None:
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane

    axis = Plane.named(item.plane).array_axis(scene.geometry_of(item.volumeNode))
    layer = tuple(item.index if a == axis else slice(None) for a in range(3))
    for name, mask in masks.items():
        stroke = np.zeros_like(mask)
        stroke[layer] = mask[layer]
        p.ui.segmentEditorWidget.paint(stroke, name)
    p.until(lambda: not p.panel.draw.painting.is_waiting)


def _correct(p: _Photographer, case, masks: dict[str, np.ndarray]) -> None:
    """Correct the largest errors half-way between two drawn slices, take a picture, and remove the corrections."""
    from scipy import ndimage

    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane

    node = p.panel.result.node
    first, second = p.panel.draw.table.items[4].index, p.panel.draw.table.items[5].index
    p.panel.open(p.panel.draw)
    p.logic.jumpToSlice(case.volume, "coronal", (first + second) // 2)
    axis = Plane.CORONAL.array_axis(scene.geometry_of(case.volume))
    layer = tuple((first + second) // 2 if a == axis else slice(None) for a in range(3))
    p.ui.correctCheckBox.click()
    p.idle()
    for name, mask in masks.items():
        shown = scene.labels_of(node, case.volume, {name: 1})
        missing = np.zeros_like(mask)
        missing[layer] = mask[layer] & (shown[layer] == 0)
        away = ndimage.distance_transform_edt(missing)
        middle = np.unravel_index(int(away.argmax()), away.shape)
        near = ndimage.distance_transform_edt(np.arange(away.size).reshape(away.shape) != away.argmax()) < 4
        p.ui.segmentEditorWidget.paint(near & missing, name)
        p.until(lambda: not p.panel.draw.correcting.is_waiting)
        print(f"{name} at {middle}: {p.ui.messageLabel.text}")
    p.idle()
    p.take("4_correct")
    p.click(p.ui.clearCorrectionsButton)
    p.ui.correctCheckBox.click()
    p.idle()


def _show_alone(p: _Photographer, node) -> None:
    """Show the result without the drawing below it."""
    p.logic.segmentationNode(p.panel.session.volume).GetDisplayNode().SetVisibility(False)
    node.GetDisplayNode().SetVisibility(True)
    p.idle()


if __name__ == "__main__":
    sys.exit(main())
