"""What other programs and systems write: Decathlon folders, label values, axes in another order or nearly at angles."""

from __future__ import annotations

import gzip
import json
import struct
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from SparseAnnotateLib.core import BadInputError, Cohort, CohortError, VolumeGeometry
from SparseAnnotateLib.core.decathlon import stored_file
from SparseAnnotateLib.core.images import read_geometry, read_image, read_labels, write_image
from SparseAnnotateLib.core.voxel_values import labels_from_values, unnamed_labels_sentence
from system_needs import needs_posix_names

SHAPE = (6, 5, 4)
LABELS = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
OBLIQUE = VolumeGeometry.from_matrix(
    SHAPE, [[0.8, 0.6 * 1.5, 0, 1.25], [-0.6, 0.8 * 1.5, 0, -7.5], [0, 0, 2.5, 100.1], [0, 0, 0, 1]]
)


def decathlon(folder, change=lambda content: content, prefix=b""):
    geometry = VolumeGeometry.from_spacing(SHAPE)
    items = []
    for name in ("a", "b"):
        for kind in ("imagesTr", "labelsTr"):
            write_image(folder / kind / f"{name}.nii.gz", LABELS, geometry)
        items.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    content = {"name": "t", "labels": {"0": "background", "1": "x"}, "training": items, "test": []}
    text = json.dumps(change(content))
    (folder / "dataset.json").write_bytes(prefix + text.encode())
    return folder


def with_paths(rule):
    def change(content):
        return {**content, "training": [{k: rule(v) for k, v in item.items()} for item in content["training"]]}

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_paths(lambda path: path.replace("./", ".\\").replace("/", "\\")),
        with_paths(lambda path: path + "  "),
        with_paths(lambda path: " " + path),
        with_paths(lambda path: path.removeprefix("./")),
        lambda content: {**content, "test": ["./imagesTr/._a.nii.gz", {"image": "./imagesTr/._b.nii.gz"}]},
        lambda content: {**content, "labels": {"0": "background", "1": "x"}, "licence": {"a": [1, 2]}},
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_a_decathlon_folder_from_windows_or_a_mac_is_read(tmp_path, change, prefix):
    folder = decathlon(tmp_path / "d", change, prefix)
    for path in list(folder.rglob("*.nii.gz")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    cohort = Cohort.open(folder)
    assert [case.name for case in cohort.cases] == ["a", "b"]
    np.testing.assert_array_equal(cohort.reference("b"), LABELS)


@needs_posix_names
def test_a_file_whose_name_does_hold_a_backslash_or_ends_with_a_blank_is_found(tmp_path):
    for name in ("a\\b.nii.gz", "a.nii.gz "):
        (tmp_path / name).write_text("")
        assert stored_file(tmp_path, f"./{name}") == name
    assert stored_file(tmp_path, "c\\d.nii.gz ") == "c/d.nii.gz"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"labels": {}}', '{"training": 3, "labels": {}}', "[" * 100000])
def test_a_dataset_file_that_cannot_be_used_is_refused_by_name(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(CohortError, match=r"dataset.json' "):
        Cohort.open(tmp_path)


@given(
    arrays(np.float64, (3, 4), elements=st.floats(-0.001, 0.001)), arrays(np.int64, (3, 4), elements=st.integers(0, 9))
)
def test_values_within_a_thousandth_of_whole_numbers_are_labels(off, whole):
    np.testing.assert_array_equal(labels_from_values(whole + 0.999 * off, "x"), whole)


@given(st.integers(0, 70000), st.floats(0.002, 0.998))
def test_other_values_are_shown_and_never_rounded(whole, off):
    array = np.zeros((2, 3))
    array[1, 2] = whole + off
    with pytest.raises(
        BadInputError, match=r"not whole numbers, .*\d.* at \[1, 2\] .*1 voxels in all.*nearest-neighbor"
    ):
        labels_from_values(array, "x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_label(bad):
    with pytest.raises(BadInputError, match="not whole numbers"):
        labels_from_values(np.array([0.0, bad]), "x")


def test_labels_stored_as_scaled_integers_are_read(tmp_path):
    path = tmp_path / "scaled.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(255 * LABELS.astype(np.int16)), str(path))
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<2f", content, 112, 0.00392157, 0.0)
    path.write_bytes(gzip.compress(bytes(content)))
    np.testing.assert_array_equal(read_labels(path, read_geometry(path)), LABELS)


def test_label_values_without_a_name_are_reported():
    assert unnamed_labels_sentence([0, 1, 2], {1: "big", 2: "small"}, "x") is None
    assert unnamed_labels_sentence([255], {}, "x") is None
    assert unnamed_labels_sentence(np.array([[0, 255]]), {0: "background", 1: "big"}, "The reference of 'a'") == (
        "The reference of 'a' contains the label value 255, which is not in the list of labels (1 = big)."
    )
    assert "label values 3, 4, which" in unnamed_labels_sentence({1, 3, 4}, {1: "big"}, "x")


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_a_label_map_of_the_same_voxels_in_another_order_is_turned_onto_the_grid(tmp_path, axes, flips):
    matrix = OBLIQUE.matrix
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:3, 3] += matrix[:3, 2 - axis] * (SHAPE[axis] - 1)
            matrix[:3, 2 - axis] *= -1
    turned = matrix.copy()
    for place, axis in enumerate(axes):
        turned[:3, 2 - place] = matrix[:3, 2 - axis]
    stored = np.flip(LABELS, [axis for axis in range(3) if flips[axis]]).transpose(axes)
    own = VolumeGeometry.from_matrix(stored.shape, turned)
    write_image(tmp_path / "l.nrrd", stored, own)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nrrd", OBLIQUE), LABELS)
    moved = turned.copy()
    moved[:3, 3] += 0.7
    write_image(tmp_path / "moved.nrrd", stored, VolumeGeometry.from_matrix(stored.shape, moved))
    with pytest.raises(BadInputError, match="does not lie on its image's grid"):
        read_labels(tmp_path / "moved.nrrd", OBLIQUE)


def test_grids_of_other_voxels_are_not_turned():
    array = np.zeros(SHAPE, np.uint8)
    finer = OBLIQUE.matrix
    finer[:3, :3] /= 2
    assert OBLIQUE.with_same_voxels(array, VolumeGeometry.from_matrix(SHAPE, finer)) is None
    assert OBLIQUE.with_same_voxels(array[:-1], VolumeGeometry.from_matrix((5, 5, 4), OBLIQUE.matrix)) is None
    turned = np.eye(4)
    turned[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    plain = VolumeGeometry.from_spacing(SHAPE)
    assert plain.with_same_voxels(array, VolumeGeometry.from_matrix(SHAPE, turned)) is None


def saved_with(path, columns, shape=SHAPE, sizes=None):
    """A NIfTI file whose sform has these (3, 3) columns, in RAS, and no qform; `sizes`: other voxel sizes."""
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape)), str(path))
    content = bytearray(gzip.decompress(path.read_bytes()))
    matrix = np.column_stack([columns, [5.0, 6.0, 7.0]])
    struct.pack_into("<3f", content, 80, *(np.linalg.norm(columns, axis=0) if sizes is None else sizes))
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, *matrix.ravel())
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def rotation(degrees=20.0):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("error", [2e-4, 8e-4, 3e-3])
def test_axes_that_rounding_left_nearly_at_right_angles_are_put_there(tmp_path, error):
    columns = rotation()
    columns[0, 0] += error
    path = saved_with(tmp_path / "a.nii.gz", columns @ np.diag([0.8, 0.8, 2.5]))
    array, geometry = read_image(path)
    np.testing.assert_array_equal(array.ravel(), np.arange(120))
    assert geometry == read_geometry(path)
    axes = geometry.directions
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(geometry.spacing, (2.5, 0.8, 0.8), rtol=error)
    corners = np.array([[i, j, k, 1] for i in (0, 3) for j in (0, 4) for k in (0, 5)])
    said = np.eye(4)
    said[:3, :3], said[:3, 3] = columns @ np.diag([0.8, 0.8, 2.5]), (5, 6, 7)
    assert np.linalg.norm((corners @ (geometry.matrix - said).T), axis=1).max() < 0.1 * 0.8
    # What is written on that grid comes back on it, in every format.
    for ending in ("nrrd", "nii.gz", "mha"):
        write_image(tmp_path / f"labels.{ending}", LABELS, geometry)
        np.testing.assert_array_equal(read_labels(tmp_path / f"labels.{ending}", geometry), LABELS)


@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz"])
@pytest.mark.parametrize(("shear", "degrees"), [(0.3, 17), (0.05, 2.9)])
def test_sheared_axes_are_refused_with_how_far_they_are_off_and_what_to_do(tmp_path, ending, shear, degrees):
    columns = np.eye(3)
    columns[0, 2] = shear
    columns /= np.linalg.norm(columns, axis=0)
    path = tmp_path / f"a.{ending}"
    if ending == "nii.gz":
        saved_with(path, columns)
    else:
        image = sitk.GetImageFromArray(LABELS)
        image.SetDirection(columns.ravel())
        sitk.WriteImage(image, str(path))
    for read in (read_geometry, read_image):
        with pytest.raises(BadInputError, match=rf"not at right angles: .* {degrees} degrees .*Resample it") as caught:
            read(path)
        assert "damaged" not in str(caught.value)
        assert path.name in str(caught.value)


def test_axes_off_by_so_little_that_a_large_volume_would_still_move_are_refused(tmp_path):
    columns = np.eye(3)
    columns[0, 1] = 5e-3
    small = saved_with(tmp_path / "small.nii.gz", columns)
    assert read_geometry(small).shape == SHAPE
    large = saved_with(tmp_path / "large.nii.gz", columns, (2, 300, 300))
    with pytest.raises(BadInputError, match="not at right angles: they are off by up to 0.29 degrees"):
        read_geometry(large)


def test_a_damaged_file_with_sheared_axes_is_damaged(tmp_path):
    columns = rotation()
    columns[0, 0] += 8e-4
    path = saved_with(tmp_path / "a.nii.gz", columns)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInputError, match="damaged or cut off"):
        read_image(path)


def test_a_header_that_says_its_voxel_size_in_two_ways_is_refused(tmp_path):
    path = saved_with(tmp_path / "a.nii.gz", np.diag([0.8, 0.8, 2.5]), sizes=(1, 1, 1))
    sizes = r"different voxel sizes: 1 x 1 x 1 \(pixdim\) and 0.8 x 0.8 x 2.5 \(sform\)"
    with pytest.raises(BadInputError, match=sizes):
        read_geometry(path)
    path = saved_with(tmp_path / "a.nii.gz", np.diag([0.8, 0.8, 2.5]), sizes=(0.801, 0.8, 2.5))
    assert read_geometry(path).shape == SHAPE


def test_a_file_that_has_lost_its_nifti_mark_is_not_taken_for_one_without_orientation(tmp_path):
    path = saved_with(tmp_path / "a.nii.gz", np.diag([1.0, 1.0, 2.5]))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[345] ^= 4
    path.write_bytes(gzip.compress(bytes(content)))
    for read in (read_geometry, read_image):
        with pytest.raises(BadInputError, match=r"a.nii.gz' has an Analyze 7.5 header"):
            read(path)
