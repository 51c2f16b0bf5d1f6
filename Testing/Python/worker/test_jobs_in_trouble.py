"""Jobs whose files, clocks, processes or data are not as they should be; from made-up records, without any process."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from SparseAnnotateLib.core import Plane, RunError, SparseAnnotation, Watch
from SparseAnnotateLib.core.cohort_layout import CARD_FILE
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.origin import run_fingerprint
from SparseAnnotateLib.core.strict_json import to_plain
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.jobs import part_work
from SparseAnnotateLib.worker.jobs.left_cases import left_cases
from SparseAnnotateLib.worker.jobs.records import CaseOutcome, JobRecord, PartStatus, new_job_folder, now


def made_up(cohort, what="predict", engine="local", parts=(("a",),), **facts):
    """The folder of a job, as if it had been submitted."""
    job = new_job_folder(cohort)
    if what == "predict":
        work = to_plain(requests.PredictRequest(str(cohort.folder), run="r", state=str(cohort.state_folder)))
    else:
        work, parts = to_plain(requests.TrainRequest(str(cohort.folder), run="r")), ((),)
    ids = facts.pop("cluster_ids", tuple(f"7_{number}" for number in range(len(parts))))
    record = JobRecord(job.path.name, what, "r", engine, work, parts, now(), ids, **facts)
    job.write_record(record)
    return job, record


def made_up_run(cohort, content="one"):
    """Files that have the fingerprint of a run; returns it."""
    folder = cohort.run_folder("r")
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(CARD_FILE).write_text(content)
    return run_fingerprint(folder)


def labeled(cohort, job, case="a"):
    """A result of this job, made from what there is now."""
    path = cohort.prediction_path("r", case)
    annotation = cohort.annotation(case)
    write_image(path, annotation.labels, annotation.geometry, facts=cohort.origin(case, run="r").facts())
    job.part(0).add_case(CaseOutcome(case, "", 1.0, path.stat().st_mtime_ns))
    return path


def states_of(cohort, *ids):
    return requests.jobs(requests.JobsRequest(str(cohort.folder), ids=ids), Watch())


def draw_less(cohort):
    annotation = cohort.annotation("a")
    cohort.save_annotation("a", SparseAnnotation.from_slices(annotation.labels, annotation.geometry, Plane.AXIAL, [8]))


def made_older(files, than):
    """Give files the time that they would have if they had been changed before another one."""
    before = than.stat().st_mtime_ns - 10**9
    for file in filter(os.path.exists, files):
        os.utime(file, ns=(before, before))


@pytest.mark.parametrize("change", ["drawing", "image", "run", "nothing"])
def test_a_result_of_other_data_is_not_taken_for_done_whatever_the_times_of_the_files(tiny_cohort, change):
    content = made_up_run(tiny_cohort)
    job, record = made_up(tiny_cohort, run_content=content)
    job.part(0).write_status(PartStatus("finished"))
    path = labeled(tiny_cohort, job)
    if change == "drawing":
        draw_less(tiny_cohort)
        made_older(tiny_cohort.annotation_files("a"), path)
    if change == "image":
        image = tiny_cohort.image_path("a")
        voxels, geometry = read_image(image)
        write_image(image, voxels[::-1].copy(), geometry)
        made_older([image], path)
    if change == "run":
        content = made_up_run(tiny_cohort, "another")
        job.write_record(replace(record, run_content=content))
    work = requests.PredictRequest(str(tiny_cohort.folder), run="r", state=str(tiny_cohort.state_folder))
    found = left_cases(tiny_cohort, work, content)
    assert (found.left, found.labeled) == ((("a",), ()) if change != "nothing" else ((), ("a",)))


def test_a_part_that_starts_again_refuses_another_run_and_labels_what_has_changed(tiny_cohort, monkeypatch):
    job, record = made_up(tiny_cohort, run_content=made_up_run(tiny_cohort))
    labeled(tiny_cohort, job)
    asked = []

    def predict_each(request, _watch, keep):
        asked.append(request.cases)
        for case in request.cases:
            keep(case, 1.0, "")
        return [], {}

    monkeypatch.setattr(requests, "predict_each", predict_each)

    def work():
        return part_work._work(record, 0, job.part(0), Watch())

    work()
    assert asked == []
    draw_less(tiny_cohort)
    work()
    assert asked == [("a",)]
    made_up_run(tiny_cohort, "another")
    with pytest.raises(RunError, match="no longer the one that the job was submitted with"):
        work()
