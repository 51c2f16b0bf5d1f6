from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib import __version__
from SparseAnnotateLib.command_line.examples import EXAMPLES
from SparseAnnotateLib.command_line.interruption import Interrupted, Interruption
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.command_line.parser import parser
from SparseAnnotateLib.command_line.progress_output import progress_lines
from SparseAnnotateLib.command_line.terminal_output import show_notes, show_table
from SparseAnnotateLib.command_line.unused_options import unused_options
from SparseAnnotateLib.core import Cohort, Plane, Progress, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.errors import FileWriteError
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.runs import PRESETS
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.selection import STRATEGIES
from SparseAnnotateLib.worker import evaluate_request, fill_request, process_environment, train_request
from system_needs import needs_posix_limits

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
COMMAND = [sys.executable, "-m", "SparseAnnotateLib.command_line"]


def ran(*arguments, environment=None, without=(), **options) -> subprocess.CompletedProcess:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
    for name in without:
        variables.pop(name, None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, *map(str, arguments)], env=variables, timeout=600, **pipes)


@pytest.fixture
def far_names(tmp_path) -> Cohort:
    cohort = Cohort.create(tmp_path / "cohort", "Größe", {1: "Größe 患者"})
    for name in ("Müller", "患者β", "scan[bold]x"):
        cohort.add_case(name, noisy_image(ball()), GEOMETRY)
    return cohort


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_is_utf_8_and_tables_never_fail_whatever_the_terminal_s_encoding(far_names, encoding):
    environment = {"PYTHONIOENCODING": encoding}
    found = ran("recommend", far_names.folder, "--total", 3, "--json", environment=environment)
    assert found.returncode == 0
    rows = json.loads(found.stdout.decode("utf-8"))
    assert {row["case"] for row in rows} == {"Müller", "患者β", "scan[bold]x"}
    found = ran("recommend", far_names.folder, "--total", 3, environment=environment)
    assert found.returncode == 0
    assert b"Traceback" not in found.stderr
    found = ran("recommend", far_names.folder, "--total", 3, "--cases", "nobody β", environment=environment)
    assert found.returncode == 1
    assert b"has no case 'nobody" in found.stderr


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode on Windows")
def test_names_of_files_are_read_where_python_is_set_to_use_ascii(tmp_path):
    image = tmp_path / "Müller_β.nrrd"
    write_image(image, noisy_image(ball()), GEOMETRY)
    environment = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert ran("create", tmp_path / "co", image, environment=environment).returncode == 0
    assert [case.name for case in Cohort.open(tmp_path / "co").cases] == ["Müller_β"]


def test_names_are_never_instructions_to_the_terminal(far_names, capsys):
    assert main(["recommend", str(far_names.folder), "--total", "3"]) == 0
    assert "scan[bold]x" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device here")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_result_that_cannot_be_written_is_an_error_in_a_sentence(ball_cohort, form):
    with open("/dev/full", "wb") as full:
        found = ran("plan", ball_cohort.folder, "--slices", 4, *form, stdout=full)
    assert found.returncode == 1
    assert b"cannot be written to the output" in found.stderr
    assert b"Traceback" not in found.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_has_gone_is_no_traceback(ball_cohort, form):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = ran("plan", ball_cohort.folder, "--slices", 4, *form, stdout=writing)
    finally:
        os.close(writing)
    assert found.returncode == 141
    assert b"Traceback" not in found.stderr


def test_a_log_file_gets_a_line_for_each_stage_and_now_and_then(capsys):
    with progress_lines() as report:
        for case in range(40):
            for step in range(10):
                report(Progress((case * 10 + step) / 400, f"'case {case}': step {step} of 10", 7.0, {"loss": 0.5}))
        report(Progress(0.99, "writing the card"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["  0% 'case 0': step 0 of 10  loss 0.500, 7 s left", " 99% writing the card"]


@pytest.mark.parametrize(
    ("seconds", "percents"), [(2.0, range(0, 101, 10)), (15.0, range(0, 101, 2))], ids=["a tenth", "30 seconds"]
)
def test_long_work_gets_a_line_at_every_tenth_and_every_30_seconds(capsys, monkeypatch, seconds, percents):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress_lines() as report:
        for step in range(101):
            now[0] += seconds
            report(Progress(step / 100, f"step {step} of 100"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [f"{percent}%" for percent in percents]
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_each_command_has_an_example_that_parses():
    found = parser()
    (commands,) = [action.choices for action in found._actions if isinstance(action.choices, dict)]
    assert set(EXAMPLES) == set(commands)
    for name, examples in EXAMPLES.items():
        assert examples
        for text in examples:
            program, *words = shlex.split(text)
            assert program == "sparse-annotate"
            assert found.parse_args(words).command == name
        assert examples[0] in commands[name].format_help()


def test_older_spellings_work_and_are_not_shown():
    found = parser()
    (commands,) = [action.choices for action in found._actions if isinstance(action.choices, dict)]
    for name, older in (("recommend", ["--total", "3"]), ("recommend", ["--per-volume", "3"])):
        assert older[0] not in commands[name].format_help()
        assert found.parse_args([name, "livers", *older])
    assert "--recipe" not in commands["train"].format_help()
    assert found.parse_args(["train", "livers", "--run", "r", "--recipe", "2d"]).recipe == "2d"


def test_verbose_says_where_an_error_comes_from(tmp_path):
    quiet = ran("fill", tmp_path, "--quiet")
    verbose = ran("fill", tmp_path, "--verbose")
    assert quiet.returncode == verbose.returncode == 1
    assert b"Traceback" not in quiet.stderr
    assert b"Traceback" in verbose.stderr
    assert quiet.stderr.splitlines()[-1] == verbose.stderr.splitlines()[-1]


def test_verbose_progress_lines_begin_with_the_time(capsys):
    for with_time in (False, True):
        with progress_lines(with_time) as report:
            report(Progress(0.5, "filling"))
        shown = capsys.readouterr().err
        assert bool(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  50% filling\n", shown)) == with_time, shown


def test_a_file_that_the_user_has_named_is_not_said_to_go_into_another_state_folder(ball_cohort, capsys, monkeypatch):
    def full(*_given):
        raise FileWriteError(f"'{ball_cohort.folder}/figures.csv' cannot be written: no permission to write there.")

    filled = ["fill", str(ball_cohort.folder), "--method", "shape", "--quiet"]
    assert main(filled) == 0
    monkeypatch.setattr(evaluate_request, "require_writable", full)
    assert main(["evaluate", str(ball_cohort.folder), "--csv", str(ball_cohort.folder / "figures.csv")]) == 1
    assert "--state" not in capsys.readouterr().err
    monkeypatch.setattr(fill_request, "require_writable_folders_of", full)
    assert main(filled) == 1
    assert "'--state FOLDER'" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="shells of POSIX")
def test_a_shell_can_complete_commands_and_options(tmp_path):
    for line, expected in (("sparse-annotate pre", "predict"), ("sparse-annotate fill x --meth", "--method")):
        assert expected in completed(line, tmp_path)


def completed(line: str, folder) -> list[str]:
    """What a shell is offered for a line that has been begun."""
    answer = folder / "answer"
    asking = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "IFS": "\n"}
    asking |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n"}
    ran(environment=asking)
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.skipif(os.name == "nt", reason="shells of POSIX")
def test_a_shell_is_offered_the_choices_of_options_and_the_names_in_the_cohort(ball_cohort, tmp_path):
    (ball_cohort.run_folder("first")).mkdir(parents=True)
    (ball_cohort.run_folder("first") / "plan.json").write_text("{}")
    write_image(ball_cohort.prediction_path("imported", "ball_0"), ball(), ball_cohort.geometry("ball_0"))
    folder = ball_cohort.folder
    for line, expected in (
        ("recommend x --strategy ", set(STRATEGIES)),
        ("recommend x --planes axial cor", {"coronal"}),
        ("fill x --method sh", {"shape"}),
        ("train x --run a --preset ", set(PRESETS)),
        ("predict --run x -i y -o z --format nii", {"nii", "nii.gz"}),
        (f"predict {folder} --run ", {"first", "imported"}),
        (f"evaluate {folder} --run im", {"imported"}),
        (f"fill {folder} --cases ball_0 ba", {"ball_0", "ball_1"}),
        (f"correct {folder} ball_0 --structure ", {"shell", "kernel"}),
        (f"submit predict {folder} --run fi", {"first"}),
    ):
        assert set(completed(f"sparse-annotate {line}", tmp_path)) == expected, line
    assert completed("sparse-annotate predict nowhere --run ", tmp_path) == [""]


def test_a_training_into_a_log_file_names_its_steps(ball_cohort):
    small = ("--patch", 16, 16, 32, "--batch", 2, "--device", "cpu", "--iterations", 3)
    found = ran("train", ball_cohort.folder, "--run", "r", *small)
    assert found.returncode == 0
    assert b"step 1 of 3" in found.stderr
    assert b"\r" not in found.stderr
    assert b"\x1b" not in found.stderr
    quiet = ran("predict", ball_cohort.folder, "--run", "r", "--device", "cpu", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fill", "--method", "shape", "--steps", "3"], "--steps has no effect with any method but 'propagation'."),
        (["fill", "--method", "shape", "--methods", "shape"], "--methods has no effect with --method shape."),
        (["fill", "--device=cpu"], "--device has no effect with any method but 'propagation'."),
        (["fill", "--time-limit", "9"], "--time-limit has no effect with any method but 'morphological'."),
        (["recommend", "--total", "12", "--runs", "r"], "--runs has no effect with --strategy staggered."),
        (["recommend", "--total", "12", "--feature-steps", "3"], "--feature-steps has no effect with --strategy"),
        (["recommend", "--total", "12", "--seconds-per-slice", "3"], "any budget but --minutes."),
        (["picture", "--feature-steps", "3"], "--feature-steps has no effect with --features intensity."),
    ],
)
def test_options_without_effect_are_named(ball_cohort, tmp_path, capsys, arguments, sentence):
    extra = ["--path", str(tmp_path / "p.png")] if arguments[0] == "picture" else []
    assert main([arguments[0], str(ball_cohort.folder), *arguments[1:], *extra]) == 0
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (
            ["--preset", "quick_2d", "--network", "unet", "--patch", "16", "16", "16"],
            ["--network and --patch have no effect with --preset quick_2d."],
        ),
        (["--network-2d", "unet"], ["--network-2d has no effect with --preset quick."]),
        (["--preset", "balanced", "--network-2d", "unet", "--network", "unet"], []),
    ],
)
def test_options_without_effect_on_a_training_are_named(arguments, sentences):
    given = ["train", "cohort", "--run", "r", *arguments]
    assert [str(sentence) for sentence in unused_options(parser().parse_args(given), given)] == sentences


@pytest.mark.parametrize(
    "arguments", [["--methods", "shape", "morphological", "--time-limit", "50"], ["--method", "shape"]]
)
def test_options_with_effect_are_not_named(tiny_cohort, capsys, arguments):
    assert main(["fill", str(tiny_cohort.folder), *arguments]) == 0
    assert "no effect" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "folder"),
    [("curves", ()), ("export-bundle", ("--folder", "x")), ("import-bundle", ("--folder", "x"))],
)
def test_options_that_a_command_does_not_use_are_not_offered(ball_cohort, command, folder, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, str(ball_cohort.folder), "--run", "r", *folder, "--cases", "ball_0"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --cases" in capsys.readouterr().err


def test_the_way_out_of_a_cohort_that_cannot_be_written_is_named(ball_cohort, capsys):
    # A folder where the lock is to be written stops the administrator, too, whom permissions do not.
    lock = ball_cohort.folder / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert main(["recommend", str(ball_cohort.folder), "--total", "14"]) == 1
    assert "'--state FOLDER'" in " ".join(capsys.readouterr().err.split())


def test_accounts_without_a_name_or_a_home_get_what_libraries_ask_for(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 54321")

    unset = ("HOME", "USERPROFILE", "LOGNAME", "USER", "MPLCONFIGDIR", "TORCH_HOME")
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in unset})
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(process_environment.os.path, "expanduser", lambda path: path)
    process_environment.complete_environment()
    assert os.environ["LOGNAME"].startswith("user")
    assert os.access(os.environ["MPLCONFIGDIR"], os.W_OK)


def started(*arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_until_signals_are_caught(process: subprocess.Popen) -> None:
    """Until the process has reached our code: before, Python itself decides what a signal does."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        time.sleep(1.0)  # macOS
        return
    both = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1)
    while int(status.read_text().split("SigCgt:")[1].split()[0], 16) & both != both:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.005)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_during_an_import_ends_the_process_without_an_exception(tmp_path):
    (tmp_path / "slow_to_load.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    for _ in range(10**6): pass\n"
        "except BaseException:\n"
        "    print('an exception')\n"
    )
    program = (
        "from SparseAnnotateLib.command_line.interruption import Interruption\n"
        "with Interruption() as interruption:\n"
        "    interruption.begin()\n"
        "    import slow_to_load\n"
        "print('not ended')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Cancelled.\n")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.2])
def test_a_signal_while_the_program_starts_is_a_sentence(ball_cohort, number, code, seconds):
    process = started("train", ball_cohort.folder, "--run", f"r{seconds}", "--iterations", 500, "--device", "cpu")
    wait_until_signals_are_caught(process)
    time.sleep(seconds)
    process.send_signal(number)
    _, error = process.communicate(timeout=600)
    assert process.returncode == code, error.decode()
    assert b"Cancelled" in error
    assert b"Traceback" not in error


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_signals_are_patient_once_and_then_not():
    calls = []
    with Interruption() as interruption:
        interruption.begin()
        interruption.cancel = lambda: calls.append("cancel")
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == ["cancel"]
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.exit_code == 143
    with Interruption() as interruption:
        interruption.begin()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.exit_code == 130


def test_data_sets_are_imported_by_cases_and_into_a_state_folder(ball_cohort, tmp_path, capsys):
    raw = tmp_path / "Dataset012_Balls"
    assert main(["export-nnunet", str(ball_cohort.folder), "--folder", str(raw), "--quiet"]) == 0
    again, state = tmp_path / "again", tmp_path / "state"
    import_it = ["import-nnunet", str(again), "--folder", str(raw), "--state", str(state), "--cases"]
    assert main([*import_it, "nobody"]) == 1
    assert "has no case 'nobody'" in capsys.readouterr().err
    assert not (again / "cohort.json").exists()
    assert main([*import_it, "ball_1"]) == 0
    cohort = Cohort.open(again, state)
    assert [case.name for case in cohort.cases] == cohort.annotated_cases() == ["ball_1"]
    assert not (again / "ledgers").exists()
    for name in ("ball_0", "ball_1"):
        write_image(tmp_path / "theirs" / f"{name}.nii.gz", ball(), GEOMETRY)
    predictions = ["--predictions", str(tmp_path / "theirs"), "--run", "theirs"]
    folder = str(ball_cohort.folder)
    capsys.readouterr()
    assert main(["import-nnunet", folder, "--folder", str(raw), *predictions, "--cases", "ball_1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == ["ball_1"]
    assert not ball_cohort.prediction_path("theirs", "ball_0").exists()


def test_a_damaged_case_that_was_not_asked_for_stops_nothing(ball_cohort, capsys, caplog):
    (ball_cohort.folder / "ledgers" / "ball_1.json").write_text("{")
    ball_cohort.image_path("ball_1").unlink()
    for arguments in (["recommend", "--density", "0.5"], ["fill", "--method", "shape"], ["plan", "--slices", "4"]):
        assert main([arguments[0], str(ball_cohort.folder), *arguments[1:], "--cases", "ball_0"]) == 0
    assert "The drawing times of case 'ball_1' are left out." in caplog.text
    capsys.readouterr()
    assert main(["recommend", str(ball_cohort.folder), "--density", "0.5"]) == 1
    assert "'ball_1': The image of case 'ball_1' cannot be used." in capsys.readouterr().err


def test_a_drawn_slice_may_be_of_any_name(far_names, capsys):
    drawn = SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, range(2, 22, 4))
    for case in far_names.cases:
        far_names.save_annotation(case.name, drawn)
    assert main(["fill", str(far_names.folder), "--method", "shape"]) == 0
    for case in far_names.cases:
        assert far_names.fill_path(case.name).is_file()
        assert np.array_equal(far_names.annotation(case.name).drawn_labels(), drawn.drawn_labels())


def test_a_picture_shows_cases_of_any_name(tmp_path, recwarn):
    cohort = Cohort.create(tmp_path / "cohort", "c")
    for name in ("a$^^$b", "x" * 240):
        cohort.add_case(name, noisy_image(ball()), GEOMETRY)
    assert main(["recommend", str(cohort.folder), "--total", "4", "--json"]) == 0
    assert main(["picture", str(cohort.folder), "--path", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert not [w for w in recwarn if "layout" in str(w.message)]


def test_the_name_that_job_scripts_used_before_still_starts_the_command_line():
    command = [sys.executable, "-m", "SparseAnnotateLib.worker.command_line", "--version"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (0, ["sparse-annotate", __version__])
    # The program that pip made then.
    program = "import sys; from SparseAnnotateLib.worker.command_line import main; sys.exit(main(['--version']))"
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (0, ["sparse-annotate", __version__])


def test_a_signal_whose_exception_a_library_has_swallowed_is_seen_at_the_next_step(monkeypatch):
    """Python ignores exceptions in destructors and in callbacks of weak references, as while modules are imported."""
    from SparseAnnotateLib.command_line.main import INTERRUPTION, _begun_watch
    from SparseAnnotateLib.core import CancelledError

    monkeypatch.setattr(INTERRUPTION, "cancel", None)
    watch = _begun_watch(None)
    watch.check()
    monkeypatch.setattr(INTERRUPTION, "number", signal.SIGTERM)
    with pytest.raises(CancelledError):
        watch.check()


def test_an_unknown_option_is_answered_with_the_usage_of_its_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["create", "cohort", "scan.nrrd", "--images", "a"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "usage: sparse-annotate create" in said
    assert "unrecognized arguments: --images a" in said


def test_a_table_has_no_empty_columns_and_folds_long_paths(capsys):
    long = "/folder" * 30 + "/fill.nrrd"
    show_table([{"case": "a", "path": long, "confidence_path": None}, {"case": "b", "path": "", "confidence_path": ""}])
    shown = capsys.readouterr().out
    assert "confidence" not in shown
    assert "None" not in shown
    assert "".join(shown.replace("│", "").replace(" a ", "").split()).count("/folder") >= 20  # in several lines
    assert "fill.nrrd" in shown


def test_what_is_said_of_many_cases_is_said_once(capsys):
    notes = [(f"case_{number}", "Check the result.") for number in range(300)]
    show_notes([*notes, ("case_7", "It is dark."), ("case_7", "It is large.")], most=2)
    assert capsys.readouterr().out.splitlines() == [
        "- 'case_0', 'case_1', 'case_2' and 297 more: Check the result.",
        "- 'case_7': It is dark.",
        "- and 1 more; '--json' shows all.",
    ]


@pytest.mark.parametrize("share", ["0.1", "10%", "10 %"])
def test_a_density_may_be_given_in_percent(share):
    assert parser().parse_args(["plan", "livers", "--density", share]).density == pytest.approx(0.1)


def test_what_is_no_density_is_explained(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["plan", "livers", "--density", "a tenth"])
    assert "'a tenth' is not a share. Give one such as 0.1 or 10%." in capsys.readouterr().err


@needs_posix_limits
@pytest.mark.parametrize(
    "arguments",
    [
        ("fill", "{closed}"),
        ("create", "new", "{closed}"),
        ("predict", "--run", "{closed}", "-i", "scans", "-o", "out"),
    ],
)
def test_a_folder_without_rights_is_named(tmp_path, capsys, monkeypatch, arguments):
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.chdir(tmp_path)
    closed.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:  # who may read anything
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o55)
        tmp_path.chmod(0o777)
        os.seteuid(65534)
    try:
        assert main([text.format(closed=closed / "in") for text in arguments]) == 1
    finally:
        if is_root:
            os.seteuid(0)
        closed.chmod(0o700)
    assert re.search(r"You have no permission to open '.*closed.in.*'\. Change its", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fill", "COHORT"], "Cancelled. Finished results are kept.\n"),
        (["predict", "COHORT", "--run", "r"], "Cancelled. Finished results are kept.\n"),
        (
            ["train", "COHORT", "--run", "r"],
            "Cancelled. The same command resumes training from its last checkpoint, if there is one.\n",
        ),
        (["recommend", "COHORT", "--slices", "3"], "Cancelled.\n"),
        (["report", "COHORT"], "Cancelled.\n"),
    ],
)
def test_what_is_cancelled_says_what_is_left_of_it_alone(ball_cohort, capsys, monkeypatch, arguments, words):
    from SparseAnnotateLib.core import CancelledError
    from SparseAnnotateLib.worker import requests

    def cancelled(request, watch):
        raise CancelledError("Cancelled.")

    method = arguments[0]
    monkeypatch.setitem(requests.METHODS, method, (requests.METHODS[method][0], cancelled))
    assert main([str(ball_cohort.folder) if part == "COHORT" else part for part in arguments]) == 130
    assert capsys.readouterr().err.endswith(words)


def test_a_recommendation_that_is_cancelled_while_its_picture_is_made_says_that_the_slices_are_stored(
    ball_cohort, tmp_path, capsys, monkeypatch
):
    from SparseAnnotateLib.core import CancelledError
    from SparseAnnotateLib.worker import recommend_request

    def cancelled(*_):
        raise CancelledError("Cancelled.")

    monkeypatch.setattr(recommend_request, "picture", cancelled)
    command = ["recommend", str(ball_cohort.folder), "--more", "2", "--per", "volume"]
    assert main([*command, "--picture", str(tmp_path / "slices.png")]) == 130
    words = "Cancelled. The recommended slices are stored, but the picture was not written; 'sparse-annotate picture'"
    assert words in capsys.readouterr().err
    assert ball_cohort.ledger("ball_0").todo


def test_a_file_that_is_named_from_the_home_folder_is_written_there(ball_cohort, tmp_path, monkeypatch, capsys):
    home, folder = tmp_path / "home", str(ball_cohort.folder)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    equally = ["--more", "1", "--strategy", "fixed_interval"]
    assert main(["recommend", folder, *equally, "--picture=~/in/slices.png", "--quiet"]) == 0
    assert main(["picture", folder, "--path=~/in/map.png", "--quiet"]) == 0
    assert main(["report", folder, "--out=~/in/page.html", "--pictures", "0", "--quiet"]) == 0
    assert {path.name for path in (home / "in").iterdir()} == {"slices.png", "map.png", "page.html"}
    assert not (tmp_path / "~").exists()
    assert str(home / "in" / "map.png") in capsys.readouterr().out.replace("\n", "")


def test_curves_are_refused_a_place_that_cannot_be_written_before_they_are_drawn(ball_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "metrics", lambda self: [{"model": "3d", "iteration": 1, "loss": 1.0}])
    monkeypatch.setattr(train_request, "require_packages", lambda *_rest: pytest.fail("the curves are being drawn"))
    with pytest.raises(FileWriteError, match="cannot be written"):
        train_request.curves(train_request.CurvesRequest(str(ball_cohort.folder), "r", path=str(tmp_path)), Watch())
