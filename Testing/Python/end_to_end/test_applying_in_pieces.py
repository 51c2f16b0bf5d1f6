"""A result is applied in pieces while the window lives: whatever a person does meanwhile, nothing silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError

DRAWN = (6, 9, 12, 15, 18)


class Pieces:
    """The event loop of a logic, one piece of work at a time."""

    def __init__(self):
        self.waiting: list = []

    def step(self) -> bool:
        """Do the next piece; False when there is none."""
        if self.waiting:
            self.waiting.pop(0)()
        return bool(self.waiting)


@pytest.fixture
def pieces(monkeypatch):
    """Pieces as small as one layer of labels, each of which waits for its turn."""
    from SparseAnnotateLib.client import jobs
    from SparseAnnotateLib.core import pieces

    monkeypatch.setattr(pieces, "PIECE_BYTES", 28 * 32)
    ticks = iter(range(1 << 30))
    # One piece a turn, however fast they are.
    monkeypatch.setattr(jobs.time, "monotonic", lambda: next(ticks) / 2)
    monkeypatch.setattr(jobs, "_PIECES_SECONDS", 0.75)
    return Pieces()


@pytest.fixture
def logic(mrml, tmp_path, pieces):
    from SparseAnnotate import SparseAnnotateLogic

    logic = SparseAnnotateLogic()
    logic.cohortFolder = tmp_path / "cohort"
    logic.session.jobs._later = pieces.waiting.append
    yield logic
    logic.close()


@pytest.fixture
def filled(mrml, logic):
    """A volume with two structures on five drawn slices, and its fill."""
    labels = ball() + 2 * ball(radius=4.0, centre=(12, 14, 27)) * (1 - ball())
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    from SparseAnnotateLib import scene

    drawn = np.zeros_like(labels)
    drawn[list(DRAWN)] = labels[list(DRAWN)]
    segmentation = scene.new_segmentation("drawing", drawn, {1: "ball", 2: "bud"}, volume)
    logic.useSegmentation(volume, segmentation)
    for index in DRAWN:
        logic.markDrawn(volume, "axial", index)
    return volume, segmentation, logic.fillBetweenSlices(volume, "shape")


def labels_in(volume, segmentation) -> np.ndarray:
    from SparseAnnotateLib import scene

    return scene.labels_of(segmentation, volume, {"ball": 1, "bud": 2})


def started(logic, volume, result):
    """Start to apply a result; the list of how it ended."""
    ends: list = []
    logic.panel.apply(volume, result, None, waitForCompletion=False, onDone=lambda *end: ends.append(end))
    return ends


def through(pieces, ends, at: int | None = None, action=None) -> int:
    """Do all pieces, and something before one of them; how many there were."""
    count = 0
    while not ends:
        if count == at:
            action()
        pieces.step()
        count += 1
        assert count < 5000, (len(pieces.waiting), ends)
    assert at is None or count > at
    return count


def test_the_pieces_do_what_is_done_at_once_and_only_the_last_changes_anything(logic, filled, pieces):
    volume, segmentation, result = filled
    before = labels_in(volume, segmentation)
    assert logic.applyFill(volume, result) == []
    at_once = labels_in(volume, segmentation)
    assert (at_once != before).any()
    logic.undo(volume)
    np.testing.assert_array_equal(labels_in(volume, segmentation), before)
    ends = started(logic, volume, result)
    seen = []
    while not ends:
        seen.append(np.array_equal(labels_in(volume, segmentation), before))
        pieces.step()
    assert len(seen) > 5 * len(before)  # at most one layer of one structure's labels at a time
    assert all(seen)
    assert ends == [([], None)]
    np.testing.assert_array_equal(labels_in(volume, segmentation), at_once)
    logic.undo(volume)
    np.testing.assert_array_equal(labels_in(volume, segmentation), before)
    assert not logic.panel.can_undo(volume)


def moments(logic, filled, pieces) -> list[int]:
    """Some of the pieces, from the first to the last."""
    volume, _segmentation, result = filled
    count = 0
    for _time in range(3):  # until there are as many records of what was applied as are kept
        count = through(pieces, started(logic, volume, result))
        logic.undo(volume)
    return sorted({0, 1, count // 4, count // 2, 3 * count // 4, count - 2, count - 1})


@pytest.mark.parametrize("which", [0, 3, 6])
def test_another_drawing_that_is_chosen_meanwhile_is_not_applied_to(logic, filled, pieces, which):
    from SparseAnnotateLib import scene

    volume, segmentation, result = filled
    moment = moments(logic, filled, pieces)[which]
    before = labels_in(volume, segmentation)
    other = scene.new_segmentation("other", before.copy(), {1: "ball", 2: "bud"}, volume)
    ends = started(logic, volume, result)
    through(pieces, ends, moment, lambda: logic.useSegmentation(volume, other))
    if ends[0][1] is None:  # all had been applied before
        assert (labels_in(volume, segmentation) != before).any()
    else:
        assert "Another segmentation or frame of 'scan' was chosen" in ends[0][1].message
        np.testing.assert_array_equal(labels_in(volume, segmentation), before)
    np.testing.assert_array_equal(labels_in(volume, other), before)


@pytest.mark.parametrize("which", range(7))
def test_a_slice_that_is_drawn_meanwhile_is_not_overwritten(logic, filled, pieces, which):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane

    volume, segmentation, result = filled
    blot = np.zeros(labels_in(volume, segmentation)[0].shape, bool)
    blot[2:5, 3:7] = True
    moment = moments(logic, filled, pieces)[which]

    def draw() -> None:
        masks = {"ball": blot, "bud": np.zeros_like(blot)}
        scene.put_slice(segmentation, volume, Plane.AXIAL, 10, masks, scene.editor_for(segmentation, volume))
        logic.markDrawn(volume, "axial", 10)

    ends = started(logic, volume, result)
    through(pieces, ends, moment, draw)
    assert ends == [([], None)]
    now = labels_in(volume, segmentation)
    np.testing.assert_array_equal(now[10], blot)
    assert now[11].any()
    (sentence,) = logic.applyReport(volume)
    assert "Slices were drawn or changed after" in sentence
    assert "axial 10" in sentence


def test_what_is_painted_meanwhile_without_being_marked_is_not_overwritten(mrml, logic, filled, pieces):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane

    volume, segmentation, result = filled
    blot = np.zeros(labels_in(volume, segmentation)[0].shape, bool)
    blot[2:5, 3:7] = True

    def paint() -> None:
        editor = scene.editor_for(segmentation, volume)
        scene.put_slice(segmentation, volume, Plane.AXIAL, 2, {"bud": blot}, editor)

    count = moments(logic, filled, pieces)[-1]
    ends = started(logic, volume, result)
    through(pieces, ends, count, paint)
    ((left_out, error),) = ends
    assert error is None
    assert left_out == []
    assert (labels_in(volume, segmentation)[2] == 2).sum() == 12
    assert any("not changed: axial 2 ('bud')" in sentence for sentence in logic.applyReport(volume))


def test_a_segmentation_that_never_comes_to_rest_is_left_alone_with_a_sentence(logic, filled, pieces):
    volume, segmentation, result = filled
    before, ends = labels_in(volume, segmentation), started(logic, volume, result)
    while not ends:
        segmentation.GetBinaryLabelmapInternalRepresentation("ball").Modified()
        pieces.step()
    ((_nothing, error),) = ends
    assert "was being changed" in error.message
    np.testing.assert_array_equal(labels_in(volume, segmentation), before)
    assert not logic.panel.can_undo(volume)


@pytest.mark.parametrize("what", ["the volume", "the drawing", "the result", "the scene"])
def test_a_node_that_is_removed_meanwhile_ends_it_with_a_sentence(mrml, embedded, logic, filled, pieces, what):
    volume, segmentation, result = filled
    count = moments(logic, filled, pieces)
    nodes = {"the volume": volume, "the drawing": segmentation, "the result": result}

    def remove() -> None:
        if what == "the scene":
            embedded.clear_scene()
        else:
            mrml.mrmlScene.RemoveNode(nodes[what])

    ends = started(logic, volume, result)
    through(pieces, ends, count[3], remove)
    ((_nothing, error),) = ends
    assert isinstance(error, BadInputError)
    assert "removed" in error.message or "no segmentation" in error.message
    if what == "the scene":
        assert not mrml.util.getNodesByClass("vtkMRMLSegmentationNode")


@pytest.mark.parametrize("which", range(4))
def test_a_module_that_is_reloaded_meanwhile_has_applied_nothing(mrml, logic, filled, pieces, which):
    volume, segmentation, result = filled
    count = moments(logic, filled, pieces)
    before, undo = labels_in(volume, segmentation), logic.panel.can_undo(volume)
    ends = started(logic, volume, result)
    for _piece in range(count[which]):
        pieces.step()
    assert not ends
    logic.panel.forget_calls()
    logic.close()
    while pieces.step():
        pass
    assert not ends, "a job reports its end after the module was reloaded"
    assert not logic.session.jobs._unfinished
    np.testing.assert_array_equal(labels_in(volume, segmentation), before)
    assert logic.panel.can_undo(volume) == undo


def test_what_was_drawn_since_is_found_slice_by_slice(logic, filled, pieces, monkeypatch):
    from SparseAnnotateLib.scene import results

    volume, _segmentation, result = filled
    looked_at, values_in = [], results.values_in
    monkeypatch.setattr(results, "values_in", lambda layer: looked_at.append(layer) or values_in(layer))
    ends, at_once = started(logic, volume, result), []
    while not ends:
        pieces.step()
        at_once.append(len(looked_at))
        looked_at.clear()
    assert ends[0][1] is None
    assert max(at_once) == 1
    assert sum(at_once) == len(DRAWN)


def test_a_volume_that_is_moved_while_its_fill_is_shown_gets_no_fill(mrml, logic, filled, pieces):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core.pieces import result_of
    from SparseAnnotateLib.logic.result_nodes import noting_origin, showing_result

    volume, segmentation, _result = filled
    labels, origins = labels_in(volume, segmentation), {}
    result_of(noting_origin(volume, origins))
    origin = origins[volume.GetID()]
    count = len(mrml.util.getNodesByClass("vtkMRMLNode"))
    steps = showing_result(volume, segmentation, scene.FILL, labels, {"ball": 1, "bud": 2}, origin, labels)
    next(steps)
    volume.SetOrigin(1, 2, 3)
    with pytest.raises(BadInputError, match="has changed while its result was being shown"):
        result_of(steps)
    steps = showing_result(volume, segmentation, scene.FILL, labels, {"ball": 1, "bud": 2}, origin, labels)
    next(steps)
    steps.close()  # cancelled
    steps = showing_result(volume, segmentation, scene.FILL, labels, {"ball": 1, "bud": 2}, origin, labels)
    next(steps)
    assert len(mrml.util.getNodesByClass("vtkMRMLNode")) == count
    mrml.mrmlScene.RemoveNode(volume)
    with pytest.raises(BadInputError, match="removed from the scene"):
        result_of(steps)
