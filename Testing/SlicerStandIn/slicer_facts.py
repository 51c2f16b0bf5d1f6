"""What Slicer shows of its classes and modules to Python, as read in a running Slicer 5.13 (Qt 6, PythonQt 4.1).

The facts are in `slicer_names.json`: per class or module the names, Qt properties and signals, each as one string of
words; a line may say only what it has more, or less, than an earlier one that it is like. The file is made from a
longer list of the same facts by::

    cd Testing
    python -m SlicerStandIn.slicer_facts PATH_TO_slicer-api.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FACTS_FILE = Path(__file__).with_name("slicer_names.json")
_QT_CLASSES = """
    QAction QBrush QButtonGroup QCheckBox QColor QComboBox QDoubleSpinBox QEvent QFileDialog QFont QFormLayout QFrame
    QGridLayout QGroupBox QHBoxLayout QHeaderView QIcon QKeyEvent QKeySequence QLabel QLineEdit QListWidget
    QListWidgetItem QMenu QMessageBox QObject QPlainTextEdit QProcess QProcessEnvironment QProgressBar QPushButton
    QRadioButton QScrollArea QSettings QShortcut QSize QSizePolicy QSpinBox QStackedWidget QTableWidget
    QTableWidgetItem QTimer QToolButton QVBoxLayout QWidget
"""
_CTK_CLASSES = "ctkCollapsibleButton ctkCollapsibleGroupBox ctkPathLineEdit ctkSearchBox"
_MRML_CLASSES = """
    qMRMLNodeComboBox qMRMLPlotView qMRMLPlotWidget qMRMLSegmentEditorWidget qMRMLWidget qSlicerLayoutManager
"""
_MODULES = [
    *("qt", "ctk", "slicer", "slicer.i18n", "slicer.modules", "slicer.packaging", "slicer.parameterNodeWrapper"),
    *("slicer.util", "slicer.app", "slicer.app.layoutManager()"),
]
_SCRIPTED = [f"ScriptedLoadableModule{part}" for part in ("", "Logic", "Test", "Widget")]
# Classes that cannot be instantiated, and so have no line: they have what all their heirs have.
_ABSTRACT = {
    "qt.QAbstractButton": ("qt.QCheckBox", "qt.QPushButton", "qt.QRadioButton", "qt.QToolButton"),
    "qt.QAbstractItemView": ("qt.QHeaderView", "qt.QListWidget", "qt.QTableWidget"),
}
# Classes not inspected in Slicer: their base class, and the methods and properties that Slicer's own scripts use.
_NOT_LISTED = {
    "qt.QClipboard": ("qt.QObject", "clear setText text", ""),
    "qt.QScrollBar": ("qt.QWidget", "setValue", "maximum minimum value"),
    "slicer.qSlicerScriptedLoadableModuleWidget": ("slicer.qMRMLWidget", "", "isEntered"),
}
# What a line tells, and its name in the long list.
_PARTS = {"names": "python_names", "properties": "properties", "signals": "signals"}


@dataclass(frozen=True)
class Facts:
    """What Slicer offers of one class or module; `signals` and `properties` are None where they are not known."""

    name: str
    names: frozenset[str]
    properties: frozenset[str] | None
    signals: frozenset[str] | None

    def allows(self, name: str) -> bool:
        """True for a name that Slicer shows; Python's reserved words end in an underscore there."""
        reserved = name in ("exec_", "print_", "raise_") and name[:-1] in self.names
        return name in self.names or reserved or name.startswith("__")

    def allows_signal(self, signature: str) -> bool:
        """True for a signature that can be connected."""
        if self.signals is None:
            return signature.partition("(")[0] in self.names
        return signature in self.signals


@cache
def all_facts() -> dict[str, Facts]:
    """The facts by name: "qt", "qt.QLabel", "slicer.util", "slicer.app", "slicer.qMRMLNodeComboBox", ..."""
    lines = json.loads(FACTS_FILE.read_text(encoding="utf-8"))
    lines.pop("source")
    facts: dict[str, Facts] = {}
    for name, line in lines.items():
        like, lacks = facts.get(line.get("like")), set(line.get("lacks", "").split())
        parts = []
        for part in _PARTS:
            words = set(line[part].split()) if part in line else None
            if words is not None and like is not None:
                words |= (getattr(like, part) or frozenset()) - lacks
            parts.append(frozenset(words) if words is not None else None)
        facts[name] = Facts(name, *parts)
    for name, heirs in _ABSTRACT.items():
        facts[name] = Facts(name, frozenset.intersection(*(facts[heir].names for heir in heirs)), None, None)
    for name, (base, methods, properties) in _NOT_LISTED.items():
        known, own = facts[base], frozenset(properties.split())
        names = known.names | own | frozenset(methods.split())
        facts[name] = Facts(name, names, (known.properties or frozenset()) | own, known.signals)
    return facts


def facts_of_class(class_name: str) -> Facts | None:
    """The facts of a Qt, ctk or qMRML class by its name alone; None when there are none."""
    known = all_facts()
    keys = (f"{module}.{class_name}" for module in ("qt", "ctk", "slicer"))
    return next((known[key] for key in keys if key in known), None)


def all_signals() -> frozenset[str]:
    """Every signature that some class has."""
    return frozenset().union(*(facts.signals for facts in all_facts().values() if facts.signals))


def trimmed(api: dict) -> dict:
    """The content of the facts file, from the long list: name -> inherits, properties, python_names, signals, slots."""
    lines = {"source": "What Slicer 5.13 (Qt 6, PythonQt 4.1) shows to Python, read in a running Slicer."}
    classes = {"qt": _QT_CLASSES, "ctk": _CTK_CLASSES, "slicer": _MRML_CLASSES}
    keys = [*_MODULES, *(f"{module}.{name}" for module, names in classes.items() for name in names.split())]
    known = {key: {part: _public(api[key][word]) for part, word in _PARTS.items() if word in api[key]} for key in keys}
    # The classes of MRML come with slicer-core and need no list.
    known["slicer"]["names"] = {name for name in known["slicer"]["names"] if not name.startswith("vtk")}
    known["slicer.ScriptedLoadableModule"] = {"names": set(_SCRIPTED)}
    for name in _SCRIPTED:
        known[f"slicer.ScriptedLoadableModule.{name}"] = {
            "names": _public(api[f"ScriptedLoadableModule.{name}"]["python_names"])
        }
    written: dict[str, dict[str, set[str]]] = {}
    for name, parts in known.items():
        plain = {part: _words(words) for part, words in parts.items()}
        likes = (_difference(like, written[like], parts) for like in written)
        lines[name] = min([plain, *likes], key=lambda line: len(json.dumps(line)))
        written[name] = parts
    return lines


def _difference(like: str, known: dict[str, set[str]], parts: dict[str, set[str]]) -> dict[str, str]:
    """A line that says how a class differs from one that has been written already."""
    lacks = set().union(*(known.get(part, set()) - words for part, words in parts.items()))
    more = {part: words - (known.get(part, set()) - lacks) for part, words in parts.items()}
    line = {"like": like, **{part: _words(words) for part, words in more.items()}}
    return {**line, "lacks": _words(lacks)} if lacks else line


def _public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def _words(names: Iterable[str]) -> str:
    return " ".join(sorted(names))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    lines = trimmed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    body = ",\n".join(f"{json.dumps(name)}: {json.dumps(line)}" for name, line in lines.items())
    FACTS_FILE.write_text(f"{{\n{body}\n}}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
