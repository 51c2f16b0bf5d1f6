from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.runs.run_folder import RunFolder
from system_needs import needs_posix_limits, needs_posix_signals

TRAIN = ("--patch", "16", "16", "32", "--batch", "2", "--device", "cpu")


@pytest.fixture
def files(tmp_path):
    for number in range(2):
        labels = ball(centre=(12, 13 + number, 16))
        geometry = VolumeGeometry.from_spacing(labels.shape)
        write_image(tmp_path / f"image_{number}.nii.gz", noisy_image(labels), geometry)
        write_image(tmp_path / f"label_{number}.nii.gz", labels, geometry)
    return tmp_path


def said_as_json(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out)


def test_the_whole_job_on_a_folder(files, capsys):
    cohort = files / "cohort"
    images, labels = ([str(files / f"{kind}_{n}.nii.gz") for n in range(2)] for kind in ("image", "label"))
    assert main(["create", str(cohort), *images, "--references", *labels, "--labels", "1=ball"]) == 0
    capsys.readouterr()
    worklist = said_as_json(capsys, "recommend", cohort, "--density", "0.25", "--whole")
    assert [w["order"] for w in worklist] == list(range(1, 13))
    assert {w["case"] for w in worklist} == {"image_0", "image_1"}
    drawn = said_as_json(capsys, "draw", cohort)
    assert [d["slices_drawn"] for d in drawn] == [6, 6]
    assert [d["density"] for d in drawn] == [0.25, 0.25]
    said_as_json(capsys, "fill", cohort)
    assert all(e["dice"] > 0.85 for e in said_as_json(capsys, "evaluate", cohort))
    card = said_as_json(capsys, "train", cohort, "--run", "r", "--iterations", 50, *TRAIN)
    assert card["slices"] == 12
    said_as_json(capsys, "predict", cohort, "--run", "r", "--device", "cpu")
    figures = said_as_json(capsys, "evaluate", cohort, "--run", "r")
    assert all(e["dice"] > 0.7 and e["labels"][0]["name"] == "ball" for e in figures)
    assert said_as_json(capsys, "recommend", cohort, "--density", "0.25", "--whole") == []


def test_rounds_of_active_learning_on_a_folder(ball_cohort, capsys, tmp_path):
    folder = ball_cohort.folder
    said_as_json(capsys, "train", folder, "--run", "round 1", "--iterations", 20, "--dropout", 0.1, *TRAIN)
    common = ("--strategy", "uncertainty", "--device", "cpu", "--whole", "--runs")
    first = said_as_json(capsys, "recommend", folder, "--total", 16, "--samples", 2, *common, "round 1")
    assert len(first) == 4  # 12 are drawn
    assert all("models disagree here" in r["reason"] for r in first)
    said_as_json(capsys, "draw", folder)
    said_as_json(capsys, "train", folder, "--run", "round 2", "--iterations", 20, *TRAIN)
    for run in ("round 1", "round 2"):
        said_as_json(capsys, "predict", folder, "--run", run, "--device", "cpu")
    agreement = said_as_json(capsys, "agreement", folder, "--runs", "round 1", "round 2")
    assert len(agreement["dice"]) == 1
    assert not agreement["stop"]
    picture = tmp_path / "choice.png"
    minutes = ("--minutes", 2, "--seconds-per-slice", 30, "--picture", picture)
    second = said_as_json(capsys, "recommend", folder, *minutes, *common, "round 1", "round 2")
    # Two minutes of half a minute each; slices whose outlines look short cost less.
    assert 4 <= len(second) <= 8
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_slices_cost_is_learned_from_the_seconds_in_the_ledgers(ball_cohort, capsys):
    said_as_json(capsys, "train", ball_cohort.folder, "--run", "r", "--iterations", 2, *TRAIN)
    for name in ("ball_0", "ball_1"):
        annotation = ball_cohort.annotation(name)
        ledger = annotation.ledger
        for entry in ledger.decided:
            ledger = ledger.with_state(entry.plane, entry.index, entry.state, seconds=60.0)
        ball_cohort.save_annotation(name, SparseAnnotation(annotation.labels, ledger, annotation.geometry))
    options = ("--strategy", "uncertainty", "--runs", "r", "--samples", 2, "--device", "cpu", "--whole")
    found = said_as_json(capsys, "recommend", ball_cohort.folder, "--minutes", 3, *options)
    assert len(found) == 3
    plan = said_as_json(capsys, "plan", ball_cohort.folder, "--minutes", 10)
    assert plan["slices"] == 10
    assert plan["minutes"] == 10


def test_times_of_other_cases_count_and_a_case_named_twice_is_one(ball_cohort, capsys):
    annotation = ball_cohort.annotation("ball_0")
    ledger = annotation.ledger
    for entry in ledger.decided:
        ledger = ledger.with_state(entry.plane, entry.index, entry.state, seconds=30.0)
    ball_cohort.save_annotation("ball_0", SparseAnnotation(annotation.labels, ledger, annotation.geometry))
    twice = ("--cases", "ball_1", "ball_1", "--whole")
    found = said_as_json(capsys, "recommend", ball_cohort.folder, "--minutes", 2, *twice, "--scope", "cohort")
    assert len({r["index"] for r in found}) == len(found) == 4


def test_a_picture_shows_the_planes_asked_for(ball_cohort, capsys, tmp_path):
    assert main(["picture", str(ball_cohort.folder), "--planes", "sagittal", "--path", str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.png")
    said_as_json(capsys, "recommend", ball_cohort.folder, "--per-volume", 9, "--planes", "axial", "coronal", "--whole")
    for planes in (["axial"], ["coronal", "sagittal"]):
        path = tmp_path / f"{planes[0]}.png"
        assert main(["picture", str(ball_cohort.folder), "--path", str(path), "--planes", *planes]) == 0
        assert path.read_bytes().startswith(b"\x89PNG")
    empty = Cohort.create(tmp_path / "empty", "e")
    empty.add_case("a", noisy_image(ball()), VolumeGeometry.from_spacing((24, 28, 32)))
    assert main(["picture", str(empty.folder)]) == 1
    assert "nothing to show" in capsys.readouterr().err


def test_what_cannot_be_is_reported_before_any_work(ball_cohort, capsys, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.worker.recommend_request.cohort_features", None)
    monkeypatch.setattr("SparseAnnotateLib.worker.recommend_request._with_uncertainty", None)
    for strategy in ("representative", "uncertainty"):
        for budget in (("--total", "9999"), ("--minutes", "3")):
            assert main(["recommend", str(ball_cohort.folder), *budget, "--strategy", strategy]) == 1
    assert "how long a slice takes" in capsys.readouterr().err


def test_when_there_is_nothing_more_to_draw_that_is_reported(ball_cohort, capsys):
    assert main(["recommend", str(ball_cohort.folder), "--total", "12", "--whole"]) == 0
    assert "already use up the budget" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("budget", "older", "count"),
    [
        (("--slices", 20), ("--total", 20), 8),
        (("--slices", 20, "--per", "cohort"), ("--total", 20, "--per", "cohort"), 8),
        (("--slices", 9, "--per", "volume"), ("--per-volume", 9), 6),
        (("--density", 0.4, "--per", "volume"), ("--density", 0.4), None),
        (("--every", 2, "--per", "volume"), ("--every", 2), None),
        (("--minutes", 2, "--seconds-per-slice", 60, "--per", "volume"), ("--more", 2, "--per", "volume"), 4),
        (("--more", 3), ("--more", 3, "--per", "cohort"), 3),
    ],
)
def test_a_budget_is_said_in_one_way(ball_cohort, capsys, budget, older, count):
    """The balls have 6 drawn slices each."""
    found = said_as_json(capsys, "recommend", ball_cohort.folder, "--whole", *budget)
    again = said_as_json(capsys, "recommend", ball_cohort.folder, "--whole", *older)
    assert found == again
    assert found
    assert count is None or len(found) == count


@pytest.mark.parametrize(
    "budget",
    [
        ("--slices", 8),
        ("--slices", 4, "--per", "volume"),
        ("--minutes", 8, "--seconds-per-slice", 60),
        ("--minutes", 4, "--seconds-per-slice", 60, "--per", "volume"),
        ("--every", 3, "--per", "cohort", "--planes", "axial"),
        ("--density", 0.34, "--planes", "axial"),
    ],
)
def test_a_plan_takes_the_same_budgets(ball_cohort, capsys, budget):
    """Each of the two balls has 24 axial slices."""
    plan = said_as_json(capsys, "plan", ball_cohort.folder, "--dimensions", 2, *budget)
    assert plan["slices"] == (16 if "axial" in budget else 8)


def test_a_plan_says_what_to_draw_and_why(ball_cohort, capsys):
    plan = said_as_json(capsys, "plan", ball_cohort.folder, "--slices", 8, "--dimensions", 2, "--planes", "coronal")
    assert (plan["plane"], plan["cases"], plan["slices_per_volume"]) == ("coronal", ["ball_0", "ball_1"], 4)
    assert main(["plan", str(ball_cohort.folder), "--slices", "8"]) == 0
    shown = capsys.readouterr().out
    assert "Zhang et al. 2025" in shown
    assert "? How long a slice takes is not known" in shown


@pytest.mark.parametrize("budget", [("--slices", 8), ("--minutes", 8, "--seconds-per-slice", 60)])
def test_a_plan_says_how_many_slices_are_drawn_already_where_they_count(tiny_cohort, capsys, budget):
    assert main(["plan", str(tiny_cohort.folder), "--planes", "axial", *map(str, budget)]) == 0
    is_said = "5 slices are drawn already and count" in capsys.readouterr().out
    assert is_said == ("--slices" in budget)


def test_representative_slices_of_a_cohort_with_learned_features(ball_cohort, capsys):
    options = ("--strategy", "representative", "--scope", "cohort", "--minimum", 2, "--maximum", 9, "--whole")
    features = ("--features", "autoencoder", "--from-scratch", "--feature-steps", 2, "--device", "cpu")
    found = said_as_json(capsys, "recommend", ball_cohort.folder, "--total", 16, *options, *features)
    assert len(found) == 4
    assert "covers" in found[0]["reason"]
    assert found == said_as_json(capsys, "recommend", ball_cohort.folder, "--total", 16, *options, *features)


def test_without_json_there_is_a_table_for_people(ball_cohort, capsys):
    assert main(["fill", str(ball_cohort.folder)]) == 0
    table = capsys.readouterr().out
    assert "density" in table
    assert "…" not in table
    assert main(["environment"]) == 0
    assert "torch" in capsys.readouterr().out


def test_an_error_is_a_sentence_and_exit_code_1(tmp_path, capsys):
    assert main(["fill", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "is not a cohort" in captured.err
    assert main(["fill", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["type"] == "CohortError"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recommend", "COHORT", "--density", "2"], "at most 1"),
        (["recommend", "COHORT", "--total", "3", "--planes", "oblique"], "no plane 'oblique'"),
        (["recommend", "COHORT", "--total", "3", "--strategy", "best"], "no selection strategy 'best'"),
        (["fill", "COHORT", "--method", "magic"], "no fill method 'magic'"),
        (["fill", "COHORT", "--cases", "nobody"], "no case 'nobody'"),
        (["train", "COHORT", "--run", "../up"], "A run cannot be called"),
        (["train", "COHORT", "--run", "r", "--patch", "5", "5", "5"], "multiple of 16"),
        (["predict", "COHORT", "--run", "r"], "does not exist"),
        (["evaluate", "COHORT"], "no fill of a case with reference labels"),
        (["recommend", "COHORT", "--total", "9999"], "larger than the"),
        (["recommend", "COHORT", "--total", "0"], "at least one slice"),
        (["recommend", "COHORT", "--total", "-4"], "at least one slice"),
        (["recommend", "COHORT", "--minutes", "9"], "how long a slice takes"),
        (["recommend", "COHORT", "--total", "3", "--scope", "world"], "plane, volume, cohort"),
        (
            ["recommend", "COHORT", "--total", "3", "--strategy", "core_set", "--features", "best"],
            "no slice features 'best'",
        ),
        (["recommend", "COHORT", "--total", "3", "--strategy", "uncertainty"], "none is named"),
        (["plan", "COHORT", "--minutes", "9"], "how long a slice takes"),
        (["agreement", "COHORT", "--runs", "a"], "at least two runs"),
        (["agreement", "COHORT", "--runs", "a", "b"], "No case has predictions of all of these runs: a, b"),
        (["draw", "COHORT"], "No case with a reference has recommended slices left to draw"),
        (["predict", "COHORT", "--run", "livers/runs/first"], "is the path of a run. Give only its name: 'first'."),
        (["create", "COHORT", "OTHER"], "already has a case 'ball_0' with another image"),
        (["create", "NEW", "IMAGE", "IMAGE"], "was given 2 times. Name it once."),
        (["create", "NEW", "x.nrrd"], "does not exist"),
        (["create", "NEW", "x.nrrd", "--labels", "liver"], "VALUE=NAME"),
        (["create", "NEW", "x.nrrd", "--references", "a", "b"], "Number of images: 1, number of references: 2"),
    ],
)
def test_bad_input_is_reported_in_a_sentence(ball_cohort, capsys, arguments, words):
    folders = {"COHORT": str(ball_cohort.folder), "NEW": str(ball_cohort.folder.parent / "new")}
    folders["IMAGE"] = str(ball_cohort.image_path("ball_0"))
    folders["OTHER"] = str(ball_cohort.folder.parent / "other" / "ball_0.nrrd")
    write_image(folders["OTHER"], *ball_cohort.image("ball_1"))
    assert main([folders.get(a, a) for a in arguments]) == 1
    assert not (ball_cohort.folder.parent / "new").exists()
    assert words in " ".join(capsys.readouterr().err.split())


def test_wrong_usage_is_exit_code_2():
    with pytest.raises(SystemExit) as caught:
        main(["recommend", "somewhere"])
    assert caught.value.code == 2


def started(*arguments, **options):
    command = [sys.executable, "-m", "SparseAnnotateLib.command_line", *map(str, arguments), "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if "preexec_fn" in options:
        # Python would keep a compiled module that was cut off by the limit, and no later process could read it.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options)


@needs_posix_limits
@pytest.mark.parametrize("bytes_left", [0, 200])
def test_a_full_disk_is_a_sentence_and_the_ledgers_stay(ball_cohort, bytes_left):
    import resource

    before = ball_cohort.ledger("ball_0")
    process = started(
        *("recommend", ball_cohort.folder, "--density", "0.5", "--whole"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left)),
    )
    _, error = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "the disk is full" in " ".join(error.decode().split())
    assert ball_cohort.ledger("ball_0") == before


def test_two_processes_on_one_cohort_lose_nothing_of_each_other(ball_cohort):
    arguments = ("recommend", ball_cohort.folder, "--density", "0.5", "--whole", "--cases")
    processes = [started(*arguments, f"ball_{n}") for n in range(2)]
    assert [p.wait(600) for p in processes] == [0, 0]
    assert all(len(ball_cohort.ledger(f"ball_{n}").todo) >= 5 for n in range(2))
    assert all(len(ball_cohort.ledger(f"ball_{n}").decided) >= 5 for n in range(2))


@needs_posix_signals
def test_ctrl_c_keeps_the_checkpoint_and_the_same_command_resumes(ball_cohort):
    process = started("train", ball_cohort.folder, "--run", "r", "--iterations", "100000", *TRAIN)
    folder = ball_cohort.run_folder("r")
    deadline = time.monotonic() + 600
    while not (folder / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130
    assert b"The same command resumes training from its last checkpoint" in error
    assert (folder / "3d" / "checkpoint.safetensors").is_file()
    assert len(Cohort.open(ball_cohort.folder).runs()) == 1


def test_a_training_is_planned_edited_trained_drawn_as_curves_and_predicted_in_every_way(ball_cohort, capsys, tmp_path):
    folder = ball_cohort.folder
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"recipe": "ensemble", "patch_2d": [32, 32], "batch_2d": 4, "iterations": 99}))
    chosen = ("--run", "r", "--settings", options, "--iterations", 6, *TRAIN)
    plan = said_as_json(capsys, "train", folder, *chosen, "--plan-only")
    assert plan["minutes"] > 0
    assert [m["role"] for m in plan["models"]] == ["2d", "3d"]
    assert [m["iterations"] for m in plan["models"]] == [6, 6]  # an option overrides the file
    path = Path(plan["path"])
    written = json.loads(path.read_text())
    written["models"][0]["iterations"] = 3
    path.write_text(json.dumps(written))
    card = said_as_json(capsys, "train", folder, "--run", "r")
    assert [m["iterations"] for m in card["models"]] == [3, 6]
    picture = tmp_path / "curves.png"
    assert main(["curves", str(folder), "--run", "r", "--path", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    ways = ("--flips", "--uncertainty", "--largest-component", "--smoothing", 1.0, "--models", "2d")
    predicted = said_as_json(capsys, "predict", folder, "--run", "r", "--device", "cpu", *ways)
    assert len(predicted) == 2
    assert ball_cohort.uncertainty_path("r", "ball_0", "disagreement").is_file()
    assert main(["train", str(folder), "--run", "r"]) == 1
    assert "has finished already" in capsys.readouterr().err


def test_presets_and_what_differs_from_them(ball_cohort, capsys):
    folder = ball_cohort.folder
    small = ("--patch", "16", "16", "32", "--iterations", "4", "--device", "cpu")
    card = said_as_json(capsys, "train", folder, "--run", "b", "--preset", "balanced", *small)
    assert [m["plan"]["role"] for m in card["models"]] == ["2d", "3d"]
    assert card["models"][1]["iterations"] == 4
    for name, options in (("c", ("--preset", "quick_2d")), ("d", ("--recipe", "2d")), ("e", ())):
        plan = said_as_json(capsys, "train", folder, "--run", name, *options, "--device", "cpu", "--plan-only")
        assert [(m["role"], m["iterations"]) for m in plan["models"]] == [("2d" if options else "3d", 600)]
    for wrong, words in (
        (("--loss", "hinge"), "There is no loss 'hinge'"),
        (("--network", "resnet"), "There is no network 'resnet'"),
        (("--settings", folder / "cohort.json"), "unknown field"),
    ):
        assert main(["train", str(folder), "--run", "w", *map(str, wrong)]) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", str(folder), "--run", "w", "--preset", "worst"])


def test_data_sets_and_bundles_by_command(ball_cohort, capsys, tmp_path):
    folder, raw, bundle = ball_cohort.folder, tmp_path / "Dataset012_Balls", tmp_path / "bundle"
    said_as_json(capsys, "export-nnunet", folder, "--folder", raw)
    found = said_as_json(capsys, "import-nnunet", tmp_path / "again", "--folder", raw)
    assert found["cases"] == ["ball_0", "ball_1"]
    assert Cohort.open(tmp_path / "again").annotated_cases() == ["ball_0", "ball_1"]
    geometry = ball_cohort.geometry("ball_0")
    for name in ("ball_0", "ball_1"):
        write_image(tmp_path / "theirs" / f"{name}.nii.gz", ball(), geometry)
    taken = said_as_json(
        capsys, "import-nnunet", folder, "--folder", raw, "--predictions", tmp_path / "theirs", "--run", "theirs"
    )
    assert taken["cases"] == ["ball_0", "ball_1"]
    wrong = ["import-nnunet", folder, "--folder", raw, "--predictions", raw / "labelsTr", "--run", "theirs"]
    assert main([*map(str, wrong)]) == 1
    assert "contains the label 3, which is not a structure of" in capsys.readouterr().err
    said_as_json(capsys, "train", folder, "--run", "r", "--iterations", 2, *TRAIN)
    assert main(["export-bundle", str(folder), "--run", "r", "--folder", str(bundle)]) == 0
    assert str(bundle) in capsys.readouterr().out.replace("\n", "")
    said_as_json(capsys, "import-bundle", folder, "--run", "back", "--folder", bundle)
    assert RunFolder(ball_cohort.run_folder("back")).is_finished


@needs_posix_signals
def test_learning_until_it_is_interrupted_and_labeling_a_slice_with_it(ball_cohort, capsys):
    process = started("train", ball_cohort.folder, "--run", "live", "--live", "--device", "cpu", "--json")
    metrics = RunFolder(ball_cohort.run_folder("live")).metrics_path
    deadline = time.monotonic() + 300
    while not metrics.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert json.loads(output)["is_live"]
    answer = said_as_json(capsys, "slice", ball_cohort.folder, "ball_0", "--run", "live", "--index", "8")
    assert Path(answer["path"]).is_file()
    assert {label["name"] for label in answer["labels"]} == {"shell", "kernel"}
    assert main(["slice", str(ball_cohort.folder), "ball_0", "--run", "live", "--index", "99"]) == 1
    assert "has no axial slice 99: its slices are 0 to 23" in capsys.readouterr().err


def test_a_training_that_goes_on_has_no_plan_to_edit(ball_cohort, capsys):
    assert main(["train", str(ball_cohort.folder), "--run", "live", "--live", "--plan-only"]) == 1
    assert "Leave out '--plan-only' or '--live'" in capsys.readouterr().err
