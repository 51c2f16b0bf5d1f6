from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from small_volumes import ball
from sparse_fills import annotation_of, axial, blobs, filled
from SparseAnnotateLib.core import BadInputError, CancelledError, Plane, SparseAnnotateError, Watch, metrics
from SparseAnnotateLib.interpolation import MorphologicalInterpolator, morphological_process
from SparseAnnotateLib.interpolation.interpolators import morphological
from system_needs import needs_slicer

pytestmark = needs_slicer


def test_itk_fills_between_drawn_slices_and_nothing_beyond():
    labels = ball(radius=9.0)
    annotation = axial(labels, [5, 9, 13, 17])
    fill = filled(annotation, "morphological")
    assert metrics.dice(fill.labels[5:18] > 0, labels[5:18] > 0) > 0.9
    assert not fill.labels[:5].any()
    assert not fill.labels[18:].any()
    np.testing.assert_array_equal(fill.labels[9], labels[9])
    assert fill.confidence[9].min() == 100


def test_itk_fills_several_labels_in_every_plane_and_in_several_at_once():
    labels = blobs(2).astype(np.uint16) * 300
    for plane, indices in ((Plane.AXIAL, [2, 6, 10]), (Plane.CORONAL, [8, 14, 20]), (Plane.SAGITTAL, [8, 14, 20])):
        annotation = annotation_of(labels, {plane: indices})
        fill = filled(annotation, "morphological")
        assert fill.labels.dtype == np.uint16
        assert set(np.unique(fill.labels)) <= {0, *annotation.label_values()}
        assert (fill.labels > 0).sum() > (annotation.drawn_labels() > 0).sum()
    both = annotation_of(labels, {Plane.AXIAL: [2, 6, 10], Plane.CORONAL: [14]})
    mask = both.supervised_mask()
    np.testing.assert_array_equal(filled(both, "morphological").labels[mask], labels[mask])


def test_only_empty_slices_need_no_filter():
    nothing = np.zeros((9, 20, 20), np.uint8)
    assert not filled(axial(nothing, [2, 6]), "morphological").labels.any()


def sleeper(monkeypatch, code: str):
    """Runs other code in place of the filter's process."""
    started = []
    real = subprocess.Popen

    def popen(command, **options):
        started.append(real([sys.executable, "-c", code], **options))
        return started[-1]

    monkeypatch.setattr(morphological.subprocess, "Popen", popen)
    return started


def test_a_filter_that_takes_too_long_is_given_up_and_its_process_ended(monkeypatch):
    started = sleeper(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(SparseAnnotateError, match="stopped after 1 s"):
        filled(axial(ball(), [5, 12]), MorphologicalInterpolator(time_limit=1.0))
    assert started[0].poll() is not None


def test_the_filters_own_process_ends_with_its_input_even_behind_a_launcher():
    code = (
        "import threading, time; from SparseAnnotateLib.interpolation import morphological_process as p; "
        "threading.Thread(target=p._end_with_input, daemon=True).start(); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=morphological._LIBRARY_FOLDER)
    process.stdin.close()
    assert process.wait(600) == 1


def test_cancel_ends_the_filters_process(monkeypatch):
    started = sleeper(monkeypatch, "import time; time.sleep(600)")
    watch = Watch(lambda progress: watch.cancel())
    annotation = axial(ball(), [5, 12])
    with pytest.raises(CancelledError):
        MorphologicalInterpolator().fill(annotation, None, watch)
    assert started[0].poll() not in (None, 0), "it was ended, and not waited for"


def test_a_filter_that_crashes_harms_nobody(monkeypatch):
    sleeper(monkeypatch, "import os; os.abort()")
    with pytest.raises(SparseAnnotateError, match="crashed on these drawn slices"):
        filled(axial(ball(), [5, 12]), "morphological")


def test_a_python_without_the_filter_leads_to_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setattr(morphological_process, "_filter_class", lambda: None)
    assert morphological_process.main("a", "b", "2") == morphological_process.NO_FILTER
    sleeper(monkeypatch, f"raise SystemExit({morphological_process.NO_FILTER})")
    with pytest.raises(BadInputError, match="comes with Slicer"):
        filled(axial(ball(), [5, 12]), "morphological")
