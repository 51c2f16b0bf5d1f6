"""A cohort folder in the panel: opened by a click, its cases when they are gone to, written back by *Drawn*."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from held_cases import held_elsewhere
from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.applied_segmentation import AppliedSegmentation


@pytest.fixture
def folder(tmp_path):
    """A cohort of seven cases, made and recommended on the command line."""
    from SparseAnnotateLib.command_line.main import main

    cohort = Cohort.create(tmp_path / "seven", "seven", {1: "ball"})
    labels = ball()
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    for number in range(7):
        cohort.add_case(f"case {number}", noisy_image(labels, number), geometry)
    cohort.save_annotation("case 0", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [12]))
    assert main(["recommend", str(cohort.folder), "--per-volume", "4", "--quiet"]) == 0
    return cohort.folder


def opened(panel, facade, folder):
    facade.answers.append(str(folder))
    panel.ui.openCohortButton.click()
    panel.idle()


def draw_next(panel, cohort: Cohort) -> None:
    """Draw the chosen slice, and wait until it is in the cohort folder."""
    item = panel.panel.draw.table.chosen()
    case = item.volumeNode.GetName()
    panel.paint(item.index)
    panel.ui.drawnButton.click()
    panel.until(lambda: cohort.ledger(case).is_decided(Plane.named(item.plane), item.index))
    panel.idle()


def test_a_worklist_of_the_command_line_is_drawn_in_slicer(panel, facade, folder):
    assert panel.ui.openCaseButton.isHidden()
    opened(panel, facade, folder)
    assert panel.message == ""
    assert panel.ui.volumeList.count == 5
    assert panel.widget.logic.cohortFolder == folder
    assert panel.panel.session.parameters.cohortFolder == str(folder)
    assert [panel.ui.casesSelector.itemText(n) for n in range(2)] == ["case 5 (4 to do)", "case 6 (4 to do)"]
    cohort = Cohort.open(folder)
    in_scene = [item for item in panel.items if not item.case]
    assert len(in_scene) == sum(len(cohort.ledger(f"case {n}").entries) for n in range(5))
    panel.labels = ball()
    item = panel.panel.draw.table.chosen()
    panel.paint(item.index)
    panel.ui.drawnButton.click()
    panel.idle()
    case = item.volumeNode.GetName()
    panel.until(lambda: cohort.ledger(case).is_decided(Plane.named(item.plane), item.index))
    assert cohort.annotation(case).labels[item.index].any()
    assert panel.message == "" or "case" not in panel.message


def test_a_second_person_gets_the_cases_that_are_free(panel, facade, folder):
    with held_elsewhere(folder, *(f"case {number}" for number in range(5))) as answer:
        assert answer == "held"
        opened(panel, facade, folder)
    assert [panel.ui.volumeList.item(row).text() for row in range(panel.ui.volumeList.count)] == ["case 5", "case 6"]
    assert panel.panel.draw.table.chosen().volumeNode.GetName() == "case 5"
    assert panel.ui.casesSelector.count == 5
    assert "The cases 'case 0', 'case 1', 'case 2', 'case 3', 'case 4' are open elsewhere: " in panel.message
    assert " is drawing there (process " in panel.message
    assert panel.message_is == "note"


def test_a_case_that_has_become_free_is_opened_though_none_was_before(panel, facade, folder):
    with held_elsewhere(folder, *(f"case {number}" for number in range(7))) as answer:
        assert answer == "held"
        opened(panel, facade, folder)
        assert panel.ui.volumeList.count == 0
        assert panel.ui.casesSelector.count == 7
        assert panel.items
        assert panel.message_is == "error"
        assert panel.ui.nextStepLabel.text == "Open a case of the cohort to begin."
        panel.ui.openCaseButton.click()
        panel.idle()
        assert "The case 'case 0' is open elsewhere: " in panel.message
    panel.ui.openCaseButton.click()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 0"


def test_next_leads_to_cases_that_can_be_opened_and_says_who_holds_the_others(panel, facade, folder):
    opened(panel, facade, folder)
    panel.labels = ball()
    with held_elsewhere(folder, "case 5") as answer:
        assert answer == "held"
        draw_all_that_is_open(panel)
        assert panel.panel.session.volume.GetName() == "case 6"
        draw_all_that_is_open(panel)
        assert "left to draw are on cases that are open elsewhere: 'case 5' (" in panel.message
        assert " is drawing there (process " in panel.message
        assert "case 5" not in panel.ui.nextStepLabel.text
        with pytest.raises(BadInputError, match="'case 5'"):
            panel.panel.draw.go_to_next()
    panel.panel.draw.go_to_next()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 5"


def draw_all_that_is_open(panel) -> None:
    """Mark all slices to do of the cases that are open as empty."""
    for item in [item for item in panel.items if not item.case and item.state is SliceState.TODO][:-1]:
        panel.widget.logic.markEmpty(item.volumeNode, item.plane, item.index)
    panel.panel.session.invalidate_cache()
    panel.panel.session.refresh()
    last = next(item for item in panel.items if not item.case and item.state is SliceState.TODO)
    panel.panel.draw.table.choose_slice(last.volumeNode, last.plane, last.index)
    panel.idle()
    panel.panel.draw.mark_drawn()
    panel.idle()


def test_a_case_is_opened_when_it_is_gone_to(panel, facade, folder):
    opened(panel, facade, folder)
    panel.ui.casesSelector.setCurrentIndex(1)
    panel.ui.openCaseButton.click()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 6"
    assert [panel.ui.casesSelector.itemText(n) for n in range(panel.ui.casesSelector.count)] == ["case 5 (4 to do)"]
    panel.ui.openCaseButton.click()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 5"
    assert panel.ui.openCaseButton.isHidden()


def test_slices_of_cases_that_are_not_open_are_in_the_worklist(panel, facade, folder):
    opened(panel, facade, folder)
    table, items = panel.panel.draw.table, panel.items
    waiting = [row for row, item in enumerate(items) if item.case == "case 6"]
    ledger = Cohort.open(folder).ledger("case 6")
    assert [(items[row].plane, items[row].index) for row in waiting] == [(e.plane.value, e.index) for e in ledger.todo]
    assert [item.order for item in items if item.order] == sorted(item.order for item in items if item.order)
    cells = [panel.ui.worklistTable.item(waiting[2], column).text() for column in (1, 3)]
    assert cells == ["case 6", str(ledger.todo[2].index)]
    assert "case 6" not in [item.volumeNode.GetName() for item in items if not item.case]

    table.choose(waiting[2])
    panel.idle()
    assert panel.message == ""
    assert panel.panel.session.volume.GetName() == "case 6"
    assert table.chosen().index == ledger.todo[2].index
    assert panel.panel.draw.is_here(table.chosen())
    assert {item.case for item in panel.items} == {"", "case 5"}


def test_the_next_slice_to_draw_is_one_of_an_open_case_while_there_is_one(panel, facade, folder):
    opened(panel, facade, folder)
    logic = panel.widget.logic
    to_do = [item for item in panel.items if not item.case and not item.state.is_decided]
    for item in to_do[:-1]:
        logic.markEmpty(item.volumeNode, item.plane, item.index)
    panel.panel.refresh()
    panel.ui.nextStepButton.click()
    assert panel.panel.draw.is_here(to_do[-1])
    panel.ui.emptyButton.click()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 5"
    assert not panel.panel.draw.table.chosen().case


def test_what_is_applied_and_undone_in_the_panel_is_in_the_folder(panel, facade, folder):
    opened(panel, facade, folder)
    cohort, volume = Cohort.open(folder), panel.panel.session.volume
    labels = ball()
    for item in [item for item in panel.items if item.volumeNode is volume and not item.state.is_decided]:
        panel.panel.draw.table.choose(panel.items.index(item))
        panel.labels = labels
        panel.paint(item.index)
        panel.ui.drawnButton.click()
        panel.idle()
    panel.panel.session.parameters.volume = volume
    panel.panel.refresh()
    case = volume.GetName()
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    panel.ui.fillButton.click()
    panel.idle()
    assert AppliedSegmentation.read(cohort, case) is None
    panel.ui.applyButton.click()
    panel.until(lambda: cohort.applied_path(case).is_file())
    found = AppliedSegmentation.read(cohort, case)
    assert "filled (shape)" in found.provenance.counts()
    panel.ui.undoButton.click()
    panel.until(lambda: "filled (shape)" not in AppliedSegmentation.read(cohort, case).provenance.counts())


def test_a_slice_of_a_case_that_cannot_be_opened_is_not_marked(panel, facade, folder):
    opened(panel, facade, folder)
    (folder / "images" / "case 6.nrrd").write_bytes(b"damaged")
    row = next(row for row, item in enumerate(panel.items) if item.case == "case 6")
    panel.panel.draw.table.choose(row)
    panel.idle()
    assert "case 6" in panel.message
    assert not panel.ui.drawnButton.enabled
    assert "is not open" in panel.ui.drawnButton.toolTip
    panel.panel.session.attempt(panel.panel.draw.mark_drawn)
    assert "is not open" in panel.message
    assert not Cohort.open(folder).ledger("case 6").decided


def test_what_cannot_be_written_back_is_said(panel, facade, folder):
    opened(panel, facade, folder)
    cohort = Cohort.open(folder)
    volume = panel.panel.session.volume
    case = volume.GetName()
    stored = cohort.annotation(case)
    labels, geometry = ball(), stored.geometry
    cohort.save_annotation(case, SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [3]))
    panel.labels = labels
    item = panel.panel.draw.table.chosen()
    panel.paint(item.index)
    panel.ui.drawnButton.click()
    panel.until(lambda: "was changed elsewhere" in panel.message)
    assert cohort.annotation(case).ledger.indices(Plane.AXIAL) == [3]


def test_a_damaged_file_of_codes_is_named_once_and_drawing_is_stored(panel, facade, folder, caplog):
    opened(panel, facade, folder)
    codes = folder / "dicom" / "terminology.json"
    codes.parent.mkdir()
    codes.write_text("{")
    cohort, panel.labels = Cohort.open(folder), ball()

    draw_next(panel, cohort)
    panel.until(lambda: str(codes) in panel.message)
    assert "not the codes of the structures, until you restore or delete a file. Cannot use the file" in panel.message
    assert panel.message_is == "note"
    draw_next(panel, cohort)
    assert str(codes) not in panel.message
    assert [str(codes) in record.message for record in caplog.records].count(True) == 1
    assert codes.read_text() == "{"
    codes.unlink()
    draw_next(panel, cohort)
    assert panel.widget.logic.panel.codes_problem() == ""


def test_cancelled_and_wrong_folders(panel, facade, tmp_path):
    opened(panel, facade, "")
    assert panel.message == ""
    (tmp_path / "empty").mkdir()
    opened(panel, facade, tmp_path / "empty")
    assert "empty" in panel.message
    assert panel.ui.volumeList.count == 0


def test_the_next_step_is_the_next_case(panel, facade, folder):
    cohort = Cohort.open(folder)
    for number in range(5):
        # Nothing left to do in the cases that are opened first.
        stored = cohort.annotation(f"case {number}")
        drawn = SparseAnnotation.from_slices(ball(), stored.geometry, Plane.AXIAL, [12])
        cohort.save_annotation(f"case {number}", drawn)
    opened(panel, facade, folder)
    assert panel.ui.nextStepLabel.text == "Continue with the next case, 'case 5'."
    panel.ui.nextStepButton.click()
    panel.idle()
    assert panel.panel.session.volume.GetName() == "case 5"
    assert panel.panel.draw.table.chosen().volumeNode.GetName() == "case 5"


def test_slicer_opens_the_file_of_a_cohort(panel, facade, folder, mrml, monkeypatch):
    from SparseAnnotate import SparseAnnotateFileReader

    reader = SparseAnnotateFileReader(SimpleNamespace(loadedNodes=[]))
    monkeypatch.setattr(
        mrml.util, "getModuleWidget", lambda name: {"SparseAnnotate": panel.widget}[name], raising=False
    )
    assert reader.canLoadFileConfidence(str(folder / "cohort.json")) > 0.6
    assert reader.canLoadFileConfidence(str(folder / "other.json")) == 0.0
    assert reader.load({"fileName": str(folder / "cohort.json")})
    panel.idle()
    assert [mrml.mrmlScene.GetNodeByID(node).GetName() for node in reader.parent.loadedNodes][:2] == [
        "case 0",
        "case 1",
    ]
    assert panel.ui.casesSelector.count == 2
    assert panel.panel.session.parameters.cohortFolder == str(folder)
    assert panel.panel.draw.table.chosen() is not None


@pytest.mark.skipif(sys.platform != "linux", reason="the names of open files are those of Linux")
def test_a_click_on_drawn_waits_once_for_the_disk_for_each_file(panel, facade, folder, monkeypatch):
    opened(panel, facade, folder)
    cohort, panel.labels = Cohort.open(folder), ball()
    steps: list[tuple[str, str]] = []
    replace, fsync = os.replace, os.fsync

    def note(what: str, path: str) -> None:
        place = Path(path).relative_to(folder).parts[0]
        if place != "cache":  # fingerprints are kept as soon as the images are old enough
            steps.append((what, place))

    def noted_fsync(number) -> None:
        note("sync", os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    def noted_replace(source, target) -> None:
        note("rename", target)
        replace(source, target)

    draw_next(panel, cohort)  # with the colors of the structures, which are written once
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    draw_next(panel, cohort)
    written = ["annotations", "ledgers"]
    assert steps == [(what, place) for place in written for what in ("sync", "rename")]
