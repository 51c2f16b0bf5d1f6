"""Makes the files beside it with the code of an earlier version; see README.md."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from earlier_version.voxel_marks import mark, marks_of_segments
from SparseAnnotateLib.core import CancelledError, Cohort, Plane, SliceState, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.core.strict_json import to_plain
from SparseAnnotateLib.learning.model_building import built_network
from SparseAnnotateLib.learning.run_folder import RunFolder
from SparseAnnotateLib.learning.training import train
from SparseAnnotateLib.learning.weights import load_checkpoint, load_weights, save_checkpoint, save_weights
from SparseAnnotateLib.worker.command_line import main

OUT = Path(__file__).resolve().parent
SHAPE, SPACING = (16, 18, 20), (2.0, 1.0, 1.0)
NAMES = {1: "shell", 5: "kernel"}
SETTINGS = {"network": "basic_unet_small", "patch": [16, 16, 32], "batch": 1, "seed": 3, "validation_share": 0.2}


def balls(shift: int) -> np.ndarray:
    """(K, J, I) uint8: a kernel of 5 in a shell of 1."""
    grid = (np.indices(SHAPE) - np.array([8, 9 + shift, 10])[:, None, None, None]) * np.array([1.3, 1, 1]).reshape(
        3, 1, 1, 1
    )
    distance = np.linalg.norm(grid, axis=0)
    return np.where(distance < 3.5, 5, np.where(distance < 7, 1, 0)).astype(np.uint8)


def image_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """(K, J, I) int16 in which both structures can be seen through noise."""
    noise = np.random.default_rng(seed).integers(-4, 5, labels.shape)
    return (np.choose(np.searchsorted([0, 1, 5], labels), [20, 60, 110]) + noise).astype(np.int16)


def answer(*arguments) -> object:
    """What the command line answers."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        before, sys.stdout = sys.stdout, file
        try:
            code = main([*map(str, arguments), "--json"])
        finally:
            sys.stdout = before
        file.seek(0)
        text = file.read()
    assert code == 0, text
    return json.loads(text)


def make_cohort(folder: Path) -> dict:
    """The cohort; returns what today's code must find in it."""
    cohort = Cohort.create(folder, "balls", NAMES)
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING)
    truths = {"first": balls(0), "second": balls(1)}
    for seed, (name, labels) in enumerate(truths.items()):
        write_image(folder / "references" / f"{name}.nrrd", labels, geometry)
        cohort.add_case(name, image_of(labels, seed), geometry, folder / "references" / f"{name}.nrrd")
    answer("recommend", folder, "--per-volume", 6, "--planes", "axial", "--whole", "--strategy", "staggered")
    for name, labels in truths.items():
        ledger = cohort.ledger(name)
        worklist = [entry.index for entry in ledger.todo]
        for number, index in enumerate(worklist[:5]):
            state = SliceState.DRAWN if labels[index].any() else SliceState.EMPTY
            ledger = ledger.with_state(Plane.AXIAL, index, state, 20.5 + number, NAMES.values())
        ledger = ledger.with_state(Plane.CORONAL, 9, SliceState.DRAWN, 41.0, ["shell"])
        ledger = ledger.with_state(Plane.AXIAL, 1 if 1 not in worklist else 2, SliceState.SKIPPED, 3.0)
        ledger = ledger.with_start(Plane.AXIAL, worklist[1], "the nearest drawn slice")
        undecided = np.zeros(SHAPE, bool)
        undecided[worklist[2], 9, 8:12] = name == "second"
        cohort.save_annotation(name, SparseAnnotation(labels, ledger, geometry, undecided))
    answer("fill", folder, "--method", "shape")
    make_runs(cohort)
    answer("predict", folder, "--run", "finished", "--device", "cpu", "--uncertainty")
    shutil.rmtree(cohort.cache_folder, ignore_errors=True)
    return figures_of(cohort)


def make_runs(cohort: Cohort) -> None:
    """One that is finished, one that was cancelled, and one that is only planned."""
    for name, iterations in (("finished", 120), ("unfinished", 6), ("planned", 2)):
        folder = RunFolder(cohort.run_folder(name))
        wanted = cohort.folder / "wanted.json"
        wanted.write_text(json.dumps({**SETTINGS, "iterations": iterations, "checkpoint_every": 2}))
        options = ("--run", name, "--preset", "quick", "--device", "cpu", "--settings", wanted)
        answer("train", cohort.folder, *options, "--plan-only")
        wanted.unlink()
        # As a person edits the plan.
        text = folder.plan_path.read_text(encoding="utf-8")
        folder.plan_path.write_text(text.replace('"batch": 1', '"batch": 2'), encoding="utf-8")
    train(cohort, "finished")
    finished, unfinished = (RunFolder(cohort.run_folder(name)) for name in ("finished", "unfinished"))

    class CancelledWatch(Watch):
        def check(self) -> None:
            if len(unfinished.metrics()) == 3:
                self.cancel()
            super().check()

    with suppress(CancelledError):
        train(cohort, "unfinished", watch=CancelledWatch())
    # Fewer digits, because random ones cannot be compressed.
    model = built_network(finished.card().last.plan, finished.plan())
    load_weights(finished.weights_path("3d"), model)
    save_weights(finished.weights_path("3d"), rounded(model))
    model = built_network(unfinished.plan().model("3d"), unfinished.plan())
    optimizer = torch.optim.AdamW(model.parameters())
    state = load_checkpoint(unfinished.checkpoint_path("3d"), model, optimizer)
    for moments in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name].fill_(float(moments[name].mean()))
    save_checkpoint(unfinished.checkpoint_path("3d"), rounded(model), optimizer, state)


@torch.no_grad()
def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """The model with coarse weights, and none in its widest layers."""
    for parameter in model.parameters():
        parameter.copy_(torch.round(parameter * 64) / 64 if parameter.numel() < 15_000 else torch.zeros(1))
    return model


def figures_of(cohort: Cohort) -> dict:
    """What there is, and what is made of it in a copy."""
    folder, cases = cohort.folder, {}
    for case in cohort.cases:
        annotation = cohort.annotation(case.name)
        fill, confidence = cohort.fill_path(case.name), cohort.fill_confidence_path(case.name)
        prediction = cohort.prediction_path("finished", case.name)
        entropy = cohort.uncertainty_path("finished", case.name, "entropy")
        files = {"fill": fill, "confidence": confidence, "prediction": prediction, "entropy": entropy}
        cases[case.name] = {
            "ledger": to_plain(annotation.ledger)["entries"],
            "annotation": mark(annotation.labels),
            "decided": mark(annotation.supervised_mask()),
            **{what: mark(read_labels(path, annotation.geometry)) for what, path in files.items()},
        }
    found = {
        "cases": cases,
        "fill": answer("evaluate", folder),
        "prediction": answer("evaluate", folder, "--run", "finished"),
    }
    with tempfile.TemporaryDirectory() as copied:
        copy = Cohort.open(shutil.copytree(folder, Path(copied) / "cohort"))
        found["unfinished"] = answer("train", copy.folder, "--run", "unfinished")
        answer("predict", copy.folder, "--run", "unfinished", "--device", "cpu")
        found["unfinished prediction"] = {
            case.name: mark(read_labels(copy.prediction_path("unfinished", case.name), copy.geometry(case.name)))
            for case in copy.cases
        }
        found["planned"] = answer("train", copy.folder, "--run", "planned")
        options = ("--per-volume", 8, "--planes", "axial", "--whole", "--strategy", "staggered")
        found["recommended"] = answer("recommend", copy.folder, *options)
    return found


def make_scene(path: Path, cohort_folder: Path, temporary: Path) -> dict:
    """The scene; returns what today's code must find in it."""
    from SlicerStandIn import embedded_slicer

    embedded_slicer.start(temporary / "slicer")
    import slicer

    from SparseAnnotate import SparseAnnotateLogic

    logic = SparseAnnotateLogic()
    logic.cohortFolder = shutil.copytree(cohort_folder, temporary / "cohort")
    volumes = []
    for seed, name in enumerate(("looked at", "applied")):
        labels = balls(seed)
        volume = slicer.util.addVolumeFromArray(image_of(labels, seed), np.diag([-1.0, -1.0, 2.0, 1.0]), name)
        volumes.append(volume)
    logic.recommendSlices(volumes, slicesPerVolume=6, wholeVolume=True)
    for seed, volume in enumerate(volumes):
        labels, segmentation = balls(seed), logic.segmentationNode(volume)
        todo = [item.index for item in logic.worklist([volume])]
        layers = np.zeros(SHAPE, bool)
        layers[todo[:5]] = True
        layers[:, 9, :] = True
        for value, name in NAMES.items():
            segmentation.GetSegmentation().AddEmptySegment(name, name)
            mask = ((labels == value) & layers).astype(np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, volume)
        for number, index in enumerate(todo[:5]):
            logic.markDrawn(volume, "axial", index, seconds=20.5 + number)
        logic.markDrawn(volume, "coronal", 9, seconds=41)
        logic.markSkipped(volume, "axial", todo[5], seconds=3)
        segmentation.GetSegmentation().AddEmptySegment("late", "late")
        fill = logic.fillBetweenSlices(volume, "shape")
        if seed:
            logic.applyFill(volume, fill)
    logic.segment(volumes[:1], "finished", uncertainty=True, device="cpu")
    logic.close()
    # What has been written where plays no part in another process.
    for volume in volumes:
        for name in ("SparseAnnotate.Exported", "SparseAnnotate.ExportedDrawing"):
            volume.RemoveAttribute(name)
    choices = {
        "coronal": True,
        "budget": 25.0,
        "budgetKind": "slices",
        "strategy": "core_set",
        "scope": "cohort",
        "features": "autoencoder",
        "fromScratch": True,
        "wholeVolume": True,
        "fillMethod": "random_walk",
        "beyond": 2,
        "preset": "balanced",
        "iterations": 77,
        "device": "cpu",
        "run": "finished",
    }
    parameters = logic.getParameterNode()
    parameters.volume, parameters.volumes = volumes[1], volumes
    for name, value in choices.items():
        setattr(parameters, name, value)
    embedded_slicer.save_scene(path)
    embedded_slicer.load_scene(path)
    found = {"choices": choices, "volumes": {}}
    for name in ("looked at", "applied"):
        volume = slicer.util.getNode(name)
        fill = logic.latestResult(volume, ofRun=False)
        found["volumes"][name] = {
            "ledger": to_plain(logic.ledger(volume))["entries"],
            "image": mark(slicer.util.arrayFromVolume(volume)),
            "drawn": marks_of_segments(slicer, logic.segmentationNode(volume), volume),
            "fill": marks_of_segments(slicer, fill, volume),
            "confidence": mark(slicer.util.arrayFromVolume(logic.confidenceNode(fill))),
            "report": to_plain(logic.fillReport(fill)),
        }
    volume = slicer.util.getNode("looked at")
    result = logic.latestResult(volume, ofRun=True)
    found["result"] = marks_of_segments(slicer, result, volume)
    found["result confidence"] = mark(slicer.util.arrayFromVolume(logic.confidenceNode(result)))
    found["case"] = volume.GetAttribute("SparseAnnotate.Case")
    found["seconds"] = logic.effort([slicer.util.getNode(name) for name in found["volumes"]]).seconds
    embedded_slicer.clear_scene()
    return found


def make_all() -> None:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        expected = {"cohort": make_cohort(temporary / "made" / "cohort")}
        expected["scene"] = make_scene(OUT / "scene.mrb", temporary / "made" / "cohort", temporary)
        with zipfile.ZipFile(OUT / "cohort.zip", "w", zipfile.ZIP_LZMA) as file:
            for path in sorted((temporary / "made").rglob("*")):
                if path.is_file() and path.name != ".lock" and "cache" not in path.parts:
                    file.write(path, path.relative_to(temporary / "made"))
        text = json.dumps(expected, indent=1, ensure_ascii=False)
        (OUT / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    make_all()
