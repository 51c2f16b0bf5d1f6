"""Masks drawn in other programs become drawn slices."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SliceState, SparseAnnotateError, VolumeGeometry, Watch
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.worker.import_drawn_request import ImportDrawnRequest, import_drawn
from SparseAnnotateLib.worker.mask_names import matched_masks
from SparseAnnotateLib.worker.mask_slices import slices_as_text
from SparseAnnotateLib.worker.requests import METHODS

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
LABELS = ball() + ball(radius=4.0)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Two cases, s1 and s2, of which nothing is drawn."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 2: "kernel"})
    for name in ("s1", "s2"):
        cohort.add_case(name, noisy_image(LABELS), GEOMETRY)
    return cohort


def drawn(indices=(8, 12, 15), axis: int = 0, labels: np.ndarray = LABELS) -> np.ndarray:
    sparse = np.zeros_like(labels)
    layers = np.moveaxis(sparse, axis, 0)
    layers[list(indices)] = np.moveaxis(labels, axis, 0)[list(indices)]
    return sparse


def mask(cohort: Cohort, name: str = "s1.nrrd", labels: np.ndarray | None = None, geometry=GEOMETRY) -> str:
    path = cohort.folder.parent / "masks" / name
    write_image(path, drawn() if labels is None else labels, geometry)
    return str(path)


def taken(cohort: Cohort, *masks: str, **options):
    return import_drawn(ImportDrawnRequest(str(cohort.folder), masks, **options), Watch())


def test_slices_that_show_something_are_drawn_for_all_structures(cohort):
    (row,) = taken(cohort, mask(cohort))
    assert (row.case, row.slices, row.new, row.structures) == ("s1", "axial 8 12 15", 3, ["shell", "kernel"])
    assert row.notes == []
    annotation = cohort.annotation("s1")
    assert annotation.ledger.indices(Plane.AXIAL) == [8, 12, 15]
    assert annotation.ledger.entry(Plane.AXIAL, 8).structures == ("shell", "kernel")
    assert np.array_equal(annotation.drawn_labels(), drawn())
    assert cohort.ledger("s2").entries == ()


def test_the_worker_answers_the_same_request():
    assert METHODS["import_drawn"] == (ImportDrawnRequest, import_drawn)


def test_listed_slices_may_be_empty_and_what_is_on_others_is_reported(cohort):
    (row,) = taken(cohort, mask(cohort), slices=("0", "8", "12-13"))
    assert row.slices == "axial 0 8 12-13"
    ledger = cohort.ledger("s1")
    assert ledger.entry(Plane.AXIAL, 0).state is SliceState.EMPTY
    assert ledger.entry(Plane.AXIAL, 13).state is SliceState.EMPTY
    count = np.count_nonzero(LABELS[15])
    assert row.notes == [f"Left out {count} labeled voxels that are on none of the listed slices."]


def test_a_csv_file_lists_slices_of_several_planes(cohort, caplog):
    labels = drawn() | drawn((10, 14), axis=1)
    path = cohort.folder.parent / "slices.csv"
    path.write_text("\ufeffCase note;case;plane;index\nx;s1;axial;8\n;s1;Axial;12-15\n;s1;coronal;10\n;s2;axial;3\n")
    with caplog.at_level(logging.WARNING):
        (row,) = taken(cohort, mask(cohort, labels=labels), slices_from=str(path))
    assert row.slices == "axial 8 12-15; coronal 10"
    assert "lists slices of cases without a mask: 's2'." in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,index\ns1,3\n", r"must name the columns case, plane and index, not 'case,index'"),
        (
            "case,plane,index\ns1,axial,8\ns9,axial,3\n",
            r"Line 3 of '.*' cannot be used\. .* has no case 's9'",
        ),
        ("case,plane,index\ns1,oblique,8\n", r"Line 2 of .* There is no plane 'oblique'"),
        ("case,plane,index\ns1,axial,8.5\n", r"Line 2 of .* '8\.5' is not a slice"),
        ("case,plane,index\ns1,axial\n", r"Line 2 of .* '' is not a slice"),
        ("case,plane,index\ns2,axial,8\n", r"lists no slice of the case 's1'"),
        ("case,plane,index\ns1,axial,24\n", r"refers to axial slice 24, but the volume only has axial slices 0 to 23"),
        ("", "must name the columns"),
    ],
)
def test_a_list_of_slices_that_cannot_be_is_refused_with_its_line(cohort, text, words):
    path = cohort.folder.parent / "slices.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        taken(cohort, mask(cohort), slices_from=str(path))
    assert cohort.ledger("s1").entries == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slices": ("3", "x")}, "'x' is not a slice. Write numbers from 0 on"),
        ({"slices": ("9-3",)}, "'9-3' is not a slice"),
        ({"slices": ("0-99999999999",)}, "'0-99999999999' is not a slice"),
        ({"slices": ("99",)}, "refers to axial slice 99"),
        ({"slices": ("3",), "slices_from": "x.csv"}, "not both"),
        ({"slices_from": "none.csv"}, "The list of slices 'none.csv' cannot be read"),
        ({"planes": (Plane.AXIAL, Plane.CORONAL)}, "Slices drawn in several planes cannot be told apart"),
        ({"decided": ("tail",)}, "has no structure 'tail'; it has: 'shell', 'kernel'"),
        ({"labels": {1: "tail"}}, "has no structure 'tail'"),
        ({"labels": {1: "shell"}}, r"has the label 2, which stands for no structure .* '--labels VALUE=NAME'"),
        ({"ignore_label": 0}, "The value 0 cannot be the ignore label"),
        ({"cases": ("s9",)}, "no case 's9'"),
        ({"cases": ("s2",)}, "No mask has the name of the case 's2'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_nothing_is_drawn(cohort, options, words):
    with pytest.raises(SparseAnnotateError, match=words):
        taken(cohort, mask(cohort), **options)
    assert cohort.ledger("s1").entries == ()


def test_a_mask_on_another_grid_or_with_unknown_labels_is_refused_and_the_others_are_taken(cohort):
    mask(cohort, "s1.nrrd", drawn()[:20], VolumeGeometry.from_spacing((20, 28, 32), (2.0, 1.0, 1.0)))
    mask(cohort, "s2_seg.nrrd")
    mask(cohort, "other.nrrd")
    with pytest.raises(PartlyDoneError) as caught:
        taken(cohort, str(cohort.folder.parent / "masks"))
    message = caught.value.message
    assert message.startswith("2 masks were not taken (others taken: 1):\n")
    assert "its size is 32 x 28 x 20 instead of 32 x 28 x 24 voxels" in message
    assert "'masks/other.nrrd': No case has the name of the mask" in message
    assert [row.case for row in caught.value.shown] == ["s2"]
    assert cohort.ledger("s1").entries == ()
    assert len(cohort.ledger("s2").decided) == 3
    taken(cohort, str(cohort.folder.parent / "masks"), cases=("s2",))
    with pytest.raises(BadInputError, match=r"has the label 9, which stands for no .*has: 1 = shell, 2 = kernel"):
        taken(cohort, mask(cohort, "s1.nrrd", drawn() * 9 * (drawn() == 1)))


def test_a_mask_stored_with_other_axes_is_turned_and_not_resampled(cohort):
    flipped = np.array(GEOMETRY.ijk_to_ras)
    flipped[:, 3] += flipped[:, 2] * 23
    flipped[:, 2] *= -1
    taken(cohort, mask(cohort, "s1.nrrd", drawn()[::-1], VolumeGeometry.from_matrix(GEOMETRY.shape, flipped)))
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), drawn())


@pytest.mark.parametrize(
    ("names", "file", "case"),
    [
        (("s1", "s10"), "s1.nrrd", "s1"),
        (("s1", "s10"), "S10_seg.nii.gz", "s10"),
        (("s1", "s1_b"), "s1_b-drawn.nrrd", "s1_b"),
        (("s1_0000", "s2_0000"), "s1.nrrd", "s1_0000"),
        (("s1", "s2"), "s1.seg.nrrd", "s1"),
        (("anna", "ben"), "anna/seg.nrrd", "anna"),
        # A case is called like its scan, apart from what not every system allows in names.
        (("O'Neil _2_", "O'Neil _3_"), "O'Neil <2>.nrrd", "O'Neil _2_"),
        (("O'Neil _2_", "O'Neil _3_"), "O'Neil <3>_seg.nrrd", "O'Neil _3_"),
        (("a_b", "s2"), "a?b/seg.nrrd", "a_b"),
        (("s1", "s2"), "s11.nrrd", None),
        (("s1_pre", "s1_post"), "s1.nrrd", "several"),
        (("s1", "s2"), "s1/s2.nrrd", "several"),
    ],
)
def test_a_mask_belongs_to_a_case_by_its_name_or_to_none(tmp_path, names, file, case):
    cohort = Cohort.create(tmp_path / "c", "c")
    for name in names:
        cohort.add_case(name, noisy_image(LABELS), GEOMETRY)
    found = matched_masks(cohort, [str(tmp_path / "masks" / file)])
    if case in (None, "several"):
        (problem,) = found.problems.values()
        assert ("No case has the name" in problem.message) == (case is None)
        assert found.of_case == {}
    else:
        assert list(found.of_case) == [case]


def test_two_masks_of_one_case_are_both_refused(cohort):
    with pytest.raises(BadInputError, match="The case 's1' has several masks by their names"):
        taken(cohort, mask(cohort), mask(cohort, "s1_again.nrrd"))
    assert cohort.ledger("s1").entries == ()


def test_what_is_drawn_already_is_kept_and_replaced_only_when_asked(cohort):
    taken(cohort, mask(cohort))
    before = cohort.annotation("s1").fingerprint()
    (again,) = taken(cohort, mask(cohort, labels=drawn((8, 12, 15, 17))))
    assert (again.new, again.unchanged) == (1, 3)
    other = drawn()
    other[12, 14, 14:17] = 0
    with pytest.raises(BadInputError, match=r"At 3 voxels it differs from what is .*, on axial 12\. .*--replace"):
        taken(cohort, mask(cohort, labels=other))
    assert cohort.annotation("s1").fingerprint() != before
    assert cohort.annotation("s1").labels[12, 14, 14] == 2
    (row,) = taken(cohort, mask(cohort, labels=other), replace=True)
    assert (row.new, row.replaced, row.unchanged) == (0, 1, 2)
    assert cohort.annotation("s1").labels[12, 14, 14] == 0
    assert cohort.ledger("s1").indices(Plane.AXIAL) == [8, 12, 15, 17]


def test_slices_decide_the_structures_asked_for_and_others_may_follow(cohort):
    (row,) = taken(cohort, mask(cohort), decided=("shell",))
    assert row.structures == ["shell"]
    assert row.notes == ["Left out, because the slices do not decide them: 'kernel'."]
    assert cohort.ledger("s1").entry(Plane.AXIAL, 12).structures == ("shell",)
    (row,) = taken(cohort, mask(cohort, labels=np.where(LABELS == 2, drawn(), 0)), decided=("kernel",))
    assert (row.slices, row.replaced) == ("axial 12 15", 2)
    assert cohort.ledger("s1").entry(Plane.AXIAL, 12).structures == ("shell", "kernel")
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), drawn())


def test_labels_of_the_mask_get_the_structures_named_for_them(cohort):
    swapped = np.choose(drawn(), [0, 2, 1]).astype(np.uint8)
    taken(cohort, mask(cohort, labels=swapped), labels={1: "kernel", 2: "shell"})
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), drawn())


def slicer_file(cohort: Cohort, labels: np.ndarray, geometry: VolumeGeometry = GEOMETRY, **fields: str) -> str:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(labels)
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    for key, value in fields.items():
        image.SetMetaData(key, value)
    path = cohort.folder.parent / "s1.seg.nrrd"
    sitk.WriteImage(image, str(path), useCompression=True)
    return str(path)


def test_segments_of_slicer_are_matched_by_name(cohort):
    header = {"Segment0_Name": "kernel", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    header |= {"Segment1_Name": "shell", "Segment1_LabelValue": "2", "Segment1_Layer": "0"}
    swapped = np.choose(drawn(), [0, 2, 1]).astype(np.uint8)
    taken(cohort, slicer_file(cohort, swapped, **header))
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), drawn())
    with pytest.raises(BadInputError, match=r"has the label 1 \('tumour'\), which stands for no structure"):
        taken(cohort, slicer_file(cohort, swapped, **header | {"Segment0_Name": "tumour"}))
    with pytest.raises(BadInputError, match=r"The segments of '.*' overlap"):
        taken(cohort, slicer_file(cohort, swapped, **header | {"Segment0_Layer": "1"}))
    with pytest.raises(BadInputError, match="gives the segment 'shell' no label value of its own"):
        taken(cohort, slicer_file(cohort, swapped, **header | {"Segment1_LabelValue": "1"}))


def test_a_file_of_slicer_may_be_cropped_and_other_files_may_not(cohort):
    header = {"Segment0_Name": "shell", "Segment0_LabelValue": "1"}
    header |= {"Segment1_Name": "kernel", "Segment1_LabelValue": "2"}
    matrix = GEOMETRY.matrix
    matrix[:3, 3] += matrix[:3, :3] @ (2, 1, 3)
    part = drawn()[3:20, 1:, 2:30]
    box = VolumeGeometry.from_matrix(part.shape, matrix)
    taken(cohort, slicer_file(cohort, part, box, **header))
    assert np.array_equal(cohort.annotation("s1").drawn_labels(), drawn())
    with pytest.raises(BadInputError, match="does not lie on its image's grid: its size is"):
        taken(cohort, mask(cohort, "s2.nrrd", part, box))
    for offset in ((2.5, 1, 3), (-1, 1, 3), (20, 1, 3)):
        matrix = GEOMETRY.matrix
        matrix[:3, 3] += matrix[:3, :3] @ offset
        with pytest.raises(BadInputError, match="does not lie on its image's grid"):
            taken(cohort, slicer_file(cohort, part, VolumeGeometry.from_matrix(part.shape, matrix), **header))


def test_ignored_voxels_are_undecided(cohort, caplog):
    labels = drawn()
    labels[12, 0, :5] = 9
    (row,) = taken(cohort, mask(cohort, labels=labels), ignore_label=9)
    assert row.slices == "axial 8 12 15"
    annotation = cohort.annotation("s1")
    assert annotation.undecided.sum() == 5
    assert not annotation.supervised_mask()[12, 0, :5].any()
    with caplog.at_level(logging.WARNING):
        taken(cohort, mask(cohort, "s2.nrrd"), ignore_label=9)
    assert "No voxel of the masks has the ignore label 9." in caplog.text


def test_slices_that_are_mostly_ignored_are_not_drawn_ones(cohort):
    labels = np.full_like(LABELS, 9)
    labels[[8, 12]] = LABELS[[8, 12]]
    labels[15, :, 16:] = LABELS[15, :, 16:]
    labels[18, :, 17:] = LABELS[18, :, 17:]
    path = mask(cohort, labels=labels)
    (row,) = taken(cohort, path, ignore_label=9)
    assert row.slices == "axial 8 12 15"
    assert cohort.annotation("s1").undecided.sum() == 28 * 16
    with pytest.raises(BadInputError, match="Every coronal slice that shows a structure is mostly ignored"):
        taken(cohort, path, ignore_label=9, planes=(Plane.CORONAL,))


def test_a_dense_mask_is_taken_with_a_warning(cohort):
    (row,) = taken(cohort, mask(cohort, labels=LABELS))
    assert row.notes[0].startswith("Every axial slice from 5 to 19 shows something. This looks like a dense annotation")
    assert len(cohort.ledger("s1").decided) == 15


def test_a_stray_voxel_is_pointed_out(cohort):
    labels = drawn()
    labels[22, 3, 3] = 1
    (row,) = taken(cohort, mask(cohort, labels=labels))
    assert row.notes == ["Axial slice 22 shows a single voxel and is taken as drawn. Is it a stray one?"]


def test_a_mask_that_was_drawn_in_another_plane_is_refused_with_that_plane(cohort):
    path = mask(cohort, labels=drawn((10, 14, 17), axis=1))
    with pytest.raises(BadInputError, match=r"drawn in another plane: .* 3 coronal slices .* Use '--planes coronal'"):
        taken(cohort, path)
    (row,) = taken(cohort, path, planes=(Plane.CORONAL,))
    assert row.slices == "coronal 10 14 17"


def test_an_empty_mask_is_refused_unless_its_slices_are_listed(cohort):
    path = mask(cohort, labels=np.zeros_like(LABELS))
    with pytest.raises(BadInputError, match=r"shows no structure, so no slice .* with '--slices'"):
        taken(cohort, path)
    (row,) = taken(cohort, path, slices=("3-5",))
    assert (row.slices, row.structures) == ("axial 3-5", [])


def test_files_that_are_no_masks_are_refused_in_a_sentence(cohort):
    folder = cohort.folder.parent
    with pytest.raises(BadInputError, match="No file matches the pattern"):
        taken(cohort, str(folder / "masks" / "*.nrrd"))
    (folder / "s1.nrrd").write_text("no image")
    with pytest.raises(BadInputError, match=r"s1\.nrrd"):
        taken(cohort, str(folder / "s1.nrrd"))
    with pytest.raises(BadInputError, match="does not exist"):
        taken(cohort, str(folder / "masks" / "s1.nii.gz"))
    with pytest.raises(BadInputError, match="not whole numbers, so it is not a label map"):
        taken(cohort, mask(cohort, labels=drawn() * np.float32(0.3)))


def test_the_command_shows_what_was_taken_and_ends_with_1_when_a_mask_was_not(cohort, capsys):
    good, folder = mask(cohort), str(cohort.folder)
    assert main(["import-drawn", folder, good, "--slices", "8", "12-15"]) == 0
    shown = capsys.readouterr().out
    assert "axial 8 12-15" in shown
    assert "5 slices are new, 0 replaced, 0 unchanged." in shown
    assert main(["import-drawn", folder, good, mask(cohort, "x.nrrd")]) == 1
    captured = capsys.readouterr()
    assert "axial 8 12 15" in captured.out
    assert "1 mask was not taken (others taken: 1)" in captured.err
    assert main(["import-drawn", folder, good, str(Path(good).with_name("x.nrrd")), "--json"]) == 1
    assert [row["case"] for row in json.loads(capsys.readouterr().out)] == ["s1"]
    (cohort.folder.parent / "l.csv").write_text("case,plane,index\ns1,axial,8\n")
    listed = ["--slices-from", str(cohort.folder.parent / "l.csv"), "--planes", "axial"]
    assert main(["import-drawn", folder, good, *listed]) == 0
    assert "--planes has no effect with --slices-from." in capsys.readouterr().err


def test_slices_are_written_in_short():
    keys = [(Plane.CORONAL, 3), *((Plane.AXIAL, n) for n in (7, 1, 2, 3))]
    assert slices_as_text(keys) == "axial 1-3 7; coronal 3"
    assert slices_as_text([]) == ""
