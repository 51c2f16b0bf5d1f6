"""A person in front of the panel."""

from __future__ import annotations

import gc
from time import monotonic, sleep

import numpy as np
import pytest

from small_volumes import ball, noisy_image

_TURN_SECONDS = 0.002


@pytest.fixture
def facade(mrml):
    """The stand-in with its windows; nothing asked, nothing answered."""
    from SlicerStandIn import qt_facade, questions

    qt_facade.install()
    questions.forget()
    qt_facade.slot_errors.clear()
    yield qt_facade
    assert qt_facade.slot_errors == []
    assert list(qt_facade.answers) == []


@pytest.fixture
def qt(facade):
    import qt

    return qt


@pytest.fixture
def ctk(facade):
    import ctk

    return ctk


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """The environment that Slicer's launcher gives to Slicer."""
    from SlicerStandIn import launcher_environment

    # What is set here of its own accord would be taken for the user's.
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    with launcher_environment.launched(tmp_path / "Slicer"):
        yield


@pytest.fixture(scope="module", autouse=True)
def short_collections():
    """What has been imported by now is not looked at again whenever garbage is collected: that takes 0.2 s a time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def short_pauses(mrml, monkeypatch):
    """The panel waits for the end of a stroke as it does in Slicer, but for a tenth of the time."""
    from SlicerStandIn import qt_facade

    qt_facade.install()
    from SparseAnnotateLib.gui import painting_watch
    from SparseAnnotateLib.gui import panel as whole_panel

    for module, name in ((painting_watch, "_STROKE_PAUSE_MS"), (painting_watch, "_SCROLL_PAUSE_MS")):
        monkeypatch.setattr(module, name, getattr(module, name) // 10)
    monkeypatch.setattr(whole_panel, "_SOON_MS", whole_panel._SOON_MS // 10)


@pytest.fixture
def panel(mrml, tmp_path, launched, short_pauses):
    """The real panel, in an empty scene, with a cohort folder of its own."""
    from PySide6 import QtCore

    from Demo.panel_window import open_panel
    from SlicerStandIn import mrml_widgets, qt_facade, questions

    questions.forget()
    qt_facade.slot_errors.clear()
    mrml_widgets.console_errors.clear()
    application, widget = open_panel()
    widget.panel.ui.cohortFolderSelector.currentPath = str(tmp_path / "cohort")
    person = Person(application, widget, mrml)
    yield person
    widget.cleanup()
    session = widget.logic.session
    clients = [*session.jobs.clients, *session.learning_jobs.clients, *session.host_jobs.clients]
    person.until(lambda: not any(client.is_running for client in clients))
    # Deleted as Slicer does with a module's widget when it quits; else it would go on following the next scenes.
    widget.parent.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    # Qt's objects must not be left to be collected in the middle of somebody else's work.
    gc.collect()
    assert not questions.shown_messages, "something unexpected was shown in a window of its own"
    assert not qt_facade.slot_errors
    assert not mrml_widgets.console_errors, mrml_widgets.console_errors


class Person:
    """Clicks, draws and waits."""

    def __init__(self, application, widget, mrml):
        self.application, self.widget, self.mrml = application, widget, mrml
        self.panel, self.ui, self.logic = widget.panel, widget.panel.ui, widget.logic

    @property
    def message(self) -> str:
        """What the panel says."""
        return self.ui.messageLabel.text

    @property
    def message_is(self) -> str:
        """How the message looks: as an 'error', as something done with a 'note', or 'plain'."""
        from SparseAnnotateLib.gui.session import ERROR_STYLE, NOTE_STYLE

        return {ERROR_STYLE: "error", NOTE_STYLE: "note", "": "plain"}[self.ui.messageLabel.styleSheet]

    @property
    def job(self) -> str:
        """What the panel says of the work."""
        return self.ui.jobLabel.text

    @property
    def items(self) -> list:
        return self.panel.draw.table.items

    def until(self, condition, seconds: float = 600.0) -> None:
        """Let the window live until something has happened."""
        deadline = monotonic() + seconds
        while not condition():
            assert monotonic() < deadline, f"it never came; the panel says: {self.message} {self.job}"
            self.application.processEvents()
            sleep(_TURN_SECONDS)  # the workers need the processor more

    def idle(self) -> None:
        """Let the window live until nothing is being worked on, and all that is due has been shown."""
        self.until(lambda: not self.logic.isBusy)
        self.application.processEvents()
        self.until(lambda: not self.panel._soon.active)

    def applied(self) -> None:
        """Let the window live until the result has been applied, or could not be."""
        self.until(lambda: not self.panel.result.is_applying)

    def add_ball(self, name: str = "ball"):
        """Load a volume with a ball in it, and wait until the panel has seen it."""
        self.labels = ball()
        node = self.mrml.util.addVolumeFromArray(noisy_image(self.labels), np.diag([-1.0, 1.0, 2.0, 1.0]), name)
        self.idle()
        return node

    def recommend(self, percent: float = 20.0) -> None:
        self.ui.budgetSpinBox.value = percent
        self.ui.recommendButton.click()
        self.idle()

    def add_segment(self, volume, name: str = "ball") -> None:
        """Add a segment, as the Segment Editor's button does."""
        self.logic.segmentationNode(volume).GetSegmentation().AddEmptySegment(name, name)
        self.idle()

    def paint(self, index: int, name: str = "ball", plane_axis: int = 0) -> None:
        """Paint what the ball shows on a slice, as one stroke in the panel's Segment Editor."""
        stroke = np.zeros(self.labels.shape, dtype=bool)
        layer = tuple(index if axis == plane_axis else slice(None) for axis in range(3))
        stroke[layer] = self.labels[layer] > 0
        self.ui.segmentEditorWidget.paint(stroke, name)
        self.until(lambda: not self.panel.draw.painting.is_waiting)

    def draw_all(self, volume) -> None:
        """Paint the whole worklist, slice by slice, and press Drawn each time."""
        self.add_segment(volume)
        for item in self.items:
            assert self.panel.draw.table.chosen().index == item.index
            self.paint(item.index)
            self.ui.drawnButton.click()

    def draw_one_slice_for_a_long_training(self):
        volume = self.add_ball()
        self.ui.iterationsSpinBox.value = 100000
        self.recommend()
        self.add_segment(volume)
        item = self.panel.draw.table.chosen()
        self.paint(item.index)
        self.ui.drawnButton.click()
        return volume
