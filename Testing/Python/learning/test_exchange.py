"""nnU-Net's raw datasets with their ignore label, and MONAI bundles that MONAI's own runner executes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from monai.bundle import ConfigParser
from safetensors.torch import load_file

from monai_runner import labels_by_monai
from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    CohortError,
    Ledger,
    LedgerEntry,
    Plane,
    RunError,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.images import read_facts, read_image, read_labels, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.learning.exchange import monai_bundle
from SparseAnnotateLib.learning.exchange.monai_bundle import export_bundle, import_bundle
from SparseAnnotateLib.learning.exchange.nnunet import (
    LEDGER_FOLDER,
    export_nnunet_dataset,
    import_nnunet_dataset,
)
from SparseAnnotateLib.learning.exchange.nnunet_predictions import import_nnunet_predictions
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings


@pytest.fixture
def oblique_cohort(tmp_path):
    """A case with labels 3 and 7 drawn on coronal slices of an oblique, flipped, anisotropic volume, and a bare one."""
    labels = 3 * ball() + 4 * ball(radius=4.0)
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]]) @ np.diag([1.0, 1.0, 2.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, (10.0, -20.0, 30.0)
    geometry = VolumeGeometry.from_matrix(labels.shape, matrix)
    cohort = Cohort.create(tmp_path / "cohort", "oblique", {3: "shell", 7: "kernel", 9: "never drawn"})
    for name in ("drawn", "bare"):
        cohort.add_case(name, noisy_image(labels), geometry)
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(labels, geometry, Plane.CORONAL, [2, 9, 14, 20]))
    return cohort


def test_a_cohort_goes_to_nnunet_and_comes_back_the_same(oblique_cohort, tmp_path):
    folder = export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_Oblique", ["drawn", "bare"], Watch())
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "shell": 1, "kernel": 2, "ignore": 3}
    assert content["numTraining"] == 1
    assert content["channel_names"] == {"0": "image"}
    annotation = oblique_cohort.annotation("drawn")
    labels = read_labels(folder / "labelsTr" / "drawn.nii.gz", annotation.geometry)
    drawn = annotation.supervised_mask()
    assert (labels[~drawn] == 3).all()
    np.testing.assert_array_equal(labels[drawn], np.array([0, 0, 0, 1, 0, 0, 0, 2])[annotation.labels[drawn]])
    image, geometry = read_image(folder / "imagesTs" / "bare_0000.nii.gz")
    assert geometry.difference_from(annotation.geometry) is None
    np.testing.assert_array_equal(image, oblique_cohort.image("bare")[0])

    again, warnings = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    assert warnings == []
    assert again.labels == {1: "shell", 2: "kernel"}
    back = again.annotation("drawn")
    np.testing.assert_array_equal(back.supervised_mask(), drawn)
    np.testing.assert_array_equal(back.drawn_labels() > 0, annotation.drawn_labels() > 0)
    assert back.ledger.indices(Plane.CORONAL) == [2, 9, 14, 20]
    assert not again.ledger("bare").decided


def test_nnunet_s_predictions_come_back_with_the_cohort_s_values_and_what_was_drawn(oblique_cohort, tmp_path):
    folder = export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_Oblique", ["drawn", "bare"], Watch())
    geometry = oblique_cohort.geometry("bare")
    wrong = np.full(geometry.shape, 2, np.uint8)
    for name in ("drawn", "bare"):
        write_image(tmp_path / "out" / f"{name}.nii.gz", wrong, geometry)
    names, warnings = import_nnunet_predictions(oblique_cohort, tmp_path / "out", folder, "nnU-Net", Watch())
    assert names == ["drawn", "bare"]
    assert warnings == []
    bare, drawn = (read_labels(oblique_cohort.prediction_path("nnU-Net", n), geometry) for n in ("bare", "drawn"))
    assert (bare == 7).all()
    annotation = oblique_cohort.annotation("drawn")
    mask = annotation.supervised_mask()
    np.testing.assert_array_equal(drawn[mask], annotation.labels[mask])
    with pytest.raises(BadInputError, match="contains no prediction named like a case"):
        import_nnunet_predictions(oblique_cohort, tmp_path, folder, "nnU-Net", Watch())


GRID = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def raw_dataset(folder, labels_of, labels=None, ignore=True):
    """An nnU-Net raw dataset with a noisy ball for each case; `labels_of`: case to label array, or None."""
    for name, found in labels_of.items():
        write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", noisy_image(ball()), GRID)
        if found is not None:
            grid = VolumeGeometry.from_spacing(found.shape, GRID.spacing)
            write_image(folder / "labelsTr" / f"{name}.nii.gz", found, grid)
    labels = labels or {"background": 0, "ball": 1, **({"ignore": 2} if ignore else {})}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def sparse(indices=(3, 9, 15), axis=0):
    found = np.full(GRID.shape, 2, np.uint8)
    for index in indices:
        layer = tuple(index if a == axis else slice(None) for a in range(3))
        found[layer] = ball()[layer]
    return found


def test_without_an_ignore_label_labels_become_references(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"dense": ball()}, ignore=False)
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert warnings == []
    np.testing.assert_array_equal(cohort.reference("dense"), ball())
    assert not cohort.ledger("dense").decided


def test_with_an_ignore_label_a_whole_volume_is_drawn_and_scribbles_are_reported(tmp_path):
    scribbled = sparse([5])
    scribbled[9, 3:5, 3:5] = 1
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"whole": ball(), "scribbled": scribbled})
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert not cohort.has_reference("whole")
    assert cohort.ledger("whole").indices(Plane.AXIAL) == list(range(24))
    assert not cohort.ledger("whole").indices(Plane.CORONAL)
    np.testing.assert_array_equal(cohort.annotation("whole").labels, ball())
    assert cohort.ledger("scribbled").indices(Plane.AXIAL) == [5]
    assert len(warnings) == 1
    assert "'scribbled': 4 labeled voxels do not lie on a fully labeled slice" in warnings[0]


def test_ignored_voxels_of_annotated_slices_stay_undecided_and_are_ignored_again(tmp_path):
    labels = sparse()
    labels[:, :6, :6] = 2
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": labels})
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert cohort.ledger("a").indices(Plane.AXIAL) == [3, 9, 15]
    annotation = cohort.annotation("a")
    np.testing.assert_array_equal(annotation.supervised_mask(), labels != 2)
    assert annotation.undecided.sum() == 3 * 36
    assert warnings == ["'a': 108 ignored voxels of its labeled slices stay undecided."]
    again = export_nnunet_dataset(cohort, tmp_path / "Dataset008_Again", ["a"], Watch())
    np.testing.assert_array_equal(read_labels(again / "labelsTr" / "a.nii.gz", GRID), labels)


def states(ledger):
    return {entry.key: entry.state for entry in ledger.decided}


@pytest.mark.parametrize("with_ledgers", [True, False])
def test_whole_crossing_empty_and_undecided_slices_come_back_from_an_export(tmp_path, with_ledgers):
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "ball"})
    crossing = SparseAnnotation.from_slices(ball(), GRID, Plane.AXIAL, [0, 6, 12])
    ledger = crossing.ledger
    for index in (3, 16):
        state = SliceState.DRAWN if ball()[:, :, index].any() else SliceState.EMPTY
        ledger = ledger.with_state(Plane.SAGITTAL, index, state)
    undecided = np.zeros(GRID.shape, bool)
    undecided[6, :4, :4] = True
    cases = {
        "crossing": SparseAnnotation(ball(), ledger, GRID),
        "whole": SparseAnnotation.from_slices(ball(), GRID, Plane.AXIAL, range(24)),
        "whole the other way": SparseAnnotation.from_slices(ball(), GRID, Plane.SAGITTAL, range(32)),
        "undecided": SparseAnnotation(ball(), crossing.ledger, GRID, undecided),
        "to do": SparseAnnotation(ball(), Ledger((LedgerEntry(Plane.CORONAL, 4, order=1),)), GRID),
    }
    for name, annotation in cases.items():
        cohort.add_case(name, noisy_image(ball()), GRID)
        cohort.save_annotation(name, annotation)
    folder = export_nnunet_dataset(cohort, tmp_path / "Dataset501_X", list(cases), Watch())
    if not with_ledgers:
        shutil.rmtree(folder / LEDGER_FOLDER)
    again, _ = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    for name, annotation in cases.items():
        back = again.annotation(name)
        np.testing.assert_array_equal(back.drawn_labels(), annotation.drawn_labels())
        np.testing.assert_array_equal(back.supervised_mask(), annotation.supervised_mask())
        if with_ledgers:
            assert back.ledger == annotation.ledger
        elif name != "whole the other way":
            assert states(back.ledger) == states(annotation.ledger)


def test_a_ledger_that_no_longer_fits_its_labels_is_left_out_and_reported(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "ball"})
    for name in ("more", "damaged", "filled in"):
        cohort.add_case(name, noisy_image(ball()), GRID)
        cohort.save_annotation(name, SparseAnnotation.from_slices(ball(), GRID, Plane.AXIAL, [0, 6]))
    folder = export_nnunet_dataset(cohort, tmp_path / "Dataset501_X", ["more", "damaged", "filled in"], Watch())
    write_image(folder / "labelsTr" / "more.nii.gz", sparse((0, 6, 10)), GRID)
    (folder / LEDGER_FOLDER / "damaged.json").write_text("{")
    drawn_on = sparse((0, 6))
    drawn_on[0, 5, 5] = 1
    write_image(folder / "labelsTr" / "filled in.nii.gz", drawn_on, GRID)
    again, warnings = import_nnunet_dataset(folder, tmp_path / "again", Watch())
    assert again.ledger("more").indices(Plane.AXIAL) == [0, 6, 10]
    assert again.ledger("damaged").indices(Plane.AXIAL) == [0, 6]
    assert states(again.ledger("filled in")) == {(Plane.AXIAL, 0): "drawn", (Plane.AXIAL, 6): "drawn"}
    assert len(warnings) == 3
    assert "The ledger of 'damaged' was left out" in warnings[0]
    assert all("no longer match the ledger" in warning for warning in warnings[1:])


@pytest.mark.parametrize("wrong", ["size", "damaged", "no image", "value"])
def test_nothing_is_made_when_one_case_cannot_be_imported(tmp_path, wrong):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse(), "b": sparse()})
    path = folder / "labelsTr" / "b.nii.gz"
    right = path.read_bytes()
    if wrong == "size":
        write_image(path, sparse()[:-1], VolumeGeometry.from_spacing((23, 28, 32), (2.0, 1.0, 1.0)))
    elif wrong == "damaged":
        path.write_bytes(right[: len(right) // 2])
    elif wrong == "value":
        write_image(path, np.where(sparse() == 1, 7, 2).astype(np.uint8), GRID)
    else:
        for image in (folder / "imagesTr").iterdir():
            image.rename(image.with_name(image.name.replace("_0000", "_0001")))
    with pytest.raises(BadInputError):
        import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert not (tmp_path / "ours").exists()
    path.write_bytes(right)
    for image in (folder / "imagesTr").iterdir():
        image.rename(image.with_name(image.name.replace("_0001", "_0000")))
    cohort, _ = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert [case.name for case in cohort.cases] == ["a", "b"]


def test_some_cases_are_imported_and_their_drawings_kept_elsewhere(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse(), "b": sparse()[:-1], "c": sparse()})
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch(), ["a", "c"], tmp_path / "state")
    assert not any("no image" in warning for warning in warnings)
    assert [case.name for case in cohort.cases] == ["a", "c"]
    assert Cohort.open(tmp_path / "ours", tmp_path / "state").annotated_cases() == ["a", "c"]
    assert sorted(p.name for p in (tmp_path / "ours").iterdir() if p.name != ".lock") == ["cohort.json"]
    with pytest.raises(BadInputError, match="has no case 'd'"):
        import_nnunet_dataset(folder, tmp_path / "other", Watch(), ["d"])
    with pytest.raises(BadInputError, match="state' already contains annotations or ledgers"):
        import_nnunet_dataset(folder, tmp_path / "other", Watch(), ["a"], tmp_path / "state")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_an_import_that_is_cancelled_while_it_writes_leaves_nothing_behind(tmp_path, is_there):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse(), "b": sparse()})
    if is_there:
        (tmp_path / "ours").mkdir()
        (tmp_path / "ours" / "notes.txt").write_text("mine")

    def cancel(progress):
        if progress.fraction >= 0.75:
            watch.cancel()

    watch = Watch(cancel)
    with pytest.raises(CancelledError):
        import_nnunet_dataset(folder, tmp_path / "ours", watch)
    left = [p.name for p in (tmp_path / "ours").iterdir() if p.name != ".lock"] if is_there else []
    assert left == (["notes.txt"] if is_there else [])
    assert (tmp_path / "ours").exists() == is_there


def test_a_folder_with_drawings_but_no_cohort_file_is_not_written_to(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse()})
    (tmp_path / "ours" / "ledgers").mkdir(parents=True)
    with pytest.raises(BadInputError, match="of a cohort without its 'cohort.json'"):
        import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    with pytest.raises(CohortError, match="already is a cohort"):
        import_nnunet_dataset(folder, Cohort.create(tmp_path / "old", "old").folder, Watch())


def test_files_that_macos_leaves_beside_images_are_no_images(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse()})
    for path in list(folder.rglob("*.nii.gz")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    (folder / "imagesTr" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert [case.name for case in cohort.cases] == ["a"]
    assert warnings == []


def test_images_without_labels_and_labels_without_image_are_reported(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse(), "bare": None, "gone": sparse()})
    (folder / "imagesTr" / "gone_0000.nii.gz").unlink()
    cohort, warnings = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert [case.name for case in cohort.cases] == ["a", "bare"]
    assert warnings == [
        "'gone' has labels but no image 'gone_0000.nii.gz', so it was left out.",
        "'bare' has no label file in 'labelsTr'.",
    ]


def predictions_of(cohort, tmp_path, labels, values):
    """What an import of predictions that hold `values` says, and the values that it gives."""
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **labels}, "file_ending": ".nii.gz"}
    (tmp_path / "set").mkdir(exist_ok=True)
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
    predicted = np.zeros(GRID.shape, np.uint8)
    for place, value in enumerate(values):
        predicted[place] = value
    write_image(tmp_path / "out" / "a.nii.gz", predicted, GRID)
    _, warnings = import_nnunet_predictions(cohort, tmp_path / "out", tmp_path / "set", "nn", Watch())
    return warnings, np.unique(read_labels(cohort.prediction_path("nn", "a"), GRID)).tolist()


def test_predicted_structures_are_matched_by_name_and_never_by_the_digits_in_it(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "spleen", 3: "liver", 4: "Kidney"})
    cohort.add_case("a", noisy_image(ball()), GRID)
    assert predictions_of(cohort, tmp_path, {"liver": 1, "spleen": 2}, [1, 2]) == ([], [0, 1, 3])
    warnings, values = predictions_of(cohort, tmp_path, {"Liver": 1, "kidney": 2}, [1, 2])
    assert values == [0, 3, 4]
    assert warnings == [
        "'Liver' was imported as 'liver', which differs in upper and lower case only.",
        "'kidney' was imported as 'Kidney', which differs in upper and lower case only.",
    ]
    before = cohort.prediction_path("nn", "a").read_bytes()
    for labels in ({"vertebra 3": 1}, {"label 3": 1}, {"label 9": 1}, {"3": 1}, {"Liver": 1, "LIVER": 2}):
        with pytest.raises(BadInputError, match="which the cohort does not have; it has: 'spleen', 'liver', 'Kidney'"):
            predictions_of(cohort, tmp_path, labels, list(labels.values()))
    with pytest.raises(
        BadInputError, match="contains the label 2, which is not a structure of the dataset: its .* names 1, 3"
    ):
        predictions_of(cohort, tmp_path, {"liver": 1, "spleen": 3}, [1, 2])
    assert cohort.prediction_path("nn", "a").read_bytes() == before
    # What no prediction shows needs no place in the cohort.
    assert predictions_of(cohort, tmp_path, {"liver": 1, "lung": 2}, [1]) == ([], [0, 3])


def test_structures_without_a_name_come_back_by_their_value(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "spleen"})
    cohort.add_case("a", noisy_image(ball()), GRID)
    cohort.save_annotation("a", SparseAnnotation.from_slices(5 * ball(), GRID, Plane.AXIAL, [12]))
    folder = export_nnunet_dataset(cohort, tmp_path / "Dataset501_X", ["a"], Watch())
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "label 5": 1, "ignore": 2}
    write_image(tmp_path / "out" / "a.nii.gz", ball(), GRID)
    import_nnunet_predictions(cohort, tmp_path / "out", folder, "nn", Watch())
    np.testing.assert_array_equal(read_labels(cohort.prediction_path("nn", "a"), GRID), 5 * ball())
    # The value has a meaning in the whole cohort, also when only another case is imported.
    cohort.add_case("b", noisy_image(ball()), GRID)
    write_image(tmp_path / "out" / "b.nii.gz", ball(), GRID)
    assert import_nnunet_predictions(cohort, tmp_path / "out", folder, "nn", Watch(), ["b"])[0] == ["b"]
    np.testing.assert_array_equal(read_labels(cohort.prediction_path("nn", "b"), GRID), 5 * ball())
    made = Origin.from_facts(read_facts(cohort.prediction_path("nn", "a")))
    assert (made.drawn, made.method) == ("axial 12", "nnU-Net")
    assert made.changes(cohort.origin("a")) == ""
    cohort.save_annotation("a", SparseAnnotation.from_slices(5 * ball(), GRID, Plane.AXIAL, [12, 14]))
    assert made.changes(cohort.origin("a")) == "1 more slice has been drawn since"
    cohort.set_labels({1: "spleen", 5: "liver"})
    with pytest.raises(BadInputError, match="contains the structure 'label 5', which the cohort does not have"):
        import_nnunet_predictions(cohort, tmp_path / "out", folder, "nn", Watch())


def test_a_dataset_written_on_windows_is_read(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse()})
    content = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + content.replace(b", ", b",\r\n"))
    cohort, _ = import_nnunet_dataset(folder, tmp_path / "ours", Watch())
    assert cohort.ledger("a").indices(Plane.AXIAL) == [3, 9, 15]


def test_a_raw_dataset_given_as_a_cohort_is_refused_with_the_way_to_convert_it(tmp_path):
    folder = raw_dataset(tmp_path / "Dataset007_Theirs", {"a": sparse()})
    with pytest.raises(CohortError, match="is an nnU-Net raw dataset. Make a cohort of it with .*import-nnunet"):
        Cohort.open(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_names": {"0": "T1", "2": "T2"}}, "numbered from 0 on, not 0, 2"),
        ({"channel_names": {str(n): f"T{n}" for n in range(9)}}, "at most 8 channels, not 9"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "labels that are regions"),
        ({"labels": None}, "is not an nnU-Net v2 raw dataset"),
        ({"labels": {"0": "background", "1": "a"}}, "needs .* 'labels' \\(name to number\\) and 'file_ending'.$"),
        ({"labels": {"background": 0.0, "a": 1.0}}, "needs .* 'labels' \\(name to number\\)"),
        (
            {"labels": {"0": "background", "1": "a"}, "training": []},
            "not an nnU-Net v2 raw dataset: .* as the Medical Segmentation Decathlon .* give the folder itself",
        ),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "need different values"),
        ({"labels": {"background": 0, "a": -1}}, "need different values from 0 on"),
    ],
)
def test_datasets_that_cannot_be_imported_are_refused(tmp_path, change, words):
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content | change))
    with pytest.raises(BadInputError, match=words):
        import_nnunet_dataset(tmp_path, tmp_path / "ours", Watch())
    with pytest.raises(BadInputError, match="is not an nnU-Net v2 raw dataset"):
        import_nnunet_dataset(tmp_path / "nothing", tmp_path / "ours", Watch())


def test_a_dataset_of_the_first_nnunet_is_named_as_such(tmp_path):
    """Its list of images lacks the number of the channel, so it is no cohort as it is."""
    folder = raw_dataset(tmp_path / "Task007_Theirs", {"a": sparse()})
    listed = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "ball"}, "training": [listed]}
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="nnU-Net v1. Convert it with .*'nnUNetv2_convert_old_nnUNet_dataset'"):
        import_nnunet_dataset(folder, tmp_path / "ours", Watch())


def test_a_bad_export_is_refused_in_words(oblique_cohort, tmp_path):
    with pytest.raises(BadInputError, match="names like 'Dataset501_oblique'; 'mine' is not one"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "mine", ["drawn"], Watch())
    with pytest.raises(BadInputError, match="nothing that nnU-Net could learn"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["bare"], Watch())
    export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["drawn"], Watch())
    with pytest.raises(BadInputError, match="already contains a dataset"):
        export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_X", ["drawn"], Watch())


def draw_more(cohort, value: int) -> None:
    """Draw one more coronal slice of the case 'drawn', with this label on all of it."""
    geometry, labels = cohort.geometry("drawn"), cohort.annotation("drawn").labels.copy()
    labels[:, 16] = value
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(labels, geometry, Plane.CORONAL, [2, 9, 14, 16, 20]))


@pytest.mark.parametrize("what", ["a slice", "the image"])
def test_a_case_that_changes_while_its_files_are_written_makes_no_dataset(oblique_cohort, tmp_path, monkeypatch, what):
    folder, real = tmp_path / "Dataset501_Oblique", Cohort.channel_image

    def changing(cohort, *of):
        if what == "a slice":
            draw_more(cohort, 3)
        else:
            write_image(cohort.image_path("drawn"), noisy_image(ball(), 5), cohort.geometry("drawn"))
        return real(cohort, *of)

    monkeypatch.setattr(Cohort, "channel_image", changing)
    with pytest.raises(BadInputError, match="'drawn'"):
        export_nnunet_dataset(oblique_cohort, folder, ["drawn"], Watch())
    assert not (folder / "dataset.json").exists()


def test_a_structure_that_is_drawn_first_while_a_dataset_is_written_makes_none(oblique_cohort, tmp_path):
    folder = tmp_path / "Dataset501_Oblique"
    watch = Watch(lambda progress: draw_more(oblique_cohort, 9) if "'drawn'" in progress.message else None)
    with pytest.raises(BadInputError, match=r"'drawn' changed while .*\(another structure was drawn\)\. Export again"):
        export_nnunet_dataset(oblique_cohort, folder, ["drawn"], watch)
    assert not (folder / "dataset.json").exists()


def test_a_prediction_that_changes_while_it_is_imported_is_refused(oblique_cohort, tmp_path):
    folder = export_nnunet_dataset(oblique_cohort, tmp_path / "Dataset501_Oblique", ["drawn"], Watch())
    geometry, path = oblique_cohort.geometry("bare"), tmp_path / "out" / "bare.nii.gz"
    write_image(path, np.full(geometry.shape, 2, np.uint8), geometry)

    def report(progress) -> None:
        if "reading" in progress.message:
            write_image(path, np.full(geometry.shape, 1, np.uint8), geometry)

    with pytest.raises(BadInputError, match=r"bare.nii.gz' changed while predictions were imported"):
        import_nnunet_predictions(oblique_cohort, tmp_path / "out", folder, "nnU-Net", Watch(report))


def test_a_run_that_is_trained_again_while_it_is_exported_makes_no_bundle(oblique_cohort, tmp_path, monkeypatch):
    train(oblique_cohort, "r", TrainingSettings(**QUICK_TRAINING), ["drawn"])
    real, card = monai_bundle._all_weights, oblique_cohort.run_folder("r") / "card.json"

    def changing(*of):
        card.write_text(card.read_text() + "\n")
        return real(*of)

    monkeypatch.setattr(monai_bundle, "_all_weights", changing)
    with pytest.raises(RunError, match="The run 'r' changed while it was exported"):
        export_bundle(oblique_cohort, "r", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("normalisation", ["z_score", "percentile"])
def test_monai_s_own_runner_executes_a_bundle_and_says_what_we_say(oblique_cohort, tmp_path, normalisation):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 30, "normalisation": normalisation})
    train(oblique_cohort, "r", settings, ["drawn"])
    folder = export_bundle(oblique_cohort, "r", tmp_path / "bundle")
    images = tmp_path / "images"
    image, geometry = oblique_cohort.image("bare")
    write_image(images / "bare.nii.gz", image, geometry)
    theirs, own = labels_by_monai(folder, images, in_own_process=normalisation == "z_score")
    assert (folder / "predictions" / "bare_seg.nii.gz").is_file()
    assert own.difference_from(geometry) is None
    ours = Predictor(oblique_cohort, "r", "cpu").labels("bare")
    assert set(np.unique(theirs)) <= {0, 3, 7}
    # Bits of the last digit may decide where two classes are equally likely.
    assert (theirs == ours).mean() > 0.999
    assert len(np.unique(ours)) > 1


@pytest.mark.parametrize("network", ["unet", "unet_one_scan", "dynunet", "dense_vox_net"])
def test_a_bundle_comes_back_as_a_run(oblique_cohort, tmp_path, network):
    train(oblique_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "network": network}), ["drawn"])
    folder = export_bundle(oblique_cohort, "r", tmp_path / "bundle")
    # MONAI builds the network from the bundle, and loads its weights strictly.
    definition = json.loads((folder / "configs" / "inference.json").read_text())
    assert ("SparseAnnotate" in json.dumps(definition)) is (network == "dense_vox_net")
    parser = ConfigParser({**definition, "device": "cpu"})
    built = parser.get_parsed_content("network_def")
    built.load_state_dict(load_file(folder / "models" / "model.safetensors"), strict=True)
    import_bundle(oblique_cohort, folder, "again")
    one, other = (Predictor(oblique_cohort, name, "cpu").labels("bare") for name in ("r", "again"))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(BadInputError, match="The run 'again' already exists"):
        import_bundle(oblique_cohort, folder, "again")
    with pytest.raises(BadInputError, match="is already a bundle"):
        export_bundle(oblique_cohort, "r", folder)
    (folder / "configs" / "sparse_annotate.json").unlink()
    with pytest.raises(BadInputError, match="is not a bundle that SparseAnnotate wrote"):
        import_bundle(oblique_cohort, folder, "third")


def test_a_run_without_a_3d_model_makes_no_bundle(oblique_cohort, tmp_path):
    train(oblique_cohort, "flat", TrainingSettings(**QUICK_TRAINING, recipe="2d", patch_2d=(32, 32)), ["drawn"])
    with pytest.raises(BadInputError, match="has no 3D model"):
        export_bundle(oblique_cohort, "flat", tmp_path / "bundle")


def test_bundles_exported_before_still_find_dense_vox_net():
    from SparseAnnotateLib.learning.dense_vox_net import DenseVoxNet
    from SparseAnnotateLib.learning.networks import dense_vox_net

    assert DenseVoxNet is dense_vox_net.DenseVoxNet
