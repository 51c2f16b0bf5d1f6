"""Environment: devices, packages, the worker and its log, and the cohort folder."""

from __future__ import annotations

import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ..core import DEFAULT_DEVICE
from ..core.registry import Entry
from ..core.slicer_python import PYTHON_VARIABLE
from .choice_labels import choose, chosen_part, show_labels
from .hosts_box import HostsBox
from .panel_choices import devices
from .session import PanelSession
from .step import Step
from .words import in_users_language

_PYTHON_SETTING = "SparseAnnotate/WorkerPython"


class EnvironmentStep(Step):
    """Checks and installs what training needs, and lets the user choose the device for all computations."""

    def __init__(self, session: PanelSession):
        super().__init__(session, session.ui.environmentSection)
        ui = self.ui
        self._devices: dict[str, Entry] = {}
        self._state = ""
        self.hosts = HostsBox(session)
        ui.cohortFolderSelector.filters = ctk.ctkPathLineEdit.Dirs
        ui.pythonSelector.filters = ctk.ctkPathLineEdit.Files
        # A setting of this computer, not of a scene.
        ui.pythonSelector.currentPath = str(qt.QSettings().value(_PYTHON_SETTING) or "")
        self._use_python(ui.pythonSelector.currentPath)
        session.on_click(ui.environmentButton, self.check)
        session.on_click(ui.installButton, self._install)
        session.on_click(ui.restartButton, self._stop_worker)
        session.on_click(ui.copyLogButton, self._copy_log)
        ui.deviceSelector.connect("currentTextChanged(QString)", lambda _text: self._device_chosen())
        ui.cohortFolderSelector.connect("currentPathChanged(QString)", self._folder_chosen)
        ui.pythonSelector.connect("currentPathChanged(QString)", self._python_chosen)

    def summary(self) -> str:
        return self._state or _("not checked yet")

    def connect(self) -> None:
        self.hosts.show()
        self.show_devices(["cpu"])
        # Not bound to the widget: a parameter of type Path would show an empty folder as '.'.
        folder = self.session.parameters.cohortFolder
        self.ui.cohortFolderSelector.currentPath = folder
        self.logic.cohortFolder = folder

    def show_devices(self, names: list[str]) -> None:
        """Offer the default device and these; the one stored in the scene stays selected."""
        wanted = self.session.parameters.device if self.session.parameters is not None else DEFAULT_DEVICE
        names = list(dict.fromkeys([DEFAULT_DEVICE, *names, wanted]))
        selector = self.ui.deviceSelector
        if list(self._devices) != names:
            self._devices = devices(names)
            was = selector.blockSignals(True)
            selector.clear()
            selector.addItems(names)
            show_labels(selector, self._devices)
            selector.blockSignals(was)
        choose(selector, self._devices, wanted)

    def refresh(self) -> None:
        session, ui = self.session, self.ui
        self.show_worker()
        busy = session.why_busy
        session.enable(ui.environmentButton, None)
        session.enable(ui.installButton, busy)
        session.enable(ui.cohortFolderSelector, busy)
        self.hosts.refresh()
        self._show_log()

    def show_worker(self) -> None:
        """Show what the worker is doing."""
        text, why_not = _("not running; starts when needed"), _("The worker is not running.")
        if self.logic.panel.worker_is_running:
            at_work = self.logic.panel.at_work
            text, why_not = _("busy: {job}").format(job=at_work) if at_work else _("ready"), None
        self.ui.workerLabel.text = text
        self.session.enable(self.ui.restartButton, why_not)

    def _show_log(self) -> None:
        lines = self.logic.panel.worker_log
        text = "\n".join(lines[-200:])
        if self.ui.logText.plainText != text:
            self.ui.logText.plainText = text
        self.session.enable(self.ui.copyLogButton, None if lines else _("The worker's log is empty."))

    def check(self) -> None:
        """Let the worker check packages and devices."""
        self.ui.environmentLabel.text = _("Checking packages and devices ...")
        self.logic.environment(waitForCompletion=False, onDone=self._checked)
        self.session.refresh()

    def _checked(self, report, error) -> None:
        if error is not None:
            self.ui.environmentLabel.text = in_users_language(error.message)
            self._state = _("could not be checked")
            self.session.say(error.message, is_error=True)
        else:
            self.ui.environmentLabel.text = in_users_language(report["message"])
            known = {name: version for name, version in report["packages"].items() if version}
            versions = ", ".join(f"{name} {version}" for name, version in known.items())
            self.ui.versionsLabel.text = f"Python {report['python']}, {versions}"
            self._state = report["device"] or _("packages are missing")
            tested = [f"{device['device']}: {in_users_language(device['message'])}" for device in report["devices"]]
            self.ui.environmentLabel.toolTip = "\n".join(tested)
            self.show_devices([device["device"] for device in report["devices"] if device["works"]])
        self.session.refresh()

    def _install(self) -> None:
        self.logic.panel.install_packages()
        self.check()

    def _stop_worker(self) -> None:
        self.logic.close()
        self.session.refresh()
        self.session.say(_("The worker was stopped. It starts again when needed; click Continue to resume training."))

    def _copy_log(self) -> None:
        slicer.app.clipboard().setText("\n".join(self.logic.panel.worker_log))
        self.session.say(_("The worker's log was copied to the clipboard."))

    def _device_chosen(self) -> None:
        device = chosen_part(self.ui.deviceSelector, self._devices)
        if self.session.parameters is not None and device is not None:
            self.session.parameters.device = device.name

    def _folder_chosen(self, path: str) -> None:
        if self.session.parameters is not None:
            self.session.parameters.cohortFolder = path
            self.logic.cohortFolder = path
            self.session.refresh()

    def _python_chosen(self, path: str) -> None:
        qt.QSettings().setValue(_PYTHON_SETTING, path)
        self._use_python(path)

    @staticmethod
    def _use_python(path: str) -> None:
        if path:
            os.environ[PYTHON_VARIABLE] = path
        else:
            os.environ.pop(PYTHON_VARIABLE, None)
