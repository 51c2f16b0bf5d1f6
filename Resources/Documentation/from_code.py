"""What the reference pages take from the code, so that nothing is written twice.

A line `<!-- from code: NAME -->` of a page is replaced by what the function NAME of this file returns, as Markdown.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path

from SparseAnnotateLib import core, interpolation, selection
from SparseAnnotateLib.command_line.parser import parser
from SparseAnnotateLib.core.registry import markdown_table
from SparseAnnotateLib.interpolation import INTERPOLATORS
from SparseAnnotateLib.runs import LOSSES, NETWORKS, PRESETS, RECIPES, AugmentationSettings, base_networks
from SparseAnnotateLib.runs.settings import TrainingSettings
from SparseAnnotateLib.selection import FEATURES, SCOPES, STRATEGIES

_MODULE = Path(__file__).resolve().parents[2] / "SparseAnnotate"
_CONSOLE = _MODULE / "SparseAnnotateLib" / "logic" / "console.py"
_DEFAULTS = {**vars(core), **vars(interpolation), **vars(selection)}
"""What the defaults of the console's methods may name."""
_LABELED = {"QComboBox", "QSpinBox", "QDoubleSpinBox", "QLineEdit", "ctkPathLineEdit", "qMRMLNodeComboBox"}
_WITH_TEXT = {"QPushButton", "QCheckBox", "QToolButton", "ctkCollapsibleGroupBox"}
_IN_METHODS = {
    "strategySelector": ("Strategies", "strategies"),
    "featuresSelector": ("Slice features", "slice-features"),
    "fillMethodSelector": ("Fill methods", "fill-methods"),
    "presetSelector": ("Presets", "presets"),
    "networkSelector": ("Networks", "networks"),
    "lossSelector": ("Losses", "losses"),
}
_PANEL_CHOICES = {
    "budgetKindSelector": "budget_units",
    "scopeSelector": "panel_scopes",
    "planDimensionsSelector": "plan_dimensions",
    "planTargetSelector": "plan_targets",
    "startSelector": "starts",
    "shareFormatSelector": "share_formats",
}
"""The functions of `gui/panel_choices.py` with what these selectors offer."""
_PLACE = re.compile(r"^<!-- from code: (\w+) -->$", re.MULTILINE)


def completed(page: str) -> str:
    """The text of a page with what the code says in its places."""
    return _PLACE.sub(lambda place: PARTS[place[1]](), page)


def commands() -> str:
    """Every subcommand with its `--help`."""
    os.environ["COLUMNS"] = "100"
    found = parser()
    parts = ["## sparse-annotate", _block(found.format_help())]
    for name, command in _subcommands(found).items():
        parts += [f"## {name}", _block(command.format_help())]
        for kind, further in _subcommands(command).items():
            parts += [f"### {name} {kind}", _block(further.format_help())]
    return "\n\n".join(parts)


def _subcommands(command: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = (action.choices for action in command._actions if isinstance(action, argparse._SubParsersAction))
    return next(found, {})


def settings() -> str:
    """Every field of the training settings: default and meaning."""
    return _fields_table(TrainingSettings)


def augmentation() -> str:
    """Every field of `augmentation` in the training settings."""
    return _fields_table(AugmentationSettings)


def console() -> str:
    """Every method of `SparseAnnotateLogic`, by task, from its source: Slicer is not needed to read it."""
    source = _CONSOLE.read_text(encoding="utf-8")
    tasks = [(n, m[1]) for n, line in enumerate(source.splitlines()) if (m := re.match(r" +# --- (.+?) -+$", line))]
    (logic,) = (c for c in ast.parse(source).body if isinstance(c, ast.ClassDef) and c.name == "ConsoleLogic")
    parts = []
    for method in filter(_is_public, logic.body):
        while tasks and tasks[0][0] < method.lineno:
            task = tasks.pop(0)[1]
            parts.append(f"## {task[:1].upper()}{task[1:]}")
        parts.append(_method(method))
    return "\n\n".join(parts)


def panel() -> str:
    """Every section of the panel with its controls and their tooltips, from the .ui file."""
    root = ElementTree.parse(_MODULE / "Resources" / "UI" / "SparseAnnotate.ui").getroot()
    parts = []
    for section in root.iter("widget"):
        if section.get("name", "").endswith("Section"):
            parts += [
                f"## {_property(section, 'text')}",
                _table(("control", "what it is for"), list(_controls(section))),
            ]
    return "\n\n".join(parts)


def _controls(section: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The controls of a section: the label before each, or else the text on it, and its tooltip."""
    found: dict[str, list[str]] = {}
    label, choices = "", _choices()
    for widget in section.iter("widget"):
        kind, text = widget.get("class"), _property(widget, "text") or _property(widget, "title")
        tooltip = _property(widget, "toolTip") or choices.get(widget.get("name"), "")
        if kind == "QLabel":
            label = text.removesuffix(":") if text.endswith(":") else ""
            continue
        if kind not in _LABELED and not (kind == "QToolButton" and label):
            label = ""
            if kind not in _WITH_TEXT:
                continue
        if tooltip and (label or text):
            found.setdefault(label or text, []).extend(tooltip.splitlines())
    for name, lines in found.items():
        yield f"**{name}**", "<br>".join(lines)


def _choices() -> dict[str, str]:
    """What the selectors offer whose tooltips the panel makes from its choices, by the names of the selectors."""
    path = _MODULE / "SparseAnnotateLib" / "gui" / "panel_choices.py"
    functions = {f.name: f for f in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(f, ast.FunctionDef)}
    found = {selector: f"See [{title}](methods.md#{anchor})." for selector, (title, anchor) in _IN_METHODS.items()}
    for selector, name in _PANEL_CHOICES.items():
        calls = [c for c in ast.walk(functions[name]) if isinstance(c, ast.Call) and ast.unparse(c.func) == "_choice"]
        found[selector] = "\n".join(": ".join(_texts(call)) for call in calls)
    return found


def _texts(choice: ast.Call) -> list[str]:
    """The label and the description of a choice: its arguments that can be translated."""
    return [argument.args[0].value for argument in choice.args if isinstance(argument, ast.Call)]


def _property(widget: ElementTree.Element, name: str) -> str:
    found = widget.find(f"property[@name='{name}']/string")
    return (found.text or "").strip() if found is not None else ""


def _is_public(node: ast.stmt) -> bool:
    is_setter = any(isinstance(d, ast.Attribute) for d in getattr(node, "decorator_list", ()))
    return isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not is_setter


def _method(node: ast.FunctionDef) -> str:
    is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
    arguments = node.args
    arguments.args = [a for a in arguments.args if a.arg != "self"]
    for argument in (*arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    arguments.defaults = [_evaluated(default) for default in arguments.defaults]
    arguments.kw_defaults = [default and _evaluated(default) for default in arguments.kw_defaults]
    text = f"logic.{node.name}" if is_property else f"logic.{node.name}({ast.unparse(arguments)})"
    return f"### {node.name}\n\n```python\n{text}\n```\n\n{_prose(ast.get_docstring(node) or '')}"


def _evaluated(default: ast.expr) -> ast.expr:
    """A default as its value: in the source it often stands as the name of the one place it is kept in."""
    value = eval(compile(ast.Expression(default), str(_CONSOLE), "eval"), _DEFAULTS)
    return ast.parse(repr(_plain(value)), mode="eval").body


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _prose(docstring: str) -> str:
    """A docstring as Markdown: the entries below 'Args:' and the like become a list."""
    lines, is_list = [], False
    for line in docstring.splitlines():
        heading = re.fullmatch(r"(Args|Raises|Returns|Attributes):", line.strip())
        if heading:
            lines += ["", f"*{heading[1]}*", ""]
            is_list = True
        elif is_list and re.match(r" {4}\S", line):
            lines.append(f"- {line.strip()}")
        else:
            is_list = is_list and (line.startswith(" ") or not line)
            lines.append(f"  {line.strip()}" if is_list else line)
    return "\n".join(lines)


def _fields_table(settings_class: type) -> str:
    described = _attributes(settings_class.__doc__ or "")
    rows = []
    for field in fields(settings_class):
        if field.default is MISSING:
            default = "see there"
        else:
            default = f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
            default = "`null`" if field.default is None else default
        rows.append((f"`{field.name}`", default, described[field.name]))
    return _table(("setting", "default", "meaning"), rows)


def _attributes(docstring: str) -> dict[str, str]:
    """The entries of a docstring's 'Attributes', by name; one entry may describe several."""
    text = docstring.partition("Attributes:\n")[2]
    entries = re.split(r"\n {8}(?=\w)", "\n" + re.split(r"\n\n", text)[0].rstrip())
    found: dict[str, str] = {}
    for entry in filter(str.strip, entries):
        names, _, meaning = entry.partition(": ")
        for name in names.split(","):
            found[name.strip()] = " ".join(meaning.split())
    return found


def _named(heading: str, descriptions: Callable[[], Mapping]) -> Callable[[], str]:
    return lambda: _table(
        (heading, "what it does"), [(f"`{name}`", str(text)) for name, text in descriptions().items()]
    )


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "augmentation": augmentation,
    "console": console,
    "panel": panel,
    "strategies": lambda: markdown_table(STRATEGIES.values()),
    "scopes": _named("scope", lambda: SCOPES),
    "features": lambda: markdown_table(FEATURES.values()),
    "fill_methods": lambda: markdown_table(INTERPOLATORS.values()),
    "presets": lambda: markdown_table(PRESETS.values()),
    "recipes": _named("recipe", lambda: RECIPES),
    "networks": lambda: markdown_table(base_networks().values()),
    "final_networks": lambda: markdown_table(NETWORKS.values()),
    "losses": lambda: markdown_table(LOSSES.values()),
}
