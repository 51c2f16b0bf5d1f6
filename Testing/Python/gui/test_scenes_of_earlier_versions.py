"""The panel shows a scene made by an earlier version as that version did; see earlier_version/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

FILES = Path(__file__).resolve().parents[1] / "earlier_version"


def test_the_panel_takes_its_choices_from_a_scene_of_an_earlier_version_and_changes_none(panel, embedded, tmp_path):
    expected = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))["scene"]
    embedded.load_scene(shutil.copy(FILES / "scene.mrb", tmp_path / "scene.mrb"))
    panel.idle()
    parameters = panel.logic.getParameterNode()
    assert {name: getattr(parameters, name) for name in expected["choices"]} == expected["choices"]
    assert panel.panel.session.volume.GetName() == "applied"
    assert {node.GetName() for node in panel.panel.session.volumes} == set(expected["volumes"])
    ui, choices = panel.ui, expected["choices"]
    assert ui.budgetSpinBox.value == choices["budget"]
    assert ui.iterationsSpinBox.value == choices["iterations"]
    assert ui.worklistTable.rowCount == sum(len(volume["ledger"]) for volume in expected["volumes"].values())
    assert {(i.volumeNode.GetName(), i.plane, i.index, i.state) for i in panel.items} == {
        (name, e["plane"], e["index"], e["state"]) for name, v in expected["volumes"].items() for e in v["ledger"]
    }
