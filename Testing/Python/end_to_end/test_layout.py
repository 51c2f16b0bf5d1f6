"""What Slicer packages, and what the extension says of itself."""

from __future__ import annotations

import json
import re
import subprocess
import types
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
MODULE = PROJECT / "SparseAnnotate"


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


def test_pictures_of_the_extension_are_png_and_the_icon_has_its_size():
    from PIL import Image

    for path in (PROJECT / "Resources" / "SparseAnnotate.png", MODULE / "Resources" / "Icons" / "SparseAnnotate.png"):
        with Image.open(path) as icon:
            assert (icon.format, icon.size) == ("PNG", (128, 128))
    shown = re.search(r'set\(EXTENSION_SCREENSHOTURLS "([^"]+)"\)', (PROJECT / "CMakeLists.txt").read_text()).group(1)
    assert len(shown.split()) >= 3
    assert all(url.startswith("https://raw.githubusercontent.com/") and url.endswith(".png") for url in shown.split())


def test_the_catalog_entry_has_what_its_schema_asks_for_and_nothing_else():
    entry = json.loads((PROJECT / "Resources" / "SparseAnnotate.json").read_text())
    known = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "scm_type"}
    assert set(entry) <= known | {"tier", "enabled"}
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].endswith("/SlicerSparseAnnotate.git")
    depends = re.search(r'set\(EXTENSION_DEPENDS "([^"]+)"\)', (PROJECT / "CMakeLists.txt").read_text()).group(1)
    assert entry["build_dependencies"] == depends.split()


def test_the_workflow_runs_the_tests_that_developers_run():
    workflow = (PROJECT / ".github" / "workflows" / "test.yml").read_text()
    assert "python Testing/run test" in workflow
    assert "Testing/run test" in (PROJECT / ".ci" / "run").read_text()


def test_pictures_and_files_that_the_readme_names_are_there():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 5
    assert [name for name in pictures if not (PROJECT / name).is_file()] == []


def test_sample_data_is_offered_when_slicer_has_started(embedded, monkeypatch):
    import slicer

    from SlicerStandIn import sample_data_module

    connected = []
    sample_data_module.sources.clear()
    monkeypatch.setattr(slicer.app, "connect", lambda *arguments: connected.append(arguments), raising=False)
    from SparseAnnotate import SparseAnnotate

    SparseAnnotate(types.SimpleNamespace())
    ((signal, offer),) = connected
    assert signal == "startupCompleted()"
    offer()
    (source,) = sample_data_module.sources
    assert source["category"] == "SparseAnnotate"
    assert source["uris"].endswith(source["checksums"].replace("SHA256:", "SHA256/"))
    assert Path(source["thumbnailFileName"]).is_file()


def test_only_what_the_layout_names_stands_at_the_top():
    top = {name.split("/")[0] for name in tracked_files(PROJECT)}
    named = {"SparseAnnotate", "Resources", "Testing", "CMakeLists.txt", "README.md", "LICENSE.txt", "pyproject.toml"}
    assert {name for name in top if not name.startswith(".")} == named


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
