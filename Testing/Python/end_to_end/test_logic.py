"""The scripting interface, in the embedded scene."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Plane,
    SliceState,
    SparseAnnotateError,
    WorkerError,
)

PROJECT = Path(__file__).resolve().parents[3]
MATRIX = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 2, -30], [0, 0, 0, 1]])


def add_ball(mrml, name="ball", centre=None):
    labels = ball((24, 28, 32), centre=centre)
    return mrml.util.addVolumeFromArray(noisy_image(labels), MATRIX, name), labels


def draw(mrml, logic, volume, labels, items):
    """Paint the slices as a user would, in one segment."""
    segmentation = logic.segmentationNode(volume)
    drawn = np.zeros_like(labels)
    for item in items:
        drawn[item.index] = labels[item.index]
    if not segmentation.GetSegmentation().GetNumberOfSegments():
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "ball", volume)
    for item in items:
        logic.markDrawn(volume, item.plane, item.index, seconds=30)


def array_of(mrml, node, volume, name="ball"):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return mrml.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_whole_job_from_the_console(mrml, logic, embedded, tmp_path):
    volumes, labels = zip(*(add_ball(mrml, f"ball {n}", (12, 12 + 2 * n, 16)) for n in range(2)), strict=True)
    worklist = logic.recommendSlices(volumes, density=0.2, wholeVolume=True)
    assert len(worklist) == 10
    assert [item.index for item in worklist[:5]] != [item.index for item in worklist[5:]]
    for volume, truth in zip(volumes, labels, strict=True):
        draw(mrml, logic, volume, truth, [i for i in worklist if i.volumeNode is volume])
    assert {item.state for item in logic.worklist(volumes)} <= {"drawn", "empty"}
    assert logic.worklist(volumes)[0].seconds == 30

    before = array_of(mrml, logic.segmentationNode(volumes[0]), volumes[0]).copy()
    fill = logic.fillBetweenSlices(volumes[0])
    assert dice(array_of(mrml, fill, volumes[0]), labels[0]) > 0.85
    np.testing.assert_array_equal(array_of(mrml, logic.segmentationNode(volumes[0]), volumes[0]), before)
    logic.applyFill(volumes[0], fill)
    applied = array_of(mrml, logic.segmentationNode(volumes[0]), volumes[0])
    np.testing.assert_array_equal(applied, array_of(mrml, fill, volumes[0]))
    logic.undo(volumes[0])
    np.testing.assert_array_equal(array_of(mrml, logic.segmentationNode(volumes[0]), volumes[0]), before)
    with pytest.raises(BadInputError, match="nothing to undo"):
        logic.undo(volumes[0])

    third, truth = add_ball(mrml, "not drawn on", (12, 15, 15))
    reports = []
    run = logic.train([*volumes, third], settings={**QUICK_TRAINING, "iterations": 60}, onProgress=reports.append)
    assert run == "run 1" == logic.runs()[0]
    assert logic.panel.new_run_name() == "run 2"
    assert reports[-1].fraction == 1.0
    results = logic.segment([volumes[0], third], run, uncertainty=True, largestComponent=True)
    confidence = mrml.util.arrayFromVolume(logic.confidenceNode(results[0]))
    assert (confidence[logic.ledger(volumes[0]).indices(Plane.AXIAL)] == 100).all()
    assert confidence.min() < 100
    plan = logic.trainingPlan(volumes, preset="best", settings={"iterations": 10})
    assert [m.role for m in plan.models] == ["2d", "3d", "final"]
    assert plan.minutes > 0
    assert plan.path is None
    assert dice(array_of(mrml, results[1], third), truth) > 0.7
    drawn = logic.ledger(volumes[0]).indices(Plane.AXIAL)
    np.testing.assert_array_equal(array_of(mrml, results[0], volumes[0])[drawn], labels[0][drawn])
    figures = logic.evaluate(results[0], fill, volumes[0])
    assert figures.labels[0].dice > 0.7

    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    again = [mrml.util.getNode(f"ball {n}") for n in range(2)]
    # Slicer has flipped these left-handed volumes when loading them, so that slice 2 has become slice 21.
    assert [(i.plane, i.index) for i in logic.worklist(again)] == [(i.plane, 23 - i.index) for i in worklist]
    fill = logic.fillBetweenSlices(again[0])
    assert dice(array_of(mrml, fill, again[0]), labels[0][::-1]) > 0.85
    assert {i.state for i in logic.worklist(again)} <= {"drawn", "empty"}
    assert logic.recommendSlices(again, density=0.2, wholeVolume=True) == []


def test_undo_never_reverts_what_was_drawn_after_apply(mrml, logic):
    volume, labels = add_ball(mrml)
    draw(mrml, logic, volume, labels, logic.recommendSlices([volume], density=0.2, wholeVolume=True))
    logic.applyFill(volume, logic.fillBetweenSlices(volume))
    segmentation = logic.segmentationNode(volume)
    drawn = array_of(mrml, segmentation, volume).copy()
    drawn[11, 2:4, 2:4] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "ball", volume)
    logic.markDrawn(volume, "axial", 11)
    with pytest.raises(BadInputError, match="would lose what was drawn since"):
        logic.undo(volume)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume), drawn)


def test_a_slice_without_labels_is_empty_and_one_with_labels_is_not(mrml, logic):
    volume, labels = add_ball(mrml)
    segmentation = logic.segmentationNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mrml.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, "ball", volume)
    assert logic.markDrawn(volume, "axial", 0) == "empty"
    assert logic.markDrawn(volume, "axial", 12) == "drawn"
    assert logic.markEmpty(volume, "axial", 1) == "empty"
    with pytest.raises(BadInputError, match="axial slice 11 of 'ball' is not empty"):
        logic.markEmpty(volume, "axial", 11)
    assert logic.ledger(volume).entry(Plane.AXIAL, 11) is None
    assert logic.markSkipped(volume, "axial", 5) == "skipped"
    assert logic.markToDo(volume, "axial", 5) == "to do"
    with pytest.raises(BadInputError, match="the volume only has axial slices 0 to 23"):
        logic.markDrawn(volume, "axial", 24)


def test_other_segments_are_kept_when_a_result_is_applied(mrml, logic):
    volume, labels = add_ball(mrml)
    items = logic.recommendSlices([volume], density=0.2, wholeVolume=True)
    draw(mrml, logic, volume, labels, items)
    segmentation = logic.segmentationNode(volume)
    fill = logic.fillBetweenSlices(volume)
    other = np.zeros_like(labels)
    other[2, 2:5, 2:5] = 1
    segmentation.GetSegmentation().AddEmptySegment("other", "other")
    mrml.util.updateSegmentBinaryLabelmapFromArray(other, segmentation, "other", volume)
    logic.applyFill(volume, fill)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "other"), other)


def test_missing_steps_are_reported_in_order(mrml, logic):
    volume, _ = add_ball(mrml)
    with pytest.raises(BadInputError, match="Nothing has been drawn on 'ball' yet"):
        logic.fillBetweenSlices(volume)
    with pytest.raises(BadInputError, match="No slice has been drawn on any of the selected volumes"):
        logic.train([volume])
    logic.recommendSlices([volume], density=0.2)
    with pytest.raises(BadInputError, match="has no segment"):
        logic.markDrawn(volume, "axial", 3)
    segmentation = logic.segmentationNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    with pytest.raises(BadInputError, match="No slice of 'ball' has been drawn yet"):
        logic.fillBetweenSlices(volume)
    logic.markDrawn(volume, "axial", 3)
    with pytest.raises(BadInputError, match="All drawn slices of 'ball' are empty"):
        logic.fillBetweenSlices(volume)
    with pytest.raises(WorkerError, match="All drawn slices are empty"):
        logic.train([volume], settings=QUICK_TRAINING)
    with pytest.raises(WorkerError, match="does not exist"):
        logic.segment([volume], "run 9")
    with pytest.raises(BadInputError, match="no volume"):
        logic.recommendSlices([], density=0.2)
    assert logic.ledger(volume).entry(Plane.AXIAL, 3).state is SliceState.EMPTY


def test_overlapping_segments_are_reported_before_training(mrml, logic):
    volume, labels = add_ball(mrml)
    items = logic.recommendSlices([volume], density=0.2, wholeVolume=True)
    segmentation = logic.segmentationNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("twin", "twin")
    draw(mrml, logic, volume, labels, items)
    mrml.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, "twin", volume)
    for action in (lambda: logic.train([volume]), lambda: logic.fillBetweenSlices(volume)):
        with pytest.raises(BadInputError, match="'twin' and 'ball' in"):
            action()
    assert not (logic.cohortFolder / "runs").exists()


def test_a_worker_killed_in_training_is_reported_and_the_run_resumes(mrml, logic):
    volume, labels = add_ball(mrml)
    draw(mrml, logic, volume, labels, logic.recommendSlices([volume], density=0.2, wholeVolume=True))

    def kill(progress):
        if progress.message.startswith("step"):
            logic.session.jobs.clients[-1].transport.process.kill()

    settings = {**QUICK_TRAINING, "iterations": 80}
    with pytest.raises(WorkerError, match="resume the run from its last checkpoint, train it again"):
        logic.train([volume], "r", settings, onProgress=kill)
    assert logic.train([volume], "r") == "r"


def test_the_console_example_of_the_documentation_runs(mrml, logic, tmp_path, monkeypatch):
    page = PROJECT / "Resources" / "Documentation" / "how_to" / "console.md"
    example = re.search(
        r"```python\n(# In Slicer's Python console.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    ).group(1)
    volume, labels = add_ball(mrml, "MRHead")
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    drawn = np.zeros_like(labels)
    for item in logic.recommendSlices([volume], plane="coronal", density=0.1):
        drawn[:, item.index] = labels[:, item.index]
    mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "ball", volume)
    monkeypatch.setattr(mrml.app, "defaultScenePath", str(tmp_path))
    # The example's training is shortened, nothing else.
    example = example.replace('"iterations": 600', '"iterations": 4, "patch": [16, 16, 32]')
    variables = {"slicer": mrml}
    exec(compile(example, page.name, "exec"), variables)
    assert variables["resultNode"].GetSegmentation().GetNumberOfSegments() == 1
    variables["logic"].close()


def test_a_fresh_slicer_recommends_keeps_the_ledger_and_fills(tmp_path):
    """Only what Slicer bundles: everything else is hidden from the import system."""
    script = f"""
import sys
sys.path[:0] = {[str(PROJECT / "Testing"), str(PROJECT / "Testing" / "Python")]!r}

class Hidden:
    names = set("torch monai skimage safetensors rich nibabel matplotlib pandas PySide6 psutil".split())
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"{{name}} is not part of Slicer", name=name)

sys.meta_path.insert(0, Hidden())
from SlicerStandIn import embedded_slicer
embedded_slicer.start({str(tmp_path)!r})
from SparseAnnotate import SparseAnnotateTest
SparseAnnotateTest().runTest()
import SparseAnnotateLib.worker.server
print("loaded:", sorted(Hidden.names & {{name.split(".")[0] for name in sys.modules}}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Test passed" in result.stdout
    assert "loaded: []" in result.stdout


def test_calls_that_do_not_wait_report_their_completion(mrml, tmp_path):
    from SlicerStandIn import qt_facade

    application = qt_facade.install()
    from SparseAnnotate import SparseAnnotateLogic

    logic = SparseAnnotateLogic()
    logic.cohortFolder = tmp_path / "cohort"
    volume, labels = add_ball(mrml)
    draw(mrml, logic, volume, labels, logic.recommendSlices([volume], density=0.2, wholeVolume=True))
    ended = []

    def done(result, error):
        ended.append((result, error))

    logic.train(
        [volume],
        settings={**QUICK_TRAINING, "iterations": 100000},
        waitForCompletion=False,
        onDone=done,
        onProgress=lambda p: p.message.startswith("step") and logic.cancel(),
    )
    assert logic.isBusy
    while not ended:
        application.processEvents()
    assert isinstance(ended[0][1], CancelledError)
    assert not logic.isBusy
    logic.close()
    while any(client.is_running for client in logic.session.jobs.clients):
        application.processEvents()


def test_a_cancel_after_the_first_recommended_slices_are_stored_comes_too_late(mrml, tmp_path, monkeypatch):
    from SlicerStandIn import qt_facade

    application = qt_facade.install()
    from SparseAnnotate import SparseAnnotateLogic
    from SparseAnnotateLib.scene import worklist

    logic = SparseAnnotateLogic()
    logic.cohortFolder = tmp_path / "cohort"
    volumes = [add_ball(mrml, f"ball {number}")[0] for number in range(2)]
    ended, stored, store = [], [], worklist.store_ledger

    def storing(*given):
        store(*given)
        stored.append(given)
        logic.cancel()

    monkeypatch.setattr(worklist, "store_ledger", storing)
    logic.recommendSlices(
        volumes,
        density=0.2,
        wholeVolume=True,
        waitForCompletion=False,
        onDone=lambda items, error: ended.append((items, error)),
    )
    while not ended:
        application.processEvents()
    ((items, error),) = ended
    assert error is None
    assert len(stored) == 2
    assert len(items) == sum(len(logic.ledger(volume).todo) for volume in volumes) > 0
    logic.close()


def test_content_aware_recommendations_come_from_the_worker_into_the_ledgers(mrml, logic, tmp_path):
    volumes, labels = zip(*(add_ball(mrml, f"ball {n}", (12, 12 + 2 * n, 16)) for n in range(2)), strict=True)
    options = {"strategy": "representative", "scope": "cohort", "minimum": 1, "wholeVolume": True}
    first = logic.recommendSlices(volumes, total=6, **options)
    assert [item.order for item in first] == list(range(1, 7))
    assert {item.volumeNode for item in first} == set(volumes)
    assert all("similar" in item.reason or "no other" in item.reason for item in first)
    assert first == logic.recommendSlices(volumes, total=6, **options)
    for volume, truth in zip(volumes, labels, strict=True):
        draw(mrml, logic, volume, truth, [i for i in first if i.volumeNode is volume])
    assert logic.recommendSlices(volumes, total=6, **options) == []
    second = logic.recommendSlices(volumes, total=8, **options)
    assert len(second) == 2
    assert {i.index for i in second}.isdisjoint({i.index for i in first if i.volumeNode is second[0].volumeNode})
    logic.writeSlicePicture(volumes, tmp_path / "slices.png")
    assert (tmp_path / "slices.png").read_bytes().startswith(b"\x89PNG")

    plan = logic.planAnnotation(volumes, minutes=10)
    assert plan.slices == 20  # every slice took 30 seconds
    assert plan.cases == ("ball 0", "ball 1")
    assert plan.minutes == 10
    runs = [logic.train(volumes, settings={**QUICK_TRAINING, "seed": seed}) for seed in range(2)]
    unsure = logic.recommendSlices(volumes, minutes=1, strategy="uncertainty", runs=runs, wholeVolume=True)
    assert len(unsure) == 2
    assert all("disagree" in item.reason for item in unsure)
    for run in runs:
        logic.segment(volumes, run)
    agreement = logic.agreement(runs)
    assert agreement["runs"] == runs
    assert "1 more round needed" in agreement["sentence"]


def test_without_a_strategy_the_default_one_recommends(mrml, logic):
    volume, _ = add_ball(mrml)
    chosen = logic.recommendSlices([volume], density=0.2, strategy=None)
    assert chosen
    assert [item.index for item in logic.recommendSlices([volume], density=0.2)] == [item.index for item in chosen]


def test_data_and_models_are_exchanged_from_the_console(mrml, logic, tmp_path):
    volume, labels = add_ball(mrml)
    draw(mrml, logic, volume, labels, logic.recommendSlices([volume], density=0.25))
    for exchange in (
        lambda: logic.exportNnunet([volume], ""),
        lambda: logic.importNnunet(tmp_path, " "),
        lambda: logic.importNnunetPredictions([volume], tmp_path, ""),
        lambda: logic.importBundle(""),
    ):
        with pytest.raises(BadInputError, match="No folder is given"):
            exchange()
    # No case would be taken for all cases of the folder.
    with pytest.raises(BadInputError, match="No volume is given"):
        logic.exportNnunet([], tmp_path / "Dataset501_Ball")
    written = logic.exportNnunet([volume], tmp_path / "Dataset501_Ball")
    assert (written.path, len(written.cases)) == (str(tmp_path / "Dataset501_Ball"), 1)
    made = logic.importNnunet(written.path, tmp_path / "again")
    assert made.cases == written.cases
    with pytest.raises(SparseAnnotateError, match="contains no prediction"):
        logic.importNnunetPredictions([volume], written.path, tmp_path)
    with pytest.raises(SparseAnnotateError, match="does not exist"):
        logic.exportBundle("never trained", tmp_path / "bundle")
    run = logic.train([volume], settings={**QUICK_TRAINING, "iterations": 2})
    assert logic.exportBundle(run, tmp_path / "bundle").path == str(tmp_path / "bundle")
    assert logic.importBundle(tmp_path / "bundle") == "bundle"
    assert logic.runs() == [run, "bundle"]
    assert dice(*(array_of(mrml, logic.segment([volume], name)[0], volume) for name in (run, "bundle"))) == 1.0


def test_a_volume_removed_while_slices_are_chosen_leaves_nothing_behind(mrml, logic):
    from SparseAnnotateLib import scene

    volume, _ = add_ball(mrml)
    mrml.mrmlScene.RemoveNode(volume)
    for _step in scene.storing_recommended([volume], {}):
        pass
    assert scene.worklist_of([volume]) == []
    assert not mrml.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_what_cannot_be_recommended_is_reported_and_the_ledger_is_kept(mrml, logic):
    volume, _ = add_ball(mrml)
    logic.recommendSlices([volume], density=0.2)
    before = logic.ledger(volume)
    for arguments, words in (
        ({"density": 0.2, "strategy": "uncertainty"}, "none is named"),
        ({"total": 1000, "strategy": "core_set"}, "larger than the"),
        ({"minutes": 3}, "how long a slice takes"),
        ({"density": 0.2, "scope": "world"}, "plane, volume, cohort"),
        ({"density": 0.2, "strategy": "core_set", "features": "best"}, "no slice features 'best'"),
    ):
        with pytest.raises(SparseAnnotateError, match=words):
            logic.recommendSlices([volume], **arguments)
    assert logic.ledger(volume) == before
