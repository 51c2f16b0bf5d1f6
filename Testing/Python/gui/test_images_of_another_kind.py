"""A volume of another kind than those that the selected run has learned from is reported before the run."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.learned_images import ImageFacts, LearnedImages
from SparseAnnotateLib.runs.run_folder import RunFolder


@pytest.fixture
def trained(panel):
    """Two volumes, of which the run has learned from the first; the second has much larger voxels."""
    panel.first = panel.add_ball("first")
    image = noisy_image(ball())
    panel.coarse = panel.mrml.util.addVolumeFromArray(image, np.diag([-5.0, 5.0, 8.0, 1.0]), "coarse")
    panel.idle()
    panel.recommend(20.0)
    panel.draw_all(panel.first)
    write_run(panel, "run 1")
    return panel


def write_run(panel, name: str, channels: tuple[str, ...] = ()) -> None:
    from SparseAnnotateLib import scene

    image, geometry = scene.image_of(panel.first), scene.geometry_of(panel.first)
    assert isinstance(geometry, VolumeGeometry)
    folder = panel.logic.cohort().run_folder(name)
    folder.mkdir(parents=True)
    RunFolder(folder).write_card(
        RunCard(
            models=(),
            classes=(1,),
            label_names={1: "ball"},
            normalisation="z_score",
            flip=(),
            view_dice={},
            view_weights={},
            seconds=1.0,
            validation_dice=0.9,
            slices=3,
            cases=("first",),
            seed=0,
            device="cpu",
            precision="fp32",
            images=LearnedImages.of([ImageFacts.of(image, geometry)]),
            channels=channels,
        )
    )
    panel.panel.session.invalidate_cache()
    panel.panel.session.parameters.run = name
    panel.panel.session.refresh()
    panel.idle()


def activate(panel, volume) -> None:
    panel.panel.session.parameters.volume = volume
    panel.panel.session.refresh()
    panel.idle()


def test_it_is_reported_as_soon_as_the_run_and_the_volume_are_chosen(trained):
    label = trained.ui.runDifferenceLabel
    activate(trained, trained.coarse)
    assert "The image differs from those that the run has learned from: its voxels are 5 mm long" in label.text
    assert label.isVisibleTo(label.parentWidget())
    activate(trained, trained.first)
    assert label.text == ""
    assert not label.isVisibleTo(label.parentWidget())


def test_a_run_that_needs_a_channel_that_is_missing_says_nothing_here(trained):
    write_run(trained, "run 2", ("T1", "T2"))
    activate(trained, trained.coarse)
    assert "its voxels are 5 mm long" in trained.ui.runDifferenceLabel.text
    trained.panel.session.parameters.run = ""
    trained.panel.session.refresh()
    trained.idle()
    assert trained.ui.runDifferenceLabel.text == ""


def test_an_image_that_was_changed_is_looked_at_again(trained):
    activate(trained, trained.first)
    array = trained.mrml.util.arrayFromVolume(trained.first)
    trained.mrml.util.updateVolumeFromArray(trained.first, (array.astype(np.float32) ** 3).astype(np.float32) - 5000)
    trained.panel.session.refresh()
    trained.idle()
    assert "The image differs" in trained.ui.runDifferenceLabel.text


def test_other_checked_volumes_are_looked_at_before_a_run_on_all(trained):
    activate(trained, trained.first)
    others = [trained.first, trained.coarse]
    trained.panel.session.parameters.volumes = others
    activate(trained, trained.first)
    label = trained.ui.runDifferenceLabel
    trained.until(lambda: label.text)  # each in its turn
    assert label.text == "'coarse', which is checked, too, differs from the images that the run has learned from."
    third = trained.mrml.util.addVolumeFromArray(noisy_image(ball()), np.diag([-6.0, 6.0, 9.0, 1.0]), "coarser")
    trained.panel.session.parameters.volumes = [*others, third]
    activate(trained, trained.coarse)
    trained.until(lambda: "checked" in label.text)
    assert label.text.startswith("The image differs from those that the run has learned from: its voxels are 5 mm long")
    assert label.text.endswith(
        "'coarser', which is checked, too, differs from the images that the run has learned from."
    )
    activate(trained, trained.first)
    trained.until(lambda: "checked" in label.text)
    assert "2 other checked volumes differ from the images that the run has learned from: 'coarse', 'coarser'." in (
        label.text
    )
    trained.mrml.mrmlScene.RemoveNode(third)
    trained.panel.session.refresh()
    trained.until(lambda: "'coarse', which is checked, too" in label.text)
