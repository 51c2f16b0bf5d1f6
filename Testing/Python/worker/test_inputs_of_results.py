"""Whether the files that a result of a case is made from have changed, seen from their stamps."""

from __future__ import annotations

import os

import numpy as np
import pytest

from small_volumes import write_two_files
from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.core.image_fingerprint import image_files
from SparseAnnotateLib.worker.jobs.left_cases import inputs_of

LONG_AGO = (1e9, 1e9)


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_voxels_that_change_in_a_file_of_their_own_are_seen(tiny_cohort, tmp_path, ending):
    path, shape = tmp_path / f"b.{ending}", (6, 7, 8)
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    write_two_files(path, voxels, VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0)))
    tiny_cohort.add_case("b", path)
    header, separate = image_files(tiny_cohort.image_path("b"))
    for file in (header, separate):
        os.utime(file, LONG_AGO)
    before = inputs_of(tiny_cohort, "b")
    assert before == inputs_of(tiny_cohort, "b") != ""
    separate.write_bytes(separate.read_bytes()[::-1])
    os.utime(separate, LONG_AGO)
    assert inputs_of(tiny_cohort, "b") not in ("", before)


def test_a_case_that_was_removed_meanwhile_does_not_end_the_work(tiny_cohort):
    assert inputs_of(tiny_cohort, "removed") == ""
