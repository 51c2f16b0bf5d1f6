"""The request for slices to draw: one value from panel, console and command line to the strategy."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, FileWriteError, Plane, SliceState, Watch
from SparseAnnotateLib.core.strict_json import from_plain, to_text, write_json
from SparseAnnotateLib.learning.prediction.uncertainty import CaseUncertainty
from SparseAnnotateLib.selection import Budget, Scope, SelectionSettings
from SparseAnnotateLib.worker import recommend_request, requests
from SparseAnnotateLib.worker.measured_times import learned_cost, readable_ledgers
from SparseAnnotateLib.worker.plan_requests import PlanRequest, plan
from SparseAnnotateLib.worker.recommend_request import RecommendRequest, recommend


def read(request: dict) -> RecommendRequest:
    """A request as the worker reads it from a line of JSON."""
    return from_plain(json.loads(to_text(request)), RecommendRequest, "the request 'recommend'")


@pytest.mark.parametrize(
    "settings",
    [
        SelectionSettings(budget=Budget(density=0.1)),
        SelectionSettings(
            budget=Budget(minutes=2.5, seconds_per_slice=30, scope=Scope.COHORT, minimum=1, maximum=4),
            planes=(Plane.CORONAL, Plane.AXIAL),
            strategy="uncertainty",
            runs=("a", "b"),
            features="none",
            samples=3,
            whole=True,
        ),
    ],
)
def test_the_settings_arrive_in_the_worker_as_they_were_made(settings):
    assert read({"cohort": "c", "cases": ["x"], **vars(settings)}) == RecommendRequest(
        "c", cases=("x",), **vars(settings)
    )


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"total": 3, "scope": "world"}, "'budget.scope' must be one of 'plane', 'volume', 'cohort'"),
        ({"total": 2.5}, "'budget.total' must be a whole number"),
        ({"slices": 3}, "unknown field 'budget.slices'"),
        ({"total": 3, "density": 0.1}, "Give the budget as exactly one of"),
        ({}, "Give the budget as exactly one of"),
    ],
)
def test_a_budget_that_is_none_is_refused_by_name(budget, words):
    with pytest.raises(BadInputError, match=words):
        read({"cohort": "c", "budget": budget})


def test_options_that_are_not_given_are_as_the_settings_have_them(ball_cohort, monkeypatch):
    asked = []
    monkeypatch.setitem(
        requests.METHODS, "recommend", (RecommendRequest, lambda request, _: asked.append(request) or [])
    )
    folder = str(ball_cohort.folder)
    assert main(["recommend", folder, "--total", "3"]) == 0
    assert main(["recommend", folder, "--every", "4", "--scope", "Cohort", "--planes", "axial", "Sagittal"]) == 0
    settings = SelectionSettings(
        budget=Budget(every=4, scope=Scope.COHORT),
        planes=(Plane.AXIAL, Plane.SAGITTAL),
    )
    assert asked == [RecommendRequest(folder, budget=Budget(total=3)), RecommendRequest(folder, **vars(settings))]


def test_a_case_whose_times_are_left_out_is_named_once(ball_cohort, caplog):
    (ball_cohort.folder / "ledgers" / "ball_1.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert learned_cost(ball_cohort, readable_ledgers(ball_cohort)) is None
    assert caplog.text.count("The drawing times of case 'ball_1' are left out.") == 1


def test_timed_slices_say_what_a_slice_takes_though_their_labels_cannot_be_read(ball_cohort, monkeypatch, caplog):
    class Estimator:
        def __init__(self, *_):
            pass

        def of_case(self, name, planes, watch):
            labels, geometry = ball_cohort.reference(name), ball_cohort.geometry(name)
            return CaseUncertainty({p: np.arange(float(p.slice_count(geometry))) for p in planes}, labels)

    monkeypatch.setattr("SparseAnnotateLib.learning.prediction.uncertainty.UncertaintyEstimator", Estimator)
    timed = ball_cohort.ledger("ball_1").with_state(Plane.AXIAL, 3, SliceState.DRAWN, seconds=60.0)
    write_json(ball_cohort.folder / "ledgers" / "ball_1.json", timed)
    (ball_cohort.folder / "annotations" / "ball_1.nrrd").unlink()
    chosen = recommend(
        RecommendRequest(
            str(ball_cohort.folder),
            cases=("ball_0",),
            budget=Budget(minutes=3),
            planes=(Plane.AXIAL,),
            strategy="uncertainty",
            runs=("any",),
            features="none",
        ),
        Watch(),
    )
    assert {item.case for item in chosen} == {"ball_0"}
    assert "The drawing times of case 'ball_1' are left out." in caplog.text


def test_a_folder_that_cannot_be_written_is_no_fault_of_each_case(ball_cohort, monkeypatch):
    def full(*_rest, **_more):
        raise FileWriteError("The disk is full.")

    monkeypatch.setattr(recommend_request, "_volume", full)
    with pytest.raises(FileWriteError, match=r"^The disk is full\.$"):
        recommend(RecommendRequest(str(ball_cohort.folder), budget=Budget(total=4), planes=(Plane.AXIAL,)), Watch())


def test_ledgers_are_not_read_for_times_that_are_given(ball_cohort, caplog):
    (ball_cohort.folder / "ledgers" / "ball_1.json").write_text("{")
    request = RecommendRequest(
        str(ball_cohort.folder),
        cases=("ball_0",),
        budget=Budget(minutes=3, seconds_per_slice=30),
        planes=(Plane.AXIAL,),
    )
    assert recommend(request, Watch())
    assert caplog.text == ""
    plan(PlanRequest(cohort=str(ball_cohort.folder), cases=("ball_0",), budget=request.budget), Watch())
    assert caplog.text == ""
