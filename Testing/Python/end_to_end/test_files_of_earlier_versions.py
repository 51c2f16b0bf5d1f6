"""A cohort folder and a scene made by an earlier version open as before; see earlier_version/README.md."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from earlier_version.voxel_marks import mark, marks_of_segments
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, LedgerEntry, Plane, SliceState

FILES = Path(__file__).resolve().parents[1] / "earlier_version"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
COHORT, SCENE = EXPECTED["cohort"], EXPECTED["scene"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The cohort folder; only to be read."""
    folder = tmp_path_factory.mktemp("earlier")
    with zipfile.ZipFile(FILES / "cohort.zip") as file:
        file.extractall(folder)
    return folder / "cohort"


@pytest.fixture
def cohort(unpacked, tmp_path) -> Cohort:
    """A copy of the cohort, opened."""
    return Cohort.open(shutil.copytree(unpacked, tmp_path / "cohort"))


def answered(capsys, *arguments, code: int = 0):
    """The JSON output of the command line."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def plain(entry: LedgerEntry) -> dict:
    return json.loads(json.dumps(asdict(entry)))


def for_all_structures(entries: list[dict]) -> list[dict]:
    """Entries of a ledger of an earlier version as they are read: each slice speaks for all structures."""
    return [{**entry, "structures": None} for entry in entries]


def mark_of_file(path: Path) -> dict:
    return mark(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def same_figures(found: list[dict], expected: list[dict]) -> None:
    """The figures of every case and structure; checks that the results are up to date."""
    assert len(found) == len(expected) == 2
    for new, old in zip(found, expected, strict=True):
        for row, known in ((new, old), *zip(new["labels"], old["labels"], strict=True)):
            # Later versions give more figures.
            for key in known.keys() - {"labels"}:
                value = known[key]
                assert row[key] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
        assert new["stale"] == ""
        assert new["notes"] == []


def same_card(found: dict, expected: dict) -> None:
    """The record of a training run, except for its time and software versions."""
    free = {"seconds": None, "versions": None, "loss": None}
    (new,), (old,) = found["models"], expected["models"]
    assert {**new, **free} == {**old, **free}
    assert new["loss"] == pytest.approx(old["loss"], rel=1e-3)
    # Later versions write more fields, and notes on what the model labels beyond the drawn range.
    assert found["notes"][: len(expected["notes"])] == expected["notes"]
    free |= {"models": None, "notes": None}
    assert {**{key: found[key] for key in expected}, **free} == {**expected, **free}


def test_a_cohort_of_an_earlier_version_has_the_same_cases_ledgers_and_drawn_voxels(cohort):
    assert cohort.name == "balls"
    assert cohort.labels == {1: "shell", 5: "kernel"}
    assert [case.name for case in cohort.cases] == list(COHORT["cases"]) == cohort.annotated_cases()
    assert sorted(cohort.runs()) == ["finished", "planned", "unfinished"]
    for name, expected in COHORT["cases"].items():
        annotation = cohort.annotation(name)
        assert [plain(entry) for entry in annotation.ledger.entries] == for_all_structures(expected["ledger"])
        assert annotation.geometry.shape == (16, 18, 20)
        np.testing.assert_allclose(annotation.geometry.spacing, (2.0, 1.0, 1.0))
        assert mark(annotation.labels) == expected["annotation"]
        assert mark(annotation.supervised_mask()) == expected["decided"]
        assert mark_of_file(cohort.fill_path(name)) == expected["fill"]
        assert mark_of_file(cohort.fill_confidence_path(name)) == expected["confidence"]
        assert mark_of_file(cohort.prediction_path("finished", name)) == expected["prediction"]
        assert mark_of_file(cohort.uncertainty_path("finished", name, "entropy")) == expected["entropy"]


def test_results_of_an_earlier_version_are_up_to_date_until_a_slice_is_drawn(cohort, capsys):
    same_figures(answered(capsys, "evaluate", cohort.folder), COHORT["fill"])
    same_figures(answered(capsys, "evaluate", cohort.folder, "--run", "finished"), COHORT["prediction"])
    annotation = cohort.annotation("first")
    ledger = annotation.ledger.with_state(Plane.AXIAL, 7, SliceState.EMPTY)
    cohort.save_annotation("first", replace(annotation, ledger=ledger))
    for run in ((), ("--run", "finished")):
        first, second = answered(capsys, "evaluate", cohort.folder, *run, code=1)
        assert first["stale"] != ""
        assert second["stale"] == ""


def test_a_run_of_an_earlier_version_predicts_the_same_voxels(cohort, capsys):
    shutil.rmtree(cohort.prediction_path("finished", "first").parent)
    answered(capsys, "predict", cohort.folder, "--run", "finished", "--device", "cpu", "--uncertainty", "--model-only")
    for name, expected in COHORT["cases"].items():
        assert mark_of_file(cohort.prediction_path("finished", name)) == expected["prediction"]
    same_figures(answered(capsys, "evaluate", cohort.folder, "--run", "finished"), COHORT["prediction"])
    picture = cohort.folder / "curves.png"
    answered(capsys, "curves", cohort.folder, "--run", "finished", "--path", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_cancelled_in_an_earlier_version_is_continued_as_it_was_begun(cohort, capsys):
    refused = answered(capsys, "train", cohort.folder, "--run", "unfinished", "--iterations", 9, code=1)
    assert refused["type"] == "RunError"
    assert re.search(r"iterations.*\b6\b.*\b9\b", refused["error"])
    same_card(answered(capsys, "train", cohort.folder, "--run", "unfinished"), COHORT["unfinished"])
    lines = (cohort.run_folder("unfinished") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [figures["iteration"] for figures in map(json.loads, lines) if "loss" in figures]
    assert steps == [1, 2, 3, 4, 5, 6]
    answered(capsys, "predict", cohort.folder, "--run", "unfinished", "--device", "cpu", "--model-only")
    for name, expected in COHORT["unfinished prediction"].items():
        # Patches are changed by other random numbers since, so the weights differ a little.
        sizes = mark_of_file(cohort.prediction_path("unfinished", name))["voxels"]
        assert sizes == pytest.approx(expected["voxels"], rel=0.05)


def test_a_plan_that_was_edited_in_an_earlier_version_is_trained_as_it_was_edited(cohort, capsys):
    card = answered(capsys, "train", cohort.folder, "--run", "planned")
    assert card["models"][0]["plan"]["batch"] == 2
    same_card(card, COHORT["planned"])


def test_recommending_adds_the_slices_that_are_missing(cohort, capsys):
    options = ("--per-volume", 8, "--planes", "axial", "--whole", "--strategy", "staggered")
    added = answered(capsys, "recommend", cohort.folder, *options)
    fields = ("order", "case", "plane", "index", "score")
    assert [[row[f] for f in fields] for row in added] == [[row[f] for f in fields] for row in COHORT["recommended"]]
    for name, expected in COHORT["cases"].items():
        entries = [plain(entry) for entry in cohort.ledger(name).entries]
        known = [e for e in for_all_structures(expected["ledger"]) if e["state"] != "to do"]
        assert [e for e in entries if e["state"] != "to do"] == known
        to_do = [e["index"] for e in entries if e["state"] == "to do"]
        assert to_do == [row["index"] for row in added if row["case"] == name]


@pytest.fixture
def scene(mrml, embedded, tmp_path):
    """The scene, opened."""
    embedded.load_scene(shutil.copy(FILES / "scene.mrb", tmp_path / "scene.mrb"))
    return mrml


def annotation_marks(scene, logic, volume) -> dict:
    return marks_of_segments(scene, logic.segmentationNode(volume), volume)


def redraw(scene, logic, volume, index: int) -> None:
    """Paint a voxel of the shell on an axial slice."""
    segmentation = logic.segmentationNode(volume)
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName("shell")
    mask = scene.util.arrayFromSegmentBinaryLabelmap(segmentation, key, volume).copy()
    mask[index, 1, 1] = 1
    scene.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, key, volume)


def test_a_scene_of_an_earlier_version_has_the_same_worklist_drawing_and_results(scene, logic):
    assert {node.GetName() for node in logic.panel.volumes()} == set(SCENE["volumes"])
    for name, expected in SCENE["volumes"].items():
        volume = scene.util.getNode(name)
        assert mark(scene.util.arrayFromVolume(volume)) == expected["image"]
        assert [plain(entry) for entry in logic.ledger(volume).entries] == for_all_structures(expected["ledger"])
        assert logic.segmentationNode(volume) is scene.util.getNode(f"{name} annotation")
        assert annotation_marks(scene, logic, volume) == expected["drawn"]
        fill = scene.util.getNode(f"{name} fill")
        assert marks_of_segments(scene, fill, volume) == expected["fill"]
        assert mark(scene.util.arrayFromVolume(logic.confidenceNode(fill))) == expected["confidence"]
        report = logic.fillReport(fill)
        assert [str(report.summary), list(map(str, report.warnings))] == list(expected["report"].values())
    volumes = [scene.util.getNode(name) for name in SCENE["volumes"]]
    entries = [(name, e) for name, found in SCENE["volumes"].items() for e in found["ledger"]]
    in_order = sorted(entries, key=lambda item: (item[1]["order"] == 0, item[1]["order"], item[1]["index"]))
    assert [(i.volumeNode.GetName(), i.plane, i.index, i.state, i.seconds) for i in logic.worklist(volumes)] == [
        (name, *(e[field] for field in ("plane", "index", "state", "seconds"))) for name, e in in_order
    ]
    assert logic.panel.effort(logic.panel.readable_worklist(volumes)).seconds == SCENE["seconds"]


def test_choices_of_a_scene_of_an_earlier_version_are_those_of_the_logic(scene, logic):
    parameters = logic.getParameterNode()
    assert {name: getattr(parameters, name) for name in SCENE["choices"]} == SCENE["choices"]
    assert parameters.volume is scene.util.getNode("applied")
    assert parameters.volumes == [scene.util.getNode(name) for name in SCENE["volumes"]]


def test_a_fill_of_an_earlier_version_is_applied_to_the_current_drawing(scene, logic):
    volume, expected = scene.util.getNode("looked at"), SCENE["volumes"]["looked at"]
    logic.applyFill(volume, scene.util.getNode("looked at fill"))
    assert logic.applyReport(volume) == ()
    assert annotation_marks(scene, logic, volume) == {**expected["drawn"], **expected["fill"]}
    logic.undo(volume)
    assert annotation_marks(scene, logic, volume) == expected["drawn"]
    redraw(scene, logic, volume, 2)
    assert logic.markDrawn(volume, "axial", 2, seconds=7) == "drawn"
    logic.applyFill(volume, scene.util.getNode("looked at fill"))
    (sentence,) = logic.applyReport(volume)
    assert "axial 2" in sentence


def test_what_an_earlier_version_applied_is_not_taken_for_painted_slices(scene, logic):
    volume = scene.util.getNode("applied")
    logic.applyFill(volume, scene.util.getNode("applied fill"))
    assert logic.applyReport(volume) == ("'applied fill' and your segmentation show the same, so nothing was changed.",)
    assert annotation_marks(scene, logic, volume) == SCENE["volumes"]["applied"]["drawn"]
    redraw(scene, logic, volume, 3)
    assert logic.markDrawn(volume, "axial", 3, seconds=7) == "drawn"
    ledger = logic.ledger(volume)
    assert ledger.entry(Plane.AXIAL, 3).structures == ("shell", "kernel", "late")
    assert len(ledger.entries) == len(SCENE["volumes"]["applied"]["ledger"]) + 1
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    assert logic.applyReport(volume) == ()


def test_a_run_of_an_earlier_version_gives_the_result_that_is_in_the_scene(scene, logic, cohort):
    volume = scene.util.getNode("looked at")
    logic.cohortFolder = cohort.folder
    assert sorted(logic.runs()) == ["finished", "planned", "unfinished"]
    old = scene.util.getNode("looked at finished")
    (new,) = logic.segment([volume], "finished", uncertainty=True, device="cpu", modelOnly=True)
    for node in (old, new):
        assert marks_of_segments(scene, node, volume) == SCENE["result"]
    assert mark(scene.util.arrayFromVolume(logic.confidenceNode(old))) == SCENE["result confidence"]
    assert logic.cohort().cases[-1].name == SCENE["case"]
    logic.applyFill(volume, old)
    assert logic.applyReport(volume) == ()
