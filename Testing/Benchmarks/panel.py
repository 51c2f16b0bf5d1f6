"""How long the window stands still: the longest gap between ticks of a 20 ms timer while something is clicked.

With hundreds of small volumes, and with one large one. A click is 'quick' when the gap stays below 0.1 s. The processor
time that the window's thread spends between two ticks says the same on a machine that others use, too. Beside it: what
Slicer's own undo takes of a click, which copies all layers that have changed, in one piece.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmark_report import PROJECT, options_parser, report

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(PROJECT / "Testing"))
_TICK = 0.02


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        volumes={"type": int, "default": 500, "help": "small volumes"},
        shape={"type": int, "nargs": 3, "default": (600, 512, 512), "help": "of the large volume (K, J, I)"},
        segments={"type": int, "default": 20, "help": "of the large volume: parts of a ball"},
        only={"choices": ("many", "cohort", "large"), "help": "the small volumes, as many cases, or the large volume"},
    )


def main() -> None:
    options = parser().parse_args()
    volumes, shape = (40, (60, 128, 128)) if options.quick else (options.volumes, tuple(options.shape))
    from Demo.panel_window import open_panel
    from SlicerStandIn import embedded_slicer

    application, widget = open_panel()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        widget.panel.ui.cohortFolderSelector.currentPath = str(Path(folder) / "cohort")
        clicks = _Clicks(application, widget, rows)
        if options.only in (None, "many"):
            _many(clicks, volumes)
            embedded_slicer.clear_scene()
            clicks.idle()
        if options.only in (None, "cohort"):
            _cohort(clicks, _new_cohort(Path(folder) / "cases", volumes))
            embedded_slicer.clear_scene()
            clicks.idle()
        if options.only in (None, "large"):
            widget.panel.ui.cohortFolderSelector.currentPath = str(Path(folder) / "large")
            _large(clicks, shape, options.segments)
        widget.cleanup()
        clicks.idle()
    size = " x ".join(str(n) for n in reversed(shape))
    sets = {"many": f"{volumes} volumes of 24^3", "cohort": "as many cases of a cohort", "large": f"one of {size}"}
    title = "Longest gap between ticks of a timer; "
    title += ", and ".join(text for name, text in sets.items() if options.only in (None, name))
    columns = ("click", "longest gap s", "of it busy s", "busy in Slicer's undo s", "whole s")
    report(title, columns, rows, options, seeds=[0])


class _Clicks:
    """Clicks, and tells for how long the window stood still."""

    def __init__(self, application, widget, rows: list):
        from PySide6 import QtCore

        self._application, self._rows = application, rows
        self.panel, self.ui, self.logic = widget.panel, widget.panel.ui, widget.logic
        self._ticks: list[tuple[float, float]] = []
        self._timer = QtCore.QTimer()
        self._timer.setInterval(int(1000 * _TICK))
        self._timer.timeout.connect(self._tick)
        self._in_undo = 0.0
        editor = type(self.ui.segmentEditorWidget)
        for name in ("saveStateForUndo", "undo"):
            setattr(editor, name, self._timed(getattr(editor, name)))

    def _timed(self, method):
        """A method of the Segment Editor that only calls Slicer's; its processor time is added up."""

        def timed(editor) -> None:
            begin = time.thread_time()
            method(editor)
            self._in_undo += time.thread_time() - begin

        return timed

    def _tick(self) -> None:
        self._ticks.append((time.perf_counter(), time.thread_time()))

    def _live(self) -> None:
        self._application.processEvents()
        time.sleep(0.001)  # a window leaves the processor to others while nothing happens

    def idle(self) -> None:
        """Until nothing is being worked on, and a little longer."""
        until = time.perf_counter() + 0.5
        while self.logic.isBusy or time.perf_counter() < until:
            self._live()

    def until(self, condition) -> None:
        while not condition():
            self._live()

    def measure(self, what: str, action, is_done=None) -> None:
        """Add a row; `is_done` says when what was clicked has happened, by default when no job is running."""
        self._ticks, self._in_undo = [], 0.0
        self._tick()
        self._timer.start()
        begin = time.perf_counter()
        action()
        seconds = time.perf_counter() - begin
        while self.logic.isBusy if is_done is None else not is_done():
            self._live()
            seconds = time.perf_counter() - begin
        self.idle()
        self._timer.stop()
        gap, busy = np.diff(self._ticks, axis=0).max(axis=0)
        self._rows.append((what, max(0.0, float(gap) - _TICK), float(busy), self._in_undo, seconds))


def _many(clicks: _Clicks, count: int) -> None:
    import slicer

    voxels = np.random.default_rng(0).integers(0, 100, (24, 24, 24)).astype(np.int16)
    for number in range(count):
        slicer.util.addVolumeFromArray(voxels, name=f"scan {number:03d}")
    clicks.measure(f"{count} volumes: showing them", clicks.idle)
    clicks.measure("check all", clicks.ui.allVolumesButton.click)
    clicks.measure("recommend 10 %", clicks.ui.recommendButton.click)
    clicks.measure("next", clicks.ui.nextButton.click)
    for node in clicks.panel.session.volumes[:1]:
        clicks.logic.segmentationNode(node).GetSegmentation().AddEmptySegment("a", "a")
    clicks.measure("empty", clicks.ui.emptyButton.click)
    clicks.measure("any refresh", clicks.panel.refresh)


def _new_cohort(folder: Path, count: int) -> Path:
    """A cohort of small volumes, each with four recommended slices."""
    from SparseAnnotateLib.core import Cohort, Plane, VolumeGeometry
    from SparseAnnotateLib.core.ledger import LedgerEntry, SliceState

    voxels = np.random.default_rng(0).integers(0, 100, (24, 24, 24)).astype(np.int16)
    geometry = VolumeGeometry.from_spacing(voxels.shape, (1.0, 1.0, 1.0))
    cohort = Cohort.create(folder, "cases", {1: "a"})
    worklist = {}
    for number in range(count):
        name = f"case {number:03d}"
        cohort.add_case(name, voxels, geometry)
        places = enumerate((5, 9, 13, 17), start=4 * number + 1)
        worklist[name] = [LedgerEntry(Plane.AXIAL, index, SliceState.TODO, order, 1.0, "") for order, index in places]
    cohort.save_recommended(worklist)
    return folder


def _cohort(clicks: _Clicks, folder: Path) -> None:
    clicks.measure("open a cohort", lambda: clicks.panel.data.cases.open(str(folder)))
    clicks.measure("open a case", clicks.ui.openCaseButton.click)
    items = clicks.panel.draw.table.items
    row = next(row for row, item in enumerate(items) if item.case)
    clicks.measure("go to a slice of a case that is not open", lambda: clicks.panel.draw.table.choose(row))
    clicks.measure("any refresh, with a cohort", clicks.panel.refresh)


def _large(clicks: _Clicks, shape: tuple[int, int, int], segments: int) -> None:
    import slicer

    rng = np.random.default_rng(0)
    centre = np.array(shape) / 2
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    ball = ((k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2) < (min(shape) / 3) ** 2
    image = rng.integers(0, 50, shape, dtype=np.int16)
    image += ball.astype(np.int16) * 300
    node = slicer.util.addVolumeFromArray(image, name="large")
    ui = clicks.ui
    clicks.idle()
    clicks.measure("large volume: recommend", ui.recommendButton.click)
    segmentation = clicks.logic.segmentationNode(node)
    # Every part of the ball is on most of its axial slices.
    rows = np.flatnonzero(ball.any(axis=(0, 2)))
    part_of = np.clip((np.arange(shape[1]) - rows[0]) * segments // len(rows), 0, segments - 1)[:, None]
    for number in range(segments):
        segmentation.GetSegmentation().AddEmptySegment(f"part {number}", f"part {number}")
    drawn = np.zeros(shape, bool)
    for item in clicks.panel.draw.table.items:
        drawn[item.index] = ball[item.index]
    for number in range(segments):
        mask = (drawn & (part_of == number)).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, f"part {number}", node)
    # One layer for all, as when they are painted in the Segment Editor.
    segmentation.GetSegmentation().CollapseBinaryLabelmaps(False)
    clicks.idle()
    clicks.measure("next slice", ui.nextButton.click)
    clicks.measure("drawn", ui.drawnButton.click)
    clicks.measure("start from the nearest slice", ui.startButton.click)
    for item in clicks.panel.draw.table.items:
        clicks.logic.markDrawn(item.volumeNode, item.plane, item.index)
    clicks.panel.refresh()
    ui.fillMethodSelector.setCurrentText("Shape")
    clicks.measure("fill (shape), with writing and showing", ui.fillButton.click)
    clicks.measure("confidence", ui.confidenceCheckBox.click)
    ui.confidenceCheckBox.click()
    clicks.idle()
    correcting = clicks.panel.draw.correcting
    clicks.measure("correct the answer", ui.correctCheckBox.click, lambda: correcting.node is not None)
    for number in ("first", "next"):
        before = clicks.logic.panel.correction_count(node)
        clicks.measure(
            f"{number} stroke in the answer: slice at hand",
            lambda: _paint(clicks, node),
            lambda before=before: clicks.logic.panel.correction_count(node) > before,
        )
        clicks.until(lambda: not correcting.is_waiting)
        clicks.measure(
            f"{number} stroke with all that follows",
            lambda: _paint(clicks, node),
            lambda before=before: clicks.logic.panel.correction_count(node) > before + 1 and not correcting.is_waiting,
        )
    clicks.measure("undo a correction", ui.undoCorrectionButton.click)
    clicks.measure("draw slices again", ui.correctCheckBox.click)
    clicks.measure("apply", ui.applyButton.click, lambda: not clicks.panel.result.is_applying)
    clicks.measure("undo", ui.undoButton.click)
    _learn(clicks, node)


def _learn(clicks: _Clicks, node) -> None:
    """Until a model learns, until it has learned from a further slice, and until it suggests a drawing."""
    box, label = clicks.ui.learnCheckBox, clicks.ui.learningLabel
    item, count = clicks.panel.draw.table.items[0], len(clicks.panel.draw.table.items)
    clicks.measure("learn while I draw: first step", box.click, lambda: "step" in label.text)
    clicks.logic.markToDo(node, item.plane, item.index)
    clicks.until(lambda: f"from {count - 1} drawn" in label.text)

    def mark() -> None:
        clicks.logic.markDrawn(node, item.plane, item.index)

    clicks.measure("drawn: learned from", mark, lambda: f"from {count} drawn" in label.text)
    clicks.until(lambda: int(label.text.split("step ")[1].split(",")[0]) >= 20)
    found: list = []
    for number, what in enumerate(("first suggestion for a slice", "next suggestion"), start=1):
        clicks.measure(
            what,
            lambda number=number: clicks.logic.suggestSlice(
                node, item.plane, item.index + number, waitForCompletion=False, onDone=lambda *end: found.append(end)
            ),
            lambda number=number: len(found) == number,
        )
    problems = [error for _suggestion, error in found if error is not None]
    if problems:
        raise problems[0]
    clicks.measure("stop learning", box.click, lambda: not clicks.logic.panel.is_learning)


def _paint(clicks: _Clicks, node) -> None:
    """A small ball beside the surface of the answer, as a brush paints it; then the panel takes it."""
    from SparseAnnotateLib import scene

    result = clicks.panel.result.node
    values = scene.label_values(result)
    shape = scene.geometry_of(node).shape
    middle = [n // 2 for n in shape]
    middle[0] += 3 + 2 * clicks.logic.panel.correction_count(node)
    middle[1] += 8  # inside of a part
    middle[2] += min(shape) // 3
    place = tuple(slice(m - 4, m + 5) for m in middle)
    now = scene.labels_of(result, node, values, region=place)
    grid = np.ogrid[-4:5, -4:5, -4:5]
    wanted = np.where(sum(g**2 for g in grid) <= 16, now[4, 4, 0], now).astype(now.dtype)
    editor = scene.editor_for(result, node)
    scene.put_labels(result, node, place, wanted, values, editor)


if __name__ == "__main__":
    main()
