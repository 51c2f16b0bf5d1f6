"""What Slicer packages, what the extension says of itself, and that every name of Slicer that is used exists there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
MODULE = PROJECT / "SparseAnnotate"
FACTS = json.loads((PROJECT / "Testing" / "SlicerStandIn" / "slicer_names.json").read_text())


def tracked_files(folder: Path) -> set[str]:
    """Files of a folder as they would be committed, relative to it."""
    result = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if result.returncode == 0 and result.stdout:
        return {line for line in result.stdout.splitlines() if (folder / line).is_file()}
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def listed_files() -> set[str]:
    text = re.sub(r"#.*", "", (MODULE / "CMakeLists.txt").read_text())
    lists = re.findall(r"set\(MODULE_PYTHON_(?:SCRIPTS|RESOURCES)\s+(.*?)\)", text, re.DOTALL)
    return {name.replace("${MODULE_NAME}", "SparseAnnotate") for part in lists for name in part.split()}


def test_every_shipped_file_is_listed_for_packaging():
    assert listed_files() == tracked_files(MODULE) - {"CMakeLists.txt"}


def test_the_extension_says_what_the_extension_manager_shows():
    text = (PROJECT / "CMakeLists.txt").read_text()
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name} "[^"]+"\)', text), name
    assert "EXTENSION_CATEGORY" not in text
    for picture in re.findall(r"/(Resources/[\w./]+\.png)", text):
        assert (PROJECT / picture).is_file(), picture


def test_only_what_the_layout_names_stands_at_the_top():
    top = {name.split("/")[0] for name in tracked_files(PROJECT)}
    named = {"SparseAnnotate", "Resources", "Testing", "CMakeLists.txt", "README.md", "LICENSE.txt", "pyproject.toml"}
    assert {name for name in top if not name.startswith(".")} == named


def slicer_facing_files() -> list[Path]:
    parts = [MODULE / "SparseAnnotate.py"]
    for folder in ("scene", "logic", "gui"):
        parts += sorted((MODULE / "SparseAnnotateLib" / folder).glob("*.py"))
    return parts


def dotted(node: ast.AST) -> str | None:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else None


@pytest.mark.parametrize("path", slicer_facing_files(), ids=lambda p: p.name)
def test_every_qt_ctk_and_slicer_name_exists_in_slicer(path):
    unknown = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Attribute):
            names = [dotted(node) or ""]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("slicer", "qt", "ctk"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] not in ("qt", "ctk", "slicer") or len(parts) < 2:
                continue
            owner = ".".join(parts[:-1])
            if owner in FACTS["names"] and parts[-1] not in FACTS["names"][owner]:
                unknown.append(f"line {node.lineno}: {name}")
    assert not unknown


@pytest.mark.parametrize("path", slicer_facing_files(), ids=lambda p: p.name)
def test_every_signal_connected_by_signature_exists_in_slicer(path):
    signatures = re.findall(r'\.connect\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    assert [s for s in signatures if s not in FACTS["signals"]] == []


def test_every_class_of_the_ui_file_exists_in_slicer_with_the_properties_it_sets():
    text = (MODULE / "Resources" / "UI" / "SparseAnnotate.ui").read_text()
    import xml.etree.ElementTree as ElementTree

    for widget in ElementTree.fromstring(text).iter("widget"):
        name = widget.get("class")
        known = FACTS["properties"].get(name)
        assert known is not None, f"{name} is not among the classes known of Slicer"
        for prop in widget.findall("property"):
            assert prop.get("name") in known, f"{name} has no property '{prop.get('name')}'"


def test_the_choices_of_the_panel_are_those_there_are():
    import xml.etree.ElementTree as ElementTree

    from SparseAnnotateLib.selection import FEATURES, strategy_descriptions

    root = ElementTree.parse(MODULE / "Resources" / "UI" / "SparseAnnotate.ui")
    shown = {
        widget.get("name"): [text.text for text in widget.findall("item/property/string")]
        for widget in root.iter("widget")
        if widget.get("class") == "QComboBox"
    }
    assert sorted(shown["strategySelector"]) == sorted(strategy_descriptions())
    assert shown["scopeSelector"] == ["plane", "cohort"]
    assert shown["featuresSelector"] == list(FEATURES)
