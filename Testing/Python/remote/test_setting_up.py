"""Setting a host up, checking it and cleaning it, by the command line and by the functions behind it."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from SparseAnnotateLib.client import BlockingWorker
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Watch, WorkerError
from SparseAnnotateLib.remote import library_there, setting_up
from SparseAnnotateLib.remote.cohort_record import record_of
from SparseAnnotateLib.remote.host_files import HostFacts, HostFiles, content_of
from SparseAnnotateLib.remote.host_requests import hosts_command
from SparseAnnotateLib.remote.hosts import Host, again, allow_copying, host_named, hosts_path, keep_host, known_hosts
from SparseAnnotateLib.remote.library_there import library_files, python_there
from SparseAnnotateLib.remote.setting_up import _made_environment, _usable_python, clean_host
from ssh_server import needs_ssh_server

ID = "0123456789abcdef" * 2
FACTS = HostFacts("3.11.7", "/usr/bin/python3", "/there", "", "Linux", 10**12, {})


def wheel(folder: Path) -> Path:
    """A package with nothing in it."""
    folder.mkdir()
    info, record = "tiny_one-1.0.dist-info", []
    files = {
        "tiny_one.py": "VALUE = 7\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-one\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "tiny_one-1.0-py3-none-any.whl", "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(text)}")
        packed.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return folder


@needs_ssh_server
def test_the_packages_are_installed_in_an_environment_of_its_own(host, tmp_path):
    links = wheel(tmp_path / "wheels")
    files = HostFiles(replace(host, as_is=False))
    seen: list[str] = []
    options = ("--no-index", "--find-links", str(links))
    python = _made_environment(files, files.host, ["tiny-one"], options, Watch(lambda p: seen.append(p.message)))
    assert python.startswith("{root}/environments/")
    path = python.replace("{root}", files.facts().folder)
    ran = files.ask("run", words=[path, "-c", "import tiny_one; print(tiny_one.VALUE)"])
    assert (ran["code"], ran["lines"]) == (0, ["7"])
    assert any("installing packages" in message for message in seen)
    with pytest.raises(
        WorkerError, match=r"The packages were not installed on the host 'gpu' .*no access to the internet"
    ):
        _made_environment(files, files.host, ["tiny-one"], ("--no-index", "--force-reinstall"), Watch())
    files.close()


def test_an_old_python_is_refused_and_a_newer_one_is_found():
    old = replace(FACTS, python="3.8.10")
    newer = replace(old, pythons={"3.12": "/usr/bin/python3.12", "3.11": "/usr/bin/python3.11"})
    assert _usable_python(Host("gpu"), FACTS) == "python3"
    assert _usable_python(Host("gpu"), newer) == "/usr/bin/python3.12"
    with pytest.raises(
        BadInputError, match=r"has version 3\.8\.10, and SparseAnnotate needs 3\.11 or later\. Install one"
    ):
        _usable_python(Host("gpu"), old)
    with pytest.raises(BadInputError, match="'/opt/python' on the host 'gpu' has version"):
        _usable_python(Host("gpu", python="/opt/python"), newer)


def test_packages_of_another_version_are_reported(monkeypatch):
    made = Host("gpu", environment="{root}/environments/x/bin/python", requirements="of an earlier version")
    with pytest.raises(BadInputError, match="needs other packages than those on the host 'gpu'.*host add gpu"):
        python_there(made, "/there")
    with pytest.raises(BadInputError, match="have not been installed on the host 'gpu' yet"):
        python_there(Host("gpu"), "/there")
    fits = replace(made, requirements=library_there.fingerprint(library_there.requirements()))
    assert python_there(fits, "/there") == "/there/environments/x/bin/python"


def test_a_changed_library_has_another_place(tmp_path, monkeypatch):
    area, files = library_files()
    assert area.startswith("versions/")
    assert "SparseAnnotateLib/worker/__main__.py" in files
    assert not any("__pycache__" in name for name in files)
    (tmp_path / "SparseAnnotateLib").mkdir()
    (tmp_path / "SparseAnnotateLib" / "new.py").write_text("")
    monkeypatch.setattr(library_there, "LIBRARY_FOLDER", tmp_path)
    assert library_files()[0] != area


@needs_ssh_server
def test_cleaning_keeps_what_is_in_use_and_what_has_not_come_back(shared_host):
    files = HostFiles(shared_host)
    for area in ("copy", "training-done", "training-going-on"):
        files.send(f"cohorts/{ID}/{area}", {"a": content_of(area.encode() * 1000)}, (), (), Watch())
    files.ask("brought_back", area=f"cohorts/{ID}/training-done")
    folder = Path(shared_host.folder) / "cohorts" / ID
    files.hold(f"cohorts/{ID}/copy", Watch())
    assert "2 folders were kept" in clean_host(shared_host, False, Watch())[1]
    assert sorted(path.name for path in folder.iterdir()) == ["copy", "training-going-on"]
    files.release(f"cohorts/{ID}/copy")
    freed, sentence = clean_host(shared_host, False, Watch())
    assert freed > 0
    assert "1 folder was kept" in sentence
    assert sorted(path.name for path in folder.iterdir()) == ["training-going-on"]
    files.close()


@needs_ssh_server
def test_a_host_is_set_up_checked_and_removed_by_the_command_line(server, folder_there, capsys, monkeypatch):
    assert main(["host", "list"]) == 0
    assert "No host has been set up" in capsys.readouterr().out
    words = ["host", "add", "gpu", "--python", sys.executable, "--as-is", "--folder", str(folder_there), "--json"]
    assert main([*words, "--engine", "local", "--gpus", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["environment"]["executable"] == sys.executable
    assert report["copies_with"] == "rsync"
    assert report["round_trip"] < 100
    assert host_named("gpu").job == {"engine": "local", "gpus": 1}
    assert main(["host", "list"]) == 0
    assert str(folder_there)[:20] in capsys.readouterr().out.replace("\n", "")
    assert main(["host", "clean", "gpu"]) == 0
    assert "MB were freed on 'gpu'" in capsys.readouterr().out
    assert main(["host", "remove", "gpu"]) == 0
    assert known_hosts() == ()
    assert main(["host", "check", "gpu"]) == 1
    assert "has not been set up" in capsys.readouterr().err


@needs_ssh_server
def test_commands_work_on_a_host(shared_host, tiny_cohort, capsys):
    fill = ["fill", str(tiny_cohort.folder), "--method", "shape", "--json"]
    assert main([*fill, "--on", "gpu"]) == 1
    assert "--allow-copying" in json.loads(capsys.readouterr().out)["error"]
    assert main([*fill, "--allow-copying"]) == 1
    assert "only for '--on HOST'" in json.loads(capsys.readouterr().out)["error"]
    assert main([*fill, "--on", "gpu", "--allow-copying"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["path"] == str(tiny_cohort.fill_path("a"))
    assert tiny_cohort.fill_path("a").is_file()
    assert record_of(tiny_cohort.state_folder).identity in host_named("gpu").cohorts


def test_what_cannot_be_done_on_a_host_is_refused(tiny_cohort, tmp_path, capsys):
    assert main(["predict", "--run", "x", "-i", str(tmp_path), "-o", str(tmp_path / "o"), "--allow-copying"]) == 1
    assert "'--allow-copying' is only for '--on HOST'" in capsys.readouterr().err


def test_damaged_settings_of_hosts_are_reported(monkeypatch, tmp_path):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    keep_host(Host("gpu"))
    hosts_path().write_text(hosts_path().read_text().replace('"as_is": false', '"as_is": "no"'))
    with pytest.raises(BadInputError, match="as_is"):
        known_hosts()


def test_requests_about_hosts_are_answered_by_a_process(monkeypatch, tmp_path):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    with BlockingWorker(hosts_command()) as worker, pytest.raises(WorkerError, match="has not been set up"):
        worker.call("check_host", {"name": "gpu"})
    assert setting_up.OLDEST_PYTHON == (3, 11)


@needs_ssh_server
def test_trainings_that_do_not_use_slurm_are_submitted_without_its_options():
    job = {"partition": "gpu", "memory_gb": 8.0, "gpus": 1, "hours": 2.0}
    assert Host("gpu", job=job).submission == job
    assert Host("gpu", job={**job, "engine": "local"}).submission == {"gpus": 1, "hours": 2.0, "engine": "local"}


def test_setting_a_host_up_again_changes_only_what_is_given(server, host, tmp_path):
    kept = replace(host, prefix="env A=1", copy_with="sftp", job={"partition": "gpu", "gpus": 1}, cohorts=("x",))
    keep_host(kept)
    assert again("gpu") == kept
    assert again("gpu", {"gpus": 2, "partition": ""}, prefix="") == replace(kept, prefix="", job={"gpus": 2})
    elsewhere = again("gpu", folder=str(tmp_path / "elsewhere"))
    assert (elsewhere.prefix, elsewhere.as_is, elsewhere.cohorts) == ("env A=1", True, ())
    files = HostFiles(kept)
    files.send(f"cohorts/{ID}/training-one", {"a": content_of(b"a")}, (), (), Watch())
    with pytest.raises(BadInputError, match="has 1 training that has not been copied back, so the folder stays"):
        setting_up.add_host(elsewhere, Watch())
    files.close()
    assert known_hosts() == (kept,)


def test_the_list_of_hosts_can_be_changed_by_several_at_once(monkeypatch, tmp_path):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    keep_host(Host("gpu"))
    threads = [threading.Thread(target=allow_copying, args=("gpu", str(number))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(host_named("gpu").cohorts) == [str(number) for number in range(8)]
