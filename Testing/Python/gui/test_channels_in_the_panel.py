"""Several volumes as the channels of one case: chosen, shown and worked with in the panel."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import Cohort, VolumeGeometry
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.scene.volume_nodes import vtk_matrix

MATRIX = np.diag([-1.0, 1.0, 2.0, 1.0])


@pytest.fixture
def two(panel):
    """Two volumes of a patient and one of another, and the group unfolded for the first."""
    panel.flair = panel.add_ball("p1 FLAIR")
    panel.t1, panel.other = panel.add_ball("p1 T1"), panel.add_ball("p2 FLAIR")
    panel.ui.dataSection.collapsed = False
    panel.ui.channelsGroup.collapsed = False
    return panel


def rows(panel) -> list:
    return panel.panel.data.channels.shown


def offered(row) -> list[str]:
    return [row.box.itemText(number) for number in range(row.box.count)]


def fill_in(panel, *channels: tuple[str, str]) -> None:
    """Name the channels and choose their volumes; '' chooses nothing, and the first one has no choice."""
    while len(rows(panel)) < len(channels):
        panel.ui.addChannelButton.click()
    for row, (name, volume) in zip(rows(panel), channels, strict=True):
        row.name.text = name
        if volume and row is not rows(panel)[0]:
            row.box.setCurrentIndex(offered(row).index(volume))


def use(panel, *channels: tuple[str, str]) -> None:
    fill_in(panel, *channels)
    panel.ui.useChannelsButton.click()
    panel.idle()


def listed(panel) -> list[str]:
    return [panel.ui.volumeList.item(row).text() for row in range(panel.ui.volumeList.count)]


def choose(panel, volume) -> None:
    """Click a volume in the list."""
    panel.ui.volumeList.setCurrentRow(panel.logic.panel.volumes().index(volume))
    panel.idle()


def background(panel):
    composites = panel.mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    (node_id,) = {node.GetBackgroundVolumeID() for node in composites}
    return panel.mrml.mrmlScene.GetNodeByID(node_id)


def test_two_volumes_become_one_case_when_the_button_is_clicked(two):
    ui = two.ui
    two.panel.session.parameters.volumes = [two.flair, two.t1]
    assert [offered(row) for row in rows(two)] == [["p1 FLAIR"]]
    ui.addChannelButton.click()
    assert offered(rows(two)[1]) == ["(none)", "p1 T1", "p2 FLAIR"]
    assert not rows(two)[1].is_chosen
    fill_in(two, ("FLAIR", ""), ("T1", "p1 T1"))
    assert two.logic.channels(two.flair) == {}, "nothing is changed before"
    ui.useChannelsButton.click()
    two.idle()
    assert two.logic.channels(two.flair) == {"FLAIR": two.flair, "T1": two.t1}
    assert two.message == "'p1 FLAIR' has these channels now: FLAIR, T1."
    assert listed(two) == ["p1 FLAIR (FLAIR + T1)", "p2 FLAIR"]
    assert "Channels: FLAIR + T1." in ui.volumeList.item(0).toolTip()
    assert two.panel.session.volumes == [two.flair], "the second image is no case of the cohort any more"
    # Renaming the second image shows here, too.
    two.t1.SetName("renamed")
    two.idle()
    assert offered(rows(two)[1])[1] == "renamed"


def test_the_names_are_kept_for_the_next_patient_and_its_volumes_guessed(two):
    ui = two.ui
    second = two.add_ball("p2 T1")
    use(two, ("FLAIR", ""), ("T1", "p1 T1"))
    choose(two, two.other)
    assert ui.channelsGroup.collapsed
    ui.channelsGroup.collapsed = False
    assert [row.name.text for row in rows(two)] == ["FLAIR", "T1"]
    assert offered(rows(two)[1]) == ["(none)", "p2 T1"]
    assert not rows(two)[1].is_chosen
    ui.useChannelsButton.click()
    assert two.message == "Choose a volume for the channel 'T1', or '(none)' if this case has no such image."
    ui.guessChannelsButton.click()
    assert two.message.startswith("Guessed from the names: T1 is 'p2 T1'. Check that")
    assert two.logic.channels(two.other) == {}
    ui.useChannelsButton.click()
    assert two.logic.channels(two.other) == {"FLAIR": two.other, "T1": second}
    assert listed(two) == ["p1 FLAIR (FLAIR + T1)", "p2 FLAIR (FLAIR + T1)"]


def test_a_case_can_lack_a_channel_and_become_a_case_by_itself_again(two):
    use(two, ("FLAIR", ""), ("T1", "p1 T1"), ("T2", "(none)"))
    assert two.message == "'p1 FLAIR' has these channels now: FLAIR, T1. It lacks T2."
    assert listed(two)[0] == "p1 FLAIR (FLAIR + T1, without T2)"
    assert two.logic.panel.channels.names(two.flair) == ("FLAIR", "T1", "T2")
    assert [row.is_chosen for row in rows(two)] == [True] * 3
    two.ui.nextChannelButton.click()
    assert background(two) is two.t1
    use(two, ("FLAIR", ""), ("", "(none)"), ("", "(none)"))
    assert background(two) is two.flair
    assert two.message == "'p1 FLAIR' is a case by itself now."
    assert listed(two) == ["p1 FLAIR", "p1 T1", "p2 FLAIR"]
    assert len(rows(two)) == 1


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ([("FLAIR", ""), ("T1", "p1 T1"), ("T2", "p1 T1")], "The volume 'p1 T1' is given for two channels."),
        ([("T1", ""), ("t1", "p1 T1")], "Two channels are named"),
        ([("FLAIR", ""), ("", "p1 T1")], "Give the channel of 'p1 T1' a name"),
        ([("", ""), ("T1", "p1 T1")], "Give the channel of 'p1 FLAIR' a name"),
        ([("FLAIR", ""), ("T1/2", "p1 T1")], "A channel cannot be called 'T1/2'"),
        ([("FLAIR", "")], "Click 'Add channel' first"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_and_stay(two, channels, words):
    use(two, *channels)
    assert words in two.message
    assert two.logic.channels(two.flair) == {}
    assert [row.name.text for row in rows(two)] == [name for name, _volume in channels]


def test_more_than_eight_channels_are_not_offered(two):
    for _ in range(7):
        assert two.ui.addChannelButton.enabled
        two.ui.addChannelButton.click()
    assert len(rows(two)) == 8
    assert not two.ui.addChannelButton.enabled
    assert two.ui.addChannelButton.toolTip == "A case can have at most 8 channels."


def test_a_volume_that_is_removed_while_the_group_is_open_is_not_taken_for_a_missing_one(two):
    third = two.add_ball("p1 T2")
    fill_in(two, ("FLAIR", ""), ("T1", "p1 T1"), ("T2", "p1 T2"))
    two.mrml.mrmlScene.RemoveNode(two.t1)
    # At once, before the panel has seen it.
    two.ui.useChannelsButton.click()
    assert two.message == "The volume of the channel 'T1' was removed from the scene. Choose another one."
    two.idle()
    assert [row.name.text for row in rows(two)] == ["FLAIR", "T1", "T2"]
    assert [row.is_chosen for row in rows(two)] == [True, False, True]
    two.ui.useChannelsButton.click()
    assert "Choose a volume for the channel 'T1'" in two.message
    assert two.logic.channels(two.flair) == {}
    rows(two)[1].box.setCurrentIndex(0)
    two.ui.useChannelsButton.click()
    assert two.logic.channels(two.flair) == {"FLAIR": two.flair, "T2": third}
    two.mrml.mrmlScene.RemoveNode(two.flair)
    two.idle()
    assert two.logic.panel.volumes() == [two.other, third]


def test_volumes_on_another_grid_are_resampled_and_those_elsewhere_refused(two):
    coarse = noisy_image(ball())[::2, ::2, ::2]
    two.mrml.util.addVolumeFromArray(coarse, MATRIX @ np.diag([2.0, 2.0, 2.0, 1.0]), "coarse")
    two.mrml.util.addVolumeFromArray(noisy_image(ball()), MATRIX + np.array([[0, 0, 0, 900]] * 3 + [[0] * 4]), "far")
    two.idle()
    use(two, ("FLAIR", ""), ("T1", "coarse"), ("T2", "far"))
    assert "'far' cannot be a channel of 'p1 FLAIR'. The image lies outside" in two.message
    assert two.logic.channels(two.flair) == {}
    use(two, ("FLAIR", ""), ("T1", "coarse"), ("", "(none)"))
    made = two.logic.channels(two.flair)["T1"].GetName()
    assert made.startswith("p1 FLAIR T1")
    assert f"'coarse' was resampled to the grid of 'p1 FLAIR', as '{made}'." in two.message


def test_a_volume_that_another_case_has_taken_meanwhile_is_refused(two):
    fill_in(two, ("FLAIR", ""), ("T1", "p1 T1"))
    two.logic.setChannels(two.other, {"FLAIR": two.other, "T1": two.t1})
    two.ui.useChannelsButton.click()
    assert two.message == "The volume 'p1 T1' is a channel of 'p2 FLAIR' already. Choose another one."
    assert two.logic.channels(two.flair) == {}


def test_the_active_volume_may_become_a_channel_by_the_console(two):
    two.logic.setChannels(two.other, {"FLAIR": two.other, "T1": two.flair})
    two.panel.refresh()
    assert two.panel.session.volume is two.other
    assert two.panel.session.volumes == [two.other]


def test_the_channels_of_the_cohort_folder_are_those_of_all_its_cases(two, tmp_path):
    ui, geometry = two.ui, VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"}, channels=("CT", "PET"))
    image = noisy_image(ball())
    write_image(tmp_path / "pet.nrrd", image, geometry)
    cohort.add_case("a", image, geometry, further={"PET": tmp_path / "pet.nrrd"})
    use(two, ("FLAIR", ""), ("T1", "p1 T1"))
    ui.cohortFolderSelector.currentPath = str(tmp_path / "made")
    two.panel.refresh()
    assert [row.name.text for row in rows(two)] == ["CT", "PET"]
    assert all(row.name.readOnly for row in rows(two))
    assert two.logic.channels(two.flair) == {"FLAIR": two.flair, "T1": two.t1}
    rows(two)[1].box.setCurrentIndex(offered(rows(two)[1]).index("p1 T1"))
    ui.useChannelsButton.click()
    assert two.logic.channels(two.flair) == {"CT": two.flair, "PET": two.t1}
    # Cases of that folder have its channels, and nothing is changed here.
    (case,) = two.logic.openCohort(tmp_path / "made")
    two.idle()
    choose(two, case)
    ui.channelsGroup.collapsed = False
    assert not ui.useChannelsButton.enabled
    assert ui.useChannelsButton.toolTip == "'a' was opened from a cohort folder, which has its channels."


def test_a_channel_is_added_to_a_cohort_folder_that_has_cases(two, tmp_path):
    geometry = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
    Cohort.create(tmp_path / "plain", "balls", {1: "ball"}).add_case("a", noisy_image(ball()), geometry)
    two.ui.cohortFolderSelector.currentPath = str(tmp_path / "plain")
    use(two, ("", ""), ("T1", "p1 T1"))
    assert two.message == "Give the channel of 'p1 FLAIR' a name, for example FLAIR."
    use(two, ("FLAIR", ""), ("T1", "(none)"))
    assert two.message == "Choose a volume for the new channel 'T1'."
    use(two, ("FLAIR", ""), ("T1", "p1 T1"))
    assert two.message.startswith("'p1 FLAIR' has these channels now: FLAIR, T1.")
    assert "Fills and results of this case came from other channels: make them again." in two.message
    assert "The cohort folder has the further channel T1 now; its other cases lack it." in two.message
    assert Cohort.open(tmp_path / "plain").channels == ("FLAIR", "T1")
    assert two.logic.channels(two.flair) == {"FLAIR": two.flair, "T1": two.t1}


def test_a_channel_is_added_to_an_opened_case(two, tmp_path):
    ui, geometry = two.ui, VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"}, channels=("FLAIR",))
    cohort.add_case("a", noisy_image(ball()), geometry)
    ui.cohortFolderSelector.currentPath = str(tmp_path / "made")
    (case,) = two.logic.openCohort(tmp_path / "made")
    two.idle()
    choose(two, case)
    ui.channelsGroup.collapsed = False
    other = two.mrml.util.addVolumeFromArray(noisy_image(ball()) + 3, MATRIX, "T1")
    matrix = vtk_matrix(scene.geometry_of(case).matrix)
    other.SetIJKToRASMatrix(matrix)
    two.panel.refresh()
    assert not ui.useChannelsButton.enabled
    assert ui.addChannelButton.enabled
    fill_in(two, ("FLAIR", ""), ("T1", "T1"))
    assert not rows(two)[0].name.enabled
    assert rows(two)[1].name.enabled
    ui.useChannelsButton.click()
    two.idle()
    assert two.message.startswith("'a' has these channels now: FLAIR, T1."), two.message
    again = Cohort.open(tmp_path / "made")
    np.testing.assert_array_equal(again.channel_image("a", "T1", geometry), noisy_image(ball()) + 3)
    assert not ui.useChannelsButton.enabled


def test_the_modality_of_each_volume_is_chosen(two):
    row = rows(two)[0]
    texts = [row.kind.itemText(number) for number in range(row.kind.count)]
    assert texts == ["?", "CT", "MR", "PT"]
    assert row.kind.currentText == "?"
    row.kind.setCurrentIndex(1)
    two.panel.refresh()
    assert row.kind.currentText == "CT", "what has been chosen stays"
    two.ui.useChannelsButton.click()
    two.idle()
    assert two.message == "'p1 FLAIR' is CT now."
    assert two.logic.modality(two.flair) == "CT"
    two.ui.useChannelsButton.click()
    assert two.message == "Click 'Add channel' first, and choose its volume."
    fill_in(two, ("FLAIR", ""), ("T1", "p1 T1"))
    rows(two)[0].kind.setCurrentIndex(0)
    rows(two)[1].kind.setCurrentIndex(2)
    two.ui.useChannelsButton.click()
    two.idle()
    assert [two.logic.modality(node) for node in (two.flair, two.t1)] == ["", "MR"]
    choose(two, two.other)
    assert rows(two)[0].kind.currentText == "?"
    choose(two, two.flair)
    assert [row.kind.currentText for row in rows(two)] == ["?", "MR"]


def test_each_channel_can_be_seen_while_slices_are_drawn(two):
    ui = two.ui
    assert not ui.shownChannelFrame.isVisibleTo(ui.drawSection)
    use(two, ("FLAIR", ""), ("T1", "p1 T1"))
    two.panel.open(two.panel.draw)
    assert ui.shownChannelFrame.isVisibleTo(ui.drawSection)
    selector = ui.shownChannelSelector
    assert [selector.itemText(n) for n in range(selector.count)] == ["FLAIR", "T1", "FLAIR and T1"]
    assert "Key: X" in ui.nextChannelButton.toolTip
    ui.nextChannelButton.click()
    assert (background(two), selector.currentText) == (two.t1, "T1")
    two.recommend()
    two.add_segment(two.flair)
    two.panel.draw.table.choose_next(1)
    assert background(two) is two.t1, "the next slice shows the same channel"
    assert two.panel.session.volume is two.flair
    selector.setCurrentIndex(2)
    selector.activated.emit(2)
    red = two.mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert (red.GetBackgroundVolumeID(), red.GetForegroundVolumeID()) == (two.flair.GetID(), two.t1.GetID())
    ui.nextChannelButton.click()
    assert red.GetForegroundVolumeID() is None
    two.mrml.mrmlScene.RemoveNode(two.t1)
    two.idle()
    assert background(two) is two.flair
    assert not ui.nextChannelButton.enabled


def test_drawing_filling_training_and_running_with_two_channels(two):
    ui = two.ui
    use(two, ("FLAIR", ""), ("T1", "p1 T1"))
    two.panel.session.parameters.volumes = [two.flair]
    two.panel.refresh()
    two.recommend(25.0)
    two.draw_all(two.flair)
    ui.fillMethodSelector.setCurrentText("Random walk")
    ui.fillButton.click()
    two.idle()
    assert two.panel.result.node is not None
    # The confidence is where another channel would be faded over the image.
    ui.confidenceCheckBox.checked = True
    two.idle()
    ui.shownChannelSelector.activated.emit(2)
    assert two.message == "The slice views show the confidence. Hide it first to fade 'T1' over the image."
    assert ui.shownChannelSelector.currentText == "FLAIR"
    ui.confidenceCheckBox.checked = False
    two.idle()
    ui.shownChannelSelector.activated.emit(2)
    assert ui.shownChannelSelector.currentText == "FLAIR and T1"
    ui.iterationsSpinBox.value = 3
    ui.trainButton.click()
    two.idle()
    assert two.logic.cohort().channels == ("FLAIR", "T1")
    (run,) = two.logic.panel.run_summaries()
    assert run.is_finished
    ui.runButton.click()
    two.idle()
    assert two.panel.session.latest_result(of_run=True) is not None
