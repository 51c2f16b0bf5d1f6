"""The check box *Show where voxels come from*."""

from __future__ import annotations


def shown(panel):
    return panel.mrml.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")


def test_the_slice_views_show_where_voxels_come_from(panel):
    volume = panel.add_ball()
    panel.recommend()
    panel.draw_all(volume)
    panel.ui.fillButton.click()
    panel.idle()
    panel.ui.applyButton.click()
    panel.applied()
    panel.idle()
    panel.ui.provenanceCheckBox.click()
    panel.until(lambda: shown(panel) and "filled (auto)" in panel.message)
    assert "drawn" in panel.message
    sources = panel.mrml.util.arrayFromVolume(shown(panel)[0]).copy()
    # It follows what is drawn.
    index = next(i for i in range(8, 16) if (sources[i] == 4).any())
    panel.logic.markDrawn(volume, "axial", index)
    panel.panel.refresh()
    panel.until(lambda: (panel.mrml.util.arrayFromVolume(shown(panel)[0])[index] == 1).all())
    panel.ui.provenanceCheckBox.click()
    panel.idle()
    assert not shown(panel)


def test_without_a_drawing_it_says_so(panel):
    panel.add_ball()
    panel.ui.provenanceCheckBox.click()
    panel.until(lambda: "Nothing has been drawn" in panel.message)
    assert not panel.ui.provenanceCheckBox.checked


def test_the_panel_may_be_left_while_it_is_computed(panel):
    panel.add_ball()
    panel.ui.provenanceCheckBox.click()
    panel.widget.exit()
    panel.application.processEvents()
    panel.until(lambda: not panel.panel.result._provenance._is_computing)
    panel.widget.enter()
    panel.idle()


def test_the_segmentation_is_saved_with_its_provenance(panel, facade, tmp_path):
    volume = panel.add_ball()
    assert not panel.ui.saveSegmentationButton.enabled
    panel.recommend()
    panel.draw_all(volume)
    panel.ui.fillButton.click()
    panel.idle()
    panel.ui.applyButton.click()
    panel.applied()
    facade.answers += ["", str(tmp_path / "ball.nrrd")]
    panel.ui.saveSegmentationButton.click()
    panel.idle()
    assert not list(tmp_path.glob("ball*"))
    panel.ui.saveSegmentationButton.click()
    panel.idle()
    assert "'ball.provenance.nrrd'" in panel.message
    found = panel.logic.readProvenance(volume, tmp_path / "ball.provenance.nrrd")
    assert "filled (auto)" in found.names.values()
    assert found.counts() == panel.logic.provenance(volume).counts()
