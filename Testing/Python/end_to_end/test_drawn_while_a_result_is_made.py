"""Slices drawn while a model's result is being made count as drawn after it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core.images import write_image


@pytest.mark.parametrize("at", [0, 1])
def test_a_slice_drawn_while_volumes_are_written_counts_as_drawn_since(mrml, logic, monkeypatch, at):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.logic import modelling

    labels = ball(radius=9.0)
    volumes = []
    for name in ("first", "second"):
        volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), name)
        segmentation = logic.segmentationNode(volume)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        mrml.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, "ball", volume)
        for index in (6, 12, 18):
            logic.markDrawn(volume, "axial", index)
        volumes.append(volume)

    noted, noting_origin = [], modelling.noting_origin

    def noting(volume, origins):
        yield from noting_origin(volume, origins)
        noted.append(volume)

    def run(jobs, method, prepare, finish, on_progress=None):
        assert method == "predict"
        for _progress in prepare:
            # The volume's origin has been noted; it is being written.
            if len(noted) == at + 1 and logic.ledger(volumes[0]).entry("axial", 9) is None:
                logic.markDrawn(volumes[0], "axial", 9)
        cohort = logic.cohort()
        for volume in volumes:
            path = cohort.prediction_path("run 1", scene.case_of(volume))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, labels, scene.geometry_of(volume))
        steps = finish(None)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return end.value

    monkeypatch.setattr(type(logic.session.jobs), "run", run)
    monkeypatch.setattr(modelling, "noting_origin", noting)
    card = SimpleNamespace(label_names={1: "ball"})
    monkeypatch.setattr(modelling, "RunFolder", lambda _folder: SimpleNamespace(card=lambda: card))
    first, second = logic.segment(volumes, "run 1")
    for volume, result, drawn_since in ((volumes[0], first, "axial 9"), (volumes[1], second, "")):
        now = scene.annotation_of(volume, scene.annotated_segmentation(volume))
        assert scene.drawn_since(result, volume, scene.origin_now(volume, now, {1: "ball"})) == drawn_since


@pytest.mark.parametrize("what", ["fill", "model"])
def test_what_a_result_is_made_from_is_noted_slice_by_slice(mrml, logic, monkeypatch, what):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import annotation
    from SparseAnnotateLib.logic.fills import _Drawing
    from SparseAnnotateLib.logic.result_nodes import noting_origin
    from SparseAnnotateLib.scene import results

    labels, drawn = ball(radius=9.0), (4, 6, 9, 12, 15, 18)
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    logic.useSegmentation(volume, scene.new_segmentation("drawing", labels, {1: "ball"}, volume))
    for index in drawn:
        logic.markDrawn(volume, "axial", index)
    looked_at, values_in = [], results.values_in
    for module in (annotation, results):
        monkeypatch.setattr(module, "values_in", lambda layer: looked_at.append(layer) or values_in(layer))
    drawing, origins = _Drawing(volume), {}
    steps = drawing.reading() if what == "fill" else noting_origin(volume, origins)
    at_once = []
    for _step in steps:
        at_once.append(len(looked_at))
        looked_at.clear()
    assert max(at_once) == 1
    assert sum(at_once) == (2 if what == "fill" else 1) * len(drawn)
    found = drawing.origin_of({}) if what == "fill" else origins[volume.GetID()]
    now = scene.annotation_of(volume, scene.annotated_segmentation(volume))
    assert found == scene.origin_now(volume, now, {1: "ball"})
    assert list(found.slices) == [f"axial {index}" for index in drawn]
