"""What a drawn slice speaks for: structures that it was not marked for are unknown on it, not absent."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest

from SparseAnnotateLib.core import Cohort, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.core.oracle import drawn_from_reference
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.core.structure_notes import structure_sentences
from SparseAnnotateLib.core.unknown_structures import UnknownStructures

NAMES = {1: "liver", 2: "tumor", 5: "vessel"}
SHAPE = (9, 8, 7)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))
SLICES = (
    (Plane.AXIAL, 2, ("liver",)),
    (Plane.AXIAL, 6, ("liver", "tumor", "vessel")),
    (Plane.CORONAL, 3, ("tumor", "vessel")),
    (Plane.CORONAL, 4, None),
    (Plane.SAGITTAL, 1, ()),
)


def ledger(slices=SLICES) -> Ledger:
    found = Ledger()
    for plane, index, structures in slices:
        found = found.with_state(plane, index, SliceState.DRAWN, structures=structures)
    return found


@pytest.fixture
def annotation() -> SparseAnnotation:
    labels = np.random.default_rng(3).choice([0, 0, 1, 2, 5], SHAPE).astype(np.uint8)
    return SparseAnnotation(labels, ledger(), GEOMETRY, names=NAMES)


def deciding(voxel, value) -> bool:
    """Whether some drawn slice through a voxel decides a structure."""
    return any(
        voxel[plane.array_axis(GEOMETRY)] == index and (structures is None or NAMES[value] in structures)
        for plane, index, structures in SLICES
    )


def test_each_voxel_and_structure_is_known_in_known_out_or_unknown(annotation):
    painted = np.random.default_rng(3).choice([0, 0, 1, 2, 5], SHAPE).astype(np.uint8)
    supervised, unknown = annotation.supervised_mask(), annotation.unknown_structures()
    for voxel in itertools.product(*map(range, SHAPE)):
        decided = {value for value in NAMES if deciding(voxel, value)}
        assert supervised[voxel] == bool(decided)
        label = int(painted[voxel])
        if not decided:
            assert unknown.index[voxel] == 0
        elif label in decided:
            assert annotation.labels[voxel] == label
            assert unknown.index[voxel] == 0, "a voxel of a structure is none of the others"
        else:
            # Paint of a structure that no slice here decides says nothing, and no decided structure is here.
            assert annotation.labels[voxel] == 0
            number = unknown.index[voxel]
            assert set(unknown.sets[number - 1] if number else ()) == set(NAMES) - decided
    assert np.array_equal(annotation.decided_mask(), supervised & (unknown.index == 0))


def test_a_result_keeps_unknown_structures_where_a_slice_shows_nothing(annotation):
    result = np.random.default_rng(4).choice([0, 1, 2, 5], SHAPE).astype(np.uint8)
    restored = result.copy()
    annotation.restore_drawn(restored)
    supervised, unknown = annotation.supervised_mask(), annotation.unknown_structures()
    possible = np.zeros(SHAPE, dtype=bool)
    for number, values in enumerate(unknown.sets, start=1):
        possible |= (unknown.index == number) & np.isin(result, values)
    assert np.array_equal(restored, np.where(supervised & ~possible, annotation.labels, result))
    assert possible.any()
    again = restored.copy()
    annotation.restore_drawn(again)
    assert np.array_equal(again, restored)


def test_without_names_or_records_a_slice_decides_everything(annotation):
    for other in (
        SparseAnnotation(annotation.labels, annotation.ledger, GEOMETRY),
        SparseAnnotation(annotation.labels, ledger([(p, i, None) for p, i, _s in SLICES]), GEOMETRY, names=NAMES),
    ):
        assert not other.has_unknown_structures
        assert other.unknown_structures() is None
        assert np.array_equal(other.decided_mask(), other.supervised_mask())
        ((values, part),) = other.structure_groups()
        assert part is other
        assert list(values) == other.label_values()


def test_a_group_of_structures_needs_memory_for_its_drawn_slices_only():
    shape, names = (128, 256, 256), {value: f"structure {value}" for value in range(1, 21)}
    labels = np.zeros(shape, np.uint8)
    labels[::16, 100:120, 100:120] = np.arange(1, 21)[:, None]
    entries = [
        (Plane.AXIAL, index, [name for value, name in names.items() if value % 9 != index // 16])
        for index in range(0, 128, 16)
    ]
    annotation = SparseAnnotation(labels, ledger(entries), VolumeGeometry.from_spacing(shape), names=names)
    seen = []
    tracemalloc.start()
    for values, part in annotation.structure_groups():
        seen += [value for value in values if (part.labels == value).any()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(seen) == list(names)
    # That of two of the nine groups at once, and of a comparison; a volume has 8 MiB.
    assert peak < 4 * labels.nbytes


def test_groups_have_the_slices_that_decide_them_and_no_doubtful_structures(annotation):
    groups = dict(annotation.structure_groups())
    assert set(groups) == {(1,), (2, 5)}
    assert [e.key for e in groups[1,].ledger.decided] == [(Plane.AXIAL, 2), (Plane.AXIAL, 6), (Plane.CORONAL, 4)]
    assert [e.key for e in groups[2, 5].ledger.decided] == [
        (Plane.AXIAL, 6),
        (Plane.CORONAL, 3),
        (Plane.CORONAL, 4),
    ]
    assert groups[1,].label_values() == [1], "tumor and vessel are unknown on one of the slices of the liver"
    for values, part in groups.items():
        for axis, indices in part.drawn_by_axis().items():
            for index in indices:
                layer = slice_layer(axis, index)
                for value in values:
                    assert np.array_equal(part.labels[layer] == value, annotation.labels[layer] == value)


def test_a_slice_that_decides_nothing_is_not_drawn(annotation):
    assert 1 not in annotation.drawn_by_axis().get(Plane.SAGITTAL.array_axis(GEOMETRY), [])
    only = SparseAnnotation(annotation.labels, ledger([SLICES[-1]]), GEOMETRY, names=NAMES)
    assert only.drawn_by_axis() == {}
    assert not only.supervised_mask().any()


def test_the_fingerprint_changes_with_the_decided_structures_and_not_with_new_ones(annotation):
    prints = {annotation.fingerprint()}
    for structures in (("liver", "tumor"), ("liver", "vessel"), None):
        changed = ledger([(Plane.AXIAL, 2, structures), *SLICES[1:]])
        prints.add(SparseAnnotation(annotation.labels, changed, GEOMETRY, names=NAMES).fingerprint())
    assert len(prints) == 4
    # A structure that is added anywhere makes no result of this volume out of date.
    more = SparseAnnotation(annotation.labels, annotation.ledger, GEOMETRY, names={**NAMES, 9: "new"})
    assert more.unknown_on(Plane.AXIAL, 2) != annotation.unknown_on(Plane.AXIAL, 2)
    assert more.fingerprint() == annotation.fingerprint()
    # Results made before structures were recorded stay up to date.
    old = ledger([(p, i, None) for p, i, _s in SLICES])
    prints = {SparseAnnotation(annotation.labels, old, GEOMETRY, names=n).fingerprint() for n in ({}, NAMES)}
    assert len(prints) == 1


def test_undecided_voxels_stay_undecided_for_all_structures(annotation):
    undecided = np.zeros(SHAPE, dtype=bool)
    undecided[2, :4] = True
    both = SparseAnnotation(annotation.labels, annotation.ledger, GEOMETRY, undecided, NAMES)
    assert not both.supervised_mask()[2, :4].any()
    assert not both.unknown_structures().index[2, :4].any()


def test_a_correction_adds_to_what_a_slice_says_of_other_structures(annotation):
    corrected = np.zeros(SHAPE, dtype=bool)
    corrected[2, :, 3:5] = True  # the slice decides the liver only
    corrected[4, 5:, 3:5] = True  # on no slice
    stroke = Stroke.of(corrected, 2, False)
    unknown = dataclasses.replace(annotation, corrections=Corrections(SHAPE, (stroke,))).unknown_structures()
    sets = [(), *unknown.sets]
    for voxel in zip(*map(np.ndarray.tolist, np.nonzero(corrected)), strict=True):
        if annotation.labels[voxel]:
            continue
        left = tuple(value for value in (1, 5) if not deciding(voxel, value))
        assert sets[unknown.index[voxel]] == left


def test_structures_and_unknown_voxels_survive_the_cohort_folder(tmp_path, annotation):
    cohort = Cohort.create(tmp_path / "cohort", "cohort", NAMES)
    cohort.add_case("a", np.zeros(SHAPE, np.int16), GEOMETRY)
    cohort.save_annotation("a", annotation)
    read = Cohort.open(cohort.folder).annotation("a")
    assert read.fingerprint() == annotation.fingerprint()
    assert np.array_equal(read.unknown_structures().index, annotation.unknown_structures().index)
    cohort.set_labels({1: "tumor", 2: "liver", 5: "vessel"})
    renamed = cohort.annotation("a")
    assert renamed.fingerprint() == annotation.fingerprint(), "renamed structures keep their slices"


def test_a_case_whose_slices_speak_for_other_structures_only_is_not_annotated(tmp_path, annotation):
    cohort = Cohort.create(tmp_path / "cohort", "cohort", {1: "spleen"})
    cohort.add_case("a", np.zeros(SHAPE, np.int16), GEOMETRY)
    cohort.save_annotation("a", SparseAnnotation(annotation.labels, ledger(SLICES[:3]), GEOMETRY))
    assert cohort.annotated_cases() == []
    cohort.set_labels({1: "liver"})
    cohort.save_annotation("a", SparseAnnotation(annotation.labels, ledger(SLICES[:3]), GEOMETRY))
    assert cohort.annotated_cases() == ["a"]


def test_a_simulated_annotator_decides_all_structures(annotation):
    entries = ledger().entries
    todo = Ledger((*entries, *(Ledger().with_state(Plane.AXIAL, 8, SliceState.TODO).entries)))
    waiting = SparseAnnotation(annotation.labels, todo, GEOMETRY, names=NAMES)
    drawn = drawn_from_reference(waiting, np.ones(SHAPE, np.uint8))
    assert drawn.ledger.entry(Plane.AXIAL, 8).structures == ("liver", "tumor", "vessel")
    assert drawn.ledger.entry(Plane.AXIAL, 2).structures == ("liver",)


def test_sentences_name_the_slices_and_what_to_do(annotation):
    sentences = structure_sentences(annotation)
    assert any(s.startswith("'liver' is unknown on 2 drawn slices (coronal 3, sagittal 1)") for s in sentences)
    (old,) = [s for s in sentences if "does not record" in s]
    assert old.startswith("1 drawn slice does not record which structures it was marked for")
    never = SparseAnnotation(annotation.labels, ledger([SLICES[0]]), GEOMETRY, names=NAMES)
    assert structure_sentences(never)[0].startswith("No drawn slice says anything about 'tumor'")
    single = SparseAnnotation(annotation.labels, ledger([(Plane.AXIAL, 2, None)]), GEOMETRY, names={1: "liver"})
    assert structure_sentences(single) == [], "with one structure there is no doubt"


def test_a_ledger_of_version_1_speaks_for_all_structures():
    from SparseAnnotateLib.core.strict_json import parse_json, to_text

    old = to_text(ledger()).replace('"version": 2', '"version": 1')
    assert '"version": 1' in old
    read = parse_json(old, Ledger, "a ledger")
    assert [entry.structures for entry in read.entries] == [None] * len(SLICES)
    assert read.version == 2
    assert parse_json(to_text(ledger()), Ledger, "a ledger") == ledger()


def test_many_sets_of_unknown_structures_are_told_apart():
    layers = [((n, slice(None), slice(None)), (n + 1,)) for n in range(300)]
    found = UnknownStructures.on_layers((300, 2, 2), layers)
    assert found.index.dtype == np.uint16
    assert [found.sets[found.index[n, 0, 0] - 1] for n in range(300)] == [(n + 1,) for n in range(300)]


def test_memory_does_not_grow_with_the_number_of_structures():
    shape = (60, 128, 128)
    geometry = VolumeGeometry.from_matrix(shape, np.eye(4))
    names = {n: f"structure {n}" for n in range(1, 101)}
    labels = np.zeros(shape, np.uint8)
    labels[::3, 20:60, 20:60] = 7
    drawn = Ledger()
    for index in range(0, 60, 3):
        drawn = drawn.with_state(
            Plane.AXIAL, index, SliceState.DRAWN, structures=list(names.values())[: 60 + index % 9]
        )
    tracemalloc.start()
    annotation = SparseAnnotation(labels, drawn, geometry, names=names)
    annotation.unknown_structures()
    annotation.decided_mask()
    annotation.restore_drawn(labels.copy())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 512 x 512 x 600 voxels at 6 bytes each would be 0.9 GiB.
    assert peak < 6 * labels.size
