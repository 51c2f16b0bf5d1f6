"""In Slicer, too, an image that is not the one that was drawn on is noticed, and can be accepted."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.client import jobs
from SparseAnnotateLib.core import (
    BadInputError,
    BusyError,
    Cohort,
    Plane,
    SliceState,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.layer_reading import LayeredFile
from SparseAnnotateLib.scene import annotations

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
LEFT_HANDED = VolumeGeometry.from_matrix(GEOMETRY.shape, np.diag([-1.0, 1.0, 2.0, 1.0]))


@pytest.fixture(params=[GEOMETRY, LEFT_HANDED], ids=["right-handed", "left-handed"])
def cohort(request, tmp_path):
    """A cohort with a drawn case."""
    cohort = Cohort.create(tmp_path / "drawn", "drawn", {1: "ball"})
    cohort.add_case("a", noisy_image(ball()), request.param)
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), request.param, Plane.AXIAL, (6, 10, 14)))
    return cohort


def replace_image(cohort):
    write_image(cohort.image_path("a"), noisy_image(ball(), 5), cohort.geometry("a"))


def test_a_case_on_another_image_opens_with_a_warning_and_is_not_filled_until_a_slice_is_marked(logic, cohort):
    replace_image(cohort)
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    (note,) = logic.openingNotes()
    assert note.startswith("The image of case 'a' is not the one that was drawn on: its voxels have other values.")
    shown = scene.annotation_of(volume, logic.drawnIn(volume), {"ball": 1}).drawn_labels()
    np.testing.assert_array_equal(shown, cohort.annotation("a", on_any_image=True).drawn_labels())
    with pytest.raises(BadInputError, match="not the one that was drawn on"):
        logic.fillBetweenSlices(volume, "shape")
    assert cohort.image_change("a") is not None
    logic.markDrawn(volume, "axial", 10)
    assert cohort.image_change("a") is None
    assert logic.fillBetweenSlices(volume, "shape") is not None


def test_a_case_on_the_same_image_opens_without_a_word_and_saving_does_not_read_the_image(logic, cohort, monkeypatch):
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    assert logic.openingNotes() == ()
    cohort.forget_image("a")
    monkeypatch.setattr(Cohort, "image", None)
    monkeypatch.setattr(LayeredFile, "layers", None)
    logic.markEmpty(volume, "axial", 1)
    monkeypatch.undo()
    assert cohort.drawn_on_path("a").is_file()
    replace_image(cohort)
    assert cohort.image_change("a") is not None


def test_what_is_drawn_in_a_scene_belongs_to_the_image_in_the_scene(mrml, logic, drawn, tmp_path, monkeypatch):
    volume, cohort, values = drawn[0], Cohort.create(tmp_path / "exported", "exported"), {"ball": 1, "box": 2}
    # The voxels are at hand: neither writing reads them from the file.
    monkeypatch.setattr(Cohort, "image", None)
    monkeypatch.setattr(LayeredFile, "layers", None)
    list(scene.exporting_case(cohort, volume, logic.drawnIn(volume), values))
    (case,) = cohort.annotated_cases()
    before = cohort.drawn_on_path(case).read_bytes()
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume) + 1)
    list(scene.exporting_case(cohort, volume, logic.drawnIn(volume), values))
    monkeypatch.undo()
    assert cohort.drawn_on_path(case).read_bytes() != before
    assert cohort.annotation(case).ledger.decided
    write_image(cohort.image_path(case), noisy_image(ball(), 9), cohort.geometry(case))
    with pytest.raises(BadInputError, match="not the one that was drawn on"):
        cohort.annotation(case)


@pytest.mark.parametrize(("act", "index"), [("markSkipped", 3), ("markToDo", 3), ("markToDo", 6)])
def test_a_slice_that_is_skipped_set_to_do_or_cleared_accepts_no_other_image(logic, cohort, act, index):
    replace_image(cohort)
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    getattr(logic, act)(volume, "axial", index)
    assert not cohort.ledger("a").entry(Plane.AXIAL, index).state.is_decided
    assert cohort.image_change("a") is not None
    with pytest.raises(BadInputError, match="not the one that was drawn on"):
        logic.fillBetweenSlices(volume, "shape")


def test_recommending_is_refused_on_another_image(logic, cohort):
    replace_image(cohort)
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    with pytest.raises(BadInputError, match="not the one that was drawn on"):
        logic.recommendSlices([volume], slicesPerVolume=6)
    assert cohort.image_change("a") is not None


def one_left_out(logic, cohort):
    """The volumes of two cases with drawn slices; the image of the first, 'a', is not the one that was drawn on."""
    cohort.add_case("b", noisy_image(ball(), 2), GEOMETRY)
    cohort.save_annotation("b", SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, (8, 12)))
    replace_image(cohort)
    return logic.openCohort(cohort.folder, cases=["a", "b"])


def test_slices_are_recommended_for_the_other_volumes_and_the_changed_one_is_named(logic, cohort):
    volumes = one_left_out(logic, cohort)
    with pytest.raises(BadInputError, match="1 case was left out. Slices were recommended for the other one. 'a'"):
        logic.recommendSlices(volumes, slicesPerVolume=6)
    assert [len(logic.ledger(volume).todo) for volume in volumes] == [0, 4]


@pytest.mark.parametrize("features", [None, "intensity"])
def test_a_case_that_is_left_out_keeps_its_earlier_slices_to_do(logic, cohort, features):
    volumes = one_left_out(logic, cohort)
    for volume in volumes:
        logic.markToDo(volume, "axial", 3)
    how = {} if features is None else {"strategy": "representative", "features": features}
    with pytest.raises(BadInputError, match="The case 'a' keeps its earlier slices to do."):
        logic.recommendSlices(volumes, slicesPerVolume=6, **how)
    assert [entry.index for entry in logic.ledger(volumes[0]).todo] == [3]
    assert len(logic.ledger(volumes[1]).todo) == 4


def test_a_short_request_meanwhile_does_not_cost_a_case_that_is_left_out_its_slices(logic, cohort, monkeypatch):
    cohort.add_case("b", noisy_image(ball(), 2), GEOMETRY)
    replace_image(cohort)
    volumes = logic.openCohort(cohort.folder, cases=["a", "b"])
    logic.markToDo(volumes[0], "axial", 3)
    through = jobs._through

    def with_another_before(steps, on_progress):
        logic._recommending._session.jobs.failed_cases = ()  # as a question such as that for the environment leaves it
        return through(steps, on_progress)

    monkeypatch.setattr(jobs, "_through", with_another_before)
    with pytest.raises(BadInputError, match="The case 'a' keeps its earlier slices to do."):
        logic.recommendSlices(volumes, slicesPerVolume=6, strategy="representative", features="intensity")
    assert [entry.index for entry in logic.ledger(volumes[0]).todo] == [3]


@pytest.mark.parametrize("features", [None, "intensity"])
def test_where_the_budget_is_used_up_the_message_does_not_say_that_slices_were_recommended(logic, cohort, features):
    volumes = one_left_out(logic, cohort)
    for volume in volumes:
        logic.markToDo(volume, "axial", 3)
    how = {} if features is None else {"strategy": "representative", "features": features}
    with pytest.raises(PartlyDoneError, match="was left out. No more slices were recommended for the other one. 'a'"):
        logic.recommendSlices(volumes, slicesPerVolume=2, **how)
    assert [[entry.index for entry in logic.ledger(volume).todo] for volume in volumes] == [[3], []]


def test_what_is_drawn_anew_on_another_image_accepts_it(mrml, logic, cohort):
    replace_image(cohort)
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    (segment,) = scene.segment_ids(logic.drawnIn(volume))
    mask = np.array(mrml.util.arrayFromSegmentBinaryLabelmap(logic.drawnIn(volume), segment, volume))
    mask[10, 3:6, 3:6] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, logic.drawnIn(volume), segment, volume)
    logic.markSkipped(volume, "axial", 3)
    assert cohort.image_change("a") is None


def test_an_image_that_is_replaced_while_what_is_drawn_is_written_was_not_drawn_on(logic, cohort):
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    cohort.forget_image("a")
    scene.mark_slice(volume, Plane.AXIAL, 1, SliceState.EMPTY, None)
    steps = scene.exporting_case(cohort, volume, logic.drawnIn(volume), {"ball": 1})
    while scene.written_mark(volume) != scene.drawing_mark(volume):
        next(steps)
    replace_image(cohort)
    list(steps)
    assert cohort.ledger("a").is_decided(Plane.AXIAL, 1)
    assert Cohort.open(cohort.folder).image_change("a") is not None


def test_an_image_that_is_replaced_while_it_is_opened_was_not_the_one_that_was_read(mrml, cohort):
    before, nodes = cohort.image_path("a").read_bytes(), scene.OpenedNodes()
    steps = scene.opening_case(cohort, "a", nodes)
    next(steps)
    replace_image(cohort)
    list(steps)
    assert cohort.image_change("a") is not None
    cohort.image_path("a").write_bytes(before)
    assert cohort.image_change("a") is None


@pytest.fixture
def exported(logic, drawn, tmp_path):
    """A volume of the scene, written into a cohort folder: `write`, the folder, and the name of its case."""
    volume, cohort = drawn[0], Cohort.create(tmp_path / "exported", "exported")

    def writing():
        return scene.exporting_case(cohort, volume, logic.drawnIn(volume), {"ball": 1, "box": 2})

    list(writing())
    return volume, cohort, writing


def test_a_file_of_the_scene_that_was_replaced_in_the_folder_is_written_again(mrml, logic, exported):
    volume, cohort, writing = exported
    case = scene.case_of(volume)
    write_image(cohort.image_path(case), noisy_image(ball(), 9), cohort.geometry(case))
    assert not scene.is_exported(cohort, volume)
    logic.markEmpty(volume, "axial", 1)
    list(writing())
    np.testing.assert_array_equal(cohort.image(case)[0], mrml.util.arrayFromVolume(volume))
    assert cohort.annotation(case).ledger.is_decided(Plane.AXIAL, 1)
    assert list(writing()) == []
    cohort.image_path(case).unlink()
    list(writing())
    # Known again, although nothing was drawn since.
    assert cohort.drawn_on_path(case).is_file()
    assert cohort.image_change(case) is None


def test_a_file_of_the_scene_that_is_replaced_while_it_is_written_was_not_drawn_on(logic, exported):
    volume, cohort, writing = exported
    case = scene.case_of(volume)
    logic.markEmpty(volume, "axial", 1)
    steps = writing()
    next(steps)
    write_image(cohort.image_path(case), noisy_image(ball(), 9), cohort.geometry(case))
    with pytest.raises(BusyError, match="was changed while it was being written"):
        list(steps)
    assert cohort.image_change(case) is not None
    list(writing())
    assert cohort.image_change(case) is None


def test_images_are_accepted_from_the_console(logic, cohort):
    logic.cohortFolder = cohort.folder
    assert logic.acceptImages() == []
    replace_image(cohort)
    (accepted,) = logic.acceptImages(["a"])
    assert (accepted.case, accepted.change) == ("a", "its voxels have other values")
    assert cohort.image_change("a") is None
    logic.openCohort(cohort.folder, cases=["a"])
    assert logic.openingNotes() == ()
    with pytest.raises(SparseAnnotateError, match="has no case 'b'"):
        logic.acceptImages(["b"])


@pytest.fixture(params=["one image", "two channels"])
def opened(request, logic, tmp_path):
    """A case that is open in the scene, of one image or two channels; its cohort and volume."""
    channels = () if request.param == "one image" else ("T1", "T2")
    cohort = Cohort.create(tmp_path / "open", "open", {1: "ball"}, channels=channels)
    further = {}
    if channels:
        further["T2"] = tmp_path / "T2.nrrd"
        write_image(further["T2"], noisy_image(ball(), 3), GEOMETRY)
    write_image(tmp_path / "image.nrrd", noisy_image(ball()), GEOMETRY)
    cohort.add_case("a", tmp_path / "image.nrrd", further=further)
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, (6, 10, 14)))
    (volume,) = logic.openCohort(cohort.folder, cases=["a"])
    return cohort, volume


def test_an_image_that_is_saved_again_with_the_same_voxels_is_still_that_of_an_opened_case(logic, opened):
    cohort, volume = opened
    for channel, path in cohort.channel_paths("a").items():
        before = path.read_bytes()
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=False)
        assert path.read_bytes() != before
        logic.markEmpty(volume, "axial", 20 if channel in ("", "T1") else 21)
        assert cohort.ledger("a").is_decided(Plane.AXIAL, 20)
    assert cohort.image_change("a") is None
    assert scene.opened_case(volume).file == cohort.image_fingerprint("a")
    # Another image is still refused.
    path = list(cohort.channel_paths("a").values())[-1]
    write_image(path, noisy_image(ball(), 8), GEOMETRY)
    with pytest.raises(BadInputError, match="was replaced since it was opened here"):
        logic.markEmpty(volume, "axial", 22)
    assert not cohort.ledger("a").is_decided(Plane.AXIAL, 22)


def test_an_image_that_is_saved_again_is_not_read_in_one_piece(logic, opened, monkeypatch):
    cohort, volume = opened
    for path in cohort.channel_paths("a").values():
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=False)
    in_one_piece = annotations.require_same_image

    def without_reading(*given):
        with monkeypatch.context() as patch:
            patch.setattr(Cohort, "image", lambda *_: pytest.fail("read"))
            patch.setattr(LayeredFile, "layers", lambda *_: pytest.fail("read"))
            in_one_piece(*given)

    monkeypatch.setattr(annotations, "require_same_image", without_reading)
    logic.markEmpty(volume, "axial", 20)
    assert cohort.ledger("a").is_decided(Plane.AXIAL, 20)


def test_an_image_that_is_saved_again_on_another_grid_is_another_one(logic, opened):
    cohort, volume = opened
    moved = VolumeGeometry.from_matrix(
        GEOMETRY.shape, GEOMETRY.matrix + np.pad([[0.0], [0.0], [7.0]], ((0, 1), (3, 0)))
    )
    write_image(cohort.image_path("a"), cohort.image("a")[0], moved)
    with pytest.raises(BadInputError, match="has got another grid|was replaced"):
        logic.markEmpty(volume, "axial", 22)
    assert not cohort.ledger("a").is_decided(Plane.AXIAL, 22)
