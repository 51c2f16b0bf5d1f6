"""Compute on: this computer or a host, and setting hosts up."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError
from ..logic.hosts import report_sentence
from .session import PanelSession
from .words import in_users_language


class HostsBox:
    """The menu of hosts, and the buttons that add, check and clean one."""

    def __init__(self, session: PanelSession):
        self.session, self.ui, self.logic = session, session.ui, session.logic
        self._names: list[str] = []
        self._is_working = False
        ui = self.ui
        session.on_click(ui.addHostButton, self._add)
        session.on_click(ui.checkHostButton, self._check)
        session.on_click(ui.cleanHostButton, self._clean)
        session.on_click(ui.cancelHostButton, self.logic.cancelHost)
        ui.hostSelector.connect("activated(int)", lambda _index: session.attempt(self._chosen))

    @property
    def chosen(self) -> str:
        """The host in the menu; '' for this computer."""
        index = self.ui.hostSelector.currentIndex
        return self._names[index - 1] if 0 < index <= len(self._names) else ""

    def show(self) -> None:
        """Offer the hosts that were set up; the one in use is selected."""
        self.session.attempt(self._read_names, keep_message=True)
        selector = self.ui.hostSelector
        texts = [_("This computer"), *self._names]
        if [selector.itemText(place) for place in range(selector.count)] != texts:
            was = selector.blockSignals(True)
            selector.clear()
            selector.addItems(texts)
            selector.blockSignals(was)
        self._select()

    def _select(self) -> None:
        host = self.logic.host
        index = self._names.index(host) + 1 if host in self._names else 0
        if self.ui.hostSelector.currentIndex != index:
            self.ui.hostSelector.currentIndex = index

    def refresh(self) -> None:
        """Show the host that is used, and enable what can be done now."""
        session, ui = self.session, self.ui
        self._select()
        working = _("A host is being set up or checked. Wait until this has finished.") if self._is_working else None
        learning = _("A model is learning while you draw. Stop it first.") if self.logic.panel.is_learning else None
        session.enable(ui.hostSelector, session.why_busy or working or learning)
        session.enable(ui.addHostButton, working)
        why_none = None if self.logic.host else _("First select a host under 'Compute on'.")
        session.enable(ui.checkHostButton, working or why_none)
        session.enable(ui.cleanHostButton, session.why_busy or working or why_none)
        session.enable(
            ui.cancelHostButton, None if self._is_working else _("No host is being added, checked or cleaned.")
        )

    def use(self, name: str) -> bool:
        """Compute on a host, after asking whether the cohort may be copied there; False when it may not."""
        hosts = self.logic.panel.hosts
        if name and not hosts.is_allowed(name):
            if not slicer.util.confirmYesNoDisplay(
                in_users_language(hosts.question(name)), windowTitle=_("SparseAnnotate")
            ):
                return False
            hosts.allow(name)
        self.logic.useHost(name)
        return True

    def _read_names(self) -> None:
        self._names = self.logic.hosts()

    def _chosen(self) -> None:
        name = self.chosen
        try:
            if self.use(name):
                self.session.say(
                    _(
                        "Models are trained and run on '{host}' now, also while you draw. What needs no model stays on "
                        "this computer."
                    ).format(host=name)
                    if name
                    else _("Everything is computed on this computer now.")
                )
        finally:
            self.show()
            self.session.refresh()

    def _add(self) -> None:
        name = self.ui.hostEdit.text.strip()
        if not name:
            raise BadInputError(
                _("Enter the name of a host of your OpenSSH configuration (~/.ssh/config), then click again.")
            )
        prefix = self.ui.prefixEdit.text.strip()
        self._begin(_("Setting '{host}' up, which can take minutes ...").format(host=name))
        self.logic.addHost(name, prefix, waitForCompletion=False, onDone=self._reported, onProgress=self._progress)

    def _used(self) -> str:
        """The host that is used. Raises BadInputError when there is none."""
        if not self.logic.host:
            raise BadInputError(_("First select a host under 'Compute on'."))
        return self.logic.host

    def _check(self) -> None:
        name = self._used()
        self._begin(_("Checking '{host}' ...").format(host=name))
        self.logic.checkHost(name, waitForCompletion=False, onDone=self._reported, onProgress=self._progress)

    def _clean(self) -> None:
        name = self._used()
        question = _(
            "Remove the copies of cohorts from '{host}'? What is on this computer stays. Trainings whose runs are not "
            "here yet are kept there, and so are the packages."
        ).format(host=name)
        if slicer.util.confirmYesNoDisplay(question, windowTitle=_("SparseAnnotate")):
            self._begin(_("Cleaning '{host}' ...").format(host=name))
            self.logic.cleanHost(name, waitForCompletion=False, onDone=self._cleaned)

    def _begin(self, text: str) -> None:
        self._is_working = True
        self.ui.hostLabel.text = text
        self.session.refresh()

    def _progress(self, progress) -> None:
        self.ui.hostLabel.text = in_users_language(progress.message)

    def _reported(self, report, error) -> None:
        self._end("" if error is not None else report_sentence(report), error)
        if error is None:
            self.show()

    def _cleaned(self, sentence, error) -> None:
        self._end(sentence or "", error)

    def _end(self, sentence: str, error) -> None:
        self._is_working = False
        self.ui.hostLabel.text = in_users_language(sentence if error is None else error.message)
        if error is not None:
            self.session.say(error.message, is_error=not isinstance(error, CancelledError))
        self.session.refresh()
