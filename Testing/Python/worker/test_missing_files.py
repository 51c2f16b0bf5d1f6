"""A case whose image, reference or ledger is gone or damaged is named, and does not stop the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Watch
from SparseAnnotateLib.core.errors import CohortError
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker.accept_image_request import AcceptImageRequest, accept_image
from SparseAnnotateLib.worker.evaluate_request import EvaluateRequest, evaluate
from SparseAnnotateLib.worker.fill_request import FillRequest, fill
from SparseAnnotateLib.worker.plan_requests import AgreementRequest, PlanRequest, agreement, plan
from SparseAnnotateLib.worker.recommend_request import PictureRequest, RecommendRequest, picture, recommend
from SparseAnnotateLib.worker.requests import DrawRequest, draw

GONE, OTHER = "ball_0", "ball_1"


@pytest.fixture
def cohort(ball_cohort: Cohort) -> Cohort:
    """Two cases with references, drawn slices, recommended ones, fills, and predictions of two runs."""
    recommend(_recommending(ball_cohort), Watch())
    fill(FillRequest(str(ball_cohort.folder), method="shape"), Watch())
    for run in ("first", "second"):
        for name in (GONE, OTHER):
            labels = ball_cohort.reference(name).astype(np.uint8)
            write_image(ball_cohort.prediction_path(run, name), labels, ball_cohort.geometry(name))
    return ball_cohort


def _recommending(cohort: Cohort, slices: int = 8, **more) -> RecommendRequest:
    budget = Budget(per_volume=slices)
    return RecommendRequest(cohort=str(cohort.folder), budget=budget, strategy="fixed_interval", **more)


def _remove_image(cohort: Cohort) -> None:
    cohort.image_path(GONE).unlink()


def _damage_image(cohort: Cohort) -> None:
    path = cohort.image_path(GONE)
    path.write_bytes(b"no header" + path.read_bytes()[9:])


def _remove_reference(cohort: Cohort) -> None:
    cohort.reference_path(GONE).unlink()


def _damage_ledger(cohort: Cohort) -> None:
    path = cohort.annotation_files(GONE)[0]
    path.write_text(path.read_text()[:40])


def _predictions(cohort: Cohort):
    return agreement(AgreementRequest(str(cohort.folder), ("first", "second")), Watch())


REQUESTS = {
    "fill": lambda c: fill(FillRequest(str(c.folder), method="shape"), Watch()),
    "fill named": lambda c: fill(FillRequest(str(c.folder), method="shape", cases=(GONE, OTHER)), Watch()),
    "recommend": lambda c: recommend(_recommending(c, 12), Watch()),
    "picture": lambda c: picture(PictureRequest(str(c.folder), str(c.folder / "picture.png")), Watch()),
    "plan": lambda c: plan(PlanRequest(cohort=str(c.folder), budget=Budget(total=12)), Watch()),
    "draw": lambda c: draw(DrawRequest(str(c.folder)), Watch()),
    "evaluate": lambda c: evaluate(EvaluateRequest(str(c.folder)), Watch()),
    "agreement": _predictions,
}
DAMAGE = {
    _remove_image: REQUESTS,
    _damage_image: REQUESTS,
    _remove_reference: ("draw", "evaluate"),
    _damage_ledger: [name for name in REQUESTS if name not in ("plan", "agreement")],
}


@pytest.mark.parametrize(("damage", "request_name"), [(d, name) for d, names in DAMAGE.items() for name in names])
def test_the_others_are_done_and_the_case_is_named(cohort, damage, request_name):
    damage(cohort)
    with pytest.raises(PartlyDoneError, match=f"'{GONE}'") as error:
        REQUESTS[request_name](cohort)
    shown = error.value.shown
    if isinstance(shown, list):
        done = {row.case for row in shown if not getattr(row, "refused", "")}
        assert done == {OTHER}
    elif request_name == "picture":
        assert Path(shown).is_file()
    else:
        assert (list(shown.cases) if request_name == "plan" else shown.cases) in ([OTHER], 1)


def test_a_missing_image_is_named_with_what_to_do(cohort, capsys):
    _remove_image(cohort)
    assert main(["fill", str(cohort.folder), "--method", "shape", "--quiet"]) == 1
    output = capsys.readouterr()
    assert OTHER in output.out
    assert f"'{GONE}': The image of case '{GONE}' cannot be used. The file" in output.err
    assert "does not exist. If it was moved, put it back where it was." in output.err


def test_images_are_accepted_although_another_one_is_gone(cohort):
    write_image(cohort.image_path(OTHER), cohort.image(OTHER)[0] + 1, cohort.geometry(OTHER))
    _remove_image(cohort)
    with pytest.raises(PartlyDoneError, match=f"'{GONE}'") as error:
        accept_image(AcceptImageRequest(str(cohort.folder)), Watch())
    assert [row.case for row in error.value.shown] == [OTHER]


def test_without_any_usable_image_there_is_no_plan(cohort):
    for name in (GONE, OTHER):
        cohort.image_path(name).write_bytes(b"no image")
    with pytest.raises(BadInputError, match=f"No plan was made, because 2 cases .*'{GONE}': .*'{OTHER}': "):
        REQUESTS["plan"](cohort)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda folder: recommend(RecommendRequest(folder, budget=Budget(total=4)), Watch()),
        lambda folder: plan(PlanRequest(folder, budget=Budget(total=4)), Watch()),
        lambda folder: draw(DrawRequest(folder), Watch()),
        lambda folder: fill(FillRequest(folder, cases=(GONE, OTHER)), Watch()),
    ],
)
def test_a_cohort_all_of_whose_images_are_gone_is_one_sentence(cohort, request_of):
    for name in (GONE, OTHER):
        cohort.image_path(name).unlink()
    with pytest.raises(CohortError, match=r"files are missing from the cohort .*Put them back"):
        request_of(str(cohort.folder))
