"""A strategy, a fill method, a network and a loss in a user's own file, found and used without changing the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from system_needs import needs_slicer

TESTS = Path(__file__).resolve().parents[1]
PROJECT = TESTS.parents[1]

PARTS = """
import numpy as np

from SparseAnnotateLib.interpolation import INTERPOLATORS, Fill, InterpolatorEntry
from SparseAnnotateLib.runs import LOSSES, NETWORKS, LossEntry, NetworkEntry
from SparseAnnotateLib.selection import STRATEGIES, FixedInterval, StrategyEntry


class Late(FixedInterval):
    def phase(self, stack):
        return 0.9


class DrawnOnly:
    needs_image = uses_image = False

    def fill(self, annotation, image, watch=None):
        confidence = np.full(annotation.labels.shape, 1, np.uint8)
        return Fill(annotation.drawn_labels(), confidence)


def one_layer(dimensions, classes):
    import torch

    return {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dimensions](1, classes, 3, padding=1)


def wrong_share(voxels):
    return voxels.mean(1 - voxels.logits.softmax(1).gather(1, voxels.truth[:, None])[:, 0])


STRATEGIES.add(StrategyEntry(name="late", label="Late", description="The end of each interval.", make=Late))
INTERPOLATORS.add(
    InterpolatorEntry(
        name="drawn_only", label="Drawn only", description="Leaves all other slices empty.", make=DrawnOnly
    )
)
NETWORKS.add(
    NetworkEntry(
        name="one_layer",
        label="One layer",
        description="A single convolution.",
        make=one_layer,
        arguments=lambda shape: {"dimensions": shape.dimensions, "classes": shape.class_count},
    )
)
LOSSES.add(
    LossEntry(name="wrong_share", label="Wrong share", description="The probability that is lost.", make=wrong_share)
)
"""

COMMANDS = """
import sys

from SparseAnnotateLib.command_line.main import main

cohort = sys.argv[1]
for arguments in (
    ["recommend", cohort, "--strategy", "late", "--total", "4", "--whole"],
    ["fill", cohort, "--method", "drawn_only"],
    ["train", cohort, "--run", "own", "--network", "one_layer", "--loss", "wrong_share", "--iterations", "2",
     "--patch", "16", "16", "32", "--batch", "1", "--device", "cpu"],
    ["predict", cohort, "--run", "own", "--device", "cpu"],
):
    assert main([*arguments, "--quiet"]) == 0, arguments
for command in ("recommend", "fill", "train"):
    try:
        main([command, "--help"])
    except SystemExit:
        pass
"""


@pytest.fixture
def own_parts(tmp_path) -> dict[str, str]:
    """The environment variables of a process that uses them."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "tried_out.py").write_text(PARTS)
    path = os.pathsep.join([str(PROJECT / "SparseAnnotate"), str(PROJECT / "Testing"), str(TESTS)])
    return {**os.environ, "SPARSE_ANNOTATE_PARTS": str(folder), "PYTHONPATH": path}


def finished(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=600
    )


def test_the_command_line_offers_and_uses_own_parts(ball_cohort, own_parts):
    done = finished(["-c", COMMANDS, str(ball_cohort.folder)], own_parts)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for text in ("late: The end of", "drawn_only: Leaves all", "one_layer: A single", "wrong_share: The probability"):
        assert text in shown
    assert ball_cohort.fill_path("ball_0").is_file()
    assert ball_cohort.prediction_path("own", "ball_1").is_file()


@needs_slicer
def test_the_panel_and_the_console_offer_and_use_own_parts(own_parts):
    program = TESTS / "gui" / "own_parts_in_the_panel.py"
    done = finished(["-m", "pytest", "-x", "-p", "no:cacheprovider", str(program)], own_parts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_file_that_cannot_be_imported_is_named(tmp_path, own_parts):
    path = Path(own_parts["SPARSE_ANNOTATE_PARTS"]) / "broken.py"
    path.write_text("import nothing_of_this_name")
    done = finished(["-m", "SparseAnnotateLib.command_line", "recommend", str(tmp_path), "--total", "3"], own_parts)
    assert done.returncode == 1
    assert f"The file '{path}' cannot be imported" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    done = finished(["-m", "SparseAnnotateLib.command_line", "environment", "--json"], own_parts)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith(f"The file '{path}' cannot be imported")
    # The panel opens all the same, with the parts of the other files, and can show the problem.
    listing = (
        "from SparseAnnotateLib.core.registry import own_parts_problem\n"
        "from SparseAnnotateLib.selection import STRATEGIES\n"
        "assert 'staggered' in list(STRATEGIES)\n"
        "print(own_parts_problem())"
    )
    done = finished(["-c", listing], own_parts)
    assert f"The file '{path}' cannot be imported" in done.stdout, done.stderr
