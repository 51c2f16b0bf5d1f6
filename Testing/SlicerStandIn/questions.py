"""Pop-up windows of Slicer: questions are answered from a list, messages are recorded, nothing waits for a person."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import slicer
from PySide6 import QtWidgets

# The answers to the questions to come, first come first served: True or False, a button, a path, a name.
answers: deque[Any] = deque()
# The questions asked, and the messages shown in windows, oldest first.
asked: list[str] = []
shown_messages: list[str] = []


def ask(question: str, *details: str) -> Any:
    """The next answer. An unanswered question is an AssertionError: it would have waited forever."""
    text = " ".join([question, *(detail for detail in details if detail)])
    asked.append(text)
    if not answers:
        raise AssertionError(f"Nobody answers the question '{text}'; append to qt_facade.answers first.")
    return answers.popleft()


def forget() -> None:
    """Clear all questions, answers and messages."""
    answers.clear()
    asked.clear()
    shown_messages.clear()


def _tell(level: int):
    def display(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
        logging.log(level, text)
        shown_messages.append(text)

    return display


def _confirm(text, windowTitle=None, parent=None, **kwargs) -> bool:
    return bool(ask(text))


def _message_box(text, parent=None, **kwargs):
    """With buttons to choose from it is a question, answered by one of them; otherwise it only shows a message."""
    if kwargs.get("standardButtons"):
        return ask(text)
    shown_messages.append(text)
    return QtWidgets.QMessageBox.StandardButton.Ok


def _delay_display(message, autoCloseMsec=1000, parent=None, **kwargs) -> None:
    shown_messages.append(message)
    slicer.app.processEvents()


class QMessageBox(QtWidgets.QMessageBox):
    """Answers itself: `exec()` and the static questions take the next answer, a button."""

    def exec(self):
        return ask(self.text(), self.informativeText())

    exec_ = exec

    @staticmethod
    def question(parent, title, text, *arguments):
        return ask(text)

    @staticmethod
    def information(parent, title, text, *arguments):
        shown_messages.append(text)
        return QtWidgets.QMessageBox.StandardButton.Ok

    warning = critical = information


class QFileDialog(QtWidgets.QFileDialog):
    """`getExistingDirectory` and `getSaveFileName` take the next answer, a path; '' is Cancel."""

    @staticmethod
    def getExistingDirectory(parent=None, caption="", directory="", *arguments):
        return str(ask(caption))

    @staticmethod
    def getSaveFileName(parent=None, caption="", directory="", *arguments):
        return str(ask(caption))


class QMenu(QtWidgets.QMenu):
    """`exec()` triggers the action whose text is the next answer, or none."""

    def exec(self, *arguments):
        texts = [action.text() for action in self.actions() if action.text()]
        wanted = ask("Choose of the menu:", ", ".join(texts))
        action = next((a for a in self.actions() if a.text() == wanted), None)
        if action is not None:
            action.trigger()
        return action

    exec_ = exec


def install() -> None:
    """Take the place of what pops up in `slicer.util`; what needs no window there is Slicer's own."""
    util = slicer.util
    util.infoDisplay, util.warningDisplay = _tell(logging.INFO), _tell(logging.WARNING)
    util.errorDisplay = _tell(logging.ERROR)
    util.confirmOkCancelDisplay = util.confirmYesNoDisplay = util.confirmRetryCloseDisplay = _confirm
    util.messageBox, util.delayDisplay = _message_box, _delay_display
    util.openAddDataDialog = lambda: bool(ask("Add data"))
