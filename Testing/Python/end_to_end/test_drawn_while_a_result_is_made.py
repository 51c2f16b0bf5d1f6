"""Slices drawn while a model's result is being made count as drawn after it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core.images import write_image


@pytest.mark.parametrize("at", ["'first'", "'second'"])
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

    def run(jobs, method, prepare, finish, on_progress=None):
        assert method == "predict"
        seen = []
        for progress in prepare:
            seen.append(progress.message)
            # The first time, the volume's origin has been noted; the second time, it is being written.
            if sum(at in message for message in seen) == 2 and logic.ledger(volumes[0]).entry("axial", 9) is None:
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
    card = SimpleNamespace(label_names={1: "ball"})
    monkeypatch.setattr(modelling, "RunFolder", lambda _folder: SimpleNamespace(card=lambda: card))
    first, second = logic.segment(volumes, "run 1")
    for volume, result, drawn_since in ((volumes[0], first, "axial 9"), (volumes[1], second, "")):
        now = scene.annotation_of(volume, scene.annotated_segmentation(volume))
        assert scene.drawn_since(result, volume, scene.origin_now(volume, now, {1: "ball"})) == drawn_since
