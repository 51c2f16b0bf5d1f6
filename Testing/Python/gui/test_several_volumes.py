"""A person who works on more than one volume: what the slice views show, what to do next, names that change."""

from __future__ import annotations

import pytest


@pytest.fixture
def two(panel):
    """Two volumes; slices of the first are recommended, and it has a coloured segment."""
    panel.first, panel.second = panel.add_ball("first"), panel.add_ball("second")
    panel.recommend(20.0)
    panel.add_segment(panel.first, "liver")
    panel.logic.segmentationNode(panel.first).GetSegmentation().GetSegment("liver").SetColor(0.25, 0.5, 0.75)
    panel.idle()
    return panel


def choose(panel, volume) -> None:
    """Click a volume in the list."""
    names = [panel.ui.volumeList.item(row).text() for row in range(panel.ui.volumeList.count)]
    panel.ui.volumeList.setCurrentRow(names.index(volume.GetName()))
    panel.idle()


def shown(panel) -> list[str]:
    return [node.GetName() for node in panel.logic.panel.volumes_shown()]


def markers_seen(panel) -> bool:
    nodes = panel.mrml.util.getNodesByClass("vtkMRMLModelNode")
    return any(node.GetDisplayNode().GetVisibility() for node in nodes if node.GetName().startswith("Slices "))


def test_the_volume_that_is_worked_on_is_the_one_that_is_seen(two):
    assert shown(two) == ["first"]
    choose(two, two.second)
    assert shown(two) == ["second"]
    choose(two, two.first)
    assert shown(two) == ["first"]
    assert markers_seen(two)


def test_markers_are_not_laid_over_a_volume_that_somebody_else_has_put_there(two):
    from SlicerStandIn import view_nodes

    assert markers_seen(two)
    view_nodes.show_volume(two.second)
    assert not markers_seen(two)
    two.panel.refresh()
    assert shown(two) == ["second"], "the panel must not take the views away from a person"
    assert not markers_seen(two)
    # A click on the volume that is worked on brings it back.
    two.ui.volumeList.itemClicked.emit(two.ui.volumeList.item(0))
    assert shown(two) == ["first"]
    assert markers_seen(two)


def test_another_module_keeps_the_views_as_they_are(two):
    from SlicerStandIn import view_nodes

    two.widget.exit()
    view_nodes.show_volume(two.second)
    two.add_ball("third")
    assert shown(two) == ["second"]
    two.widget.enter()
    two.idle()
    assert shown(two) == ["second"]
    assert not markers_seen(two)


def test_work_begins_with_the_volume_that_is_seen(panel):
    from SlicerStandIn import view_nodes

    panel.widget.exit()
    panel.add_ball("first")
    second = panel.add_ball("second")
    view_nodes.show_volume(second)
    panel.widget.enter()
    panel.idle()
    assert panel.panel.session.volume is second
    assert shown(panel) == ["second"]


def test_a_second_volume_is_led_from_recommending_to_the_same_segments_to_drawing(two):
    ui = two.ui
    orders = [(item.volumeNode.GetName(), item.index) for item in two.items]
    choose(two, two.second)
    assert "Recommend slices for 'second'" in ui.nextStepLabel.text
    ui.nextStepButton.click()
    two.idle()
    # Those of the first volume are as they were.
    assert [(name, index) for name, index in orders if name == "first"] == [
        (item.volumeNode.GetName(), item.index) for item in two.items if item.volumeNode is two.first
    ]
    names = [item.volumeNode.GetName() for item in two.items]
    assert names == sorted(names), "slices of two volumes are not mixed"
    assert two.panel.session.volume is two.second
    assert two.panel.draw.table.chosen().volumeNode is two.second
    assert ui.editorFrame.enabled
    assert ui.nextStepLabel.text == "'second' has no segments yet. Add the segments of 'first'."
    ui.nextStepButton.click()
    two.idle()
    assert two.message == "Added to 'second': liver."
    segment = two.logic.segmentationNode(two.second).GetSegmentation().GetSegment("liver")
    assert segment.GetColor() == (0.25, 0.5, 0.75)
    assert "Draw axial slice" in ui.nextStepLabel.text


def test_a_volume_that_is_renamed_has_its_new_name_everywhere(two):
    ui = two.ui
    two.first.SetName("liver CT")
    two.idle()
    assert ui.volumeList.item(0).text() == "liver CT"
    assert {ui.worklistTable.item(row, 1).text() for row in range(ui.worklistTable.rowCount)} == {"liver CT"}
    assert "'liver CT'" in ui.nextStepLabel.text
    two.widget.exit()
    two.first.SetName("while away")
    two.widget.enter()
    two.idle()
    assert ui.volumeList.item(0).text() == "while away"


def test_nothing_is_written_to_the_console_in_red_when_nodes_go(two, mrml):
    scene = mrml.mrmlScene
    scene.RemoveNode(two.logic.segmentationNode(two.first))
    two.idle()
    choose(two, two.second)
    scene.RemoveNode(two.second)
    two.idle()
    scene.RemoveNode(two.first)
    two.idle()
    # The fixture looks for messages.
    assert two.panel.session.volume is None


def test_the_segment_editor_lets_go_of_its_nodes_before_a_scene_is_closed(two, mrml, embedded):
    seen = []
    editor, scene = two.ui.segmentEditorWidget, mrml.mrmlScene

    def look(*_) -> None:
        if scene.IsClosing():
            seen.append(editor.mrmlSegmentEditorNode())

    tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, look)
    embedded.clear_scene()
    scene.RemoveObserver(tag)
    assert seen
    assert set(seen) == {None}
    two.idle()
    assert editor.mrmlSegmentEditorNode() is not None


def test_a_click_reads_only_the_ledger_that_it_changes(panel, monkeypatch):
    from SparseAnnotateLib.scene import ledger_store

    for number in range(6):
        panel.add_ball(f"scan {number}")
    panel.ui.allVolumesButton.click()
    panel.recommend(20.0)
    read, read_again = [], ledger_store._read_again

    def counting(segmentation_node, *arguments):
        read.append(segmentation_node.GetName())
        return read_again(segmentation_node, *arguments)

    monkeypatch.setattr(ledger_store, "_read_again", counting)
    panel.panel.refresh()
    panel.ui.nextButton.click()
    panel.idle()
    assert read == []
    chosen = panel.panel.draw.table.chosen()
    panel.logic.segmentationNode(chosen.volumeNode).GetSegmentation().AddEmptySegment("a", "a")
    panel.idle()
    read.clear()
    panel.ui.emptyButton.click()
    panel.idle()
    assert set(read) == {f"{chosen.volumeNode.GetName()} annotation"}


def test_marking_a_slice_and_going_to_the_next_looks_once_at_its_volume_and_at_no_other(two, monkeypatch):
    from SparseAnnotateLib.scene import worklist

    two.ui.allVolumesButton.click()
    two.recommend(20.0)
    reads: list[str] = []
    reading = worklist._ledger_in_scene
    monkeypatch.setattr(worklist, "_ledger_in_scene", lambda node: reads.append(node.GetName()) or reading(node))
    chosen = two.panel.draw.table.chosen()
    two.ui.emptyButton.click()
    assert two.panel.draw.table.chosen().index != chosen.index
    assert reads == [chosen.volumeNode.GetName()]
    # It is read again with the next click, also when it was changed elsewhere.
    item = two.panel.draw.table.chosen()
    two.logic.markSkipped(item.volumeNode, item.plane, item.index)
    two.panel.refresh()
    assert two.panel.draw.table.chosen().state.value == "skipped"


def test_showing_the_scene_asks_all_its_nodes_once_and_a_click_asks_again(two, monkeypatch):
    logic, asked = two.logic.panel, []
    for name in ("volumes", "latest_result"):
        ask = getattr(logic, name)
        monkeypatch.setattr(logic, name, lambda *given, n=name, f=ask: asked.append((n, *given[1:])) or f(*given))
    two.panel.refresh()
    assert len(asked) == len(set(asked))
    assert ("volumes",) in asked
    asked.clear()
    assert two.panel.session.all_volumes == two.panel.session.all_volumes == [two.first, two.second]
    assert asked == [("volumes",)] * 2


def test_what_was_recommended_is_shown_with_the_first_slice_and_not_before_that_too(two, monkeypatch):
    shown, show = [], two.panel._show_all
    two.panel.scene_changed()  # as each new node says it
    monkeypatch.setattr(two.panel, "_show_all", lambda: shown.append(two.panel.draw._here) or show())
    two.panel._continue_with_drawing(None)
    assert not two.panel._soon.active
    two.idle()
    assert len(shown) <= 1


def test_boxes_that_are_unchecked_are_checked_again_when_the_parameters_say_so(two):
    both = [two.first, two.second]
    two.ui.allVolumesButton.click()
    assert two.panel.data.list.checked == both
    two.ui.volumeList.item(1).setCheckState(two.ui.volumeList.item(1).checkState().__class__(0))
    assert two.panel.session.volumes == [two.first]
    two.panel.session.parameters.volumes = both
    two.panel.refresh()
    assert two.panel.data.list.checked == both
    two.panel.session.parameters.volumes = [two.first]
    two.panel.refresh()
    assert two.panel.data.list.checked == [two.first]
