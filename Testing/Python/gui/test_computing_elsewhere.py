"""Compute on: choosing a host in the panel, and setting one up."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from SparseAnnotateLib.remote.cohort_record import RunThere, record_of, write_record
from SparseAnnotateLib.remote.hosts import Host, host_named, keep_host, known_hosts
from SparseAnnotateLib.runs.run_folder import RunFolder
from ssh_server import SshServer, needs_ssh_server
from system_needs import needs_slicer

pytestmark = needs_slicer


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two hosts in a configuration folder of its own."""
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "configuration"))
    for name in ("gpu", "cluster"):
        keep_host(Host(name, python=sys.executable, folder=str(tmp_path / name), as_is=True))


def choose(panel, index: int) -> None:
    panel.ui.hostSelector.setCurrentIndex(index)
    panel.ui.hostSelector.activated.emit(index)


def test_a_host_is_used_only_once_copying_has_been_allowed(hosts, panel):
    from SlicerStandIn import questions

    panel.panel.environment.hosts.show()
    texts = [panel.ui.hostSelector.itemText(place) for place in range(panel.ui.hostSelector.count)]
    assert texts == ["This computer", "cluster", "gpu"]
    questions.answers.append(False)
    choose(panel, 2)
    assert panel.logic.host == ""
    assert panel.ui.hostSelector.currentIndex == 0
    assert "DICOM headers" in questions.asked[-1]
    assert host_named("gpu").cohorts == ()
    questions.answers.append(True)
    choose(panel, 2)
    assert panel.logic.host == "gpu"
    assert "'gpu'" in panel.ui.messageLabel.text
    assert len(host_named("gpu").cohorts) == 1
    # Asked once.
    choose(panel, 0)
    assert panel.logic.host == ""
    choose(panel, 2)
    assert panel.logic.host == "gpu"
    command = panel.logic.session._relay()
    assert command[1:] == ["-m", "SparseAnnotateLib.remote", "relay", "gpu"]
    choose(panel, 0)
    assert panel.logic.session._relay() is None


def test_a_run_that_is_trained_on_a_host_can_be_reconnected(hosts, panel):
    panel.add_ball()
    folder = panel.logic.cohortFolder
    panel.logic.cohort()
    write_record(folder, record_of(folder).with_run("first", RunThere("gpu", "token")))
    assert panel.logic.panel.hosts.runs_there() == {"first": "gpu"}


def test_buttons_of_hosts_say_what_is_missing(hosts, panel):
    assert not panel.ui.checkHostButton.enabled
    assert "First select a host" in panel.ui.cleanHostButton.toolTip
    for button in (panel.ui.checkHostButton, panel.ui.cleanHostButton):
        # As a script would, though it is disabled.
        button.enabled = True
        button.click()
        assert "First select a host" in panel.ui.messageLabel.text
    panel.ui.addHostButton.click()
    assert "Enter the name of a host" in panel.ui.messageLabel.text
    panel.ui.hostEdit.text = "-oProxyCommand=id"
    panel.ui.addHostButton.click()
    panel.until(lambda: panel.ui.addHostButton.enabled)
    assert "cannot be the name of a host" in panel.ui.messageLabel.text
    assert len(known_hosts()) == 2


@needs_ssh_server
def test_a_host_is_checked_and_cleaned_from_the_panel(hosts, panel, tmp_path, monkeypatch):
    from SlicerStandIn import questions

    (tmp_path / "ssh").mkdir()
    server = SshServer(tmp_path / "ssh")
    monkeypatch.setenv("SPARSE_ANNOTATE_SSH_CONFIG", str(server.config))
    panel.panel.environment.hosts.show()
    questions.answers.append(True)
    choose(panel, 2)
    panel.ui.checkHostButton.click()
    assert not panel.ui.checkHostButton.enabled
    panel.until(lambda: panel.ui.checkHostButton.enabled)
    assert "refused the connection" in panel.ui.hostLabel.text
    server.start()
    try:
        questions.answers.append(True)
        panel.ui.cleanHostButton.click()
        panel.until(lambda: panel.ui.cleanHostButton.enabled)
        assert "MB were freed on 'gpu'" in panel.ui.hostLabel.text
    finally:
        server.stop()


@needs_ssh_server
def test_what_is_drawn_in_the_panel_is_learned_from_on_a_host(hosts, panel, warm_python_there, tmp_path, monkeypatch):
    from SparseAnnotateLib.core import BadInputError
    from SparseAnnotateLib.gui import learning_mode

    monkeypatch.setattr(learning_mode, "_FEWEST_STEPS", 3)
    keep_host(replace(host_named("gpu"), python=warm_python_there))

    (tmp_path / "ssh").mkdir()
    server = SshServer(tmp_path / "ssh")
    monkeypatch.setenv("SPARSE_ANNOTATE_SSH_CONFIG", str(server.config))
    server.start()
    ui = panel.ui
    try:
        volume = panel.add_ball()
        panel.recommend()
        panel.add_segment(volume)
        panel.logic.useHost("gpu", allowCopying=True)
        panel.paint(panel.panel.draw.table.chosen().index)
        ui.drawnButton.click()
        ui.learnCheckBox.checked = True
        panel.until(lambda: "on 'gpu': learning from 1 drawn slice" in ui.learningLabel.text)
        panel.until(lambda: not ui.offerFrame.isHidden())
        item = panel.panel.draw.table.chosen()
        assert ui.offerLabel.text.startswith(f"The model suggests a drawing for axial slice {item.index}.")
        panel.panel.environment.refresh()
        assert "Stop it first" in ui.hostSelector.toolTip
        with pytest.raises(BadInputError, match="A model is learning while you draw. Stop it first"):
            panel.logic.useHost("")
        panel.paint(item.index)
        ui.drawnButton.click()
        panel.until(lambda: "on 'gpu': learning from 2 drawn slices" in ui.learningLabel.text)
        ui.learnCheckBox.checked = False
        panel.until(lambda: not panel.logic.panel.is_learning)
        panel.idle()
        assert "'live 1' has stopped learning" in panel.message
        assert panel.logic.panel.hosts.runs_there() == {}
        assert RunFolder(panel.logic.cohort().run_folder("live 1")).card().slices == 2
        panel.logic.useHost("")
    finally:
        panel.logic.session.learning_jobs.close()
        server.stop()


@needs_ssh_server
def test_setting_a_host_up_can_be_cancelled(hosts, panel, tmp_path, monkeypatch):
    (tmp_path / "ssh").mkdir()
    server = SshServer(tmp_path / "ssh")
    monkeypatch.setenv("SPARSE_ANNOTATE_SSH_CONFIG", str(server.config))
    server.start()
    ui = panel.ui
    assert not ui.cancelHostButton.enabled
    # A Python whose packages are tested for ever.
    python = tmp_path / "python"
    waiting = f'exec {sys.executable} -c "import sys; sys.stdin.read()" never-ready'
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && {waiting}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    keep_host(replace(host_named("gpu"), python=str(python)))
    try:
        ui.hostEdit.text = "gpu"
        ui.addHostButton.click()
        assert ui.cancelHostButton.enabled
        panel.until(lambda: "testing the packages" in ui.hostLabel.text)
        panel.until(lambda: server.running("never-ready"))
        ui.cancelHostButton.click()
        panel.until(lambda: ui.addHostButton.enabled)
        assert "Cancelled" in ui.hostLabel.text
        assert not ui.cancelHostButton.enabled
        panel.until(lambda: not server.running("never-ready"))
    finally:
        server.stop()


def test_the_console_refuses_a_host_that_was_not_set_up(hosts, panel):
    from SparseAnnotateLib.core import BadInputError

    assert panel.logic.hosts() == ["cluster", "gpu"]
    with pytest.raises(BadInputError, match="has not been set up"):
        panel.logic.useHost("unknown")
    panel.logic.useHost("gpu", allowCopying=True)
    assert panel.logic.host == "gpu"
    assert panel.logic.panel.hosts.is_allowed("gpu")
    panel.logic.useHost("")
