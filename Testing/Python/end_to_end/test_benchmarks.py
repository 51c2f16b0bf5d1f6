"""The page of the benchmarks; the benchmark of learning: its splits, its measures, and a whole run on small data."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from SparseAnnotateLib.core import Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.selection import Budget, plan_annotation

BENCHMARKS = Path(__file__).resolve().parents[2] / "Benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    """Imports a benchmark by name. Some are called like folders of tests, which stay known under that name."""
    names = [path.stem for path in BENCHMARKS.glob("*.py")]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    search_path = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path[:] = search_path
    for name in [*names, "peers", "peers.nnunet"]:
        sys.modules.pop(name, None)
    sys.modules.update(hidden)


def sections():
    """Heading and text of each section of the benchmarks' page."""
    parts = re.split(r"^## (.+)$", (BENCHMARKS / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_every_section_with_figures_names_their_command_and_commit():
    found = [(heading, text) for heading, text in sections() if re.search(r"\d\.\d|\.\d\d", text)]
    assert len(found) >= 9
    for heading, text in found:
        assert re.search(r"`Testing/run (bench \w+|demo)\b[^`]*`", text), f"{heading}: no command"
        assert re.search(r"\bcommits? `[0-9a-f]{7,}`", text), f"{heading}: no commit"


def test_the_commands_of_the_benchmarks_page_are_understood(benchmark, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"`Testing/run bench (\w+ ?[^`]*)`", page.replace("`Testing/run bench NAME", ""))
    assert len(commands) >= 12
    for command in commands:
        name, *options = shlex.split(command)
        benchmark(name).parser().parse_args(options)


def test_the_suggested_plan_quotes_no_dice_that_the_benchmarks_page_does_not_have():
    plan = plan_annotation({f"v{n}": {Plane.CORONAL: 50} for n in range(40)}, Budget(total=200))
    advice_texts = [f"{advice.sentence} {advice.source}" for advice in plan.advice]
    assert any("different positions" in text and "benchmark of selection" in text for text in advice_texts)
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [figure for text in advice_texts for figure in re.findall(r"\.\d{3}\b", text) if figure not in page] == []


def line(split="2", strategy="staggered", density=0.1, seed=0, commit="abc1234", **dice):
    """A line of results with the fields that the summary reads."""
    common = {"set": "hippocampus", "steps": 600, "changes": [], "device": "cpu", "quick": False}
    name = f"{split} {strategy} {density} {seed}"
    figures = {"name": name, "split": split, "strategy": strategy, "density": density, "seed": seed}
    cases = {part: [[value - 0.01], [value + 0.01]] for part, value in dice.items()}
    return {**common, **figures, "measured_on": "other volumes", "commit": commit, "dice": dice, "cases": cases}


def test_splits_for_choosing_and_for_reporting_share_no_volume(benchmark):
    cohorts = benchmark("learning_cohorts")
    names = [f"v{n}" for n in range(200)]
    splits = {name: cohorts.hippocampus_split(names, name) for name in cohorts.FOLDS}
    assert {(len(training), len(test)) for training, test in splits.values()} == {(40, 20)}
    tested = [name for _, test in splits.values() for name in test]
    assert len(set(tested)) == len(tested) == 100
    for training, test in splits.values():
        assert not set(training) & set(test)
    used = {
        purpose: {name for split in group for part in splits[split] for name in part}
        for purpose, group in (("choosing", cohorts.CHOOSING), ("reporting", cohorts.REPORTING))
    }
    assert not used["choosing"] & used["reporting"]
    assert cohorts.hippocampus_split(names, "2") == splits["2"]
    assert cohorts.hippocampus_split(names, "first") == (tuple(names[:40]), tuple(names[40:60]))


def test_distances_are_counted_in_slices_from_the_nearest_drawn_one(benchmark):
    labels = np.zeros((2, 9, 3), dtype=np.uint8)
    geometry = VolumeGeometry.from_spacing(labels.shape)
    drawn = SparseAnnotation.from_slices(labels, geometry, Plane.CORONAL, [1, 6])
    distances = benchmark("learning_measures").slice_distances(drawn)
    assert distances.shape == labels.shape
    np.testing.assert_array_equal(distances[0, :, 0], [1, 0, 1, 2, 2, 1, 0, 1, 2])


def test_dice_and_agreement_are_counted_by_the_distance_from_drawn_slices(benchmark):
    reference = np.array([[[1, 1, 1, 1, 0]]])
    views = {"2D axial": np.array([[[1, 1, 0, 0, 0]]]), "3D": np.array([[[1, 1, 1, 0, 1]]])}
    mean, final = np.array([[[1, 1, 1, 0, 1]]]), np.array([[[1, 0, 1, 1, 1]]])
    tally = benchmark("learning_measures").Tally((1, 2))
    tally.add({**views, "2D + 3D": mean, "final alone": final}, reference, np.array([[[0, 0, 1, 1, 7]]]))
    dice, shares = tally.dice(), tally.agreement()
    assert dice["3D"] == pytest.approx({"everywhere": 6 / 8, "off the drawn slices": 0.5, "0": 1.0, "1": 2 / 3})
    assert shares["agreed"] == pytest.approx(
        {"everywhere": 3 / 5, "off the drawn slices": 1 / 3, "0": 1.0, "1": 1 / 2, "5+": 0.0}
    )
    assert shares["right where agreed"]["everywhere"] == pytest.approx(2 / 3)
    assert shares["right elsewhere"]["everywhere"] == pytest.approx(1 / 2)
    assert shares["errors repeated"]["everywhere"] == pytest.approx(1 / 2)
    assert shares["errors mended"]["everywhere"] == pytest.approx(1 / 2)
    assert shares["errors added"]["everywhere"] == pytest.approx(1 / 3)


def test_each_part_is_compared_with_the_same_part_of_full_annotation_of_its_split_and_seed(benchmark):
    lines = [
        line("2", "full", 1.0, **{"3D": 0.9, "self-training": 0.92}),
        line("3", "full", 1.0, **{"3D": 0.8, "self-training": 0.81}),
        line("2", **{"3D": 0.87, "self-training": 0.88}),
        line("3", **{"3D": 0.78, "self-training": 0.80}),
        line("0", **{"3D": 0.5}),
    ]
    rows = {(row[1], row[3], row[5]): row[6:] for row in benchmark("learning_report").summary_rows(lines)}
    assert rows["2-4 (reporting)", "staggered", "3D"] == (2, "0.825", "0.064", "-0.025", "0.007", "-0.030 to -0.020", 2)
    assert rows["2-4 (reporting)", "staggered", "self-training"][3] == "-0.025"
    assert rows["0-1 (choosing)", "staggered", "3D"] == (1, "0.500", "", "", "", "", 0)


def test_what_self_training_adds_stands_beside_its_pseudo_labels_and_errors(benchmark):
    training = {"dice": {"2D + 3D": {"0": 0.91, "off the drawn slices": 0.87}, "final alone": {"0": 0.93}}}
    test = {"dice": {}, "agreement": {"errors mended": {"everywhere": 0.25}}}
    lines = [
        {**line("2", **{"2D + 3D": 0.86, "self-training": 0.85}), "diagnosis": {"training": training, "test": test}},
        {**line("3", **{"2D + 3D": 0.80, "self-training": 0.82}), "diagnosis": {"training": training, "test": test}},
        line("4", **{"3D": 0.8}),
    ]
    found = [
        dict(zip(benchmark("learning_report").GAIN_COLUMNS, row, strict=True))
        for row in benchmark("learning_report").gain_rows(lines)
    ]
    assert [row["gain"] for row in found] == ["+0.020", "-0.010"]
    assert found[0]["pseudo-label, drawn"] == "0.910"
    assert found[0]["pseudo-label, undrawn"] == "0.870"
    assert (found[0]["final, drawn"], found[0]["final, undrawn"]) == ("0.930", "")
    assert (found[0]["errors mended"], found[0]["errors added"]) == ("0.250", "")


def test_the_mean_gain_of_self_training_has_an_interval_over_the_test_volumes(benchmark):
    lines = [
        line("2", **{"2D + 3D": 0.86, "self-training": 0.88, "final alone": 0.87}),
        line("3", **{"2D + 3D": 0.80, "self-training": 0.79, "final alone": 0.81}),
        line("4", **{"3D": 0.8}),
    ]
    joint, alone = benchmark("learning_report").mean_gain_rows(lines)
    assert joint[5:] == ("self-training", 2, "+0.005", "0.021", "-0.010 to +0.020")
    # The same in every volume: nothing is known of how it varies.
    assert alone[5:] == ("final alone", 2, "+0.010", "0.000", "")


def test_lines_of_earlier_versions_and_cut_ones_are_left_out_and_told(benchmark, tmp_path, capsys):
    path = tmp_path / "learning.jsonl"
    old = {"name": "hippocampus 10 percent staggered seed 0", "dice": {"sparse 3D": 0.87}}
    path.write_text("\n".join([json.dumps(old), json.dumps(line()), '{"name": "hippoc']))
    found = benchmark("learning_report").read_lines(path, tell=True)
    assert [known["name"] for known in found] == ["2 staggered 0.1 0"]
    assert "2 lines of an earlier version" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path):
    """Ten small volumes in the Decathlon layout, a bright block of two labels in each."""
    folder = tmp_path / "data" / "msd_hippocampus"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    rng, names = np.random.default_rng(0), [f"case_{n}" for n in range(10)]
    for name in names:
        labels = np.zeros((16, 20, 16), dtype=np.uint8)
        labels[4:10, 5:10, 4:12], labels[4:10, 10:16, 4:12] = 1, 2
        image = (100 * labels + rng.normal(0, 10, labels.shape)).astype(np.float32)
        for part, array in (("imagesTr", image), ("labelsTr", labels)):
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(folder / part / f"{name}.nii.gz"))
    listed = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    facts = {"name": "blocks", "labels": {"0": "background", "1": "front", "2": "back"}, "training": listed}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return tmp_path / "data"


def test_a_configuration_is_measured_once_and_its_line_says_how(benchmark, data, tmp_path, monkeypatch, capsys):
    learning, out = benchmark("learning"), tmp_path / "learning.jsonl"
    options = ["--quick", "--iterations", "2", "--sets", "hippocampus", "--splits", "2", "--data", data, "--out", out]
    options += ["--work", tmp_path / "work", "--threads", torch.get_num_threads(), "--change", "drawn_weight=12"]
    monkeypatch.setattr(sys, "argv", ["learning.py", *map(str, options)])
    assert learning.main() == 0
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    first = "hippocampus split 2, 100 percent full, seed 0, 2 steps, drawn_weight=12, quick"
    assert [found["name"] for found in lines] == [first, first.replace("100 percent full", "10 percent staggered")]
    for found in lines:
        assert found["commit"]
        assert found["command"].startswith("Testing/run bench learning --quick --iterations 2")
        assert found["settings"]["drawn_weight"] == 12
        assert {"3D", "2D + 3D", "self-training", "self-training + flips", "final alone"} <= set(found["dice"])
        assert (found["training_volumes"], found["test_volumes"]) == (2, 2)
        assert np.shape(found["cases"]["3D"]) == (2, 2)
        assert set(found["seconds"]) == {"2d", "3d", "final"}
    assert (lines[0]["slices"], lines[1]["slices"]) == (40, 4)
    assert set(lines[0]["diagnosis"]["training"]["agreement"]["agreed"]) == {"everywhere", "0"}
    assert "5+" in lines[1]["diagnosis"]["training"]["agreement"]["agreed"]
    assert not list((tmp_path / "work").iterdir())
    capsys.readouterr()

    assert learning.main() == 0  # again: nothing is trained
    assert len(out.read_text().splitlines()) == 2
    assert "Measured on: hippocampus" in capsys.readouterr().out

    out.write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[1])[:50])  # the machine stopped in the second line
    assert learning.main() == 0
    assert [known["name"] for known in benchmark("learning_report").read_lines(out)] == [
        found["name"] for found in lines
    ]


def test_the_peer_is_measured_on_the_test_volumes_of_the_split(benchmark, data, tmp_path, monkeypatch):
    cohorts, peer = benchmark("learning_cohorts"), benchmark("peers.nnunet")
    split = cohorts.opened_split("hippocampus", "2", data, tmp_path / "work", quick=True)
    cohorts.draw(split, 0.1, "staggered", seed=0)

    def train_and_predict(command, **_):
        """In place of nnU-Net, which is in an environment of its own: it finds the truth."""
        dataset, images, out = (Path(word) for word in command[2:5])
        assert {path.name.removesuffix(".nii.gz") for path in (dataset / "labelsTr").iterdir()} == set(split.training)
        out.mkdir(parents=True)
        for image in images.iterdir():
            name = image.name.replace("_0000.nii.gz", ".nii.gz")
            shutil.copy(data / "msd_hippocampus" / "labelsTr" / name, out / name)
        (out / "run.json").write_text(json.dumps({"seconds": float(command[command.index("--seconds") + 1])}))

    monkeypatch.setattr(peer, "_environment", lambda folder: Path("python"))
    monkeypatch.setattr(peer.subprocess, "run", train_and_predict)
    figures = peer.nnunet_figures(split, tmp_path / "work", tmp_path, seconds=7.0, seed=0, threads=1)
    assert figures["dice"] == {"nnU-Net": 1.0}
    assert figures["cases"] == {"nnU-Net": [[1.0, 1.0]] * 2}
    assert figures["seconds"] == {"nnU-Net": 7.0}
