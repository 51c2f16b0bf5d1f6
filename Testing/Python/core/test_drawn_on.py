"""An image that has moved or changed since it was drawn on is noticed."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    image_fingerprint,
)
from SparseAnnotateLib.core.case_state import CaseState
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.layer_reading import LayeredFile
from SparseAnnotateLib.core.ledger import Ledger
from SparseAnnotateLib.core.pieces import result_of
from SparseAnnotateLib.core.voxel_fingerprint import finding_voxel_fingerprint

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def replace_image(cohort: Cohort, name: str, change=lambda array: array + 1, geometry=GEOMETRY) -> None:
    path = cohort.image_path(name)
    write_image(path, change(read_image(path)[0]), geometry)


def test_an_image_whose_voxels_were_replaced_on_the_same_grid_is_refused_with_what_to_do(ball_cohort):
    replace_image(ball_cohort, "ball_0")
    with pytest.raises(BadInputError, match=r"'ball_0' is not the one that was drawn on: its voxels.*accept-image"):
        ball_cohort.annotation("ball_0")
    assert ball_cohort.image_change("ball_1") is None
    ball_cohort.annotation("ball_1")
    shown = ball_cohort.annotation("ball_0", on_any_image=True)
    assert shown.ledger == ball_cohort.ledger("ball_0")


def test_a_single_voxel_counts(ball_cohort):
    def one_more(array):
        array[12, 14, 16] += 1
        return array

    replace_image(ball_cohort, "ball_0", one_more)
    assert ball_cohort.image_change("ball_0") is not None


def test_an_image_that_is_put_back_is_the_one_that_was_drawn_on(ball_cohort):
    path = ball_cohort.image_path("ball_0")
    before = path.read_bytes()
    replace_image(ball_cohort, "ball_0")
    assert ball_cohort.image_change("ball_0") is not None
    path.write_bytes(before)
    assert ball_cohort.image_change("ball_0") is None
    assert ball_cohort.annotation("ball_0").ledger.decided


def test_a_verdict_is_found_again_without_reading_and_a_later_change_is_still_noticed(ball_cohort, monkeypatch):
    def age(seconds):
        for path in (ball_cohort.image_path("ball_0"), ball_cohort.drawn_on_path("ball_0")):
            status = path.stat()
            os.utime(path, (status.st_atime, status.st_mtime - seconds))

    age(60)
    assert ball_cohort.image_change("ball_0") is None
    with monkeypatch.context() as patch:
        patch.setattr(Cohort, "image_fingerprint", None)
        assert ball_cohort.image_change("ball_0") is None
    replace_image(ball_cohort, "ball_0")
    age(30)
    assert ball_cohort.image_change("ball_0") is not None


@pytest.mark.parametrize("how", ["compressed", "as NIfTI", "as double"])
def test_a_file_that_was_saved_again_with_the_same_voxels_is_the_same_image(ball_cohort, how, monkeypatch):
    path = ball_cohort.image_path("ball_0")
    array, geometry = read_image(path)
    if how == "compressed":
        write_image(path, array, geometry, compress=True)
    elif how == "as double":
        write_image(path, array.astype(np.float64), geometry)
    else:
        path.unlink()
        write_image(path.with_suffix(".nii.gz"), array, geometry)
        content = (ball_cohort.folder / "cohort.json").read_text()
        (ball_cohort.folder / "cohort.json").write_text(content.replace("ball_0.nrrd", "ball_0.nii.gz"))
    cohort = Cohort.open(ball_cohort.folder)
    assert cohort.image_change("ball_0") is None
    cohort.save_annotation("ball_0", cohort.annotation("ball_0"))
    # Then it is known by its file, and not read again.
    shutil.rmtree(cohort.cache_folder)
    monkeypatch.setattr(Cohort, "image", None)
    monkeypatch.setattr(LayeredFile, "layers", None)
    assert Cohort.open(ball_cohort.folder).image_change("ball_0") is None


def test_a_nifti_file_that_was_unpacked_and_packed_again_is_the_same_image(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "one", {1: "ball"})
    labels, path = ball(), tmp_path / "scan.nii.gz"
    write_image(path, (1000 * noisy_image(labels)).astype(np.int16), GEOMETRY)
    cohort.add_case("scan", path)
    cohort.save_annotation("scan", SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, [10]))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=1))
    assert cohort.image_change("scan") is None


def test_an_image_that_moved_or_was_turned_is_refused_and_cannot_be_accepted(ball_cohort):
    moved = VolumeGeometry.from_spacing(GEOMETRY.shape, (2.0, 1.0, 1.0), (0, 0, 5))
    replace_image(ball_cohort, "ball_0", lambda array: array, moved)
    matrix = GEOMETRY.matrix @ np.diag([1.0, 1.0, -1.0, 1.0])
    matrix[:3, 3] += GEOMETRY.matrix[:3, 2] * (GEOMETRY.shape[0] - 1)
    turned = VolumeGeometry.from_matrix(GEOMETRY.shape, matrix)
    replace_image(ball_cohort, "ball_1", lambda array: array[::-1], turned)
    for name in ("ball_0", "ball_1"):
        for refused in (ball_cohort.annotation, ball_cohort.accept_image):
            with pytest.raises(BadInputError, match="position or orientation.*Put the earlier image back.*new case"):
                refused(name)
        with pytest.raises(BadInputError, match="position or orientation"):
            ball_cohort.annotation(name, on_any_image=True)


def test_accepting_an_image_or_drawing_on_it_makes_it_the_one_that_was_drawn_on(ball_cohort):
    for name in ("ball_0", "ball_1"):
        replace_image(ball_cohort, name)
    ball_cohort.accept_image("ball_0")
    ball_cohort.save_annotation("ball_1", ball_cohort.annotation("ball_1", on_any_image=True))
    for name in ("ball_0", "ball_1"):
        assert Cohort.open(ball_cohort.folder).annotation(name).ledger.decided


def test_several_cases_are_named_in_one_sentence(ball_cohort):
    for name in ("ball_0", "ball_1"):
        replace_image(ball_cohort, name)
    with pytest.raises(BadInputError, match=r"images of 2 cases are not.*'ball_0' \(its voxels.*'ball_1' \(its"):
        ball_cohort.require_images_drawn_on(["ball_0", "ball_1"])


def test_of_an_older_cohort_nothing_is_known_until_it_is_drawn_on_again(ball_cohort):
    shutil.rmtree(ball_cohort.drawn_on_path("ball_0").parent)
    replace_image(ball_cohort, "ball_0")
    annotation = ball_cohort.annotation("ball_0")
    ball_cohort.save_annotation("ball_0", annotation)
    replace_image(ball_cohort, "ball_0")
    assert ball_cohort.image_change("ball_0") is not None


def test_corrections_are_made_on_an_image_too_and_accept_no_other_one(ball_cohort):
    case = ball_cohort.add_case("corrected", noisy_image(ball()), GEOMETRY).name
    center = GEOMETRY.matrix @ [16, 14, 12, 1]
    stroke = Stroke.ball(GEOMETRY, tuple(center[:3]), 1, True, 3.0, 0.0)
    ball_cohort.add_correction(case, stroke)
    replace_image(ball_cohort, case)
    with pytest.raises(BadInputError, match="not the one that was drawn on"):
        ball_cohort.annotation(case)
    ball_cohort.add_correction(case, replace(stroke, value=2))
    assert ball_cohort.image_change(case) is not None
    ball_cohort.save_corrections(case, None)
    assert ball_cohort.annotation(case).corrections is None


def test_clearing_corrections_accepts_no_other_image(ball_cohort):
    center = GEOMETRY.matrix @ [16, 14, 11, 1]
    ball_cohort.add_correction("ball_0", Stroke.ball(GEOMETRY, tuple(center[:3]), 1, True, 1.0, 0.0))
    replace_image(ball_cohort, "ball_0")
    ball_cohort.save_corrections("ball_0", None)
    assert ball_cohort.image_change("ball_0") is not None


def test_a_case_with_nothing_drawn_any_more_may_get_another_image(ball_cohort):
    nothing = SparseAnnotation(np.zeros(GEOMETRY.shape, np.uint8), Ledger(), GEOMETRY)
    ball_cohort.save_annotation("ball_0", nothing)
    replace_image(ball_cohort, "ball_0")
    assert not ball_cohort.annotation("ball_0").ledger.decided


def test_what_is_known_of_the_image_makes_no_result_and_no_opened_case_out_of_date(ball_cohort):
    origin, state = ball_cohort.origin("ball_0"), CaseState.of(ball_cohort, "ball_0")
    ball_cohort.forget_image("ball_0")
    assert ball_cohort.origin("ball_0") == origin
    assert CaseState.of(ball_cohort, "ball_0") == state


def test_a_copied_cohort_knows_what_was_drawn_on(ball_cohort, tmp_path):
    replace_image(ball_cohort, "ball_0")
    shutil.copytree(ball_cohort.folder, tmp_path / "copy")
    copy = Cohort.open(tmp_path / "copy")
    assert copy.image_change("ball_0") is not None
    assert copy.image_change("ball_1") is None


def test_a_damaged_file_of_what_was_drawn_on_is_named_and_replaced_when_the_image_is_accepted(ball_cohort):
    ball_cohort.drawn_on_path("ball_0").write_text('{"file": 3}')
    with pytest.raises(BadInputError, match=r"drawn_on.ball_0.json"):
        ball_cohort.annotation("ball_0")
    ball_cohort.accept_image("ball_0")
    assert ball_cohort.annotation("ball_0").ledger.decided


def test_what_is_drawn_is_saved_when_the_image_cannot_be_read(ball_cohort, caplog):
    annotation = ball_cohort.annotation("ball_0")
    ball_cohort.image_path("ball_0").rename(ball_cohort.folder / "away.nrrd")
    fewer = replace(annotation, ledger=annotation.ledger.with_state(Plane.CORONAL, 9, SliceState.EMPTY))
    ball_cohort.save_annotation("ball_0", fewer)
    assert "Which image 'ball_0' was drawn on could not be recorded" in caplog.text
    (ball_cohort.folder / "away.nrrd").rename(ball_cohort.image_path("ball_0"))
    assert ball_cohort.annotation("ball_0").ledger.is_decided(Plane.CORONAL, 9)


def test_in_a_folder_that_is_only_read_the_image_is_compared_too(ball_cohort, monkeypatch):
    from SparseAnnotateLib.core import FileWriteError, cohort_drawn_on, image_fingerprint

    def read_only(path, value):
        raise FileWriteError(f"'{path}' cannot be written")

    array, geometry = read_image(ball_cohort.image_path("ball_0"))
    write_image(ball_cohort.image_path("ball_0"), array, geometry, compress=True)
    replace_image(ball_cohort, "ball_1")
    shutil.rmtree(ball_cohort.cache_folder)
    for module in (cohort_drawn_on, image_fingerprint):
        monkeypatch.setattr(module, "write_json", read_only)
    assert ball_cohort.image_change("ball_0") is None
    assert ball_cohort.image_change("ball_1") is not None


def test_only_the_first_channel_of_a_case_counts(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "two", {1: "ball"}, channels=["FLAIR", "T1"])
    further = tmp_path / "t1.nrrd"
    write_image(further, noisy_image(ball(), 1), GEOMETRY)
    cohort.add_case("one", noisy_image(ball()), GEOMETRY, further={"T1": further})
    cohort.save_annotation("one", SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, [10]))
    write_image(further, noisy_image(ball(), 2), GEOMETRY)
    assert cohort.image_change("one") is None
    replace_image(cohort, "one")
    assert cohort.image_change("one") is not None


def fingerprint(array) -> str:
    return result_of(finding_voxel_fingerprint(np.asarray(array)))


def test_the_fingerprint_of_voxels_depends_on_their_values_and_places_alone():
    values = np.arange(-60, 60).reshape(4, 5, 6)
    same = [values.astype(kind) for kind in ("i1", "<i2", ">i2", "i4", "i8", "f2", "f4", ">f4", "f8")]
    assert len({fingerprint(array) for array in (*same, np.asfortranarray(values), values[::-1][::-1])}) == 1
    assert fingerprint([[[0.0, 1.5]]]) == fingerprint([[[-0.0, 1.5]]])
    assert fingerprint([[[True, False]]]) == fingerprint([[[1, 0]]])
    others = [values + 1, values[::-1], values.reshape(5, 4, 6), values + 0.5, values * 1e6, values + 2.0**16]
    assert len({fingerprint(array) for array in (values, *others)}) == 1 + len(others)
    large = np.array([[[2**40 + 1, 65536, 40000]]])
    assert fingerprint(large) == fingerprint(large.astype(np.float64)) != fingerprint(large - 1)
    assert fingerprint(np.array([[[1e300, 3e9]]])) != fingerprint(np.array([[[1e300, 4e9]]]))


def test_an_image_with_voxels_that_are_not_numbers_is_known_by_its_file(ball_cohort):
    def broken(array):
        array[0, 0, 0] = np.nan
        return array

    replace_image(ball_cohort, "ball_0", broken)
    with pytest.raises(BadInputError, match="its file is another one, and the voxels cannot be compared"):
        ball_cohort.annotation("ball_0")
    ball_cohort.accept_image("ball_0")
    assert ball_cohort.annotation("ball_0").ledger.decided
    path = ball_cohort.image_path("ball_0")
    path.write_bytes(path.read_bytes() + b" ")
    assert ball_cohort.image_change("ball_0") is not None


def truncate(cohort: Cohort, name: str) -> bytes:
    """Cut a case's image off, as it is while it is being copied; returns its content before."""
    path = cohort.image_path(name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def test_an_image_that_is_cut_off_is_damaged_not_another_one_and_cannot_be_accepted(ball_cohort):
    whole = truncate(ball_cohort, "ball_0")
    for refused in (ball_cohort.annotation, ball_cohort.accept_image, lambda name: ball_cohort.image_change(name)):
        with pytest.raises(BadInputError, match=r"image of case 'ball_0' cannot be used") as caught:
            refused("ball_0")
        assert "accept" not in str(caught.value)
    assert ball_cohort.annotation("ball_0", on_any_image=True).ledger.decided
    ball_cohort.image_path("ball_0").write_bytes(whole)
    assert ball_cohort.image_change("ball_0") is None


def test_what_is_saved_while_the_image_is_cut_off_belongs_to_the_image_of_before(ball_cohort, caplog):
    annotation = ball_cohort.annotation("ball_0")
    whole = truncate(ball_cohort, "ball_0")
    ball_cohort.save_annotation("ball_0", annotation)
    assert "Which image 'ball_0' was drawn on could not be recorded" in caplog.text
    ball_cohort.image_path("ball_0").write_bytes(whole)
    assert ball_cohort.image_change("ball_0") is None


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("after", [1, 6])
def test_an_image_that_is_replaced_during_a_save_was_not_drawn_on(ball_cohort, is_known, after):
    annotation = ball_cohort.annotation("ball_0")
    if not is_known:
        ball_cohort.forget_image("ball_0")
    steps = ball_cohort.saving_annotation("ball_0", annotation)
    for _step in range(after):
        next(steps)
    replace_image(ball_cohort, "ball_0")
    list(steps)
    assert Cohort.open(ball_cohort.folder).image_change("ball_0") is not None


def test_voxels_are_kept_for_the_file_that_they_were_read_from(ball_cohort):
    mark, array = ball_cohort.image_fingerprint("ball_0", ()), ball_cohort.image("ball_0")[0]
    replace_image(ball_cohort, "ball_0")
    list(ball_cohort.keeping_voxels("ball_0", array, mark))
    assert ball_cohort.image_change("ball_0") is not None


def test_the_image_is_read_before_others_are_kept_out_and_its_file_only_once(ball_cohort, monkeypatch):
    ball_cohort.forget_image("ball_0")
    shutil.rmtree(ball_cohort.cache_folder)
    os.utime(ball_cohort.image_path("ball_0"), (1e9, 1e9))
    annotation, read, hashed = ball_cohort.annotation("ball_0"), LayeredFile.layers, hashlib.sha256
    opened = []

    def reading(file):
        with ball_cohort.locked("nothing else"):  # waits in vain while the annotation is being saved
            opened.append("ball_0")
        return read(file)

    monkeypatch.setattr(LayeredFile, "layers", reading)
    monkeypatch.setattr(image_fingerprint.hashlib, "sha256", lambda *given: opened.append("hash") or hashed(*given))
    ball_cohort.save_annotation("ball_0", annotation)
    assert opened.count("ball_0") == 1
    assert opened.count("hash") == 2  # the file and the voxels
    assert ball_cohort.drawn_on_path("ball_0").is_file()


@pytest.mark.parametrize("saving", ["saving_annotation", "saving_case"])
def test_an_image_that_was_just_written_is_read_in_pieces_each_time(ball_cohort, monkeypatch, saving):
    """Until its file is some seconds old, the fingerprint is not kept."""
    monkeypatch.setattr(image_fingerprint, "_CHUNK", 1 << 12)
    annotation = ball_cohort.annotation("ball_0")
    replace_image(ball_cohort, "ball_0")
    given = {
        "saving_annotation": (annotation,),
        "saving_case": (lambda: (annotation, None), lambda: None),
    }[saving]
    chunks, read = [], open

    class Counted:
        def __init__(self, file):
            self._file = file

        def read(self, size):
            chunks.append(size)
            return self._file.read(size)

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            self._file.close()

    monkeypatch.setattr(image_fingerprint, "open", lambda *how: Counted(read(*how)), raising=False)
    at_once = []
    for _share in getattr(ball_cohort, saving)("ball_0", *given):
        at_once.append(len(chunks))
        chunks.clear()
    assert sum(at_once) > 3 * 20
    # At the end of the file, nothing is left to read.
    assert max(at_once) <= 2


@pytest.mark.parametrize("case", ["ball_0", "corrected"])
def test_one_more_correction_does_not_say_which_image_an_older_cohort_was_drawn_on(ball_cohort, case):
    center = GEOMETRY.matrix @ [16, 14, 11, 1]
    stroke = Stroke.ball(GEOMETRY, tuple(center[:3]), 1, True, 1.0, 0.0)
    if case == "corrected":
        ball_cohort.add_case(case, noisy_image(ball()), GEOMETRY)
        ball_cohort.add_correction(case, stroke)
    ball_cohort.forget_image(case)
    before = ball_cohort.image_path(case).read_bytes()
    replace_image(ball_cohort, case)
    ball_cohort.add_correction(case, replace(stroke, value=2))
    ball_cohort.image_path(case).write_bytes(before)
    assert not ball_cohort.drawn_on_path(case).is_file()
    assert ball_cohort.annotation(case).corrections is not None


def test_what_is_damaged_or_cannot_be_read_is_named_where_images_are_required(ball_cohort):
    ball_cohort.drawn_on_path("ball_1").write_text("{")
    with pytest.raises(BadInputError, match=r"drawn_on.ball_1.json"):
        ball_cohort.require_images_drawn_on(["ball_0", "ball_1"])
    truncate(ball_cohort, "ball_0")
    with pytest.raises(BadInputError, match=r"image of case 'ball_0' cannot be used"):
        ball_cohort.require_images_drawn_on(["ball_0", "ball_1"])
