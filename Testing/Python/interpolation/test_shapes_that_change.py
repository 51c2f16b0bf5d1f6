"""What structures do between drawn slices: move, split, merge, touch, end; and what must hold whatever they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from small_volumes import ball
from sparse_fills import annotation_of, axial, blobs, discs, filled
from SparseAnnotateLib.core import BadInputError, Plane, VolumeGeometry
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator


def test_an_oblique_tube_that_moves_by_more_than_its_width_does_not_vanish():
    labels = discs((0, 20, 15), (10, 20, 33))
    areas, centres = [], []
    for layer in filled(axial(labels, [0, 10], (2.0, 1.0, 1.0))).labels:
        areas.append(layer.sum())
        centres.append(np.nonzero(layer)[1].mean())
    assert min(areas) > 0.8 * labels[0].sum()
    np.testing.assert_allclose(centres, 15 + 1.8 * np.arange(11), atol=1.0)


def test_two_structures_too_far_apart_to_be_one_are_not_joined():
    labels = discs((0, 10, 6), (4, 30, 54), shape=(5, 40, 60))
    middle = filled(axial(labels, [0, 4])).labels[2]
    assert not middle.any()


def test_a_trunk_splits_into_two_branches_and_two_branches_merge():
    labels = discs((0, 20, 30), (10, 20, 22), (10, 20, 38))
    labels[0] = 0
    labels[0, 16:25, 18:43] = 1
    for drawn in (labels, labels[::-1].copy()):
        layers = filled(axial(drawn, [0, 10])).labels
        counts = [ndimage.label(layer)[1] for layer in layers]
        assert sorted(counts) == counts if counts[0] == 1 else sorted(counts, reverse=True) == counts
        assert set(counts) == {1, 2}
        assert all(layer.any() for layer in layers)


def test_a_branch_that_has_no_counterpart_ends_while_the_trunk_continues():
    labels = discs((0, 20, 15), (0, 20, 45), (10, 20, 15))
    layers = filled(axial(labels, [0, 10])).labels
    assert layers[5, :, :30].sum() == labels[0, :, :30].sum()
    assert layers[2, :, 30:].any()
    assert not layers[6:, :, 30:].any()


def test_touching_labels_that_move_together_neither_gap_nor_overlap():
    labels = np.zeros((9, 40, 60), np.uint8)
    labels[0, 10:30, 6:16], labels[0, 10:30, 16:26] = 1, 2
    labels[8, 10:30, 26:36], labels[8, 10:30, 36:46] = 1, 2
    layers = filled(axial(labels, [0, 8], (4.0, 1.0, 1.0))).labels
    for index, layer in enumerate(layers):
        whole = layer > 0
        assert ndimage.binary_fill_holes(whole).sum() == whole.sum()
        assert ndimage.label(whole)[1] == 1
        assert [(layer == v).sum() for v in (1, 2)] == pytest.approx([200, 200], abs=45), index


def test_a_structure_that_was_drawn_once_is_closed_like_a_ball():
    labels = np.zeros((41, 40, 40), np.uint8)
    labels[20] = np.hypot(*(np.indices((40, 40)) - 20)) < 8
    areas = filled(axial(labels, [20])).labels.sum(axis=(1, 2)).astype(int)
    assert (np.diff(areas[20:]) <= 0).all()
    assert areas[25] > 0.5 * areas[20]
    assert not areas[20 + 13 :].any()
    np.testing.assert_array_equal(areas, areas[::-1])


def test_a_round_structure_no_larger_than_the_gap_is_closed_half_a_slice_beyond_its_middle():
    # As lenses of the eye, drawn on one slice.
    labels = discs((4, 20, 20), shape=(9, 40, 40), radius=4.5)
    areas = filled(axial(labels, [0, 4, 8], (2.5, 1.0, 1.0))).labels.sum(axis=(1, 2)) / labels[4].sum()
    assert (areas > 0).tolist() == [False, False, *[True] * 5, False, False]
    assert 0.2 < areas[2] < 0.5
    assert areas[3] > 0.7


def test_a_structure_on_one_slice_that_is_larger_than_the_gap_reaches_beyond_its_middle_like_a_ball():
    labels = discs((4, 20, 20), shape=(9, 40, 40), radius=8.0)
    areas = filled(axial(labels, [0, 4, 8], (2.5, 1.0, 1.0))).labels.sum(axis=(1, 2))
    assert (areas > 0).tolist() == [False, False, *[True] * 5, False, False]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_tip_of_a_larger_structure_ends_sooner_than_one_that_is_as_small(is_reversed):
    labels = (areas_beyond(radii, is_reversed) for radii in ((0, 8, 3, 0), (0, 3, 3, 0), (0, 0, 3, 0)))
    tip, tube, alone = labels
    assert sum(tip) < sum(tube) <= sum(alone)
    assert tip[0] > 0


def areas_beyond(radii: tuple[float, ...], is_reversed: bool) -> list[int]:
    """Of discs with these radii on the slices 0, 4, 8 and 12, of which the last is drawn empty: the areas after 8."""
    labels = np.zeros((13, 40, 40), np.uint8)
    for index, radius in zip((0, 4, 8, 12), radii, strict=True):
        if radius:
            labels[index] = discs((0, 20, 20), shape=(1, 40, 40), radius=radius)[0]
    found = filled(axial(labels[::-1] if is_reversed else labels, [0, 4, 8, 12], (1.5, 1.0, 1.0))).labels.sum(
        axis=(1, 2)
    )
    areas: list[int] = (found[::-1] if is_reversed else found)[9:12].tolist()
    return areas


@pytest.mark.parametrize("columns", [slice(20, 44), slice(29, 34)])
def test_a_thin_band_ends_at_the_middle_of_the_gap_and_a_short_one_beyond_it(columns):
    labels = np.zeros((9, 40, 60), np.uint8)
    labels[4, 20:25, columns] = 1
    layers = filled(axial(labels, [0, 4, 8], (4.0, 1.0, 1.0))).labels
    assert layers[3].any()
    assert layers[2].any() == (columns.stop - columns.start == 5)


def test_a_structure_that_ends_within_another_leaves_its_place_to_that():
    # As a lens within an eye: what it no longer fills is the eye's, not background, and not its own again.
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[[0, 4, 8]] = discs((0, 20, 20), shape=(1, 40, 40), radius=12.0)[0]
    labels[4][discs((0, 20, 20), shape=(1, 40, 40), radius=4.5)[0] > 0] = 2
    layers = filled(axial(labels, [0, 4, 8], (2.5, 1.0, 1.0))).labels
    alone = filled(axial(np.where(labels == 2, labels, 0), [0, 4, 8], (2.5, 1.0, 1.0))).labels
    np.testing.assert_array_equal(layers > 0, np.broadcast_to(labels[0] > 0, layers.shape))
    assert ((layers == 2) <= (alone == 2)).all()
    assert (layers[3] == 2).any()


def test_a_structure_that_ends_beside_another_is_no_larger_than_alone():
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[[0, 4, 8], 10:30, 8:20] = 1
    labels[4, 17:23, 20:26] = 2
    fill = filled(axial(labels, [0, 4, 8], (2.5, 1.0, 1.0))).labels
    alone = filled(axial(np.where(labels == 2, labels, 0), [0, 4, 8], (2.5, 1.0, 1.0))).labels
    np.testing.assert_array_equal(fill == 2, alone == 2)


def test_where_one_structure_ends_and_another_begins_no_background_is_between_them():
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[0, 10:15, 10:15], labels[8, 10:15, 10:15] = 1, 2
    layers = filled(axial(labels, [0, 8])).labels
    assert (layers[:, 10:15, 10:15] > 0).all()


def test_of_a_small_structure_something_stays_on_the_only_slice_of_a_gap():
    labels = discs((2, 20, 20), shape=(5, 40, 40), radius=1.0)
    areas = filled(axial(labels, [0, 2, 4])).labels.sum(axis=(1, 2))
    assert areas[2] == 1
    assert areas[1] == areas[3] == 1


def test_a_structure_that_is_absent_and_present_again_is_absent_where_it_was_drawn_absent():
    labels = discs((0, 20, 20), (10, 20, 20))
    areas = filled(axial(labels, [0, 5, 10])).labels.sum(axis=(1, 2))
    assert areas[5] == 0
    assert areas[1] > 0
    assert areas[9] > 0


def test_only_the_surroundings_of_the_labels_are_touched():
    labels = discs((0, 20, 15), (10, 22, 17))
    layers = filled(axial(labels, [0, 10])).labels
    rows, columns = np.nonzero(layers.any(axis=0))
    assert rows.min() >= 16
    assert rows.max() <= 26
    assert columns.min() >= 11
    assert columns.max() <= 21


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 4), st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
def test_translation_and_flip_of_the_input_translate_and_flip_the_output(seed, step, shift):
    labels = blobs(seed)
    drawn = list(range(0, 13, step + 1))
    spacing = (2.0, 1.0, 1.5)
    plain = filled(axial(labels, drawn, spacing)).labels
    for axis in (1, 2):
        flipped = filled(axial(np.flip(labels, axis).copy(), drawn, spacing)).labels
        np.testing.assert_array_equal(np.flip(flipped, axis), plain)
    turned = filled(axial(labels[::-1].copy(), [12 - i for i in drawn], spacing)).labels
    np.testing.assert_array_equal(turned[::-1], plain)
    moved = filled(axial(np.roll(labels, shift, (1, 2)), drawn, spacing)).labels
    np.testing.assert_array_equal(np.roll(moved, [-s for s in shift], (1, 2)), plain)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 10_000), st.sets(st.integers(0, 12), min_size=1, max_size=6), st.sets(st.integers(0, 29), max_size=3)
)
def test_drawn_slices_and_the_set_of_labels_stay_and_the_result_is_always_the_same(seed, drawn, coronal):
    labels = blobs(seed)
    annotation = annotation_of(labels, {Plane.AXIAL: sorted(drawn), Plane.CORONAL: sorted(coronal)})
    fills = [filled(annotation) for _ in range(2)]
    mask = annotation.supervised_mask()
    np.testing.assert_array_equal(fills[0].labels[mask], labels[mask])
    assert set(np.unique(fills[0].labels)) - {0} == set(annotation.label_values())
    np.testing.assert_array_equal(fills[0].labels, fills[1].labels)
    np.testing.assert_array_equal(fills[0].confidence, fills[1].confidence)


def test_after_one_slice_was_drawn_again_only_the_gaps_beside_it_are_filled_again():
    labels = blobs(7, shape=(25, 30, 34))
    before = axial(labels, range(0, 25, 4))
    fill = filled(before)
    changed = labels.copy()
    changed[12] = np.roll(labels[12], 5, 1)
    after = axial(changed, range(0, 25, 4))
    far = fill.labels.copy()
    far[9:16] = 99
    again = ShapeInterpolator().refill(type(fill)(far, fill.confidence.copy()), after, None, [(Plane.AXIAL, 12)])
    whole = filled(after)
    np.testing.assert_array_equal(again.labels, whole.labels)
    np.testing.assert_array_equal(again.confidence, whole.confidence)
    # What lies further away is taken over as it was, not filled again.
    kept = np.full_like(labels, 7)
    again = ShapeInterpolator().refill(type(fill)(kept, fill.confidence.copy()), after, None, [(Plane.AXIAL, 12)])
    assert (again.labels[1:4] == 7).all()
    assert not (again.labels[9:12] == 7).any()


def test_a_slice_more_and_a_slice_less_are_filled_again_like_a_whole_fill():
    labels = blobs(3, shape=(25, 30, 34))
    for old, new, index in (
        ([0, 8, 16, 24], [0, 8, 12, 16, 24], 12),
        ([0, 8, 12, 16], [0, 8, 16], 12),
        ([4, 12], [4, 12, 20], 20),
    ):
        previous, annotation = filled(axial(labels, old)), axial(labels, new)
        again = ShapeInterpolator().refill(previous, annotation, None, [(Plane.AXIAL, index)])
        whole = filled(annotation)
        np.testing.assert_array_equal(again.labels, whole.labels)
        np.testing.assert_array_equal(again.confidence, whole.confidence)


def test_filling_again_with_another_plane_gives_what_a_whole_fill_gives():
    labels = blobs(5)
    annotation = annotation_of(labels, {Plane.AXIAL: [0, 4, 8, 12]})
    previous = filled(annotation)
    more = annotation_of(labels, {Plane.AXIAL: [0, 4, 8, 12], Plane.SAGITTAL: [15]})
    again = ShapeInterpolator().refill(previous, more, None, [(Plane.SAGITTAL, 15)])
    np.testing.assert_array_equal(again.labels, filled(more).labels)


def test_a_fill_of_another_volume_cannot_be_gone_on_from():
    labels = ball()
    previous = filled(axial(labels, [5, 12]))
    with pytest.raises(BadInputError, match="another size"):
        ShapeInterpolator().refill(previous, axial(ball((20, 28, 32)), [5, 12]), None, [(Plane.AXIAL, 5)])


def test_hundreds_of_labels_are_filled():
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 100, (300, 2))
    rows, columns = np.indices((100, 100))
    cells = np.argmin((rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2, axis=2) + 1
    labels = np.stack([np.roll(cells, index // 2, 1) for index in range(9)]).astype(np.uint16)
    labels[:, :, :6] = 0
    fill = filled(axial(labels, [0, 4, 8])).labels
    assert fill.dtype == np.uint16
    # Where every slice shows a cell there is one, whichever.
    assert (fill[:, 5:-5, 20:-5] > 0).all()
    assert (fill == labels)[1:4].mean() > 0.75


def test_slices_of_two_planes_that_contradict_each_other_are_named_and_the_last_drawn_voxel_stays():
    labels = ball((24, 28, 32), 9.0)
    labels[:, 14, :] = 0  # a coronal slice, drawn empty afterwards
    annotation = annotation_of(labels, {Plane.AXIAL: [6, 12, 18], Plane.CORONAL: [14]})
    fill = filled(annotation)
    named = [w for w in fill.warnings if "contradict" in w]
    assert len(named) == 3
    assert "The drawings on axial slice 12 and coronal slice 14 seem to contradict each other in 17 voxels" in named[0]
    assert "later drawing, on coronal slice 14, is kept" in named[0]
    assert not fill.labels[:, 14, :].any()
    # The notch that the coronal slice has cut into the axial ones is not taken for a split of the structure.
    assert fill.labels[9, 13, 16]
    assert fill.labels[9, 15, 16]


def test_planes_that_agree_are_not_reported():
    labels = ball((24, 28, 32), 9.0)
    annotation = annotation_of(labels, {Plane.AXIAL: [6, 12, 18], Plane.CORONAL: [8, 14, 20], Plane.SAGITTAL: [16]})
    assert filled(annotation).warnings == ()


@pytest.mark.parametrize("plane", list(Plane))
def test_anisotropic_oblique_volumes_are_filled_along_their_own_axes(plane):
    labels = ball((20, 24, 28), 8.0)
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]]) @ np.diag([1.0, 0.7, 3.0])
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    geometry = VolumeGeometry.from_matrix(labels.shape, matrix)
    axis = plane.array_axis(geometry)
    indices = list(range(1, labels.shape[axis], 3))
    oblique = filled(annotation_of(labels, {plane: indices}, geometry=geometry)).labels
    straight = VolumeGeometry.from_spacing(labels.shape, geometry.spacing)
    same = next(p for p in Plane if p.array_axis(straight) == axis)
    np.testing.assert_array_equal(oblique, filled(annotation_of(labels, {same: indices}, geometry=straight)).labels)


def test_the_memory_a_large_volume_takes_is_little_more_than_its_labels():
    import tracemalloc

    labels = np.zeros((60, 256, 256), np.uint8)
    labels[:, 100:150, 90:160] = 1
    annotation = axial(labels, range(0, 60, 10))
    tracemalloc.start()
    filled(annotation)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Labels and confidence, a byte each, and the fields of a gap in the surroundings of the label.
    assert peak < 3.0 * labels.nbytes


def test_cancelling_between_gaps_takes_effect_at_once():
    from SparseAnnotateLib.core import CancelledError, Watch

    labels = blobs(1, shape=(60, 120, 120))
    annotation = axial(labels, range(0, 60, 2))
    fractions = []

    def cancel_soon(progress):
        fractions.append(progress.fraction)
        if progress.fraction > 0.1:
            watch.cancel()

    watch = Watch(cancel_soon)
    with pytest.raises(CancelledError):
        ShapeInterpolator().fill(annotation, None, watch)
    assert sum(fraction > 0.1 for fraction in fractions) == 1


def test_slices_of_a_second_plane_that_says_little_do_not_spoil_what_the_first_one_knows():
    labels = np.zeros((40, 60, 40), np.uint8)
    for index in range(40):
        rows, columns = np.indices((60, 40))
        labels[index][np.hypot(rows - 30 - 3 * np.sin(index / 6), columns - 20) < 4] = 1
    axial_slices = list(range(2, 40, 6))
    one = filled(annotation_of(labels, {Plane.AXIAL: axial_slices}))
    # The tube runs between the coronal slices, which do not show it at all.
    two = filled(annotation_of(labels, {Plane.AXIAL: axial_slices, Plane.CORONAL: [10, 50]}))
    wrong = [(fill.labels != labels).sum() for fill in (one, two)]
    assert wrong[1] <= 1.05 * wrong[0]


def test_a_structure_that_only_a_second_plane_shows_is_filled_around_it():
    labels = np.zeros((21, 30, 30), np.uint8)
    labels[8:13, 12:18, 12:18] = 1
    fill = filled(annotation_of(labels, {Plane.AXIAL: [0, 5, 15, 20], Plane.CORONAL: [15]})).labels
    assert fill[10, 14, 15]
    assert fill[10, 16, 15]
    assert not fill[10, 24, 15]
