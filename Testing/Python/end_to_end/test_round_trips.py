"""Command line, Slicer, a saved scene, the command line again, and Slicer again: only what was drawn changes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.dicom_source import known_codes
from SparseAnnotateLib.core.images import read_labels, read_percent, write_image
from SparseAnnotateLib.core.structure_colors import known_colors
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

OBLIQUE = VolumeGeometry.from_itk(
    (32, 28, 24), (0.7, 0.9, 2.0), (-10.0, 4.0, 33.0), (0, 0.6, 0.8, 1, 0, 0, 0, 0.8, -0.6)
)
LEFT_HANDED = VolumeGeometry.from_matrix((24, 28, 32), np.diag([-0.5, 0.75, 3.0, 1.0]))
NAMES = {1: 'Größe "links"/rechts', 3: "kern's & ~^|; <b>", 4: "nie\u00a0gezeichnet %s {x}"}
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Leber (groß)~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)

KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^64033007^Kidney~^^~Anatomic codes - DICOM master list~^^~^^"
)


def layer_of(geometry: VolumeGeometry, index: int) -> tuple:
    layer: list = [slice(None)] * 3
    layer[Plane.AXIAL.array_axis(geometry)] = index
    return tuple(layer)


@pytest.fixture(params=["oblique", "left-handed"])
def folder(tmp_path, request):
    """A cohort of two cases with all that a case can have, made on the command line's side."""
    geometry = OBLIQUE if request.param == "oblique" else LEFT_HANDED
    cohort = Cohort.create(tmp_path / "Kohorte ä", "Bälle", NAMES)
    labels = ball(geometry.shape) + 2 * ball(geometry.shape, radius=4.0)
    write_image(tmp_path / "reference.nrrd", labels, geometry)
    for place, name in enumerate(("Mü & ler", "b")):
        cohort.add_case(name, noisy_image(labels, place), geometry, tmp_path / "reference.nrrd")
        annotation = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, (6, 10, 14))
        ledger = annotation.ledger.with_state(Plane.AXIAL, 18, SliceState.SKIPPED)
        ledger = ledger.with_state(Plane.AXIAL, 10, SliceState.DRAWN, 12.5, [NAMES[1]])
        ledger = ledger.with_state(Plane.CORONAL, 3, SliceState.TODO)
        undecided = np.zeros(labels.shape, bool)
        undecided[layer_of(geometry, 14)][2:5, 2:5] = True
        cohort.save_annotation(name, SparseAnnotation(labels, ledger, geometry, undecided, cohort.labels))
        cohort.add_correction(name, Stroke(np.array([5000, 5001, 5002]), 1, True, 3.0))
    train(cohort, "Lauf & 1", TrainingSettings(**{**QUICK_TRAINING, "patch": (16, 16, 16), "iterations": 2}))
    return cohort.folder


def on_command_line(folder) -> None:
    """Make fills and predictions with what is drawn now."""
    assert main(["fill", str(folder), "--method", "shape", "--quiet"]) == 0
    assert main(["predict", str(folder), "--run", "Lauf & 1", "--device", "cpu", "--uncertainty", "--quiet"]) == 0


def everything_in(folder) -> dict[str, bytes]:
    parts = ("ledgers", "annotations", "corrections", "images", "fills", "predictions", "applied", "runs")
    found = [path for part in parts for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "cohort.json", *found)}


@dataclass(frozen=True)
class Segments:
    """Names, colors and terminology of a segmentation's segments."""

    names: list[str]
    colors: list[tuple[float, ...]]
    terminology: list[str]

    @classmethod
    def of(cls, node) -> Segments:
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(place) for place in range(segmentation.GetNumberOfSegments())]
        tags = [scene.codes_of(node).get(segment.GetName()) for segment in segments]
        return cls(
            [segment.GetName() for segment in segments],
            [segment.GetColor() for segment in segments],
            [tag.for_slicer() if tag is not None else "" for tag in tags],
        )


def segmentations(mrml) -> dict[str, Any]:
    """The segmentations of the scene by their names."""
    return {node.GetName(): node for node in mrml.util.getNodesByClass("vtkMRMLSegmentationNode")}


def require_same_as_folder(mrml, logic, volume, folder, with_results: bool = True) -> None:
    """All that the scene shows of a case is what its folder has, voxel by voxel."""
    cohort, name = Cohort.open(folder), scene.opened_case(volume).case
    image, geometry = cohort.image(name)
    drawing, value_of = logic.drawnIn(volume), {name: value for value, name in cohort.labels.items()}
    np.testing.assert_array_equal(mrml.util.arrayFromVolume(volume), image)
    assert mrml.util.arrayFromVolume(volume).dtype == image.dtype
    assert scene.geometry_of(volume).difference_from(geometry) is None
    own, stored = scene.annotation_of(volume, drawing, value_of), cohort.annotation(name)
    np.testing.assert_array_equal(own.drawn_labels(), stored.drawn_labels())
    np.testing.assert_array_equal(own.undecided, stored.undecided)
    expected = [replace(e, structures=e.structures or tuple(value_of)) for e in cohort.ledger(name).decided]
    assert logic.ledger(volume).decided == expected
    assert logic.ledger(volume).todo == cohort.ledger(name).todo
    assert logic.corrections(volume).strokes == cohort.corrections(name).strokes
    reference = segmentations(mrml)[f"{volume.GetName()} reference"]
    np.testing.assert_array_equal(scene.labels_of(reference, volume, value_of), cohort.reference(name))
    if not with_results:
        return
    paths = (
        (False, cohort.fill_path(name), cohort.fill_confidence_path(name)),
        (True, cohort.prediction_path("Lauf & 1", name), cohort.uncertainty_path("Lauf & 1", name, "confidence")),
    )
    for of_run, path, confidence_path in paths:
        result = logic.panel.latest_result(volume, of_run=of_run)
        values = {name: value_of[name] for name in scene.segment_names(result)}
        np.testing.assert_array_equal(scene.labels_of(result, volume, values), read_labels(path, geometry))
        confidence = mrml.util.arrayFromVolume(logic.confidenceNode(result))
        np.testing.assert_array_equal(confidence, read_percent(confidence_path, geometry))


def draw(mrml, volume, logic, index: int, name: str) -> None:
    """Paint a square on an axial slice, and mark it as drawn."""
    segmentation = logic.drawnIn(volume)
    identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume).copy()
    others = np.zeros_like(mask)
    for other in segmentation.GetSegmentation().GetSegmentIDs():
        if other != identifier:
            others |= mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, other, volume)
    layer = layer_of(scene.geometry_of(volume), index)
    mask[layer][4:9, 5:9] = 1 - others[layer][4:9, 5:9]
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, volume)
    logic.markDrawn(volume, "axial", index)


def provenance_of(logic, volume) -> dict[str, Any]:
    found = logic.provenance(volume)
    return {name: (found.sources == value).tolist() for value, name in found.names.items()}


def close(mrml, logic) -> None:
    logic.forgetScene()
    mrml.mrmlScene.Clear(0)


def test_nothing_but_what_was_drawn_changes_from_door_to_door(mrml, logic, folder, embedded, tmp_path):
    on_command_line(folder)
    before, labels_before = everything_in(folder), Cohort.open(folder).annotation("b").labels
    volumes = logic.openCohort(folder)
    assert not logic.openingNotes()
    for volume in volumes:
        require_same_as_folder(mrml, logic, volume, folder)
    assert everything_in(folder) == before

    # In Slicer: a color, a terminology, a drawn slice, and a result that is applied.
    first, second = volumes
    segment = logic.drawnIn(first).GetSegmentation().GetNthSegment(0)
    segment.SetColor(0.1, 0.2, 0.7)
    segment.SetTag(segment.GetTerminologyEntryTagName(), LIVER)
    draw(mrml, first, logic, 8, NAMES[3])
    logic.applyFill(first, logic.fillBetweenSlices(first, "shape"))
    segments, sources = Segments.of(logic.drawnIn(first)), provenance_of(logic, first)
    assert {"drawn", "corrected", "filled (shape)"} <= set(sources)
    drawn_in = mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
    shown = {n.GetName(): scene.labels_of(n, first, scene.label_values(n)) for n in drawn_in if n.GetName()[0] == "M"}
    embedded.save_scene(tmp_path / "Szene.mrb")
    close(mrml, logic)
    closed = everything_in(folder)
    assert not [key for key in closed if Path(key).stem == "b" and closed[key] != before[key]]

    # The scene again: it is as it was saved, and agrees with the folder.
    embedded.load_scene(tmp_path / "Szene.mrb")
    logic.cohortFolder = folder
    first, second = (scene.opened_volumes(str(folder))[key] for key in sorted(scene.opened_volumes(str(folder))))
    logic.markSkipped(second, "axial", 20)  # brings back what Slicer has turned round
    logic.markSkipped(first, "axial", 20)
    assert Segments.of(logic.drawnIn(first)) == segments
    assert provenance_of(logic, first) == sources
    nodes = segmentations(mrml)
    for name, labels in shown.items():
        node = nodes[name]
        np.testing.assert_array_equal(scene.labels_of(node, first, scene.label_values(node)), labels, err_msg=name)
    for volume in (first, second):
        require_same_as_folder(mrml, logic, volume, folder, with_results=False)
    again = everything_in(folder)
    changed = {key for key in {*closed, *again} if closed.get(key) != again.get(key)}
    # Of the other case the labels are written with its ledger, the grid perhaps with other last digits.
    changed -= {"annotations/b.nrrd", "annotations/undecided/b.nrrd"}
    assert sorted(changed) == ["ledgers/Mü & ler.json", "ledgers/b.json"]
    np.testing.assert_array_equal(Cohort.open(folder).annotation("b").labels, labels_before)
    close(mrml, logic)

    # On the command line, and in a new scene.
    on_command_line(folder)
    assert main(["report", str(folder), "--quiet"]) == 0
    before = everything_in(folder)
    first, second = logic.openCohort(folder)
    for volume in (first, second):
        require_same_as_folder(mrml, logic, volume, folder)
    assert Segments.of(logic.drawnIn(first)) == segments
    assert Segments.of(logic.panel.latest_result(first)).colors[0] == segments.colors[0]
    assert provenance_of(logic, first) == sources
    close(mrml, logic)
    assert everything_in(folder) == before


def test_two_segments_of_the_same_name_are_refused_and_nothing_is_written(mrml, logic, folder):
    before = everything_in(folder)
    (volume,) = logic.openCohort(folder, cases=["b"])
    logic.drawnIn(volume).GetSegmentation().AddEmptySegment("again", NAMES[1])
    with pytest.raises(BadInputError, match="several segments named"):
        logic.markEmpty(volume, "axial", 0)
    with pytest.raises(BadInputError, match="several segments named"):
        logic.fillBetweenSlices(volume, "shape")
    assert everything_in(folder) == before
    logic.drawnIn(volume).GetSegmentation().RemoveSegment("again")
    logic.markEmpty(volume, "axial", 0)
    assert Cohort.open(folder).ledger("b").is_decided(Plane.AXIAL, 0)


class Film:
    """A sequence of oblique frames, which one volume shows."""

    def __init__(self, mrml):
        self._mrml, self._logic = mrml, mrml.vtkSlicerSequencesLogic()
        self._logic.SetMRMLScene(mrml.mrmlScene)
        self.labels = [ball(OBLIQUE.shape, radius=radius) for radius in (6.0, 8.0)]
        sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Herz")
        sequence.SetIndexName("time")
        for number, labels in enumerate(self.labels):
            volume = mrml.util.addVolumeFromArray(noisy_image(labels, number), OBLIQUE.matrix, f"frame {number}")
            sequence.SetDataNodeAtValue(volume, str(number))
            mrml.mrmlScene.RemoveNode(volume)
        browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        browser.AddSynchronizedSequenceNodeID(sequence.GetID())
        self._logic.UpdateProxyNodesFromSequences(browser)

    @property
    def browser(self):
        return self._mrml.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0]

    @property
    def volume(self):
        return self.browser.GetProxyNode(self.browser.GetMasterSequenceNode())

    def go_to(self, frame: int):
        self.browser.SetSelectedItemNumber(frame)
        self._logic.UpdateProxyNodesFromSequences(self.browser)
        return self.volume


def test_the_frames_of_a_sequence_are_as_they_were_in_a_scene_that_is_opened_again(mrml, logic, embedded, tmp_path):
    film, cohort_folder = Film(mrml), tmp_path / "frames"
    logic.cohortFolder = cohort_folder
    for number, labels in enumerate(film.labels):
        volume = film.go_to(number)
        segmentation = logic.segmentationNode(volume)
        segmentation.GetSegmentation().AddEmptySegment("a", NAMES[1])
        drawn = np.zeros_like(labels)
        for index in (8 + number, 12, 16):
            drawn[layer_of(OBLIQUE, index)] = labels[layer_of(OBLIQUE, index)]
        mrml.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, "a", volume)
        for index in (8 + number, 12, 16):
            logic.markDrawn(volume, "axial", index)
        logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))

    def found() -> list:
        states = []
        for number in range(2):
            volume = film.go_to(number)
            drawing = logic.drawnIn(volume)
            labels = scene.labels_of(drawing, volume, {NAMES[1]: 1})
            geometry = scene.geometry_of(volume)
            image = mrml.util.arrayFromVolume(volume)
            decided = [entry.key for entry in logic.ledger(volume).decided]
            states.append(
                (scene.case_of(volume), decided, provenance_of(logic, volume), geometry, labels, image.copy())
            )
        return states

    def require_equal(one: list, other: list) -> None:
        for first, second in zip(one, other, strict=True):
            assert first[:3] == second[:3]
            assert first[3].difference_from(second[3]) is None
            np.testing.assert_array_equal(first[4], second[4])
            np.testing.assert_array_equal(first[5], second[5])

    before = found()
    assert [len(state[1]) for state in before] == [3, 3]
    assert before[0][0] != before[1][0], "each frame is a case of its own"
    for round_trip in range(2):
        embedded.save_scene(tmp_path / f"film {round_trip}.mrb")
        close(mrml, logic)
        embedded.load_scene(tmp_path / f"film {round_trip}.mrb")
        logic.cohortFolder = cohort_folder
        require_equal(before, found())
    # Each in the cohort folder, for the command line.
    for number in range(2):
        film.go_to(number)
        list(logic._exportingLabels([film.volume]))
    cohort = Cohort.open(cohort_folder)
    assert sorted(case.name for case in cohort.cases) == sorted(state[0] for state in before)
    for name, decided, _sources, geometry, _labels, image in before:
        stored, own = cohort.image(name)
        np.testing.assert_array_equal(stored, image)
        assert own.difference_from(geometry) is None
        assert [entry.key for entry in cohort.ledger(name).decided] == decided
    assert main(["fill", str(cohort_folder), "--method", "shape", "--quiet"]) == 0
    assert everything_in(cohort_folder)


def test_a_second_cohort_is_opened_beside_the_first(mrml, logic, folder, tmp_path):
    other = Cohort.create(tmp_path / "other", "other", {1: NAMES[1], 2: "only here"})
    other.add_case("b", noisy_image(ball()), VolumeGeometry.from_spacing((24, 28, 32), (1.0, 1.0, 1.0)))
    before = everything_in(folder)
    (first,) = logic.openCohort(folder, cases=["b"])
    (second,) = logic.openCohort(other.folder)
    assert scene.segment_names(logic.drawnIn(second)) == [NAMES[1], "only here"]
    logic.markEmpty(second, "axial", 0)
    assert Cohort.open(other.folder).ledger("b").is_decided(Plane.AXIAL, 0)
    assert everything_in(folder) == before
    # Each goes into its own folder, whichever is selected.
    logic.markEmpty(first, "axial", 0)
    assert Cohort.open(folder).ledger("b").is_decided(Plane.AXIAL, 0)
    assert Cohort.open(other.folder).labels == {1: NAMES[1], 2: "only here"}
    with pytest.raises(BadInputError, match="belongs to the cohort in"):
        logic.fillBetweenSlices(first, "shape", earlier=["fill"])


def test_damaged_codes_are_named_when_a_case_is_opened_and_the_colors_are_shown(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["b"])
    logic.drawnIn(volume).GetSegmentation().GetNthSegment(1).SetColor(0.25, 0.5, 0.75)
    logic.markEmpty(volume, "axial", 0)
    close(mrml, logic)
    codes = folder / "dicom" / "terminology.json"
    codes.parent.mkdir(exist_ok=True)
    codes.write_text("{")
    (volume,) = logic.openCohort(folder, cases=["b"])
    (note,) = logic.openingNotes()
    assert str(codes) in note
    assert Segments.of(logic.drawnIn(volume)).colors[1] == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("damages", ["the file", "the folder"])
def test_codes_that_cannot_be_kept_stop_no_work_and_are_kept_once_that_is_mended(logic, folder, damages):
    (volume,) = logic.openCohort(folder, cases=["b"])
    logic.drawnIn(volume).GetSegmentation().GetNthSegment(0).SetTag("TerminologyEntry", LIVER)
    cohort, codes = Cohort.open(folder), folder / "dicom" / "terminology.json"
    if damages == "the file":
        codes.parent.mkdir(exist_ok=True)
        codes.write_text("{")
    else:
        codes.parent.write_text("a file in its place")
    for index in (0, 1):
        logic.markEmpty(volume, "axial", index)
        assert cohort.ledger("b").is_decided(Plane.AXIAL, index)
        assert "but not the codes of the structures" in logic.panel.codes_problem()
    assert logic.fillBetweenSlices(volume, "shape") is not None
    (codes if damages == "the file" else codes.parent).unlink()
    logic.markEmpty(volume, "axial", 2)
    assert logic.panel.codes_problem() == ""
    assert known_codes(cohort)[NAMES[1]].for_slicer() == LIVER


def test_damaged_colors_are_named_when_a_case_is_opened_and_replaced_with_the_next_slice(mrml, logic, folder):
    (folder / "colors.json").write_text("{")
    (volume,) = logic.openCohort(folder, cases=["b"])
    assert "colors.json" in logic.openingNotes()[0]
    logic.drawnIn(volume).GetSegmentation().GetNthSegment(1).SetColor(0.25, 0.5, 0.75)
    logic.markEmpty(volume, "axial", 0)
    close(mrml, logic)
    (volume,) = logic.openCohort(folder, cases=["b"])
    assert not logic.openingNotes()
    assert Segments.of(logic.drawnIn(volume)).colors[1] == (0.25, 0.5, 0.75)


def test_odd_colors_in_the_file_do_not_keep_drawings_from_being_stored(mrml, logic, folder):
    (volume,) = logic.openCohort(folder, cases=["b"])
    colors = {"structures": {NAMES[1]: [1e308, -5.0, 0.5]}, "format": "SparseAnnotate colors", "version": 1}
    (folder / "colors.json").write_text(json.dumps(colors))
    logic.markEmpty(volume, "axial", 0)
    assert Cohort.open(folder).ledger("b").is_decided(Plane.AXIAL, 0)


def known_looks(folder, name: str) -> tuple:
    cohort = Cohort.open(folder)
    codes = known_codes(cohort).get(name)
    return known_colors(cohort).get(name), codes.for_slicer() if codes is not None else None


@pytest.mark.parametrize("is_saved_between", [False, True])
def test_the_last_change_of_a_color_or_a_code_stays_whichever_case_is_marked_last(
    mrml, logic, embedded, folder, tmp_path, is_saved_between
):
    name, red, blue = NAMES[1], (0.9, 0.123456789, 0.1), (0.123456789, 0.1, 0.9)
    nodes = logic.openCohort(folder)
    first, second = (logic.drawnIn(node).GetSegmentation().GetNthSegment(0) for node in nodes)
    for number, segment in enumerate((first, second)):
        segment.SetColor(*red)
        segment.SetTag("TerminologyEntry", KIDNEY)
        logic.markEmpty(nodes[number], "axial", 0)
    assert known_looks(folder, name) == (red, KIDNEY)
    if is_saved_between:
        embedded.save_scene(tmp_path / "scene.mrb")
        close(mrml, logic)
        embedded.load_scene(tmp_path / "scene.mrb")
        logic.cohortFolder = folder
        found = scene.opened_volumes(str(folder))
        nodes = [found[key] for key in sorted(found)]
        first, second = (logic.drawnIn(node).GetSegmentation().GetNthSegment(0) for node in nodes)
    first.SetColor(*blue)
    first.SetTag("TerminologyEntry", LIVER)
    logic.markEmpty(nodes[0], "axial", 1)
    logic.markEmpty(nodes[1], "axial", 1)
    assert known_looks(folder, name) == (blue, LIVER)
    # What is changed in the other case after that is newer again, also back to what was there before.
    second.SetColor(0.1, 0.9, 0.1)
    second.SetTag("TerminologyEntry", LIVER)
    logic.markEmpty(nodes[1], "axial", 2)
    logic.markEmpty(nodes[0], "axial", 2)
    assert known_looks(folder, name) == ((0.1, 0.9, 0.1), LIVER)
    second.SetColor(*red)
    second.SetTag("TerminologyEntry", KIDNEY)
    logic.markEmpty(nodes[1], "axial", 3)
    logic.markEmpty(nodes[0], "axial", 3)
    assert known_looks(folder, name) == (red, KIDNEY)


def test_the_last_color_stays_while_the_codes_cannot_be_written_and_the_last_code_while_the_colors_cannot(
    mrml, logic, folder, monkeypatch
):
    name, red, blue = NAMES[1], (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
    nodes = logic.openCohort(folder)
    segments = [logic.drawnIn(node).GetSegmentation().GetNthSegment(0) for node in nodes]
    codes = folder / "dicom" / "terminology.json"
    codes.parent.mkdir()
    codes.write_text("{")
    for number, color in enumerate((red, blue)):
        segments[number].SetColor(*color)
        logic.markEmpty(nodes[number], "axial", 0)
    logic.markEmpty(nodes[0], "axial", 1)
    assert known_colors(Cohort.open(folder))[name] == blue
    codes.unlink()
    for number, tag in enumerate((KIDNEY, LIVER)):
        segments[number].SetTag("TerminologyEntry", tag)
    with monkeypatch.context() as unwritable:
        unwritable.setattr("SparseAnnotateLib.logic.structure_looks.note_colors", lambda *_: False)
        for number, index in ((0, 2), (1, 2), (0, 3)):
            logic.markEmpty(nodes[number], "axial", index)
    assert known_looks(folder, name) == (blue, LIVER)


def test_volumes_that_were_not_opened_write_no_earlier_color_back(mrml, logic, tmp_path):
    logic.cohortFolder = tmp_path / "new"
    nodes = []
    for number in range(3):
        node = mrml.util.addVolumeFromArray(noisy_image(ball(), number), np.diag([-1.0, 1.0, 2.0, 1.0]), f"v{number}")
        segment = logic.segmentationNode(node).GetSegmentation()
        segment.AddEmptySegment("ball", "ball")
        segment.GetSegment("ball").SetColor(0.9, 0.1, 0.1)
        logic.markEmpty(node, "axial", 0)
        nodes.append(node)
    logic.segmentationNode(nodes[1]).GetSegmentation().GetSegment("ball").SetColor(0.1, 0.1, 0.9)
    for node in nodes:
        list(logic._exportingLabels([node]))
    assert known_looks(tmp_path / "new", "ball")[0] == (0.1, 0.1, 0.9)
    # In another scene, a volume that has its own from before says nothing newer.
    close(mrml, logic)
    logic.cohortFolder = tmp_path / "new"
    node = mrml.util.addVolumeFromArray(noisy_image(ball(), 7), np.diag([-1.0, 1.0, 2.0, 1.0]), "v7")
    segment = logic.segmentationNode(node).GetSegmentation()
    segment.AddEmptySegment("ball", "ball")
    logic.markEmpty(node, "axial", 0)
    list(logic._exportingLabels([node]))
    assert known_looks(tmp_path / "new", "ball")[0] == (0.1, 0.1, 0.9)
    segment.GetSegment("ball").SetColor(0.1, 0.9, 0.1)
    list(logic._exportingLabels([node]))
    assert known_looks(tmp_path / "new", "ball")[0] == (0.1, 0.9, 0.1)
