"""From slices or minutes to volumes and slices of each, in the right plane, with reasons."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, Cohort, Plane, VolumeGeometry
from SparseAnnotateLib.core.messages import Message
from SparseAnnotateLib.selection import Budget, advised_plane, plan_annotation, self_similarity
from SparseAnnotateLib.selection.slice_images import slice_images


def cohort(volumes, slices=100):
    return {f"v{n}": {Plane.AXIAL: slices} for n in range(volumes)}


def said(plan):
    return " ".join([*(a.sentence for a in plan.advice), *plan.unknown])


def test_2d_models_get_as_many_volumes_as_there_are_slices():
    plan = plan_annotation(cohort(40), Budget(total=120), dimensions=2)
    assert (len(plan.cases), plan.slices_per_volume, plan.slices) == (40, 3, 120)
    assert (plan.volume_share, plan.density) == (1.0, 0.03)
    plan = plan_annotation(cohort(40), Budget(total=10), dimensions=2)
    assert plan.cases == tuple(f"v{n}" for n in range(0, 40, 4))
    assert plan.slices_per_volume == 1


def test_3d_models_get_a_minimum_of_slices_per_volume():
    assert len(plan_annotation(cohort(40), Budget(total=400), target="clear").cases) == 40
    plan = plan_annotation(cohort(40), Budget(total=100), target="clear")
    assert (len(plan.cases), plan.slices_per_volume) == (20, 5)
    assert "needs a minimum" in said(plan)


def test_a_budget_per_volume_that_is_too_small_for_3d_says_why_there_are_more_slices_in_fewer_volumes():
    plan = plan_annotation(cohort(8, 50), Budget(per_volume=2))
    assert (len(plan.cases), plan.slices_per_volume, plan.slices) == (5, 3, 16)
    assert (
        "Draw 3 to 4 slices in each of 5 of the 8 volumes instead of 2 slices in each of all 8: a 3D model needs a "
        "minimum number of slices per volume, here 3 (5%, the lowest share that was tested)."
    ) in said(plan)
    assert "The budget per volume was added up to 16 slices. To draw just as many in every volume" in said(plan)
    assert "added up" not in said(plan_annotation(cohort(8, 50), Budget(total=16)))
    enough = plan_annotation(cohort(8, 50), Budget(per_volume=3))
    assert (len(enough.cases), enough.slices_per_volume) == (8, 3)
    assert "added up" not in said(enough)
    subtle = plan_annotation(cohort(8, 50), Budget(total=5), target="subtle")
    assert "Draw 5 slices in one of the 8 volumes: a 3D model needs" in said(subtle)
    assert "here 10 (20%, what subtle structures needed)" in said(subtle)


def test_subtle_targets_get_a_fifth_of_the_slices_in_3d():
    plan = plan_annotation(cohort(40), Budget(total=100), target="subtle")
    assert (len(plan.cases), plan.slices_per_volume, plan.density) == (5, 20, 0.2)
    assert "about 20%" in said(plan)
    short = plan_annotation(cohort(1), Budget(total=7), target="subtle")
    assert "a 2D model may do better" in said(short)
    assert len(plan_annotation(cohort(40), Budget(total=100), dimensions=2, target="subtle").cases) == 40


def test_minutes_become_slices_and_slices_minutes():
    plan = plan_annotation(cohort(4), Budget(minutes=30, seconds_per_slice=45))
    assert plan.slices == 40
    assert plan.minutes == 30
    assert plan_annotation(cohort(4), Budget(total=40, seconds_per_slice=30)).minutes == 20
    unknown = plan_annotation(cohort(4), Budget(total=40))
    assert unknown.minutes is None
    assert "How long a slice takes is not known" in said(unknown)
    with pytest.raises(BadInputError, match="how long a slice takes"):
        plan_annotation(cohort(4), Budget(minutes=30))


@pytest.mark.parametrize(
    ("budget", "slices"),
    [
        (Budget(per_volume=3), 12),
        (Budget(density=0.1), 10 + 2 + 1 + 1),
        (Budget(density=0.1, per="cohort"), 14),
        (Budget(every=10), 10 + 2 + 1 + 1),
        (Budget(every=7, per="cohort"), 136 // 7),
        (Budget(minutes=2, seconds_per_slice=60, per="volume"), 8),
        (Budget(more=5), 5),
    ],
)
def test_a_plan_takes_every_kind_of_budget(budget, slices):
    counts = {f"v{n}": {Plane.AXIAL: count} for n, count in enumerate((100, 21, 9, 6))}
    assert plan_annotation(counts, budget, dimensions=2).slices == slices


@pytest.mark.parametrize("total", [40, 79, 199, 319])
def test_no_slice_of_the_budget_is_lost(total):
    for dimensions in (2, 3):
        plan = plan_annotation(cohort(40), Budget(total=total), dimensions)
        assert plan.slices == total
        assert plan.slices_per_volume == total // len(plan.cases)


def test_each_piece_of_advice_has_its_source_and_what_is_not_known_is_reported():
    plan = plan_annotation(cohort(40), Budget(total=100))
    assert all(a.sentence.endswith(".") and a.source for a in plan.advice)
    assert all(isinstance(text, Message) for a in plan.advice for text in (a.sentence, a.source))
    assert all(isinstance(sentence, Message) for sentence in plan.unknown)
    assert "clear or subtle is not known" in said(plan)
    assert "axial slices only" in said(plan)
    assert "clear or subtle" not in said(plan_annotation(cohort(40), Budget(total=100), target="clear"))


def test_more_slices_than_there_are_is_everything():
    plan = plan_annotation(cohort(3, slices=10), Budget(total=1000))
    assert (plan.slices, plan.density) == (30, 1.0)
    assert "everything can be drawn" in said(plan)


def test_volumes_of_different_sizes_and_a_single_slice_are_planned_for():
    counts = {"large": {Plane.AXIAL: 300}, "small": {Plane.AXIAL: 10}, "one": {Plane.AXIAL: 1}}
    plan = plan_annotation(counts, Budget(total=60), dimensions=2)
    assert plan.slices == 60
    assert plan.slices_per_volume == 1
    assert plan_annotation({"one": {Plane.AXIAL: 1}}, Budget(total=1)).slices == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({}, Budget(total=3)), "no volume to plan for"),
        ((cohort(2), Budget(minutes=5)), "not known yet how long a slice takes"),
        ((cohort(2), Budget(total=3), 4), "2D or 3D, not 4D"),
        ((cohort(2), Budget(total=3), 3, "hard"), "not 'hard'"),
    ],
)
def test_bad_questions_are_refused(arguments, words):
    with pytest.raises(BadInputError, match=words):
        plan_annotation(*arguments)


def test_the_plane_along_which_slices_change_least_is_advised():
    tube = np.zeros((60, 40, 40), np.float32)
    rows, columns = np.indices((40, 40))
    for k in range(60):
        tube[k] = np.hypot(rows - 20 - 0.1 * k, columns - 18) < 9
    similarity = self_similarity(slice_images(tube, VolumeGeometry.from_spacing(tube.shape)), 0.1)
    assert advised_plane(similarity) == (Plane.AXIAL, True)
    counts = {"v": dict.fromkeys(Plane, 40)}
    plan = plan_annotation(counts, Budget(total=8), similarity=similarity)
    assert plan.plane is Plane.AXIAL
    assert "Draw axial slices" in said(plan)


def test_planes_that_cannot_be_distinguished_are_reported_as_such():
    assert advised_plane({Plane.AXIAL: 0.9, Plane.CORONAL: 0.895}) == (Plane.AXIAL, False)
    counts = {"v": {Plane.AXIAL: 40, Plane.CORONAL: 40}}
    close = plan_annotation(counts, Budget(total=8), similarity={Plane.AXIAL: 0.9, Plane.CORONAL: 0.895})
    assert "hardly differ" in said(close)
    nothing = self_similarity(slice_images(np.zeros((9, 9, 9)), VolumeGeometry.from_spacing((9, 9, 9))), 0.1)
    assert advised_plane(nothing) == (None, False)
    assert "could not be determined" in said(plan_annotation(counts, Budget(total=8), similarity=nothing))


def test_a_volume_with_too_few_slices_says_nothing_of_its_plane():
    image = np.random.default_rng(0).normal(size=(5, 40, 40))
    similarity = self_similarity(slice_images(image, VolumeGeometry.from_spacing(image.shape)), 0.1)
    assert np.isnan(similarity[Plane.AXIAL])
    assert np.isfinite(similarity[Plane.CORONAL])


def long_structures(hippocampi):
    """Ten hippocampi; on a machine without them, ten tubes that run from the front to the back as they do."""
    if hippocampi is not None:
        cohort = Cohort.open(hippocampi, hippocampi / "nowhere")
        return [cohort.image(case.name) for case in cohort.cases[:10]]
    depth, height, width = np.indices((36, 50, 34))
    tubes = [np.hypot(depth - 18 - 0.1 * height, width - 17) < 5 + 0.3 * n for n in range(10)]
    return [(tube.astype(np.float32), VolumeGeometry.from_spacing(tube.shape)) for tube in tubes]


def test_on_hippocampi_coronal_slices_are_found_better_than_axial_ones(hippocampi):
    better = []
    for image, geometry in long_structures(hippocampi):
        for density in (0.05, 0.1, 0.2):
            similarity = self_similarity(slice_images(image, geometry), density)
            better.append(similarity[Plane.CORONAL] > similarity[Plane.AXIAL])
    assert np.mean(better) > 0.8
