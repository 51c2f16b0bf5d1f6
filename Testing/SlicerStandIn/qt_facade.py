"""`qt`, `ctk`, the qMRML widgets and `slicer.app` as the panel finds them in Slicer, on PySide6.

`install()` puts them in place. No window pops up: a test appends to `answers` what a person would answer (True,
False, a button, a path, a name), reads the questions in `asked` and the messages of pop-up windows in `shown_messages`.
What slots raise is in `slot_errors`; `button.click()` raises it by itself.
"""

from __future__ import annotations

import sys
import types

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import questions, slicer_application, ui_files
from .pythonqt_rules import as_pythonqt, slot_errors
from .questions import answers, asked, shown_messages
from .slicer_facts import all_facts

__all__ = ["answers", "as_pythonqt", "asked", "install", "shown_messages", "slot_errors"]

_QT_CLASSES = """
    QAction QButtonGroup QCheckBox QComboBox QDoubleSpinBox QFormLayout QFrame QGridLayout QGroupBox QHBoxLayout
    QHeaderView QLabel QLineEdit QListWidget QListWidgetItem QObject QPlainTextEdit QProcess QProgressBar QPushButton
    QRadioButton QScrollArea QSettings QShortcut QSpinBox QStackedWidget QTableWidget QTableWidgetItem QTimer
    QToolButton QVBoxLayout QWidget
"""
# Without signals and properties of their own, so PySide6's are the same.
_PLAIN_CLASSES = """
    QAbstractItemView QApplication QBrush QColor QCursor QEvent QFont QIcon QKeyEvent QKeySequence QPoint
    QProcessEnvironment QSize QSizePolicy Qt
"""


def install() -> QtWidgets.QApplication:
    """Make `qt` and `ctk` importable, complete `slicer` and `slicer.util`; returns the Qt application."""
    application = slicer_application.install()
    questions.install()
    slicer.util.loadUI, slicer.util.childWidgetVariables = ui_files.load_ui, ui_files.child_widget_variables
    classes = {name: as_pythonqt(ui_files.WIDGETS.get(name) or _of_pyside(name)) for name in _QT_CLASSES.split()}
    classes |= {name: _of_pyside(name) for name in _PLAIN_CLASSES.split()}
    classes |= {
        cls.__name__: as_pythonqt(cls) for cls in (questions.QMessageBox, questions.QFileDialog, questions.QMenu)
    }
    widgets = {name: as_pythonqt(cls) for name, cls in ui_files.WIDGETS.items()}
    _install_module("qt", classes)
    _install_module("ctk", {name: cls for name, cls in widgets.items() if name.startswith("ctk")})
    for name, cls in widgets.items():
        if name.startswith("qMRML"):
            setattr(slicer, name, cls)
    return application


def _of_pyside(name: str) -> type:
    return next(getattr(module, name) for module in (QtWidgets, QtGui, QtCore) if hasattr(module, name))


def _install_module(name: str, content: dict[str, type]) -> None:
    unknown = content.keys() - all_facts()[name].names
    if unknown:
        raise RuntimeError(f"Slicer has no {name}.{', '.join(sorted(unknown))}.")
    module = types.ModuleType(name)
    vars(module).update(content)

    def missing(attribute: str):
        raise AttributeError(f"The stand-in of {name} has no '{attribute}'; see {__name__}.")

    module.__getattr__ = missing
    sys.modules[name] = module
