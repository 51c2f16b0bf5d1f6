"""The files that Slicer packages, the metadata of the extension, and its documentation."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import subprocess
import sys
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


def test_the_extension_has_the_metadata_that_the_extension_manager_shows():
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


def test_the_catalog_entry_has_what_its_schema_requires_and_nothing_else():
    entry = json.loads((PROJECT / "Resources" / "SparseAnnotate.json").read_text())
    known = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "scm_type"}
    assert set(entry) <= known | {"tier", "enabled"}
    assert entry["tier"] == 1
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].endswith("/SlicerSparseAnnotate.git")
    depends = re.search(r'set\(EXTENSION_DEPENDS "([^"]+)"\)', (PROJECT / "CMakeLists.txt").read_text()).group(1)
    assert entry["build_dependencies"] == depends.split()


def test_the_workflow_runs_the_tests_that_developers_run():
    workflow = (PROJECT / ".github" / "workflows" / "test.yml").read_text()
    assert "python Testing/run test" in workflow
    assert "Testing/run test" in (PROJECT / ".ci" / "run").read_text()


def pages() -> list[Path]:
    """The README, the guide for contributors, and the pages of the documentation."""
    documentation = (PROJECT / "Resources" / "Documentation").rglob("*.md")
    return [PROJECT / "README.md", PROJECT / ".github" / "CONTRIBUTING.md", *sorted(documentation)]


def test_pictures_and_files_that_the_pages_name_exist():
    pictures, missing = 0, []
    for page in pages():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        pictures += len(re.findall(r"!\[[^\]]*\]", text))
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if not target.startswith(("https://", "http://", "mailto:")) and not (page.parent / target).is_file():
                missing.append(f"{page.name}: {target}")
    assert pictures >= 5
    assert missing == []


def test_the_readme_shows_a_picture_and_stays_short():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert "![" in text
    assert len(text.splitlines()) <= 100


def test_the_commands_that_the_pages_show_are_understood():
    from SparseAnnotateLib.command_line.parser import parser

    shown = []
    for page in pages():
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("torchrun --nproc_per_node 4 -m SparseAnnotateLib.command_line", "sparse-annotate")
            shown += [line for line in lines.splitlines() if line.startswith("sparse-annotate ")]
    assert len(shown) >= 20
    for line in shown:
        parser().parse_args(shlex.split(line, comments=True)[1:])


def test_the_console_methods_that_the_pages_show_have_these_arguments(embedded):
    from SparseAnnotateLib.logic.console import ConsoleLogic

    shown, unknown = 0, []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)
        for call in [call for block in blocks if "logic." in block for call in calls_of_the_logic(block)]:
            shown += 1
            method = getattr(ConsoleLogic, call.func.attr)
            inspect.signature(method).bind(None, *call.args, **{keyword.arg: None for keyword in call.keywords})
        unknown += [name for name in re.findall(r"`logic\.(\w+)", text) if not hasattr(ConsoleLogic, name)]
    assert shown >= 30
    assert unknown == []


def calls_of_the_logic(block: str) -> list[ast.Call]:
    """The calls `logic.method(...)` of a code block, also those that are commented out."""
    code = re.sub(r"^# (?=logic\.)", "", block, flags=re.MULTILINE)
    return [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logic.")
    ]


def test_the_controls_that_the_pages_name_are_in_the_panel():
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.parse(MODULE / "Resources" / "UI" / "SparseAnnotate.ui")
    labels = {(text.text or "").rstrip(":") for text in root.iter("string")} | {"SparseAnnotate"}
    tasks = [page for page in pages() if page.parent.name in ("tutorial", "how_to")]
    named = [name for page in tasks for name in re.findall(r"\*\*([^*]+)\*\*", page.read_text(encoding="utf-8"))]
    steps = re.findall(r"^\d\. .+$", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named += re.findall(r"\*\*([^*]+)\*\*", " ".join(steps))
    assert len(named) >= 30
    assert sorted({" ".join(name.split()) for name in named} - labels) == []


def test_the_settings_that_the_pages_show_are_understood(tmp_path):
    from SparseAnnotateLib.core.strict_json import read_json
    from SparseAnnotateLib.runs import TrainingSettings

    blocks = [b for page in pages() for b in re.findall(r"```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    assert blocks
    for block in blocks:
        (tmp_path / "settings.json").write_text(block, encoding="utf-8")
        read_json(tmp_path / "settings.json", TrainingSettings)


def test_pre_commit_checks_with_the_version_of_ruff_that_the_tests_use():
    configuration = (PROJECT / ".pre-commit-config.yaml").read_text()
    constraints = (PROJECT / "Testing" / "constraints.txt").read_text()
    assert f"rev: v{re.search(r'^ruff==(.+)$', constraints, re.MULTILINE).group(1)} " in configuration


def test_the_reference_takes_all_its_parts_from_the_code():
    import from_code

    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    places = set(re.findall(r"<!-- from code: (\w+) -->", text))
    assert places == set(from_code.PARTS)
    for name in places:
        assert len(from_code.PARTS[name]().splitlines()) >= 4, name
    assert "### applyFill" in from_code.console()


def test_the_reference_of_the_panel_names_each_control_by_its_label():
    import from_code

    rows = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", from_code.panel(), re.MULTILINE))
    assert rows["Preset"].startswith("See [Presets](methods.md#presets).")
    assert "nearest drawn slice: Correct the outlines" in rows["Initialize from"]
    assert {"Strategy", "Models", "Plan for", "Target", "Mark for", "Method", "Network", "Apply to", "Format"} <= set(
        rows
    )
    assert not {"none", "all structures"} & set(rows)
    assert "Smallest" in rows["In each volume"]
    assert "Largest" in rows["In each volume"]


BRITISH = re.compile(
    r"\b(?:un)?(?:label|model|travel)l(?:ed|ing)\b|colour|neighbour|behaviour|favour|licence\b|\bgrey|centre[sd]?\b"
    r"|(?:normal|initial|optim|maxim|minim|recogn|summar|general)is(?:e|ed|es|er|ing|ation)\b",
    re.IGNORECASE,
)


def test_pages_messages_and_help_are_in_american_spelling():
    texts = {str(page): page.read_text(encoding="utf-8") for page in pages()}
    texts["SparseAnnotate.ui"] = (MODULE / "Resources" / "UI" / "SparseAnnotate.ui").read_text(encoding="utf-8")
    for path in MODULE.rglob("*.py"):
        texts[str(path)] = "\n".join(text for text in shown_texts(path) if " " in text)
    texts = {name: re.sub(r"`[^`\n]+`|\]\([^)]+\)|doi\S+", "", text) for name, text in texts.items()}
    assert {name: found for name, text in texts.items() if (found := BRITISH.findall(text))} == {}


def shown_texts(path: Path) -> list[str]:
    """The texts of a file that users read: messages that can be translated, and the help of commands."""
    shown: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_message = isinstance(node, ast.Call) and ast.unparse(node.func) in ("_", "show_line")
        if is_message or (isinstance(node, ast.keyword) and node.arg in ("help", "description", "label")):
            constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            shown += [text for text in constants if isinstance(text, str)]
    return shown


def test_the_version_is_the_same_wherever_it_is_given():
    from SparseAnnotateLib import __version__

    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE).group(1) == __version__
    assert 'version = { attr = "SparseAnnotateLib.__version__" }' in (PROJECT / "pyproject.toml").read_text()
    changelog = (PROJECT / "Resources" / "Documentation" / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == __version__


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


def test_the_module_file_loads_only_what_slicer_may_load():
    """The rule that import-linter checks for the packages of Slicer's process."""
    tree = ast.parse((PROJECT / "SparseAnnotate" / "SparseAnnotate.py").read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    own = {name.split(".")[1] for name in imported if name.startswith("SparseAnnotateLib.")}
    assert own
    assert not own & {"learning", "worker", "command_line"}
    assert {name.split(".")[0] for name in imported} <= {
        *sys.stdlib_module_names,
        "numpy",
        "slicer",
        "qt",
        "ctk",
        "vtk",
    } | {"SparseAnnotateLib"}


def test_only_what_the_layout_names_is_at_the_top_level():
    top = {name.split("/")[0] for name in tracked_files(PROJECT)}
    named = {"SparseAnnotate", "Resources", "Testing", "CMakeLists.txt", "README.md", "LICENSE.txt", "pyproject.toml"}
    named.add("CITATION.cff")
    assert {name for name in top if not name.startswith(".")} == named
