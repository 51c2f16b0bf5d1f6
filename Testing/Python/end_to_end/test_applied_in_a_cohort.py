"""What is applied to an opened case is in its cohort folder: with its sources, and there again when it is opened."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    Ledger,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
    slab_writing,
)
from SparseAnnotateLib.core.applied_segmentation import AppliedSegmentation
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.provenance import CORRECTED, DRAWN, PAINTED
from SparseAnnotateLib.worker.report_page import page
from SparseAnnotateLib.worker.report_pictures import case_picture
from SparseAnnotateLib.worker.report_request import APPLIED, cohort_report

GEOMETRY = VolumeGeometry.from_itk(
    (32, 28, 24), (0.7, 0.9, 2.0), (-10.0, 4.0, 33.0), (0, 0.6, 0.8, 1, 0, 0, 0, 0.8, -0.6)
)
LABELS = ball() + 2 * ball(radius=4.0)
NAMES = {1: "shell", 3: "kernel", 4: "never drawn"}
DRAWN_ON = (6, 10, 14, 18)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Two cases with drawn slices and a reference."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", NAMES)
    write_image(tmp_path / "reference.nrrd", LABELS, GEOMETRY)
    for name in ("a", "b"):
        cohort.add_case(name, noisy_image(LABELS), GEOMETRY, tmp_path / "reference.nrrd")
        cohort.save_annotation(name, SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, DRAWN_ON))
    return cohort


@pytest.fixture
def applied(logic, cohort):
    """Case 'a' in the scene, with its fill applied."""
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    return volume


def shown(logic, volume) -> np.ndarray:
    """What the drawing shows, with the values of the cohort."""
    values = {name: value for value, name in NAMES.items()}
    return scene.labels_of(logic.drawnIn(volume), volume, values)


def paint(mrml, logic, volume, box, name="never drawn") -> None:
    drawing = logic.drawnIn(volume)
    identifier = drawing.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(drawing, identifier, volume).copy()
    mask[box] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, drawing, identifier, volume)


def closed(mrml, logic) -> None:
    logic.forgetScene()
    mrml.mrmlScene.Clear(0)


def here(index: int) -> tuple:
    """The place of an axial slice in the arrays."""
    axis = Plane.AXIAL.array_axis(GEOMETRY)
    return tuple(index if a == axis else slice(None) for a in range(3))


def opened_again(mrml, logic, cohort):
    """Case 'a' in a new scene; the old one is closed as Slicer closes it."""
    closed(mrml, logic)
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    return volume


def test_an_applied_result_is_in_the_folder_with_its_sources(logic, cohort, applied):
    found = AppliedSegmentation.read(cohort, "a")
    np.testing.assert_array_equal(found.labels, shown(logic, applied))
    assert found.names == NAMES
    expected = logic.provenance(applied)
    np.testing.assert_array_equal(found.provenance.sources, expected.sources)
    assert sorted(found.provenance.names.values()) == ["drawn", "filled (shape)"]
    assert AppliedSegmentation.read(cohort, "b") is None
    assert Cohort.open(cohort.folder).annotation("a").ledger.decided == cohort.annotation("a").ledger.decided


def test_a_case_that_is_opened_again_is_as_it_was(mrml, logic, cohort, applied):
    paint(mrml, logic, applied, np.s_[2:5, 1:4, 1:4])
    logic.markEmpty(applied, "axial", 22)
    before, sources = shown(logic, applied), logic.provenance(applied)
    volume = opened_again(mrml, logic, cohort)
    assert logic.openingNotes() == ()
    np.testing.assert_array_equal(shown(logic, volume), before)
    now = logic.provenance(volume)
    assert now.counts() == sources.counts()
    assert set(now.names.values()) == {"drawn", "filled (shape)", "painted, not marked"}
    for name in now.names.values():
        value, other = (next(v for v, n in p.names.items() if n == name) for p in (now, sources))
        np.testing.assert_array_equal(now.sources == value, sources.sources == other)


def source_names(logic, volume) -> np.ndarray:
    """The name of the source of each voxel; '' for what is not labeled."""
    found = logic.provenance(volume)
    return np.array([found.names.get(value, "") for value in range(256)], dtype=object)[found.sources]


def test_voxels_of_a_partial_apply_keep_their_own_source_in_the_folder(mrml, logic, cohort, applied):
    axis = Plane.AXIAL.array_axis(GEOMETRY)
    other = (axis + 1) % 3
    paint(mrml, logic, applied, tuple(slice(12, 13) if a == axis else slice(0, 3) for a in range(3)))
    logic.applyFill(applied, logic.fillBetweenSlices(applied, "morphological"))
    names, labels = source_names(logic, applied), shown(logic, applied)
    ball_there = np.isin(labels, (1, 3))[here(12)]
    assert set(names[here(12)][ball_there]) == {"filled (shape)"}
    assert set(names[here(11)].ravel()) == {"", "filled (morphological)"}
    volume = opened_again(mrml, logic, cohort)
    np.testing.assert_array_equal(shown(logic, volume), labels)
    np.testing.assert_array_equal(source_names(logic, volume), names)
    # Now a slice is left out on which the voxels of a structure come from several results.
    middle = labels.shape[other] // 2
    paint(mrml, logic, volume, tuple(slice(middle, middle + 1) if a == other else slice(0, 3) for a in range(3)))
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "random_walk"))
    last, place = source_names(logic, volume), tuple(middle if a == other else slice(None) for a in range(3))
    assert "filled (random_walk)" in set(last.ravel()) - set(last[place].ravel())
    is_ball = np.isin(labels[place], (1, 3))
    np.testing.assert_array_equal(last[place][is_ball], names[place][is_ball])
    assert {"filled (shape)", "filled (morphological)"} <= set(last[place][is_ball])
    volume = opened_again(mrml, logic, cohort)
    np.testing.assert_array_equal(source_names(logic, volume), last)


def with_more_of_the_kernel(mrml, volume, result):
    identifier = result.GetSegmentation().GetSegmentIdBySegmentName("kernel")
    added = mrml.util.arrayFromSegmentBinaryLabelmap(result, identifier, volume).copy()
    added[20:, 20:, 28:] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(added, result, identifier, volume)
    return result


@pytest.mark.parametrize("is_another", [False, True])
def test_after_undo_voxels_come_from_what_undo_has_restored(mrml, logic, applied, is_another):
    names = source_names(logic, applied)
    logic.applyFill(applied, logic.fillBetweenSlices(applied, "morphological"))
    assert "filled (morphological)" in source_names(logic, applied)
    logic.undo(applied)
    np.testing.assert_array_equal(source_names(logic, applied), names)
    result = logic.fillBetweenSlices(applied, "shape")  # as it is shown already, in one case but for one structure
    logic.applyFill(applied, with_more_of_the_kernel(mrml, applied, result) if is_another else result)
    now = source_names(logic, applied)
    assert (now != names).any() == is_another
    np.testing.assert_array_equal(now[names != ""], names[names != ""])


def test_a_result_that_changes_one_structure_leaves_the_sources_of_the_others(mrml, logic, cohort, applied):
    axis = Plane.AXIAL.array_axis(GEOMETRY)
    paint(mrml, logic, applied, tuple(slice(12, 13) if a == axis else slice(0, 3) for a in range(3)))
    logic.applyFill(applied, logic.fillBetweenSlices(applied, "morphological"))
    names, labels = source_names(logic, applied), shown(logic, applied)
    result = logic.fillBetweenSlices(applied, "morphological")
    logic.applyFill(applied, with_more_of_the_kernel(mrml, applied, result))
    assert (shown(logic, applied) != labels).any()
    volume = opened_again(mrml, logic, cohort)
    is_shell = labels == 1
    np.testing.assert_array_equal(source_names(logic, volume)[is_shell], names[is_shell])
    assert set(names[is_shell]) == {"drawn", "filled (shape)", "filled (morphological)"}
    assert set(source_names(logic, volume)[21, 20:22, 29]) == {"filled (morphological)"}


def test_applying_again_replaces_only_what_was_applied(mrml, logic, cohort, applied):
    paint(mrml, logic, applied, np.s_[2:5, 1:4, 1:4])
    logic.markEmpty(applied, "axial", 22)
    volume = opened_again(mrml, logic, cohort)
    before = shown(logic, volume)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    after = shown(logic, volume)
    assert (after[2:5, 1:4, 1:4] == before[2:5, 1:4, 1:4]).all()
    assert "filled (shape)" not in logic.provenance(volume).names.values()
    assert "filled (morphological)" in logic.provenance(volume).names.values()


def test_an_undone_apply_is_undone_in_the_folder(logic, cohort, applied):
    logic.undo(applied)
    found = AppliedSegmentation.read(cohort, "a")
    np.testing.assert_array_equal(found.labels, shown(logic, applied))
    assert set(found.provenance.names.values()) == {"drawn"}


def test_slices_drawn_on_the_command_line_meanwhile_win(mrml, logic, cohort, applied):
    closed(mrml, logic)
    labels = np.zeros_like(LABELS)
    labels[here(12)][3:6, 3:6] = 4
    drawn = cohort.annotation("a")
    merged, ledger = drawn.drawn_labels() + labels, drawn.ledger.with_state(Plane.AXIAL, 12, SliceState.DRAWN)
    cohort.save_annotation("a", SparseAnnotation(merged, ledger, GEOMETRY, names=cohort.labels))
    whole = AppliedSegmentation.read(cohort, "a").with_drawn(cohort.annotation("a"))
    np.testing.assert_array_equal(whole.labels[here(12)], labels[here(12)])
    assert (whole.provenance.sources[here(12)] == DRAWN).all()
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    np.testing.assert_array_equal(shown(logic, volume), whole.labels)


def test_a_slice_that_is_no_longer_drawn_counts_as_painted(logic, cohort, applied):
    drawn = cohort.annotation("a")
    ledger = drawn.ledger.with_state(Plane.AXIAL, 14, SliceState.TODO)
    cohort.save_annotation("a", SparseAnnotation(drawn.drawn_labels(), ledger, GEOMETRY, names=cohort.labels))
    whole = AppliedSegmentation.read(cohort, "a").with_drawn(cohort.annotation("a"))
    np.testing.assert_array_equal(whole.labels[here(14)], drawn.labels[here(14)])
    np.testing.assert_array_equal(whole.provenance.sources[here(14)] == PAINTED, drawn.labels[here(14)] > 0)


def test_segments_that_overlap_are_said_and_the_drawn_slices_are_written(mrml, logic, cohort, applied):
    before = cohort.applied_path("a").read_bytes()
    assert (shown(logic, applied)[here(12)] > 0).any()
    paint(mrml, logic, applied, here(12))
    logic._opened.note_applied(applied)
    reason = "Slices that are painted but not marked as drawn were not changed."
    logic._applying._reports[scene.annotated_segmentation(applied).GetID()] = (reason,)
    with pytest.raises(BadInputError, match=f"only the drawn slices were written .* overlap.* {reason}"):
        logic.markEmpty(applied, "axial", 22)
    assert cohort.applied_path("a").read_bytes() == before
    assert cohort.ledger("a").is_decided(Plane.AXIAL, 22)


@pytest.mark.parametrize("damage", ["cut", "pair", "missing", "image"])
def test_what_cannot_be_used_is_said_and_the_case_opens_without_it(mrml, logic, cohort, applied, damage):
    closed(mrml, logic)
    path = cohort.applied_path("a")
    (beside,) = (path.parent / "sources" / "a").iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "pair":
        content = beside.read_bytes()
        list(AppliedSegmentation.read(cohort, "a").writing(cohort, "a"))
        (beside,) = beside.parent.iterdir()
        beside.write_bytes(content)
    elif damage == "missing":
        beside.unlink()
    else:
        write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
        cohort.accept_image("a")
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    assert len(logic.openingNotes()) >= 1
    assert "applied segmentation" in logic.openingNotes()[0] or "a.nrrd" in logic.openingNotes()[0]
    np.testing.assert_array_equal(shown(logic, volume), cohort.annotation("a").drawn_labels())


def test_writing_that_is_cut_off_leaves_what_was_written_before(cohort, applied, monkeypatch):
    # How many steps the waiting for the disk takes differs from time to time.
    monkeypatch.setattr(slab_writing, "done_beside", lambda work: [work()])
    before = AppliedSegmentation.read(cohort, "a")
    changed = replace(before, labels=np.zeros_like(before.labels))
    steps = len(list(changed.writing(cohort, "a")))
    list(before.writing(cohort, "a"))
    for count in range(steps):
        writing = changed.writing(cohort, "a")
        for _ in range(count + 1):
            next(writing)
        writing.close()
        found = AppliedSegmentation.read(cohort, "a")
        np.testing.assert_array_equal(found.labels, before.labels)
        np.testing.assert_array_equal(found.provenance.sources, before.provenance.sources)
    list(changed.writing(cohort, "a"))
    assert not AppliedSegmentation.read(cohort, "a").labels.any()
    assert len(list((cohort.applied_path("a").parent / "sources" / "a").iterdir())) == 1


def test_a_structure_that_the_cohort_lost_is_said(mrml, logic, cohort, applied):
    closed(mrml, logic)
    facts = json.loads((cohort.folder / "cohort.json").read_text())
    del facts["labels"]["4"]
    (cohort.folder / "cohort.json").write_text(json.dumps(facts))
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    assert any("'never drawn'" in note for note in logic.openingNotes())
    assert scene.segment_names(logic.drawnIn(volume)) == ["shell", "kernel"]


def test_the_report_counts_its_sources_and_measures_it(logic, cohort, applied):
    found = cohort_report(Cohort.open(cohort.folder), list(cohort.cases), Watch())
    state = next(state for state in found.cases[0].results if state.made_by == APPLIED)
    assert state.sources == AppliedSegmentation.read(cohort, "a").provenance.counts() | {
        "drawn": int(sum((LABELS[here(index)] > 0).sum() for index in DRAWN_ON))
    }
    labels = shown(logic, applied)
    expected = [2 * ((labels == v) & (v == LABELS)).sum() / ((labels == v).sum() + (v == LABELS).sum()) for v in (1, 3)]
    assert state.dice == pytest.approx(np.mean(expected))
    assert all(state.made_by != APPLIED for state in found.cases[1].results)
    assert "applied in Slicer" in page(found, {})
    assert case_picture(cohort, replace(found.cases[0], ledger=Ledger()))


def test_it_is_compared_with_the_reference_on_the_command_line(logic, cohort, applied, capsys):
    assert main(["evaluate", str(cohort.folder), "--applied", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    labels = shown(logic, applied)
    shell = 2 * ((labels == 1) & (LABELS == 1)).sum() / ((labels == 1).sum() + (LABELS == 1).sum())
    assert {figures["name"]: figures["dice"] for figures in row["labels"]}["shell"] == pytest.approx(shell)
    assert main(["evaluate", str(cohort.folder), "--applied", "--cases", "b"]) == 1
    assert "Nothing was applied in Slicer" in capsys.readouterr().err
    write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
    assert main(["evaluate", str(cohort.folder), "--applied"]) == 1
    assert (
        "applied segmentation of case 'a' is out of date: the image file has changed since" in capsys.readouterr().err
    )


def test_corrections_are_in_it(logic, cohort, applied):
    fill = logic.panel.latest_result(applied)
    middle = (scene.geometry_of(applied).matrix @ [2.0, 2.0, 12.0, 1.0])[:3]
    logic.correct(applied, "kernel", middle, radius=2.0, resultNode=fill)
    logic.applyFill(applied, fill)
    found = AppliedSegmentation.read(cohort, "a")
    assert (found.provenance.sources == CORRECTED).any()
    assert (found.labels[found.provenance.sources == CORRECTED] == 3).any()
