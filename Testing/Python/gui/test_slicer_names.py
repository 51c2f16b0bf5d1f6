"""Every name, signal and property of Slicer that the extension uses exists in Slicer."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from SlicerStandIn.slicer_facts import Facts, all_facts, all_signals, facts_of_class

MODULE = Path(__file__).resolve().parents[3] / "SparseAnnotate"
UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
FILES = [MODULE / "SparseAnnotate.py"]
for part in ("gui", "logic", "scene"):
    FILES += sorted((MODULE / "SparseAnnotateLib" / part).glob("*.py"))


def ids(path: Path) -> str:
    return path.name


def widgets_of_the_ui_files() -> Iterator[ElementTree.Element]:
    for path in UI_FILES:
        yield from ElementTree.parse(path).getroot().iter("widget")


CLASS_OF = {widget.get("name"): widget.get("class") for widget in widgets_of_the_ui_files()}


def dotted(node: ast.AST) -> str | None:
    """`slicer.app.layoutManager().layout` as text; None for anything that does not begin with a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call):
        called = dotted(node.func)
        return f"{called}()" if called else None
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else None
    return None


def names_used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that begins with qt, ctk or slicer, imported names included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := dotted(node)):
            yield node.lineno, name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def is_unknown(name: str) -> bool:
    """True for a name that Slicer does not have, or of whose owner in qt or ctk nothing is known."""
    owner, _, last = name.rpartition(".")
    module = name.split(".")[0]
    # The classes of MRML come with slicer-core, whose own they are.
    if not owner or module not in ("qt", "ctk", "slicer") or last.startswith("vtk"):
        return False
    if owner == "qt.Qt":
        return not hasattr(Qt, last)
    facts = all_facts().get(owner, all_facts().get(owner.removesuffix("()")))
    if facts is None:
        return module != "slicer" and owner.count(".") == 1
    return not facts.allows(last)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_qt_ctk_and_slicer_name_exists_in_slicer(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"line {line}: {name}" for line, name in names_used(tree) if is_unknown(name)] == []


def connections(tree: ast.AST) -> Iterator[tuple[int, str | None, str]]:
    """Line, class of the sender (None: not known) and signature of every `connect` and `disconnect` by signature."""
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
        if not is_call or node.func.attr not in ("connect", "disconnect"):
            continue
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            yield node.lineno, sender_class(node.func.value), node.args[0].value


def sender_class(sender: ast.AST) -> str | None:
    """The class of `ui.<name>` or `self.ui.<name>`, which the .ui file tells."""
    is_of_ui = isinstance(sender, ast.Attribute) and (dotted(sender.value) or "").split(".")[-1] == "ui"
    return CLASS_OF.get(sender.attr) if is_of_ui else None


def has_signal(cls: str | None, signature: str) -> bool:
    known: Facts | None = facts_of_class(cls) if cls else None
    if known is not None:
        return known.allows_signal(signature)
    return signature in all_signals() or signature in ("activated()", "activatedAmbiguously()")


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_signal_connected_by_signature_exists_in_slicer(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unknown = [entry for entry in connections(tree) if not has_signal(entry[1], entry[2])]
    assert unknown == []


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_attribute_of_a_widget_of_the_ui_file_exists_in_slicer(path):
    unknown = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and (cls := sender_class(node.value)):
            known = facts_of_class(cls)
            if known is None or not known.allows(node.attr):
                unknown.append(f"line {node.lineno}: {cls}.{node.attr}")
            elif node.attr in (known.properties or ()) and is_called(node, path):
                unknown.append(f"line {node.lineno}: {cls}.{node.attr} is a property, no method")
    assert unknown == []


def is_called(attribute: ast.Attribute, path: Path) -> bool:
    where = (attribute.lineno, attribute.col_offset, attribute.attr)
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return any(isinstance(f, ast.Attribute) and (f.lineno, f.col_offset, f.attr) == where for f in calls)


@pytest.mark.parametrize("path", UI_FILES, ids=ids)
def test_every_class_of_the_ui_file_exists_in_slicer_with_the_properties_it_sets(path):
    unknown = []
    for widget in ElementTree.parse(path).getroot().iter("widget"):
        known = facts_of_class("QFrame" if widget.get("class") == "Line" else widget.get("class"))
        if known is None:
            unknown.append(widget.get("class"))
            continue
        # What is no property of the class by itself is one that Qt adds, and must be said to be.
        properties = [p.get("name") for p in widget.findall("property") if p.get("stdset") != "0"]
        unknown += [f"{widget.get('class')}.{name}" for name in properties if not is_property(known, name)]
    assert unknown == []


def is_property(known: Facts, name: str) -> bool:
    # Designer writes the orientation of a line, which Qt turns into the shape of its frame.
    return known.properties is not None and (name in known.properties or name == "orientation")


def test_every_widget_that_the_code_names_is_in_the_ui_file():
    missing = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (dotted(node.value) or "") in ("self.ui", "ui"):
                missing += [f"{path.name}, line {node.lineno}: {node.attr}"] if node.attr not in CLASS_OF else []
    assert missing == []


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("qt.QTableWidget.SelectRows", False),
        ("qt.QTableWidget.SelectRow", True),
        ("qt.QHeaderView.Stretch", False),
        ("qt.QNothing", True),
        ("qt.QNothing.Some", True),
        ("qt.Qt.AlignRight", False),
        ("qt.Qt.AlignRihgt", True),
        ("ctk.ctkPathLineEdit.Dirs", False),
        ("slicer.util.errorDisplay", False),
        ("slicer.util.errorDisplays", True),
        ("slicer.app.layoutManager().setLayout", False),
        ("slicer.app.layoutManager().setLayouts", True),
        ("slicer.qMRMLNodeComboBoxes", True),
        ("slicer.vtkMRMLScalarVolumeNode", False),
        ("slicer.mrmlScene.AddNode", False),
    ],
)
def test_a_name_that_slicer_lacks_is_found(name, unknown):
    assert is_unknown(name) is unknown
