"""A cohort folder opened in the scene: what is drawn on its cases goes back into it, and nothing else changes there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from held_cases import held_elsewhere
from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, BusyError, Cohort, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.core.strict_json import write_json
from SparseAnnotateLib.core.user_name import ensure_user_name
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

GEOMETRY = VolumeGeometry.from_itk(
    (32, 28, 24), (0.7, 0.9, 2.0), (-10.0, 4.0, 33.0), (0, 0.6, 0.8, 1, 0, 0, 0, 0.8, -0.6)
)


@pytest.fixture
def folder(tmp_path):
    """A cohort of three cases with all that a case can have: an oblique grid, structures of slices, undecided voxels,
    corrections, slices to do and skipped, a reference and a fill."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 3: "kernel", 4: "never drawn"})
    labels = ball() + 2 * ball(radius=4.0)
    write_image(tmp_path / "reference.nrrd", labels, GEOMETRY)
    for name in ("a", "b", "c"):
        cohort.add_case(name, noisy_image(labels), GEOMETRY, tmp_path / "reference.nrrd")
        annotation = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, (6, 10, 14))
        ledger = annotation.ledger.with_state(Plane.AXIAL, 18, SliceState.SKIPPED)
        ledger = ledger.with_state(Plane.AXIAL, 10, SliceState.DRAWN, 12.5, ["shell"])
        ledger = ledger.with_state(Plane.CORONAL, 3, SliceState.TODO)
        undecided = np.zeros(labels.shape, bool)
        layer = [slice(None)] * 3
        layer[Plane.AXIAL.array_axis(GEOMETRY)] = 14
        undecided[tuple(layer)][2:5, 2:5] = True
        drawn = SparseAnnotation(labels, ledger, GEOMETRY, undecided, cohort.labels)
        cohort.save_annotation(name, drawn)
        cohort.add_correction(name, Stroke(np.array([5000, 5001, 5002]), 1, True, 3.0))
    return cohort.folder


def files_of(folder):
    """The content of all files that say what is known of the cases."""
    parts = ("ledgers", "annotations", "corrections", "images")
    found = [path for part in parts for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "cohort.json", *found)}


def draw(mrml, volume, logic, index, segment="shell"):
    """Paint a square on an axial slice, and mark it as drawn."""
    segmentation = logic.segmentationNode(volume)
    identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(segment)
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume).copy()
    layer = [slice(None)] * 3
    layer[Plane.AXIAL.array_axis(scene.geometry_of(volume))] = index
    mask[tuple(layer)][4:9, 5:9] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, volume)
    logic.markDrawn(volume, "axial", index)
    return mask[tuple(layer)]


def test_opening_a_cohort_shows_what_it_holds_and_changes_nothing_in_it(mrml, logic, folder):
    before = files_of(folder)
    volumes = logic.openCohort(folder, count=2)
    assert [node.GetName() for node in volumes] == ["a", "b"]
    assert logic.cohortFolder == folder
    assert [(case.name, case.volumeNode is not None, case.drawn, case.toDo) for case in logic.cohortCases()] == [
        ("a", True, 3, 1),
        ("b", True, 3, 1),
        ("c", False, 3, 1),
    ]
    cohort = Cohort.open(folder)
    volume = volumes[0]
    image, geometry = cohort.image("a")
    assert np.array_equal(mrml.util.arrayFromVolume(volume), image)
    assert mrml.util.arrayFromVolume(volume).dtype == image.dtype
    assert scene.geometry_of(volume).difference_from(geometry) is None
    segmentation = logic.drawnIn(volume)
    assert scene.segment_names(segmentation) == ["shell", "kernel", "never drawn"]
    own, stored = scene.annotation_of(volume, segmentation, {"shell": 1, "kernel": 3, "never drawn": 4}), None
    stored = cohort.annotation("a")
    assert np.array_equal(own.drawn_labels(), stored.drawn_labels())
    everything = ("shell", "kernel", "never drawn")
    expected = [replace(e, structures=e.structures or everything) for e in cohort.ledger("a").decided]
    assert logic.ledger(volume).decided == expected
    assert logic.ledger(volume).todo == cohort.ledger("a").todo
    assert np.array_equal(own.undecided, stored.undecided)
    list(scene.exporting_case(cohort, volume, segmentation, {"shell": 1, "kernel": 3, "never drawn": 4}))
    assert files_of(folder) == before


def test_what_is_drawn_on_the_command_line_and_in_slicer_is_one_annotation(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["b"])
    painted = draw(mrml, volume, logic, 20)
    cohort = Cohort.open(folder)
    annotation = cohort.annotation("b")
    assert annotation.ledger.is_decided(Plane.AXIAL, 20)
    layer = [slice(None)] * 3
    layer[Plane.AXIAL.array_axis(GEOMETRY)] = 20
    assert np.array_equal(annotation.labels[tuple(layer)], painted)
    assert annotation.undecided.sum() == 9
    assert len(cohort.corrections("b").strokes) == 1
    # On the command line, then again in a new scene.
    assert main(["fill", str(folder), "--method", "shape", "--cases", "b", "--quiet"]) == 0
    before = files_of(folder)
    logic.forgetScene()
    mrml.mrmlScene.Clear(0)
    (volume,) = logic.openCohort(folder, cases=["b"])
    fill = logic.panel.latest_result(volume)
    assert scene.made_by(fill) == scene.FILL
    assert logic.confidenceNode(fill) is not None
    logic.markSkipped(volume, "axial", 18)
    assert files_of(folder) == before
    # The fill can be applied, so it is known to be up to date.
    assert logic.applyFill(volume, fill) == []


def test_each_mark_is_written_at_once(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    cohort = Cohort.open(folder)
    logic.markEmpty(volume, "axial", 0, seconds=4.0)
    assert cohort.ledger("a").entry(Plane.AXIAL, 0).state is SliceState.EMPTY
    logic.markSkipped(volume, "axial", 1)
    assert cohort.ledger("a").entry(Plane.AXIAL, 1).state is SliceState.SKIPPED
    logic.markToDo(volume, "axial", 6)
    assert not cohort.annotation("a").ledger.is_decided(Plane.AXIAL, 6)
    logic.recommendSlices([volume], slicesPerVolume=6)
    assert len(cohort.ledger("a").todo) == len(logic.ledger(volume).todo) > 1
    logic.clearCorrections(volume)
    assert cohort.corrections("a") is None


def test_undecided_voxels_are_no_background_in_a_fill(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    annotation = scene.annotation_of(volume, logic.drawnIn(volume))
    assert annotation.undecided.sum() == 9
    # What is painted over is decided.
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    mask[annotation.undecided] = 1
    identifier = logic.drawnIn(volume).GetSegmentation().GetSegmentIdBySegmentName("never drawn")
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, logic.drawnIn(volume), identifier, volume)
    assert scene.annotation_of(volume, logic.drawnIn(volume)).undecided is None


def test_slices_recommended_elsewhere_are_taken_in(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    assert main(["recommend", str(folder), "--per-volume", "8", "--cases", "a", "--quiet"]) == 0
    recommended = {entry.key for entry in Cohort.open(folder).ledger("a").todo}
    draw(mrml, volume, logic, 21)
    assert {entry.key for entry in logic.ledger(volume).todo} == recommended - {(Plane.AXIAL, 21)}
    assert Cohort.open(folder).ledger("a").todo == logic.ledger(volume).todo


def test_slices_drawn_elsewhere_are_never_overwritten(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    cohort = Cohort.open(folder)
    labels = np.where(ball() > 0, 1, 0).astype(np.uint8)
    stored = cohort.annotation("a")
    other = SparseAnnotation(
        labels, stored.ledger.with_state(Plane.AXIAL, 12, SliceState.DRAWN), GEOMETRY, names=cohort.labels
    )
    cohort.save_annotation("a", other)
    before = files_of(folder)
    with pytest.raises(
        BadInputError, match="'a' was changed elsewhere since it was opened here .axial 12.*in this scene"
    ):
        draw(mrml, volume, logic, 20)
    assert files_of(folder) == before
    assert logic.ledger(volume).is_decided(Plane.AXIAL, 20)


def test_a_case_that_is_open_elsewhere_is_left_to_the_other(mrml, logic, folder):
    with held_elsewhere(folder, "b") as answer:
        assert answer == "held"
        volumes = logic.openCohort(folder)
        assert [node.GetName() for node in volumes] == ["a", "c"]
        (note,) = logic.openingNotes()
        assert "The case 'b' is open elsewhere" in note
        with pytest.raises(BusyError, match="'b' is open elsewhere"):
            logic.openCase("b")
    assert logic.openCase("b").GetName() == "b"
    with held_elsewhere(folder, "b") as answer:
        assert answer == "busy"
    # Closing the scene leaves it to others.
    logic.forgetScene()
    with held_elsewhere(folder, "b") as answer:
        assert answer == "held"


def test_cases_that_somebody_else_has_open_are_replaced_by_the_next_ones(mrml, logic, folder):
    with held_elsewhere(folder, "a") as first, held_elsewhere(folder, "b") as second:
        assert (first, second) == ("held", "held")
        assert [node.GetName() for node in logic.openCohort(folder, count=1)] == ["c"]
        notes = logic.openingNotes()
        assert [note.split(" is drawing there (process ")[0] for note in notes] == [
            f"The case '{case}' is open elsewhere: {ensure_user_name()}" for case in "ab"
        ]
        assert [case.name for case in logic.panel.unopened_cases()] == ["a", "b"]


def test_the_cases_of_a_cohort_are_listed_though_none_of_them_could_be_opened(mrml, logic, folder):
    assert logic.panel.unopened_cases() == []
    with held_elsewhere(folder, "a"), held_elsewhere(folder, "b"), held_elsewhere(folder, "c"):
        assert logic.openCohort(folder) == []
        assert [case.name for case in logic.panel.unopened_cases()] == ["a", "b", "c"]
    assert logic.openCase("b").GetName() == "b"
    logic.forgetScene()
    mrml.mrmlScene.Clear(0)
    assert logic.panel.unopened_cases() == []


def test_one_sentence_names_all_cases_that_the_same_person_has_open():
    from SparseAnnotateLib.core.case_hold import HeldElsewhereError
    from SparseAnnotateLib.logic.opened_cohort import _held_notes

    holders = ["Ann", "Ben", "Ann"]
    notes = _held_notes([HeldElsewhereError(f"case {n}", f"{name} is drawing") for n, name in enumerate(holders)])
    assert notes[0].startswith("The cases 'case 0', 'case 2' are open elsewhere: Ann is drawing. Open them again")
    assert notes[1].startswith("The case 'case 1' is open elsewhere: Ben is drawing. Open it again")


def test_a_removed_volume_can_be_opened_again_at_once(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a", "a"])
    for node in (logic.drawnIn(volume), volume):
        mrml.mrmlScene.RemoveNode(node)
    assert logic.openCase("a").GetName() == "a"
    from SparseAnnotate import SparseAnnotateLogic

    # Another logic of this process works on the same scene.
    other = SparseAnnotateLogic()
    other.cohortFolder = folder
    other.markEmpty(logic.openCase("a"), "axial", 0)
    assert Cohort.open(folder).ledger("a").is_decided(Plane.AXIAL, 0)


def test_another_segmentation_takes_no_slices_away(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    before = files_of(folder)
    other = scene.new_segmentation(
        "other", np.zeros(GEOMETRY.shape, np.uint8), {1: "shell", 3: "kernel", 4: "never drawn"}, volume
    )
    logic.useSegmentation(volume, other)
    with pytest.raises(BadInputError, match="another segmentation than the one it was opened with"):
        logic.markEmpty(volume, "axial", 0)
    assert files_of(folder) == before


@pytest.mark.parametrize("change", ["remove one", "remove all", "rename"])
def test_a_removed_or_renamed_segment_takes_no_structure_away(mrml, logic, folder, change):
    (volume,) = logic.openCohort(folder, cases=["a"])
    before = files_of(folder)
    segmentation = logic.drawnIn(volume).GetSegmentation()
    shell = segmentation.GetSegmentIdBySegmentName("shell")
    if change == "rename":
        segmentation.GetSegment(shell).SetName("cortex")
    elif change == "remove one":
        segmentation.RemoveSegment(shell)
    else:
        segmentation.RemoveAllSegments()
    with pytest.raises(BadInputError, match="nothing was written"):
        logic.markSkipped(volume, "axial", 1)
    assert files_of(folder) == before
    if change == "rename":
        segmentation.GetSegment(shell).SetName("shell")
        logic.markSkipped(volume, "axial", 2)
        assert Cohort.open(folder).ledger("a").entry(Plane.AXIAL, 1) is not None


def test_a_segment_can_be_removed_before_anything_is_drawn(mrml, logic, tmp_path):
    cohort = Cohort.create(tmp_path / "fresh", "fresh", {1: "shell", 2: "kernel"})
    cohort.add_case("a", noisy_image(ball()), VolumeGeometry.from_spacing((24, 28, 32), (1.0, 1.0, 1.0)))
    (volume,) = logic.openCohort(cohort.folder)
    segmentation = logic.drawnIn(volume).GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("kernel"))
    logic.markEmpty(volume, "axial", 0)
    assert cohort.ledger("a").entry(Plane.AXIAL, 0).structures == ("shell",)


def test_a_structure_renamed_elsewhere_keeps_its_voxels(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    cohort = Cohort.open(folder)
    cohort.set_labels({1: "cortex", 3: "kernel", 4: "never drawn"})
    before = files_of(folder)
    with pytest.raises(BadInputError, match="'shell' of 'a' is the structure 'cortex'"):
        logic.markEmpty(volume, "axial", 0)
    assert files_of(folder) == before


def test_a_structure_added_in_slicer_is_unknown_on_older_slices(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    logic.drawnIn(volume).GetSegmentation().AddEmptySegment("new", "new")
    annotation = scene.annotation_of(volume, logic.drawnIn(volume))
    new = scene.label_values(logic.drawnIn(volume))["new"]
    assert all(new in annotation.unknown_on(entry.plane, entry.index) for entry in annotation.ledger.decided)
    logic.markSkipped(volume, "axial", 1)
    cohort = Cohort.open(folder)
    assert cohort.labels == {1: "shell", 3: "kernel", 4: "never drawn", 5: "new"}
    assert 5 in cohort.annotation("a").unknown_on(Plane.AXIAL, 6)


def test_one_case_that_cannot_be_written_does_not_keep_the_others_from_it(mrml, logic, folder):
    volumes = {node.GetName(): node for node in logic.openCohort(folder)}
    logic.drawnIn(volumes["a"]).GetSegmentation().RemoveAllSegments()
    logic.recommendSlices([volumes["b"], volumes["c"]], slicesPerVolume=6)
    with pytest.raises(BadInputError):
        logic.recommendSlices(list(volumes.values()), slicesPerVolume=7)
    cohort = Cohort.open(folder)
    for name in ("b", "c"):
        assert cohort.ledger(name) == scene.ledger_of(volumes[name]) or len(cohort.ledger(name).todo) > 1


def test_volumes_of_another_cohort_are_still_written_to_theirs(mrml, logic, folder, tmp_path):
    (volume,) = logic.openCohort(folder, cases=["a"])
    other = Cohort.create(tmp_path / "other", "other", {1: "x"})
    other.add_case("z", noisy_image(ball()), VolumeGeometry.from_spacing((24, 28, 32), (1.0, 1.0, 1.0)))
    logic.openCohort(other.folder)
    logic.markEmpty(volume, "axial", 0)
    assert Cohort.open(folder).ledger("a").is_decided(Plane.AXIAL, 0)
    with held_elsewhere(folder, "a") as answer:
        assert answer == "busy"


def test_a_mark_that_could_not_be_written_is_written_later(mrml, logic, folder, monkeypatch):
    (volume,) = logic.openCohort(folder, cases=["a"])
    cohort = Cohort.open(folder)
    with cohort.locked("something else"):
        monkeypatch.setattr("SparseAnnotateLib.core.cohort._LOCK_SECONDS", 0.0)
        monkeypatch.setattr("SparseAnnotateLib.logic.opened_cohort._WAITING_SECONDS", 0.0)
        with pytest.raises(BadInputError, match="is in use"):
            logic.markEmpty(volume, "axial", 0)
    logic.markSkipped(volume, "axial", 1)
    assert cohort.ledger("a").is_decided(Plane.AXIAL, 0)


def test_after_a_failed_write_the_next_one_is_not_refused(mrml, logic, folder, monkeypatch):
    from SparseAnnotateLib.core import FileWriteError
    from SparseAnnotateLib.core import cohort as module

    (volume,) = logic.openCohort(folder, cases=["a"])
    real, failed = module.write_json, []

    def full(path, value):
        if not failed and path.parent.name == "ledgers":
            failed.append(path)
            raise FileWriteError("The disk is full.")
        real(path, value)

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(BadInputError, match="disk is full"):
        draw(mrml, volume, logic, 20)
    logic.markSkipped(volume, "axial", 1)
    assert Cohort.open(folder).annotation("a").ledger.is_decided(Plane.AXIAL, 20)


def test_what_others_save_while_we_wait_is_not_overwritten(mrml, logic, folder):
    """The folder is looked at again once others are kept out."""
    (volume,) = logic.openCohort(folder, cases=["a"])
    steps = scene.exporting_case(Cohort.open(folder), volume, logic.drawnIn(volume), {})
    draw_elsewhere = Cohort.open(folder)
    stored = draw_elsewhere.annotation("a")
    ledger = stored.ledger.with_state(Plane.AXIAL, 12, SliceState.EMPTY)
    draw_elsewhere.save_annotation("a", SparseAnnotation(stored.labels, ledger, GEOMETRY, names=stored.names))
    scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.EMPTY)
    with pytest.raises(BadInputError, match="changed elsewhere"):
        list(steps)
    assert draw_elsewhere.ledger("a").is_decided(Plane.AXIAL, 12)


def test_a_replaced_image_file_is_noticed(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    write_image(Cohort.open(folder).image_path("a"), noisy_image(ball(), 5), GEOMETRY)
    with pytest.raises(BadInputError, match="was replaced since it was opened"):
        logic.markEmpty(volume, "axial", 0)


def test_undecided_voxels_follow_a_copy_on_the_volume_s_grid(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    copy = logic.mendGeometry(volume, logic.drawnIn(volume))
    logic.useSegmentation(volume, copy)
    logic.markSkipped(volume, "axial", 1)
    assert Cohort.open(folder).annotation("a").undecided.sum() == 9


def test_a_folder_that_is_gone_is_not_made_anew(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    folder.rename(folder.with_name("moved"))
    with pytest.raises(BadInputError, match="cohort"):
        logic.markEmpty(volume, "axial", 0)
    assert not folder.exists()


def test_a_changed_image_is_not_taken_for_the_case(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    before = files_of(folder)
    array = mrml.util.arrayFromVolume(volume)
    array += 50
    mrml.util.arrayFromVolumeModified(volume)
    with pytest.raises(BadInputError, match="is no longer the image of the case 'a'"):
        logic.markEmpty(volume, "axial", 0)
    assert files_of(folder) == before
    # Nor does the worker get it.
    with pytest.raises(BadInputError, match="no longer the image"):
        logic.train([volume], settings={"iterations": 1})


def test_a_clone_is_a_case_of_its_own(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    clone = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "copy")
    clone.Copy(volume)
    assert scene.opened_case(clone) is None
    assert scene.case_of(clone) != "a"
    assert scene.opened_case(volume) is not None


def test_training_in_another_cohort_folder_is_refused(mrml, logic, folder, tmp_path):
    (volume,) = logic.openCohort(folder, cases=["a"])
    logic.cohortFolder = tmp_path / "other"
    with pytest.raises(BadInputError, match="belongs to the cohort in"):
        logic.train([volume], settings={"iterations": 1})


def test_a_removed_segmentation_takes_nothing_from_the_folder(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    before = files_of(folder)
    mrml.mrmlScene.RemoveNode(logic.drawnIn(volume))
    with pytest.raises(BadInputError, match="no longer in the scene"):
        list(scene.exporting_case(Cohort.open(folder), volume, None, {}))
    assert files_of(folder) == before


def test_what_the_image_is_counts_for_fills_that_depend_on_it(mrml, logic, folder):
    cohort = Cohort.open(folder)
    for case, depends in (("a", False), ("b", True)):
        facts = cohort.origin(case, method="propagation" if depends else "shape").facts(with_scale=depends)
        write_image(cohort.fill_path(case), cohort.annotation(case).labels, GEOMETRY, facts=facts)
    for volume, depends in zip(logic.openCohort(folder, cases=["a", "b"]), (False, True), strict=True):
        made, drawing = logic.panel.latest_result(volume), logic.drawnIn(volume)
        logic.setModality(volume, "CT")
        assert scene.modality_has_changed(made, volume) == depends
        if depends:
            with pytest.raises(BadInputError, match=r"'b.*' counts as CT now, which it did not when '.*' was made"):
                scene.require_current(made, volume, drawing, [])
        logic.setModality(volume, "MR")
        scene.require_current(made, volume, drawing, [])


def test_a_fill_that_is_out_of_date_is_not_opened(mrml, logic, folder):
    assert main(["fill", str(folder), "--method", "shape", "--cases", "a", "--quiet"]) == 0
    cohort = Cohort.open(folder)
    stored = cohort.annotation("a")
    labels = stored.labels.copy()
    cohort.save_annotation(
        "a", SparseAnnotation(labels, stored.ledger.with_state(Plane.AXIAL, 2, SliceState.EMPTY), GEOMETRY)
    )
    (volume,) = logic.openCohort(folder, cases=["a"])
    assert logic.panel.latest_result(volume) is None
    (note,) = logic.openingNotes()
    assert note.startswith("The fill of case 'a' is out of date")


def test_a_damaged_case_does_not_keep_the_others_from_being_opened(mrml, logic, folder):
    image = Cohort.open(folder).image_path("a")
    image.write_bytes(image.read_bytes()[:-40])
    assert [node.GetName() for node in logic.openCohort(folder)] == ["b", "c"]
    assert "'a'" in logic.openingNotes()[0]
    assert [node.GetName() for node in scene.volumes_of_scene()] == ["b", "c"]
    with pytest.raises(BadInputError, match="'a'"):
        logic.openCase("a")


def test_a_scene_that_is_opened_again_goes_on_with_the_cohort(mrml, logic, folder, embedded, tmp_path):
    (volume,) = logic.openCohort(folder, cases=["a"])
    draw(mrml, volume, logic, 20)
    before = files_of(folder)
    logic.forgetScene()
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.cohortFolder = folder
    (volume,) = scene.opened_volumes(str(folder)).values()
    logic.markSkipped(volume, "axial", 18)
    assert files_of(folder) == before
    draw(mrml, volume, logic, 21)
    assert Cohort.open(folder).ledger("a").is_decided(Plane.AXIAL, 21)


def test_a_decathlon_folder_can_be_opened(mrml, logic, tmp_path):
    folder, labels = tmp_path / "Task", ball()
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    facts = {
        "name": "balls",
        "labels": {"0": "background", "1": "ball"},
        "training": [{"image": "./imagesTr/one.nii.gz", "label": "./labelsTr/one.nii.gz"}],
    }
    for part, array in (("imagesTr", noisy_image(labels)), ("labelsTr", labels)):
        (folder / part).mkdir(parents=True)
        write_image(folder / part / "one.nii.gz", array, geometry)
    (folder / "dataset.json").write_text(json.dumps(facts))
    volumes = logic.openCohort(folder)
    assert volumes
    logic.markEmpty(volumes[0], "axial", 0)
    assert Cohort.open(folder).ledger(volumes[0].GetName()).decided


def test_many_cases_are_listed_without_opening_them(mrml, logic, tmp_path):
    cohort = Cohort.create(tmp_path / "many", "many", {1: "ball"})
    image = noisy_image(ball((6, 7, 8), 2.0))
    geometry = VolumeGeometry.from_spacing(image.shape, (1.0, 1.0, 1.0))
    for number in range(12):
        cohort.add_case(f"case {number:02}", image, geometry)
    assert len(logic.openCohort(cohort.folder)) == 5
    assert [case.name for case in logic.panel.unopened_cases()] == [f"case {n:02}" for n in range(5, 12)]
    assert len(logic.openCohort(cohort.folder)) == 5


def test_what_is_cleared_while_a_slice_is_written_is_written_next(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.EMPTY)
    steps = logic._opened._writing([volume], 0.0)
    next(steps)
    for _step in steps:
        if logic.ledger(volume).is_decided(Plane.AXIAL, 6):
            scene.mark_slice(volume, Plane.AXIAL, 6, SliceState.TODO)
            scene.mark_slice(volume, Plane.AXIAL, 20, SliceState.SKIPPED)
    logic._opened.update(is_waiting=True)
    ledger = Cohort.open(folder).ledger("a")
    assert ledger.is_decided(Plane.AXIAL, 0)
    assert ledger.entry(Plane.AXIAL, 6).state is SliceState.TODO
    assert ledger.entry(Plane.AXIAL, 20).state is SliceState.SKIPPED


def test_a_segment_added_while_others_are_written_gets_its_label(mrml, logic, folder):
    volumes = logic.openCohort(folder, count=2)
    scene.mark_slice(volumes[0], Plane.AXIAL, 0, SliceState.EMPTY)
    steps = logic._export.request(volumes)
    next(steps)
    segmentation = logic.drawnIn(volumes[1])
    segmentation.GetSegmentation().AddEmptySegment("new", "new")
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    layer = [slice(None)] * 3
    layer[Plane.AXIAL.array_axis(GEOMETRY)] = 8
    mask[tuple(layer)][3:6, 3:6] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "new", volumes[1])
    scene.mark_decided(volumes[1], Plane.AXIAL, 8)
    list(steps)
    cohort = Cohort.open(folder)
    value = {name: value for value, name in cohort.labels.items()}["new"]
    assert (cohort.annotation("b").labels == value).sum() == 9
    logic.markEmpty(volumes[1], "axial", 0)
    assert cohort.ledger("b").is_decided(Plane.AXIAL, 0)


def test_a_folder_that_comes_back_gets_what_was_drawn_meanwhile(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(BadInputError):
        logic.markEmpty(volume, "axial", 0)
    away.rename(folder)
    logic.forgetScene()
    assert Cohort.open(folder).ledger("a").is_decided(Plane.AXIAL, 0)


def test_an_unexpected_error_blocks_neither_the_others_nor_closing(mrml, logic, folder):
    volumes = {node.GetName(): node for node in logic.openCohort(folder)}
    corrections = Cohort.open(folder).corrections_path("a")
    corrections.unlink()
    corrections.mkdir()
    with pytest.raises(BadInputError):
        logic.markEmpty(volumes["a"], "axial", 0)
    logic.markEmpty(volumes["b"], "axial", 0)
    assert Cohort.open(folder).ledger("b").is_decided(Plane.AXIAL, 0)
    logic.forgetScene()
    with held_elsewhere(folder, "a") as answer:
        assert answer == "held"


def test_slices_skipped_elsewhere_stay_skipped(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["a"])
    cohort = Cohort.open(folder)
    ledger = cohort.ledger("a").with_state(Plane.CORONAL, 3, SliceState.SKIPPED)
    write_json(cohort.annotation_files("a")[0], ledger)
    logic.markEmpty(volume, "axial", 0)
    assert cohort.ledger("a").entry(Plane.CORONAL, 3).state is SliceState.SKIPPED
    assert logic.ledger(volume).entry(Plane.CORONAL, 3).state is SliceState.SKIPPED


def test_a_new_structure_does_not_wait_for_the_lock_in_the_window(mrml, logic, folder, monkeypatch):
    (volume,) = logic.openCohort(folder, cases=["a"])
    logic.drawnIn(volume).GetSegmentation().AddEmptySegment("new", "new")
    scene.mark_slice(volume, Plane.AXIAL, 0, SliceState.EMPTY)
    waited = []
    monkeypatch.setattr("SparseAnnotateLib.core.folder_lock.time.sleep", waited.append)
    with Cohort.open(folder).locked("something else"):
        list(logic._opened._writing([volume], 0.0))
    assert waited == []
    assert "is in use" in logic._opened.problem
    logic._opened.update(is_waiting=True)
    assert Cohort.open(folder).labels[5] == "new"


@pytest.fixture
def left_handed(tmp_path):
    """A cohort of a case whose image Slicer stores in another orientation when a scene is opened again."""
    cohort = Cohort.create(tmp_path / "left", "balls", {1: "ball"})
    geometry = VolumeGeometry.from_matrix((24, 28, 32), np.diag([-1.0, 1.0, 2.0, 1.0]))
    labels = ball()
    cohort.add_case("a", noisy_image(labels), geometry)
    annotation = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, (8, 13))
    undecided = np.zeros(labels.shape, bool)
    undecided[8, 3:7, 2:5] = True
    cohort.save_annotation("a", replace(annotation, undecided=undecided))
    cohort.add_correction("a", Stroke(np.array([5000, 5001, 5002]), 1, True, 3.0))
    return cohort.folder


def test_an_image_that_slicer_has_turned_round_is_written_back_as_it_was(mrml, logic, left_handed, embedded, tmp_path):
    (volume,) = logic.openCohort(left_handed)
    logic.markEmpty(volume, "axial", 2)
    cohort, before = Cohort.open(left_handed), files_of(left_handed)
    image, geometry = cohort.image("a")
    logic.forgetScene()
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.cohortFolder = left_handed
    (volume,) = scene.opened_volumes(str(left_handed)).values()
    assert scene.geometry_of(volume).difference_from(geometry) is not None, "Slicer has turned it round"
    # The next mark has the number that the slice has in Slicer now.
    logic.markSkipped(volume, "axial", 3)
    assert scene.geometry_of(volume).difference_from(geometry) is None
    np.testing.assert_array_equal(mrml.util.arrayFromVolume(volume), image)
    marked = Cohort.open(left_handed).ledger("a")
    assert {e.index for e in marked.entries if e.state is SliceState.SKIPPED} == {23 - 3}
    assert {e.index for e in marked.decided} == {2, 8, 13}
    after = files_of(left_handed)
    assert {name for name in after if after[name] != before[name]} == {"ledgers/a.json"}
    own = scene.annotation_of(volume, logic.drawnIn(volume), {"ball": 1})
    np.testing.assert_array_equal(own.drawn_labels(), cohort.annotation("a").drawn_labels())
    np.testing.assert_array_equal(own.undecided, cohort.annotation("a").undecided)
    assert logic.corrections(volume).strokes == cohort.corrections("a").strokes


def test_a_case_that_becomes_a_frame_of_a_sequence_is_not_written_over(mrml, logic, folder):
    first, second = logic.openCohort(folder, cases=["a", "b"])
    drawing, before = logic.drawnIn(first), files_of(folder)
    sequences = mrml.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(mrml.mrmlScene)
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    sequence.SetIndexName("time")
    for value, volume in enumerate((first, second)):
        sequence.SetDataNodeAtValue(volume, str(value))
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(first, sequence, False)
    for number in (0, 1):
        browser.SetSelectedItemNumber(number)
        sequences.UpdateProxyNodesFromSequences(browser)
        assert logic.drawnIn(first) is None, "each frame has a drawing of its own"
        logic.segmentationNode(first).GetSegmentation().AddEmptySegment("shell", "shell")
        with pytest.raises(BadInputError, match="Each frame is a case of its own.*Take the volume out of the sequence"):
            logic.markEmpty(first, "axial", 2)
        assert [entry.index for entry in logic.ledger(first).decided] == [2]
        with pytest.raises(BadInputError, match="Each frame is a case of its own"):
            logic.train([first], settings={"iterations": 1})
    assert files_of(folder) == before
    browser.SetSelectedItemNumber(0)
    sequences.UpdateProxyNodesFromSequences(browser)
    mrml.mrmlScene.RemoveNode(browser)
    # As it was before it became a frame.
    assert logic.drawnIn(first) is drawing
    assert scene.case_of(first) == "a"
    logic.markEmpty(first, "axial", 2)
    assert Cohort.open(folder).ledger("a").is_decided(Plane.AXIAL, 2)
    changed = {name for name, content in files_of(folder).items() if before.get(name) != content}
    assert {name.rsplit("/")[-1].split(".")[0] for name in changed} == {"a"}


def test_a_volume_that_shows_a_frame_is_still_that_of_its_case(mrml, logic, folder):
    (first,) = logic.openCohort(folder, cases=["a"])
    sequences = mrml.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(mrml.mrmlScene)
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    plain = mrml.util.addVolumeFromArray(mrml.util.arrayFromVolume(first) + 1, name="plain")
    plain.CopyOrientation(first)
    (second,) = logic.openCohort(folder, cases=["b"])[1:]
    for value, volume in enumerate((first, second, plain)):
        sequence.SetDataNodeAtValue(volume, str(value))
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(first, sequence, False)
    before = files_of(folder)
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        sequences.UpdateProxyNodesFromSequences(browser)
        cases = {case.name: case for case in logic.cohortCases()}
        assert {name: case.volumeNode for name, case in cases.items()} == {"a": first, "b": second, "c": None}
        assert "of the case 'a' now shows the frame" in cases["a"].problem
        assert (cases["b"].problem, cases["b"].drawn) == ("", 3)
        # It is not opened a second time, and the message gives the reason why it is not the case.
        assert logic.openCase("a") is first
        assert "of the case 'a' now shows the frame" in logic.openingNotes()[0]
        assert scene.opened_case(first).case == "a"
    # It keeps the voxels of the last frame.
    mrml.mrmlScene.RemoveNode(browser)
    assert (scene.case_of(first), scene.case_of(second)) == ("a", "b")
    with pytest.raises(BadInputError, match="is no longer the image of the case 'a'"):
        logic.markEmpty(first, "axial", 2)
    assert files_of(folder) == before


def test_a_folder_that_nobody_may_write_is_opened_to_look_at_and_says_so_when_something_is_drawn(
    mrml, logic, folder, monkeypatch
):
    from SparseAnnotateLib.core import FileWriteError, folder_lock

    def refused(lock):
        raise FileWriteError(f"The folder '{folder}' cannot be written: no permission.")

    before = files_of(folder)
    monkeypatch.setattr(folder_lock.FolderLock, "__enter__", refused)
    (volume,) = logic.openCohort(folder, cases=["a"])
    assert "The case 'a' can be looked at, but what is drawn on it cannot be stored." in logic.openingNotes()[0]
    with pytest.raises(BadInputError, match="no permission"):
        logic.markEmpty(volume, "axial", 2)
    assert logic.ledger(volume).is_decided(Plane.AXIAL, 2), "it is kept in the scene"
    assert files_of(folder) == before


@pytest.mark.parametrize("change", ["newer", "half"])
def test_a_cohort_of_a_newer_version_or_half_written_is_not_opened(logic, folder, change):
    path = folder / "cohort.json"
    text = path.read_text()
    if change == "newer":
        plain = json.loads(text)
        plain["version"] += 1
        path.write_text(json.dumps(plain))
    else:
        path.write_text(text[: len(text) // 2])
    with pytest.raises(BadInputError, match="newer|cohort.json"):
        logic.openCohort(folder)
    assert not scene.opened_volumes()


def test_the_worklists_of_a_cohort_are_read_one_in_a_turn_when_it_is_opened(logic, folder, monkeypatch):
    read, ledger = [], Cohort.ledger
    monkeypatch.setattr(Cohort, "ledger", lambda self, name: read.append(name) or ledger(self, name))
    turns, at_once = [], []
    logic.session.jobs._later = turns.append
    from SparseAnnotateLib.client import jobs

    ticks = iter(range(1 << 30))
    # One piece a turn, however fast they are.
    monkeypatch.setattr(jobs.time, "monotonic", lambda: next(ticks) / 2)
    monkeypatch.setattr(jobs, "_PIECES_SECONDS", 0.75)
    ends: list = []
    logic.openCohort(folder, count=0, waitForCompletion=False, onDone=lambda *end: ends.append(end))
    at_once.append(len(read))
    while turns and not ends:
        read.clear()
        turns.pop(0)()
        at_once.append(len(read))
    assert ends[0][1] is None
    assert max(at_once) == 1
    assert sum(at_once) == len(Cohort.open(folder).cases)
    read.clear()
    assert [case.name for case in logic.panel.unopened_cases()] == [case.name for case in Cohort.open(folder).cases]
    assert not read


def test_two_round_trips_change_nothing_but_what_was_drawn(mrml, logic, folder, embedded, tmp_path):
    everything = {"shell": 1, "kernel": 3, "never drawn": 4}

    def is_as_stored(volume, name):
        cohort = Cohort.open(folder)
        image, geometry = cohort.image(name)
        np.testing.assert_array_equal(mrml.util.arrayFromVolume(volume), image)
        assert scene.geometry_of(volume).difference_from(geometry) is None
        own, stored = scene.annotation_of(volume, logic.drawnIn(volume), everything), cohort.annotation(name)
        np.testing.assert_array_equal(own.drawn_labels(), stored.drawn_labels())
        np.testing.assert_array_equal(own.undecided, stored.undecided)
        assert logic.corrections(volume).strokes == cohort.corrections(name).strokes
        fill = logic.panel.latest_result(volume)
        found = scene.labels_of(fill, volume, {one: everything[one] for one in scene.segment_names(fill)})
        np.testing.assert_array_equal(found, read_labels(cohort.fill_path(name), geometry))
        return stored

    for index in (20, 22):
        assert main(["fill", str(folder), "--method", "shape", "--quiet"]) == 0
        before = files_of(folder)
        volumes = logic.openCohort(folder, count=3)
        stored = [is_as_stored(volume, name) for volume, name in zip(volumes, "abc", strict=True)]
        assert files_of(folder) == before
        draw(mrml, volumes[1], logic, index)
        changed = {path for path, content in files_of(folder).items() if before.get(path) != content}
        assert {Path(path).name.split(".")[0] for path in changed} == {"b"}
        now = Cohort.open(folder).annotation("b")
        layer = [slice(None)] * 3
        layer[Plane.AXIAL.array_axis(GEOMETRY)] = index
        was, is_now = stored[1].drawn_labels().copy(), now.drawn_labels().copy()
        was[tuple(layer)] = is_now[tuple(layer)] = 0
        np.testing.assert_array_equal(was, is_now)
        after = files_of(folder)
        embedded.save_scene(tmp_path / f"scene {index}.mrb")
        logic.forgetScene()
        mrml.mrmlScene.Clear(0)
        assert files_of(folder) == after


def test_channels_and_predictions_come_back_as_they_were(mrml, logic, tmp_path):
    labels, folder = ball(), tmp_path / "made"
    for place, ending in enumerate(("flair", "t1")):
        write_image(tmp_path / "scans" / f"x_{ending}.nrrd", noisy_image(labels, place), GEOMETRY)
    channels = ("--channels", "FLAIR=_flair", "T1=_t1")
    assert main(["create", str(folder), str(tmp_path / "scans"), *channels, "--labels", "1=ball"]) == 0
    cohort = Cohort.open(folder)
    (name,) = [case.name for case in cohort.select(())]
    cohort.save_annotation(name, SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, (6, 10, 14)))
    train(cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "patch": (16, 16, 16), "iterations": 2}))
    predicted = cohort.prediction_path("r", name)
    for index in (18, 20):
        assert main(["predict", str(folder), "--run", "r", "--device", "cpu", "--model-only", "--quiet"]) == 0
        before = files_of(folder) | {"prediction": predicted.read_bytes()}
        (volume,) = logic.openCohort(folder)
        nodes = {"FLAIR": volume, **logic.channels(volume)}
        assert set(nodes) == {"FLAIR", "T1"}
        for channel, node in nodes.items():
            image = cohort.channel_image(name, channel, cohort.geometry(name))
            np.testing.assert_array_equal(mrml.util.arrayFromVolume(node), image)
        result = logic.panel.latest_result(volume, of_run=True)
        found = scene.labels_of(result, volume, {"ball": 1})
        np.testing.assert_array_equal(found, read_labels(predicted, cohort.geometry(name)))
        assert files_of(folder) | {"prediction": predicted.read_bytes()} == before
        draw(mrml, volume, logic, index, "ball")
        logic.forgetScene()
        mrml.mrmlScene.Clear(0)
        changed = {path for path, content in files_of(folder).items() if before.get(path) != content}
        assert {Path(path).parts[0] for path in changed} <= {"annotations", "ledgers"}
        assert predicted.read_bytes() == before["prediction"]
