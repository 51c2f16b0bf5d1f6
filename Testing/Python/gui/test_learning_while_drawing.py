"""Learn while I draw, in the panel and from the console, with a real worker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, Plane, Progress, WorkerError
from SparseAnnotateLib.runs.drawing_record import DrawingRecord
from SparseAnnotateLib.runs.run_folder import RunFolder


@pytest.fixture
def drawn(panel):
    """The panel with a volume of which the first recommended slice is drawn; the next one is shown."""
    panel.volume = panel.add_ball()
    panel.recommend()
    panel.add_segment(panel.volume)
    mark_next(panel)
    return panel


def mark_next(panel):
    panel.paint(panel.panel.draw.table.chosen().index)
    panel.ui.drawnButton.click()


def is_learning(panel, steps: int = 1):
    """Whether the panel shows that a model has taken so many steps."""
    words = panel.ui.learningLabel.text.split()
    return "step" in words and int(words[words.index("step") + 1].strip(",.")) >= steps


def previews(panel):
    """The segmentations that show a suggestion."""
    nodes = panel.mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute("SparseAnnotate.SuggestionPreview")]


def stop(panel):
    panel.ui.learnCheckBox.checked = False
    panel.until(lambda: not panel.logic.panel.is_learning)
    panel.idle()


def learned(panel):
    """The slices that the run has learned from."""
    return [one.index for one in DrawingRecord(panel.logic.cohort().run_folder("live 1")).slices]


def test_a_person_draws_while_a_model_learns(drawn):
    ui, first = drawn.ui, drawn.items[0]
    ui.learnCheckBox.checked = True
    assert drawn.logic.learningRun == "live 1"
    drawn.until(lambda: is_learning(drawn, 40))
    assert "learning from 1 drawn slice" in ui.learningLabel.text
    assert not drawn.logic.isBusy, "nothing else has to wait for it"
    # The slice at hand is suggested, with what is known of how good that is.
    drawn.until(lambda: not ui.offerFrame.isHidden())
    item = drawn.panel.draw.table.chosen()
    assert ui.offerLabel.text.startswith(f"The model suggests a drawing for axial slice {item.index}.")
    assert "How good it is will be measured on the next slice" in ui.offerLabel.text
    assert ui.offerButton.text == "Use it"
    # Painting is an answer, too.
    mark_next(drawn)
    drawn.until(lambda: len(learned(drawn)) == 2)
    assert learned(drawn) == [first.index, item.index]
    drawn.until(lambda: "On the last slice you drew, before it learned from it, its Dice was" in ui.offerLabel.text)
    assert f"axial slice {drawn.panel.draw.table.chosen().index}." in ui.offerLabel.text
    # Filling does not wait, either.
    ui.fillButton.click()
    drawn.idle()
    assert "shows the fill" in drawn.message
    assert drawn.logic.panel.is_learning
    stop(drawn)
    assert "'live 1' has stopped learning" in drawn.message
    card = RunFolder(drawn.logic.cohort().run_folder("live 1")).card()
    assert (card.slices, card.is_live) == (2, True)
    assert ui.learningLabel.text == ""
    assert ui.offerFrame.isHidden()


def test_a_suggestion_that_is_used_is_put_into_the_drawing_and_can_be_undone(drawn):
    ui, logic = drawn.ui, drawn.logic
    ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 150))
    item = drawn.panel.draw.table.chosen()
    suggestion = logic.suggestSlice(drawn.volume, item.plane, item.index)
    assert suggestion.masks["ball"].any()
    drawn.until(lambda: ui.offerButton.text == "Use it" and not ui.offerFrame.isHidden())
    (preview,) = previews(drawn)
    seen = scene.labels_of(preview, drawn.volume, {"ball": 1})
    assert seen[item.index].any()
    assert not np.delete(seen, item.index, axis=0).any()
    assert not logic.panel.slice_masks(drawn.volume, item.plane, item.index), "nothing is drawn yet"
    ui.offerButton.click()
    assert not previews(drawn)
    put = logic.panel.slice_masks(drawn.volume, item.plane, item.index)["ball"]
    truth = drawn.labels[item.index] > 0
    assert 2 * (put & truth).sum() / (put.sum() + truth.sum()) > 0.7
    assert drawn.message == "Initialized from live 1. Correct it, then click Drawn. Undo reverts it."
    assert ui.offerFrame.isHidden()
    assert logic.ledger(drawn.volume).entry(Plane.AXIAL, item.index).started_from == "live 1"
    logic.undo(drawn.volume)
    assert not logic.panel.slice_masks(drawn.volume, item.plane, item.index)
    stop(drawn)


def test_a_slice_that_is_marked_and_cleared_again_while_it_learns(drawn):
    ui = drawn.ui
    ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 3))
    row = next(n for n, one in enumerate(drawn.items) if one.index == drawn.panel.draw.table.chosen().index)
    mark_next(drawn)
    drawn.until(lambda: "2 drawn slices" in ui.learningLabel.text)
    drawn.panel.draw.table.choose(row)
    ui.toDoButton.click()
    drawn.until(lambda: "1 drawn slice," in ui.learningLabel.text)
    stop(drawn)


def test_it_begins_with_the_first_drawn_slice(panel):
    panel.volume = panel.add_ball()
    panel.recommend()
    panel.add_segment(panel.volume)
    panel.ui.learnCheckBox.checked = True
    assert panel.ui.learningLabel.text == "begins with the first drawn slice"
    assert not panel.logic.panel.is_learning
    mark_next(panel)
    panel.until(lambda: is_learning(panel))
    stop(panel)


def test_it_is_continued_and_not_begun_again(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 20))
    stop(drawn)
    before = RunFolder(drawn.logic.cohort().run_folder("live 1")).card().last.iterations
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, before + 5))
    stop(drawn)
    assert drawn.logic.runs() == ["live 1"]


def test_a_killed_learning_worker_is_said_and_continued(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 5))
    mark_next(drawn)
    drawn.until(lambda: len(learned(drawn)) == 2)
    drawn.logic.session.learning_jobs.clients[0].transport.process.kill()
    drawn.until(lambda: not drawn.logic.panel.is_learning)
    assert "The worker process ended during 'train'" in drawn.message
    assert not drawn.ui.learnCheckBox.checked
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 5))
    assert "2 drawn slices" in drawn.ui.learningLabel.text
    stop(drawn)


def test_closing_the_scene_stops_it(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 2))
    folder = RunFolder(drawn.logic.cohort().run_folder("live 1"))
    drawn.mrml.mrmlScene.Clear()
    drawn.until(lambda: not drawn.logic.panel.is_learning)
    drawn.idle()
    assert not drawn.ui.learnCheckBox.checked
    assert drawn.ui.learningLabel.text == ""
    drawn.until(lambda: folder.is_finished)


def test_corrections_are_handed_on(drawn):
    drawn.ui.fillButton.click()
    drawn.idle()
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 2))
    item = drawn.panel.draw.table.chosen()
    voxel = (16, 14, item.index)
    point = (-voxel[0] * 1.0, voxel[1] * 1.0, voxel[2] * 2.0)
    drawn.logic.correct(drawn.volume, "ball", point)
    path = drawn.logic.cohort().corrections_path(drawn.logic.cohort().cases[0].name)
    drawn.until(path.is_file)
    stop(drawn)


def test_from_the_console(drawn):
    logic, volume, ended = drawn.logic, drawn.volume, []
    with pytest.raises(BadInputError, match="No model is learning"):
        logic.suggestSlice(volume, "axial", 3)
    run = logic.learnWhileDrawing(
        [volume], "mine", {"recipe": "3d", "patch": [16, 16, 16]}, onDone=lambda *end: ended.append(end)
    )
    assert run == logic.learningRun == "mine"
    with pytest.raises(WorkerError, match="'mine' is already learning"):
        logic.learnWhileDrawing([volume])
    folder = RunFolder(logic.cohort().run_folder("mine"))
    drawn.until(lambda: folder.metrics_path.is_file())
    logic.stopLearning()
    drawn.until(lambda: ended)
    assert ended[0][1] is None or "ancel" in ended[0][1].message
    drawn.until(lambda: folder.is_finished)
    # What has been stored answers later.
    found = logic.suggestSlice(volume, "axial", 3, "mine")
    assert set(found.masks) == {"ball"}
    assert found.masks["ball"].shape == drawn.labels[3].shape
    decided = drawn.items[0]
    with pytest.raises(BadInputError, match="is already marked as drawn"):
        logic.useSuggestion(logic.suggestSlice(volume, decided.plane, decided.index, "mine"))


def test_nothing_drawn(panel):
    volume = panel.add_ball()
    with pytest.raises(BadInputError, match="nothing to learn from"):
        panel.logic.learnWhileDrawing([volume])


def test_a_live_run_is_not_continued_by_train(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 2))
    stop(drawn)
    drawn.panel.train._run_chosen("live 1")
    assert not drawn.ui.continueButton.enabled
    assert "check 'Learn while I draw' in Draw" in drawn.ui.continueButton.toolTip


def test_two_writers_bring_each_other_to_an_end(drawn):
    """A job begins to write while what was drawn is being handed on, piece by piece."""
    export = drawn.logic._export
    first, second = export.labels([drawn.volume]), export.request([drawn.volume])
    next(first)
    request = result_of(second)
    assert result_of(first) == {"ball": 1}
    assert request["cases"] == [drawn.logic.cohort().cases[0].name]
    assert np.count_nonzero(drawn.logic.cohort().annotation(request["cases"][0]).labels)


def result_of(steps):
    """What steps return in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_failed_writer_does_not_fail_the_other(drawn, monkeypatch):
    from SparseAnnotateLib import scene

    export, exporting = drawn.logic._export, scene.exporting_case

    def failing(*arguments):
        yield 0.5
        raise BadInputError("The disk has gone.")

    monkeypatch.setattr(scene, "exporting_case", failing)
    first = export.labels([drawn.volume])
    next(first)
    monkeypatch.setattr(scene, "exporting_case", exporting)
    second = export.labels([drawn.volume])
    assert result_of(second) == {"ball": 1}
    with pytest.raises(BadInputError, match="The disk has gone"):
        for _step in first:
            pass


def test_a_slice_that_could_not_be_handed_on_is_handed_on_later(drawn, monkeypatch):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.logic import live_learning

    monkeypatch.setattr(live_learning, "_TRY_AGAIN_AFTER", 0.5)
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 3))
    exporting, failed = scene.exporting_case, []

    def failing(*arguments):
        if not failed:
            failed.append(True)
            raise BadInputError("The disk was full for a moment.")
        yield from exporting(*arguments)

    monkeypatch.setattr(scene, "exporting_case", failing)
    mark_next(drawn)
    drawn.until(lambda: "2 drawn slices" in drawn.ui.learningLabel.text)
    assert failed
    stop(drawn)


def test_a_slice_marked_while_the_first_ones_are_written_is_learned_from(drawn, monkeypatch):
    from SparseAnnotateLib import scene

    exporting, marked = scene.exporting_case, []

    def marking(*arguments):
        yield from exporting(*arguments)
        if not marked:
            marked.append(True)
            item = drawn.panel.draw.table.chosen()
            drawn.logic.markEmpty(item.volumeNode, item.plane, item.index)

    monkeypatch.setattr(scene, "exporting_case", marking)
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: "2 drawn slices" in drawn.ui.learningLabel.text)
    stop(drawn)


def test_a_volume_that_is_checked_later_is_learned_from_too(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 3))
    other = drawn.add_ball("other")
    drawn.ui.allVolumesButton.click()
    assert other in drawn.panel.session.volumes
    drawn.idle()
    drawn.add_segment(other)
    assert drawn.logic.panel.are_learned_from([other]), "nothing is drawn on it"
    drawn.logic.markEmpty(other, "axial", 2)
    assert not drawn.logic.panel.are_learned_from([other])
    drawn.panel.refresh()
    drawn.until(lambda: "2 drawn slices" in drawn.ui.learningLabel.text)
    stop(drawn)
    card = RunFolder(drawn.logic.cohort().run_folder("live 1")).card()
    assert len(card.cases) == 2


def test_a_volume_that_is_unchecked_and_checked_later_does_not_end_the_run(drawn):
    other = drawn.add_ball("other")
    drawn.ui.allVolumesButton.click()
    drawn.add_segment(other)
    drawn.logic.markEmpty(other, "axial", 2)
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 3) and "2 drawn slices" in drawn.ui.learningLabel.text)
    drawn.logic.markToDo(other, "axial", 2)
    drawn.until(lambda: "1 drawn slice," in drawn.ui.learningLabel.text)
    stop(drawn)
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 5))
    stop(drawn)
    assert drawn.logic.runs() == ["live 1"]


def test_a_structure_that_the_run_does_not_know_stays_as_it_is(drawn):
    drawn.logic.learnWhileDrawing([drawn.volume])
    drawn.until(lambda: RunFolder(drawn.logic.cohort().run_folder("live 1")).metrics_path.is_file())
    item = drawn.panel.draw.table.chosen()
    drawn.add_segment(drawn.volume, "other")
    drawn.paint(item.index, "other")
    before = drawn.logic.panel.slice_masks(drawn.volume, item.plane, item.index)["other"]
    suggestion = drawn.logic.suggestSlice(drawn.volume, item.plane, item.index)
    suggestion.masks["ball"][:] = False
    drawn.logic.useSuggestion(suggestion)
    after = drawn.logic.panel.slice_masks(drawn.volume, item.plane, item.index)
    np.testing.assert_array_equal(after["other"], before)
    drawn.logic.stopLearning()
    drawn.until(lambda: not drawn.logic.panel.is_learning)


def test_checked_again_while_it_stops_it_goes_on(drawn):
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 5))
    drawn.ui.learnCheckBox.checked = False
    drawn.ui.learnCheckBox.checked = True
    drawn.until(lambda: is_learning(drawn, 6))
    assert drawn.ui.learnCheckBox.checked
    stop(drawn)
    assert drawn.logic.runs() == ["live 1"]


def test_a_suggestion_for_an_image_that_has_changed_is_refused(drawn):
    drawn.logic.learnWhileDrawing([drawn.volume])
    drawn.until(lambda: RunFolder(drawn.logic.cohort().run_folder("live 1")).metrics_path.is_file())
    item = drawn.panel.draw.table.chosen()
    suggestion = drawn.logic.suggestSlice(drawn.volume, item.plane, item.index)
    drawn.mrml.util.arrayFromVolume(drawn.volume)[:] += 1
    drawn.mrml.util.arrayFromVolumeModified(drawn.volume)
    with pytest.raises(BadInputError, match="has changed since this drawing was suggested"):
        drawn.logic.useSuggestion(suggestion)
    drawn.logic.stopLearning()
    drawn.until(lambda: not drawn.logic.panel.is_learning)


def test_a_worker_in_the_background_has_a_lower_priority():
    import os
    import subprocess
    import sys

    from SparseAnnotateLib.client import LIBRARY_FOLDER
    from SparseAnnotateLib.client.subprocess_transport import IN_BACKGROUND

    if os.name == "nt":
        pytest.skip("priorities are classes on Windows")
    command = [sys.executable, "-m", "SparseAnnotateLib.worker", IN_BACKGROUND]
    with subprocess.Popen(command, cwd=LIBRARY_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "environment"}\n')
        process.stdin.flush()
        assert process.stdout.readline()
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        process.stdin.close()


@pytest.fixture
def suggested(drawn):
    """The panel with a suggestion for the slice at hand, without a model."""
    from SparseAnnotateLib.logic.live_learning import SliceSuggestion

    item = drawn.panel.draw.table.chosen()
    masks = {"ball": drawn.labels[item.index] > 0, "unknown": drawn.labels[item.index] == 0}
    figures = 150, 0.9, "On the last slice you drew, before it learned from it, its Dice was 0.90."
    stamp = scene.image_stamp(drawn.volume)
    drawn.suggestion = SliceSuggestion(drawn.volume, item.plane, item.index, "live 1", masks, *figures, stamp)
    learning = drawn.panel.draw.learning

    def suggest():
        learning._suggestion = drawn.suggestion
        drawn.panel.refresh()

    drawn.suggest = suggest
    suggest()
    return drawn


def test_a_suggestion_is_shown_over_its_slice_with_how_good_it_has_been(suggested):
    ui, item = suggested.ui, suggested.panel.draw.table.chosen()
    (preview,) = previews(suggested)
    assert scene.segment_names(preview) == ["ball"]
    seen = scene.labels_of(preview, suggested.volume, {"ball": 1})
    np.testing.assert_array_equal(seen[item.index] > 0, suggested.labels[item.index] > 0)
    assert not np.delete(seen, item.index, axis=0).any()
    drawing = suggested.logic.drawnIn(suggested.volume).GetSegmentation()
    assert preview.GetSegmentation().GetNthSegment(0).GetColor() == drawing.GetSegment("ball").GetColor()
    assert not preview.GetSaveWithScene()
    assert preview.GetHideFromEditors()
    assert not preview.GetDisplayNode().GetVisibility3D()
    assert "its Dice was 0.90" in ui.offerLabel.text
    assert not ui.dismissButton.isHidden()
    suggested.panel.refresh()
    assert previews(suggested) == [preview]
    assert suggested.panel.session.latest_result() is None
    assert suggested.logic.panel.structures(suggested.volume) == ["ball"]


@pytest.mark.parametrize("way", ["next", "drawn", "empty", "skip", "painted", "dismissed", "left", "corrected"])
def test_a_suggestion_is_taken_away(suggested, way):
    ui = suggested.ui
    if way == "painted":
        suggested.paint(suggested.panel.draw.table.chosen().index)
    elif way == "left":
        suggested.widget.exit()
    elif way == "corrected":
        ui.fillMethodSelector.setCurrentText("Shape")
        ui.fillButton.click()
        suggested.idle()
        assert previews(suggested)
        ui.correctCheckBox.click()
    else:
        named = {"next": ui.nextButton, "drawn": ui.drawnButton, "empty": ui.emptyButton, "skip": ui.skipButton}
        named.get(way, ui.dismissButton).click()
    assert not previews(suggested)
    if way == "left":
        suggested.widget.enter()
        assert len(previews(suggested)) == 1
    else:
        assert ui.dismissButton.isHidden()
    if way == "dismissed":
        assert ui.offerFrame.isHidden()
        suggested.panel.refresh()
        assert not previews(suggested)
        assert not suggested.panel.draw.learning.suggestion()


def test_a_suggestion_of_a_changed_image_is_not_shown(suggested):
    image = suggested.mrml.util.arrayFromVolume(suggested.volume)
    image[0, 0, 0] += 1
    suggested.mrml.util.arrayFromVolumeModified(suggested.volume)
    with pytest.raises(BadInputError, match="has changed since this drawing was suggested"):
        suggested.logic.showSuggestion(suggested.suggestion)
    suggested.logic.showSuggestion(None)
    assert not previews(suggested)


@pytest.mark.parametrize("is_learning_on", [False, True])
def test_a_suggestion_is_taken_away_when_the_image_changes(suggested, is_learning_on):
    suggested.mrml.util.arrayFromVolume(suggested.volume)[0, 0, 0] += 1
    suggested.mrml.util.arrayFromVolumeModified(suggested.volume)
    if is_learning_on:
        learning = suggested.panel.draw.learning
        learning._show_progress(learning._scene, Progress(0.5, "step 200"))
    else:
        suggested.panel.refresh()
    assert not previews(suggested)
    assert suggested.ui.dismissButton.isHidden()
    assert suggested.ui.offerFrame.isHidden()
    with pytest.raises(BadInputError, match="no suggestion for this slice any more"):
        suggested.panel.draw.learning.use()


def test_a_suggestion_is_taken_away_though_the_next_one_cannot_be_shown(suggested):
    learning = suggested.panel.draw.learning
    assert previews(suggested)
    other = replace(suggested.suggestion, image="another one")
    with pytest.raises(BadInputError, match="has changed since this drawing was suggested"):
        learning.show(other)
    assert not previews(suggested)
    learning.show(suggested.suggestion)
    assert len(previews(suggested)) == 1


def test_a_suggestion_is_taken_away_with_the_scene(suggested):
    suggested.mrml.mrmlScene.Clear(0)
    suggested.idle()
    assert not previews(suggested)
    assert suggested.ui.offerFrame.isHidden()
